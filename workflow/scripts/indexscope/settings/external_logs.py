"""Memory logs that were made elsewhere, to be tabulated and drawn beside the project's own runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from indexscope.run_record import InputError

from .base import Model

DOWNLOADS = "results/external_logs"  # named by content, so shared by all campaigns


class ExternalLog(Model):
    """A memory_profiler or mprof log of a run that was not made here."""

    log: str = Field(
        min_length=1, description="path, glob or URL of the log; a glob's files are parts of one run"
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the file; required for a URL"
    )
    system: str = Field(min_length=1, description="the system's name in figures and tables that people read")
    documents: int = Field(gt=0, description="documents that were indexed")
    machine: str = Field(min_length=1, description="where it was measured")
    published: bool = Field(
        False,
        description="a log of the published study: `snakemake published_figures` checks the published cells of "
        "the same system and documents against it",
    )

    @property
    def is_url(self) -> bool:
        return self.log.startswith(("http://", "https://"))

    @model_validator(mode="after")
    def _a_url_has_a_hash(self) -> Self:
        if self.is_url and self.sha256 is None:
            raise ValueError(f"{self.log}: a URL needs the file's sha256, so that it cannot change unseen")
        return self


class ExternalFile(Model):
    """One file of an entry of `external_logs`."""

    path: str  # where the file is, or will be once it is downloaded
    entry: int  # position in the list
    log: str  # as configured
    sha256: str | None
    system: str
    documents: int
    machine: str
    published: bool

    @property
    def url(self) -> str | None:
        return self.log if self.log.startswith(("http://", "https://")) else None


def download_path(url: str, sha256: str) -> str:
    """Where the file at `url` is kept: below its hash, under its own name."""
    name = re.sub(r"[^\w.-]+", "_", PurePosixPath(unquote(urlsplit(url).path)).name).lstrip(".") or "log"
    return f"{DOWNLOADS}/{sha256[:16]}/{name}"


def external_files(entries: Sequence[ExternalLog]) -> list[ExternalFile]:
    """Every file that `external_logs` names; globs are resolved, in the order of names.

    Raises:
        InputError: a path or glob matches no file, a hash is given for several files, or two entries name
            the same file. The message names the key.
    """
    found: dict[str, ExternalFile] = {}
    for position, entry in enumerate(entries):
        key = f"external_logs[{position}].log"
        paths = list(_paths(entry))
        if not paths:
            raise InputError(
                f"{key}: no file matches {entry.log!r}: give the path or the glob of a memory log, "
                "relative to the folder in which snakemake is started, or remove the entry"
            )
        if entry.sha256 is not None and len(paths) > 1:
            raise InputError(
                f"external_logs[{position}].sha256: {entry.log!r} matches {len(paths)} files and a hash is that "
                "of one: give an entry for each file, or remove the hash"
            )
        for path in paths:
            if path in found:
                raise InputError(
                    f"{key}: {path} is also of external_logs[{found[path].entry}]: name each file once"
                )
            found[path] = ExternalFile(path=path, entry=position, **entry.model_dump())
    return list(found.values())


def _paths(entry: ExternalLog) -> Iterator[str]:
    if entry.is_url:
        assert entry.sha256 is not None  # the model says so
        yield download_path(entry.log, entry.sha256)
        return
    path = Path(entry.log).expanduser()
    if path.is_file():
        yield str(path)
    else:
        base = Path(path.anchor)
        matches = base.glob(str(path.relative_to(base)))
        yield from sorted(str(match) for match in matches if match.is_file())

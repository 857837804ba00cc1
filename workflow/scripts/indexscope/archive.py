"""The archive of a result set: one zip file with what figures and report are drawn from. Standard library only.

An archive holds the members that `MANIFEST.json` lists, each with its size and SHA-256, by the names that they
have in the result set (`tables/runs.parquet`, `index_runs/…/run.json`, …). Nothing in it depends on when or
where it was written: members are sorted by name, times are constant, so equal results give equal bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from indexscope.run_record import InputError

FORMAT = 1
MANIFEST = "MANIFEST.json"
CONFIGURATION = "configuration.yaml"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold
_LARGEST_MANIFEST = 64 << 20
_PIECE = 1 << 20
# Parquet is compressed already.
_STORED = (".parquet",)
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_MEMBER = re.compile(rf"{_PART}(?:/{_PART})*")
_MAKE = "make it with snakemake archive"
_AGAIN = "it is damaged; copy it again, or make it anew with snakemake archive"
# What a damaged or unusual zip file raises while it is read.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Member:
    """A file of an archive; `size` in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The index of an archive; `digest` is the SHA-256 of MANIFEST.json, and so stands for all members."""

    digest: str
    members: Mapping[str, Member]
    content: Mapping[str, Any]

    @property
    def tables(self) -> list[str]:
        """Names of the tables, such as `runs`."""
        names = (re.fullmatch(r"tables/([a-z][a-z0-9_]*)\.parquet", path) for path in self.members)
        return sorted(name[1] for name in names if name)

    def folder(self, path: Path) -> str:
        """Name of the folder to unpack to: that of the file `path`, and eight digits of the content."""
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', path.stem)}-{self.digest[:8]}"


def write(path: Path, sources: Mapping[str, Path], about: Mapping[str, Any]) -> None:
    """Write the zip file `path`: each source under its member name, and MANIFEST.json with `about` in it.

    Raises:
        InputError: a member's name is not one that every system can hold.
    """
    members = []
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(sources):
            if not _is_safe(name):
                raise InputError(f"{name}: is no name for a member of an archive; rename the file")
            size = sources[name].stat().st_size
            digest = hashlib.sha256()
            with sources[name].open("rb") as file, archive.open(_entry(name, size), "w") as member:
                for piece in _pieces(file):
                    digest.update(piece)
                    member.write(piece)
            members.append({"path": name, "size": size, "sha256": digest.hexdigest()})
        manifest = json.dumps({"format": FORMAT, **about, "files": members}, indent=1, ensure_ascii=False)
        text = (manifest + "\n").encode()
        with archive.open(_entry(MANIFEST, len(text)), "w") as member:
            member.write(text)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the archive `path`, its list checked against the zip file's own.

    Raises:
        InputError: the file is missing, damaged, no archive of IndexScope, or of a newer format.
    """
    with _opened(path) as archive:
        return _manifest(path, archive)


def unpack(path: Path, names: Iterable[str], directory: Path) -> None:
    """Write the members `names` of the archive `path` below `directory`; all of them or, when one fails, none.

    Every member's size and SHA-256 are checked, also of those that are not asked for: an archive that is
    damaged anywhere is refused.

    Raises:
        InputError: the archive is not as its manifest says, or lacks a member.
    """
    wanted = set(names)
    moves: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        with _opened(path) as archive:
            manifest = _manifest(path, archive)
            if absent := sorted(wanted - manifest.members.keys() - {MANIFEST}):
                raise InputError(
                    f"{path}: holds no {absent[0]}; make the archive anew with snakemake archive"
                )
            for name in [*manifest.members, MANIFEST]:
                if name not in wanted:
                    if name != MANIFEST:
                        _copy_checked(path, archive, manifest.members[name], None)
                    continue
                target = directory / name
                made += _make_folder(target.parent)
                partial = target.with_name(target.name + ".partial")
                moves.append((partial, target))
                with partial.open("wb") as file:
                    if name == MANIFEST:
                        file.write(_bounded(archive, MANIFEST))
                    else:
                        _copy_checked(path, archive, manifest.members[name], file)
    except BaseException:
        for partial, _ in moves:
            partial.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # something else has come into it
                folder.rmdir()
        raise
    for partial, target in moves:
        partial.replace(target)


def extract_to(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Copy one member, in pieces, to the file `target`."""
    with archive.open(name) as member, target.open("wb") as file:
        shutil.copyfileobj(member, file, _PIECE)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file at `path`; what goes wrong while it is read is one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such archive; {_MAKE}") from None
    except zipfile.BadZipFile as error:
        problem = str(error)
        if "not a zip file" in problem:
            raise InputError(f"{path}: is no zip file, or is cut off; {_MAKE}") from None
        raise InputError(f"{path}: {problem}: {_AGAIN}") from None
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read ({error}): {_AGAIN}") from None


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    foreign = f"{path}: is no archive of IndexScope"
    if MANIFEST not in archive.namelist():
        raise InputError(f"{foreign} (it has no {MANIFEST}); {_MAKE}")
    text = _bounded(archive, MANIFEST)
    try:
        content = json.loads(text)
        number = content["format"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{foreign} (its {MANIFEST} is another program's); {_MAKE}") from None
    if type(number) is not int or number < 1:
        raise InputError(f"{foreign} (format: {number!r} is no format of it); {_MAKE}")
    if number > FORMAT:
        raise InputError(
            f"{path}: format {number} is newer than {FORMAT}, the newest that this IndexScope reads; "
            f"use IndexScope {content.get('indexscope', {}).get('version', 'of a later version')}"
        )
    try:
        listed = [Member(file["path"], file["size"], file["sha256"]) for file in content["files"]]
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: {MANIFEST}: files: not a list of path, size and sha256; {_AGAIN}"
        ) from None
    _check_names(path, archive, [member.path for member in listed])
    return Manifest(hashlib.sha256(text).hexdigest(), {member.path: member for member in listed}, content)


def _check_names(path: Path, archive: zipfile.ZipFile, listed: Sequence[str]) -> None:
    present = archive.namelist()
    for name in [*present, *listed]:
        if not isinstance(name, str) or not _is_safe(name):
            raise InputError(
                f"{path}: {name!r} would not stay in the folder that the archive is unpacked to; "
                "do not use this file"
            )
    if len(set(present)) != len(present) or len(set(listed)) != len(listed):
        raise InputError(f"{path}: has two members of one name; {_AGAIN}")
    for name in sorted({*present} ^ {*listed, MANIFEST}):
        where = f"is not listed in {MANIFEST}" if name in present else "is missing"
        raise InputError(f"{path}: {name} {where}; {_AGAIN}")


def _is_safe(name: str) -> bool:
    return bool(_MEMBER.fullmatch(name))


def _copy_checked(path: Path, archive: zipfile.ZipFile, member: Member, target: IO[bytes] | None) -> None:
    """Read a member to its end, into `target` if there is one; no more bytes than its manifest says."""
    digest, size = hashlib.sha256(), 0
    with archive.open(member.path) as source:
        for piece in _pieces(source):
            size += len(piece)
            if size > member.size:
                break
            digest.update(piece)
            if target is not None:
                target.write(piece)
    if size != member.size or digest.hexdigest() != member.sha256:
        raise InputError(f"{path}: {member.path} is not what {MANIFEST} says (SHA-256); {_AGAIN}")


def _bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        text = member.read(_LARGEST_MANIFEST + 1)
    if len(text) > _LARGEST_MANIFEST:
        raise ValueError(f"{name} is larger than {_LARGEST_MANIFEST} bytes")
    return text


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder with its parents; returns those that were not there, outermost first."""
    missing = [each for each in [folder, *folder.parents] if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.file_size = size  # decides whether the 64-bit extension is needed
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
    return entry


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece

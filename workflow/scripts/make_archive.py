"""Archive a result set: tables, figures, report, configuration and manifests in one zip file.

Absolute paths, host names, user names, git remotes and e-mail addresses are removed. The finished file is read
again, and is discarded where any member still tells this machine's names or folders.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import indexscope
import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import archive, schemas
from indexscope.redaction import Identity, Redactor, words_of
from indexscope.run_record import InputError

# Columns of runs whose values are names that someone chose, and that tables and figures go by.
_NAMES = ("system", "framework", "environment", "corpus", "checkpoint", "campaign", "profiler")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="tables, figures, report, configuration"
    )
    parser.add_argument("--results", type=Path, required=True, help="folder of the result set")
    parser.add_argument("--shared", type=Path, help="folder with cells/ (default: that of the result set)")
    parser.add_argument(
        "--keep-name",
        action="append",
        default=[name for name in os.environ.get("INDEXSCOPE_KEEP_NAMES", "").split(",") if name],
        metavar="NAME",
        help="leave this host or user name in (or set INDEXSCOPE_KEEP_NAMES to names with commas)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the archive to write (zip)")
    arguments = parser.parse_args()
    shared = arguments.shared or arguments.results
    projects = (Path.cwd(), Path(__file__).parents[2])
    identity = Identity.of_this_machine(projects, arguments.keep_name)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        runs = _read_runs(arguments.results / "tables" / "runs.parquet")
        _check_names(runs, identity)
        sources = _members(
            [*arguments.files, *_records(runs, arguments.results, shared)], arguments.results, shared
        )
        with tempfile.TemporaryDirectory(dir=arguments.output.parent, prefix=".archive-") as folder:
            redactor = Redactor(identity)
            redacted = {}
            for name, source in sources.items():
                redacted[name] = Path(folder) / name
                redacted[name].parent.mkdir(parents=True, exist_ok=True)
                redactor.file(source, redacted[name])
            archive.write(partial, redacted, _about(runs, redactor, arguments.keep_name))
        _verify(partial, identity)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, InputError):
            sys.exit(str(error))
        raise
    partial.replace(arguments.output)
    taken = ", ".join(f"{number} {kind}" for kind, number in sorted(redactor.removed.items())) or "nothing"
    print(f"{arguments.output}: {len(sources)} files; removed: {taken}.")


def _read_runs(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, columns=["run", "cell", "lock_digest", *_NAMES])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run snakemake tables") from None


def _check_names(runs: pa.Table, identity: Identity) -> None:
    """Refuse where a name that must go is also one that the results go by: removing it would change them."""
    chosen = {value for name in _NAMES for value in runs[name].unique().to_pylist() if value}
    columns = {name for schema in schemas.TABLES.values() for name in schema.names}
    if name := identity.named_in(words_of(chosen | columns)):
        raise InputError(
            f"{name!r}, a host or user name of this machine, is also a name in the results (a campaign, a system, "
            "…) and cannot be told from it: name that differently, or set INDEXSCOPE_KEEP_NAMES="
            f"{name} to leave this word in the archive"
        )


def _records(runs: pa.Table, results: Path, shared: Path) -> list[Path]:
    """run.json of each run, the artifacts' manifests that are kept, and the cells."""
    found = []
    for run in runs["run"].to_pylist():
        directory = results / "index_runs" / run
        found.append(directory / "run.json")
        manifest = directory / "artifacts" / "manifest.json"
        found += [manifest] if manifest.exists() else []
    cells = set(zip(runs["system"].to_pylist(), runs["cell"].to_pylist(), strict=True))
    cell_files = [shared / "cells" / f"{system}-{cell}.json" for system, cell in sorted(cells)]
    return found + [path for path in cell_files if path.exists()]


def _members(paths: Sequence[Path], results: Path, shared: Path) -> dict[str, Path]:
    members = {}
    for path in paths:
        folder = results if path.is_relative_to(results) else shared
        if not path.is_relative_to(folder):
            raise InputError(f"{path}: is not below {results} or {shared}; give files of the result set")
        if not path.is_file():
            raise InputError(f"{path}: no such file; run snakemake first")
        members[path.relative_to(folder).as_posix()] = path
    return members


def _about(runs: pa.Table, redactor: Redactor, kept: Sequence[str]) -> dict[str, object]:
    def values(name: str) -> list[str]:
        return sorted(value for value in runs[name].unique().to_pylist() if value)

    return {
        "indexscope": {"version": indexscope.__version__, "commit": os.environ.get("INDEXSCOPE_COMMIT", "")},
        "campaign": next(iter(values("campaign")), None),
        "lock_digests": values("lock_digest"),
        "removed": dict(sorted(redactor.removed.items())),
        "kept_names": sorted(kept),
    }


def _verify(path: Path, identity: Identity) -> None:
    """Read the zip file again: members are what the manifest says, and none tells of this machine.

    Raises:
        InputError: one does.
    """
    manifest = archive.read_manifest(path)
    with (
        zipfile.ZipFile(path) as zipped,
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".archive-") as folder,
    ):
        copy = Path(folder) / "member"
        for name in zipped.namelist():
            archive.extract_to(zipped, name, copy)
            with copy.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if name != archive.MANIFEST and digest != manifest.members[name].sha256:
                raise InputError(f"{path}: {name} was not written as it should be; is the disk sound?")
            if found := identity.found_in(copy, name):
                raise InputError(
                    f"{name} would still tell {found}, so no archive was made; please report this"
                )


if __name__ == "__main__":
    main()

"""What the logs of `external_logs` are: kind, content and origin of each file, one row each.

All other programs read that table, so a log is recognised, and its hash checked, in one place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from indexscope import schemas
from indexscope.analysis.memory_profiler_log import LogReader
from indexscope.run_record import InputError
from indexscope.settings.external_logs import ExternalFile

from . import mprof_log

MEMORY_PROFILER, MPROF = "memory_profiler", "mprof"
_BLOCK = 1 << 20


class ExternalLog(NamedTuple):
    """A row of the table external_logs, as the other programs need it."""

    log: Path
    kind: str
    system: str
    documents: int
    machine: str
    published: bool
    sha256: str


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe(file: ExternalFile, report: Callable[[str], None]) -> dict[str, Any]:
    """The row of schemas.EXTERNAL_LOGS of one file.

    Raises:
        InputError: the file cannot be read, is empty, is no log of memory_profiler or mprof, or has another
            hash than the configuration says.
    """
    path, key = Path(file.path), f"external_logs[{file.entry}]"
    try:
        sha256, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        raise InputError(f"{key}.log: {path} cannot be read ({error.strerror}): give a memory log") from error
    if file.sha256 not in (None, sha256):
        raise InputError(
            f"{key}.sha256: {path} has the SHA-256 {sha256}, not {file.sha256}: it is another log, or it has "
            "changed; give the right file or its hash"
        )
    reader = LogReader(path, report)
    tables: set[int] = set()
    attempt = 0
    for table, _ in reader.rows():
        tables.add(table.index)
        attempt = max(attempt, table.attempt)
    sampled = recordings = 0
    if reader.samples:
        for sample in mprof_log.samples(path, report):
            sampled, recordings = sampled + (sample.rss_mib > 0), sample.recording
    if not (tables or reader.calls or sampled):
        raise InputError(
            f"{key}.log: {path} holds no table, call or sample: give what a profiled run printed"
        )
    return {
        "log": file.path,
        "entry": file.entry,
        "kind": MEMORY_PROFILER if tables else MPROF,
        "system": file.system,
        "documents": file.documents,
        "machine": file.machine,
        "published": file.published,
        "source": file.log,
        "sha256": sha256,
        "bytes": size,
        "attempts": attempt if tables else max(recordings, 1),
        "tables": len(tables),
        "incomplete_tables": len(reader.incomplete),
        "calls": len(reader.calls),
        "samples": sampled,
    }


def rows(files: Iterable[ExternalFile], report: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row of schemas.EXTERNAL_LOGS for each file. Raises: as describe."""
    return [describe(file, report) for file in files]


def read(table: Path | None) -> list[ExternalLog]:
    """The logs of a table external_logs; none where there is no table.

    Raises:
        InputError: the table cannot be read.
    """
    if table is None:
        return []
    try:
        content = pq.read_table(table, schema=schemas.EXTERNAL_LOGS)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{table} cannot be read ({str(error).splitlines()[0]}): make it with tabulate_external_logs.py"
        ) from error
    return [
        ExternalLog(
            Path(row["log"]),
            row["kind"],
            row["system"],
            row["documents"],
            row["machine"],
            row["published"],
            row["sha256"],
        )
        for row in content.to_pylist()
    ]


def paths(table: Path | None, *kinds: str) -> list[Path]:
    """The logs of some kinds in a table external_logs. Raises: as read."""
    return [entry.log for entry in read(table) if entry.kind in kinds]

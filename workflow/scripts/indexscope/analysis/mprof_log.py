"""Recordings of `mprof run`: the curve of a process and of its children, as rows of the memory curve.

Grammar (memory_profiler 0.61, `memory_usage` and `TimeStamper`): `CMDLINE TEXT` begins a recording; `MEM MIB
SECONDS` is a sample of the process that was started, `CHLD PID MIB SECONDS` one of a child, written right after
it; `FUNC NAME MIB SECONDS MIB SECONDS [LEVEL]` is a call of a profiled function, and is read by
`memory_profiler_log.LogReader`. Seconds are since 1970.

The recording does not name the started process, so it has the process id 0 here. With `--include-children`, and
without `--multiprocess`, MEM is the sum over the tree; the recording does not say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from indexscope import schemas
from indexscope.analysis.memory_profiler_log import LONGEST_LINE, open_log

STARTED_PROCESS = 0  # mprof does not record its process id
PROFILER = "mprof"

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_SAMPLE = re.compile(rf"(?:MEM|CHLD (\d+)) {_NUMBER} {_NUMBER}$")
_BATCH_ROWS = 8192


class Sample(NamedTuple):
    """The memory of a process at a time; 0 MiB: it had ended by then."""

    recording: int  # 1 for the first of the file
    seconds: float  # since the recording's first sample
    process_id: int
    rss_mib: float


def samples(path: Path, report: Callable[[str], None]) -> Iterator[Sample]:
    """The samples of a recording, in order; memory does not grow with the file.

    A child that is missing between two samples of the started process has ended: it has one sample of 0 MiB at
    the second. `report` is given a sentence when lines of MEM or CHLD are broken.

    Raises:
        InputError: the file cannot be read.
    """
    recording = 0
    began: float | None = None
    alive: set[int] = set()  # children at the last sample of the started process, and since
    seen: set[int] = set()
    broken: list[int] = []
    with open_log(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE), ""), start=1):
            if line.startswith("CMDLINE "):
                recording, began, alive, seen = recording + 1, None, set(), set()
            if not line.startswith(("MEM ", "CHLD ")):
                continue
            recording = recording or 1  # the line of the command may be lost
            found = _SAMPLE.match(line.rstrip("\n"))
            if found is None or not line.endswith("\n"):
                broken.append(number)
                continue
            moment = float(found[3])
            began = moment if began is None else began
            seconds = max(0.0, round(moment - began, 4))
            if found[1] is None:
                for ended in sorted(alive - seen):
                    yield Sample(recording, seconds, ended, 0.0)
                alive, seen = seen, set()
                yield Sample(recording, seconds, STARTED_PROCESS, float(found[2]))
            else:
                seen.add(int(found[1]))
                alive.add(int(found[1]))
                yield Sample(recording, seconds, int(found[1]), float(found[2]))
    if broken:
        first = f"line {broken[0]}" + (f" and {len(broken) - 1} more" if len(broken) > 1 else "")
        report(f"{path}: {first} of MEM or CHLD cannot be read and is left out")


def run_name(system: str, documents: int, path: Path, recording: int) -> str:
    """What the memory curve calls an external recording in its column `run`."""
    return f"external/{system}/{documents}/{path.name}/{recording}"


def curve_batches(
    path: Path, system: str, documents: int, report: Callable[[str], None]
) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.MEMORY_CURVE of one recording file.

    `cell` is `external`, `profiler` is `mprof` and `repeat` the number of the recording in the file; the started
    process is `parent`, its children are `worker`.

    Raises:
        InputError: as samples.
    """
    rows: list[dict[str, Any]] = []
    for sample in samples(path, report):
        child = sample.process_id != STARTED_PROCESS
        rows.append(
            {
                "run": run_name(system, documents, path, sample.recording),
                "system": system,
                "cell": "external",
                "documents": documents,
                "profiler": PROFILER,
                "repeat": sample.recording,
                "seconds": sample.seconds,
                "process_id": sample.process_id,
                "parent_process_id": STARTED_PROCESS,
                "role": "worker" if child else "parent",
                "rss_mib": sample.rss_mib,
            }
        )
        if len(rows) == _BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(rows, schemas.MEMORY_CURVE)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schemas.MEMORY_CURVE)

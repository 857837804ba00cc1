"""Load segments in fresh processes, in every load mode and number, and write what memory each took (JSON lines).

Runs in the environment of faiss. Repeats are the outer loop, and load modes take turns within them, so that a machine
that changes does so for all of them. A process that does not complete is a line with its outcome.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from indexscope.faiss_tables import cell, segments
from indexscope.measure import command_line, proc, supervised
from indexscope.run_record import FORMAT, InputError

if TYPE_CHECKING:
    from indexscope.faiss_tables.agreement import Found

WORKER = Path(__file__).with_name("faiss_worker.py")


class Process(NamedTuple):
    """One to be measured."""

    segments: int
    load_mode: str
    repeat: int


class Settings(NamedTuple):
    """What --settings holds."""

    segments: Sequence[int]
    load_modes: Sequence[str]
    repeats: int
    memory_limit_mib: int | None
    threads: int
    timeout_seconds: float
    lock_digest: str | None

    @classmethod
    def read(cls, text: str) -> Settings:
        """Raises InputError: this is no JSON object, or a key is missing."""
        try:
            given = json.loads(text)
            return cls(*(given[name] for name in cls._fields))
        except json.JSONDecodeError as error:
            raise InputError(f"--settings: this is no JSON ({error}); see rules/faiss_common.smk") from None
        except (KeyError, TypeError) as error:
            raise InputError(f"--settings: {error} is missing; see rules/faiss_common.smk") from None

    @property
    def limits(self) -> supervised.Limits:
        return supervised.Limits(cell.SAMPLE_SECONDS, self.timeout_seconds, self.memory_limit_mib)


class Results:
    """Names for what searches found: the same name for what is equal to rounding.

    With and without its table IVFPQ adds the same terms in another order, so distances differ in their last bits.
    """

    def __init__(self) -> None:
        self._known: dict[int, list[Found]] = {}  # by number of segments

    def name(self, number: int, found: Found) -> str:
        from indexscope.faiss_tables import agreement

        known = self._known.setdefault(number, [])
        for earlier in known:
            if agreement.compare(earlier, found).verdict != agreement.DIFFERENT:
                return earlier.digest()
        known.append(found)
        return found.digest()


def processes(settings: Settings) -> Iterator[Process]:
    """All, in the order in which they are measured."""
    modes = list(settings.load_modes)
    turn = 0
    for repeat in range(1, settings.repeats + 1):
        for number in settings.segments:
            for place in range(len(modes)):
                yield Process(number, modes[(turn + place) % len(modes)], repeat)
            turn += 1


def record(
    grid: str,
    folder: segments.Folder,
    settings: Settings,
    process: Process,
    ended: cell.Ended,
    results: Results,
) -> Mapping[str, Any]:
    """One line of the output."""
    content = folder.content
    return {
        "format": FORMAT,
        "grid": grid,
        "index_type": content.index_type,
        "metric": content.metric,
        "geometry": dict(content.geometry),
        **process._asdict(),
        "outcome": ended.outcome,
        "outcome_detail": ended.outcome_detail,
        "memory_limit_mib": settings.memory_limit_mib,
        "file_bytes": folder.sizes(process.segments),
        "measured": ended.measured.as_json() if ended.measured else None,
        "results_digest": results.name(process.segments, ended.found) if ended.found else None,
        "tree_peak_rss_mib": ended.run.tree_peak_rss_mib,
        "wall_seconds": ended.run.wall_seconds,
        "started_at": ended.run.started_at,
        "hardware": proc.hardware(),
        "lock_digest": settings.lock_digest,
        "git_commit": os.environ.get("INDEXSCOPE_COMMIT") or None,
    }


def measure(grid: str, folder: segments.Folder, settings: Settings, output: Path) -> None:
    """Measure all processes; `output` is there when all are done."""
    planned = list(processes(settings))
    folder.files(max(settings.segments))  # all there, before the first is measured
    results, started = Results(), time.monotonic()
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as lines, tempfile.TemporaryDirectory() as scratch:
            for done, process in enumerate(planned, 1):
                ended = cell.run_worker(
                    WORKER, folder.path, process.segments, process.load_mode, settings.limits, settings.threads,
                    Path(scratch),
                )  # fmt: skip
                line = record(grid, folder, settings, process, ended, results)
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                left = (time.monotonic() - started) / done * (len(planned) - done)
                print(
                    f"{done}/{len(planned)}: {process.segments} segments, {process.load_mode}, "
                    f"repeat {process.repeat}: "
                    f"{ended.outcome}; about {left / 60:.1f} minutes left",
                    flush=True,
                )
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--segments", type=Path, required=True, metavar="FOLDER", help="what build_faiss_segments.py wrote"
    )
    parser.add_argument(
        "--grid", required=True, choices=["grid", "rfc"], help="what the lines say they belong to"
    )
    parser.add_argument(
        "--settings",
        required=True,
        metavar="JSON",
        help="segments, load_modes, repeats, memory_limit_mib, threads, timeout_seconds, lock_digest",
    )
    parser.add_argument("--output", type=Path, required=True, help="the file to write (JSON lines)")
    arguments = parser.parse_args()
    command_line.require_linux()
    command_line.leave_by_exception()
    try:
        settings = Settings.read(arguments.settings)
        measure(arguments.grid, segments.read(arguments.segments), settings, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""One process that loads segments, searches them, and says what memory that took; and how it is started.

What is counted is what comes on top of a process that has done the same with a tiny index (the primer), so that
pages of libraries that are touched first, and what Python and faiss set up once, are no part of a segment:

- Segments are loaded in a thread of its own, whose heap (glibc: arena) is empty. In the heap of the main thread they
  would first fill what importing left free there, some 100 KiB, and would seem smaller.
- Memory is read from smaps_rollup when the resident set has stopped changing. What loading frees and malloc keeps
  counts: it is memory of the process.
- Transparent huge pages are off in the process: with them, memory is counted in steps of 2 MiB, and by chance.
- MALLOC_MMAP_THRESHOLD_ has glibc's own initial value, which glibc would otherwise raise by what was freed before.

The parent's part is standard library; the rest runs in the environment of faiss.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from indexscope.measure import supervised
from indexscope.run_record import COMPLETED, FORMAT, InputError, read_json_object

from . import formulas, segments

if TYPE_CHECKING:
    from .agreement import Found

NPROBE = 8
K = 10
RESULTS = "results.npz"  # beside the worker's output
FAILED = "failed"
SAMPLE_SECONDS = 0.02

_PR_SET_THP_DISABLE = 41
_STILL_READS = 3  # equal readings of the resident set, this many after one another …
_STILL_SECONDS = 0.01  # … this far apart
_SETTLE_SECONDS = 2.0  # at most


class Memory(NamedTuple):
    """Memory of a process, in KiB."""

    pss: int
    rss: int
    anonymous: int

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Memory:
        return cls(*(int(section[name]) for name in cls._fields))

    @property
    def file_pages(self) -> int:
        """Resident pages of files, each counted whole: their share in PSS depends on who else maps them."""
        return self.rss - self.anonymous


class Measured(NamedTuple):
    """What one process measured."""

    baseline: Memory  # libraries loaded and primed, no segment
    loaded: Memory  # all segments, settled
    warm: Memory  # after all searches, settled
    settled: bool  # the resident set stopped changing before each reading
    load_seconds: float
    first_search_seconds: float  # one query in every segment
    faiss_version: str

    @classmethod
    def read(cls, path: Path) -> Measured:
        """The result of faiss_worker.py.

        Raises:
            InputError: it is missing, truncated, or lacks a value.
        """
        record = read_json_object(path, "faiss_worker.py did not finish; measure again")
        try:
            return cls(
                baseline=Memory.of(record["baseline"]),
                loaded=Memory.of(record["loaded"]),
                warm=Memory.of(record["warm"]),
                settled=bool(record["settled"]),
                load_seconds=float(record["load_seconds"]),
                first_search_seconds=float(record["first_search_seconds"]),
                faiss_version=str(record["faiss_version"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: {error} is missing or damaged: faiss_worker.py did not finish; measure again"
            ) from None

    def write(self, path: Path) -> None:
        record = {"format": FORMAT, **self.as_json()}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
        partial.replace(path)

    def as_json(self) -> dict[str, Any]:
        return {
            name: value._asdict() if isinstance(value, Memory) else value
            for name, value in self._asdict().items()
        }


class Ended(NamedTuple):
    """How a measured process ended, and what it measured where it completed."""

    run: supervised.Supervised
    outcome: str
    outcome_detail: str | None
    measured: Measured | None
    found: Found | None  # of all queries in every segment, one segment after another


# The parent's part


def run_worker(
    worker: Path,
    folder: Path,
    count: int,
    load_mode: str,
    limits: supervised.Limits,
    threads: int,
    scratch: Path,
) -> Ended:
    """Load the first `count` segments of `folder` in a fresh process under `limits`.

    Args:
        worker: faiss_worker.py.
        scratch: folder for what the process writes; files of an earlier process there are replaced.
    """
    output, results, printed = scratch / "result.json", scratch / RESULTS, scratch / "printed.txt"
    for path in (output, results):
        path.unlink(missing_ok=True)
    command = [
        sys.executable, str(worker), "--segments", str(folder), "--count", str(count), "--load-mode", load_mode,
        "--output", str(output),
    ]  # fmt: skip
    run = supervised.run(command, str(printed), limits, worker_environment(os.environ, threads))
    if run.outcome != COMPLETED:
        return Ended(run, run.outcome, run.outcome_detail, None, None)
    try:
        return Ended(run, COMPLETED, None, Measured.read(output), read_results(results))
    except InputError as error:
        return Ended(run, FAILED, str(error), None, None)


def read_results(path: Path) -> Found:
    """What a measured process found.

    Raises:
        InputError: the file is missing or truncated.
    """
    import numpy as np

    from .agreement import Found

    try:
        with np.load(path) as arrays:
            return Found(arrays["ids"], arrays["distances"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}): faiss_worker.py did not finish; measure again"
        ) from None


def worker_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment of a measured process, given that of its parent."""
    return {
        **environment,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_MMAP_THRESHOLD_": str(formulas.MMAP_THRESHOLD),
    }


# The measured process's part


def measure(folder: segments.Folder, count: int, load_mode: str) -> tuple[Measured, Found]:
    """Load, search and read memory in this process. Raises InputError: a segment cannot be loaded."""
    import faiss
    import numpy as np

    from . import loading
    from .agreement import Found

    paths = folder.files(count)
    if load_mode not in loading.LOADERS:
        raise InputError(f"--load-mode: {load_mode!r} is none of {', '.join(loading.LOADERS)}")
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    queries = np.load(folder.queries)
    load = loading.LOADERS[load_mode]
    _prime(load, folder.primer)
    # Touched before memory is read: what was found is no memory of a segment.
    shape = (count, len(queries), K)
    found = Found(np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.float32))
    measured = _in_thread(lambda: _measure(load, paths, queries, found, faiss.__version__))
    return measured, Found(found.ids.reshape(-1, K), found.distances.reshape(-1, K))


def _measure(load: Any, paths: Sequence[Path], queries: Any, found: Found, faiss_version: str) -> Measured:
    """Nothing is imported here: what importing frees would be in the thread's heap, for segments to fill."""
    baseline, still = settle()
    started = time.perf_counter()
    loaded = load(paths)
    load_seconds = time.perf_counter() - started
    after_loading, still_then = settle()
    started = time.perf_counter()
    for index in loaded.indexes:
        search(index, queries[:1])
    first_search_seconds = time.perf_counter() - started
    for number, index in enumerate(loaded.indexes):
        found.distances[number], found.ids[number] = search(index, queries)
    warm, still_at_last = settle()
    return Measured(
        baseline,
        after_loading,
        warm,
        still and still_then and still_at_last,
        load_seconds,
        first_search_seconds,
        faiss_version,
    )


def write(output: Path, measured: Measured, found: Found) -> None:
    """What was found beside `output`, then `output` itself, which says that all is there."""
    import numpy as np

    with (output.parent / RESULTS).open("wb") as file:
        np.savez(file, ids=found.ids, distances=found.distances)
    measured.write(output)


def search(index: Any, queries: Any) -> tuple[Any, Any]:
    """Distances and ids of the nearest K of each query."""
    if hasattr(index, "nprobe"):
        index.nprobe = min(NPROBE, index.nlist)
    return tuple(index.search(queries, K))


def settle() -> tuple[Memory, bool]:
    """Wait until the resident set stops changing, then read; False when it did not within two seconds."""
    gc.collect()
    deadline = time.monotonic() + _SETTLE_SECONDS
    last, equal = -1, 0
    while equal < _STILL_READS and time.monotonic() < deadline:
        pages = _resident_pages()
        equal = equal + 1 if pages == last else 0
        last = pages
        time.sleep(_STILL_SECONDS)
    return read_memory(), equal >= _STILL_READS


def read_memory() -> Memory:
    """This process's memory by smaps_rollup, which counts page by page."""
    wanted = {"Pss:": 0, "Rss:": 0, "Anonymous:": 0}
    with Path("/proc/self/smaps_rollup").open(encoding="ascii") as rollup:
        for line in rollup:
            name, _, value = line.partition(" ")
            if name in wanted:
                wanted[name] = int(value.split()[0])
    return Memory(*wanted.values())


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def _prime(load: Any, primer: Path) -> None:
    import numpy as np

    loaded = load([primer])
    search(loaded.indexes[0], np.zeros((1, loaded.indexes[0].d), dtype=np.float32))


def _in_thread(task: Any) -> Any:
    """The result of `task`, called in a thread of its own; what it raises is raised here."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(task())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]

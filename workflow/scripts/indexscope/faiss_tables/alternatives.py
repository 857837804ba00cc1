"""The alternatives of opensearch-project/k-NN#1507 to a table for each segment, each tried on the same segments.

Memory and load time are those of fresh processes (cell.run_worker), repeated in turn. Searches are timed in one
process, in turn with those of an index that was loaded as faiss does (latency.measure_round). Whether vectors can be
added is tried in a process of its own: faiss ends the process where they cannot.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.measure import supervised
from indexscope.run_record import InputError

from . import agreement, cell, formulas, segments

KEEP = "keep"
# Alternative → load mode of loading.LOADERS; the others are compared with the first.
ALTERNATIVES = {
    KEEP: "default",
    "disable": "skip",
    "serialise with the model": "serialised",
    "initialise from the model index": "from_model",
    "share": "shared",
}
_MOST_SEGMENTS = 20
_ROUNDS, _QUERIES, _WARM_UP = 6, 200, 100
_STREAM = (1 << 29) + 4  # of the vectors that are searched for
_SCRIPTS = Path(__file__).resolve().parents[2]
_LOADED = "loaded"  # printed before a vector is added
_ADD = "import sys; from indexscope.faiss_tables import alternatives; alternatives.add_one(*sys.argv[1:])"


class Settings(NamedTuple):
    """How processes are measured."""

    segments: int
    repeats: int
    threads: int
    limits: supervised.Limits

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From what rules/faiss_common.smk gives for a grid.

        Raises:
            InputError: a key is missing.
        """
        try:
            fitting = [number for number in given["segments"] if number <= _MOST_SEGMENTS]
            limits = supervised.Limits(
                cell.SAMPLE_SECONDS, given["timeout_seconds"], given["memory_limit_mib"]
            )
            return cls(
                max(fitting, default=min(given["segments"])), given["repeats"], given["threads"], limits
            )
        except KeyError as error:
            raise InputError(f"--settings: {error} is missing; see rules/faiss_common.smk") from None


def measure(
    folder: segments.Folder, settings: Settings, worker: Path, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """A record for each alternative, on the first segments of `folder`.

    Raises:
        InputError: the folder holds too few segments, or one cannot be loaded.
    """
    paths = folder.files(settings.segments)
    content = folder.content
    reason = without_table(content)
    tried = [KEEP] if reason else list(ALTERNATIVES)
    with tempfile.TemporaryDirectory() as scratch:
        linked = _linked(folder, Path(scratch) / "segments", prepare=not reason)
        ended: dict[str, list[cell.Ended]] = {name: [] for name in tried}
        for repeat in range(settings.repeats):
            for place in range(len(tried)):
                name = tried[(place + repeat) % len(tried)]
                say(
                    f"{content.index_type}, {content.metric}: {name}, {len(paths)} segments, repeat {repeat + 1}"
                )
                ended[name].append(
                    cell.run_worker(
                        worker, linked, len(paths), ALTERNATIVES[name], settings.limits, settings.threads,
                        Path(scratch),
                    )
                )  # fmt: skip
        first = linked / paths[0].name
        found = {name: next((one.found for one in runs if one.found), None) for name, runs in ended.items()}
        rounds = {} if reason else _rounds(first, content, settings.threads)
        extra = 0 if reason else _extra_bytes(first)
        return [
            {
                "index_type": content.index_type,
                "metric": content.metric,
                "geometry": dict(content.geometry),
                "segments": len(paths),
                "alternative": name,
                "possible": name in tried,
                "reason": None if name in tried else reason,
                "processes": [_process(one) for one in ended.get(name, [])],
                "p50_nanoseconds": rounds.get(name, []),
                "extra_file_bytes": (extra if ALTERNATIVES[name] == "serialised" else 0)
                if name in tried
                else None,
                **_agreement(found.get(KEEP), found.get(name)),
                "can_add": can_add(first, ALTERNATIVES[name]) if name in tried else None,
            }
            for name in ALTERNATIVES
        ]


def without_table(content: segments.Content) -> str | None:
    """Why there is nothing to choose for these segments; None where faiss computes a table for them."""
    if formulas.table_bytes(content.index_type, content.metric, content.sizes):
        return None
    if content.index_type == formulas.IVF_FLAT:
        return "IVF-Flat stores vectors without a product quantizer: it has no table"
    if content.metric == formulas.INNER_PRODUCT:
        return "with the inner product IVFPQ needs no table of its lists, and faiss computes none"
    return "faiss builds no table of more than precomputed_table_max_bytes (2 GiB)"


def can_add(path: Path, load_mode: str) -> bool:
    """Whether a segment takes another vector after loading, tried in a fresh process.

    Raises:
        InputError: it cannot even be loaded there.
    """
    command = [sys.executable, "-c", _ADD, str(path.absolute()), load_mode]
    ended = subprocess.run(command, cwd=_SCRIPTS, capture_output=True, text=True, check=False)
    if _LOADED not in ended.stdout:
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        raise InputError(
            f"{path} cannot be loaded as {load_mode} to add a vector to it ({last}): measure again"
        )
    return ended.returncode == 0


def add_one(path: str, load_mode: str) -> None:
    """What `can_add` runs: add a vector, and find as many vectors as there then are."""
    import numpy as np

    from . import loading

    loaded = loading.LOADERS[load_mode]([Path(path)])
    (index,) = loaded.indexes
    before = index.ntotal
    print(_LOADED, flush=True)
    index.add(np.zeros((1, index.d), dtype=np.float32))
    if index.ntotal != before + 1:
        sys.exit(f"{path}: {index.ntotal} vectors after one was added to {before}")


def _linked(folder: segments.Folder, target: Path, prepare: bool) -> Path:
    """The folder's files by links, beside the model and its table, which are made here."""
    from . import copied

    target.mkdir()
    for path in folder.path.iterdir():
        (target / path.name).symlink_to(path.resolve())
    if prepare:
        copied.prepare(target, target / segments.segment_name(0))
        copied.prepare(target, target / segments.PRIMER)
    return target


def _extra_bytes(segment: Path) -> int:
    from . import copied

    return copied.table_file(segment).stat().st_size


def _rounds(path: Path, content: segments.Content, threads: int) -> dict[str, list[int]]:
    """Alternative → median time of a query in each round, in nanoseconds."""
    import faiss
    import numpy as np

    from . import latency

    faiss.omp_set_num_threads(threads)
    wanted = segments.vectors(int(content.geometry["seed"]), _STREAM, _WARM_UP + _QUERIES, content.sizes)
    nprobes = [None if content.index_type == formulas.HNSW_PQ else min(cell.NPROBE, content.sizes.nlist)]
    medians: dict[str, list[int]] = {name: [] for name in ALTERNATIVES}
    ways = {name: _opener(mode) for name, mode in ALTERNATIVES.items()}
    for number in range(_ROUNDS):
        for _, timed in latency.measure_round(
            path, ways, nprobes, wanted[_WARM_UP:], wanted[:_WARM_UP], cell.K, number
        ):
            for one in timed:
                medians[one.way].append(int(np.median(one.nanoseconds)))
    return medians


def _opener(load_mode: str) -> Callable[[Path], contextlib.AbstractContextManager[Any]]:
    from . import loading

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[Any]:
        # Twice: where a table is shared, it is by two.
        loaded = loading.LOADERS[load_mode]([path, path])
        yield loaded.indexes[0]

    return opened


def _process(ended: cell.Ended) -> dict[str, Any]:
    measured = ended.measured
    return {
        "outcome": ended.outcome,
        "outcome_detail": ended.outcome_detail,
        "baseline_kib": measured.baseline._asdict() if measured else None,
        "loaded_kib": measured.loaded._asdict() if measured else None,
        "load_seconds": measured.load_seconds if measured else None,
    }


def _agreement(keep: agreement.Found | None, other: agreement.Found | None) -> dict[str, Any]:
    """Columns of how the results of all segments agree with keep's."""
    if keep is None or other is None:
        return {"agreement": None, "largest_difference": None}
    compared = agreement.compare(keep, other)
    return {"agreement": compared.verdict, "largest_difference": compared.largest_difference}

"""Small tables of made-up runs with known numbers, in the schemas of results/tables."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ledger_rows
import pandas as pd
import pyarrow as pa
from indexscope import schemas
from indexscope.analysis import memory_model_check
from indexscope.analysis.confounds import confound_rows
from indexscope.analysis.run_comparison import Thresholds, compare_all

Row = dict[str, Any]

LABELS = {
    "colbert": "ColBERT",
    "ragatouille_faiss_true": "RAGatouille, use_faiss=True",
    "ragatouille_faiss_false": "RAGatouille, use_faiss=False",
}
SCHEMAS = schemas.INDEX_MEMORY_TABLES
ARTIFACTS = {
    "final/-/0/centroids": ("(512, 96)", "float32"),
    "final/-/0/avg_residual": ("()", "float32"),
    "final/-/0/bucket_cutoffs": ("(3,)", "float32"),
    "final/-/0/bucket_weights": ("(4,)", "float32"),
    "final/-/0/ivf": ("(21804,)", "int32"),
    "final/-/0/ivf_lengths": ("(512,)", "int32"),
    "final/0/0/codes": ("(23112,)", "int32"),
    "final/0/0/residuals": ("(23112, 24)", "uint8"),
    "final/0/0/doclens": ("(300,)", "int32"),
}
_INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
QUALIFIED = {
    "indexer.index": "colbert.indexer.Indexer.index",
    "encoder.encode_passages": "colbert.indexing.collection_encoder.CollectionEncoder.encode_passages",
    **{name: _INDEXER + name for name in ("_sample_embeddings", "setup", "train", "index", "finalize")},
}


def key(system: str, documents: int, profiler: str = "none", repeat: int = 1, cell: str = "0a1b2c3d") -> Row:
    return {
        "run": f"{system}-{cell}/{documents}/{profiler}/{repeat}",
        "system": system,
        "cell": cell,
        "documents": documents,
        "profiler": profiler,
        "repeat": repeat,
    }


def run(
    system: str,
    documents: int,
    profiler: str = "none",
    repeat: int = 1,
    *,
    peak: float | None = 1000.0,
    outcome: str = "completed",
    **columns: Any,
) -> Row:
    """A row of runs; `peak` is the process tree's (MiB)."""
    in_process = system != "colbert"
    row = {
        **key(system, documents, profiler, repeat, columns.pop("cell", "0a1b2c3d")),
        "label": LABELS.get(system),
        "framework": "ragatouille" if in_process else "colbert",
        "environment": "ragatouille" if in_process else "colbert",
        "outcome": outcome,
        "exit_code": 0 if outcome == "completed" else -9,
        "device": "cpu",
        "process_model": "in process" if in_process else "child process",
        "passages": documents * 131 // 100 if in_process else documents,
        "embeddings": documents * 77,
        "partitions": 512 if documents < 1000 else 2048,
        "dim": 96,
        "nbits": 4 if in_process else 2,
        "doc_maxlen": 256,
        "index_bsize": 32 if in_process else 64,
        "kmeans_iterations": 20 if in_process else 4,
        "kmeans_backend": "torch" if system.endswith("false") else "faiss",
        "kmeans_points": documents * 38,
        "kmeans_attempts": 1,
        "index_size_mib": documents * 0.0021,
        "wall_seconds": 15.0,
        "index_seconds": 8.5,
        "planning_seconds": 1.0,
        "training_seconds": 0.5,
        "encoding_seconds": 2.0,
        "finalizing_seconds": 0.5,
        "seconds_per_25k_passages": 2.0 * 25_000 / documents,
        "tree_peak_rss_mib": peak,
        "tree_peak_moment": None if peak is None else "index call",
        "index_peak_rss_mib": peak,
        "parent_peak_rss_mib": None if peak is None else peak if in_process else 450.0,
        "worker_peak_rss_mib": None if peak is None or in_process else peak - 490.0,
        "manager_peak_rss_mib": None if in_process else 40.0,
        "processes": 1 if in_process else 3,
        "samples": 750,
        "sample_interval_seconds": 0.02,
        "peaks_exact": True,
        "threads": 2,
        "allocator": "default",
        "corpus": "synthetic",
        "checkpoint": "synthetic_small",
        "python_version": "3.11.7",
        "torch_version": "2.10.0",
        "transformers_version": "4.57.6",
        "faiss_version": "1.14.1.post1",
        "colbert_version": "0.2.22",
        "ragatouille_version": "0.0.9.post2" if in_process else None,
        "cpu_model": "Intel(R) Xeon(R) Processor @ 2.90GHz",
        "cpu_count": 2,
        "memory_total_mib": 24576.0,
        "kernel": "6.18.5",
        "lock_digest": "5e6f7a8b",
        "git_commit": "0123456789ab",
        "started_at": datetime.datetime(2025, 11, 3, 14, 20, repeat, tzinfo=datetime.UTC),
    }
    return row | columns


def span(
    of: Row,
    function: str,
    seconds: tuple[float, float],
    rss: tuple[float, float, float],
    role: str = "parent",
    **columns: Any,
) -> Row:
    """A row of spans of the run `of`.

    `function` is a published label or a dotted name; `seconds` are start and end, `rss` start, end and peak.
    """
    return {
        **{name: of[name] for name in ("run", "system", "cell", "documents", "profiler", "repeat")},
        "process_id": {"parent": 100, "worker": 102}[role],
        "role": role,
        "function": QUALIFIED.get(function, function),
        "call": 0,
        "depth": 0,
        "started_seconds": seconds[0],
        "ended_seconds": seconds[1],
        "start_rss_mib": rss[0],
        "end_rss_mib": rss[1],
        "peak_rss_mib": rss[2],
        "peak_exact": True,
        **columns,
    }


def samples(of: Row, role: str, points: Iterable[tuple[float, float]]) -> list[Row]:
    """Rows of memory_curve: (seconds, MiB) of one process of the run `of`."""
    process_id = {"parent": 100, "manager": 101, "worker": 102}[role]
    return [
        {
            **{name: of[name] for name in ("run", "system", "cell", "documents", "profiler", "repeat")},
            "seconds": seconds,
            "process_id": process_id,
            "parent_process_id": 1 if role == "parent" else 100,
            "role": role,
            "rss_mib": rss,
        }
        for seconds, rss in points
    ]


def function_row(of: Row, function: str, mib: tuple[float, float, float], attempt: int = 1) -> Row:
    """A row of memory_by_function of the run `of`; `mib` are start, increment and final."""
    return {
        "log": f"results/index_runs/{of['run']}/memory_profiler.log",
        "attempt": attempt,
        "function": function,
        "start_mib": mib[0],
        "increment_mib": mib[1],
        "final_mib": mib[2],
        "process": 102,
        "qualified_name": QUALIFIED[function],
    }


def line(
    of: Row, table: int, defined: tuple[str, str], mib: float, process: int = 102, attempt: int = 1
) -> Row:
    """A row of memory_profiler_lines of the run `of`; `defined` is the module's file and the function."""
    return {
        "log": f"results/index_runs/{of['run']}/memory_profiler.log",
        "table": table,
        "attempt": attempt,
        "source_file": f"/environment/site-packages/colbert/{defined[0]}.py",
        "function": defined[1],
        "line_number": 7,
        "memory_mib": mib,
        "increment_mib": 0.0,
        "occurrences": 1,
        "line_contents": "    pass",
        "process": process,
    }


def comparison(
    kind: str,
    documents: int,
    left: tuple[str, Sequence[float]],
    right: tuple[str, Sequence[float]],
    *,
    separated: bool | None = None,
    quantity: str = "tree_peak_rss_mib",
) -> Row:
    """A row of memory_comparison; a side is its name and its samples, of odd number."""
    row: Row = {"comparison": kind, "documents": documents, "quantity": quantity, "separated": separated}
    for side, (name, values) in (("left", left), ("right", right)):
        ordered = sorted(values)
        row |= {
            side: name,
            f"{side}_runs": len(ordered),
            f"{side}_median": ordered[len(ordered) // 2],
            f"{side}_min": ordered[0],
            f"{side}_max": ordered[-1],
        }
    row["difference"] = row["right_median"] - row["left_median"]
    row["ratio"] = row["right_median"] / row["left_median"]
    return row


def artifact(pair: str, left: Row, right: Row, name: str, verdict: str = "equal", **columns: Any) -> Row:
    """A row of artifact_comparison; `name` is a key of ARTIFACTS or `{stage}/{chunk}/{call}/{name}`."""
    shape, dtype = ARTIFACTS.get(name, ("(1,)", "float32"))
    compared = verdict in ("equal", "within tolerance", "differs")
    return {
        "pair": pair,
        "left_run": left["run"],
        "right_run": right["run"],
        "left_outcome": left["outcome"],
        "right_outcome": right["outcome"],
        "documents": left["documents"],
        "artifact": name,
        "stage": name.split("/", 1)[0],
        "name": name.rsplit("/", 1)[1],
        "compared_as": "as stored",
        "presence": "left only" if verdict == "missing" else "both",
        "left_shape": shape,
        "right_shape": None if verdict == "missing" else shape,
        "left_dtype": dtype,
        "right_dtype": None if verdict == "missing" else dtype,
        "exact": verdict == "equal" if compared else None,
        "within_tolerance": verdict != "differs" if compared and dtype.startswith("float") else None,
        "rtol": 1e-5 if compared else None,
        "atol": 1e-8 if compared else None,
        "equal_fraction": (1.0 if verdict == "equal" else 0.25) if compared else None,
        "mean_absolute_difference": (0.0 if verdict == "equal" else 0.01) if compared else None,
        "max_absolute_difference": (0.0 if verdict == "equal" else 0.125) if compared else None,
        "verdict": verdict,
        **columns,
    }


def published_encoding() -> list[Row]:
    """Rows of published_encode_seconds: twice and ten times as long under memory_profiler."""
    return [
        {
            "framework": framework,
            "profiler": profiler,
            "gpu": "RTX 6000 Ada",
            "seconds_per_25k_passages": seconds,
            "source": "made up",
        }
        for framework, profiler, seconds in [
            ("colbert", "none", 10.0),
            ("ragatouille", "none", 15.0),
            ("colbert", "memory_profiler", 20.0),
            ("ragatouille", "memory_profiler", 150.0),
        ]
    ]


def frame(name: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """The rows as the table `name`, as a figure reads it."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMAS[name]).to_pandas()


def write(directory: Path, **rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write all tables into `directory`, empty where `rows` has none; returns the directory."""
    for name, schema in SCHEMAS.items():
        schemas.write_table(rows.get(name, ()), schema, directory / f"{name}.parquet")
    return directory


def draw_figures(directory: Path, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Draw every figure of the tables `rows` into `directory`; returns the directory."""
    from indexscope.figures import (
        artifact_comparison,
        confounds,
        files,
        ghost,
        memory_by_function,
        memory_model,
        memory_over_time,
        part_growth,
        peak_memory,
        peak_parts,
        phase_time,
        profiler_cost,
        published_beside_ours,
        resolved_settings,
    )

    table = {name: frame(name, rows.get(name, ())) for name in SCHEMAS}
    runs, comparison = table["runs"], table["memory_comparison"]
    figures = {
        "peak_memory": peak_memory.draw(runs, comparison),
        "memory_over_time": memory_over_time.draw(runs, table["memory_curve"], table["spans"], comparison),
        "memory_by_function": memory_by_function.draw(runs, table["spans"], table["memory_by_function"]),
        "ghost": ghost.draw(
            runs, table["spans"], table["memory_by_function"], table["memory_profiler_lines"]
        ),
        "phase_time": phase_time.draw(runs, comparison, table["published_encode_seconds"]),
        "profiler_cost": profiler_cost.draw(runs, comparison, table["published_encode_seconds"]),
        "confounds": confounds.draw(table["confounds"], runs),
        "peak_parts": peak_parts.draw(table["ledger"], runs),
        "part_growth": part_growth.draw(table["ledger"], runs),
        "memory_model": memory_model.draw(table["memory_model"], table["memory_model_terms"]),
        "resolved_settings": resolved_settings.draw(runs),
        "published_beside_ours": published_beside_ours.draw(table["published_memory"], runs),
        "artifact_comparison": artifact_comparison.draw(table["artifact_comparison"], runs),
    }
    for name, figure in figures.items():
        files.save(figure, directory / name)
    return directory


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def references(page: str) -> list[str]:
    """What a page's elements refer to: values of src, href and the like."""
    parser = _References()
    parser.feed(page)
    return parser.found


# A whole study: three systems, two sizes, three profilers, and one run that was killed for memory.

# Phase: start and end as parts of the run, memory at the end and exact peak as parts of the worker's peak.
_PHASES = {
    "setup": (0.55, 0.68, 0.62, 0.66),
    "train": (0.68, 0.76, 0.66, 0.80),
    "index": (0.76, 0.88, 0.74, 1.00),
    "finalize": (0.88, 0.95, 0.78, 0.90),
}
_PEAKS = {
    ("colbert", 300): 1210.0,
    ("colbert", 1000): 1484.0,
    ("ragatouille_faiss_true", 300): 948.0,
    ("ragatouille_faiss_true", 1000): 1213.0,
    ("ragatouille_faiss_false", 300): 951.0,
    ("ragatouille_faiss_false", 1000): 1302.0,
}
_SECONDS = {("colbert", 300): 14.6, ("colbert", 1000): 18.2}
_GEOMETRY = {"layers": 2, "hidden_size": 128, "heads": 2, "intermediate_size": 256, "vocab_size": 4096}
_KILLED = ("ragatouille_faiss_false", 1000, "spans", 1)


def study() -> dict[str, list[Row]]:
    """Rows of every table; shaped like a run of the default configuration, the numbers made up."""
    rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}
    for (system, documents), peak in _PEAKS.items():
        repeats = 3 if documents == 300 else 1
        for repeat in range(1, repeats + 1):
            _add_run(rows, (system, documents, "none", repeat), peak + 17 * (repeat - 1))
        _add_run(rows, (system, documents, "spans", 1), peak + 9)
        if documents == 300:
            _add_run(rows, (system, documents, "memory_profiler", 1), peak + 84)
    _add_comparisons(rows)
    rows["confounds"] = list(confound_rows(rows["runs"]))
    rows["run_comparison"] = list(compare_all(rows["runs"], rows["spans"], Thresholds()))
    _add_ledgers(rows)
    checked = memory_model_check.check_runs(rows["runs"], rows["spans"], _GEOMETRY)
    rows["memory_model"], rows["memory_model_terms"] = list(checked.model), list(checked.terms)
    return rows


def _add_ledgers(rows: dict[str, list[Row]]) -> None:
    for (system, documents), parts in {
        ("colbert", 300): ledger_rows.colbert(300),
        ("ragatouille_faiss_true", 300): ledger_rows.ragatouille(300),
    }.items():
        _add_run(rows, (system, documents, "ledger", 1), _PEAKS[system, documents] + 30)
        rows["ledger"] += ledger_rows.moment(rows["runs"][-1], parts)


def _add_run(rows: dict[str, list[Row]], identity: tuple[str, int, str, int], peak: float) -> None:
    system, documents, profiler, _ = identity
    killed = identity == _KILLED
    seconds = _SECONDS.get((system, documents), 11.0 if documents == 300 else 16.0)
    of = run(
        *identity,
        peak=peak,
        outcome="out_of_memory_host" if killed else "completed",
        outcome_detail="the kernel ended process 100 (SIGKILL)" if killed else None,
        wall_seconds=seconds * (0.8 if killed else 1.0) + (9 if profiler == "memory_profiler" else 0),
    )
    rows["runs"].append(of)
    child = system == "colbert"
    top = peak - (450.0 + 40.0 if child else 0.0)
    rows["memory_curve"] += _curve(of, child, seconds, top, killed)
    if profiler == "spans" and not killed:
        rows["spans"] += _spans(of, child, seconds, top)
    elif profiler == "memory_profiler":
        rows["memory_by_function"] += _function_rows(of, child, top)


def _spans(of: Row, child: bool, seconds: float, top: float) -> list[Row]:
    role = "worker" if child else "parent"
    first = 0.58 * seconds
    outer = 450.0 if child else top
    return [
        span(of, "indexer.index", (3.0, 0.97 * seconds), (410, 430, outer)),
        *[
            span(of, name, (start * seconds, end * seconds), (0.5 * top, at_end * top, exact * top), role)
            for name, (start, end, at_end, exact) in _PHASES.items()
        ],
        span(of, "_sample_embeddings", (first, first + 1), (0.5 * top, 0.6 * top, 0.66 * top), role),
        *[
            span(
                of,
                "encoder.encode_passages",
                (first + call, first + call + 0.5),
                (0.5 * top, 0.6 * top, (0.66 + 0.2 * call) * top),
                role,
                call=call,
            )
            for call in range(2)
        ],
    ]


def _function_rows(of: Row, child: bool, top: float) -> list[Row]:
    """All seven functions, but `finalize` of the child is missing."""
    rows = [
        function_row(of, "indexer.index", (410, 30, 440) if child else (410, 320, 0.78 * top)),
        function_row(of, "setup", (0.5 * top, 0.12 * top, 0.62 * top)),
        function_row(of, "_sample_embeddings", (0.5 * top, 0.11 * top, 0.61 * top)),
        function_row(of, "encoder.encode_passages", (0.5 * top, 0.11 * top, 0.61 * top)),
        function_row(of, "train", (0.62 * top, 0.05 * top, 0.67 * top)),
        function_row(of, "index", (0.67 * top, 0.06 * top, 0.73 * top)),
    ]
    return rows if child else [*rows, function_row(of, "finalize", (0.73 * top, -0.03 * top, 0.70 * top))]


def _curve(of: Row, child: bool, seconds: float, top: float, killed: bool) -> list[Row]:
    """Imports, then the phases with a spike at `top` in `index`; a killed run stops there."""
    parts = [(0.0, 0.02), (0.1, 0.2), (0.3, 0.42), (0.55, 0.5)]
    parts += [(end, at_end) for _, end, at_end, _ in _PHASES.values()]
    parts += [(0.82, 0.72), (0.83, 1.0), (0.84, 0.72), (1.0, 0.75)]
    parts.sort()
    points = []
    for (left, low), (right, high) in itertools.pairwise(parts):
        steps = max(1, int((right - left) * seconds / 0.02))
        points += [
            (
                round((left + (right - left) * step / steps) * seconds, 4),
                top * (low + (high - low) * step / steps),
            )
            for step in range(steps)
        ]
    spike = 0.83 * seconds
    points = [(time, rss) for time, rss in points if not killed or time <= spike]
    if not child:
        return samples(of, "parent", points)
    end = round(0.97 * seconds, 4)
    return [
        *samples(
            of, "parent", [(0.0, 20.0), (0.1 * seconds, 240.0), (0.25 * seconds, 450.0), (seconds, 447.0)]
        ),
        *samples(of, "manager", [(0.27 * seconds, 40.0), (end, 0.0)]),
        *samples(of, "worker", [(t, rss) for t, rss in points if 0.28 * seconds <= t < end] + [(end, 0.0)]),
    ]


def _add_comparisons(rows: dict[str, list[Row]]) -> None:
    peaks: dict[tuple[str, int, str], list[float]] = {}
    for row in rows["runs"]:
        if row["outcome"] == "completed":
            peaks.setdefault((row["system"], row["documents"], row["profiler"]), []).append(
                row["tree_peak_rss_mib"]
            )
    systems = list(LABELS)
    for documents in (300, 1000):
        for left, right in ((0, 1), (0, 2), (1, 2)):
            sides = [(systems[side], peaks[systems[side], documents, "none"]) for side in (left, right)]
            separated = None if documents == 1000 else left == 0
            rows["memory_comparison"].append(comparison("systems", documents, *sides, separated=separated))
    for (system, documents, profiler), values in peaks.items():
        if profiler != "none":
            none = (f"{system}/none", peaks[system, documents, "none"])
            with_profiler = (f"{system}/{profiler}", values)
            rows["memory_comparison"].append(comparison("profilers", documents, none, with_profiler))
    by_run = {row["run"]: row for row in rows["runs"]}

    def of(system: str, documents: int, repeat: int = 1) -> Row:
        return by_run[key(system, documents, "none", repeat)["run"]]

    for documents in (300, 1000):
        colbert, faiss, torch = (of(system, documents) for system in LABELS)
        if documents == 300:
            rows["artifact_comparison"] += [
                artifact("repeat against repeat (colbert)", colbert, of("colbert", 300, 2), name)
                for name in ARTIFACTS
            ]
        for name in ARTIFACTS:
            verdict = "equal" if name.endswith("doclens") else "differs"
            if name.endswith("bucket_cutoffs"):
                verdict = "within tolerance"
            rows["artifact_comparison"].append(
                artifact("use_faiss true against false", faiss, torch, name, verdict)
            )
            verdict = {"float32": "dtype differs", "uint8": "missing"}.get(
                ARTIFACTS[name][1], "shape differs"
            )
            rows["artifact_comparison"].append(
                artifact("colbert against ragatouille", colbert, faiss, name, verdict)
            )
    rows["artifact_comparison"] += [
        artifact(
            "against the killed run", of("colbert", 1000), by_run[key(*_KILLED)["run"]], name, "run failed"
        )
        for name in list(ARTIFACTS)
    ]

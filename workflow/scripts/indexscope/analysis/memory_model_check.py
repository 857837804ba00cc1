"""The memory model against what was measured: our runs, phase by phase, and published peaks.

What is predicted of a run comes from the settings and sizes that it resolved, never from its memory. Two kinds of
rows: `predicted_mib` by the model's own constants (source `run`, `published`), and with one level that is fitted
to smaller sizes only (source `run extrapolated`, `published extrapolated`), which have an interval.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

from indexscope.memory_model import (
    OUTSIDE_TORCH,
    PHASES,
    TEXT_BYTES_PER_DOCUMENT,
    TRACKER_MIB,
    Constants,
    Prediction,
    Quantities,
    constants_of,
    predict,
    quantities_of,
)
from indexscope.run_record import COMPLETED, InputError

Row = dict[str, Any]

PEAK = "peak"
RUN, PUBLISHED = "run", "published"
RUN_EXTRAPOLATED, PUBLISHED_EXTRAPOLATED = "run extrapolated", "published extrapolated"
MIB = 2**20
GIB_MIB = 1024.0
CONFIDENCE = 0.95
# Profilers that leave memory as it is, or nearly; of the others the model says nothing.
PROFILERS = ("none", "spans", "memory_profiler")
_SPANS = {
    "start-up": "CollectionIndexer.__init__",
    "planning": "CollectionIndexer.setup",
    "training": "CollectionIndexer.train",
    "encoding": "CollectionIndexer.index",
    "finalizing": "CollectionIndexer.finalize",
}
_SETTINGS = (
    "process_model", "device", "passages", "embeddings", "dim", "nbits", "doc_maxlen", "index_bsize",
    "kmeans_iterations", "kmeans_backend",
)  # fmt: skip
_OWN = "terms by formula, constants as measured (memory_model.py)"

# The study's own program held more of a document than ours does: at 100,000 to 500,000 documents RAGatouille's
# process starts 3,393 bytes a document higher (config/published/memory_by_function.csv, indexer.index), where our
# terms are 928 fewer. Not of a run, of its program.
STUDY_BYTES_PER_DOCUMENT = 117.0 + 928.0
FITTED_UP_TO = 500_000  # documents: larger published peaks are predicted
STUDY_GROWTH = 1.5  # a doubling: how the study's author extrapolates (blog, 2025-02-12)
STUDY_TARGET = 12_600_000  # documents, which the author extrapolates to
_FAR = 4  # sizes this many times beyond the largest known: the interval grows with the size


class Level(NamedTuple):
    """What measured values lie above predicted ones, and the spread of a further one."""

    offset: float
    margin: float | None  # half of the interval for one further value; None for a single value
    relative_margin: float | None  # the same as a part of the predicted value
    runs: int


def fit_level(predicted: Sequence[float], measured: Sequence[float]) -> Level:
    """The mean difference, and Student's interval (95 %) for one further difference.

    Raises:
        ValueError: no values, or not as many of each.
    """
    differences = [known - said for said, known in zip(predicted, measured, strict=True)]
    if not differences:
        raise ValueError("no values to fit a level to")
    offset, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return Level(offset, None, None, count)
    width = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * math.sqrt(1 + 1 / count)
    ratios = [known / said for said, known in zip(predicted, measured, strict=True)]
    return Level(offset, width * statistics.stdev(differences), width * statistics.stdev(ratios), count)


def error_percent(predicted: float, measured: float | None) -> float | None:
    """Positive where too much was predicted; None where nothing was measured."""
    return 100 * (predicted - measured) / measured if measured else None


# Our runs


def quantities_of_run(run: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> Quantities | str:
    """The quantities of a row of `runs`, all resolved; or what is missing, in words."""
    missing = [name for name in _SETTINGS if run.get(name) is None]
    if missing:
        return f"{run['run']}: {missing[0]} is not known"
    passages, documents = int(run["passages"]), int(run["documents"])
    content = {"framework": run["framework"], "device": run["device"], "environment": run["environment"]}
    return quantities_of(
        content,
        checkpoint,
        documents,
        in_process=run["process_model"] == "in process",
        passages=passages,
        tokens_per_passage=run["embeddings"] / passages,
        splits_documents=run["framework"] == "ragatouille" and passages != documents,
        **{
            name: run[name]
            for name in ("dim", "nbits", "doc_maxlen", "index_bsize", "kmeans_iterations", "kmeans_backend")
        },
    )


def measured_phases(run: Mapping[str, Any], spans: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Phase → highest point (MiB) of the process tree, of the attempt that made the index.

    The working process's exact peak within the phase, and beside it what was idle: ColBERT's parent as it
    waited, its manager, the tracker.
    """
    child = run["process_model"] != "in process"
    role = "worker" if child else "parent"
    beside = TRACKER_MIB
    spans = list(spans)
    if child:
        idle = [span["peak_rss_mib"] for span in spans if span["role"] == "parent"]
        if not idle or run.get("manager_peak_rss_mib") is None:
            return {}
        beside += max(idle) + run["manager_peak_rss_mib"]
    found: dict[str, float] = {}
    for phase, function in _SPANS.items():
        calls = [
            span for span in spans if span["role"] == role and str(span["function"]).endswith("." + function)
        ]
        if calls:
            found[phase] = max(calls, key=lambda span: span["call"])["peak_rss_mib"] + beside
    if child and run.get("tree_peak_moment") == "child exit":
        found["child exit"] = run["index_peak_rss_mib"]
    return found


def measured_gpu_phases(run: Mapping[str, Any], spans: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Phase → the most that torch had allocated on the GPU (MiB)."""
    found: dict[str, float] = {}
    for span in spans:
        for phase, function in _SPANS.items():
            if str(span["function"]).endswith("." + function) and span["gpu_peak_mib"] is not None:
                found[phase] = max(found.get(phase, 0.0), span["gpu_peak_mib"])
    return found


def allocated_by_torch(prediction: Prediction) -> Prediction:
    """Without what a GPU holds beside: the CUDA context, faiss."""
    terms = [term for term in prediction.terms if term.memory == "gpu" and term.name not in OUTSIDE_TORCH]
    return replace(prediction, terms=terms)


@dataclass
class Checked:
    """Rows of the two tables, and what was left out, a sentence each."""

    model: list[Row]
    terms: list[Row]
    left_out: list[str]


def check_runs(
    runs: Iterable[Mapping[str, Any]], spans: Iterable[Mapping[str, Any]], checkpoint: Mapping[str, Any]
) -> Checked:
    """Every completed run under a profiler that leaves memory as it is."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        by_run.setdefault(span["run"], []).append(span)
    checked = Checked([], [], [])
    for run in runs:
        if run["outcome"] != COMPLETED or run["profiler"] not in PROFILERS:
            continue
        quantities = quantities_of_run(run, checkpoint)
        if isinstance(quantities, str):
            checked.left_out.append(quantities)
            continue
        key = {
            "source": RUN,
            **{name: run.get(name) for name in ("run", "system", "label", "documents", "framework")},
            **{name: run.get(name) for name in ("profiler", "repeat", "passages", "embeddings")},
        }
        prediction = predict(quantities)
        here = by_run.get(run["run"], [])
        measured = measured_phases(run, here) if here else {}
        peak = run.get("index_peak_rss_mib")
        measured[PEAK] = run["tree_peak_rss_mib"] if peak is None else peak
        basis = _OWN + _at_exit(run) + _of_attempts(run)
        checked.model += _rows(key, prediction, measured, "host", basis)
        checked.terms += _term_rows(key, prediction)
        if quantities.device == "cuda":
            allocated = measured_gpu_phases(run, here)
            allocated[PEAK] = max(allocated.values(), default=math.nan)
            known = {phase: value for phase, value in allocated.items() if not math.isnan(value)}
            basis = f"{_OWN}; what torch allocates, without CUDA context and faiss"
            checked.model += _rows(key, allocated_by_torch(prediction), known, "gpu", basis)
    checked.model += extrapolated_runs(checked.model)
    return checked


def _at_exit(run: Mapping[str, Any]) -> str:
    if run.get("tree_peak_moment") in (None, "index call", "child exit"):
        return ""
    return f"; of the index call: the tree's own peak was in {run['tree_peak_moment']}"


def _of_attempts(run: Mapping[str, Any]) -> str:
    attempts = run.get("kmeans_attempts") or 1
    return f"; of the last of {attempts} attempts at k-means" if attempts > 1 else ""


def _rows(
    key: Row, prediction: Prediction, measured: Mapping[str, float | None], memory: str, basis: str
) -> Iterator[Row]:
    """A row for each phase that is predicted and measured, and one for the peak."""
    deciding, highest = prediction.peak(memory)
    for phase in (*PHASES, PEAK):
        predicted = highest if phase == PEAK else prediction.mib(phase, memory)
        if not predicted or (phase != PEAK and phase not in measured):
            continue
        yield {
            **key,
            "phase": phase,
            "memory": memory,
            "predicted_mib": predicted,
            "measured_mib": measured.get(phase),
            "error_percent": error_percent(predicted, measured.get(phase)),
            "deciding_phase": deciding if phase == PEAK else None,
            "basis": basis,
        }


def _term_rows(key: Row, prediction: Prediction) -> Iterator[Row]:
    names = ("source", "run", "system", "label", "documents")
    for term in prediction.terms:
        yield {
            **{name: key.get(name) for name in names},
            "phase": term.phase,
            "memory": term.memory,
            "process": term.process,
            "term": term.name,
            "formula": term.formula,
            "mib": term.mib,
        }


def extrapolated_runs(rows: Sequence[Row]) -> list[Row]:
    """The median peak of each system and size, from formulas and a level that smaller sizes alone give."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["source"] == RUN and row["phase"] == PEAK and row["measured_mib"] is not None:
            groups.setdefault((row["system"], row["memory"]), []).append(row)
    found = []
    for peaks in groups.values():
        for size in sorted({row["documents"] for row in peaks}):
            smaller = [row for row in peaks if row["documents"] < size]
            if len(smaller) < 2:
                continue
            here = [row for row in peaks if row["documents"] == size]
            largest = max(row["documents"] for row in smaller)
            level = fit_level(*_columns(smaller))
            words = f"terms by formula, level of {level.runs} runs of at most {largest:,} documents; interval of 95 %"
            key = {**here[0], "source": RUN_EXTRAPOLATED, "run": None, "profiler": None, "repeat": None}
            predicted = statistics.fmean(row["predicted_mib"] for row in here)
            measured = statistics.median(row["measured_mib"] for row in here)
            found.append(_with_level(key, predicted, measured, level, words))
    return found


def _columns(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [row["predicted_mib"] for row in rows], [row["measured_mib"] for row in rows]


def _with_level(
    key: Row, predicted: float, measured: float | None, level: Level, basis: str, *, far: bool = False
) -> Row:
    """`predicted` with a level added, and its interval; far beyond what is known it grows with the size."""
    value = predicted + level.offset
    margin = level.margin
    if margin is not None and level.relative_margin is not None and far:
        margin = max(margin, level.relative_margin * predicted)
    return {
        **key,
        "predicted_mib": value,
        "low_mib": None if margin is None else max(value - margin, 0.0),
        "high_mib": None if margin is None else value + margin,
        "measured_mib": measured,
        "error_percent": error_percent(value, measured),
        "basis": basis,
    }


# Published peaks


def read_published(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV of config/published.

    Raises:
        InputError: it cannot be read, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = list(reader)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): restore it") from None
    if missing := [name for name in columns if name not in (reader.fieldnames or [])]:
        raise InputError(f"{path}: column {missing[0]} is missing; restore the file")
    return rows


def passages_from(points: int, embeddings: int, heldout: int = 50_000) -> int:
    """Passages of a collection of which k-means points and embeddings are known.

    From sampled = 16 sqrt(120 N), points + heldout = sampled × tokens, embeddings = N × tokens.
    """
    return round((embeddings * 16 * math.sqrt(120) / (points + heldout)) ** 2)


def published_quantities(sample: Mapping[str, str]) -> Quantities:
    """Of a row of memory_of_kmeans_sample.csv; passages and tokens are worked out where its log was not at hand."""
    framework, documents = sample["framework"], int(sample["documents"])
    if sample["passages"]:
        passages, tokens = int(sample["passages"]), float(sample["tokens_per_passage"])
    else:
        # Three int64 values an embedding; printed to 0.001 GiB.
        embeddings = round(float(sample["build_ivf_int64_gib"]) * 2**30 / 24)
        points = int(sample["kmeans_points"])
        passages = documents if framework == "colbert" else passages_from(points, embeddings)
        tokens = embeddings / passages
    return _study(framework, documents, passages, tokens, int(sample["dim"]))


def _study(framework: str, documents: int, passages: int, tokens: float, dim: int) -> Quantities:
    """The study's settings: answerai-colbert-small-v1 on CUDA, doc_maxlen 256, nbits 2."""
    content = {
        "framework": framework,
        "device": "cuda",
        "settings": {"doc_maxlen": 256, "nbits": 2, "kmeans_niters": 4},
    }
    known = {"passages": passages, "tokens_per_passage": tokens, "dim": dim}
    known["text_bytes"] = TEXT_BYTES_PER_DOCUMENT * documents
    return quantities_of(content, {}, documents, **known)


def study_constants(quantities: Quantities) -> Constants:
    return replace(constants_of(quantities), bytes_per_document=STUDY_BYTES_PER_DOCUMENT)


def check_published(
    peaks: Sequence[Mapping[str, str]], samples: Sequence[Mapping[str, str]]
) -> tuple[list[Row], list[Row]]:
    """Published whole-process peaks, from each run's own quantities and a level fitted up to 500,000 documents.

    Args:
        peaks: memory_by_size.csv.
        samples: memory_of_kmeans_sample.csv.
    """
    known: dict[tuple[str, int], Quantities] = {}
    for sample in sorted(samples, key=lambda row: not row["passages"]):
        quantities = published_quantities(sample)
        known.setdefault((quantities.framework, quantities.documents), quantities)
    model: list[Row] = []
    terms: dict[int, list[Row]] = {}
    machines = dict.fromkeys((peak["machine"], peak["framework"]) for peak in peaks)
    for machine, framework in machines:
        rows: list[Row] = []
        for peak in peaks:
            documents = int(peak["documents"])
            quantities_here = known.get((framework, documents))
            if (peak["machine"], peak["framework"]) != (machine, framework) or quantities_here is None:
                continue
            prediction = predict(quantities_here, study_constants(quantities_here))
            key = _published_key(machine, quantities_here)
            measured = {PEAK: float(peak["peak_gb"]) * GIB_MIB}
            rows += _rows(key, prediction, measured, "host", _PUBLISHED_BASIS)
            terms.setdefault(
                documents, list(_term_rows(key | {"label": "RAGatouille, published"}, prediction))
            )
        model += rows
        model += _extrapolated_published(rows)
        if rows:
            model += _target(machine, rows, known)
    return model, [row for rows in terms.values() for row in rows]


_PUBLISHED_BASIS = (
    "terms by formula; constants of CUDA from published starts at 100,000 to 500,000 documents "
    "(memory_by_function.csv)"
)


def _published_key(machine: str, quantities: Quantities) -> Row:
    return {
        "source": PUBLISHED,
        "run": None,
        "system": f"{quantities.framework}, {machine}",
        "label": f"{'RAGatouille' if quantities.framework == 'ragatouille' else 'ColBERT'}, {machine}",
        "documents": quantities.documents,
        "framework": quantities.framework,
        "passages": quantities.passages,
        "embeddings": quantities.embeddings,
    }


def _extrapolated_published(rows: Sequence[Row]) -> Iterator[Row]:
    """What is larger than 500,000 documents, from what is not."""
    fitted = [row for row in rows if row["documents"] <= FITTED_UP_TO]
    if not fitted:
        return
    level = fit_level(*_columns(fitted))
    words = f"terms by formula, level of {level.runs} peaks of the same machine of at most {FITTED_UP_TO:,} documents"
    for row in rows:
        if row["documents"] > FITTED_UP_TO:
            key = {**row, "source": PUBLISHED_EXTRAPOLATED}
            yield _with_level(
                key, row["predicted_mib"], row["measured_mib"], level, f"{words}; interval of 95 %"
            )


def _target(machine: str, rows: Sequence[Row], known: Mapping[tuple[str, int], Quantities]) -> Iterator[Row]:
    """12.6 million documents: ours, and as the study's author extrapolates."""
    largest = max(rows, key=lambda row: row["documents"])
    shape = known[largest["framework"], largest["documents"]]
    passages = round(shape.passages / shape.documents * STUDY_TARGET)
    quantities = _study(shape.framework, STUDY_TARGET, passages, shape.tokens_per_passage, shape.dim)
    prediction = predict(quantities, study_constants(quantities))
    phase, peak = prediction.peak()
    key = {
        **_published_key(machine, quantities),
        "source": PUBLISHED_EXTRAPOLATED,
        "phase": PEAK,
        "memory": "host",
        "measured_mib": None,
    }
    level = fit_level(*_columns(rows))
    words = (
        f"terms by formula, level of all {level.runs} peaks of the machine, passages and tokens as at "
        f"{largest['documents']:,} documents; interval of 95 %"
    )
    far = largest["documents"] * _FAR < STUDY_TARGET
    yield _with_level({**key, "deciding_phase": phase}, peak, None, level, words, far=far)
    growth = STUDY_GROWTH ** math.log2(STUDY_TARGET / largest["documents"])
    yield {
        **key,
        "predicted_mib": largest["measured_mib"] * growth,
        "basis": f"the study's author: × {STUDY_GROWTH} a doubling from {largest['documents']:,} documents",
    }

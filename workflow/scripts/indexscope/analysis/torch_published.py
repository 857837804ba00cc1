"""What was published of PyTorch versions beside what torch_versions measured here: statements, not numbers, agree.

The facts lie in config/published (`torch_*.csv`, `torch_study.yaml`; its README says where they are from). The study
ran on a GPU under autocast; whoever measures on a CPU runs other kernels in another precision. So a row agrees where
both sides say the same of one statement, such as "this artifact changes", and each side's conditions stand beside it.
Pairs of versions that were not measured here are rows too, without `ours`.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import yaml

from indexscope.run_record import COMPLETED, InputError

Row = dict[str, Any]
Published = Mapping[str, str]

STUDY = "torch_study.yaml"
_STUDY_KEYS = ("passages", "queries", "machine", "precision", "cpu_operators")
# File → its columns.
_FILES = {
    "torch_artifacts.csv": "left_version right_version passages injected stage artifact within_tolerance "
    "within_bitsandbytes_tolerance",
    "torch_index_comparison.csv": "left_version right_version passages tensors within_tolerance",
    "torch_injections.csv": "left_version right_version passages injected artifacts match outcome",
    "torch_search.csv": "left_version right_version comparison recall_at_10_change mrr_at_10_change "
    "differing_passages recall_increased recall_equal recall_decreased mrr_increased mrr_equal mrr_decreased",
    "torch_operators.csv": "left_version right_version quantity part operators precision inputs statement",
    "torch_shapes.csv": "left_version right_version output precision batch_size sequence_length "
    "within_tolerance tolerance",
    "torch_cpu_operators.csv": "version cpu_capability",
    "torch_differences.csv": "left_version right_version topic of passages measure value",
}
TABLES = (
    "torch_runs",
    "torch_environments",
    "torch_artifacts",
    "torch_search",
    "torch_operators",
    "torch_divergence",
    "torch_layers",
)
_STAGES = ["planning", "training", "encoding", "finalizing", "final"]
# What an artifact's verdict in TORCH_ARTIFACTS says of change, from none to most.
_VERDICTS = [
    "equal",
    "within tolerance",
    "within bitsandbytes tolerance",
    "differs",
    "dtype differs",
    "shape differs",
]
_FINAL_INTEGERS = ("codes", "residuals", "ivf", "ivf_lengths")
# Compared by torch.equal there: equal or not, no tolerance.
_INTEGERS = {*_FINAL_INTEGERS, "sample_pids", "num_passages", "doclens", "sorted_codes", "sort_indices"}
_FINAL_FLOATS = ("avg_residual", "bucket_cutoffs", "bucket_weights", "centroids")
# Files that the study's code wrote again at each call: what was compared is the last one.
_OVERWRITTEN = {"batches", "D", "doclens", "tensorize_output"}
# Operators as torch_cpu_operators.csv and torch_operators.csv call them → names of TORCH_OPERATORS, without
# namespace and overload.
_OPERATORS = {
    "softmax": {"softmax", "_softmax"},
    "gelu": {"gelu"},
    "layer_norm": {"layer_norm", "native_layer_norm"},
    "matmul": {"mm", "addmm", "bmm", "baddbmm", "matmul", "linear"},
    "normalize": {"normalize", "norm", "linalg_vector_norm"},
    "sort": {"sort"},
}
_INDEX_STEPS = "index"  # TORCH_DIVERGENCE.input of what comes after encoding
_MEASURES = {"Recall@10": "recall", "MRR@10": "mrr"}
_WORDS = {
    "equal_fraction": "equal elements",
    "mean_absolute_difference": "mean absolute difference",
    "max_absolute_difference": "largest absolute difference",
}
_CHANCE = 0.05


@dataclass(frozen=True)
class Ours:
    """What was measured here of one statement."""

    words: str
    agrees: bool | None  # None: it cannot be told
    value: float | None = None


class Measured:
    """The tables of torch_versions, as rows."""

    def __init__(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._by_pair: defaultdict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for name, rows in tables.items():
            for row in rows if name not in ("torch_runs", "torch_environments") else ():
                self._by_pair[name, row["left_version"], row["right_version"]].append(row)
        self._environments = tables["torch_environments"]
        self._runs = [row for row in tables["torch_runs"] if row["outcome"] == COMPLETED]

    @classmethod
    def read(cls, directory: Path) -> Measured:
        """From the Parquet files in `directory`.

        Raises:
            InputError: one cannot be read.
        """
        tables = {}
        for name in TABLES:
            path = directory / f"{name}.parquet"
            try:
                tables[name] = pq.read_table(path).to_pylist()
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{path}: cannot be read ({str(error).splitlines()[0]}); make the table anew"
                ) from None
        return cls(tables)

    def of_pair(self, table: str, pair: tuple[str, str]) -> list[Mapping[str, Any]]:
        return self._by_pair.get((table, *pair), [])

    def artifacts(
        self, pair: tuple[str, str], names: Sequence[str], stage: str, injected: str = ""
    ) -> list[Mapping[str, Any]]:
        """Rows of the artifacts `names` as stored; of stage `final`, or `intermediate`: all others."""
        kind = "injection" if injected else "versions"
        return [
            row
            for row in self.of_pair("torch_artifacts", pair)
            if row["kind"] == kind
            and _parts(row["injected"]) == _parts(injected)
            and row["compared_as"] == "as stored"
            and row["name"] in names
            and (row["stage"] == "final") == (stage == "final")
        ]

    def cases(self, table: str, pair: tuple[str, str], precision: str) -> list[Mapping[str, Any]]:
        """Rows of what was encoded in `precision`; empty: in the one that indexing ran in."""
        wanted = precision or ("cuda_autocast_float16" if self.device == "cuda" else "float32")
        return [
            row
            for row in self.of_pair(table, pair)
            if row["precision"] == wanted and row["input"] != _INDEX_STEPS
        ]

    @property
    def device(self) -> str:
        return _joined(row["device"] for row in self._runs)

    def conditions(self, pair: tuple[str, str], precision: str | None = None) -> str:
        """Scale, precision and hardware of the completed runs of a pair; `precision` where it is not the runs'."""
        names = {f"torch-{version}" for version in pair}
        runs = [row for row in self._runs if row["environment"] in names]
        environments = [row for row in self._environments if row["environment"] in names]
        device = _joined(row["device"] for row in runs)
        own = {"cpu": "float32", "cuda": "CUDA autocast (float16)"}.get(device, "")
        hardware = _joined(row["gpu_model" if device == "cuda" else "cpu_model"] for row in runs)
        capability = "" if device == "cuda" else _joined(row["cpu_capability"] for row in environments)
        threads = _joined(row["threads"] for row in runs)
        parts = [
            _joined(f"{row['documents']:,} documents of {row['corpus']}" for row in runs),
            _joined(row["checkpoint"] for row in runs),
            precision or own,
            f"{device} ({', '.join(part for part in (hardware, capability) if part)})" if device else "",
            f"{threads} thread{'s' * (threads != '1')}" if threads else "",
        ]
        return ", ".join(part for part in parts if part)


def read_study(folder: Path) -> Mapping[str, Any]:
    """What the study measured on what: torch_study.yaml.

    Raises:
        InputError: it cannot be read, or lacks a key.
    """
    path = folder / STUDY
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it is part of the repository") from None
    for key in _STUDY_KEYS:
        if not isinstance(study, Mapping) or key not in study:
            raise InputError(f"{path}: lacks the key {key}; see README.md beside it")
    return dict(study)


def read_facts(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each torch_*.csv in `folder`.

    Raises:
        InputError: a file cannot be read or lacks a column.
    """
    facts = {}
    for name, columns in _FILES.items():
        path = folder / name
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = [column for column in columns.split() if column not in (reader.fieldnames or [])]
                if missing:
                    raise InputError(f"{path}: lacks the column {missing[0]}; see README.md beside it")
                facts[name] = list(reader)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); it is part of the repository"
            ) from None
    return facts


def published_rows(folder: Path, measured: Measured) -> Iterator[Row]:
    """Rows of schemas.TORCH_PUBLISHED: each published fact, and ours where the same pair was measured.

    Args:
        folder: config/published.

    Raises:
        InputError: a file of `folder` cannot be read, or one of its cells is not what its column holds.
    """
    study, facts = read_study(folder), read_facts(folder)
    makers: dict[str, Callable[[Published, Mapping[str, Any], Measured], Iterator[Row]]] = {
        "torch_artifacts.csv": _artifact,
        "torch_injections.csv": _injection,
        "torch_search.csv": _search,
        "torch_operators.csv": _operator,
        "torch_shapes.csv": _shape,
        "torch_differences.csv": _difference,
    }
    detailed = {_pair(row) for row in facts["torch_artifacts.csv"] if row["stage"] == "final"}
    for name, make in makers.items():
        for number, row in enumerate(facts[name], start=2):
            try:
                yield from make(row, study, measured)
            except ValueError as error:
                raise InputError(
                    f"{folder / name}: line {number}: {error}; see README.md beside it"
                ) from None
        if name == "torch_artifacts.csv":
            yield from _whole_indexes(facts["torch_index_comparison.csv"], detailed, study, measured)
        if name == "torch_operators.csv":
            yield from _cpu_operators(facts["torch_cpu_operators.csv"], study, measured)


def _row(
    topic: str,
    pair: tuple[str, str],
    quantity: str,
    published: tuple[str, float | None, str],
    ours: Ours | None,
    our_conditions: str,
) -> Row:
    words, value, conditions = published
    return {
        "topic": topic,
        "left_version": pair[0],
        "right_version": pair[1],
        "quantity": quantity,
        "published": words,
        "published_value": value,
        "published_conditions": conditions,
        "ours": ours.words if ours else None,
        "our_value": ours.value if ours else None,
        "our_conditions": our_conditions if ours else None,
        "agrees": ours.agrees if ours else None,
    }


# Artifacts


def _artifact(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """One artifact of a pair: does it change, and beyond which tolerance."""
    pair, injected, stage = _pair(row), row["injected"], row["stage"]
    names = row["artifact"].split(" + ")
    words = _artifact_words(row, integers=set(names) <= _INTEGERS)
    found = measured.artifacts(pair, names, stage, injected)
    last = " (the last of several calls)" if _OVERWRITTEN & set(names) else ""
    if last:
        found = sorted(found, key=_moment)[-1:]
    quantity = row["artifact"] + " (intermediate)" * (stage != "final" and not injected)
    yield _row(
        "injection" if injected else "artifacts",
        pair,
        f"{injected}: {quantity}" if injected else quantity,
        (words, None, _conditions(study, row["passages"]) + last),
        _artifact_here(words, row["within_bitsandbytes_tolerance"] != "", found),
        measured.conditions(pair),
    )


def _artifact_words(row: Published, integers: bool) -> str:
    default = row["within_tolerance"]
    if default == "shape differs":
        return default
    if _truth(default):
        return "equal" if integers else "within tolerance"
    looser = row["within_bitsandbytes_tolerance"]
    return "within bitsandbytes tolerance" if looser and _truth(looser) else "differs"


def _artifact_here(published: str, knows_looser: bool, found: Sequence[Mapping[str, Any]]) -> Ours | None:
    """Agree: the same of unchanged (within the default tolerance), within the looser one where that was published,
    and changed beyond; whether the shape changed, too, is not asked for."""
    if not found:
        return None
    verdicts = {str(row["verdict"]) for row in found}
    unknown = sorted(verdicts - set(_VERDICTS))
    if unknown:
        return Ours(unknown[0], None)
    worst = max(verdicts, key=_VERDICTS.index)
    fractions = [row["equal_fraction"] for row in found if row["equal_fraction"] is not None]
    agrees = _change(published, knows_looser) == _change(worst, knows_looser)
    return Ours(worst, agrees, min(fractions) if fractions else None)


def _change(verdict: str, knows_looser: bool) -> int:
    place = _VERDICTS.index(verdict)
    return 0 if place <= 1 else 1 if place == 2 and knows_looser else 2


def _whole_indexes(
    rows: Sequence[Published], detailed: set[tuple[str, str]], study: Mapping[str, Any], measured: Measured
) -> Iterator[Row]:
    """Of pairs whose artifacts were counted: where all are within the tolerance, each of them is."""
    for row in rows:
        pair, tensors, within = _pair(row), int(row["tensors"]), int(row["within_tolerance"])
        conditions = _conditions(study, row["passages"])
        if int(row["passages"]) == study["passages"]:
            if pair in detailed or within != tensors:
                continue
            for name in (*_FINAL_INTEGERS, *_FINAL_FLOATS):
                words = "equal" if name in _FINAL_INTEGERS else "within tolerance"
                found = measured.artifacts(pair, [name], "final")
                published = (words, None, f"{conditions}, said of all {tensors} tensors together")
                ours = _artifact_here(words, False, found)
                yield _row("artifacts", pair, name, published, ours, measured.conditions(pair))
            continue
        found = measured.artifacts(pair, [*_FINAL_INTEGERS, *_FINAL_FLOATS], "final")
        yield _row(
            "artifacts",
            pair,
            "index files",
            (f"{within} of {tensors} within tolerance", within / tensors, conditions),
            _counted_here(within == tensors, found),
            measured.conditions(pair),
        )


def _counted_here(all_within: bool, found: Sequence[Mapping[str, Any]]) -> Ours | None:
    """Agree: both say that all are within the tolerance, or both that some are not."""
    if not found:
        return None
    if any(row["verdict"] not in _VERDICTS for row in found):
        return Ours("not all could be compared", None)
    within = sum(row["verdict"] in _VERDICTS[:2] for row in found)
    return Ours(
        f"{within} of {len(found)} within tolerance",
        all_within == (within == len(found)),
        within / len(found),
    )


# Injections


def _injection(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """Whether an injection makes artifacts match: the final ones, or those that are named."""
    pair, injected, of = _pair(row), row["injected"], row["artifacts"]
    final = of == "final"
    names = [*_FINAL_INTEGERS, *_FINAL_FLOATS] if final else of.split(" + ")
    found = measured.artifacts(pair, names, "final" if final else "intermediate", injected)
    match = _truth(row["match"])
    ours = None
    if found:
        unknown = sorted({str(each["verdict"]) for each in found} - set(_VERDICTS))
        changed = list(
            dict.fromkeys(str(each["name"]) for each in found if each["verdict"] not in _VERDICTS[:2])
        )
        if unknown:
            ours = Ours(unknown[0], None)
        else:
            what = "all final artifacts" if final else of
            words = f"{what} match" if not changed else f"{', '.join(changed)} differ"
            ours = Ours(words, match == (not changed))
    yield _row(
        "injection",
        pair,
        injected if final else f"{injected}: {of}",
        (row["outcome"], None, _conditions(study, row["passages"])),
        ours,
        measured.conditions(pair),
    )


# Search


def _search(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """Does search notice: the change of each measure, and the passages that differ."""
    pair, comparison = _pair(row), row["comparison"]
    conditions = f"{_conditions(study, study['passages'])}, {study['queries']} queries"
    found = {
        each["measure"]: each
        for each in measured.of_pair("torch_search", pair)
        if each["comparison"] == comparison
    }
    for measure, name in _MEASURES.items():
        up, equal, down = (int(row[f"{name}_{way}"]) for way in ("increased", "equal", "decreased"))
        change = float(row[f"{name}_at_10_change"])
        p_value = sign_test(up, down)
        yield _row(
            "search",
            pair,
            f"{measure} change, {comparison}",
            (
                f"{change:+g}: {up} queries up, {equal} equal, {down} down (sign test of these: p = {p_value:.2g})",
                change,
                conditions,
            ),
            _search_here(found.get(measure), p_value < _CHANCE),
            measured.conditions(pair),
        )
    differing = float(row["differing_passages"])
    yield _row(
        "search",
        pair,
        f"differing passages of a query, {comparison}",
        (f"{differing:g}", differing, conditions),
        _differing_here(found, differing > 0),
        measured.conditions(pair),
    )


def _search_here(row: Mapping[str, Any] | None, noticed: bool) -> Ours | None:
    """Agree: both changes are beyond chance, or neither is."""
    if row is None:
        return None
    if row["change"] is None:
        return Ours(str(row["verdict"]), None)
    words = (
        f"{row['change']:+.2g}: {row['increased']} queries up, {row['equal']} equal, {row['decreased']} down "
        f"({row['verdict']}, p = {row['p_value']:.2g})"
    )
    return Ours(words, noticed == (row["verdict"] == "beyond chance"), row["change"])


def _differing_here(found: Mapping[str, Mapping[str, Any]], some: bool) -> Ours | None:
    """Agree: in both some passages differ, or in both none."""
    values = [row["differing_passages"] for row in found.values() if row["differing_passages"] is not None]
    if not values:
        return None
    return Ours(f"{values[0]:.3g}", some == (values[0] > 0), values[0])


def sign_test(up: int, down: int) -> float:
    """Two-sided exact sign test: how likely `up` and `down` queries, or more unequal ones, are by chance."""
    changed = up + down
    tail: float = sum(math.comb(changed, number) for number in range(min(up, down) + 1)) / 2**changed
    return min(1.0, 2 * tail)


# Operators


def _operator(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """A root cause: the encoder diverges for every input, or for some; an operator of the steps after it does."""
    pair, precision = _pair(row), row["precision"]
    if row["part"] == "encoder":
        cases = measured.cases("torch_divergence", pair, precision)
        ours = _encoder_here(cases, every=row["inputs"] == "every")
        hardware = f"precision {precision or 'not stated'}, {study['machine']}"
    else:
        cases = [each for each in measured.of_pair("torch_divergence", pair) if each["input"] == _INDEX_STEPS]
        ours = _index_step_here(cases, row["operators"])
        hardware = "steps of the index after encoding, on the CPU"
    yield _row(
        "operator",
        pair,
        row["quantity"],
        (row["statement"], None, hardware),
        ours,
        measured.conditions(pair, cases[0]["precision"] if cases else None),
    )


def _encoder_here(cases: Sequence[Mapping[str, Any]], every: bool) -> Ours | None:
    """Agree: it diverges, for every input where that was published."""
    known = [case for case in cases if case["verdict"] in ("equal", "diverges")]
    if not known:
        return None
    diverging = [case for case in known if case["verdict"] == "diverges"]
    first = list(dict.fromkeys(str(case["first_operator"]) for case in diverging if case["first_operator"]))
    words = f"diverges for {len(diverging)} of {len(known)} inputs" + (
        f", first in {' or '.join(first)}" if first else ""
    )
    agrees = len(diverging) == len(known) if every else bool(diverging)
    return Ours(words, agrees, len(diverging) / len(known))


def _index_step_here(cases: Sequence[Mapping[str, Any]], operators: str) -> Ours | None:
    known = [case for case in cases if case["verdict"] in ("equal", "diverges")]
    if not known:
        return None
    guilty = [name for case in known for name in str(case["guilty"]).split(", ") if name]
    named = set().union(*(_OPERATORS[name] for name in operators.split()))
    words = f"{', '.join(dict.fromkeys(guilty))} differ" if guilty else "no operator differs"
    return Ours(words, any(_base(name) in named for name in guilty))


def _cpu_operators(rows: Sequence[Published], study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """Whether an operator's bits change on a CPU, for one seeded input there and for the replayed calls here."""
    for left, right in pairwise(rows):
        pair = (left["version"], right["version"])
        sets = "/".join(row["cpu_capability"] or "unknown instruction set" for row in (left, right))
        replayed = (
            [
                row
                for row in measured.of_pair("torch_operators", pair)
                if row["precision"] == "float32" and row["verdict"] in ("equal", "differs")
            ]
            if measured.device == "cpu"
            else []
        )
        for name, names in _OPERATORS.items():
            changes = left[name] != right[name]
            calls = [row for row in replayed if _base(str(row["operator"])) in names]
            differing = sum(row["verdict"] == "differs" for row in calls)
            ours = (
                Ours(
                    f"differs in {differing} of {len(calls)} calls",
                    changes == bool(differing),
                    differing / len(calls),
                )
                if calls
                else None
            )
            yield _row(
                "operator",
                pair,
                f"{name} on a CPU",
                (
                    "bits change" if changes else "same bits",
                    float(changes),
                    f"{study['cpu_operators']} ({sets})",
                ),
                ours,
                measured.conditions(pair, "float32"),
            )


def _shape(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """Whether the encoder's output changes for a precision, a batch size and a sequence length.

    Published is whether it stays within a tolerance, known here is whether it is equal: of an output that was within
    the tolerance there and is not equal here nothing can be told.
    """
    pair, precision = _pair(row), row["precision"]
    wanted = {name: int(row[name]) for name in ("batch_size", "sequence_length") if row[name]}
    cases = [
        case
        for case in measured.cases("torch_divergence", pair, precision)
        if case["final_equal"] is not None and all(case[name] == value for name, value in wanted.items())
    ]
    if row["output"] == "encoder layers":
        layers = [
            layer["equal_fraction"] == 1
            for layer in measured.cases("torch_layers", pair, precision)
            if "encoder.layer." in layer["module"]
            and all(layer[name] == value for name, value in wanted.items())
        ]
        equal = all(layers) if layers else None
    else:
        equal = all(case["final_equal"] for case in cases) if cases else None
    within = _truth(row["within_tolerance"])
    ours = None
    if equal is not None:
        ours = Ours("equal" if equal else "differs", None if within and not equal else within == equal)
    shape = ", ".join(
        f"{words} {row[name]}"
        for name, words in (("batch_size", "batch"), ("sequence_length", "length"))
        if row[name]
    )
    yield _row(
        "operator",
        pair,
        f"{row['output']}, {precision}, {shape}",
        (
            f"{'within' if within else 'beyond'} the {row['tolerance']} tolerance",
            float(within),
            f"{precision}, {study['machine']}",
        ),
        ours,
        measured.conditions(pair, precision),
    )


# Sizes of differences


def _difference(row: Published, study: Mapping[str, Any], measured: Measured) -> Iterator[Row]:
    """How much a layer's output or an artifact differs. Agree: it differs in both, or in neither."""
    pair, measure, value = _pair(row), row["measure"], float(row["value"])
    if row["topic"] == "layers":
        conditions = f"input, scale and precision not stated, {study['machine']}"
        found = [
            layer[measure]
            for layer in measured.cases("torch_layers", pair, "")
            if layer["module"].endswith(row["of"])
        ]
        here, words = (median(found), f", median of {len(found)} inputs") if found else (None, "")
    else:
        conditions = _conditions(study, row["passages"])
        found = [
            each[measure]
            for each in measured.artifacts(pair, [row["of"]], "intermediate")
            if each[measure] is not None
        ]
        worst = min if measure == "equal_fraction" else max
        here, words = (worst(found), "") if found else (None, "")
    none = 1.0 if measure == "equal_fraction" else 0.0  # where nothing differs
    ours = None
    if here is not None:
        ours = Ours(f"{here:.3g}{words}", (value != none) == (here != none), here)
    yield _row(
        row["topic"],
        pair,
        f"{row['of']}: {_WORDS[measure]}",
        (f"{value:.3g}", value, conditions),
        ours,
        measured.conditions(pair),
    )


# Words and cells


def _conditions(study: Mapping[str, Any], passages: Any) -> str:
    return f"{int(passages):,} passages, {study['precision']}, {study['machine']}"


def _pair(row: Published) -> tuple[str, str]:
    return row["left_version"], row["right_version"]


def _parts(injected: str) -> set[str]:
    return set(injected.split(" + "))


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _moment(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """When an artifact was written, by its key: {stage}/{chunk}/{call}/{name}."""
    stage, chunk, call, _ = str(row["artifact"]).split("/")
    return _STAGES.index(stage), int(chunk) if chunk.isdigit() else -1, int(call)


def _base(operator: str) -> str:
    """An operator's name without namespace and overload: softmax of aten.softmax.int; a function's own name."""
    parts = operator.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else parts[-1]


def _joined(values: Iterator[Any]) -> str:
    return " and ".join(sorted({str(value) for value in values if value is not None}))

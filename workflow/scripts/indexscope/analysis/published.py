"""The published study of 2025-02-17: its cells against its logs, its sentences against its cells, and ours beside.

What was published lies in config/published: `memory_by_function.csv` (the cells), `memory_study.yaml` (what was
measured, on what), `memory_sentences.csv` (what the text says about the cells) and
`memory_by_function_in_logs.csv` (what `record_published_logs.py` read from the study's logs, for use without them).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from indexscope.analysis.external_logs import MEMORY_PROFILER, ExternalLog
from indexscope.analysis.memory_by_function import FUNCTIONS, function_rows
from indexscope.run_record import COMPLETED, InputError

CELLS, RECORDED = "memory_by_function.csv", "memory_by_function_in_logs.csv"
STUDY, SENTENCES = "memory_study.yaml", "memory_sentences.csv"
# (framework, use_faiss) → what figures and the default configuration call the system
SYSTEMS = {
    ("colbert", ""): "ColBERT",
    ("ragatouille", "true"): "RAGatouille (use_faiss=True)",
    ("ragatouille", "false"): "RAGatouille (use_faiss=False)",
}
COLUMNS = ("start", "increment", "final")
AGREES, DIFFERS, PUBLISHED_ONLY = "agrees", "differs", "published only"
# Where the value of a log comes from.
AT_HAND, RECORDED_BEFORE, NOTED = "log", "recorded from the log", "noted from the log"
_DIGIT = 0.05 + 1e-9  # half of the last printed digit

Run = tuple[str, str, int]  # framework, use_faiss, documents


class Numbers(NamedTuple):
    """MiB of one function; null where not measured."""

    start: float | None
    increment: float | None
    final: float | None


class LogValues(NamedTuple):
    """What a log gives for the functions of a run."""

    source: str
    log: str
    sha256: str
    functions: Mapping[str, Numbers]


@dataclass(frozen=True)
class Cell:
    """One published number beside what the log of its run says."""

    run: Run
    function: str
    column: str  # start, increment, final
    published: float
    in_log: float | None
    log_source: str | None
    adds_up: bool  # start + increment = final, in the published row
    explanation: str  # of a cell that differs: which other published cell of the run has the number

    @property
    def system(self) -> str:
        return SYSTEMS[self.run[:2]]

    @property
    def verdict(self) -> str:
        if self.in_log is None:
            return PUBLISHED_ONLY
        return AGREES if abs(self.published - self.in_log) <= _DIGIT else DIFFERS

    @property
    def best(self) -> float:
        """The value of the log, where it is known to be another."""
        return self.published if self.in_log is None else self.in_log


def read_study(folder: Path) -> dict[str, Any]:
    """What was measured, on what (memory_study.yaml).

    Raises:
        InputError: the file is missing or lacks a key.
    """
    path = folder / STUDY
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it from the repository") from error
    wanted = ["title", "author", "date", "url", "machine", "corpus", "checkpoint", "profiler", "source_files"]
    if missing := [key for key in wanted if not isinstance(study, dict) or key not in study]:
        raise InputError(f"{path}: {missing[0]} is missing: restore it from the repository")
    return dict(study)


def _records(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): restore it from the repository"
        ) from error
    for column in columns:
        if not rows or rows[0].get(column) is None:
            raise InputError(f"{path}: there is no column {column}: restore it from the repository")
    return rows


def _number(path: Path, row: int, record: Mapping[str, str], column: str) -> float | None:
    text = record[column]
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(f"{path}: row {row}: {column}: {text!r} is no number; correct it") from None


def _run_of(path: Path, row: int, record: Mapping[str, str]) -> Run:
    system = (record["framework"], record["use_faiss"])
    if system not in SYSTEMS or not record["documents"].isdigit():
        raise InputError(
            f"{path}: row {row}: framework, use_faiss, documents: {', '.join(map(repr, system))}, "
            f"{record['documents']!r} is no run of the study; correct it"
        )
    return (*system, int(record["documents"]))


def read_recorded(folder: Path) -> dict[Run, LogValues]:
    """What was read from the study's logs once (memory_by_function_in_logs.csv).

    Raises:
        InputError: the file is missing or malformed.
    """
    path = folder / RECORDED
    names = [f"{column}_mib" for column in COLUMNS]
    found: dict[Run, LogValues] = {}
    columns = ["framework", "use_faiss", "documents", "function", *names, "log", "sha256"]
    for row, record in enumerate(_records(path, columns), start=2):
        run = _run_of(path, row, record)
        values = found.setdefault(run, LogValues(RECORDED_BEFORE, record["log"], record["sha256"], {}))
        functions = dict(values.functions)
        functions[record["function"]] = Numbers(*(_number(path, row, record, name) for name in names))
        found[run] = values._replace(functions=functions)
    return found


def read_logs(logs: Iterable[ExternalLog], report: Callable[[str], None]) -> dict[Run, LogValues]:
    """What the study's logs that are at hand give: of each run the last attempt.

    Raises:
        InputError: a log that is marked as published is of no system of the study, or as LogReader.rows.
    """
    systems = {label: system for system, label in SYSTEMS.items()}
    found: dict[Run, LogValues] = {}
    for log in logs:
        if not log.published or log.kind != MEMORY_PROFILER:
            continue
        if log.system not in systems:
            raise InputError(
                f"external_logs: {log.log}: system: {log.system!r} is no system of the published study; write "
                f"one of {', '.join(systems)}, or published: false"
            )
        rows = list(function_rows(log.log, report))
        last = max((row["attempt"] for row in rows), default=0)
        functions = {
            row["function"]: Numbers(*(row[f"{column}_mib"] for column in COLUMNS))
            for row in rows
            if row["attempt"] == last
        }
        run = (*systems[log.system], log.documents)
        if run in found:  # parts of one run
            functions = {**found[run].functions, **functions}
        found[run] = LogValues(AT_HAND, log.log.name, log.sha256, functions)
    return found


def read_cells(folder: Path, logs: Mapping[Run, LogValues]) -> list[Cell]:
    """Every published cell, in the published order, beside the value of the log of its run.

    Args:
        logs: what logs give, as read_logs or read_recorded; for `setup` the published file itself notes the
            start that the log has, which is used where `logs` lacks the run.

    Raises:
        InputError: the file is missing or malformed.
    """
    path = folder / CELLS
    names = [f"{column}_mib" for column in COLUMNS]
    columns = ["framework", "use_faiss", "documents", "function", *names, "start_mib_in_log"]
    rows: list[tuple[Run, str, Numbers, float | None]] = []
    for number, record in enumerate(_records(path, columns), start=2):
        values = Numbers(*(_number(path, number, record, name) for name in names))
        if record["function"] not in FUNCTIONS or None in values:
            raise InputError(
                f"{path}: row {number}: it lacks a number, or its function is unknown; correct it"
            )
        noted = _number(path, number, record, "start_mib_in_log")
        rows.append((_run_of(path, number, record), record["function"], values, noted))
    return [
        cell
        for run, function, values, noted in rows
        for cell in _cells(run, function, values, noted, logs, rows)
    ]


def _cells(
    run: Run,
    function: str,
    values: Numbers,
    noted: float | None,
    logs: Mapping[Run, LogValues],
    rows: Sequence[tuple[Run, str, Numbers, float | None]],
) -> Iterator[Cell]:
    start, increment, final = (value or 0.0 for value in values)
    adds_up = abs(start + increment - final) <= 3 * _DIGIT
    log = logs.get(run)
    for column, published in zip(COLUMNS, (start, increment, final), strict=True):
        in_log = getattr(log.functions[function], column) if log and function in log.functions else None
        source = log.source if log and in_log is not None else None
        if in_log is None and column == "start" and noted is not None:
            in_log, source = noted, NOTED
        explanation = ""
        if in_log is not None and abs(published - in_log) > _DIGIT:
            same = [
                f"{other} of {name}"
                for of, name, cells, _ in rows
                for other, value in zip(COLUMNS, cells, strict=True)
                if of == run and (name, other) != (function, column) and value == published
            ]
            explanation = (
                f"is the published {' and the '.join(same)}" if same else "is in no other cell of the run"
            )
        yield Cell(run, function, column, published, in_log, source, adds_up, explanation)


# Sentences


@dataclass(frozen=True)
class Sentence:
    """What the text says of the cells, and how it was understood."""

    name: str
    section: str
    sentence: str  # a short quotation
    interpretation: str
    function: str  # empty: all
    framework: str  # empty: both
    documents: int | None
    column: str  # start, increment, final
    # ratio, percent: RAGatouille against ColBERT; value; minimum: of all values; maximum: of each system
    measure: str
    low: str  # as printed; empty: no bound
    high: str
    scope: str  # every, most


@dataclass(frozen=True)
class Checked:
    """A sentence, and the numbers that it speaks of."""

    sentence: Sentence
    values: Mapping[str, float]  # where (system and documents) → value
    within: Mapping[str, bool]

    @property
    def holds(self) -> str:
        """yes, partly or no; of most cells is yes or no."""
        inside = sum(self.within.values())
        if self.sentence.scope == "most":
            return "yes" if 2 * inside > len(self.within) else "no"
        return "yes" if inside == len(self.within) else "partly" if inside else "no"


def read_sentences(folder: Path) -> list[Sentence]:
    """The sentences of memory_sentences.csv.

    Raises:
        InputError: the file is missing or a row is malformed.
    """
    path = folder / SENTENCES
    fields = list(Sentence.__dataclass_fields__)
    found = []
    for row, record in enumerate(_records(path, fields), start=2):
        known = {
            "function": ["", *FUNCTIONS],
            "framework": ["", "colbert", "ragatouille"],
            "column": list(COLUMNS),
            "measure": ["ratio", "percent", "value", "minimum", "maximum"],
            "scope": ["every", "most"],
        }
        for column, values in known.items():
            if record[column] not in values:
                raise InputError(
                    f"{path}: row {row}: {column}: {record[column]!r} is none of {', '.join(values)}; correct it"
                )
        for column in ("low", "high", "documents"):
            _number(path, row, record, column)
        values_of: dict[str, Any] = {name: record[name] for name in fields}
        values_of["documents"] = int(record["documents"]) if record["documents"] else None
        found.append(Sentence(**values_of))
    return found


def check(sentence: Sentence, cells: Sequence[Cell]) -> Checked:
    """Compute what a sentence speaks of from the published cells, and whether each number is in its range.

    A bound other than 0 is a rounded number: a value within half of its last printed digit beyond it is inside.

    Raises:
        InputError: no cell is one that the sentence speaks of.
    """
    chosen = {
        (cell.run, cell.function): cell.published
        for cell in cells
        if cell.column == sentence.column
        and sentence.function in ("", cell.function)
        and sentence.documents in (None, cell.run[2])
    }
    values: dict[str, float] = {}
    for (run, function), value in chosen.items():
        where = f"{SYSTEMS[run[:2]]}, {run[2]:,} documents"
        if sentence.measure in ("ratio", "percent"):
            base = chosen.get((("colbert", "", run[2]), function))
            if run[0] == "ragatouille" and base:
                values[where] = value / base if sentence.measure == "ratio" else 100 * (value / base - 1)
        elif sentence.framework in ("", run[0]):
            values[where if sentence.function else f"{where}, {function}"] = value
    if not values:
        raise InputError(
            f"{SENTENCES}: {sentence.name}: no published cell is what it speaks of; correct the row"
        )
    if sentence.measure == "minimum":
        values = dict([min(values.items(), key=lambda pair: pair[1])])
    elif sentence.measure == "maximum":
        systems = {where.split(", ")[0] for where in values}
        highest = [
            max((pair for pair in values.items() if pair[0].startswith(system)), key=lambda pair: pair[1])
            for system in sorted(systems)
        ]
        values = dict(highest)
    low = float(sentence.low) - _half_digit(sentence.low) if sentence.low else -math.inf
    high = float(sentence.high) + _half_digit(sentence.high) if sentence.high else math.inf
    within = {where: low - 1e-9 <= value <= high + 1e-9 for where, value in values.items()}
    return Checked(sentence, values, within)


def _half_digit(printed: str) -> float:
    if float(printed) == 0:  # what grows or falls
        return 0.0
    return 0.5 * 10.0 ** -len(printed.partition(".")[2])


# Ours

_RUN_OF_LOG = re.compile(r"(?:^|/)index_runs/(.+)/memory_profiler\.log$")


def published_rows(cells: Sequence[Cell], study: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.PUBLISHED_MEMORY of the study; a cell that its log contradicts has the log's value."""
    by_row: dict[tuple[Run, str], dict[str, Cell]] = {}
    for cell in cells:
        by_row.setdefault((cell.run, cell.function), {})[cell.column] = cell
    for (run, function), row in by_row.items():
        yield {
            "source": "published",
            "system": SYSTEMS[run[:2]],
            "framework": run[0],
            "documents": run[2],
            "function": function,
            **{
                f"{column}_mib": row[column].best if row[column].verdict == DIFFERS else row[column].published
                for column in COLUMNS
            },
            "corrected": any(cell.verdict == DIFFERS for cell in row.values()),
            "runs": 1,
            **{name: study[name] for name in ("machine", "corpus", "checkpoint")},
        }


def _last_attempts(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        key = (row["log"], row["function"])
        if row["function"] in FUNCTIONS and (key not in last or row["attempt"] >= last[key]["attempt"]):
            last[key] = row
    return last


def measured_rows(
    by_function: Iterable[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    external: Iterable[ExternalLog],
) -> Iterator[dict[str, Any]]:
    """Rows of schemas.PUBLISHED_MEMORY of our runs, and of logs from elsewhere that are not the study's.

    Each is the median over runs of the same system and size, of the last attempt of each; runs that did not
    complete count only where none did.

    Args:
        by_function, runs: rows of the tables memory_by_function and runs.
    """
    of_run = {run["run"]: run for run in runs}
    of_log = {str(log.log): log for log in external if not log.published}
    cells_of = {(run["system"], run["cell"]) for run in runs}
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for (path, function), row in _last_attempts(by_function).items():
        found = _RUN_OF_LOG.search(path)
        if log := of_log.get(path):
            key: tuple[Any, ...] = ("log", log.system, None, log.documents, function, log.machine, None, None)
        elif found and (run := of_run.get(found[1])):
            if run["outcome"] != COMPLETED and _has_completed(run, runs):
                continue
            several = sum(system == run["system"] for system, _ in cells_of) > 1
            label = (run["label"] or run["system"]) + (f" ({run['cell']})" if several else "")
            place = (_machine(run), run["corpus"], run["checkpoint"])
            key = ("ours", label, run["framework"], run["documents"], function, *place)
        else:
            continue
        groups.setdefault(key, []).append(row)
    for (source, system, framework, documents, function, machine, corpus, checkpoint), rows in groups.items():
        yield {
            "source": source,
            "system": system,
            "framework": framework,
            "documents": documents,
            "function": function,
            **{f"{column}_mib": _median(row[f"{column}_mib"] for row in rows) for column in COLUMNS},
            "corrected": False,
            "runs": len({row["log"] for row in rows}),
            "machine": machine,
            "corpus": corpus,
            "checkpoint": checkpoint,
        }


def _has_completed(run: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> bool:
    same = ("system", "cell", "documents", "profiler")
    return any(
        other["outcome"] == COMPLETED and all(other[name] == run[name] for name in same) for other in runs
    )


def _machine(run: Mapping[str, Any]) -> str | None:
    if run["device"] == "cuda" and run["gpu_model"]:
        return str(run["gpu_model"])
    parts = [run["cpu_model"], f"{run['cpu_count']} cores" if run["cpu_count"] else None]
    return ", ".join(part for part in parts if part) or None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None

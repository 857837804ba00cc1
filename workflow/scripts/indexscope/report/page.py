"""The report: one HTML page that needs no network and no other file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from indexscope.figures import common, files
from indexscope.figures.catalog import FIGURES
from indexscope.run_record import COMPLETED, InputError

from . import equal_work, facts

# Where figures are listed that the catalog does not know.
_ELSEWHERE = "Other figures"
_CATEGORIES = list(dict.fromkeys([*(entry.category for entry in FIGURES.values()), _ELSEWHERE]))
# The other main findings, by their question: the title of the first of these figures that found something.
_FINDINGS = {
    "What line-by-line profiling misses": ["ghost", "memory_by_function"],
    "Whether the indexes are equal": ["artifact_comparison"],
}
_PEAK_FIGURE, _PEAK_QUESTION = "peak_memory", "Who needs most memory, and why"
_MOST_ROWS = 120  # of a figure's CSV that the page prints too
# Kept as they are in a data: URI, so that it stays short and what is in it can be searched.
_PLAIN = " ,;:/.=()+-_*!?@$[]{}|"


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page shows it: texts in HTML, the chart drawn by the page's own copy of Vega."""

    name: str
    category: str
    summary: str  # the catalog's caption; empty for a figure that the catalog does not know
    title: str
    notes: Sequence[str]
    support: str
    caption: str
    is_finding: bool
    specification: Markup  # JSON
    csv: str  # data: URI
    rows: int
    table: facts.Table | None  # the CSV, where it is short

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Finding:
    """One of at most three sentences of the first screen."""

    question: str
    sentence: str
    support: str
    figure: str  # its name; empty where it was not drawn


def read_figures(directory: Path) -> list[EmbeddedFigure]:
    """Every figure in `directory` (NAME.html with NAME.csv beside it), by category as the catalog orders them.

    Raises:
        InputError: there is none, or one is incomplete.
    """
    order = list(FIGURES)
    figures = [_read_figure(page) for page in directory.glob("*.html")]
    if not figures:
        raise InputError(f"{directory}: holds no figure; draw some first (snakemake figures)")
    return sorted(
        figures,
        key=lambda figure: (
            _CATEGORIES.index(figure.category),
            order.index(figure.name) if figure.name in order else len(order),
            figure.name,
        ),
    )


def _read_figure(page: Path) -> EmbeddedFigure:
    specification = files.read_specification(page)
    try:
        text = page.with_suffix(".csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{page.with_suffix('.csv')}: is missing; draw the figure anew") from None
    specification.pop("title", None)  # the page says it
    texts: dict[str, Any] = specification.pop("usermeta")
    columns, *rows = csv.reader(io.StringIO(text, newline="")) if text.strip() else [[]]
    entry = FIGURES.get(page.stem)
    return EmbeddedFigure(
        name=page.stem,
        category=entry.category if entry else _ELSEWHERE,
        summary=entry.caption if entry else "",
        specification=Markup(files.script_json(specification)),
        csv="data:text/csv;charset=utf-8," + quote(text, safe=_PLAIN),
        rows=len(rows),
        table=facts.Table(columns, rows) if 0 < len(rows) <= _MOST_ROWS else None,
        **texts,
    )


def findings(
    runs: pd.DataFrame, measured: equal_work.Measured, figures: Sequence[EmbeddedFigure]
) -> list[Finding]:
    """At most three, in the order of what matters; a question that the data cannot answer is left out.

    Args:
        runs: the table runs, with `series`.
    """
    told = {figure.name: figure for figure in figures if figure.is_finding}
    drawn = {figure.name for figure in figures}
    found = []
    answer = equal_work.answer(measured)
    if answer:
        found.append(
            Finding(_PEAK_QUESTION, answer.sentence, answer.support, _PEAK_FIGURE * (_PEAK_FIGURE in drawn))
        )
    elif _PEAK_FIGURE in told and (runs["outcome"] == COMPLETED).any():
        found.append(_finding("The highest peak", told[_PEAK_FIGURE]))
    for question, names in _FINDINGS.items():
        found += [_finding(question, told[name]) for name in names if name in told][:1]
    return found


def _finding(question: str, figure: EmbeddedFigure) -> Finding:
    return Finding(question, figure.title, figure.support, figure.name)


def render(
    runs: pd.DataFrame,
    comparison: pd.DataFrame,
    figures: Sequence[EmbeddedFigure],
    configuration: str,
    external_logs: pd.DataFrame | None = None,
) -> str:
    """The page.

    Args:
        runs, comparison: the tables runs and memory_comparison.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
        external_logs: the table of that name; None where there is none.
    """
    runs = common.label_systems(runs)
    measured = equal_work.Measured(runs, comparison)
    steps = equal_work.steps(measured)
    sizes = measured.sizes()
    systems, more_systems = facts.systems(runs)
    troubles = facts.troubles(runs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.jinja").render(
        summary=facts.summary(runs),
        campaigns=common.unique(runs["campaign"]),
        outcomes=[
            (common.outcome_words(str(name)), number, name == COMPLETED)
            for name, number in runs["outcome"].value_counts(sort=False).items()
        ],
        troubles=troubles,
        findings=findings(runs, measured, figures),
        systems=systems,
        more_systems=more_systems,
        machine=facts.machine(runs),
        versions=facts.versions(runs),
        scale=facts.scale(runs, _mapping(configuration)),
        categories=[
            (name, _identifier(name), [figure for figure in figures if figure.category == name])
            for name in _CATEGORIES
            if any(figure.category == name for figure in figures)
        ],
        figures=figures,
        steps=facts.Table(
            [
                "documents", "from", "to", "what changes", "peak (MiB)", "in the index call (MiB)",
                "at the peak the difference is",
            ],
            equal_work.step_rows(measured, steps),
            frozenset({0, 4, 5}),
        ),
        no_fair_pair=equal_work.no_fair_pair(measured, sizes[-1]) if sizes and not steps else "",
        runs=facts.run_table(runs),
        comparison=facts.comparison_table(comparison, runs),
        external_logs=None
        if external_logs is None or external_logs.empty
        else facts.external_logs(external_logs),
        limits=facts.limits(runs),
        configuration=configuration,
        bundle=Markup(files.javascript_bundle()),
    )  # fmt: skip


def _identifier(name: str) -> str:
    return "category-" + name.lower().replace(" ", "-")


def _mapping(configuration: str) -> Mapping[str, Any]:
    """The configuration, where it is one; the page shows any text as it is."""
    try:
        value = yaml.safe_load(configuration)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}

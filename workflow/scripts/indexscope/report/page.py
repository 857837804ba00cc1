"""The frame of every experiment's report: one HTML page that needs no network and no other file.

What a page says is in the module of its experiment, and in the template of that name, which extends
base.html.jinja.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup

from indexscope.figures import catalog, common, files
from indexscope.run_record import COMPLETED, InputError

from . import facts

INDEX_MEMORY, TORCH_VERSIONS = "index_memory", "torch_versions"
FAISS_TABLES, DOCUMENT_ACCESS = "faiss_tables", "document_access"
REMOTE_INDEXING = "remote_indexing"
# Experiment → its figures; one folder holds the figures of all.
CATALOGS: Mapping[str, Mapping[str, catalog.Entry]] = {
    INDEX_MEMORY: catalog.FIGURES,
    TORCH_VERSIONS: catalog.TORCH_FIGURES,
    FAISS_TABLES: catalog.FAISS_FIGURES,
    DOCUMENT_ACCESS: catalog.DOCUMENT_FIGURES,
    REMOTE_INDEXING: catalog.REMOTE_FIGURES,
}
# Those of targets beside an experiment, shown on its page where they have been drawn.
BESIDE: Mapping[str, Mapping[str, catalog.Entry]] = {
    INDEX_MEMORY: {**catalog.PROFILER_COST_FIGURES, **catalog.ACCURACY_FIGURES},
    FAISS_TABLES: catalog.FAISS_RFC_FIGURES,
    DOCUMENT_ACCESS: catalog.DOCUMENT_SCALE_FIGURES,
}
# Experiment → the workflow's target that draws them.
_TARGETS = {
    INDEX_MEMORY: "figures",
    TORCH_VERSIONS: "torch_versions",
    FAISS_TABLES: "faiss_tables",
    DOCUMENT_ACCESS: "document_access",
    REMOTE_INDEXING: "remote_indexing",
}
# Where figures are listed that no catalog knows.
_ELSEWHERE = "Other figures"
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
class Link:
    """To another part of the page."""

    identifier: str
    words: str


@dataclass(frozen=True)
class Finding:
    """One of the few sentences of the first screen."""

    question: str
    sentence: str  # without its full stop
    support: str
    figure: str  # its name; empty where it was not drawn
    more: Link | None = None


def read_figures(directory: Path, experiment: str = INDEX_MEMORY) -> list[EmbeddedFigure]:
    """The figures of `experiment` in `directory` (NAME.html with NAME.csv beside it), as its catalog orders them.

    Those that no catalog knows come last; those of other experiments are left out.

    Raises:
        InputError: there is none, or one is incomplete.
    """
    own = {**CATALOGS[experiment], **BESIDE.get(experiment, {})}
    of_others = set(catalog.ALL_FIGURES) - set(own)
    order = list(own)
    categories = _categories(own.values())
    figures = [
        _read_figure(page, own.get(page.stem))
        for page in directory.glob("*.html")
        if page.stem not in of_others
    ]
    if not figures:
        raise InputError(f"{directory}: holds no figure; draw some first (snakemake {_TARGETS[experiment]})")
    return sorted(
        figures,
        key=lambda figure: (
            categories.index(figure.category),
            order.index(figure.name) if figure.name in order else len(order),
            figure.name,
        ),
    )


def _categories(entries: Iterable[catalog.Entry]) -> list[str]:
    return list(dict.fromkeys([*(entry.category for entry in entries), _ELSEWHERE]))


def _read_figure(page: Path, entry: catalog.Entry | None) -> EmbeddedFigure:
    specification = files.read_specification(page)
    try:
        text = page.with_suffix(".csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{page.with_suffix('.csv')}: is missing; draw the figure anew") from None
    specification.pop("title", None)  # the page says it
    texts: dict[str, Any] = specification.pop("usermeta")
    columns, *rows = csv.reader(io.StringIO(text, newline="")) if text.strip() else [[]]
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


def render(
    experiment: str,
    runs: pd.DataFrame,
    figures: Sequence[EmbeddedFigure],
    configuration: str,
    /,
    **content: Any,
) -> str:
    """The page of `experiment`.

    Args:
        runs: a table of the schema RUNS.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
        content: what else base.html.jinja and the experiment's template print.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    categories = dict.fromkeys(figure.category for figure in figures)
    return environment.get_template(f"{experiment}.html.jinja").render(
        campaigns=common.unique(runs["campaign"]),
        outcomes=[
            (common.outcome_words(str(name)), number, name == COMPLETED)
            for name, number in runs["outcome"].value_counts(sort=False).items()
        ],
        categories=[
            (name, _identifier(name), [figure for figure in figures if figure.category == name])
            for name in categories
        ],
        figures=figures,
        configuration=configuration,
        bundle=Markup(files.javascript_bundle()),
        **content,
    )


def _identifier(name: str) -> str:
    return "category-" + name.lower().replace(" ", "-")

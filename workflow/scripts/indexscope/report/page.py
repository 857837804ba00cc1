"""The report: one HTML page that needs no network and no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from indexscope.figures import common, files
from indexscope.figures.catalog import FIGURES
from indexscope.run_record import InputError

from . import facts

# The order in which the page shows figures; others follow by name.
_ORDER = list(FIGURES)
# Whose titles are the main findings; at most three are told.
_FINDINGS = ["peak_memory", "memory_by_function", "artifact_comparison"]


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page shows it: texts in HTML, the chart drawn by the page's own copy of Vega."""

    name: str
    title: str
    notes: Sequence[str]
    support: str
    caption: str
    is_finding: bool
    specification: Markup  # JSON
    csv: str  # data: URI
    rows: int


def read_figures(directory: Path) -> list[EmbeddedFigure]:
    """Every figure in `directory` (NAME.html with NAME.csv beside it).

    Raises:
        InputError: there is none, or one is incomplete.
    """
    pages = sorted(
        directory.glob("*.html"),
        key=lambda page: (_ORDER.index(page.stem) if page.stem in _ORDER else len(_ORDER), page.stem),
    )
    if not pages:
        raise InputError(f"{directory}: holds no figure; draw some first (snakemake figures)")
    return [_read_figure(page) for page in pages]


def _read_figure(page: Path) -> EmbeddedFigure:
    specification = files.read_specification(page)
    try:
        csv = page.with_suffix(".csv").read_bytes()
    except FileNotFoundError:
        raise InputError(f"{page.with_suffix('.csv')}: is missing; draw the figure anew") from None
    del specification["title"]  # the page says it
    texts: dict[str, Any] = specification.pop("usermeta")
    return EmbeddedFigure(
        name=page.stem,
        specification=Markup(files.script_json(specification)),
        csv="data:text/csv;base64," + base64.b64encode(csv).decode("ascii"),
        rows=max(0, csv.count(b"\n") - 1),
        **texts,
    )


def render(
    runs: pd.DataFrame, comparison: pd.DataFrame, figures: Sequence[EmbeddedFigure], configuration: str
) -> str:
    """The page.

    Args:
        runs, comparison: the tables runs and memory_comparison.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
    """
    runs = common.label_systems(runs)
    told = [figure for name in _FINDINGS for figure in figures if figure.name == name and figure.is_finding]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    outcomes = runs["outcome"].value_counts(sort=False)
    return environment.get_template("report.html.jinja").render(
        summary=facts.summary(runs),
        outcomes=[
            (common.outcome_words(str(name)), number, name == "completed")
            for name, number in outcomes.items()
        ],
        findings=told[:3],
        machine=facts.machine(runs),
        versions=facts.versions(runs),
        scale=facts.scale(runs),
        figures=figures,
        runs=facts.run_table(runs),
        comparison=facts.comparison_table(comparison, runs),
        limits=facts.limits(runs),
        configuration=configuration,
        bundle=Markup(files.javascript_bundle()),
    )

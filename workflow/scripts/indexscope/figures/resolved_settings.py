"""What really ran: the resolved settings of every system side by side, and how every run ended."""

from __future__ import annotations

from typing import NamedTuple

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Resolved settings and outcomes"
_CAPTION = (
    "Read from the finished index and from the running framework, not from what was asked for. A shaded cell in "
    "bold differs from the first system. A setting has a line for each size only where a system changes it with "
    "the size. What came of the settings (attempts, size of the index) is below the settings and not counted "
    "among them. Below, one cell for every run."
)


class _Setting(NamedTuple):
    column: str
    words: str
    form: str = ""  # of a number; empty for text
    is_result: bool = False


_SETTINGS = [
    _Setting("passages", "passages after splitting", ",.0f"),
    _Setting("embeddings", "embeddings", ",.0f"),
    _Setting("partitions", "partitions", ",.0f"),
    _Setting("dim", "values of an embedding", ".0f"),
    _Setting("nbits", "bits per dimension (nbits)", ".0f"),
    _Setting("doc_maxlen", "tokens kept of a passage (doc_maxlen)", ".0f"),
    _Setting("index_bsize", "passages per encoder batch (index_bsize)", ".0f"),
    _Setting("kmeans_backend", "k-means backend"),
    _Setting("kmeans_iterations", "k-means iterations", ".0f"),
    _Setting("kmeans_points", "k-means points", ",.0f"),
    _Setting("process_model", "process model"),
    _Setting("environment", "environment"),
    _Setting("device", "device"),
    _Setting("threads", "threads", ".0f"),
    _Setting("allocator", "allocator"),
    _Setting("kmeans_attempts", "k-means attempts", ".0f", is_result=True),
    _Setting("kmeans_failures", "failed k-means attempts", is_result=True),
    _Setting("index_size_mib", "index size (MiB)", ",.2f", is_result=True),
]
# Systems that the configuration defines to be equal in all but the framework's own code.
FAIR_PAIRS = [("ragatouille_faiss_true", "colbert_fair"), ("ragatouille_whole", "colbert_whole")]
# V. Bakshi, "Memory Profiling raw ColBERT and RAGatouille", 2025-02-17: the log of RAGatouille's 250k run.
PUBLISHED_PASSAGES = (250_000, 327_523)
DIFFERS = "#FFE7B3"
OUTCOMES = {True: "#EDF3ED", False: "#F6DADA"}  # completed or not; the word says which
_NONE = "–"
_COLUMNS = ["setting", "documents", "series", "value", "reference", "differs", "is_result", "runs"]
_CELL_WIDTH, _CELL_HEIGHT = 158, 21
_RUN_WIDTH, _RUN_HEIGHT = 86, 20
_MOST_PIXELS = 1180


def draw(runs: pd.DataFrame) -> Figure:
    """Args: the table runs."""
    if runs.empty:
        return common.nothing_to_draw(TITLE, "The table of runs is empty: nothing was run.", _COLUMNS)
    runs = common.label_systems(runs)
    cells = settings_of(runs)
    series = common.unique(runs["series"])
    chart = alt.vconcat(_matrix(cells, series), _outcomes(runs), spacing=30)
    title, notes = _findings(cells, runs)
    return Figure(
        chart.resolve_scale(color="independent", x="independent", y="independent"),
        cells[_COLUMNS], title, common.conditions(runs), common.incomplete_words(runs, ", shaded"), notes, _CAPTION,
        width=max(900, 300 + _CELL_WIDTH * len(series)), is_finding=len(series) > 1,
    )  # fmt: skip


def settings_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One line for each setting, system and size: its value as text, and whether the first system's is another.

    `differs` is false where a side has no value. Runs that completed say what ran; others only where none did.
    """
    first = common.unique(runs["series"])[0]
    found = []
    for setting in _SETTINGS:
        for size in sorted(common.unique(runs["documents"])):
            of_size = runs[runs["documents"] == size]
            reference = _value(of_size[of_size["series"] == first], setting)
            for series, group in of_size.groupby("series", sort=False):
                value = _value(group, setting)
                found.append(
                    {
                        "setting": setting.words,
                        "documents": size,
                        "series": series,
                        "system": group["system"].iloc[0],
                        "value": value,
                        "reference": reference,
                        "differs": _NONE not in (value, reference) and value != reference,
                        "is_result": setting.is_result,
                        "runs": len(group),
                    }
                )
    return pd.DataFrame(found)


def _value(group: pd.DataFrame, setting: _Setting) -> str:
    """All values of a group of runs; `a to b` for numbers that differ between repeats."""
    completed = group[group["outcome"] == COMPLETED]
    values = sorted(common.unique((completed if len(completed) else group)[setting.column]))
    if not values:
        # No failed attempt is a fact where a run has counted its attempts.
        counted = setting.column == "kmeans_failures" and group["kmeans_attempts"].notna().any()
        return "none" if counted else _NONE
    texts = common.unique(format(value, setting.form) if setting.form else str(value) for value in values)
    if len(texts) == 1:
        return str(texts[0])
    return f"{texts[0]} to {texts[-1]}" if setting.form else " or ".join(texts)


def _lines(cells: pd.DataFrame) -> pd.DataFrame:
    """`cells` with the line of the matrix that each is on; a size has a line only where it changes a value."""
    sizes = cells.groupby(["setting", "series"])["value"].transform("nunique")
    changes = cells.assign(_n=sizes).groupby("setting")["_n"].transform("max") > 1
    several = cells["documents"].nunique() > 1
    of_size = cells["setting"] + ", " + cells["documents"].map(common.documents)
    lines = cells.assign(line=cells["setting"].where(~(changes & several), of_size))
    return lines.drop_duplicates(["line", "series"])


def _matrix(cells: pd.DataFrame, series: list[str]) -> common.Chart:
    lines = _lines(cells)
    lines = lines.assign(
        short=[value if len(value) < 27 else value[:25] + "…" for value in lines["value"]],
        column=["\n".join(common.wrap(name, _CELL_WIDTH, 6.4)) for name in lines["series"]],
    )
    columns = ["\n".join(common.wrap(name, _CELL_WIDTH, 6.4)) for name in series]
    depth = max(column.count("\n") for column in columns)
    base = alt.Chart(lines).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=None,
            scale=alt.Scale(domain=columns, paddingInner=0.02, paddingOuter=0),
            axis=alt.Axis(
                orient="top",
                labelAngle=0,
                labelExpr="split(datum.value, '\\n')",
                domain=False,
                ticks=False,
                labelFontWeight="bold",
                labelLimit=_CELL_WIDTH,
                labelPadding=6 + 13 * depth,
            ),
        ),
        y=alt.Y(
            "line:N",
            sort=common.unique(lines["line"]),
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labelLimit=420),
        ),
        tooltip=["setting:N", alt.Tooltip("series:N", title="system"), "value:N", "reference:N", "runs:Q"],
    )
    scale = alt.Scale(domain=["as the first system", "differs from it"], range=["#F6F6F6", DIFFERS])
    legend = alt.Legend(orient="bottom", symbolType="square", symbolStrokeWidth=0, symbolSize=140)
    fills = base.transform_calculate(
        state="datum.differs ? 'differs from it' : 'as the first system'"
    ).mark_rect(stroke="white", strokeWidth=1.5)
    plain = base.transform_filter("!datum.differs").mark_text(fontSize=11, color=common.INK)
    bold = base.transform_filter("datum.differs").mark_text(fontSize=11, fontWeight="bold", color=common.INK)
    return alt.layer(
        fills.encode(color=alt.Color("state:N", title=None, scale=scale, legend=legend)),
        plain.encode(text="short:N"),
        bold.encode(text="short:N"),
    ).properties(
        view=alt.ViewBackground(stroke=None),
        width=_CELL_WIDTH * len(series),
        height=_CELL_HEIGHT * lines["line"].nunique(),
        title=alt.TitleParams("What ran", fontSize=13, offset=6),
    )


def _outcomes(runs: pd.DataFrame) -> common.Chart:
    """A cell for every run, in a panel for each size."""
    rows = runs.assign(
        row=runs["series"] + " · " + runs["profiler"],
        words=runs["outcome"].map(common.outcome_words).str.replace("out of memory", "OOM"),
        completed=runs["outcome"] == COMPLETED,
    )
    order = common.series_and_profilers(runs)
    most = runs["repeat"].nunique()
    panels = []
    for size in sorted(common.unique(rows["documents"])):
        of_size = rows[rows["documents"] == size]
        present = [row for row in order if (of_size["row"] == row).any()]
        repeats = sorted(common.unique(of_size["repeat"]))
        base = alt.Chart(of_size).encode(
            x=alt.X(
                "repeat:O",
                title=None,
                scale=alt.Scale(domain=repeats),
                axis=alt.Axis(
                    orient="top", labelAngle=0, labelExpr="'repeat ' + datum.label", domain=False, ticks=False
                ),
            ),
            y=alt.Y("row:N", sort=present, title=None, axis=alt.Axis(domain=False, ticks=False)),
            tooltip=["run:N", "outcome:N", "outcome_detail:N", alt.Tooltip("exit_code:Q", title="exit code")],
        )
        fill = alt.condition("datum.completed", alt.value(OUTCOMES[True]), alt.value(OUTCOMES[False]))
        ink = alt.condition("datum.completed", alt.value(common.INK), alt.value(common.ALARM))
        panels.append(
            alt.layer(
                base.mark_rect(stroke="white", strokeWidth=1.5).encode(color=fill),
                base.mark_text(fontSize=10).encode(text="words:N", color=ink),
            ).properties(
                view=alt.ViewBackground(stroke=None),
                width=_RUN_WIDTH * len(repeats),
                height=_RUN_HEIGHT * len(present),
                title=alt.TitleParams(f"Outcomes, {common.documents(size)}", fontSize=13, offset=6),
            )
        )
    columns = max(1, min(len(panels), _MOST_PIXELS // (260 + _RUN_WIDTH * most)))
    return alt.concat(*panels, columns=columns)


def _differing(cells: pd.DataFrame) -> list[str]:
    """Settings, results not counted, in which at some size two of the systems of `cells` differ."""
    known = cells[(cells["value"] != _NONE) & ~cells["is_result"]]
    values = known.groupby(["setting", "documents"], sort=False)["value"].nunique()
    settings = values[values > 1].reset_index()["setting"]
    order = [setting.words for setting in _SETTINGS]
    return sorted(common.unique(settings), key=order.index)


def _findings(cells: pd.DataFrame, runs: pd.DataFrame) -> tuple[str, list[str]]:
    series = common.unique(cells["series"])
    counted = cells[~cells["is_result"] & (cells["value"] != _NONE)]["setting"].nunique()
    notes = [_fair_words(cells, *pair) for pair in FAIR_PAIRS]
    notes.append(_published_words(runs))
    if len(series) == 1:
        return f"One system was run, {series[0]}: {counted} settings are known", notes
    differing = _differing(cells)
    if not differing:
        return f"All {len(series)} systems ran with equal settings, all {counted} of them", notes
    named = [words.split(" (")[0] for words in differing]
    shown = len(named) if len(named) < 8 else 6
    more = [f"{len(named) - shown} more"] if len(named) > shown else []
    title = f"The systems differ in {len(differing)} of {counted} settings: {common.listed([*named[:shown], *more])}"
    return title, notes


def _fair_words(cells: pd.DataFrame, left: str, right: str) -> str:
    """Whether a fair pair ran with equal settings; empty where one of the two was not run."""
    pair = cells[cells["system"].isin([left, right])]
    names = common.unique(pair["series"])
    sizes = pair.groupby("documents")["series"].nunique()
    pair = pair[pair["documents"].isin(sizes[sizes > 1].index)]
    if len(names) != 2 or pair.empty:
        return ""
    both = f"The fair pair, {names[0]} and {names[1]},"
    differing = _differing(pair)
    unknown = pair[~pair["is_result"] & (pair["value"] == _NONE)]
    if not differing:
        known = pair[~pair["is_result"]]["setting"].nunique() - unknown["setting"].nunique()
        words = f"{both} ran with equal settings, all {known} of them"
        missing = common.unique(unknown["setting"])
        return words + (f" but not known for {common.listed(missing)}." if missing else ".")
    told = []
    for words in differing:
        of = pair[pair["setting"] == words]
        different = of.groupby("documents")["value"].transform("nunique") > 1
        last = of[different & (of["documents"] == of[different]["documents"].max())]
        told.append(f"{words.split(' (')[0]} ({' and '.join(last['value'])})")
    return f"{both} is not fair: it differs in {common.listed(told)}."


def _published_words(runs: pd.DataFrame) -> str:
    """Whether RAGatouille indexed more passages than it was given documents and ColBERT not, as published."""
    completed = runs[(runs["outcome"] == COMPLETED) & runs["passages"].notna()]
    ratio = (completed["passages"] / completed["documents"]).groupby(completed["system"]).max()
    series = completed.drop_duplicates("system").set_index("system")["series"]
    colbert, ragatouille = "colbert", "ragatouille_faiss_true"
    if not {colbert, ragatouille} <= set(ratio.index):
        return ""
    documents, passages = PUBLISHED_PASSAGES
    holds = "holds" if ratio[ragatouille] > 1 and ratio[colbert] == 1 else "does not hold"
    return (
        f"Published: RAGatouille split {common.documents(documents)} into {common.count(passages)} passages "
        f"({passages / documents:.2f} a document), ColBERT did not split. Here {series[ragatouille]} made "
        f"{ratio[ragatouille]:.2f} passages a document and {series[colbert]} {ratio[colbert]:.2f}: that they were "
        f"given unequal work {holds} at this scale."
    )

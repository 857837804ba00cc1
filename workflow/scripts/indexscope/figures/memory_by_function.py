"""Start, increment and final of each function, as memory_profiler reads them, beside the exact peak."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, functions
from .common import Figure
from .functions import CALL, FUNCTIONS, KEY, SETUP

TITLE = "Memory by function"
_CAPTION = (
    "For each of the study's seven functions: memory_profiler's start, increment and final, and the exact "
    "peak from spans, which are separate runs; memory_profiler's own memory is part of its rows. Where a "
    "function has no row of memory_profiler, start and end are those of its span (hollow), and the increment is their "
    "difference. Values are medians of the repeats, a horizontal line through a peak is their range; where a "
    "build was tried more than once, the last attempt is drawn. The axis does not begin at zero. The four "
    "numbers (MiB) are start, increment, final and peak."
)
_LEVELS = ["start_mib", "final_mib", "spans_start_mib", "spans_end_mib", "peak_mib"]
_PANEL_WIDTH, _ROW_HEIGHT = 230, 23
_AXIS_WIDTH, _GAP = 150, 26
# Column of text → its right edge, in pixels from the panel's.
_TEXTS = {"process": 46, "start": 88, "increment": 142, "final": 184, "peak": 226}
_MARKS = {
    "start": "circle",
    "final": "diamond",
    "exact peak": "M-0.14,-1.25L0.14,-1.25L0.14,1.25L-0.14,1.25Z",
}
_START, _FINAL, _PEAK = _MARKS


def draw(runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame) -> Figure:
    """Args: the tables runs, spans and memory_by_function."""
    runs = common.label_systems(common.own_runs(runs))
    rows = combine(runs, spans, by_function)
    if rows[_LEVELS].isna().all(axis=None):
        reason = "No run with the profiler memory_profiler or spans left a row for the seven functions."
        return common.nothing_to_draw(TITLE, reason, list(rows.columns))
    used = runs[runs["profiler"].isin(["memory_profiler", "spans"])]
    shown = used[["documents", "series"]].drop_duplicates()
    width = _PANEL_WIDTH + max(_TEXTS.values()) + _GAP
    sizes = {
        size: [
            name
            for name in common.unique(runs["series"])
            if ((shown["documents"] == size) & (shown["series"] == name)).any()
        ]
        for size in sorted(common.unique(shown["documents"]))
    }
    columns = common.columns_that_fit(max(map(len, sizes.values())), width, margin=_AXIS_WIDTH)
    domain = _domain(rows)
    panels = {
        size: [
            _panel(
                rows[(rows["series"] == name) & (rows["documents"] == size)],
                common.panel_title(
                    name,
                    [functions.profiler_words(used[(used["series"] == name) & (used["documents"] == size)])],
                ),
                common.system_scale(runs),
                domain,
                first=number % columns == 0,
            )
            for number, name in enumerate(names)
        ]
        for size, names in sizes.items()
    }
    notes = [
        *_published(rows, runs),
        _not_profiled(runs, used),
        _missing(rows),
        common.incomplete_words(used),
        functions.elsewhere_words(by_function),
    ]
    return Figure(
        common.blocks(panels, columns),
        rows,
        _finding(rows),
        common.conditions(used),
        "",
        notes,
        _CAPTION,
        width=max(900, columns * width + _AXIS_WIDTH),
    )


# From tables to rows


def combine(runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame) -> pd.DataFrame:
    """One row for each series, size and function, measured or not: medians over repeats and ranges of peaks.

    `start_mib`, `increment_mib` and `final_mib` are memory_profiler's, the others the spans'.
    """
    profiled = (
        functions.last_readings(runs, by_function)
        .groupby(KEY)
        .agg(
            memory_profiler_runs=("run", "nunique"),
            start_mib=("start_mib", "median"),
            increment_mib=("increment_mib", "median"),
            final_mib=("final_mib", "median"),
        )
    )
    identity = functions.counted_runs(runs)
    measured = (
        functions.last_spans(spans)
        .drop(columns=["documents"])
        .merge(identity, on="run")
        .groupby(KEY)
        .agg(
            spans_runs=("run", "nunique"),
            role=("role", "last"),
            spans_start_mib=("start_rss_mib", "median"),
            spans_end_mib=("end_rss_mib", "median"),
            peak_mib=("peak_rss_mib", "median"),
            peak_min_mib=("peak_rss_mib", "min"),
            peak_max_mib=("peak_rss_mib", "max"),
            peak_exact=("peak_exact", "all"),
        )
    )
    asked = runs.loc[
        runs["profiler"].isin(["memory_profiler", "spans"]), ["series", "documents"]
    ].drop_duplicates()
    index = asked.merge(pd.DataFrame({"function": list(FUNCTIONS)}), how="cross").set_index(KEY).index
    rows = profiled.join(measured, how="outer").reindex(index)
    counts = ["memory_profiler_runs", "spans_runs"]
    rows[counts] = rows[counts].fillna(0).astype(int)
    rows["peak_exact"] = rows["peak_exact"].astype("boolean")
    rows = rows.reset_index()
    models = dict(zip(identity["series"], identity["process_model"], strict=True))
    inferred = [functions.role(row.function, models.get(row.series)) for row in common.each_row(rows)]
    rows["role"] = rows["role"].where(rows["role"].notna(), pd.Series(inferred, index=rows.index))
    return rows


def _start(row: Any) -> float:
    return float(row.spans_start_mib if pd.isna(row.final_mib) else row.start_mib)


def _final(row: Any) -> float:
    return float(row.spans_end_mib if pd.isna(row.final_mib) else row.final_mib)


def _increment(row: Any) -> float:
    """memory_profiler's own, or the difference of a span's end and start."""
    if pd.isna(row.final_mib):
        return float(row.spans_end_mib - row.spans_start_mib)
    return float(row.increment_mib)


def _domain(rows: pd.DataFrame) -> list[float]:
    """The axis of all panels: all levels, with a margin."""
    low, high = rows[_LEVELS].min().min(), rows[[*_LEVELS, "peak_max_mib"]].max().max()
    margin = max(1.0, 0.06 * (high - low))
    return [round(max(0.0, low - margin), 1), round(high + margin, 1)]


# Sentences


def _finding(rows: pd.DataFrame) -> str:
    """From where to where the memory of the process that builds the index goes, at the largest size."""
    inside = rows[rows["function"] != CALL]
    inside = inside.assign(
        low=[_start(row) if row.function == SETUP else float("nan") for row in common.each_row(inside)],
        high=inside[_LEVELS].max(axis=1),
    )
    risen = inside.groupby(["documents", "series"], sort=False).agg(
        low=("low", "max"), high=("high", "max"), role=("role", "first")
    )
    risen = risen.dropna().reset_index()
    if risen.empty:
        return f"{TITLE}: no run has a row for {SETUP}"
    size = risen["documents"].max()
    ranked = risen[risen["documents"] == size].sort_values("high", ascending=False)
    told = ranked if len(ranked) <= 3 else ranked.iloc[[0, -1]]
    parts = [
        f"from {common.count(row.low)} to {common.mib(row.high)} in {row.series} ({row.role})"
        for row in common.each_row(told)
    ]
    few = "" if len(told) == len(ranked) else f" (highest and lowest of {len(ranked)})"
    return f"At {common.documents(size)} building the index takes its process {common.listed(parts)}{few}"


def _published(rows: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """What the study says of start, increment and `index`, and whether it holds at the largest size here."""
    ragatouille, colbert = (common.series_of(runs, name) for name in ("ragatouille", "colbert"))
    known = rows[rows[["start_mib", "spans_start_mib"]].notna().any(axis=1)]
    both = [
        set(known.loc[known["series"].isin(names), "documents"].tolist()) for names in (ragatouille, colbert)
    ]
    size = int(max(both[0] & both[1] or rows["documents"]))
    here = f"at {common.documents(size)}"
    known = known[known["documents"] == size]

    def values(function: str, names: list[str], of: Any) -> dict[str, float]:
        chosen = known[(known["function"] == function) & known["series"].isin(names)]
        pairs = {row.series: of(row) for row in common.each_row(chosen)}
        return {name: value for name, value in pairs.items() if pd.notna(value)}

    return [
        _compared(
            "building starts higher in RAGatouille than in ColBERT (start of setup)",
            here,
            values(SETUP, ragatouille, _start),
            values(SETUP, colbert, _start),
        ),
        _compared(
            "RAGatouille keeps more than ColBERT (increment of indexer.index)",
            here,
            values(CALL, ragatouille, _increment),
            values(CALL, colbert, _increment),
        )
        + _idle_parent(known),
        _falls(here, values("index", ragatouille, _increment), values("index", colbert, _increment)),
    ]


def _compared(statement: str, here: str, higher: dict[str, float], lower: dict[str, float]) -> str:
    if not (higher and lower):
        lacking = [name for name, found in (("RAGatouille", higher), ("ColBERT", lower)) if not found]
        return common.published(statement, here, {}, f"no such row of {' or '.join(lacking)}")
    verdicts = {name: value > max(lower.values()) for name, value in higher.items()}
    evidence = [f"{name} {common.mib(value)}" for name, value in {**higher, **lower}.items()]
    return common.published(statement, here, verdicts, common.listed(evidence))


def _idle_parent(known: pd.DataFrame) -> str:
    """A sentence on ColBERT's call: as shipped it waits for the process that builds."""
    waiting = []
    for series in common.unique(known["series"]):
        of_series = known[known["series"] == series]
        calling = set(of_series.loc[of_series["function"] == CALL, "role"])
        if calling == {"parent"} and "worker" in set(of_series["role"]):
            waiting.append(series)
    if not waiting:
        return ""
    return (
        f" But indexer.index of {common.listed(waiting)} is a parent that waits: its worker builds the index."
    )


def _falls(here: str, ragatouille: dict[str, float], colbert: dict[str, float]) -> str:
    statement = "memory falls in index() of RAGatouille and rises in that of ColBERT"
    verdicts = {name: value < 0 for name, value in ragatouille.items()}
    verdicts |= {name: value > 0 for name, value in colbert.items()}
    evidence = [f"{name} {_number(value, '+')} MiB" for name, value in {**ragatouille, **colbert}.items()]
    return common.published(statement, here, verdicts, common.listed(evidence) or "no row of index")


def _not_profiled(runs: pd.DataFrame, used: pd.DataFrame) -> str:
    left = [name for name in common.unique(runs["series"]) if name not in set(used["series"])]
    return f"Run with neither profiler, so not drawn: {common.listed(left)}." if left else ""


def _missing(rows: pd.DataFrame) -> str:
    """Rows that a panel lacks although the profiler ran."""
    parts = []
    for column, counted, words in [
        ("final_mib", "memory_profiler_runs", "row of memory_profiler"),
        ("peak_mib", "spans_runs", "span"),
    ]:
        ran = rows.groupby(["series", "documents"])[counted].transform("max") > 0
        missing = int((rows[column].isna() & ran).sum())
        if missing:
            parts.append(f"{missing} ha{'s' if missing == 1 else 've'} no {words}")
    return f"Of {len(rows)} functions drawn, {common.listed(parts)}." if parts else ""


# Drawing


def _panel(
    rows: pd.DataFrame, title: alt.TitleParams, scale: alt.Scale, domain: list[float], *, first: bool
) -> common.Chart:
    texts = pd.DataFrame(
        {
            "process": [row.role if _has_values(row) else "not seen" for row in common.each_row(rows)],
            "start_text": [_number(_start(row)) for row in common.each_row(rows)],
            "increment_text": [_number(_increment(row), "+") for row in common.each_row(rows)],
            "final_text": [_number(_final(row)) for row in common.each_row(rows)],
            "peak_text": [_number(row.peak_mib) for row in common.each_row(rows)],
        },
        index=rows.index,
    )
    # Spans stand in where a function has no row of memory_profiler.
    source = rows["final_mib"].notna().map({True: "memory_profiler", False: "spans"})
    y = functions.axis(labels=first)
    base = alt.Chart().encode(
        y=y,
        color=alt.Color("series:N", scale=scale, legend=None),
        tooltip=[
            "function:N",
            alt.Tooltip("role:N", title="process"),
            *[
                alt.Tooltip(f"{name}_mib:Q", title=f"{name.replace('_', ' ')} (MiB)", format=",.1f")
                for name in ["start", "increment", "final", "spans_start", "spans_end", "peak"]
            ],
            alt.Tooltip("memory_profiler_runs:Q", title="memory_profiler runs"),
            alt.Tooltip("spans_runs:Q", title="spans runs"),
        ],
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="RSS of the process (MiB)",
            scale=alt.Scale(domain=domain, nice=False, zero=False),
            axis=alt.Axis(tickCount=3, labelFlush=False),
        )

    def mark(chart: alt.Chart, field: str, name: str, size: int, **look: Any) -> alt.Chart:
        shape = alt.Shape(
            "mark:N",
            title=None,
            scale=alt.Scale(domain=list(_MARKS), range=list(_MARKS.values())),
            legend=alt.Legend(
                orient="top", symbolStrokeColor=common.NOTE, symbolFillColor=common.NOTE, symbolSize=70
            ),
        )
        marks: alt.Chart = chart.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, opacity=1, **look
        )
        return marks.encode(x=x(field), shape=shape)

    levels = []
    looks: list[tuple[str, str, str, dict[str, Any]]] = [
        ("memory_profiler", "start_mib", "final_mib", {"filled": True}),
        ("spans", "spans_start_mib", "spans_end_mib", {"filled": False, "fill": "white"}),
    ]
    for name, start, end, look in looks:
        of_source = base.transform_filter(alt.datum.source == name)
        levels += [
            of_source.mark_rule(strokeWidth=7, opacity=0.35).encode(x=x(start), x2=f"{end}:Q"),
            mark(of_source, start, _START, 50, **look),
            mark(of_source, end, _FINAL, 60, **look),
        ]
    return alt.layer(
        *levels,
        base.mark_rule(strokeWidth=2).encode(
            x=x("peak_min_mib"), x2="peak_max_mib:Q", color=alt.value(common.INK)
        ),
        mark(base, "peak_mib", _PEAK, 130, filled=True).encode(color=alt.value(common.INK)),
        *_text_layers(y),
        data=rows.join(texts).assign(source=source),
    ).properties(width=_PANEL_WIDTH, height=_ROW_HEIGHT * len(FUNCTIONS), title=title)


def _text_layers(y: alt.Y) -> list[alt.Chart]:
    """The process and the four numbers of each function, in columns right of the panel."""
    layers = []
    for name, edge in _TEXTS.items():
        field, colour = (name, common.NOTE) if name == "process" else (f"{name}_text", common.INK)
        column: dict[str, Any] = {"align": "right", "x": _PANEL_WIDTH + edge}
        heading = alt.Chart(alt.InlineData(values=[{}]))
        layers += [
            alt.Chart().mark_text(fontSize=10.5, color=colour, **column).encode(y=y, text=f"{field}:N"),
            heading.mark_text(fontSize=10, color=common.NOTE, text=name, y=-6, **column),
        ]
    return layers


def _has_values(row: Any) -> bool:
    return any(pd.notna(getattr(row, name)) for name in _LEVELS)


def _number(value: float, sign: str = "") -> str:
    return "–" if pd.isna(value) else f"{value:{sign},.0f}".replace("-", "−")

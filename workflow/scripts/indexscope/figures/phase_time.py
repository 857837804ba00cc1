"""Where a run's time goes, by phase, and how long encoding 25,000 passages takes, published times beside."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Time of each phase"
_CAPTION = (
    "Bars are medians of completed runs, points are runs, thin lines the range of repeats; runs under another "
    "profiler than none are faint. Planning samples and encodes passages to choose the number of partitions; "
    "training is k-means and the residual codec; encoding is encoding, compressing and saving all passages; "
    "finalizing builds the inverted lists. Phases are those of the attempt that made the index. The rest of the "
    "index call holds splitting, loading the checkpoint, starting a child process and failed attempts; outside "
    "it are imports and exit. A median of parts need not add up to the median of the whole. "
    "Seconds per 25,000 passages are of encoding alone, scaled from what was encoded: published ones are of "
    "other hardware and another checkpoint, so only the order of the systems compares."
)
# Segment → column and colour; neither a system's, a role's nor a verdict's colours (Paul Tol's light palette).
PHASES = {
    "planning": ("planning_seconds", "#BBCC33"),
    "training": ("training_seconds", "#EE8866"),
    "encoding": ("encoding_seconds", "#77AADD"),
    "finalizing": ("finalizing_seconds", "#225522"),
}
SEGMENTS = {
    "outside the index call": ("outside_seconds", "#D8D8D8"),
    "rest of the index call": ("rest_seconds", "#A8A8A8"),
    **PHASES,
}
PER_25K = "seconds_per_25k_passages"
_COLUMNS = [
    "run", "system", "framework", "series", "documents", "profiler", "repeat", "outcome", "wall_seconds",
    "index_seconds", "passages", *[column for column, _ in SEGMENTS.values()], PER_25K, "source",
]  # fmt: skip
_RUN_WIDTH, _PHASE_WIDTH, _RATE_WIDTH = 300, 250, 560
_ROW, _PHASE_ROW = 22, 14
_KINDS = {"a run": "circle", "published": "diamond"}


def draw(runs: pd.DataFrame, comparison: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Args: the tables runs, memory_comparison and published_encode_seconds."""
    if runs.empty:
        return common.nothing_to_draw(TITLE, "The table of runs is empty: nothing was run.", _COLUMNS)
    runs = with_rests(common.label_systems(runs))
    rows = runs.assign(row=runs["series"] + " · " + runs["profiler"], source=None)
    order = common.series_and_profilers(runs)
    sizes = sorted(common.unique(runs["documents"]))
    panels: list[common.Chart] = []
    for size in sizes:
        of_size = rows[rows["documents"] == size]
        whole = _whole_run(of_size, order, size, legend=size == sizes[0])
        panels.append(alt.hconcat(whole, _phases(of_size, size)).resolve_scale(color="independent"))
    rates = rows[(rows["outcome"] == COMPLETED) & rows[PER_25K].notna()]
    if not rates.empty:
        panels.append(_rates(rates, published, order, runs))
    chart = alt.vconcat(*panels).resolve_scale(color="independent", size="independent")
    title, support, notes = _findings(runs, comparison, published)
    drawn = pd.concat([rows[_COLUMNS].astype(object), _published_rows(published)], ignore_index=True)
    return Figure(
        chart, drawn, title, common.conditions(runs), support, notes, _CAPTION, width=1060,
        is_finding=not rates.empty,
    )  # fmt: skip


def with_rests(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with rest_seconds (the index call less its phases) and outside_seconds (the run less the call)."""
    phases = runs[[column for column, _ in PHASES.values()]].sum(axis=1, min_count=1)
    return runs.assign(
        rest_seconds=(runs["index_seconds"] - phases).clip(lower=0),
        outside_seconds=(runs["wall_seconds"] - runs["index_seconds"]).clip(lower=0),
    )


def _medians(rows: pd.DataFrame, segments: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """One line for each row of a panel and segment: median, least and most seconds of its completed runs."""
    found = []
    completed = rows[rows["outcome"] == COMPLETED]
    for (row, series, profiler), repeats in completed.groupby(["row", "series", "profiler"], sort=False):
        for place, (segment, (column, _)) in enumerate(segments.items()):
            seconds = repeats[column].dropna()
            if len(seconds):
                found.append(
                    {
                        "row": row, "series": series, "profiler": profiler, "segment": segment, "place": place,
                        "seconds": seconds.median(), "least": seconds.min(), "most": seconds.max(),
                        "words": common.seconds(seconds.median()), "runs": len(seconds),
                    }
                )  # fmt: skip
    columns = ["row", "series", "profiler", "segment", "place", "seconds", "least", "most", "words", "runs"]
    return pd.DataFrame(found, columns=columns)


def _colour(segments: dict[str, tuple[str, str]], legend: bool) -> alt.Color:
    scale = alt.Scale(domain=list(segments), range=[colour for _, colour in segments.values()])
    shown = alt.Legend(orient="top", symbolType="square", columns=3, title=None) if legend else None
    return alt.Color("segment:N", scale=scale, legend=shown)


_TOOLTIP = [
    alt.Tooltip("series:N", title="system"),
    "profiler:N",
    alt.Tooltip("segment:N", title="part"),
    alt.Tooltip("seconds:Q", title="median (s)", format=",.4g"),
    alt.Tooltip("least:Q", title="least (s)", format=",.4g"),
    alt.Tooltip("most:Q", title="most (s)", format=",.4g"),
    "runs:Q",
]


def _whole_run(rows: pd.DataFrame, order: list[str], size: int, legend: bool) -> common.Chart:
    present = [row for row in order if (rows["row"] == row).any()]
    end = 1.25 * max(1e-3, rows["wall_seconds"].max())
    y = alt.Y("row:N", sort=present, title=None, axis=alt.Axis(domain=False, ticks=False))
    scale = alt.Scale(domain=[0, end], nice=False)
    faint = alt.condition("datum.profiler === 'none'", alt.value(1.0), alt.value(0.5))
    bars = (
        alt.Chart(_medians(rows, SEGMENTS))
        .mark_bar(height=14)
        .encode(
            x=alt.X("seconds:Q", stack="zero", title="whole run (s)", scale=scale),
            y=y,
            color=_colour(SEGMENTS, legend),
            order="place:Q",
            opacity=faint,
            tooltip=_TOOLTIP,
        )
    )
    whole = _medians(rows, {"whole run": ("wall_seconds", "")})
    base = alt.Chart(whole).encode(y=alt.Y("row:N", sort=present))
    spread = base.mark_rule(color=common.INK, strokeWidth=1.2).encode(
        x=alt.X("least:Q", scale=scale), x2="most:Q"
    )
    labels = base.mark_text(align="left", dx=6, fontSize=10, color=common.INK).encode(
        x=alt.X("most:Q", scale=scale), text="words:N"
    )
    return alt.layer(bars, spread, labels, *_incomplete(rows, present)).properties(
        width=_RUN_WIDTH,
        height=_ROW * len(present),
        title=alt.TitleParams(common.documents(size), fontSize=13, offset=6),
    )


def _incomplete(rows: pd.DataFrame, present: list[str]) -> list[alt.Chart]:
    """How runs ended where none of a row completed."""
    ended = [
        {"row": row, "words": "× " + common.outcome_counts(of_row)}
        for row, of_row in rows.groupby("row", sort=False)
        if not (of_row["outcome"] == COMPLETED).any()
    ]
    if not ended:
        return []
    return [
        alt.Chart(pd.DataFrame(ended))
        .mark_text(align="left", dx=4, fontSize=10, color=common.ALARM)
        .encode(y=alt.Y("row:N", sort=present), x=alt.value(0), text="words:N")
    ]


def _phases(rows: pd.DataFrame, size: int) -> common.Chart:
    """The four phases of runs without a profiler, each on a line of its own."""
    plain = rows[rows["profiler"] == "none"]
    series = common.unique(plain["series"])
    medians = _medians(plain, PHASES)
    long = plain[plain["outcome"] == COMPLETED].melt(
        ["row", "series", "repeat"], [column for column, _ in PHASES.values()], "column", "seconds"
    )
    names = {column: segment for segment, (column, _) in PHASES.items()}
    points = long.assign(segment=long["column"].map(names)).dropna(subset=["seconds"])
    end = 1.5 * max(1e-3, points["seconds"].max() if len(points) else 0)
    y = alt.Y("series:N", sort=series, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=230))
    offset = alt.YOffset("segment:N", sort=list(PHASES), scale=alt.Scale(paddingOuter=0.15))
    x = alt.X(
        "seconds:Q", title="phase, without a profiler (s)", scale=alt.Scale(domain=[0, end], nice=False)
    )
    base = alt.Chart(medians).encode(y=y, yOffset=offset)
    bars = base.mark_bar(size=_PHASE_ROW - 3).encode(x=x, color=_colour(PHASES, False), tooltip=_TOOLTIP)
    spread = base.mark_rule(color=common.INK, strokeWidth=1.2).encode(x="least:Q", x2="most:Q")
    dots = (
        alt.Chart(points)
        .mark_point(size=14, filled=True, color=common.INK, opacity=0.8)
        .encode(x=x, y=y, yOffset=offset, tooltip=["series:N", "segment:N", "repeat:Q", "seconds:Q"])
    )
    labels = base.mark_text(align="left", dx=5, fontSize=9.5, color=common.INK).encode(
        x="most:Q", text=alt.Text("label:N")
    )
    labels = labels.transform_calculate(label="datum.segment + ' ' + datum.words")
    return alt.layer(bars, spread, dots, labels).properties(
        width=_PHASE_WIDTH, height=max(1, len(series)) * len(PHASES) * _PHASE_ROW, title=" "
    )


def _rates(
    rates: pd.DataFrame, published: pd.DataFrame, order: list[str], runs: pd.DataFrame
) -> common.Chart:
    ours = rates.assign(kind="a run")
    theirs = _published_rows(published)
    theirs = theirs.assign(row=theirs["series"] + " · " + theirs["profiler"], kind="published")
    present = [row for row in order if (ours["row"] == row).any()]
    lines = [*present, *common.unique(theirs["row"])]
    sizes = sorted(common.unique(ours["documents"]))
    values = [*ours[PER_25K], *theirs[PER_25K]]
    x = alt.X(
        f"{PER_25K}:Q",
        title="encoding, seconds per 25,000 passages (logarithmic)",
        scale=alt.Scale(
            type="log", domain=[0.8 * min(values), (1.6 if len(sizes) == 1 else 4) * max(values)], nice=False
        ),
    )
    y = alt.Y("row:N", sort=lines, title=None, axis=alt.Axis(grid=True, domain=False, ticks=False))
    shape = alt.Shape(
        "kind:N", scale=alt.Scale(domain=list(_KINDS), range=list(_KINDS.values())), legend=None
    )
    area = alt.Size(
        "documents:O",
        title="documents",
        scale=alt.Scale(domain=sizes, range=[40, 40 + 30 * (len(sizes) - 1)]),
        legend=alt.Legend(orient="top", symbolFillColor=common.NOTE, format=",") if len(sizes) > 1 else None,
    )
    own = (
        alt.Chart(ours)
        .mark_point(filled=True, opacity=0.8)
        .encode(
            x=x,
            y=y,
            size=area,
            shape=shape,
            color=alt.Color("series:N", scale=common.system_scale(runs), legend=None),
            tooltip=[
                alt.Tooltip("series:N", title="system"),
                alt.Tooltip("documents:Q", format=","),
                "profiler:N",
                "repeat:Q",
                alt.Tooltip("passages:Q", format=","),
                alt.Tooltip(f"{PER_25K}:Q", title="seconds per 25,000 passages", format=",.1f"),
            ],
        )
    )
    others = (
        alt.Chart(theirs)
        .mark_point(filled=True, size=70, color=common.NOTE)
        .encode(x=x, y=y, shape=shape, tooltip=["row:N", f"{PER_25K}:Q", "source:N"])
    )
    labelled = pd.concat([ours, theirs])[["row", "documents", PER_25K]]
    texts = []
    for row, group in labelled.groupby("row", sort=False):
        # Of the largest size, which is said where there are several; published times have none.
        largest = group[group["documents"].isna() | (group["documents"] == group["documents"].max())]
        words = common.seconds(float(largest[PER_25K].astype(float).median()))
        if group["documents"].nunique() > 1:
            words += f" at {common.documents(int(group['documents'].max()))}"
        texts.append({"row": row, PER_25K: group[PER_25K].astype(float).max(), "words": words})
    labels = (
        alt.Chart(pd.DataFrame(texts))
        .mark_text(align="left", dx=10, fontSize=10, color=common.INK)
        .encode(x=x, y=y, text="words:N")
    )
    layers = [own, others, labels] if len(theirs) else [own, labels]
    panel: alt.LayerChart = alt.layer(*layers).resolve_scale(size="independent")
    return panel.properties(
        width=_RATE_WIDTH,
        height=18 * len(lines),
        title=alt.TitleParams("Encoding, by system; published times below", fontSize=13, offset=6),
    )


def _published_rows(published: pd.DataFrame) -> pd.DataFrame:
    """The published times as rows of this figure; equal ones once."""
    once = published.drop_duplicates(["framework", "profiler", "gpu", PER_25K])
    once = once.sort_values(["framework", "profiler", PER_25K], ascending=[True, False, True])
    series = "published: " + once["framework"].map(common.framework_words) + ", " + once["gpu"]
    return once.assign(series=series, outcome=COMPLETED).reindex(columns=_COLUMNS)


def _findings(
    runs: pd.DataFrame, comparison: pd.DataFrame, published: pd.DataFrame
) -> tuple[str, str, list[str]]:
    completed = runs[(runs["outcome"] == COMPLETED) & (runs["profiler"] == "none")]
    told = completed.dropna(subset=[PER_25K, "wall_seconds", "rest_seconds"])
    notes = [common.incomplete_words(runs, "")]
    if told.empty:
        return "No run without a profiler completed, so no time can be told", "", notes
    largest = told["documents"].max()
    told = told[told["documents"] == largest]
    phases = told[[column for column, _ in PHASES.values()]].sum(axis=1)
    share = 100 * (phases / told["wall_seconds"]).groupby(told["series"], sort=False).median()
    rate = told.groupby("series", sort=False)[PER_25K].median().sort_values(kind="stable")
    share_words = common.range_words(share.min(), share.max(), ".0f", " %")
    title = (
        f"At {common.documents(largest)} the four phases are {share_words} of a run's time; encoding takes "
    )
    slowest = common.seconds(rate.iloc[-1])
    if len(rate) > 1 and common.seconds(rate.iloc[0]) == slowest:
        title += f"{slowest} per 25,000 passages with each of {len(rate)} systems"
    elif len(rate) > 1:
        title += (
            f"{common.seconds(rate.iloc[0])} ({rate.index[0]}) to {slowest} "
            f"({rate.index[-1]}) per 25,000 passages"
        )
    else:
        title += f"{common.seconds(rate.iloc[0])} per 25,000 passages ({rate.index[0]})"
    names = common.comparison_names(runs)
    support = ""
    for each in common.differences(comparison, "systems", PER_25K, names):
        if each.documents == largest and {each.high, each.low} == {rate.index[0], rate.index[-1]}:
            support = f"Between these two, the difference in encoding {each.spread()}."
    notes.insert(0, published_words(told, comparison, published, names))
    return title, support, notes


def published_words(
    told: pd.DataFrame, comparison: pd.DataFrame, published: pd.DataFrame, names: dict[str, str]
) -> str:
    """Whether the published order of ColBERT and RAGatouille holds here; empty where it cannot be told.

    Args:
        told: runs of one size that completed without a profiler. The first system of each framework is compared.
    """
    theirs = common.published_encoding(published, "none")
    first = told.drop_duplicates("framework").set_index("framework")["series"]
    if not {"colbert", "ragatouille"} <= (set(theirs) & set(first.index)):
        return ""
    colbert, ragatouille = first["colbert"], first["ragatouille"]
    rate = told.groupby("series")[PER_25K].median()
    here, there = rate[ragatouille] / rate[colbert], theirs["ragatouille"] / theirs["colbert"]
    size = told["documents"].iloc[0]
    separated = None
    for each in common.differences(comparison, "systems", PER_25K, names):
        if each.documents == size and {each.high, each.low} == {colbert, ragatouille}:
            separated = each.separated
    verdict = common.holds_words((here > 1) == (there > 1), separated)
    return (
        f"Published ({common.PUBLISHED_GPU}, no profiler): {theirs['colbert']:.3g} s for ColBERT, "
        f"{theirs['ragatouille']:.3g} s for RAGatouille, {there:.2f} times as long. Here {ragatouille} takes "
        f"{here:.2f} times as long as {colbert}: that RAGatouille encodes more slowly {verdict}."
    )

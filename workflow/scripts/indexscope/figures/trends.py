"""Trends: peak memory and time of every campaign in the order of time, and what changed between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import altair as alt
import pandas as pd

from indexscope.analysis import campaigns
from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Trends"
CAPTION = (
    "Each point is a run without a profiler, each line joins the medians of a system's campaigns, in the order of "
    "their first runs. A ring marks a change from the campaign before: the medians differ by more than the "
    "factor, the samples do not overlap, and there are at least three runs on each side (or two beside five). "
    "All comparisons, also those that are not called a change, are in campaign_comparison.parquet."
)
_QUANTITIES = {
    "tree_peak_rss_mib": ("peak RSS of the process tree (MiB)", "Peak memory"),
    "index_seconds": ("index call (seconds)", "The index call"),
}
_COLUMNS = [
    *("campaign", "system", "series", "cell", "documents", "profiler", "repeat", "outcome"),
    *("tree_peak_rss_mib", "index_seconds", "wall_seconds", "index_size_mib"),
    *("colbert_version", "ragatouille_version", "torch_version", "transformers_version", "faiss_version"),
    *("python_version", "cpu_model", "cpu_count", "memory_total_mib", "gpu_model", "kernel", "device"),
    *("lock_digest", "git_commit", "started_at"),
]
_WORTH_NAMING = 6  # transitions whose differences are told above the chart; all are in the CSV


def draw(trends: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Args: the tables trends and campaign_comparison."""
    runs = common.plain_rows(trends)
    order = campaigns.campaigns_in_order(runs)
    if len(order) < 2:
        return _too_few(order)
    series = _series(trends)
    trends = trends.assign(
        series=[series[system, cell] for system, cell in zip(trends["system"], trends["cell"], strict=True)]
    )
    plain = trends[trends["profiler"] == common.PROFILERS[0]]
    drawn = trends if plain.empty else plain
    axis = _axis_labels(trends, order)
    rows = drawn[_COLUMNS].assign(
        when=drawn["campaign"].map(axis), outcome_words=drawn["outcome"].map(common.outcome_words)
    )
    names = {name: series[key] for key, name in campaigns.system_names(runs).items()}
    marked = _changed(comparison, drawn, names, axis)
    panels = [
        _panel(
            rows[rows["documents"] == size], marked[marked["documents"] == size], quantity, size, trends, axis
        )
        for size in sorted(common.unique(rows["documents"]))
        for quantity in _QUANTITIES
    ]
    each = drawn.assign(series=drawn["series"] + drawn["campaign"])  # repeats are those of one campaign
    title, support, suppressed = _findings(comparison, drawn, names, order)
    width = _panel_width(order)
    return Figure(
        alt.concat(*panels, columns=2),
        rows.drop(columns=["when", "outcome_words"]).sort_values(
            "campaign", key=lambda names: names.map(order.index), kind="stable"
        ),
        title,
        f"{len(order)} campaigns · {common.conditions(each)}",
        support,
        [suppressed, *_transitions(runs, order, series), common.incomplete_words(drawn)],
        CAPTION,
        width=max(760, 2 * width + 160),
    )


def _too_few(order: Sequence[str]) -> Figure:
    make = "`snakemake --cores all --config campaign=NAME`, then draw again with `snakemake trends`."
    if order:
        title = f"A trend needs two campaigns; there is one, {order[0]}"
        reason = f"Only {order[0]} has results. Measure another with {make}"
    else:
        title = "A trend needs two campaigns; there is none"
        reason = f"No campaign has results. Measure one with {make}"
    return common.nothing_to_draw(title, reason, _COLUMNS)


def _series(trends: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(system, cell) → name in the figure; a system keeps its name across campaigns, the latest label's."""
    names = campaigns.system_names(common.plain_rows(trends[["campaign", "system", "cell"]]))
    latest = trends.dropna(subset=["label"]).sort_values("started_at").groupby("system")["label"].last()
    label = {system: latest.get(system, system) for system, _ in names}
    if len(set(label.values())) < len(label):  # two systems under one label
        label = {system: f"{text} ({system})" for system, text in label.items()}
    return {
        (system, cell): label[system] if name == system else f"{label[system]} ({cell})"
        for (system, cell), name in names.items()
    }


def _axis_labels(trends: pd.DataFrame, order: Sequence[str]) -> dict[str, str]:
    """Campaign → its label on the axis, lines divided by `|`."""
    first = trends.groupby("campaign")["started_at"].min()
    labels = {}
    for name in order:
        moment = first[name]
        day = "" if pd.isna(moment) else f"{moment:%Y-%m-%d}"
        labels[name] = "|".join([*common.wrap(name, 110, 6), *([day] if day and day != name else [])])
    return labels


def _panel_width(order: Sequence[str]) -> int:
    return min(900, max(300, 110 * len(order)))


def _panel(
    rows: pd.DataFrame,
    marked: pd.DataFrame,
    quantity: str,
    size: int,
    trends: pd.DataFrame,
    axis: Mapping[str, str],
) -> common.Chart:
    title, _ = _QUANTITIES[quantity]
    top = rows[quantity].max()
    scale = alt.Scale(domain=[0, 1.18 * top if top > 0 else 1], nice=False)
    y = alt.Y(f"{quantity}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    x = alt.X(
        "when:O",
        sort=list(axis.values()),
        scale=alt.Scale(domain=list(axis.values())),
        title=None,
        axis=alt.Axis(labelAngle=0, labelExpr="split(datum.label, '|')", labelLineHeight=13, grid=True),
    )
    colour = alt.Color(
        "series:N", scale=common.system_scale(trends), title=None, legend=alt.Legend(orient="top", columns=3)
    )
    base = alt.Chart(rows).encode(x=x, color=colour)
    completed = base.transform_filter(alt.datum.outcome == COMPLETED)
    tooltip = [
        *("campaign:N", alt.Tooltip("series:N", title="system")),
        *(alt.Tooltip("documents:Q", format=","), "repeat:Q"),
        alt.Tooltip("tree_peak_rss_mib:Q", title="peak (MiB)", format=",.1f"),
        alt.Tooltip("index_seconds:Q", title="index call (s)", format=",.2f"),
        *("torch_version:N", "git_commit:N", "lock_digest:N", alt.Tooltip("started_at:T", title="started")),
    ]
    layers: list[alt.Chart] = [
        completed.mark_line(strokeWidth=1.5, opacity=0.7).encode(
            y=alt.Y(f"median({quantity}):Q", title=title, scale=scale)
        ),
        completed.mark_point(filled=True, size=48, opacity=0.75).encode(y=y, tooltip=tooltip),
        base.transform_filter(alt.datum.outcome != COMPLETED)
        .mark_text(text="×", fontSize=18, fontWeight="bold")
        .encode(
            y=alt.value("height"),
            color=alt.value(common.ALARM),
            tooltip=["campaign:N", "series:N", "outcome_words:N"],
        ),
    ]
    rings = marked[marked["quantity"] == quantity]
    if len(rings):
        ring = alt.Chart(rings).encode(x=x, y=alt.Y("right_median:Q", title=title, scale=scale))
        layers.append(
            ring.mark_point(size=230, strokeWidth=1.6, color=common.INK, filled=False).encode(
                tooltip=["words:N"]
            )
        )
        layers.append(
            ring.mark_text(dy=-16, fontSize=11, fontWeight="bold", color=common.INK).encode(text="words:N")
        )
    return alt.layer(*layers).properties(
        width=_panel_width(list(axis)),
        height=210,
        title=alt.TitleParams(common.documents(size), fontSize=13, offset=6),
    )


def _told(comparison: pd.DataFrame, drawn: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with the campaign before that the figure shows."""
    return comparison[
        (comparison["comparison"] == "previous")
        & comparison["profiler"].isin(common.unique(drawn["profiler"]))
        & comparison["quantity"].isin(list(_QUANTITIES))
    ]


def _changed(
    comparison: pd.DataFrame, drawn: pd.DataFrame, names: Mapping[str, str], axis: Mapping[str, str]
) -> pd.DataFrame:
    """One row for each ring of the chart."""
    rows = _told(comparison, drawn)
    rows = rows[rows["verdict"] == campaigns.CHANGED]
    return pd.DataFrame(
        {
            "when": rows["right_campaign"].map(axis),
            "series": rows["system"].map(names),
            "documents": rows["documents"],
            "quantity": rows["quantity"],
            "right_median": rows["right_median"],
            "words": [_percent(ratio) for ratio in rows["ratio"]],
        }
    )


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %".replace("-", "−") if pd.notna(ratio) else "from 0"


def _findings(
    comparison: pd.DataFrame, drawn: pd.DataFrame, names: Mapping[str, str], order: Sequence[str]
) -> tuple[str, str, str]:
    rows = _told(comparison, drawn)
    if rows.empty:
        return "The campaigns have no system at one size in common: nothing can be compared", "", ""
    suppressed = _suppressed(rows)
    changed = list(common.each_row(rows[rows["changed"]]))
    outcomes = [
        row for row in changed if row.verdict != campaigns.CHANGED and row.quantity == "tree_peak_rss_mib"
    ]
    if outcomes:
        row = outcomes[-1]
        return (
            f"{names[row.system]} {row.verdict} at {common.documents(row.documents)}: {row.right_campaign}, "
            f"after {row.left_campaign}",
            "",
            suppressed,
        )
    measured = [row for row in changed if row.verdict == campaigns.CHANGED]
    if not measured:
        compared = rows["left_median"].notna() & rows["right_median"].notna()
        if not compared.any():
            return "No system completed in two campaigns at one size: nothing can be compared", "", suppressed
        factor = rows["factor"].max()
        title = (
            f"From {order[0]} to {order[-1]}, neither peak memory nor time changed by more than "
            f"{100 * (factor - 1):.0f} % beyond the spread of repeats"
        )
        return title, f"{compared.sum()} pairs of medians were compared.", suppressed
    # Memory first, then the larger of two changes.
    most = min(
        measured, key=lambda row: (row.quantity != "tree_peak_rss_mib", -abs(math.log(row.ratio or 1)))
    )
    _, subject = _QUANTITIES[most.quantity]
    unit = "MiB" if most.quantity.endswith("_mib") else "s"
    digits = ",.0f" if unit == "MiB" else ",.1f"
    verb = "rose" if most.difference > 0 else "fell"
    title = (
        f"{subject} of {names[most.system]} at {common.documents(most.documents)} {verb} by "
        f"{abs(100 * (most.ratio - 1)):.0f} % from {most.left_campaign} to {most.right_campaign} "
        f"({most.left_median:{digits}} → {most.right_median:{digits}} {unit})"
    )
    support = (
        f"The samples do not overlap ({most.left_runs:.0f} and {most.right_runs:.0f} runs); without any change, "
        f"{100 * most.chance_of_separation:.2g} % of such samples would not either."
    )
    if len(measured) > 1:
        support += f" {len(measured)} of {len(rows)} comparisons are called a change, ringed in the chart."
    return title, support, suppressed


def _suppressed(rows: pd.DataFrame) -> str:
    """How many medians differ by more than the factor without being called a change."""
    counts = rows["verdict"].value_counts()
    parts = [
        f"{counts[verdict]} {verdict}"
        for verdict in (campaigns.WITHIN_SPREAD, campaigns.TOO_FEW)
        if verdict in counts
    ]
    if not parts:
        return ""
    factor = 100 * (rows["factor"].max() - 1)
    return f"More than {factor:.0f} % apart, yet not called a change: {common.listed(parts)}."


def _transitions(
    runs: Sequence[campaigns.Row], order: Sequence[str], series: Mapping[tuple[str, str], str]
) -> list[str]:
    """A sentence for each campaign: what is known to differ from the one before."""
    labels = {system: name for (system, _), name in series.items()}
    sentences = []
    for left, right in list(pairwise(order))[-_WORTH_NAMING:]:
        found = campaigns.campaign_changes(runs, left, right, labels)
        words = "; ".join(found) if found else "nothing that is recorded, but the time"
        sentences.append(f"{left} → {right}: {words}.")
    return sentences

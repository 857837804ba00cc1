"""Which part of the peak grows how with the number of documents, and what the highest point of each phase holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from . import common
from .common import Figure
from .peak_parts import PARTS, REMEDY, TREE_PEAK, UNEXPLAINED, part_scale, parts_of

TITLE = "Which part grows with the number of documents"
_PHASES = ["planning", "training", "encoding", "finalizing"]
_MOMENTS = [*_PHASES, TREE_PEAK]
_CAPTION = (
    "Made of one run under the profiler ledger for each system and size; all processes of a tree together. {growth} "
    "Below, for the largest size, the highest point of each phase as a stack of the same parts, with the tree's peak "
    "under them; a phase that was not looked at has no bar. Grey is what no part explains; where the parts add up "
    "to more than there is, it lies left of zero and is not part of the number at the bar's end."
)
_GROWTH = (
    "A line is a part at the tree's peak. Beside its end is what 1,000 documents more add, between the smallest and "
    "the largest size, and the exponent b of a power law MiB = a · documents^b through all sizes (least squares in "
    "logarithms): 1 is proportional, 0 a constant; it is left out where a size has less than 1 MiB of the part. With "
    "two sizes it is no more than the line between them."
)
_BESIDE = "With one size nothing can be said about growth: the parts of the systems stand beside each other."
_COLUMNS = [
    "run", "system", "series", "documents", "embeddings", "moment", "part", "mib", "inferred_mib", "tree_rss_mib",
    "share_percent", "mib_per_1000_documents", "exponent",
]  # fmt: skip
_LEAST_MIB = 1.0  # less than this, in each system and size, is not worth a line
_WIDTH, _HEIGHT, _LABELS, _LABEL_HEIGHT = 250, 260, 280, 12
_ROW = 20


def draw(ledger: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables ledger and runs."""
    runs = common.label_systems(runs)
    rows = growth_rows(ledger, runs)
    peak = rows[rows["moment"] == TREE_PEAK]
    if peak.empty:
        return common.nothing_to_draw(TITLE, REMEDY, _COLUMNS)
    sizes = sorted(common.unique(peak["documents"]))
    colours = part_scale(common.unique(rows["part"]))
    upper = _lines(peak, colours) if len(sizes) > 1 else _beside(peak, runs)
    largest = rows[rows["documents"] == sizes[-1]]
    panels = [upper, _stacks(largest, colours)]
    chart = alt.vconcat(*panels, spacing=30).resolve_scale(color="independent")
    title, support = _findings(peak, sizes)
    measured = runs[runs["run"].isin(rows["run"])]
    return Figure(
        chart,
        rows[_COLUMNS],
        title,
        common.conditions(measured),
        support,
        [common.incomplete_words(runs[runs["profiler"] == "ledger"], "")],
        _CAPTION.format(growth=_GROWTH if len(sizes) > 1 else _BESIDE),
        width=1000,
        is_finding=len(sizes) > 1,
    )


def growth_rows(ledger: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each system, size, moment and part, all processes together; growth in rows of the tree's peak.

    Args:
        runs: the table runs, with `series`.
    """
    rows = parts_of(ledger, runs, _MOMENTS)
    rows = rows.assign(inferred_mib=rows["mib"].where(rows["evidence"] != "observed", 0.0))
    key = ["place", "run", "system", "series", "documents", "embeddings", "moment", "part"]
    found = rows.groupby(key, sort=False, dropna=False).agg(
        mib=("mib", "sum"), inferred_mib=("inferred_mib", "sum"), tree_rss_mib=("tree_rss_mib", "first")
    )
    found = found.reset_index()
    found["share_percent"] = 100 * found["mib"] / found["tree_rss_mib"]
    order = {part: place for place, part in enumerate(PARTS)}
    found["order"] = found["part"].map(lambda part: order.get(part, len(order)))
    moments = found["moment"].map(_MOMENTS.index)
    keys = ["documents", "place", "_moment", "order"]
    found = found.assign(_moment=moments).sort_values(keys, kind="stable").drop(columns="_moment")
    found[["mib_per_1000_documents", "exponent"]] = float("nan")
    for _, of_part in found[found["moment"] == TREE_PEAK].groupby(["series", "part"], sort=False):
        per_1000, exponent = growth(of_part["documents"].tolist(), of_part["mib"].tolist())
        found.loc[of_part.index, "mib_per_1000_documents"] = per_1000
        found.loc[of_part.index, "exponent"] = exponent
    return found.reset_index(drop=True)


def growth(sizes: Sequence[float], mib: Sequence[float]) -> tuple[float, float]:
    """MiB for each 1,000 documents from the smallest to the largest size, and the exponent of a power law.

    Both are missing with fewer than two sizes; the exponent also where a value is below 1 MiB.
    """
    if len(set(sizes)) < 2:
        return math.nan, math.nan
    points = sorted(zip(sizes, mib, strict=True))
    (first, low), (last, high) = points[0], points[-1]
    per_1000 = 1000 * (high - low) / (last - first)
    if min(mib) < _LEAST_MIB:
        return per_1000, math.nan
    slope, _ = np.polyfit(np.log(sizes), np.log(mib), 1)
    return per_1000, float(slope)


def growth_words(per_1000: float, exponent: float) -> str:
    """Such as `+210 MiB per 1,000 (n^1.02)`; nothing is said of a power of what does not grow."""
    if abs(per_1000) < 0.05:
        return "no growth"
    digits = 0 if abs(per_1000) >= 9.95 else 1
    words = f"{per_1000:+,.{digits}f} MiB per 1,000"
    # Adding zero takes the sign of a rounded -0.00 away.
    return words if math.isnan(exponent) else f"{words} (n^{round(exponent, 2) + 0.0:.2f})"


def _worth_drawing(peak: pd.DataFrame) -> pd.DataFrame:
    most = peak.groupby("part")["mib"].transform(lambda values: values.abs().max())
    return peak[most >= _LEAST_MIB]


def _lines(peak: pd.DataFrame, colours: alt.Scale) -> common.Chart:
    """A panel a system that was measured at several sizes, a line a part, on equal scales."""
    several = peak.groupby("series")["documents"].transform("nunique") > 1
    peak = _worth_drawing(peak[several] if several.any() else peak)
    low, high = min(0.0, 1.1 * peak["mib"].min()), 1.06 * peak["mib"].max()
    end = 1.04 * peak["documents"].max()
    systems = common.unique(peak.sort_values("place")["series"])
    columns = common.columns_that_fit(len(systems), _WIDTH + _LABELS + 50)
    panels = []
    for number, series in enumerate(systems):
        of_system = peak[peak["series"] == series]
        base = alt.Chart(of_system).encode(
            x=alt.X(
                "documents:Q",
                title="documents",
                scale=alt.Scale(domain=[0, end], nice=False),
                axis=alt.Axis(tickCount=4),
            ),
            y=alt.Y(
                "mib:Q",
                title="part of the peak (MiB)" if number % columns == 0 else None,
                scale=alt.Scale(domain=[low, high], nice=False),
            ),
            color=alt.Color("part:N", scale=colours, legend=None),
            tooltip=[
                "part:N",
                alt.Tooltip("documents:Q", format=","),
                alt.Tooltip("embeddings:Q", format=","),
                alt.Tooltip("mib:Q", title="MiB", format=",.1f"),
                alt.Tooltip("inferred_mib:Q", title="of it inferred", format=",.1f"),
                alt.Tooltip("share_percent:Q", title="% of the peak", format=".1f"),
            ],
        )  # fmt: skip
        names = _names(of_system, low, high)
        texts = alt.Chart(names).mark_text(align="left", fontSize=10, color=common.INK)
        leads = alt.Chart(names).mark_rule(strokeWidth=0.8, opacity=0.8)
        y = alt.Y("place:Q", scale=alt.Scale(domain=[low, high], nice=False))
        panel = alt.layer(
            base.mark_line(strokeWidth=2),
            base.mark_point(filled=True, size=36, opacity=1),
            leads.encode(
                x=alt.value(_WIDTH * 1 / 1.04), x2=alt.value(_WIDTH + 6), y=alt.Y("mib:Q"), y2="place:Q",
                color=alt.Color("part:N", scale=colours, legend=None),
            ),
            texts.encode(x=alt.value(_WIDTH + 9), y=y, text="words:N"),
        ).properties(width=_WIDTH, height=_HEIGHT, title=common.panel_title(series, []))  # fmt: skip
        panels.append(panel)
    chart: common.Chart = alt.concat(*panels, columns=columns)
    return chart


def _names(of_system: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    """Each part's name and growth beside the end of its line, apart from each other."""
    ends = of_system[of_system["documents"] == of_system["documents"].max()].sort_values("mib")
    told = []
    for row in common.each_row(ends):
        words = f"{row.part} {common.count(row.mib)}"
        if not math.isnan(row.mib_per_1000_documents):
            words += f", {growth_words(row.mib_per_1000_documents, row.exponent)}"
        told.append({"part": row.part, "mib": row.mib, "words": words})
    names = pd.DataFrame(told, columns=["part", "mib", "words"])
    step = (high - low) * _LABEL_HEIGHT / _HEIGHT
    places: list[float] = []
    for level in names["mib"]:
        places.append(max(level, places[-1] + step) if places else max(level, low + step / 2))
    # Back down where the topmost would leave the panel.
    for number in range(len(places) - 1, -1, -1):
        most = places[number + 1] - step if number + 1 < len(places) else high
        places[number] = min(places[number], most)
    return names.assign(place=places)


def _beside(peak: pd.DataFrame, runs: pd.DataFrame) -> common.Chart:
    """One size: for each part the systems' bars beside each other."""
    peak = _worth_drawing(peak)
    systems = common.unique(peak.sort_values("place")["series"])
    parts = [part for part in PARTS if part in set(peak["part"])]
    end = 1.15 * peak["mib"].max()
    scale = alt.Scale(domain=[min(0.0, 1.1 * peak["mib"].min()), end])
    words = [common.count(value) for value in peak["mib"]]
    base = alt.Chart(peak.assign(words=words, label_at=peak["mib"].clip(lower=0))).encode(
        x=alt.X("mib:Q", title="part of the peak (MiB)", scale=scale),
        y=alt.Y("part:N", sort=parts, title=None, axis=alt.Axis(domain=False, ticks=False)),
        yOffset=alt.YOffset("series:N", sort=systems),
        color=alt.Color(
            "series:N", scale=common.system_scale(runs), legend=alt.Legend(orient="top", title=None, values=systems)
        ),
        tooltip=["series:N", "part:N", alt.Tooltip("mib:Q", title="MiB", format=",.1f")],
    )  # fmt: skip
    labels = base.mark_text(align="left", dx=4, fontSize=10).encode(
        x=alt.X("label_at:Q", scale=scale), text="words:N", color=alt.value(common.INK)
    )
    chart: common.Chart = alt.layer(base.mark_bar(size=9), labels)
    height = len(parts) * (len(systems) * 11 + 8)
    return chart.properties(
        width=640,
        height=height,
        title=common.panel_title(common.documents(int(peak["documents"].iloc[0])), []),
    )


def _stacks(rows: pd.DataFrame, colours: alt.Scale) -> common.Chart:
    """The highest point of each phase of each system, as stacks on equal scales."""
    systems = common.unique(rows.sort_values("place")["series"])
    columns = common.columns_that_fit(len(systems), _WIDTH + 90 + 50)
    totals = rows.groupby(["series", "moment"])["mib"].agg(lambda values: values[values > 0].sum())
    end, low = 1.18 * totals.max(), min(0.0, 1.2 * rows["mib"].min())
    panels = []
    for number, series in enumerate(systems):
        of_system = rows[rows["series"] == series]
        x = alt.X(
            "mib:Q", stack="zero", title="RSS of the process tree (MiB)",
            scale=alt.Scale(domain=[low, end], nice=False), axis=alt.Axis(tickCount=5),
        )  # fmt: skip
        y = alt.Y(
            "moment:N",
            sort=_MOMENTS,
            scale=alt.Scale(domain=_MOMENTS),
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labels=number % columns == 0),
        )
        bars = (
            alt.Chart(of_system)
            .mark_bar(height=14)
            .encode(
                x=x,
                y=y,
                color=alt.Color(
                    "part:N",
                    scale=colours,
                    legend=alt.Legend(orient="top", symbolType="square", columns=6, title=None),
                ),
                order="order:Q",
                tooltip=[
                    "moment:N",
                    "part:N",
                    alt.Tooltip("mib:Q", title="MiB", format=",.1f"),
                    alt.Tooltip("inferred_mib:Q", title="of it inferred", format=",.1f"),
                ],
            )
        )
        ends = of_system.groupby("moment", as_index=False).agg(
            tree_rss_mib=("tree_rss_mib", "first"), mib=("mib", lambda values: values[values > 0].sum())
        )
        ends["words"] = [common.count(value) for value in ends["tree_rss_mib"]]
        texts = alt.Chart(ends).mark_text(align="left", dx=4, fontSize=10, color=common.INK)
        panels.append(
            alt.layer(bars, texts.encode(x=alt.X("mib:Q"), y=y, text="words:N")).properties(
                width=_WIDTH + 60, height=_ROW * len(_MOMENTS), title=common.panel_title(series, [])
            )
        )
    size = common.documents(int(rows["documents"].iloc[0]))
    chart: common.Chart = alt.concat(*panels, columns=columns).properties(
        title=alt.TitleParams(f"Highest point of each phase, {size}", fontSize=14, offset=10)
    )
    return chart


# Sentences


def _findings(peak: pd.DataFrame, sizes: Sequence[int]) -> tuple[str, str]:
    known = peak[(peak["part"] != UNEXPLAINED) & (peak["documents"] == sizes[-1])].sort_values("place")
    if len(sizes) == 1:
        largest = [
            f"{part} ({common.range_words(each['mib'].min(), each['mib'].max(), ',.0f', ' MiB')}) for "
            f"{common.listed(each['series'].tolist())}"
            for part, each in _top_parts(known, "mib").groupby("part", sort=False)
        ]
        return (
            f"Only {common.documents(sizes[0])} were measured, so growth cannot be told; the largest part is "
            f"{'; '.join(largest)}",
            "",
        )
    grown = known.dropna(subset=["mib_per_1000_documents"])
    if grown.empty:
        return "No system was measured at two sizes, so growth cannot be told", ""
    top = _top_parts(grown, "mib_per_1000_documents")
    words = []
    for part, of_part in top.groupby("part", sort=False):
        rates = of_part["mib_per_1000_documents"]
        rate = common.range_words(rates.min(), rates.max(), ",.0f" if rates.min() >= 10 else ",.1f", " MiB")
        words.append(f"{part}, by {rate} per 1,000 documents for {common.listed(of_part['series'].tolist())}")
    adding = grown[grown["mib_per_1000_documents"] > 0].groupby("series")["mib_per_1000_documents"].sum()
    shares = (100 * top.set_index("series")["mib_per_1000_documents"] / adding).dropna()
    title = f"From {common.count(sizes[0])} to {common.documents(sizes[-1])} what grows most is {'; '.join(words)}"
    support = "Of one run at each size, without repeats."
    if len(shares):
        share = common.range_words(shares.min(), shares.max(), ".0f", " %")
        support = f"That is {share} of what the growing parts add; of one run at each size, without repeats."
    return title, support


def _top_parts(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The row of each system in which `column` is largest, in the order of systems."""
    largest = rows.loc[rows.groupby("series", sort=False)[column].idxmax()]
    return largest.sort_values("place", kind="stable")

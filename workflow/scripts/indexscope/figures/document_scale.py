"""An offset index of a large collection: a fetch at random beside a bare read of the same bytes and ir_datasets."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common, document_common
from .common import Figure
from .document_fetches import decades

TITLE = "Fetching from a large collection"
BARE = "pread"
WAYS = {
    BARE: ("bare pread", "#5A5A5A"),
    "offset_index": ("offset index", ""),
    "ir_datasets": ("ir_datasets", ""),
}
_PERCENTILES = {"p50_us": "circle", "p90_us": "square", "p99_us": "triangle-up"}
_CAPTION = (
    "The same documents are fetched at random in one process, each way in every round, in an order that changes from "
    "round to round; a mark is a round. A bare pread knows beforehand where the bytes lie and returns them as they "
    "are: what a loader needs beyond it is finding the place, checking the identifier and decoding the text. The "
    "table has the median over rounds, what building took, and how many bytes an index has for a document, "
    "identifiers included as the way stores them. Ways over another number of documents say so."
)
_COLUMNS = [
    "way", "step", "documents", "round", "seconds", "fetches", "p50_us", "p90_us", "p99_us", "ratio_to_pread",
    "peak_rss_mib", "index_bytes_per_document", "collection_mib",
]  # fmt: skip
_WIDTH, _ROW, _TABLE = 560, 30, 620


def draw(scale: pd.DataFrame) -> Figure:
    """Args: the table document_scale."""
    if scale.empty:
        return common.nothing_to_draw(TITLE, "The table is empty: nothing was built or fetched.", _COLUMNS)
    scale = with_lines(scale)
    scale = scale.assign(ratio_to_pread=_ratios(scale))
    fetched = scale[(scale["step"] == "fetch") & scale["p50_us"].notna()]
    panels: list[common.Chart] = [_fetches(fetched)] if len(fetched) else []
    panels.append(_table(scale))
    title, support, notes = _findings(scale)
    return Figure(
        alt.vconcat(*panels, spacing=24), scale[_COLUMNS], title, _conditions(scale), support, notes, _CAPTION,
        width=_WIDTH + 230, is_finding=bool(len(fetched)),
    )  # fmt: skip


def with_lines(scale: pd.DataFrame) -> pd.DataFrame:
    """`scale` with `line`: the way in words, with its number of documents where that is not the largest."""
    largest = scale["documents"].max()
    lines = [
        way_words(row.way)
        + ("" if row.documents == largest else f" ({common.documents(int(row.documents))})")
        for row in common.each_row(scale)
    ]
    known = list(WAYS)
    place = [known.index(way) if way in known else len(known) for way in scale["way"]]
    scale = scale.assign(line=lines, _place=place, _less=-scale["documents"])
    return scale.sort_values(["_place", "_less"], kind="stable").drop(columns=["_place", "_less"])


def way_words(way: str) -> str:
    return WAYS[way][0] if way in WAYS else document_common.loader_words(way)


def _ratios(scale: pd.DataFrame) -> list[float]:
    """The median fetch of each row by that of the bare read of the same documents in its round."""
    bare = scale[(scale["way"] == BARE) & (scale["step"] == "fetch")]
    known = {(row.documents, row.round): row.p50_us for row in common.each_row(bare)}
    return [
        row.p50_us / known[row.documents, row.round]
        if known.get((row.documents, row.round))
        else float("nan")
        for row in common.each_row(scale)
    ]


def _colour(lines: pd.DataFrame) -> alt.Color:
    """Loaders as everywhere, the bare read grey."""
    loaders = document_common.loader_scale().to_dict()
    colours = dict(zip(loaders["domain"], loaders["range"], strict=True))
    found = {
        row.line: WAYS[BARE][1] if row.way == BARE else colours.get(way_words(row.way), common.NOTE)
        for row in common.each_row(lines)
    }
    return alt.Color("line:N", scale=alt.Scale(domain=list(found), range=list(found.values())), legend=None)


def _fetches(fetched: pd.DataFrame) -> common.Chart:
    order = common.unique(fetched["line"])
    long = fetched.melt(["line", "way", "round", "fetches"], list(_PERCENTILES), "percentile", "us").dropna()
    ends = [long["us"].min() / 1.5, long["us"].max() * 4]
    scale = alt.Scale(type="log", domain=ends, nice=False)
    y = alt.Y("line:N", sort=order, scale=alt.Scale(domain=order), title=None,
              axis=alt.Axis(domain=False, ticks=False, grid=True))  # fmt: skip
    x = alt.X(
        "us:Q", title="microseconds a fetch, at random (logarithmic)", scale=scale,
        axis=alt.Axis(values=decades(*ends), format=",~f"),
    )  # fmt: skip
    names = {name: name.removesuffix("_us") for name in _PERCENTILES}
    long = long.assign(percentile=long["percentile"].map(names))
    middle = long.groupby(["line", "percentile"], sort=False)["us"].median().unstack()
    words_of = {
        str(line): ", ".join(f"{of_line[name]:.3g}" for name in names.values()) + " µs"
        for line, of_line in middle.iterrows()
    }
    labels = long.groupby("line", sort=False)["us"].max().reset_index()
    labels["words"] = labels["line"].map(words_of)
    points = (
        alt.Chart(long)
        .mark_point(size=44, strokeWidth=1.5, opacity=0.8)
        .encode(
            x=x, y=y, color=_colour(fetched),
            shape=alt.Shape(
                "percentile:N", title=None, legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=list(names.values()), range=list(_PERCENTILES.values())),
            ),
            tooltip=["line:N", "percentile:N", "round:Q", "fetches:Q", alt.Tooltip("us:Q", format=",.4g")],
        )
    )  # fmt: skip
    words = (
        alt.Chart(labels)
        .mark_text(dx=10, align="left", fontSize=10, color=common.INK)
        .encode(x=alt.X("us:Q", scale=scale), y=y, text="words:N")
    )
    chart: common.Chart = alt.layer(points, words).properties(width=_WIDTH, height=_ROW * len(order))
    return chart


def _table(scale: pd.DataFrame) -> common.Chart:
    """What building took and what an index weighs, line by line."""
    cells = []
    lines = common.unique(scale["line"])
    for line in lines:
        rows = scale[scale["line"] == line]
        built = rows[rows["step"] == "build"]
        ratio = rows.loc[rows["step"] == "fetch", "ratio_to_pread"].dropna()
        values = {
            "times a bare pread": f"{ratio.median():.3g}×" if len(ratio) else "–",
            "built in": _one(built["seconds"], common.seconds),
            "highest RSS of building": _one(built["peak_rss_mib"], common.mib),
            "index bytes a document": _one(rows["index_bytes_per_document"].dropna(), "{:,.1f}".format),
        }
        cells += [{"line": line, "what": what, "words": words} for what, words in values.items()]
    found = pd.DataFrame(cells)
    y = alt.Y("line:N", sort=lines, scale=alt.Scale(domain=lines), title=None,
              axis=alt.Axis(domain=False, ticks=False, labelLimit=260))  # fmt: skip
    x = alt.X(
        "what:N", sort=common.unique(found["what"]), title=None,
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False),
    )  # fmt: skip
    chart: common.Chart = (
        alt.Chart(found)
        .mark_text(fontSize=11, color=common.INK)
        .encode(x=x, y=y, text="words:N")
        .properties(width=_TABLE, height=22 * len(lines))
    )
    return chart


def _one(column: pd.Series, words: object) -> str:
    known = column.dropna()
    return words(float(known.median())) if len(known) and callable(words) else "–"


def _findings(scale: pd.DataFrame) -> tuple[str, str, list[str]]:
    fetched = scale[scale["step"] == "fetch"].dropna(subset=["p50_us"])
    notes = [_building(scale), _differing(scale)]
    if fetched.empty:
        return "Nothing was fetched from the large collection", "", notes
    middle = fetched.groupby("line", sort=False)["p50_us"].median()
    ratios = (
        fetched[fetched["way"] != BARE]
        .groupby("line", sort=False)["ratio_to_pread"]
        .agg(["median", "min", "max", "size"])
    )
    ratios = ratios.dropna()
    size = common.documents(int(fetched["documents"].max()))
    if ratios.empty:
        words = [f"{line} {document_common.duration(value / 1e6)}" for line, value in middle.items()]
        return f"A fetch at random from {size}: {common.listed(words)} in the middle", "", notes
    words = [
        f"{line} {document_common.duration(middle[line] / 1e6)}, {row['median']:.3g} times a bare pread"
        for line, row in _lines(ratios)
    ]
    title = f"A fetch at random from {size}: {common.listed(words)}"
    spread = [f"{line} {common.range_words(row['min'], row['max'], '.3g')}" for line, row in _lines(ratios)]
    rounds = int(ratios["size"].max())
    support = f"Times a bare pread in {rounds} round{'s' * (rounds > 1)}: {'; '.join(spread)}."
    return title, support, notes


def _lines(frame: pd.DataFrame) -> list[tuple[str, dict[str, float]]]:
    """The rows of `frame` by their index, which holds lines."""
    return [
        (str(line), {str(name): float(value) for name, value in row.items()})
        for line, row in frame.iterrows()
    ]


def _building(scale: pd.DataFrame) -> str:
    """Time and memory of building the offset index, and whether memory grows with the number of documents."""
    built = scale[(scale["step"] == "build") & (scale["way"] == "offset_index")].sort_values("documents")
    if built.empty:
        return ""
    last = built.iloc[-1]
    size = common.documents(int(last["documents"]))
    sentence = f"The offset index of {size} is built in {common.seconds(last['seconds'])}"
    if not pd.isna(last["peak_rss_mib"]):
        sentence += f" with at most {common.mib(last['peak_rss_mib'])} of memory"
        if len(built) > 1 and not pd.isna(built.iloc[0]["peak_rss_mib"]):
            first = built.iloc[0]
            sentence += (
                f" ({common.mib(first['peak_rss_mib'])} for {common.documents(int(first['documents']))})"
            )
    if not pd.isna(last["index_bytes_per_document"]):
        sentence += f"; it has {last['index_bytes_per_document']:.1f} bytes a document"
    return f"{sentence}."


def _differing(scale: pd.DataFrame) -> str:
    """Ways that were measured over fewer documents."""
    fetched = scale[scale["step"] == "fetch"]
    largest = fetched["documents"].max()
    fewer = fetched[fetched["documents"] < largest].drop_duplicates("way")
    words = [
        f"{way_words(row.way)} over {common.documents(int(row.documents))}" for row in common.each_row(fewer)
    ]
    return f"Fewer documents: {common.listed(words)}." if words else ""


def _conditions(scale: pd.DataFrame) -> str:
    parts = [
        common.documents(int(scale["documents"].max())),
        f"{scale['collection_mib'].max() / 1024:,.3g} GiB of text",
    ]
    fetches = common.unique(scale["fetches"])
    parts += [f"{common.listed([common.count(each) for each in sorted(fetches)])} fetches a round"] * bool(
        fetches
    )
    parts += [
        f"{row.cpu_model}, {row.cpu_count:.0f} cores"
        for row in common.each_row(scale[["cpu_model", "cpu_count"]].dropna().drop_duplicates())
    ]
    return " · ".join(parts)

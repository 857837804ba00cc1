"""The highest point of a run's process tree as a stack of named parts, a bar for each system and size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "What the peak is made of"
REMEDY = "No run under the profiler ledger: run with --configfile config/explained.yaml."
_CAPTION = (
    "Each bar is the process tree of one run under the profiler ledger at its highest point, a sum of RSS; processes "
    "stand one after another, parts of each in the order of the legend. A pale part with a dashed outline is inferred, "
    "a full one observed: the CSV says how each is known. White lines divide a part into what it consists of; the "
    "numbers under a bar mark the largest single things that hold data, listed below it. What no part explains is "
    "grey; where the parts add up to more than there is, the excess is drawn back over the end in grey, below zero "
    "in the CSV. The black tick is the median peak of the same system and size without a profiler: how far the "
    "ledger disturbs. All bars have one scale. Memory of a GPU is no part of RSS and not drawn."
)
# In the order of a stack; none of these colours is a system's, a role's or a phase's (Paul Tol's pale, light and
# medium-contrast palettes, https://sronpersonalpages.nl/~pault/).
PARTS = {
    "libraries and files": "#BBCCEE",
    "imported modules": "#6699CC",
    "model weights": "#004488",
    "corpus": "#CCDDAA",
    "Python objects": "#44BB99",
    "tensors": "#994455",
    "native buffers": "#EE99AA",
    "CUDA context": "#997700",
    "retained by the allocator": "#EECC66",
    "other processes": "#EEEEBB",
    "unexplained": "#BBBBBB",
}
UNEXPLAINED = "unexplained"
BASE = ("libraries and files", "imported modules")  # there before any document is read
_LIGHT_TEXT = {"model weights", "tensors", "CUDA context"}  # on a dark ground
# Parts whose rows are things that hold data, worth naming one by one.
_THINGS = ("model weights", "corpus", "Python objects", "tensors", "native buffers")
_OWN = "the ledger's own records"  # of the instrument: shown, but nothing that indexing needs
_MOST_THINGS, _LEAST_SHARE = 3, 0.01
_SMALL_SHARE = 0.004  # of the tree; rows below it are drawn as one
EVIDENCE = {"observed": 1.0, "inferred": 0.4}
TREE_PEAK = "tree peak"
_PALE = (
    "Pale with a dashed outline: inferred; full: observed. Black tick: the median peak without a profiler."
)
_TARGET = 95  # per cent of a peak that is to be attributed
_COLUMNS = [
    "run", "system", "series", "documents", "process_id", "role", "part", "name", "function", "source", "operator",
    "shape", "dtype", "blocks", "mib", "evidence", "basis", "tree_rss_mib", "attributed_percent", "peak_without_mib",
]  # fmt: skip
_WIDTH = 1060
_HEAD, _BRACKET, _BAR, _MARK, _LINE, _GAP = 16, 16, 30, 14, 15, 16  # pixels of a band, from top to bottom
_ADVANCE = 5.3  # pixels of a character at 10 pixels

# One for all panels and channels: were one of them without, they would be in conflict.
_LEGEND = alt.Legend(orient="top", symbolType="square", columns=6, title=None)


def draw(ledger: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables ledger and runs."""
    runs = common.label_systems(runs)
    rows = parts_of(ledger, runs, [TREE_PEAK])
    if rows.empty:
        return common.nothing_to_draw(TITLE, REMEDY, _COLUMNS)
    rows = _with_shares(rows, runs)
    colours = part_scale(common.unique(rows["part"]))
    sizes = sorted(common.unique(rows["documents"]))
    end = 1.02 * float(max(_extent(bar) for _, bar in _bars(rows)))
    panels = [_panel(rows[rows["documents"] == size], size, end, colours) for size in sizes]
    chart = alt.vconcat(*panels, spacing=26).resolve_scale(color="shared", stroke="shared")
    title, support, notes = _findings(rows, runs, ledger)
    measured = runs[runs["run"].isin(rows["run"])]
    return Figure(
        chart, rows[_COLUMNS], title, common.conditions(measured), support, notes, _CAPTION, width=_WIDTH
    )  # fmt: skip


def parts_of(ledger: pd.DataFrame, runs: pd.DataFrame, moments: Sequence[str]) -> pd.DataFrame:
    """The rows of the tree's RSS at `moments`, of one ledger run for each system and size, in the order of stacks.

    Args:
        ledger: the table of that name; rows of a GPU are left out.
        runs: the table runs, with `series`. Their `series`, `embeddings` and `place` (of a system in that table)
            are added.
    """
    chosen = common.one_run_each(runs[runs["run"].isin(ledger["run"])], ["ledger"])
    systems = {series: place for place, series in enumerate(common.unique(runs["series"]))}
    chosen = chosen.assign(place=chosen["series"].map(systems))
    rows = ledger[ledger["moment"].isin(list(moments)) & (ledger["device"] == "cpu")]
    rows = rows.merge(chosen[["run", "series", "embeddings", "place"]], on="run")
    roles = {role: place for place, role in enumerate(common.ROLE_COLOURS)}
    order = {part: place for place, part in enumerate(PARTS)}
    rows = rows.assign(
        _role=rows["role"].map(lambda role: roles.get(role, len(roles))),
        _part=rows["part"].map(lambda part: order.get(part, order[UNEXPLAINED] - 1)),
        _evidence=rows["evidence"] != "observed",
    )
    keys = ["documents", "place", "_role", "process_id", "_part", "_evidence", "mib"]
    rows = rows.sort_values(keys, ascending=[*[True] * 6, False], kind="stable")
    return rows.drop(columns=["_role", "_part", "_evidence"]).reset_index(drop=True)


def part_scale(parts: Sequence[str]) -> alt.Scale:
    """The colour of each of `parts` that is there, in the order of stacks; a part unknown here is black."""
    known = [part for part in PARTS if part in set(parts)]
    unknown = [part for part in common.unique(parts) if part not in PARTS]
    return alt.Scale(
        domain=[*known, *unknown], range=[*(PARTS[part] for part in known), *[common.INK] * len(unknown)]
    )


def thing_words(row: Any) -> str:
    """Such as `aten.mm [2048, 60672] float32, compress_into_codes`, of a row of the ledger."""
    words = row.operator if isinstance(row.operator, str) else row.name
    for each in (row.shape, row.dtype):
        if isinstance(each, str) and each not in words:
            words = f"{words} {each}"
    if pd.notna(row.blocks) and row.blocks > 1:
        words = f"{row.blocks:,.0f} × {words}"
    return f"{words}, {row.function.rpartition('.')[2]}" if isinstance(row.function, str) else words


def attributed_percent(rows: pd.DataFrame) -> float:
    """Of one moment's rows the share of the tree's RSS that is not unexplained; above 100 where parts overlap."""
    unexplained = rows.loc[rows["part"] == UNEXPLAINED, "mib"].sum()
    return float(100 * (1 - unexplained / rows["tree_rss_mib"].iloc[0]))


def _with_shares(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    plain = runs[(runs["profiler"] == "none") & (runs["outcome"] == COMPLETED)]
    without = plain.groupby(["series", "documents"])["tree_peak_rss_mib"].median()
    shares = {run: attributed_percent(of_run) for run, of_run in rows.groupby("run")}
    keys = zip(rows["series"], rows["documents"], strict=True)
    return rows.assign(
        attributed_percent=rows["run"].map(shares),
        peak_without_mib=[float(without.get(key, float("nan"))) for key in keys],
    )


def _bars(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    for (series, size), of_bar in rows.groupby(["series", "documents"], sort=False):
        yield (str(series), int(str(size))), of_bar


def _extent(bar: pd.DataFrame) -> float:
    """The rightmost end of anything drawn of a bar (MiB)."""
    ends = [end for _, end in _ends(bar["mib"].tolist())]
    return float(max(*ends, 0.0, bar["peak_without_mib"].fillna(0).iloc[0], bar["tree_rss_mib"].iloc[0]))


def _ends(sizes: Sequence[float]) -> list[tuple[float, float]]:
    """Where each of `sizes` begins and ends along a bar; a negative one goes back over what came before."""
    found, at = [], 0.0
    for size in sizes:
        found.append((at, at + size))
        at += size
    return found


# Marks: positions are pixels from the top of a panel, and MiB along it


class _Marks(NamedTuple):
    """What a panel draws, a list of rows for each kind of mark."""

    segments: list[dict[str, Any]]
    parts: list[dict[str, Any]]  # words on segments
    processes: list[dict[str, Any]]
    heads: list[dict[str, Any]]
    things: list[dict[str, Any]]
    ticks: list[dict[str, Any]]


def _panel(rows: pd.DataFrame, size: int, end: float, colours: alt.Scale) -> common.Chart:
    marks = _Marks([], [], [], [], [], [])
    top = 0.0
    for (series, _), bar in _bars(rows):
        top = _place(bar, series, top, end, marks)
    height = top - _GAP
    scale = alt.Scale(domain=[0, end], nice=False)
    x = alt.X(
        "start:Q", title="RSS of the process tree (MiB)", scale=scale, axis=alt.Axis(tickCount=8, grid=False)
    )

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[height, 0], nice=False), axis=None)

    def chart(of: list[dict[str, Any]], columns: Sequence[str]) -> alt.Chart:
        return alt.Chart(pd.DataFrame(of, columns=list(columns)))

    colour = alt.Color("part:N", scale=colours, legend=_LEGEND)
    known = alt.FillOpacity(
        "drawn:O", scale=alt.Scale(domain=list(EVIDENCE), range=list(EVIDENCE.values())), legend=None
    )
    segments = chart(
        marks.segments,
        ["start", "stop", "top", "bottom", "part", "drawn", "evidence", "words", "mib", "role", "basis"],
    ).encode(
        x=x,
        x2="stop:Q",
        y=y("top"),
        y2="bottom:Q",
        color=colour,
        fillOpacity=known,
        tooltip=[
            "part:N",
            alt.Tooltip("words:N", title="what"),
            alt.Tooltip("mib:Q", title="MiB", format=",.1f"),
            alt.Tooltip("role:N", title="process"),
            "evidence:N",
            alt.Tooltip("basis:N", title="how it is known"),
        ],
    )
    inferred = alt.Chart(
        pd.DataFrame(_outlines(marks.segments), columns=["start", "stop", "top", "bottom", "part"])
    )
    texts = ["at", "y", "words"]
    layers = [
        segments.mark_rect(stroke="white", strokeWidth=0.4),
        inferred.mark_rect(filled=False, strokeWidth=1, strokeDash=[3, 2]).encode(
            x=x, x2="stop:Q", y=y("top"), y2="bottom:Q", stroke=alt.Stroke("part:N", scale=colours, legend=_LEGEND)
        ),
        *(
            chart([each for each in marks.parts if each["light"] == light], [*texts, "light"])
            .mark_text(fontSize=10, color="white" if light else common.INK)
            .encode(x=alt.X("at:Q", scale=scale), y=y("y"), text="words:N")
            for light in (False, True)
        ),
        chart(marks.processes, ["start", "stop", "y", "at", "text_y", "words"])
        .mark_rule(color=common.NOTE)
        .encode(x=x, x2="stop:Q", y=y("y")),
        chart(marks.processes, ["start", "stop", "y", "at", "text_y", "words"])
        .mark_text(fontSize=10, color=common.NOTE, baseline="bottom")
        .encode(x=alt.X("at:Q", scale=scale), y=y("text_y"), text="words:N"),
        chart(marks.heads, ["y", "words"])
        .mark_text(align="left", fontSize=12, fontWeight="bold", color=common.INK)
        .encode(x=alt.value(0), y=y("y"), text="words:N"),
        *_thing_layers(marks.things, scale, y, colours),
        chart(marks.ticks, ["start", "top", "bottom", "words"])
        .mark_rule(color="black", strokeWidth=2.5)
        .encode(x=x, y=y("top"), y2="bottom:Q", tooltip=alt.Tooltip("words:N", title=" ")),
    ]  # fmt: skip
    panel: common.Chart = alt.layer(*layers).properties(
        width=_WIDTH,
        height=height,
        title=alt.TitleParams(common.documents(size), fontSize=14, offset=10),
        view=alt.ViewConfig(stroke=None),
    )
    return panel


def _place(bar: pd.DataFrame, series: str, top: float, end: float, marks: _Marks) -> float:
    """Add one bar's marks; returns where the next one begins."""
    pixels = _WIDTH / end
    several = bar["process_id"].nunique() > 1
    upper = top + _HEAD + (_BRACKET if several else 6)
    lower = upper + _BAR
    first = bar.iloc[0]
    marks.heads.append(
        {"y": top + 7, "words": f"{series}: {_bar_words(first, float(bar['attributed_percent'].iloc[0]))}"}
    )
    largest = things_of(bar)
    bar = _without_small(bar, largest.index)
    ends = _ends(bar["mib"].tolist())
    placed = bar.assign(
        start=[start for start, _ in ends], stop=[stop for _, stop in ends], top=upper, bottom=lower
    )
    placed["words"] = [thing_words(row) for row in common.each_row(placed)]
    for row in common.each_row(placed):
        low, high = sorted((row.start, row.stop))
        marks.segments.append(
            {
                "start": low, "stop": high, "top": upper, "bottom": lower, "part": row.part,
                # What is left over is neither.
                "drawn": "observed" if row.part == UNEXPLAINED else row.evidence,
                "evidence": row.evidence, "words": row.words, "mib": row.mib, "role": row.role, "basis": row.basis,
            }
        )  # fmt: skip
    for _, of_process in placed.groupby("process_id", sort=False):
        _words_on(of_process, upper, pixels, marks)
        low, high = of_process["start"].iloc[0], of_process["stop"].iloc[-1]
        words = f"{of_process['role'].iloc[0]} {common.mib(high - low)}"
        if several and (high - low) * pixels > _ADVANCE * len(words):
            marks.processes.append(
                {
                    "start": low + 1 / pixels, "stop": high - 1 / pixels, "y": upper - 3, "at": (low + high) / 2,
                    "text_y": upper - 4, "words": words,
                }
            )  # fmt: skip
    largest = placed.loc[largest.index]
    for number, row in enumerate(common.each_row(largest), 1):
        told = "" if row.evidence == "observed" else f", {row.evidence}"
        where = f"; {row.role}" if several else ""
        marks.things.append(
            {
                "at": (row.start + row.stop) / 2, "mark_y": lower + 7, "number": str(number),
                "y": lower + _MARK + _LINE * (number - 0.5), "part": row.part,
                "words": f"{number}. {row.words}: {common.mib(row.mib)} ({row.part}{told}{where})",
            }
        )  # fmt: skip
    if pd.notna(first.peak_without_mib):
        words = f"without a profiler: {common.mib(first.peak_without_mib)}"
        marks.ticks.append(
            {"start": first.peak_without_mib, "top": upper - 5, "bottom": lower + 5, "words": words}
        )
    return lower + (_MARK + _LINE * len(largest) if len(largest) else 0) + _GAP


def _bar_words(first: Any, attributed: float) -> str:
    words = f"{common.mib(first.tree_rss_mib)}, {attributed:.1f} % attributed"
    if pd.notna(first.peak_without_mib):
        words += f"; {common.mib(first.peak_without_mib)} without a profiler"
    return words


def things_of(bar: pd.DataFrame) -> pd.DataFrame:
    """The largest rows of a bar that are things holding data of the run, the largest first; one in any case."""
    things = bar[bar["part"].isin(_THINGS) & (bar["mib"] > 0) & (bar["name"] != _OWN)]
    largest: pd.DataFrame = things.sort_values("mib", ascending=False, kind="stable").head(_MOST_THINGS)
    enough = largest["mib"] >= _LEAST_SHARE * bar["tree_rss_mib"].iloc[0]
    told: pd.DataFrame = largest[enough] if enough.any() else largest.head(1)
    return told


def _words_on(of_process: pd.DataFrame, upper: float, pixels: float, marks: _Marks) -> None:
    """Part and size on each part of a process that is wide enough."""
    for part, of_part in of_process.groupby("part", sort=False):
        low, high = of_part["start"].min(), of_part["stop"].max()
        size = common.count(of_part["mib"].sum())
        observed = of_part.loc[of_part["evidence"] == "observed", "mib"].sum() > of_part["mib"].sum() / 2
        for words in (f"{part} {size}", size):
            if (high - low) * pixels > _ADVANCE * len(words) + 6:
                marks.parts.append(
                    {
                        "at": (low + high) / 2, "y": upper + _BAR / 2, "words": words,
                        "light": part in _LIGHT_TEXT and observed,
                    }
                )  # fmt: skip
                break


def _without_small(bar: pd.DataFrame, named: pd.Index) -> pd.DataFrame:
    """A bar's rows with the small ones of each process, part and evidence as one, but for those `named` below it.

    Many thin lines would look like a hatching.
    """
    key = ["process_id", "part", "evidence"]
    small = (bar["mib"].abs() < _SMALL_SHARE * bar["tree_rss_mib"].iloc[0]) & ~bar.index.isin(named)
    several = small & (small.groupby([bar[name] for name in key]).transform("sum") > 1)
    if not several.any():
        return bar
    groups = bar[several].groupby(key, sort=False)
    merged = bar[several].drop_duplicates(key).copy()
    merged["mib"] = groups["mib"].sum().to_numpy()
    merged["name"] = [f"{size:,} smaller ones" for size in groups.size()]
    merged[["operator", "shape", "dtype", "function"]] = None
    merged["blocks"] = float("nan")
    # Back in the order of the stack: where the first of the small ones was.
    drawn: pd.DataFrame = pd.concat([bar[~several], merged]).sort_index()
    return drawn


def _outlines(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in segments if each["drawn"] != "observed"]


def _thing_layers(
    things: list[dict[str, Any]], scale: alt.Scale, y: Any, colours: alt.Scale
) -> list[alt.Chart]:
    base = alt.Chart(pd.DataFrame(things, columns=["at", "mark_y", "number", "y", "part", "words"]))
    colour = alt.Color("part:N", scale=colours, legend=_LEGEND)
    x = alt.X("at:Q", scale=scale)
    marks = base.mark_text(fontSize=10, fontWeight="bold", color=common.INK)
    return [
        marks.encode(x=x, y=y("mark_y"), text="number:N"),
        base.mark_square(size=70, opacity=1).encode(x=alt.value(6), y=y("y"), color=colour),
        base.mark_text(align="left", fontSize=11, color=common.INK).encode(
            x=alt.value(16), y=y("y"), text="words:N"
        ),
    ]


# Sentences


def _findings(rows: pd.DataFrame, runs: pd.DataFrame, ledger: pd.DataFrame) -> tuple[str, str, list[str]]:
    largest = rows["documents"].max()
    decided: dict[str, list[tuple[str, float, float]]] = {}  # thing → system, MiB, per cent of its peak
    bases = []
    for (series, _), bar in _bars(rows[rows["documents"] == largest]):
        tree = bar["tree_rss_mib"].iloc[0]
        bases.append(100 * bar.loc[bar["part"].isin(BASE), "mib"].sum() / tree)
        things = things_of(bar)
        for top in common.each_row(things.head(1)):
            decided.setdefault(thing_words(top), []).append((series, top.mib, 100 * top.mib / tree))
    base = common.range_words(min(bases), max(bases), ".0f", " %")
    title = f"At {common.documents(largest)} libraries and modules are {base} of the peak; "
    if decided:
        title += f"what holds most data is {'; '.join(_of_systems(*each) for each in decided.items())}"
    else:
        title += "nothing else that holds data has a name"
    return title, _disturbance(rows), [_attribution(rows), _PALE, _gpu(ledger, rows), _incomplete(runs)]


def _of_systems(thing: str, found: list[tuple[str, float, float]]) -> str:
    series, sizes, shares = zip(*found, strict=True)
    size = common.range_words(min(sizes), max(sizes), ",.0f", " MiB")
    share = common.range_words(min(shares), max(shares), ".0f", " %")
    return f"{thing} ({size}, {share}) for {common.listed(series)}"


def _disturbance(rows: pd.DataFrame) -> str:
    each = rows.drop_duplicates("run").dropna(subset=["peak_without_mib"])
    if each.empty:
        return "No run without a profiler of the same system and size says how far the ledger disturbs."
    more = each["tree_rss_mib"] - each["peak_without_mib"]
    words = common.range_words(more.min(), more.max(), "+,.0f", " MiB")
    return f"Under the ledger the peak differs by {words} from the median without a profiler."


def _attribution(rows: pd.DataFrame) -> str:
    each = rows.drop_duplicates("run").sort_values("attributed_percent")
    words = common.range_words(
        each["attributed_percent"].min(), each["attributed_percent"].max(), ".1f", " %"
    )
    least = next(common.each_row(each.head(1)))
    known = rows[rows["part"] != UNEXPLAINED]
    inferred = (
        known[known["evidence"] != "observed"].groupby("run")["mib"].sum().reindex(each["run"]).fillna(0)
    )
    shares = 100 * inferred / each.set_index("run")["tree_rss_mib"]
    text = (
        f"Attributed: {words} of the peak, of it inferred "
        f"{common.range_words(shares.min(), shares.max(), '.0f', ' %')} of the peak."
    )
    below = (each["attributed_percent"] < _TARGET).sum()
    if below:
        text += (
            f" Below {_TARGET} % in {below} of {len(each)}: least for {least.series} at "
            f"{common.documents(least.documents)}."
        )
    over = each[each["attributed_percent"] > 100]
    if len(over):
        text += f" In {len(over)} of {len(each)} the parts add up to more than there is."
    return text


def _gpu(ledger: pd.DataFrame, rows: pd.DataFrame) -> str:
    gpu = ledger[
        (ledger["device"] != "cpu") & (ledger["moment"] == TREE_PEAK) & ledger["run"].isin(rows["run"])
    ]
    if gpu.empty:
        return ""
    sums = gpu.groupby("run")["mib"].sum()
    words = common.range_words(sums.min(), sums.max(), ",.0f", " MiB")
    return f"Beside what is drawn, {words} were alive on a GPU at that moment."


def _incomplete(runs: pd.DataFrame) -> str:
    return common.incomplete_words(runs[runs["profiler"] == "ledger"], "")

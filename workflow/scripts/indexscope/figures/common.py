"""What all figures share: colours, words, finding sentences, and the frame around a chart.

A colour means the same thing in every figure: a system's, a process role's or a verdict's. The palettes are
Okabe and Ito's (https://jfly.uni-koeln.de/color/) and, beyond it, Paul Tol's muted one
(https://sronpersonalpages.nl/~pault/); no colour is used for two kinds of things.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

OUTCOME_WORDS = {
    COMPLETED: "completed",
    "out_of_memory_host": "out of memory (host)",
    "out_of_memory_cuda": "out of memory (CUDA)",
    "killed": "killed",
    "timed_out": "timed out",
    "failed": "failed",
    "unsupported": "unsupported",
}
PROFILERS = ["none", "spans", "memory_profiler", "ledger", "memray"]
# Drawn from bottom to top.
ROLE_COLOURS = {
    "parent": "#56B4E9",
    "worker": "#E69F00",
    "manager": "#F0E442",
    "tracker": "#999999",
    "other": "#C9C9C9",
}
_SYSTEM_COLOURS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#332288",
    "#882255",
    "#44AA99",
    "#999933",
    "#661100",
]
INK = "#222222"
NOTE = "#5A5A5A"
ALARM = "#A40000"  # a run that did not complete
# Under a text that lies over other marks.
HALO: dict[str, Any] = {
    "stroke": "white",
    "strokeWidth": 3,
    "strokeOpacity": 0.8,
    "strokeJoin": "round",
    "color": "white",
}
WIDEST = 1240  # pixels: what a page of 1280 shows without scrolling

_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_TITLE_PIXELS, _SUBTITLE_PIXELS = 16, 12
# Mean advance of a character, in units of the font size.
_BOLD_ADVANCE, _PLAIN_ADVANCE = 0.55, 0.5
THEME: dict[str, Any] = {
    "font": _FONT,
    "background": "white",
    "padding": 12,
    "title": {
        "anchor": "start",
        "fontSize": _TITLE_PIXELS,
        "lineHeight": 20,
        "color": INK,
        "subtitleColor": NOTE,
        "subtitleFontSize": _SUBTITLE_PIXELS,
        "subtitleLineHeight": 16,
        "subtitlePadding": 6,
        "offset": 16,
    },
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": "#E6E6E6",
        "domainColor": "#8A8A8A",
        "tickColor": "#8A8A8A",
        "labelLimit": 320,
    },
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "labelLimit": 320, "symbolStrokeWidth": 1.5},
    "text": {"font": _FONT, "fontSize": 11},
    "view": {"stroke": "#D5D5D5"},
    "concat": {"spacing": 22},
}


Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.ConcatChart | alt.HConcatChart | alt.VConcatChart


@dataclass(frozen=True)
class Figure:
    """A chart with the rows it draws and what they say; all texts are computed from the rows.

    Args:
        title: the finding.
        conditions: what was run, with what, on what.
        support: whether a difference that the title names is beyond the spread of repeats.
        notes: what else must be read with the chart, a sentence each, such as runs that did not complete.
        caption: how to read it, and what it is made of.
        width: pixels that the texts above the chart may take.
        is_finding: the title says something that was found in the data.
    """

    chart: Chart
    rows: pd.DataFrame
    title: str
    conditions: str
    support: str
    notes: Sequence[str]
    caption: str
    width: int = 960
    is_finding: bool = True

    def specification(self) -> dict[str, Any]:
        """The Vega-Lite specification; the texts are also in its `usermeta`, for the report."""
        notes = [text for text in [self.conditions, self.support, *self.notes] if text]
        texts = {
            "title": self.title,
            "notes": notes,
            "support": self.support,
            "caption": self.caption,
            "is_finding": self.is_finding,
        }
        title = alt.TitleParams(
            text=wrap(self.title, self.width, _TITLE_PIXELS * _BOLD_ADVANCE),
            subtitle=[
                line for note in notes for line in wrap(note, self.width, _SUBTITLE_PIXELS * _PLAIN_ADVANCE)
            ],
        )
        chart = self.chart.properties(title=title, usermeta=texts, description=self.title)
        with alt.data_transformers.enable("default", max_rows=None):
            specification: dict[str, Any] = chart.to_dict()
        specification["config"] = THEME
        return specification


def wrap(text: str, width_pixels: float, advance_pixels: float) -> list[str]:
    """`text` in lines that fit `width_pixels` when a character takes `advance_pixels`."""
    return textwrap.wrap(text, max(20, int(width_pixels / advance_pixels)), break_long_words=False)


def nothing_to_draw(title: str, reason: str, columns: Sequence[str]) -> Figure:
    """A figure that says why it is empty."""
    chart = (
        alt.Chart(pd.DataFrame({"reason": [reason]}))
        .mark_text(fontSize=14, color=NOTE)
        .encode(text="reason:N")
        .properties(width=720, height=120)
    )
    return Figure(
        chart, pd.DataFrame(columns=list(columns)), title, "", "", [], reason, width=720, is_finding=False
    )


# Panels


def columns_that_fit(panels: int, panel_width: int, margin: int = 0) -> int:
    """How many panels stand side by side within WIDEST less `margin`, so that rows are about equally long."""
    most = max(1, (WIDEST - margin) // panel_width)
    return math.ceil(panels / math.ceil(panels / most)) if panels else 1


def panel_title(series: str, lines: Sequence[str]) -> alt.TitleParams:
    """The heading of one system's panel."""
    return alt.TitleParams(
        series, subtitle=list(lines), fontSize=13, subtitleFontSize=11, subtitlePadding=2, offset=6
    )


def blocks(panels: Mapping[int, Sequence[Chart]], columns: int) -> Chart:
    """The panels of each size (number of documents) in rows of `columns`, one size below the other."""
    stacked = [
        alt.concat(*of_size, columns=columns).properties(
            title=alt.TitleParams(documents(size), fontSize=14, offset=10)
        )
        for size, of_size in panels.items()
    ]
    chart: Chart = alt.vconcat(*stacked, spacing=34).resolve_scale(color="shared", shape="shared")
    return chart


# Systems and runs


def own_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that this study measured: those of one of PROFILERS, not what came as a log from elsewhere."""
    return runs[runs["profiler"].isin(PROFILERS)]


def label_systems(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with a column `series`: the label of the run's system.

    Where one system was run with several settings, the cell's digest tells them apart.
    """
    label = runs["label"].where(runs["label"].notna(), runs["system"])
    cells = runs.groupby("system")["cell"].transform("nunique")
    return runs.assign(series=label.where(cells <= 1, label + " (" + runs["cell"] + ")"))


def each_row(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from frame.itertuples(index=False)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows with None for what is missing, as the functions of indexscope.analysis take them."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def unique(values: Iterable[Any]) -> list[Any]:
    """The distinct values that are not missing, in order of appearance."""
    return [value for value in dict.fromkeys(values) if not pd.isna(value)]


def series_and_profilers(runs: pd.DataFrame) -> list[str]:
    """`SERIES · PROFILER` of each group of `runs`: by series, then in the order of PROFILERS."""
    profilers = unique([*PROFILERS, *runs["profiler"]])
    there = set(runs["series"] + " · " + runs["profiler"])
    names = [f"{series} · {profiler}" for series in unique(runs["series"]) for profiler in profilers]
    return [name for name in names if name in there]


def system_scale(runs: pd.DataFrame) -> alt.Scale:
    """The colour of each `series` of `runs`; it goes by the order of the table, the same for all figures."""
    series = unique(runs["series"])
    repeats = math.ceil(len(series) / len(_SYSTEM_COLOURS))
    return alt.Scale(domain=series, range=(_SYSTEM_COLOURS * repeats)[: len(series)])


def one_run_each(runs: pd.DataFrame, profilers: Sequence[str]) -> pd.DataFrame:
    """One run for each series and size: completed before not, then by `profilers`, then the first repeat."""
    ranked = runs[runs["profiler"].isin(profilers)]
    ranked = ranked.assign(
        _incomplete=ranked["outcome"] != COMPLETED, _profiler=ranked["profiler"].map(profilers.index)
    )
    ranked = ranked.sort_values(["_incomplete", "_profiler", "repeat"], kind="stable")
    chosen = ranked.drop_duplicates(["series", "documents"])
    return chosen.drop(columns=["_incomplete", "_profiler"]).sort_index()


def series_of(runs: pd.DataFrame, framework: str) -> list[str]:
    """The systems of `runs` that are built with `framework`."""
    return unique(runs.loc[runs["framework"] == framework, "series"])


def memory_limits(runs: pd.DataFrame) -> pd.Series:
    """The limit (MiB) that each run passed; missing for runs that passed none.

    The supervisor ends such a run with the limit in `outcome_detail`.
    """
    limit = runs["outcome_detail"].astype("string").str.extract(r"memory_limit_mib: (\d+)", expand=False)
    return limit.astype("Float64").astype(float)


# Words


def count(number: float) -> str:
    return f"{number:,.0f}"


def mib(value: float) -> str:
    return f"{value:,.0f} MiB"


def seconds(value: float) -> str:
    """To about three digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f} s"


def documents(number: int) -> str:
    return f"{number:,} document" + ("" if number == 1 else "s")


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; with semicolons where a word has a comma of its own."""
    if len(words) < 2:
        return "".join(words)
    if any(", " in word for word in words):
        return f"{'; '.join(words[:-1])}; and {words[-1]}"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def grouped(found: Mapping[str, str]) -> str:
    """Such as `in train for a and b; in index for c`, of what was found for each of a, b and c."""
    names: dict[str, list[str]] = {}
    for name, words in found.items():
        names.setdefault(words, []).append(name)
    return "; ".join(f"{words} for {listed(of_words)}" for words, of_words in names.items())


def moment_words(moment: str | None) -> str:
    """The column tree_peak_moment in a sentence: `at exit`, `in the index call`; empty when unknown."""
    if pd.isna(moment):
        return ""
    words = {"exit": "at exit", "child exit": "as a child process exits", "start-up": "at start-up"}
    return words.get(str(moment), f"in the {moment}")


def range_words(least: float, most: float, form: str, unit: str = "") -> str:
    """Such as `1.2 to 3.4 s`; one number where both print alike."""
    low, high = format(least, form), format(most, form)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def framework_words(framework: str) -> str:
    return {"colbert": "ColBERT", "ragatouille": "RAGatouille"}.get(framework, framework)


def outcome_words(outcome: str) -> str:
    return OUTCOME_WORDS.get(outcome, outcome)


def outcome_counts(runs: pd.DataFrame) -> str:
    """Such as `22 completed, 2 out of memory (host)`."""
    counts = runs["outcome"].value_counts()
    order = [outcome for outcome in OUTCOME_WORDS if outcome in counts]
    order += [outcome for outcome in counts.index if outcome not in OUTCOME_WORDS]
    return ", ".join(f"{counts[outcome]} {outcome_words(outcome)}" for outcome in order)


def incomplete_words(runs: pd.DataFrame, marked: str = ", marked ×") -> str:
    """A sentence on the runs that did not complete, and how the figure marks them; empty when all did."""
    incomplete = runs[runs["outcome"] != COMPLETED]
    if incomplete.empty:
        return ""
    return f"{len(incomplete)} of {len(runs)} runs did not complete ({outcome_counts(incomplete)}){marked}."


def conditions(runs: pd.DataFrame) -> str:
    """One line: sizes, corpus, checkpoint, device and repeats of `runs`."""
    if runs.empty:
        return ""
    sizes = sorted(unique(runs["documents"]))
    parts = [listed([count(size) for size in sizes]) + " documents"]
    parts += [f"corpus {listed(names)}" for names in [unique(runs["corpus"])] if names]
    parts += [f"checkpoint {listed(names)}" for names in [unique(runs["checkpoint"])] if names]
    parts.append(device_words(runs))
    repeats = runs.groupby(["series", "documents", "profiler"])["run"].nunique()
    low, high = repeats.min(), repeats.max()
    parts.append(
        "no repeats" if high == 1 else f"{high} repeats" if low == high else f"{low} to {high} repeats"
    )
    parts += [f"allocator {listed(names)}" for names in [unique(runs["allocator"])] if names]
    return " · ".join(parts)


def device_words(runs: pd.DataFrame) -> str:
    """Such as `cpu (Intel Xeon, 2 cores)`."""
    devices = listed(unique(runs["device"])) or "device unknown"
    machines = [
        str(row.cpu_model).replace("(R)", "").replace("(TM)", "") + f", {row.cpu_count:.0f} cores"
        for row in each_row(runs[["cpu_model", "cpu_count"]].dropna().drop_duplicates())
    ]
    return f"{devices} ({'; '.join(machines)})" if machines else devices


def published(statement: str, here: str, verdicts: Mapping[str, bool], evidence: str) -> str:
    """A sentence on whether what the published study found holds here.

    Args:
        statement: what was published, without a full stop.
        here: such as `at 300 documents`.
        verdicts: for each case that was looked at whether it holds; none when the data cannot say.
        evidence: the numbers; or, without verdicts, what is missing.
    """
    if not verdicts:
        return f"Published: {statement}. Here it cannot be told: {evidence}."
    holding = [case for case, holds in verdicts.items() if holds]
    if len(holding) == len(verdicts):
        words = "it holds"
    elif not holding:
        words = "it does not hold"
    else:
        words = f"it holds for {listed(holding)} only"
    return f"Published: {statement}. {here[:1].upper()}{here[1:]} {words}: {evidence}."


# Differences


@dataclass(frozen=True)
class Difference:
    """A row of the memory comparison, with the larger side first."""

    documents: int
    high: str
    low: str
    high_median: float
    low_median: float
    high_runs: int
    low_runs: int
    separated: bool | None

    @property
    def mib(self) -> float:
        return self.high_median - self.low_median

    @property
    def percent(self) -> float:
        return 100 * self.mib / self.low_median if self.low_median else math.inf

    def spread(self) -> str:
        """A predicate: how the difference stands to the spread of repeats."""
        return f"{spread_words(self.separated)} ({self.high_runs} and {self.low_runs} runs)"


def spread_words(separated: bool | None) -> str:
    """The predicate for samples whose ranges do not overlap, overlap, or are not known (one sample)."""
    if separated is None:
        return "is not backed by repeats"
    return "is beyond the spread of repeats" if separated else "is within the spread of repeats"


def differences(
    comparison: pd.DataFrame, kind: str, quantity: str, names: Mapping[str, str]
) -> list[Difference]:
    """The rows of `comparison` of one kind and quantity that have both medians.

    Args:
        comparison: the table memory_comparison.
        kind: `systems` or `profilers`.
        quantity: a measured column of the table runs.
        names: what to call a system in a sentence.
    """
    rows = comparison[(comparison["comparison"] == kind) & (comparison["quantity"] == quantity)]
    found = []
    for row in each_row(rows.dropna(subset=["left_median", "right_median"])):
        left = (names.get(row.left, row.left), row.left_median, row.left_runs)
        right = (names.get(row.right, row.right), row.right_median, row.right_runs)
        high, low = (left, right) if left[1] > right[1] else (right, left)
        separated = None if pd.isna(row.separated) else bool(row.separated)
        found.append(Difference(row.documents, high[0], low[0], high[1], low[1], high[2], low[2], separated))
    return found


def holds_words(same_direction: bool, separated: bool | None) -> str:
    """The predicate of a published finding: how it stands to a difference that was measured here."""
    if not same_direction:
        return "does not hold at this scale" + (
            "" if separated else f" (the difference here {spread_words(separated)})"
        )
    if separated:
        return "holds at this scale"
    return f"shows at this scale too, but the difference {spread_words(separated)}"


def comparison_names(runs: pd.DataFrame) -> dict[str, str]:
    """What memory_comparison calls a side → what a sentence calls it."""
    several = runs.groupby("system")["cell"].transform("nunique") > 1
    system = runs["system"].where(~several, runs["system"] + "-" + runs["cell"])
    names = dict(zip(system, runs["series"], strict=True))
    for name, series in list(names.items()):
        for profiler in unique(runs["profiler"]):
            names[f"{name}/{profiler}"] = f"{series} with profiler {profiler}"
    return names


# Published times of encoding

PUBLISHED_GPU = "RTX 6000 Ada"  # the one with times of both frameworks, with and without memory_profiler


def published_encoding(published: pd.DataFrame, profiler: str) -> dict[str, float]:
    """Framework → published seconds per 25,000 passages under `profiler` on PUBLISHED_GPU.

    Args:
        published: the table published_encode_seconds.
    """
    rows = published[(published["profiler"] == profiler) & (published["gpu"] == PUBLISHED_GPU)]
    return {
        str(name): float(seconds)
        for name, seconds in rows.groupby("framework")["seconds_per_25k_passages"].median().items()
    }

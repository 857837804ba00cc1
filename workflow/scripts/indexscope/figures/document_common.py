"""What the figures of document_access share: loaders and their colours, situations, rows of a chart, words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common

LOADERS = {
    "in_memory": "in memory",
    "offset_index": "offset index",
    "ir_datasets": "ir_datasets",
    "arrow": "Arrow",
    "shared_memory": "shared memory",
}
PARALLELISM = {
    "single": "one process",
    "data_parallel": "DataParallel",
    "distributed": "DistributedDataParallel",
    "accelerate": "Accelerate",
}
UNSUPPORTED = "unsupported"
GRID, LIMITED = "grid", "limited"
# All that a situation's trainings have in common but the loader and the repeat.
SITUATION = [
    "experiment", "parallelism", "world_size", "workers", "pin_memory", "precision", "cache", "documents",
]  # fmt: skip
ROW_HEIGHT = 17
# Parts of a step → colour: getting data warm, computing blue, communication green (Paul Tol's light palette).
PARTS = {
    "fetch": "#EE8866",
    "tokenise": "#EEDD88",
    "wait": "#FFAABB",
    "host to device": "#AAAA00",
    "forward": "#99DDFF",
    "backward": "#77AADD",
    "communication": "#44BB99",
    "optimiser": "#BBCC33",
    "other": "#DDDDDD",
}


class Rows(NamedTuple):
    """The lines of a chart: a heading for each situation, below it one line for each of its loaders.

    Attributes:
        lines: columns row (the key), situation, series, heading (bool) and those of SITUATION.
        keys: of the lines, from top to bottom.
    """

    lines: pd.DataFrame
    keys: list[str]

    @property
    def height(self) -> int:
        return ROW_HEIGHT * len(self.keys)

    def y(self, labels: bool = True) -> alt.Y:
        """The axis on which loaders are named."""
        axis = alt.Axis(
            domain=False, ticks=False, grid=False, labels=labels, labelExpr="split(datum.label, '|')[1]"
        )
        return alt.Y("row:N", scale=alt.Scale(domain=self.keys, type="band"), title=None, axis=axis)

    def headings(self, y: alt.Y, words: bool = True) -> list[alt.Chart]:
        """A line above each situation, and its name."""
        headings = self.lines[self.lines["heading"]]
        base = alt.Chart(headings)
        rule = base.mark_rule(color="#D5D5D5").encode(y=alt.Y("row:N", bandPosition=0.0))
        if not words:
            return [rule]
        text = base.mark_text(
            align="left", fontWeight="bold", fontSize=11, color=common.INK, clip=False
        ).encode(x=alt.value(5), y=y, text="situation:N")
        return [rule, text]


def loader_words(loader: str) -> str:
    return LOADERS.get(loader, loader)


def loader_scale(present: Iterable[str] = LOADERS.values()) -> alt.Scale:
    """The colour of each loader, by its words: the house palette in the order of LOADERS, whoever is there.

    Loaders are to this experiment what systems are to index_memory; the two never stand on one page.
    """
    known = [*LOADERS.values(), *(name for name in common.unique(present) if name not in LOADERS.values())]
    return common.system_scale(pd.DataFrame({"series": known}))


def loader_colour(legend: alt.Legend | None = None) -> alt.Color:
    return alt.Color("series:N", scale=loader_scale(), title=None, legend=legend)


def with_words(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `series`, the loader's words, in the order of LOADERS."""
    order = {name: place for place, name in enumerate(LOADERS)}
    frame = frame.assign(
        series=[loader_words(name) for name in frame["loader"]],
        _loader=[order.get(name, len(order)) for name in frame["loader"]],
    )
    return frame.sort_values("_loader", kind="stable").drop(columns="_loader")


def world_words(parallelism: str, world_size: int) -> str:
    """Such as `DistributedDataParallel on 2 ranks`."""
    name = PARALLELISM.get(parallelism, parallelism)
    if parallelism == "single":
        return name
    what = "device" if parallelism == "data_parallel" else "rank"
    return f"{name} on {world_size} {what}{'' if world_size == 1 else 's'}"


def deviations(row: Any) -> list[str]:
    """What of a training is unlike the plain one: no workers, no pinned memory, fp32, a warm page cache."""
    workers = f"{row.workers} worker{'' if row.workers == 1 else 's'}"
    if row.world_size > 1:
        workers += " a rank"
    return [
        *([workers] if row.workers else []),
        *(["pinned memory"] if row.pin_memory else []),
        *([str(row.precision)] if row.precision != "fp32" else []),
        *(["cold page cache"] if row.cache == "cold" else []),
    ]


def situation_words(row: Any, usual_documents: int | None = None) -> str:
    """Such as `DistributedDataParallel on 2 ranks, cold page cache`."""
    parts = [world_words(row.parallelism, row.world_size), *deviations(row)]
    if usual_documents is not None and row.documents != usual_documents:
        parts.append(common.documents(row.documents))
    if row.experiment == LIMITED:
        parts.append("under a memory limit")
    return ", ".join(parts)


def is_plain(frame: pd.DataFrame) -> pd.Series:
    """Which trainings of the grid are with no workers, unpinned, in fp32 and with a warm page cache."""
    return (
        (frame["experiment"] == GRID)
        & (frame["workers"] == 0)
        & ~frame["pin_memory"].astype(bool)
        & (frame["precision"] == "fp32")
        & (frame["cache"] == "warm")
    )


def rows_of(trainings: pd.DataFrame) -> Rows:
    """The lines for `trainings`: plain situations first, then what was varied, then those under a limit."""
    usual = usual_documents(trainings)
    parallelism = list(PARALLELISM)
    found = trainings.drop_duplicates([*SITUATION, "loader"])
    found = with_words(found)
    found = found.assign(
        situation=[situation_words(row, usual) for row in common.each_row(found)],
        _limited=found["experiment"] == LIMITED,
        _varied=[len(deviations(row)) for row in common.each_row(found)],
        _parallelism=[
            parallelism.index(name) if name in parallelism else len(parallelism)
            for name in found["parallelism"]
        ],
    )
    order = ["_limited", "_varied", "workers", "pin_memory", "precision", "cache", "_parallelism", "world_size",
             "documents"]  # fmt: skip
    found = found.sort_values(order, kind="stable")
    lines: list[dict[str, Any]] = []
    for key, of_situation in found.groupby(SITUATION, sort=False):
        shared = dict(zip(SITUATION, key, strict=True)) | {"situation": of_situation["situation"].iloc[0]}
        # The keys are in order and unlike; what follows the bar is what the axis says.
        lines.append({**shared, "row": f"{len(lines):03d}|", "heading": True, "series": "", "loader": ""})
        for row in common.each_row(of_situation):
            lines.append(
                {**shared, "row": f"{len(lines):03d}|{row.series}", "heading": False, "series": row.series,
                 "loader": row.loader}
            )  # fmt: skip
    table = pd.DataFrame(lines, columns=[*SITUATION, "situation", "row", "heading", "series", "loader"])
    return Rows(table, table["row"].tolist())


def on_rows(trainings: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """`trainings` with `row`, `situation` and `series` of their line."""
    lines = rows.lines.loc[~rows.lines["heading"], [*SITUATION, "loader", "row", "situation", "series"]]
    return trainings.merge(lines, on=[*SITUATION, "loader"], how="inner")


def usual_documents(trainings: pd.DataFrame) -> int | None:
    """The number of documents of the grid (the most frequent, where there are several)."""
    sizes = trainings.loc[trainings["experiment"] == GRID, "documents"]
    sizes = sizes if len(sizes) else trainings["documents"]
    return int(sizes.mode().iloc[0]) if len(sizes) else None


def completed(trainings: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The trainings that completed and know `columns`."""
    return trainings[trainings["outcome"] == COMPLETED].dropna(subset=list(columns))


def medians(trainings: pd.DataFrame, column: str) -> pd.DataFrame:
    """One line for each situation and loader: median, least and most of completed runs, and their number.

    Returns:
        Columns of SITUATION, loader, median, least, most, runs.
    """
    known = completed(trainings, column)
    groups = known.groupby([*SITUATION, "loader"], sort=False)[column]
    return groups.agg(median="median", least="min", most="max", runs="size").reset_index()


class Range(NamedTuple):
    """The loaders with the least and the most of something in one situation."""

    situation: Any  # a row of `medians`
    low: Any
    high: Any
    loaders: int
    separated: bool | None  # the repeats of the two do not overlap; None without repeats

    @property
    def percent(self) -> float:
        return 100 * (self.high.median / self.low.median - 1) if self.low.median else float("inf")


def widest(trainings: pd.DataFrame, column: str) -> Range | None:
    """How far loaders are apart where several completed: plain if any are, in the largest world; None if nowhere."""
    found = medians(trainings[trainings["experiment"] == GRID], column)
    if found.empty:
        return None
    candidates = [
        of_situation
        for _, of_situation in found.groupby(SITUATION, sort=False)
        if of_situation["loader"].nunique() > 1
    ]
    if not candidates:
        return None
    chosen = max(
        candidates, key=lambda rows: (bool(is_plain(rows).iloc[0]), rows["world_size"].iloc[0], len(rows))
    )
    lines = list(common.each_row(chosen))
    low, high = min(lines, key=lambda row: row.median), max(lines, key=lambda row: row.median)
    repeated = low.runs > 1 and high.runs > 1
    return Range(lines[0], low, high, len(lines), bool(low.most < high.least) if repeated else None)


def reading_percent(trainings: pd.DataFrame, of: Range) -> float | None:
    """What the loaders of a situation differ by in reading, at most, as per cent of the shortest step.

    Reading is fetching where the trainer does it itself, waiting where workers do.
    """
    same = pd.Series(True, index=trainings.index)
    for column in SITUATION:
        same &= trainings[column] == getattr(of.situation, column)
    column = "wait_seconds" if of.situation.workers else "fetch_seconds"
    known = completed(trainings[same], column, "step_seconds")
    if known.empty:
        return None
    reading = known.groupby("loader")[column].median()
    return float(100 * (reading.max() - reading.min()) / known["step_seconds"].min())


def endings(on_lines: pd.DataFrame) -> pd.DataFrame:
    """How the runs of each line ended that did not complete.

    Args:
        on_lines: from `on_rows`.

    Returns:
        Columns row, words, unsupported (bool), alone (no run of the line completed).
    """
    found = []
    for row, runs in on_lines.groupby("row", sort=False):
        ended = runs[runs["outcome"] != COMPLETED]
        if ended.empty:
            continue
        alone = len(ended) == len(runs)
        details = common.unique(ended["outcome_detail"])
        words = common.outcome_words(ended["outcome"].iloc[0]) if alone else common.outcome_counts(ended)
        unsupported = bool((ended["outcome"] == UNSUPPORTED).all())
        detail = f": {_short(str(details[0]))}" if details and alone else ""
        found.append(
            {"row": row, "words": f"{'' if unsupported else '× '}{words}{detail}", "unsupported": unsupported,
             "alone": alone, "detail": "; ".join(str(each) for each in details)}
        )  # fmt: skip
    return pd.DataFrame(found, columns=["row", "words", "unsupported", "alone", "detail"])


def ending_marks(ended: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """The endings of lines without a completed run, in words."""
    alone = ended[ended["alone"].astype(bool)]
    if alone.empty:
        return []
    return [
        alt.Chart(alone)
        .mark_text(align="left", fontSize=10.5)
        .encode(
            x=alt.value(7),
            y=y,
            text="words:N",
            color=alt.condition("datum.unsupported", alt.value(common.NOTE), alt.value(common.ALARM)),
            tooltip=["words:N", "detail:N"],
        )
    ]


def _short(text: str, most: int = 72) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


# Words


def conditions(access: pd.DataFrame) -> str:
    """One line: documents, batch, steps, device, repeats."""
    if access.empty:
        return ""
    sizes = common.listed([common.count(size) for size in sorted(common.unique(access["documents"]))])
    steps = sorted(common.unique(access["steps"]))
    warm_up = sorted(common.unique(access["warm_up_steps"]))
    repeats = access.groupby([*SITUATION, "loader"])["repeat"].nunique()
    low, high = int(repeats.min()), int(repeats.max())
    parts = [
        f"{sizes} documents",
        f"batch {_numbers(access['batch_size'])} a rank, up to {_numbers(access['max_length'])} tokens",
        f"{_numbers(steps)} steps after {_numbers(warm_up)} of warm-up",
        common.device_words(access),
        "no repeats" if high == 1 else f"{high} repeats" if low == high else f"{low} to {high} repeats",
    ]
    torch = common.unique(access["torch_version"])
    return " · ".join([*parts, *([f"torch {common.listed([str(each) for each in torch])}"] if torch else [])])


def _numbers(values: Iterable[Any]) -> str:
    return " or ".join(common.count(value) for value in sorted(common.unique(values)))


def percent_range(values: Sequence[float]) -> str:
    """Such as `2 to 14 %`; to two digits where they are small."""
    low, high = (_percent(value) for value in (min(values), max(values)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _percent(value: float) -> str:
    return f"{value:.0f}" if value >= 9.5 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """With a unit that suits it: 3.2 µs, 45 ms, 1.2 s."""
    factor, unit = (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    value = seconds * factor
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"

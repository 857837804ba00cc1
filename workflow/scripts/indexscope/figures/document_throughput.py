"""Samples per second of trainings by loader, parallelism and world size."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common, document_common
from .common import Figure

TITLE = "Throughput of trainings"
_CAPTION = (
    "Each point is a training, the line the median of its repeats and the number that median; a loader has one colour "
    "in every figure. Samples per second are of all ranks together and of whole steps: what a rank waits for its "
    "documents is in them, warm-up steps are not. A plain training has no DataLoader workers, pageable memory, fp32 "
    "and a warm page cache; what is unlike is said above its lines. Trainings that did not complete are told in "
    "words: unsupported is what this hardware cannot do."
)
_COLUMNS = [
    "run", "experiment", "situation", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision",
    "cache", "documents", "repeat", "outcome", "outcome_detail", "device", "backend", "batch_size", "max_length",
    "steps", "warm_up_steps", "samples_per_second", "step_seconds", "step_seconds_median", "memory_limit_mib",
]  # fmt: skip
_RATE = "samples_per_second"
_WIDTH = 720


def draw(access: pd.DataFrame) -> Figure:
    """Args: the table document_access."""
    if access.empty:
        return common.nothing_to_draw(TITLE, "The table of trainings is empty: nothing was run.", _COLUMNS)
    rows = document_common.rows_of(access)
    on_lines = document_common.on_rows(access, rows)
    title, support, notes = _findings(access)
    return Figure(
        _chart(on_lines, rows), on_lines[_COLUMNS], title, document_common.conditions(access), support, notes,
        _CAPTION, width=_WIDTH + 110, is_finding=bool(len(document_common.completed(access, _RATE))),
    )  # fmt: skip


def _chart(on_lines: pd.DataFrame, rows: document_common.Rows) -> common.Chart:
    known = document_common.completed(on_lines, _RATE)
    y = rows.y()
    end = 1.22 * max(1e-9, known[_RATE].max()) if len(known) else 1.0
    scale = alt.Scale(domain=[0, end], nice=False)
    x = alt.X(
        f"{_RATE}:Q",
        title="samples per second, all ranks",
        scale=scale,
        axis=alt.Axis(orient="top", tickCount=8),
    )
    layers: list[alt.Chart] = rows.headings(y)
    ended = document_common.endings(on_lines)
    if len(known):
        middle = known.groupby(["row", "series"], sort=False)[_RATE].agg(["median", "max"]).reset_index()
        middle = middle.merge(ended[["row", "words"]], on="row", how="left")
        middle["label"] = [
            rate(row.median) + ("" if pd.isna(row.words) else f"   {row.words}")
            for row in common.each_row(middle)
        ]
        middle = middle.drop(columns="words")
        colour = document_common.loader_colour()
        layers += [
            alt.Chart(middle)
            .mark_tick(thickness=2, size=11)
            .encode(x=alt.X("median:Q", scale=scale), y=y, color=colour),
            alt.Chart(known)
            .mark_point(filled=True, size=42, opacity=0.75)
            .encode(
                x=x, y=y, color=colour,
                tooltip=["series:N", "situation:N", "repeat:Q", alt.Tooltip(f"{_RATE}:Q", format=",.4g"),
                         alt.Tooltip("step_seconds:Q", format=",.4g")],
            ),
            alt.Chart(middle)
            .mark_text(align="left", dx=9, fontSize=10, color=common.INK)
            .encode(x=alt.X("max:Q", scale=scale), y=y, text="label:N"),
        ]  # fmt: skip
    layers += document_common.ending_marks(ended, y)
    chart: common.Chart = alt.layer(*layers).properties(width=_WIDTH, height=rows.height)
    return chart


def _findings(access: pd.DataFrame) -> tuple[str, str, list[str]]:
    incomplete = common.incomplete_words(access, ", told in words")
    if document_common.completed(access, _RATE).empty:
        return f"No training completed ({common.outcome_counts(access)})", "", []
    scaling, varied = growth(access), variations(access)
    widest = document_common.widest(access, _RATE)
    if widest is None:
        found = document_common.medians(access, _RATE)
        fastest = max(common.each_row(found), key=lambda row: row.median)
        words = document_common.situation_words(fastest)
        loader = _capital(document_common.loader_words(fastest.loader))
        title = f"{loader}: {rate(fastest.median)} samples per second ({words})"
        return title, "", ["Several loaders in one situation were not measured.", scaling, varied, incomplete]
    where = document_common.situation_words(widest.situation)
    title = (
        f"{_capital(where)}: from {document_common.loader_words(widest.low.loader)} "
        f"({rate(widest.low.median)} samples per second) to {document_common.loader_words(widest.high.loader)} "
        f"({rate(widest.high.median)}), the loader changes throughput by {_percent(widest.percent)}"
    )
    reading = document_common.reading_percent(access, widest)
    if reading is not None and 2 * reading < widest.percent:
        title = (
            f"{_capital(where)}: {rate(widest.low.median)} to {rate(widest.high.median)} samples per second, but the "
            f"loader is not why: reading differs by {_percent(reading)} of a step"
        )
    support = (
        f"The difference of these two {common.spread_words(widest.separated)} "
        f"({widest.high.runs:.0f} and {widest.low.runs:.0f} runs)."
    )
    return title, support, [scaling, varied, incomplete]


def growth(access: pd.DataFrame) -> str:
    """What more ranks bring, over loaders, between the least and the largest world that a loader completed."""
    found = document_common.medians(access[document_common.is_plain(access)], _RATE)
    sentences = []
    for parallelism, of_parallelism in found.groupby("parallelism", sort=False):
        factors: dict[tuple[int, int], list[float]] = {}
        for _, of_loader in of_parallelism.groupby("loader", sort=False):
            ordered = of_loader.sort_values("world_size")
            first, last = ordered.iloc[0], ordered.iloc[-1]
            if first["world_size"] < last["world_size"]:
                worlds = (int(first["world_size"]), int(last["world_size"]))
                factors.setdefault(worlds, []).append(float(last["median"] / first["median"]))
        name = document_common.PARALLELISM.get(str(parallelism), str(parallelism))
        for (few, many), values in factors.items():
            growth_words = common.range_words(min(values), max(values), ".2f")
            sentences.append(f"{name} from world size {few} to {many}: {growth_words} times the throughput")
    return f"{'; '.join(sentences)}." if sentences else ""


def variations(access: pd.DataFrame) -> str:
    """What one setting that is unlike the plain one changes, by loaders that were run both ways."""
    grid = access[access["experiment"] == document_common.GRID]
    found = document_common.medians(grid, _RATE)
    key = ["parallelism", "world_size", "documents", "loader"]
    plain = {
        tuple(getattr(row, name) for name in key): row.median
        for row in common.each_row(found)
        if not document_common.deviations(row)
    }
    changes: dict[str, list[float]] = {}
    for row in common.each_row(found):
        unlike = document_common.deviations(row)
        base = plain.get(tuple(getattr(row, name) for name in key))
        if len(unlike) == 1 and base:
            changes.setdefault(unlike[0], []).append(row.median / base)
    words = [
        f"{name} {common.range_words(min(ratios), max(ratios), '.2f')}" for name, ratios in changes.items()
    ]
    return f"Times the plain training’s throughput: {'; '.join(words)}." if words else ""


def rate(value: float) -> str:
    """Samples per second to about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 9.5 else f"{value:.2g} %"


def _capital(text: str) -> str:
    return text if text.startswith("ir_") else text[:1].upper() + text[1:]

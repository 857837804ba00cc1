"""What the figures of remote_indexing share: systems and their colours, GPUs that fit, words for money and minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common

HERE, RECIPE = "this configuration", "the published recipe"
SINGLE, BATCH = "single", "batch"
ESTIMATED, ACTUAL = "estimated", "actual"
TEXT = "text"  # the outcome of a page that became a document
OUTCOME_WORDS = {
    TEXT: "text",
    "empty": "empty",
    "image_only": "image only",
    "encrypted": "encrypted",
    "damaged": "damaged",
    "too_large": "too large",
    "timed_out": "timed out",
}


def with_series(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `series`, the system's label; in the order of the systems' names, as their colours are."""
    label = frame["label"].where(frame["label"].notna(), frame["system"])
    return frame.assign(series=label).sort_values("system", kind="stable")


def series_colour(with_names: pd.DataFrame, legend: alt.Legend | None = None) -> alt.Color:
    return alt.Color("series:N", scale=common.system_scale(with_names), title=None, legend=legend)


def outcome_words(outcome: str) -> str:
    return OUTCOME_WORDS.get(outcome, outcome.replace("_", " "))


def completed(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that completed and know `columns`."""
    return frame[frame["outcome"] == COMPLETED].dropna(subset=list(columns))


# GPUs


def of_case(gpus: pd.DataFrame, case: str) -> list[pd.DataFrame]:
    """The rows of one case of the table remote_gpus, a frame for each system, GPUs from small to large."""
    rows = with_series(gpus[gpus["case"] == case])
    return [
        of_system.sort_values(["memory_mib", "usd_per_hour"], kind="stable")
        for _, of_system in rows.groupby("system", sort=False)
    ]


def smallest(of_system: pd.DataFrame) -> Any | None:
    """The GPU with the least memory that fits; of equal ones the cheaper. None where none fits.

    Args:
        of_system: from `of_case`.
    """
    fitting = of_system[of_system["fits"].astype(bool)]
    return next(common.each_row(fitting), None)


def needs_words(row: Any) -> str:
    """Such as `19,500 MiB in training`: what the phase that needs most takes, with the margin."""
    return f"{common.mib(row.needs_mib)} in {row.phase}"


def gpu_words(row: Any) -> str:
    return f"{row.gpu} ({common.mib(row.memory_mib)})"


def too_small(of_system: pd.DataFrame) -> str:
    """Which GPUs are too small, in which phase that shows first, and which setting helps; empty where all fit."""
    short = of_system[~of_system["fits"].astype(bool)]
    if short.empty:
        return ""
    found: dict[str, list[Any]] = {}
    for row in common.each_row(short):
        phase = row.phase if pd.isna(row.first_phase_that_does_not_fit) else row.first_phase_that_does_not_fit
        found.setdefault(f"runs out first in {phase}{_remedy(row)}", []).append(row)
    return "; ".join(f"on {_cards(rows)} it {words}" for words, rows in found.items())


def _cards(rows: Sequence[Any]) -> str:
    memory = [row.memory_mib for row in rows]
    names = common.listed([str(row.gpu) for row in rows])
    return f"{names} ({common.range_words(min(memory), max(memory), ',.0f', ' MiB')})"


def _remedy(row: Any) -> str:
    if pd.isna(row.setting_that_fixes):
        return ", and no one setting is enough"
    needs = "" if pd.isna(row.needs_with_it_mib) else f" (then {common.mib(row.needs_with_it_mib)})"
    return f", which {row.setting_that_fixes} avoids{needs}"


# Words


def usd(value: float) -> str:
    """Cents from a tenth of a dollar on, else two digits that count: $1.20, $0.10, $0.0042."""
    if value == 0 or value >= 0.0995:
        return f"${value:,.2f}"
    text = f"{value:.2g}"
    return f"${float(text):.10f}".rstrip("0") if "e" in text else f"${text}"


def duration(seconds: float) -> str:
    """To about three digits, with the unit that suits it: 45 ms, 1.2 s, 3.4 minutes, 2.1 hours."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    value, unit = (seconds / 60, "minutes") if seconds < 7200 else (seconds / 3600, "hours")
    return f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def milliseconds(value: float) -> str:
    return duration(value / 1000)


def plural(number: float, noun: str, several: str | None = None) -> str:
    """Such as `1 page`, `2 pages`."""
    return f"{common.count(number)} {noun if number == 1 else several or noun + 's'}"


def sentences(*texts: str) -> list[str]:
    """Those of `texts` that say something."""
    return [text for text in texts if text]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def empty_of(columns: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with exactly `columns`, those that it lacks missing."""
    return frame.reindex(columns=list(columns))

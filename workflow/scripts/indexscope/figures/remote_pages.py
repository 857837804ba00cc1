"""What became of the pages of the PDFs: a bar for each file, its pages by outcome, and why some were not read."""

from __future__ import annotations

import textwrap

import altair as alt
import pandas as pd

from . import common, remote_common
from .common import Figure

TITLE = "Pages of the PDFs"
# Warm for what needs somebody, grey for what holds nothing (Paul Tol's light palette and greys).
COLOURS = {
    "text": "#77AADD",
    "empty": "#DDDDDD",
    "image_only": "#EEDD88",
    "encrypted": "#FFAABB",
    "damaged": "#EE8866",
    "too_large": "#AAAA00",
    "timed_out": "#BBCC33",
}
_OTHER = "#A884B5"
MOST_FILES = 24  # that are drawn
_CAPTION = (
    "A bar is a file, as long as it has pages; its colours say what became of them. Pages with text are what is "
    "indexed, one document each. A file that could not be read at all has no bar: its outcome is told in words, with "
    "the reason. Files with pages that were not read stand first. The reason of each page is in the table remote_pages."
)
_COLUMNS = ["file", "outcome", "pages", "reason", "whole_file", "characters", "file_mib"]
_WIDTH, _ROW = 430, 20
_FEW = 3  # names in a sentence


def draw(pages: pd.DataFrame) -> Figure:
    """Args: the table remote_pages."""
    if pages.empty:
        reason = "The table of pages is empty: the corpus is not of PDFs."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    rows = counted(pages)
    title, notes = told(pages)
    return Figure(
        _chart(rows), rows[_COLUMNS], title, _conditions(pages), "", notes, _CAPTION, width=1040,
        is_finding=True,
    )  # fmt: skip


def counted(pages: pd.DataFrame) -> pd.DataFrame:
    """One row for each file and outcome, files with the most that was not read first.

    Returns:
        Columns file, outcome, pages (0 of a whole file), reason (the most frequent), whole_file, characters, file_mib.
    """
    found = (
        pages.assign(whole_file=pages["page"].isna())
        .groupby(["file", "outcome", "whole_file"], sort=False, dropna=False)
        .agg(
            pages=("page", "count"),
            reason=("reason", _most_frequent),
            characters=("characters", "sum"),
            file_mib=("file_mib", "first"),
        )
        .reset_index()
    )
    lost = found["pages"].where(found["outcome"] != remote_common.TEXT, 0) + 1e6 * (
        found["whole_file"] & (found["outcome"] != remote_common.TEXT)
    )
    order = lost.groupby(found["file"]).sum()
    found["_lost"] = found["file"].map(order)
    outcomes = list(COLOURS)
    found["_outcome"] = [
        outcomes.index(name) if name in outcomes else len(outcomes) for name in found["outcome"]
    ]
    found = found.sort_values(["_lost", "file", "_outcome"], ascending=[False, True, True], kind="stable")
    return found.drop(columns=["_lost", "_outcome"]).reset_index(drop=True)


def _most_frequent(reasons: pd.Series) -> str | None:
    known = reasons.dropna()
    return None if known.empty else str(known.mode().iloc[0])


def _chart(rows: pd.DataFrame) -> common.Chart:
    files = common.unique(rows["file"])[:MOST_FILES]
    shown = rows[rows["file"].isin(files)]
    names = dict(zip(files, _unlike([_short(name, 44) for name in files]), strict=True))
    shown = shown.assign(
        name=shown["file"].map(names), words=[remote_common.outcome_words(name) for name in shown["outcome"]]
    )
    bars = shown[~shown["whole_file"]]
    present = [name for name in [*COLOURS, *common.unique(bars["outcome"])] if name in set(bars["outcome"])]
    present = common.unique(present)
    order = [remote_common.outcome_words(name) for name in present]
    scale = alt.Scale(domain=order, range=[COLOURS.get(name, _OTHER) for name in present])
    y = alt.Y(
        "name:N", scale=alt.Scale(domain=list(names.values())), title=None,
        axis=alt.Axis(domain=False, ticks=False, grid=False, labelLimit=330),
    )  # fmt: skip
    most = bars.groupby("file")["pages"].sum().max() if len(bars) else 1
    x = alt.X(
        "pages:Q",
        title="pages",
        stack=True,
        scale=alt.Scale(domain=[0, most], nice=False),
        axis=alt.Axis(tickMinStep=1, orient="top", tickCount=8, format=",.0f"),
    )
    layers: list[alt.Chart] = []
    if len(bars):
        layers.append(
            alt.Chart(bars.assign(place=range(len(bars))))
            .mark_bar(height={"band": 0.72}, stroke="white", strokeWidth=0.6)
            .encode(
                x=x, y=y, order="place:Q",
                color=alt.Color("words:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
                tooltip=["file:N", alt.Tooltip("words:N", title="outcome"), "pages:Q", "reason:N",
                         alt.Tooltip("characters:Q", format=",")],
            )
        )  # fmt: skip
    texts = _texts(shown, names)
    layers.append(
        alt.Chart(texts)
        .mark_text(align="left", dx=8, fontSize=10.5)
        .encode(
            x=alt.value(_WIDTH),
            y=y,
            text="said:N",
            color=alt.condition("datum.lost", alt.value(common.ALARM), alt.value(common.NOTE)),
            tooltip=["file:N", "whole:N"],
        )
    )
    chart: common.Chart = alt.layer(*layers).properties(width=_WIDTH, height=_ROW * len(names))
    return chart


def _texts(shown: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """What stands at the right of each file: its pages, or why there are none."""
    found = []
    for file, of_file in shown.groupby("file", sort=False):
        whole = of_file[of_file["whole_file"] & (of_file["outcome"] != remote_common.TEXT)]
        lost = of_file[~of_file["whole_file"] & (of_file["outcome"] != remote_common.TEXT)]
        read = int(of_file.loc[of_file["outcome"] == remote_common.TEXT, "pages"].sum())
        if len(whole):
            row = whole.iloc[0]
            said = f"× {remote_common.outcome_words(row['outcome'])}"
            said += "" if pd.isna(row["reason"]) else f": {row['reason']}"
        else:
            parts = [f"{read} with text"]
            parts += [
                f"{row.pages} {remote_common.outcome_words(row.outcome)}" for row in common.each_row(lost)
            ]
            said = ", ".join(parts)
        found.append({"file": file, "name": names[str(file)], "said": _short(said, 66), "whole": said,
                      "lost": bool(len(whole))})  # fmt: skip
    return pd.DataFrame(found)


def _unlike(names: list[str]) -> list[str]:
    """`names`, those that shortening made alike told apart."""
    return [
        name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)
    ]


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else textwrap.shorten(text, most, placeholder="…") if " " in text[:most] else (
        text[: most - 1] + "…"
    )  # fmt: skip


# Words


def told(pages: pd.DataFrame) -> tuple[str, list[str]]:
    """What was read, and what was not and why."""
    of_pages = pages[pages["page"].notna()]
    read = of_pages[of_pages["outcome"] == remote_common.TEXT]
    files = pages["file"].nunique()
    lost = whole_files(pages)
    title = f"{common.count(len(read))} of {remote_common.plural(len(of_pages), 'page')} have text"
    if len(lost):
        title += (
            f"; {common.count(len(lost))} of {remote_common.plural(files, 'file')} could not be read "
            f"({outcome_counts(lost)})"
        )
    else:
        title += f", of {remote_common.plural(files, 'file')}"
    without = of_pages[of_pages["outcome"] != remote_common.TEXT]
    notes = remote_common.sentences(
        f"Pages that are not indexed: {outcome_counts(without)}." if len(without) else "",
        f"Not read at all: {_named(lost)}." if len(lost) else "",
        f"{files - MOST_FILES} more files are in the table." if files > MOST_FILES else "",
    )
    return title, notes


def whole_files(pages: pd.DataFrame) -> pd.DataFrame:
    """The rows of files that could not be read at all."""
    return pages[pages["page"].isna() & (pages["outcome"] != remote_common.TEXT)]


def outcome_counts(rows: pd.DataFrame) -> str:
    """Such as `2 images only, 1 empty`."""
    counts = rows["outcome"].value_counts()
    order = [name for name in COLOURS if name in counts]
    order += [name for name in counts.index if name not in COLOURS]
    return ", ".join(f"{common.count(counts[name])} {remote_common.outcome_words(name)}" for name in order)


def _named(lost: pd.DataFrame) -> str:
    names = [
        f"{row.file} ({remote_common.outcome_words(row.outcome)})"
        for row in common.each_row(lost.drop_duplicates("file"))
    ]
    more = [f"{len(names) - _FEW} more"] if len(names) > _FEW else []
    return common.listed([*names[:_FEW], *more])


def _conditions(pages: pd.DataFrame) -> str:
    sizes = pages.drop_duplicates("file")["file_mib"].dropna()
    characters = pages["characters"].dropna().sum()
    return " · ".join(
        remote_common.sentences(
            remote_common.plural(pages["file"].nunique(), "file"),
            f"{sizes.sum():,.3g} MiB" if len(sizes) else "",
            f"{common.count(characters)} characters of text" if characters else "",
        )
    )

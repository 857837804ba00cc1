"""The study's tables and sentences as Markdown and CSV, in the shape in which they were published."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .published import (
    AGREES,
    AT_HAND,
    COLUMNS,
    DIFFERS,
    NOTED,
    PUBLISHED_ONLY,
    RECORDED_BEFORE,
    SYSTEMS,
    Cell,
    Checked,
    LogValues,
    Run,
)

# The post heads its first table otherwise than the six others.
_HEADINGS = {"indexer.index": ["Starting Memory", "Memory Increment", "Final Memory"]}
_HEADING = ["Initial Memory", "Memory Change", "Final Memory"]
_SOURCE_WORDS = {
    AT_HAND: "read from the log",
    RECORDED_BEFORE: "recorded from the log",
    NOTED: "noted from the log",
}


def file_name(function: str) -> str:
    """What a function's table is called, without suffix."""
    return function.lstrip("_")


def collection_size(documents: int) -> str:
    """100000 → 100k, 2000000 → 2M, as the post writes it."""
    for unit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if documents % unit == 0:
            return f"{documents // unit}{suffix}"
    return str(documents)


def rows_of(cells: Iterable[Cell]) -> dict[tuple[str, Run], dict[str, Cell]]:
    """(function, run) → column → cell, in the published order."""
    rows: dict[tuple[str, Run], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.function, cell.run), {})[cell.column] = cell
    return rows


def function_markdown(function: str, source_file: str, cells: Sequence[Cell]) -> str:
    """One published table: a row for each system and size, marked where the log says otherwise."""
    heading = ["Indexing Method", "Document Size", *_HEADINGS.get(function, _HEADING), "Log of the run"]
    lines = [
        f"### {source_file}/`{function}`",
        "",
        f"| {' | '.join(heading)} |",
        "|" + ":-:|" * len(heading),
    ]
    for (name, run), row in rows_of(cells).items():
        if name == function:
            words = [SYSTEMS[run[:2]], collection_size(run[2])]
            words += [_marked(row[column]) for column in COLUMNS]
            lines.append(f"| {' | '.join([*words, _log_words(row)])} |")
    return "\n".join(lines) + "\n"


def _marked(cell: Cell) -> str:
    if cell.verdict != DIFFERS:
        return f"{cell.published:.1f} MB"
    return f"**{cell.published:.1f} MB ≠ {cell.in_log:.1f}**"


def _log_words(row: Mapping[str, Cell]) -> str:
    verdicts = [cell.verdict for cell in row.values()]
    known = [cell.log_source for cell in row.values() if cell.log_source]
    if not known:
        return PUBLISHED_ONLY
    if PUBLISHED_ONLY in verdicts:
        words = f"{PUBLISHED_ONLY}, but the initial memory: {_SOURCE_WORDS[known[0]]}"
    else:
        words = _SOURCE_WORDS[known[0]]
    differing = verdicts.count(DIFFERS)
    return f"{words}: {differing} of 3 cells differs" if differing else f"{words}: {AGREES}"


def function_csv(function: str, cells: Sequence[Cell]) -> str:
    """One published table with the log's values and the verdict of each cell in columns of their own."""
    rows = [
        {
            "system": SYSTEMS[run[:2]],
            "documents": run[2],
            **{f"{column}_mib": row[column].published for column in COLUMNS},
            **{f"{column}_mib_in_log": row[column].in_log for column in COLUMNS},
            **{f"{column}_verdict": row[column].verdict for column in COLUMNS},
            "log_source": next((cell.log_source for cell in row.values() if cell.log_source), None),
            "published_row_adds_up": row["start"].adds_up,
        }
        for (name, run), row in rows_of(cells).items()
        if name == function
    ]
    return to_csv(rows)


def cells_csv(cells: Iterable[Cell]) -> str:
    """Every published cell, one a row."""
    return to_csv(
        {
            "function": cell.function,
            "system": cell.system,
            "framework": cell.run[0],
            "use_faiss": cell.run[1],
            "documents": cell.run[2],
            "column": cell.column,
            "published_mib": cell.published,
            "in_log_mib": cell.in_log,
            "log_source": cell.log_source,
            "verdict": cell.verdict,
            "published_row_adds_up": cell.adds_up,
            "explanation": cell.explanation,
        }
        for cell in cells
    )


def sentence_values_csv(checked: Iterable[Checked]) -> str:
    """Every number that a sentence speaks of, one a row."""
    return to_csv(
        {
            "sentence": each.sentence.name,
            "section": each.sentence.section,
            "text": each.sentence.sentence,
            "measure": each.sentence.measure,
            "where": where,
            "value": value,
            "low": each.sentence.low,
            "high": each.sentence.high,
            "within": each.within[where],
            "holds": each.holds,
        }
        for each in checked
        for where, value in each.values.items()
    )


def sentences_csv(checked: Iterable[Checked]) -> str:
    """Every sentence with what was computed, one a row."""
    return to_csv(_sentence_rows(checked))


def sentences_markdown(checked: Sequence[Checked]) -> str:
    """Every sentence with what was computed."""
    heading = ["Sentence", "Section", "What was computed", "Found", "In the range", "Holds"]
    lines = [f"| {' | '.join(heading)} |", "|" + "---|" * len(heading)]
    for row in _sentence_rows(checked):
        outside = f"; outside: {row['outside']}" if row["outside"] and row["holds"] != "no" else ""
        words = [
            f"“{row['sentence']}”",
            f"`{row['section']}`",
            row["interpretation"],
            f"{row['found']}{outside}",
            f"{row['within']} of {row['values']}",
            f"**{row['holds']}**",
        ]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _sentence_rows(checked: Iterable[Checked]) -> Iterator[dict[str, Any]]:
    for each in checked:
        sentence = each.sentence
        low, high = min(each.values.values()), max(each.values.values())
        words = [f"{value:.1f}" if sentence.measure != "ratio" else f"{value:.2f}" for value in (low, high)]
        unit = {"ratio": " times", "percent": " %"}.get(sentence.measure, " MB")
        yield {
            "name": sentence.name,
            "section": sentence.section,
            "sentence": sentence.sentence,
            "interpretation": sentence.interpretation,
            "found": (words[0] if low == high else f"{words[0]} to {words[1]}") + unit,
            "found_low": low,
            "found_high": high,
            "values": len(each.values),
            "within": sum(each.within.values()),
            "outside": "; ".join(
                f"{where}: {value:.1f}" for where, value in each.values.items() if not each.within[where]
            ),
            "holds": each.holds,
        }


def page_markdown(
    cells: Sequence[Cell], checked: Sequence[Checked], logs: Mapping[Run, LogValues], study: Mapping[str, Any]
) -> str:
    """Everything on one page: what disagrees, the seven tables, the sentences."""
    differing = [cell for cell in cells if cell.verdict == DIFFERS]
    known = [cell for cell in cells if cell.verdict != PUBLISHED_ONLY]
    runs = {cell.run for cell in cells}
    at_hand = [run for run in runs if run in logs and logs[run].source == AT_HAND]
    recorded = [run for run in runs if run in logs and logs[run].source == RECORDED_BEFORE]
    lines = [
        f"# {study['title']}",
        "",
        f"{study['author']}, {study['date']}, {study['url']}. {study['corpus']}, {study['checkpoint']}, "
        f"{study['machine']}, {study['profiler']}. The post says MB; memory_profiler prints MiB (2**20 bytes).",
        "",
        f"Of {len(runs)} runs the log is at hand for {len(at_hand)}, its values are recorded in "
        f"config/published for {len(recorded)}, and {len(runs) - len(at_hand) - len(recorded)} are published only "
        "(but for the start of `setup`, which config/published notes). "
        f"Of {len(cells)} cells {len(known)} can be checked; {len(differing)} differ from the log.",
        "",
        "## Cells that disagree",
        "",
    ]
    if differing:
        lines += [
            "| Function | Cell | Indexing Method | Document Size | Published | Log | Log is | The published number |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{cell.function}` | {cell.column} | {cell.system} | {collection_size(cell.run[2])} "
            f"| {cell.published:.1f} | {cell.in_log:.1f} | {_SOURCE_WORDS[cell.log_source or NOTED]} "
            f"| {cell.explanation} |"
            for cell in differing
        ]
    else:
        lines.append("None of those that can be checked.")
    broken = sorted({(cell.function, cell.run) for cell in cells if not cell.adds_up})
    lines += [
        "",
        f"Without any log: in {len(broken)} of {len(cells) // len(COLUMNS)} published rows initial memory and change "
        "do not add up to final memory"
        + (f", all of `{broken[0][0]}`." if len({name for name, _ in broken}) == 1 else "."),
        "",
        "## Sentences",
        "",
        sentences_markdown(checked),
        "## Tables",
        "",
        "A cell in bold is one that the log contradicts: published ≠ log.",
        "",
    ]
    for function, source_file in study["source_files"].items():
        lines += [function_markdown(function, source_file, cells)]
    used = {values.log: values for run, values in logs.items() if run in runs}
    if used:
        lines += ["## Logs", "", "| Log | SHA-256 | |", "|---|---|---|"]
        lines += [
            f"| {name} | `{used[name].sha256}` | {_SOURCE_WORDS[used[name].source]} |"
            for name in sorted(used)
        ]
    return "\n".join(lines).rstrip() + "\n"


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of the same keys, the keys as header; an empty text where there is none."""
    rows = list(rows)
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)

"""What was found, for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

_INDENT = "   "


def readable(answer: Mapping[str, Any], width: int | None = None) -> str:
    """A query and its passages, each with rank, score and where it is from, wrapped at `width` columns.

    Args:
        answer: the query, and of each result rank, score, document_id, file, page, title and passage.
        width: default: the terminal's, at most 100.
    """
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 100)
    parts = [f"Query: {answer['query']}"]
    if not answer["results"]:
        parts.append(f"{_INDENT}nothing was found")
    parts += [_result(result, width) for result in answer["results"]]
    return "\n\n".join(parts) + "\n"


def _result(result: Mapping[str, Any], width: int) -> str:
    source = f"document {result['document_id']}"
    if result["file"] is not None:
        title = f' "{result["title"]}"' if result["title"] else ""
        source = f"file {result['file']}, page {result['page']}{title}, document {result['document_id']}"
    head = textwrap.fill(
        f"{result['rank']}. score {result['score']:.3f}, {source}",
        width,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    # What a PDF or a web page may hold must not steer the terminal.
    text = "".join(character if character.isprintable() else " " for character in result["passage"])
    passage = textwrap.fill(" ".join(text.split()), width, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return f"{head}\n{passage}"

"""From tables to files: what plot.py does apart from drawing."""

from __future__ import annotations

import functools
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import vl_convert

from indexscope import schemas
from indexscope.run_record import InputError

from .common import Figure

# The vega-embed menu without what would leave the page.
EMBED_OPTIONS = {
    "renderer": "svg",
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}
_SPECIFICATION_ID = "vega-lite-specification"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 1rem; background: white }} #chart {{ overflow-x: auto }}</style>
<script>{bundle}</script>
</head>
<body>
<div id="chart"></div>
<p style="font: 13px sans-serif; max-width: 60rem">{caption}</p>
<script type="application/json" id="{identifier}">{specification}</script>
<script>
vegaEmbed("#chart", JSON.parse(document.getElementById("{identifier}").textContent), {options})
  .catch(console.error);
</script>
</body>
</html>
"""


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """The columns of `schema` from the Parquet file at `path`; null what an older archive lacks of them.

    Raises:
        InputError: the file is not there, is not Parquet, or lacks a column.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such table; the workflow's tabulate and compare rules make it"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet table ({str(error).splitlines()[0]})") from None
    absent = [name for name in schema.names if name not in table.column_names]
    for name in schemas.ADDED_LATER.intersection(absent):
        table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    if missing := [name for name in absent if name not in schemas.ADDED_LATER]:
        raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; make the table anew")
    frame: pd.DataFrame = table.select(schema.names).to_pandas()
    return frame


@functools.cache
def javascript_bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script that defines `vegaEmbed`, for a page without a network."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_vega_lite_version())


def script_json(value: Any) -> str:
    """`value` as JSON that can stand inside a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def save(figure: Figure, output: Path) -> None:
    """Write `output`.svg, .html and .csv; all three or, when one fails, none."""
    specification = figure.specification()
    page = _PAGE.format(
        title=html.escape(figure.title),
        bundle=javascript_bundle(),
        caption=html.escape(figure.caption),
        identifier=_SPECIFICATION_ID,
        specification=script_json(specification),
        options=json.dumps(EMBED_OPTIONS),
    )
    contents = {
        ".svg": _rounded(vl_convert.vegalite_to_svg(specification, vl_version=_vega_lite_version())),
        ".html": page,
        ".csv": figure.rows.to_csv(index=False, float_format="%.8g"),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = {}
    for suffix, text in contents.items():
        path = output.with_name(output.name + suffix)
        partial[path] = path.with_name(path.name + ".partial")
        partial[path].write_text(text, encoding="utf-8")
    for path, written in partial.items():
        written.replace(path)


class _SpecificationReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: str | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and ("id", _SPECIFICATION_ID) in attrs

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text = (self.text or "") + data


def read_specification(page: Path) -> dict[str, Any]:
    """The Vega-Lite specification inside a page that `save` wrote.

    Raises:
        InputError: the page holds none.
    """
    reader = _SpecificationReader()
    reader.feed(page.read_text(encoding="utf-8"))
    if reader.text is None:
        raise InputError(f"{page}: holds no figure of IndexScope; delete it or draw it anew")
    specification: dict[str, Any] = json.loads(reader.text)
    return specification


def _rounded(svg: str) -> str:
    """Paths to a tenth of a pixel: a third of the size of a figure with long curves."""
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)


def _vega_lite_version() -> str:
    major, minor = alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2]
    return f"{major}.{minor}"

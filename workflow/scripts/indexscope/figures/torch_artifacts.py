"""Which artifacts change from one PyTorch version to the next: a heat map of artifact by pair of versions."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "Artifacts between PyTorch versions"
_CAPTION = (
    "A column is a PyTorch version run twice (the noise floor) or a version and the next; a row is an artifact, the "
    "finished index first, then what arises on the way to it, in the order of the work. A cell is the worst of the "
    "chunks and calls of its artifact; a percentage is the part of its elements that have the same bits, where some "
    "are beyond both tolerances. Equal up to order: the same centroids, codes or lists, differently numbered or "
    "sorted. White: nothing to compare. What differs below the first differing row may differ only because of it: see "
    "the injections. A difference between artifacts is not yet one between search results."
)
_COLUMNS = [
    "left_version", "right_version", "kind", "documents", "stage", "name", "artifact", "verdict", "compared",
    "settled", "compared_as", "equal_fraction", "mean_absolute_difference", "max_absolute_difference",
    "max_ulp_distance", "rtol", "atol", "bitsandbytes_rtol", "bitsandbytes_atol", "left_shape", "right_shape",
    "left_dtype", "right_dtype", "left_outcome", "right_outcome", "detail",
]  # fmt: skip
_STAGES = {
    "final": "finished index",
    "planning": "planning",
    "training": "training",
    "encoding": "encoding",
    "finalizing": "finalizing",
}
# Of the work; names that are not here come after those that are, as in the table.
_ORDER = [
    "num_passages", "sample_pids", "tensorize_output", "batches", "D", "local_sample_embs", "sample",
    "sample_heldout", "kmeans_arguments", "prenorm_centroids", "postnorm_centroids", "half_centroids", "centroids",
    "bucket_cutoffs", "bucket_weights", "avg_residual", "embs", "doclens", "compress_batch", "compress_codes",
    "lookup_centroids", "residuals_before_packing", "codes", "residuals", "presort_codes", "sorted_codes",
    "sort_indices",
]  # fmt: skip
_FOLD_REPEATS = 3  # more versions than this: those whose repeat is equal in all share a column
_SIDE_BY_SIDE = 6  # at most so many columns: the stages stand in two blocks
_MOST_COLUMNS = 20
_CELL_HEIGHT, _NAMES = 19, 170


def draw(artifacts: pd.DataFrame, environments: pd.DataFrame) -> Figure:
    """Args: the tables torch_artifacts and torch_environments."""
    compared = artifacts[artifacts["kind"] != "injection"]
    if compared.empty:
        return common.nothing_to_draw(TITLE, "No two runs of PyTorch versions were compared.", _COLUMNS)
    rows = torch_common.folded(compared)
    versions = torch_common.versions_of(rows)
    columns = _columns(rows)
    drawn = _cells(rows, columns)
    present = common.unique(drawn["verdict"])
    chart, width = _chart(drawn, [label for label, _ in columns], _row_keys(rows), present)
    title, support, notes = _findings(rows)
    return Figure(
        chart,
        rows[_COLUMNS],
        title,
        torch_common.conditions(environments, versions, common.unique(rows["documents"])),
        support,
        [*notes, torch_common.failures(environments, versions)],
        _CAPTION,
        width=max(760, width),
    )


def _columns(rows: pd.DataFrame) -> list[tuple[str, list[Pair]]]:
    """Heading (lines divided by newlines) and pairs of each column: repeats first, then the pairs of versions."""
    pairs = torch_common.pairs_of(rows)
    repeats = [pair for pair in pairs if pair[0] == pair[1]]
    equal = [pair for pair in repeats if (torch_common.of_pair(rows, pair)["verdict"] == "equal").all()]
    columns: list[tuple[str, list[Pair]]] = []
    if len(repeats) > _FOLD_REPEATS and len(equal) > 1:
        words = "all" if len(equal) == len(repeats) else "other"
        folded = (f"{words} {len(equal)}\nrepeated", equal)
        columns = [
            folded,
            *(
                (f"{left}\nrepeated", [(left, right)])
                for left, right in repeats
                if (left, right) not in equal
            ),
        ]
    else:
        columns = [(f"{left}\nrepeated", [(left, right)]) for left, right in repeats]
    return columns + [(f"{left}\n→ {right}", [(left, right)]) for left, right in pairs if left != right]


def _row_keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Stage and name of each row of the heat map, in the order of the work."""
    found = list(dict.fromkeys(zip(rows["stage"], rows["name"], strict=True)))
    stages = [*_STAGES, *common.unique(rows["stage"])]
    position = {key: number for number, key in enumerate(found)}

    def order(key: tuple[str, str]) -> tuple[int, int, int]:
        stage, name = key
        known = stage != "final" and name in _ORDER
        return stages.index(stage), _ORDER.index(name) if known else len(_ORDER), position[key]

    return sorted(found, key=order)


def _cells(rows: pd.DataFrame, columns: Sequence[tuple[str, list[Pair]]]) -> pd.DataFrame:
    """A row for each cell; a pair that failed as a whole fails in every artifact."""
    keys = pd.DataFrame(_row_keys(rows), columns=["stage", "name"])
    parts = []
    for label, pairs in columns:
        of_column = rows[
            [pair in pairs for pair in zip(rows["left_version"], rows["right_version"], strict=True)]
        ]
        if (of_column["verdict"] == "run failed").all():
            told = of_column.iloc[:1][["pair", "left_outcome", "right_outcome"]]
            of_column = keys.merge(told, how="cross").assign(verdict="run failed", whole=True)
        elif len(pairs) > 1:
            of_column = of_column.drop_duplicates(["stage", "name"]).assign(
                pair=f"{len(pairs)} versions, each repeated"
            )
        parts.append(of_column.assign(column=label))
    cells = pd.concat(parts, ignore_index=True)
    fractions = cells["equal_fraction"] if "equal_fraction" in cells else pd.Series(float("nan"), cells.index)
    words = pd.Series(
        [
            torch_common.cell_words(verdict, fraction)
            for verdict, fraction in zip(cells["verdict"], fractions, strict=True)
        ],
        cells.index,
    )
    if "whole" in cells:  # said once in each stage
        words = words.mask(cells["whole"].eq(True) & cells.duplicated(["column", "stage"]), "")
        cells = cells.drop(columns="whole")
    return cells.assign(row=cells["stage"] + "/" + cells["name"], words=words)


def _chart(
    cells: pd.DataFrame, labels: list[str], keys: list[tuple[str, str]], present: list[str]
) -> tuple[common.Chart, int]:
    """The heat map in blocks that fit the page, and its width (pixels)."""
    few = len(labels) <= _SIDE_BY_SIDE
    cell = (
        82
        if len(labels) <= 4
        else 60
        if few
        else max(51, min(60, (common.WIDEST - _NAMES - 40) // _MOST_COLUMNS))
    )
    legend = 3 if few else 5
    if few:
        halves = [half for half in _halves(keys) if half]
        panels = [_panel(cells, labels, half, cell, present, legend) for half in halves]
        width = len(halves) * (_NAMES + cell * len(labels) + 30)
        return alt.hconcat(*panels, spacing=34).resolve_scale(color="shared"), width
    blocks = [labels[start : start + _MOST_COLUMNS] for start in range(0, len(labels), _MOST_COLUMNS)]
    panels = [_panel(cells, block, keys, cell, present, legend) for block in blocks]
    chart: common.Chart = alt.vconcat(*panels, spacing=26).resolve_scale(color="shared")
    return chart, _NAMES + cell * len(blocks[0]) + 40


def _halves(keys: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The rows in two blocks of about equal length, no stage in both."""
    stages = common.unique(stage for stage, _ in keys)
    lengths = [sum(stage == each for stage, _ in keys) + 1 for each in stages]
    cut = min(
        range(1, len(stages) + 1), key=lambda number: abs(sum(lengths[:number]) - sum(lengths[number:]))
    )
    first = set(stages[:cut])
    return [[key for key in keys if key[0] in first], [key for key in keys if key[0] not in first]]


def _panel(
    cells: pd.DataFrame,
    labels: list[str],
    keys: list[tuple[str, str]],
    cell: int,
    present: list[str],
    legend: int,
) -> common.Chart:
    order, names = [], []
    for number, (stage, name) in enumerate(keys):
        if number == 0 or keys[number - 1][0] != stage:
            order.append(f"{stage}:")
            names.append({"row": f"{stage}:", "words": _STAGES.get(stage, stage), "heading": True})
        order.append(f"{stage}/{name}")
        names.append({"row": f"{stage}/{name}", "words": name, "heading": False})
    shown = cells[cells["row"].isin(order) & cells["column"].isin(labels)]
    y = alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=None)
    x = alt.X(
        "column:N",
        sort=labels,
        scale=alt.Scale(domain=labels),
        title=None,
        axis=alt.Axis(
            orient="top", labelAngle=0, labelExpr="split(datum.value, '\\n')", labelLineHeight=12, domain=False,
            ticks=False, labelPadding=-_CELL_HEIGHT + 19, labelOverlap=False, labelLimit=cell, labelFontSize=10.5,
        ),
    )  # fmt: skip
    colour = torch_common.verdict_colour(present, legend)
    base = alt.Chart(shown).encode(x=x, y=y)
    rectangles = base.mark_rect(stroke="white", strokeWidth=1.5, aria=False).encode(
        color=colour, tooltip=[*torch_common.artifact_tooltip(), "left_outcome:N", "right_outcome:N"]
    )
    ink = alt.condition(
        alt.FieldOneOfPredicate("verdict", torch_common.DARK), alt.value("white"), alt.value(common.INK)
    )
    texts = base.transform_filter(alt.datum.words != "").mark_text(fontSize=10, aria=False)
    headings = alt.Chart(pd.DataFrame(names)).encode(
        x=alt.value(-_NAMES),
        y=alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), axis=None),
        text="words:N",
    )
    layers = [
        rectangles,
        texts.encode(text="words:N", color=ink),
        headings.transform_filter(alt.datum.heading).mark_text(
            align="left", fontWeight="bold", color=common.INK, aria=False
        ),
        headings.transform_filter(~alt.datum.heading).mark_text(
            align="left", dx=10, color=common.INK, aria=False
        ),
    ]
    return alt.layer(*layers).properties(
        width=cell * len(labels), height=_CELL_HEIGHT * len(order), view=alt.ViewBackground(stroke=None)
    )


# Sentences


def _findings(rows: pd.DataFrame) -> tuple[str, str, list[str]]:
    """Title, noise floor, notes."""
    repeats = rows[rows["kind"] == "repeat"]
    steps = rows[rows["kind"] == "versions"]
    notes = [_within(steps), _first_changes(steps), _order_only(steps), _failed(rows)]
    if steps.empty:
        unequal = _unequal(repeats)
        words = "in every artifact" if not unequal else f"but for {common.listed(unequal)}"
        failed = (repeats["verdict"] == "run failed").all()
        versions = common.listed(torch_common.versions_of(repeats))
        if failed:
            return f"Nothing can be told of PyTorch {versions}: a run did not complete", "", notes
        return f"PyTorch {versions} makes the same index twice, equal {words}", _noise(repeats), notes
    changed: list[tuple[Pair, int, int]] = []
    same: list[tuple[Pair, int, int]] = []
    for pair in torch_common.pairs_of(steps):
        final = _final(torch_common.of_pair(steps, pair))
        if (final["verdict"] == "run failed").any():
            continue
        different = int((~final["verdict"].isin(torch_common.SETTLED)).sum())
        (changed if different else same).append((pair, different, len(final)))
    told = len(changed) + len(same)
    if not told:
        return "No step between PyTorch versions can be told: a run did not complete", _noise(repeats), notes
    if told == 1:
        pair, different, total = (changed or same)[0]
        title = f"{torch_common.step(pair)} changes {different} of {total} final artifacts"
        if not different:
            of_pair = _final(torch_common.of_pair(steps, pair))
            orders = common.unique(of_pair.loc[of_pair["verdict"] == "equal up to order", "name"])
            what = f"only the order of {common.listed(orders)}" if orders else "no final artifact"
            title = f"{torch_common.step(pair)} changes {what}"
    elif changed:
        most = changed[:4]
        named = [f"{torch_common.step(pair)} ({different} of {total})" for pair, different, total in most]
        if len(changed) > len(most):
            named.append(f"{len(changed) - len(most)} more")
        counted = f"{len(changed)} of {told} steps between PyTorch versions change final artifacts"
        title = f"{counted}: {common.listed(named)}"
    else:
        title = f"None of {told} steps between PyTorch versions changes a final artifact"
    return title, _noise(repeats), notes


def _final(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["stage"] == "final"]


def _unequal(repeats: pd.DataFrame) -> list[str]:
    """Artifacts of repeats that are not equal bit for bit, the stage in brackets."""
    different = repeats[~repeats["verdict"].isin(["equal", "run failed"])]
    return [
        f"{row.name_} ({_STAGES.get(row.stage, row.stage)})"
        for row in common.each_row(different.rename(columns={"name": "name_"}))
    ]


def _noise(repeats: pd.DataFrame) -> str:
    measured = repeats[repeats["verdict"] != "run failed"]
    if measured.empty:
        return "No version was run twice, so the noise floor is not known."
    total = measured["compared"].sum()
    unequal = _unequal(measured)
    versions = len(torch_common.versions_of(measured))
    each = "1 version" if versions == 1 else f"each of {versions} versions"
    if not unequal:
        return f"Noise floor: {each} run twice makes all {common.count(total)} artifacts equal, bit for bit."
    named = common.listed(list(dict.fromkeys(unequal))[:5])
    return f"Noise floor: run twice, versions already differ in {named}: what differs there differs without a cause."


def _within(steps: pd.DataFrame) -> str:
    """How many of the final artifacts that change are within a tolerance."""
    final = _final(steps)
    counts = final["verdict"].value_counts()
    changed = sum(counts.drop([*torch_common.SETTLED, "run failed"], errors="ignore"))
    within = [
        f"{counts[verdict]} {'is' if counts[verdict] == 1 else 'are'} within {words}"
        for verdict, words in [
            ("within tolerance", "the default tolerance"),
            ("within bitsandbytes tolerance", "bitsandbytes’ only"),
        ]
        if verdict in counts
    ]
    return f"Of {changed} final artifacts that change, {common.listed(within)}." if within else ""


def _first_changes(steps: pd.DataFrame) -> str:
    """The first intermediate artifact in the order of the work that differs, for each step where one does."""
    position = {key: number for number, key in enumerate(_row_keys(steps))}
    found = {}
    for pair in torch_common.pairs_of(steps):
        of_pair = torch_common.of_pair(steps, pair)
        changed = of_pair[~of_pair["verdict"].isin([*torch_common.SETTLED, "run failed"])]
        keys = sorted(
            (key for key in zip(changed["stage"], changed["name"], strict=True) if key[0] != "final"),
            key=position.__getitem__,
        )
        if keys:
            found[torch_common.step(pair)] = f"{keys[0][1]} ({keys[0][0]})"
    if not found:
        return ""
    words: dict[str, list[str]] = {}
    for name, first in found.items():
        words.setdefault(first, []).append(name)
    each = [f"{first} in {common.listed(names[:4])}" for first, names in words.items()]
    return f"First intermediate artifact that changes, in the order of the work: {'; '.join(each[:4])}."


def _order_only(steps: pd.DataFrame) -> str:
    """Artifacts in which only the order differs."""
    only = steps[steps["verdict"] == "equal up to order"]
    named = common.unique(only["name"])
    return f"Only the order differs, in at least one step: {common.listed(named)}." if named else ""


def _failed(rows: pd.DataFrame) -> str:
    failed = [
        torch_common.step(pair)
        for pair in torch_common.pairs_of(rows)
        if (torch_common.of_pair(rows, pair)["verdict"] == "run failed").any()
    ]
    return f"Not to be told, because a run did not complete: {common.listed(failed[:6])}." if failed else ""

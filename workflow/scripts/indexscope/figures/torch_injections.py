"""What makes two PyTorch versions build one index: a matrix of injection by final artifact."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "Injected artifacts"
_CAPTION = (
    "A row is a run of the right version that was given artifacts of the left one where it would have made its own; a "
    "column is an artifact of the finished index, compared with the left version's. A percentage is the part of its "
    "elements that have the same bits. A frame marks the smallest injection after which all final artifacts are equal, "
    "exactly or up to order: no injection of fewer artifacts, or of a part of these, does it among those that were "
    "tried. What is equal after an injection differs only because of what was injected; what still differs has a "
    "cause of its own further on."
)
_COLUMNS = [
    "left_version", "right_version", "injected", "smallest", "injection_verdict", "artifacts_injected", "documents",
    "name", "artifact", "verdict", "compared", "settled", "compared_as", "equal_fraction",
    "mean_absolute_difference", "max_absolute_difference", "max_ulp_distance", "left_outcome", "right_outcome",
]  # fmt: skip
_NONE = "nothing"
_NAMES, _CELL, _CELL_HEIGHT, _VERDICT = 230, 76, 24, 150
_MOST_PANELS = 12


def draw(injections: pd.DataFrame, artifacts: pd.DataFrame, environments: pd.DataFrame) -> Figure:
    """Args: the tables torch_injections, torch_artifacts and torch_environments."""
    if injections.empty:
        return common.nothing_to_draw(TITLE, "No pair of versions was compared with an injection.", _COLUMNS)
    final = artifacts[(artifacts["stage"] == "final") & (artifacts["kind"] != "repeat")]
    told = injections.rename(columns={"verdict": "injection_verdict"})[
        [*torch_common.VERSIONS, "injected", "artifacts_injected", "smallest", "injection_verdict"]
    ]
    rows = torch_common.folded(final).merge(told, on=[*torch_common.VERSIONS, "injected"])
    rows = rows.assign(
        row=rows["injected"].replace("", _NONE),
        words=[torch_common.cell_words(row.verdict, row.equal_fraction) for row in common.each_row(rows)],
    )
    pairs, quiet = _worth_drawing(injections)
    names = common.unique(rows["name"])
    drawn = pairs[:_MOST_PANELS]
    shown = pd.concat([torch_common.of_pair(rows, pair) for pair in drawn]) if drawn else rows
    present = common.unique(shown["verdict"])
    panels = [
        _panel(torch_common.of_pair(rows, pair), torch_common.of_pair(injections, pair), pair, names, present)
        for pair in drawn
    ]
    title, notes = _findings(injections, pairs)
    if quiet:
        notes.append(
            f"Equal without an injection{', not drawn' if quiet[0] not in drawn else ''}: "
            f"{torch_common.steps_words(quiet)}."
        )
    if len(pairs) > len(drawn):
        notes.append(f"{len(pairs) - len(drawn)} more pairs are in the CSV.")
    versions = torch_common.versions_of(injections)
    chart: common.Chart = alt.vconcat(*panels, spacing=28).resolve_scale(color="shared")
    return Figure(
        chart,
        rows[_COLUMNS],
        title,
        torch_common.conditions(environments, versions, common.unique(rows["documents"])),
        "",
        [*notes, torch_common.failures(environments, versions)],
        _CAPTION,
        width=max(760, _NAMES + _CELL * len(names) + _VERDICT),
    )


def _worth_drawing(injections: pd.DataFrame) -> tuple[list[Pair], list[Pair]]:
    """Pairs that an injection could change, and those that are equal without one (of these one, where all are)."""
    quiet = [
        pair
        for pair in torch_common.pairs_of(injections)
        if (torch_common.of_pair(injections, pair)["verdict"] == "all equal").all()
    ]
    loud = [pair for pair in torch_common.pairs_of(injections) if pair not in quiet]
    return (loud, quiet) if loud else (quiet[:1], quiet)


def _panel(
    rows: pd.DataFrame,
    injections: pd.DataFrame,
    pair: Pair,
    names: list[str],
    present: list[str],
) -> common.Chart:
    order = list(injections["injected"].replace("", _NONE))
    y = alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=None)
    x = alt.X(
        "name:N",
        sort=names,
        scale=alt.Scale(domain=names),
        title=None,
        axis=alt.Axis(
            orient="top", labelAngle=0, domain=False, ticks=False, labelLimit=_CELL + 6, labelFontSize=10
        ),
    )
    colour = torch_common.verdict_colour(present)  # in every panel the same, so that they make one legend
    base = alt.Chart(rows).encode(x=x, y=y)
    ink = alt.condition(
        alt.FieldOneOfPredicate("verdict", torch_common.DARK), alt.value("white"), alt.value(common.INK)
    )
    cells = base.mark_rect(stroke="white", strokeWidth=2, aria=False).encode(
        color=colour, tooltip=[alt.Tooltip("row:N", title="injected"), *torch_common.artifact_tooltip()]
    )
    texts = base.transform_filter(alt.datum.words != "").mark_text(fontSize=10.5, aria=False)
    said = injections.assign(
        row=injections["injected"].replace("", _NONE),
        framed=injections["smallest"] & (injections["injected"] != ""),
        words=[_verdict_words(row) for row in common.each_row(injections)],
    )[["row", "words", "framed"]]
    right = alt.Chart(said).encode(
        y=alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), axis=None),
    )
    frame = right.transform_filter(alt.datum.framed).mark_rect(
        fillOpacity=0, stroke=common.INK, strokeWidth=2, aria=False
    )
    layers = [
        cells,
        texts.encode(text="words:N", color=ink),
        frame.encode(x=alt.value(-1), x2=alt.value(_CELL * len(names) + 1)),
    ]
    for framed in (True, False):
        weight: Literal["bold", "normal"] = "bold" if framed else "normal"
        of_weight = right.transform_filter(alt.datum.framed == framed)
        layers += [
            of_weight.mark_text(align="right", dx=-8, fontWeight=weight, color=common.INK, aria=False).encode(
                x=alt.value(0), text="row:N"
            ),
            of_weight.mark_text(align="left", dx=8, fontWeight=weight, color=common.INK, aria=False).encode(
                x=alt.value(_CELL * len(names)), text="words:N"
            ),
        ]
    return alt.layer(*layers).properties(
        width=_CELL * len(names),
        height=_CELL_HEIGHT * len(order),
        view=alt.ViewBackground(stroke=None),
        title=alt.TitleParams(
            f"{pair[1]}, given artifacts of {pair[0]}", anchor="start", fontSize=13, offset=8
        ),
    )


def _verdict_words(row: object) -> str:
    """Such as `8 of 9 equal`; with those equal up to order apart."""
    verdict = getattr(row, "verdict", "")
    if verdict == "run failed":
        return "a run failed"
    which = ": the smallest" if getattr(row, "smallest", False) and getattr(row, "injected", "") else ""
    equal, ordered, total = (
        int(getattr(row, name)) for name in ("equal", "equal_up_to_order", "final_artifacts")
    )
    if equal == total:
        return f"all equal{which}"
    if ordered == total:
        return f"equal up to order{which}"
    more = f", {ordered - equal} more up to order" if ordered > equal else ""
    return f"{equal} of {total} equal{more}"


def _findings(injections: pd.DataFrame, pairs: list[Pair]) -> tuple[str, list[str]]:
    """The smallest injection of each pair, and what the others leave."""
    solved: dict[str, str] = {}
    unsolved, notes = [], []
    alone = ""
    for pair in pairs:
        rows = torch_common.of_pair(injections, pair)
        plain = rows[rows["injected"] == ""]
        untold = (rows["verdict"] == "run failed").all()
        if untold:
            notes.append(f"{torch_common.step(pair)}: not to be told, because a run did not complete.")
        if untold or (plain["verdict"] == "all equal").any():
            continue
        smallest = rows[rows["smallest"] & (rows["injected"] != "")]
        if smallest.empty:
            unsolved.append(torch_common.step(pair))
        else:
            row = smallest.iloc[0]
            exactly = "" if row["verdict"] == "all equal" else " up to order"
            given = " or ".join(smallest["injected"])
            solved[torch_common.step(pair)] = f"{given} makes all final artifacts equal{exactly}"
            alone = (  # the title, should there be no other pair
                f"Given {given} of {pair[0]}, {pair[1]} makes the same index: all {row['final_artifacts']} final "
                f"artifacts are equal{exactly}"
            )
        failed = rows.loc[rows["verdict"] == "run failed", "injected"].replace("", _NONE)
        if not failed.empty:
            notes.append(
                f"{torch_common.step(pair)}: runs did not complete with {common.listed(list(failed))}."
            )
        if len(pairs) == 1:
            notes += _remaining(rows)
    if not solved and not unsolved:
        untold_words = "No injection can be told: a run did not complete"
        return (
            untold_words
            if notes
            else "Nothing needs an injection: all final artifacts are equal without one",
            notes,
        )
    if len(solved) == 1 and not unsolved:
        return alone, notes
    parts = []
    by_words: dict[str, list[str]] = {}
    for name, words in solved.items():
        by_words.setdefault(words, []).append(name)
    parts = [f"{words} in {_some(names)}" for words, names in by_words.items()]
    if not parts:
        return f"No injection makes all final artifacts equal in {_some(unsolved)}", notes
    if unsolved:
        parts.append(f"none does in {_some(unsolved)}")
    return "; ".join(parts), notes


def _remaining(rows: pd.DataFrame) -> list[str]:
    """A sentence for each injection of one pair that leaves differences."""
    return [
        f"{torch_common.step((row.left_version, row.right_version))}: given {row.injected}, {row.differing} still "
        f"{'differ' if ', ' in row.differing else 'differs'}."
        for row in common.each_row(rows[(rows["injected"] != "") & (rows["verdict"] == "some differ")])
    ]


def _some(names: list[str]) -> str:
    return common.listed(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])

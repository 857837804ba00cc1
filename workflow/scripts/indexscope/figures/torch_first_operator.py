"""Which operator is the first to give unequal output for equal input, for each text, batch and shape."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "The first operator that differs"
_CAPTION = (
    "Each operator of the left version's encoder was given again, in the right version, the inputs that it had in the "
    "left one: an operator differs only when equal inputs give unequal outputs, so that a difference is not blamed on "
    "what comes after it. Above: each pair of versions (and each version with itself, the noise floor) in each "
    "precision, and the steps of the index after encoding. Below, where something differs: the operators that do, in "
    "columns, with the calls that differ of those that were replayed; and for random tokens each batch size and "
    "sequence length, with how many of its fillings diverge. Operators that draw random numbers or work in place "
    "cannot be replayed and are not counted. That an operator differs on this machine says nothing of another CPU "
    "or of a GPU."
)
_COLUMNS = [
    "left_version", "right_version", "precision", "case", "input", "content", "batch_size", "sequence_length",
    "case_verdict", "first_operator", "causes", "final_equal", "same_sequence", "operator",
    "is_first", "calls", "differing_calls", "first_module", "max_absolute_difference", "max_ulp_distance", "detail",
]  # fmt: skip
_INDEX = "index steps"
_FIRST, _LATER, _EQUAL = "differs first", "differs too, later", "equal"
_ANOTHER, _SOME = "another operator differs first", "only some fillings diverge"
COLOURS = {
    _FIRST: torch_common.VERDICTS["differs"],
    _LATER: "#E8A791",
    _ANOTHER: "#C51B7D",
    _SOME: "#D9A441",
    _EQUAL: torch_common.VERDICTS["equal"],
}
_STATES = {
    "diverges": torch_common.VERDICTS["differs"],
    "equal": torch_common.VERDICTS["equal"],
    "unsupported": torch_common.UNSUPPORTED,
    "failed": torch_common.VERDICTS["run failed"],
}
_CASE = ["precision", "case", "input", "content", "batch_size", "sequence_length"]
_NAMES, _OVERVIEW_CELL, _CELL, _CELL_HEIGHT, _GRID_CELL = 190, 250, 112, 22, 54
_FOLD_REPEATS, _MOST_DETAILS, _MOST_OPERATORS = 3, 8, 8
_LEFT_WIDTH = 640  # the grid stands beside a matrix that is no wider


def draw(divergence: pd.DataFrame, operators: pd.DataFrame, environments: pd.DataFrame) -> Figure:
    """Args: the tables torch_divergence, torch_operators and torch_environments."""
    if divergence.empty:
        return common.nothing_to_draw(TITLE, "No operator was replayed between versions.", _COLUMNS)
    cases = divergence.assign(part=divergence["precision"].where(divergence["input"] != "index", _INDEX))
    rows = _rows(cases, operators)
    details = [
        (pair, part)
        for pair in torch_common.pairs_of(cases)
        for part in _parts(cases)
        if (_of(cases, pair, part)["verdict"] == "diverges").any()
    ]
    drawn = details[:_MOST_DETAILS]
    panels = [_overview(cases)]
    width = _NAMES + _OVERVIEW_CELL * len(_parts(cases))
    for number, (pair, part) in enumerate(drawn):
        panel, panel_width = _detail(
            _of(cases, pair, part), _of(rows, pair, part), pair, part, legend=number == 0
        )
        panels.append(panel)
        width = max(width, panel_width)
    title, notes = _findings(cases, environments)
    if len(details) > len(drawn):
        notes.append(f"{len(details) - len(drawn)} more pairs and precisions that differ are in the CSV.")
    versions = torch_common.versions_of(cases)
    chart: common.Chart = alt.vconcat(*panels, spacing=30).resolve_scale(color="independent")
    return Figure(
        chart,
        rows[_COLUMNS],
        title,
        f"{torch_common.conditions(environments, versions)} · {_case_counts(cases)}",
        _noise(cases),
        [*notes, torch_common.failures(environments, versions)],
        _CAPTION,
        width=min(common.WIDEST, max(760, width)),
    )


def _rows(cases: pd.DataFrame, operators: pd.DataFrame) -> pd.DataFrame:
    """One row for each case and operator that differs in it or in another case of its pair and part; one without an
    operator for a case where none differs anywhere."""
    key = [*torch_common.VERSIONS, "case"]
    replayed = operators[operators["verdict"] != "not replayed"]
    replayed = replayed.assign(_differs=replayed["verdict"] != "equal")
    counted = (
        replayed.groupby([*key, "operator"], sort=False)
        .agg(
            calls=("_differs", "size"),
            differing_calls=("_differs", "sum"),
            max_absolute_difference=("max_absolute_difference", "max"),
            max_ulp_distance=("max_ulp_distance", "max"),
        )
        .reset_index()
    )
    described = cases.rename(columns={"verdict": "case_verdict"})[
        [*torch_common.VERSIONS, *_CASE, "part", "case_verdict", "first_operator", "first_module",
         "causes", "final_equal", "same_sequence", "detail"]
    ]  # fmt: skip
    merged = described.merge(counted, on=key, how="left")
    group = [*torch_common.VERSIONS, "part", "operator"]
    guilty = merged.groupby(group, sort=False, dropna=False)["differing_calls"].transform("sum") > 0
    shown = merged[guilty]
    covered = pd.MultiIndex.from_frame(shown[key])
    others = described[~pd.MultiIndex.from_frame(described[key]).isin(covered)]
    rows = pd.concat([shown, others], ignore_index=True)
    return rows.assign(is_first=rows["operator"].eq(rows["first_operator"]) & rows["operator"].notna())


def _of(frame: pd.DataFrame, pair: Pair, part: str) -> pd.DataFrame:
    rows = torch_common.of_pair(frame, pair)
    return rows[rows["part"] == part]


def _parts(cases: pd.DataFrame) -> list[str]:
    """The precisions, then the index steps."""
    found = set(cases["part"])
    return [
        part for part in common.unique([*torch_common.PRECISIONS, *cases["part"]]) if part in found - {_INDEX}
    ] + [part for part in (_INDEX,) if part in found]


def _part_words(part: str) -> str:
    return torch_common.PRECISIONS.get(part, part)


# Above: every pair and precision


def _overview(cases: pd.DataFrame) -> common.Chart:
    parts = _parts(cases)
    pairs = torch_common.pairs_of(cases)
    repeats = [pair for pair in pairs if pair[0] == pair[1]]
    calm = [
        pair
        for pair in repeats
        if torch_common.of_pair(cases, pair)["verdict"].isin(["equal", "unsupported"]).all()
    ]
    groups = [(torch_common.step(pair).replace("repeated", "with itself"), [pair]) for pair in pairs]
    if len(repeats) > _FOLD_REPEATS and len(calm) > 1:
        rest = [(label, of_label) for label, of_label in groups if of_label[0] not in calm]
        groups = [(f"{len(calm)} versions, each with itself", calm), *rest]
    cells = []
    for label, of_label in groups:
        for part in parts:
            rows = pd.concat([_of(cases, pair, part) for pair in of_label])
            if len(rows):
                state, words = _state(rows)
                cells.append({"pair": label, "part": _part_words(part), "state": state, "words": words})
    order = [label for label, _ in groups]
    columns = [_part_words(part) for part in parts]
    base = alt.Chart(pd.DataFrame(cells)).encode(
        x=alt.X(
            "part:N",
            sort=columns,
            scale=alt.Scale(domain=columns),
            title=None,
            axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, labelLimit=_OVERVIEW_CELL),
        ),
        y=alt.Y(
            "pair:N",
            sort=order,
            scale=alt.Scale(domain=order),
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labelPadding=8, minExtent=_NAMES, maxExtent=_NAMES),
        ),
    )
    colour = alt.Color(
        "state:N", scale=alt.Scale(domain=list(_STATES), range=list(_STATES.values())), legend=None
    )
    ink = alt.condition(
        alt.FieldOneOfPredicate("state", ["diverges", "failed"]), alt.value("white"), alt.value(common.INK)
    )
    return alt.layer(
        base.mark_rect(stroke="white", strokeWidth=2, aria=False).encode(
            color=colour, tooltip=["pair:N", alt.Tooltip("part:N", title="precision"), "words:N"]
        ),
        base.mark_text(fontSize=10.5, limit=_OVERVIEW_CELL - 8, aria=False).encode(text="words:N", color=ink),
    ).properties(
        width=_OVERVIEW_CELL * len(columns),
        height=_CELL_HEIGHT * len(order),
        view=alt.ViewBackground(stroke=None),
    )


def _state(cases: pd.DataFrame) -> tuple[str, str]:
    """State and words of one pair and part."""
    counts = cases["verdict"].value_counts()
    told = cases[cases["verdict"].isin(["equal", "diverges"])]
    total = len(told)
    diverging = told[told["verdict"] == "diverges"]
    if len(diverging):
        operator, number = _main(diverging)
        where = f"first in {number} of {total}" if total > 1 else "first"
        return "diverges", f"{operator} {where}"
    if total:
        words = f"equal in all {common.count(total)} cases" if total > 1 else "equal"
        return "equal", words + (f", {counts['failed']} failed" if "failed" in counts else "")
    state = str(counts.index[0])
    return state, state


def _main(diverging: pd.DataFrame) -> tuple[str, int]:
    """The operator that is first most often, and in how many cases."""
    counts = diverging["first_operator"].value_counts()
    return str(counts.index[0]), int(counts.iloc[0])


# Below: each pair and precision with a difference


def _detail(
    cases: pd.DataFrame, rows: pd.DataFrame, pair: Pair, part: str, *, legend: bool
) -> tuple[common.Chart, int]:
    matrix, matrix_width = _matrix(cases, rows, legend=legend)
    tokens = cases[cases["batch_size"].notna() & (cases["input"] == "random tokens")]
    title = alt.TitleParams(
        f"{torch_common.step(pair)}, {_part_words(part)}", fontSize=13, offset=8, anchor="start"
    )
    if tokens.empty:
        return matrix.properties(title=title), matrix_width
    grid, grid_width = _grid(tokens, _main(cases[cases["verdict"] == "diverges"])[0], legend=legend)
    if matrix_width <= _LEFT_WIDTH and matrix_width + grid_width + 80 <= common.WIDEST:
        joined: common.Chart = alt.hconcat(matrix, grid, spacing=40)
        width = matrix_width + grid_width + 80
    else:
        joined, width = alt.vconcat(matrix, grid, spacing=16), max(matrix_width, grid_width + _NAMES)
    return joined.resolve_scale(color="independent").properties(title=title), width


def _matrix(cases: pd.DataFrame, rows: pd.DataFrame, *, legend: bool) -> tuple[common.Chart, int]:
    labels = {row.case: _row_label(row) for row in common.each_row(cases)}
    order = common.unique(labels[case] for case in cases["case"])
    found = rows[rows["operator"].notna()]
    # In the order in which they first differ, the one that is first most often in front.
    names = common.unique(
        [*found.loc[found["is_first"], "operator"].value_counts().index, *found["operator"]]
    )
    names = names[:_MOST_OPERATORS]
    found = found[found["operator"].isin(names)].assign(row=[labels[case] for case in found["case"]])
    groups = found.groupby(["row", "operator"], sort=False)
    cells = groups.agg(
        cases=("case", "nunique"),
        first=("is_first", "sum"),
        calls=("calls", "sum"),
        differing=("differing_calls", "sum"),
        largest=("max_absolute_difference", "max"),
        ulp=("max_ulp_distance", "max"),
    ).reset_index()
    cells = cells.assign(
        state=[
            _FIRST if row.first else _LATER if row.differing else _EQUAL for row in common.each_row(cells)
        ],
        words=[
            f"{row.differing:.0f} of {row.calls:.0f} call{'s' * (row.calls > 1)}" if row.differing else ""
            for row in common.each_row(cells)
        ],
    )
    depth = max((len(_heading(name)) for name in names), default=1)
    heading = {name: "\n".join([*[" "] * (depth - len(_heading(name))), *_heading(name)]) for name in names}
    cells = cells.assign(column=cells["operator"].map(heading))
    columns = list(heading.values())
    base = alt.Chart(cells).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            scale=alt.Scale(domain=columns),
            title=None,
            axis=alt.Axis(
                orient="top", labelAngle=0, labelExpr="split(datum.value, '\\n')", labelLineHeight=12, domain=False,
                ticks=False, labelLimit=_CELL, labelFontSize=10.5, labelOverlap=False,
                labelPadding=5 + 12 * (depth - 1),
            ),
        ),
        y=alt.Y(
            "row:N",
            sort=order,
            scale=alt.Scale(domain=order),
            title=None,
            axis=alt.Axis(
                domain=False, ticks=False, labelPadding=8, labelLimit=_NAMES - 8, minExtent=_NAMES, maxExtent=_NAMES
            ),
        ),
    )  # fmt: skip
    ink = alt.condition(
        alt.FieldEqualPredicate(field="state", equal=_FIRST), alt.value("white"), alt.value(common.INK)
    )
    chart = alt.layer(
        base.mark_rect(stroke="white", strokeWidth=2, aria=False).encode(
            color=_colour([_FIRST, _LATER, _EQUAL], legend=legend),
            tooltip=[
                alt.Tooltip("row:N", title="input"),
                *("operator:N", alt.Tooltip("cases:Q", title="cases")),
                alt.Tooltip("first:Q", title="of them first to differ"),
                alt.Tooltip("differing:Q", title="calls that differ"),
                alt.Tooltip("calls:Q", title="calls replayed"),
                alt.Tooltip("largest:Q", title="largest absolute difference", format=".3g"),
                alt.Tooltip("ulp:Q", title="largest ULP distance"),
            ],
        ),
        base.transform_filter(alt.datum.words != "")
        .mark_text(fontSize=10, aria=False)
        .encode(text="words:N", color=ink),
    ).properties(
        width=_CELL * len(columns), height=_CELL_HEIGHT * len(order), view=alt.ViewBackground(stroke=None)
    )
    return chart, _NAMES + _CELL * len(columns)


def _colour(states: Sequence[str], *, legend: bool) -> alt.Color:
    return alt.Color(
        "state:N",
        title=None,
        scale=alt.Scale(domain=list(states), range=[COLOURS[state] for state in states]),
        legend=alt.Legend(
            orient="bottom", symbolType="square", symbolStrokeWidth=0.5, symbolStrokeColor="#8A8A8A", symbolSize=140,
            direction="horizontal", columns=3, labelLimit=260,
        )
        if legend
        else None,
    )  # fmt: skip


def _row_label(row: object) -> str:
    """What is encoded; the random tokens of one batch size together."""
    kind, content = str(getattr(row, "input", "")), str(getattr(row, "content", ""))
    batch, length = getattr(row, "batch_size", None), getattr(row, "sequence_length", None)
    if kind == "text":
        return f"text “{content if len(content) <= 18 else content[:17] + '…'}”"
    shape = "" if pd.isna(batch) or pd.isna(length) else f" ({batch:.0f} × {length:.0f})"
    if kind == "random tokens" and shape:
        return f"random tokens, batch of {batch:.0f}"
    if kind == "index":
        return content
    return f"{kind} {content}{shape}"


def _heading(operator: str) -> list[str]:
    """The operator's name in lines of a column's width, broken at dots."""
    lines: list[str] = []
    for number, word in enumerate(operator.split(".")):
        part = f".{word}" if number else word
        if lines and len(lines[-1]) + len(part) <= 19:
            lines[-1] += part
        else:
            lines.append(part)
    return lines


def _grid(tokens: pd.DataFrame, main: str, *, legend: bool) -> tuple[common.Chart, int]:
    """Batch size by sequence length: how many of the fillings diverge, and whether at `main`."""
    cells = []
    shapes = {(int(row.batch_size), int(row.sequence_length)) for row in common.each_row(tokens)}
    for batch, length in sorted(shapes):
        of_shape = tokens[(tokens["batch_size"] == batch) & (tokens["sequence_length"] == length)]
        told = of_shape[of_shape["verdict"].isin(["equal", "diverges"])]
        diverging = told[told["verdict"] == "diverges"]
        firsts = common.unique(diverging["first_operator"])
        state = _EQUAL if diverging.empty else _FIRST if firsts == [main] else _ANOTHER
        if 0 < len(diverging) < len(told):
            state = _SOME
        cells.append(
            {
                "batch": batch, "length": length, "state": state, "operators": ", ".join(firsts) or "none",
                "words": f"{len(diverging)} of {len(told)}" if len(told) else "failed", "fillings": len(told),
            }
        )  # fmt: skip
    lengths = sorted({length for _, length in shapes})
    batches = sorted({batch for batch, _ in shapes})
    cell = min(_GRID_CELL, (common.WIDEST - _NAMES - 40) // len(lengths))
    ink = alt.condition(
        alt.FieldOneOfPredicate("state", [_EQUAL, _SOME]), alt.value(common.INK), alt.value("white")
    )
    base = alt.Chart(pd.DataFrame(cells)).encode(
        x=alt.X(
            "length:O",
            sort=lengths,
            title="sequence length (tokens)",
            axis=alt.Axis(labelAngle=0, domain=False, ticks=False, orient="top"),
        ),
        y=alt.Y(
            "batch:O",
            sort=batches,
            title="batch size",
            axis=alt.Axis(domain=False, ticks=False),
        ),
    )
    states = [_FIRST, _ANOTHER, _SOME, _EQUAL]
    words = [f"red: {main} first", "magenta: another operator first", "ochre: only in some", "pale: in none"]
    layers = [
        base.mark_rect(stroke="white", strokeWidth=2, aria=False).encode(
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=states, range=[COLOURS[state] for state in states]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("batch:Q", title="batch size"),
                alt.Tooltip("length:Q", title="sequence length"),
                alt.Tooltip("words:N", title="fillings that diverge"),
                alt.Tooltip("operators:N", title="first operators"),
            ],
        )
    ]
    if cell >= 36:
        layers.append(base.mark_text(fontSize=10, aria=False).encode(text="words:N", color=ink))
    present = [
        word for state, word in zip(states, words, strict=True) if state in {each["state"] for each in cells}
    ]
    chart = alt.layer(*layers).properties(
        width=cell * len(lengths),
        height=28 * len(batches),
        view=alt.ViewBackground(stroke=None),
        title=alt.TitleParams(
            "random tokens: fillings that diverge",
            subtitle=common.wrap("; ".join(present), max(230, cell * len(lengths)), 5.5),
            fontSize=11, fontWeight="normal", subtitleFontSize=10, subtitlePadding=2, offset=6, anchor="start",
        ),
    )  # fmt: skip
    return chart, cell * len(lengths) + 60


# Sentences


def _case_counts(cases: pd.DataFrame) -> str:
    """Such as `2 texts, 2 corpus batches, 18 random tokens and 1 index, in 3 precisions`."""
    kinds = {
        "text": "text",
        "corpus batch": "corpus batch",
        "random tokens": "batch of random tokens",
        "index": "index",
    }
    plural = {"corpus batch": "corpus batches", "random tokens": "batches of random tokens"}
    parts = []
    for kind in common.unique([*kinds, *cases.loc[cases["input"] != "any", "input"]]):
        of_kind = cases[cases["input"] == kind]
        number = of_kind[["content", "batch_size", "sequence_length"]].drop_duplicates().shape[0]
        if number:
            parts.append(f"{number} {kinds.get(kind, kind) if number == 1 else plural.get(kind, kind + 's')}")
    precisions = cases.loc[cases["part"] != _INDEX, "precision"].nunique()
    return common.listed(parts) + (f", in {precisions} precisions" if precisions > 1 else "")


def _noise(cases: pd.DataFrame) -> str:
    same = cases[
        (cases["left_version"] == cases["right_version"]) & cases["verdict"].isin(["equal", "diverges"])
    ]
    if same.empty:
        return "No version was replayed with itself, so the noise floor is not known."
    versions = len(torch_common.versions_of(same))
    each = "1 version" if versions == 1 else f"each of {versions} versions"
    calls, differing = same["operators"].sum(), same["differing"].sum()
    if not differing:
        return (
            f"Noise floor: {each} given its own inputs gives equal outputs, in all {common.count(calls)} operators of "
            f"{common.count(len(same))} cases."
        )
    return (
        f"Noise floor: {each} given its own inputs already differs in {common.count(differing)} of "
        f"{common.count(calls)} operators; what differs there differs without a cause."
    )


def _findings(cases: pd.DataFrame, environments: pd.DataFrame) -> tuple[str, list[str]]:
    across = cases[cases["left_version"] != cases["right_version"]]
    told = across[across["verdict"].isin(["equal", "diverges"])]
    notes = [
        *(_tokens(told), _later(told), _causes(told, environments)),
        *(_hidden(told), _sequences(told), _unsupported(cases)),
    ]
    if across.empty:
        versions = common.listed(torch_common.versions_of(cases))
        return f"PyTorch {versions} with itself: no pair of versions to compare", notes
    if told.empty:
        return "No operator could be compared between versions", notes
    found = []
    for pair in torch_common.pairs_of(told):
        for part in _parts(told):
            rows = _of(told, pair, part)
            diverging = rows[rows["verdict"] == "diverges"]
            if len(diverging):
                operator, number = _main(diverging)
                found.append((pair, part, operator, number, len(rows)))
    if not found:
        return (
            f"No operator differs, in {common.count(len(told))} cases: "
            f"{torch_common.steps_words(torch_common.pairs_of(told))}"
        ), notes
    # One for each pair: its encoder's first precision, or the index steps.
    main: dict[Pair, tuple[str, str, int, int]] = {}
    for pair, part, operator, number, total in found:
        main.setdefault(pair, (part, operator, number, total))
    if len(main) == 1:
        ((pair, (part, operator, number, total)),) = main.items()
        where = (
            "in the index steps"
            if part == _INDEX
            else f"in all {total} inputs encoded"
            if number == total
            else f"in {number} of {total} inputs encoded"
        )
        return (
            f"{torch_common.step(pair)}: {operator} is the first operator that differs, {where}"
            + ("" if part == _INDEX else f" ({part})")
        ), notes
    by_operator: dict[str, list[str]] = {}
    for pair, (part, operator, number, total) in main.items():
        where = "index steps" if part == _INDEX else f"{number} of {total} inputs"
        by_operator.setdefault(operator, []).append(f"{torch_common.step(pair)} ({where})")
    parts = [
        f"{operator} in {common.listed(names if len(names) <= 3 else [*names[:2], f'{len(names) - 2} more'])}"
        for operator, names in by_operator.items()
    ]
    return f"First operator that differs: {'; '.join(parts[:4])}", notes


def _tokens(told: pd.DataFrame) -> str:
    """Whether what is encoded decides, or only its shape: fillings of one shape must give one result."""
    somewhere = told.groupby([*torch_common.VERSIONS, "part"])["differing"].transform("sum") > 0
    tokens = told[somewhere & (told["input"] == "random tokens") & told["batch_size"].notna()]
    key = [*torch_common.VERSIONS, "precision", "batch_size", "sequence_length"]
    if tokens.empty or tokens.groupby(key).size().max() < 2:
        return ""
    if not (tokens["verdict"] == "diverges").any():
        return ""
    firsts = tokens.assign(_first=tokens["first_operator"].fillna("none")).groupby(key)["_first"].nunique()
    same, total = int((firsts == 1).sum()), len(firsts)
    if same == total:
        return (
            f"It does not depend on the tokens: each of {total} shapes and precisions that were tried gives one "
            "result, with whatever tokens it is filled."
        )
    return (
        f"It depends on the tokens: in {total - same} of {total} shapes and precisions the first operator changes "
        "with the filling."
    )


def _later(told: pd.DataFrame) -> str:
    """The operators that differ, but are never the first."""
    words: dict[str, str] = {}
    for pair in torch_common.pairs_of(told):
        for part in _parts(told):
            rows = _of(told, pair, part)
            guilty = common.unique(name for row in rows["guilty"] for name in _operators(row))
            later = [name for name in guilty if name not in set(rows["first_operator"])]
            if later:
                named = common.listed([*later[:5], *([f"{len(later) - 5} more"] if len(later) > 5 else [])])
                words[f"{torch_common.step(pair)}, {_short(part)}"] = named
    each = [f"{name}: {named}" for name, named in list(words.items())[:3]]
    return f"Differ too, but never first: {'; '.join(each)}." if each else ""


def _operators(joined: object) -> list[str]:
    """The operators of a column such as `guilty`."""
    return [name for name in str(joined).split(", ") if name] if isinstance(joined, str) else []


def _causes(told: pd.DataFrame, environments: pd.DataFrame) -> str:
    """Why operators differ: what, held the same in both versions, makes their outputs equal."""
    words = {}
    for pair in torch_common.pairs_of(told):
        if said := torch_common.causes(told, environments, pair):
            words[torch_common.step(pair)] = said
    each = [f"{name}: {said}" for name, said in list(words.items())[:3]]
    return f"Why they differ. {' '.join(f'{text}.' for text in each)}" if each else ""


def _short(part: str) -> str:
    return _part_words(part).split(" (")[0]


def _hidden(told: pd.DataFrame) -> str:
    rows = told[(told["verdict"] == "diverges") & told["final_equal"].eq(True)]
    if rows.empty:
        return ""
    total = (told["verdict"] == "diverges").sum()
    return (
        f"In {len(rows)} of {total} cases with an operator that differs, what comes out at the end is equal all the "
        "same."
    )


def _sequences(told: pd.DataFrame) -> str:
    rows = told[told["same_sequence"].eq(False)]
    if rows.empty:
        return ""
    return (
        f"In {len(rows)} of {len(told)} cases the versions do not call the same operators in the same order; only "
        "those that both call are compared."
    )


def _unsupported(cases: pd.DataFrame) -> str:
    """Precisions that did not run, and why."""
    sentences = []
    for verdict, words in (("unsupported", "Not run here"), ("failed", "Failed")):
        rows = cases[cases["verdict"] == verdict]
        found: dict[str, str] = {}
        for part, of_part in rows.groupby("part", sort=False):
            reasons = common.unique(of_part["detail"])
            found[_short(str(part))] = (
                "; ".join(str(reason).rstrip(".") for reason in reasons[:2]) or "no reason given"
            )
        if found:
            sentences.append(f"{words}: {'; '.join(f'{part} ({reason})' for part, reason in found.items())}.")
    return " ".join(sentences)

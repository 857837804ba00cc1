"""What was published of pairs of PyTorch versions beside what was measured here: a table with marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "Published beside ours"
_CAPTION = (
    "Each line is what was published of one or more pairs of versions and what was measured here; quantities and "
    "pairs with the same entries share a line, and every single one is a row of the CSV. Scale, precision and hardware "
    "differ where the letters above say so: that a result does not agree may be due to any of them, and that it agrees "
    "does not show that they do not matter. Not measured here: the pair, or what it would need, is not in this "
    "configuration."
)
_COLUMNS = [
    "topic", "left_version", "right_version", "quantity", "published", "published_value", "published_conditions",
    "ours", "our_value", "our_conditions", "agrees",
]  # fmt: skip
AGREES, DIFFERS, UNTOLD = "agrees", "does not agree", "nothing to compare"
_ABSENT = "not measured here"
_MARKS = {
    AGREES: ("#117733", "M-1,0L-0.3,0.7L1,-0.7L0.8,-0.9L-0.3,0.3L-0.8,-0.2Z"),
    DIFFERS: (common.ALARM, "M-0.8,-1L0,-0.2L0.8,-1L1,-0.8L0.2,0L1,0.8L0.8,1L0,0.2L-0.8,1L-1,0.8L-0.2,0L-1,-0.8Z"),
    UNTOLD: ("#8A8A8A", "M-0.9,-0.15L0.9,-0.15L0.9,0.15L-0.9,0.15Z"),
}  # fmt: skip
_TOPICS = {
    "artifacts": "Artifacts",
    "injection": "Injections",
    "search": "Search",
    "operator": "First operator",
    "layers": "Layers",
}
# Left edge and width (pixels) of the columns.
_PAIR, _QUANTITY, _PUBLISHED, _OURS = (0, 190), (200, 330), (540, 250), (800, 290)
_MARK_AT = _OURS[0] + 6
_WIDTH, _LINE, _GAP, _ADVANCE = 1110, 14, 8, 5.4
_MOST_LINES = 150
_MOST_ABSENT = 5  # different results of a topic and pair of which nothing was measured here, a line each


class _Entry(NamedTuple):
    """A line of the table; each column in lines of its width."""

    pairs: list[str]
    quantities: list[str]
    published: list[str]
    ours: list[str]
    mark: str

    @property
    def lines(self) -> int:
        return max(len(column) for column in self[:4])


def draw(published: pd.DataFrame) -> Figure:
    """Args: the table torch_published."""
    if published.empty:
        return common.nothing_to_draw(TITLE, "Nothing was published of these versions.", _COLUMNS)
    letters = _letters(published["published_conditions"], "abcdefghijklmnopqrstuvwxyz")
    own_letters = _letters(published["our_conditions"], "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    topics = common.unique(
        [topic for topic in _TOPICS if topic in set(published["topic"])] + list(published["topic"])
    )
    entries = {
        topic: _entries(published[published["topic"] == topic], letters, own_letters) for topic in topics
    }
    chart, cut = _table(entries)
    title, notes = _findings(published)
    notes = [
        *(
            f"{side}: {'; '.join(f'{letter}) {words}' for words, letter in of_side.items())}."
            for side, of_side in (("Published", letters), ("Here", own_letters))
            if of_side
        ),
        *notes,
    ]
    if cut:
        notes.append(f"{cut} more lines are in the CSV only.")
    return Figure(
        chart, published[_COLUMNS], title, "", "", notes, _CAPTION, width=_WIDTH,
        is_finding=bool(published["agrees"].notna().any()),
    )  # fmt: skip


def _letters(conditions: pd.Series, alphabet: str) -> dict[str, str]:
    """Conditions → the letter that stands for them."""
    found = [words for words in (str(each).rstrip(".") for each in common.unique(conditions)) if words]
    names = [*alphabet, *(f"{alphabet[0]}{number}" for number in range(1, len(found)))]
    return dict(zip(found, names, strict=False))


def _entries(rows: pd.DataFrame, letters: dict[str, str], own: dict[str, str]) -> list[_Entry]:
    """Rows of one topic: those that say the same of one pair together, then pairs of which the same is said.

    What was measured here comes first; of a pair that was not, many different results share a line.
    """
    absent = rows["ours"].isna()
    different = rows[absent].groupby(torch_common.VERSIONS)["published"].nunique()
    many = set(different[different > _MOST_ABSENT].index)
    rows = pd.concat([rows[~absent], rows[absent]])
    shortened: dict[Pair, str] = {}
    said: dict[tuple[str, str, str, str], list[str]] = {}
    for row in common.each_row(rows):
        letter = letters.get(str(row.published_conditions).rstrip("."), "")
        source = f"{row.published} ({letter})" if letter else row.published
        if pd.isna(row.ours):
            if (row.left_version, row.right_version) in many:
                source = shortened.setdefault((row.left_version, row.right_version), source)
            mark, ours = UNTOLD, _ABSENT
        else:
            mark = UNTOLD if pd.isna(row.agrees) else AGREES if row.agrees else DIFFERS
            where = own.get(str(row.our_conditions).rstrip("."), "")
            ours = f"{row.ours} ({where})" if where else str(row.ours)
        pair = torch_common.step((row.left_version, row.right_version))
        said.setdefault((pair, source, ours, mark), []).append(row.quantity)
    shared: dict[tuple[tuple[str, ...], str, str, str], list[str]] = {}
    for (pair, source, ours, mark), quantities in said.items():
        shared.setdefault((tuple(quantities), source, ours, mark), []).append(pair)
    absent_pairs = {torch_common.step(pair) for pair in many}
    return [
        _Entry(
            _lines(_few(pairs), _PAIR[1]),
            _lines(_named(quantities), _QUANTITY[1]),
            _lines(source + _rest(quantities, ours, absent_pairs & set(pairs)), _PUBLISHED[1]),
            _lines(ours, _OURS[1] - 20),
            mark,
        )
        for (quantities, source, ours, mark), pairs in shared.items()
    ]


def _rest(quantities: Sequence[str], ours: str, shortened: set[str]) -> str:
    """How many results a line has beyond the one that it tells."""
    if ours != _ABSENT or not shortened or len(quantities) < 2:
        return ""
    return f"; {len(quantities) - 1} more results in the CSV"


def _named(quantities: Sequence[str]) -> str:
    """As many of the quantities as three lines hold, and the number of the others."""
    shown = len(quantities)
    while shown > 1 and len(", ".join(quantities[:shown])) * _ADVANCE > 2.6 * _QUANTITY[1]:
        shown -= 1
    rest = len(quantities) - shown
    return ", ".join(quantities[:shown]) + (f" and {rest} more" if rest else "")


def _few(pairs: Sequence[str]) -> str:
    return ", ".join(pairs) if len(pairs) <= 4 else f"{', '.join(pairs[:3])} and {len(pairs) - 3} more"


def _lines(text: str, width: int) -> list[str]:
    # Arrows stay with their versions.
    kept = common.wrap(text.replace(" → ", "\u00a0→\u00a0"), width, _ADVANCE)
    return kept or [""]


def _table(entries: dict[str, list[_Entry]]) -> tuple[common.Chart, int]:
    """The chart, and how many entries it does not have room for."""
    texts, marks, rules = [], [], []
    top, used, cut = 6, 0, 0

    def put(left: int, lines: Sequence[str], kind: str) -> None:
        for number, line in enumerate(lines):
            texts.append({"x": left, "y": top + number * _LINE + _LINE / 2, "words": line, "kind": kind})

    for (left, _), words in zip(
        (_PAIR, _QUANTITY, _PUBLISHED, _OURS), ("versions", "quantity", "published", "here"), strict=True
    ):
        put(left + (20 if left == _OURS[0] else 0), [words], "heading")
    top += _LINE + _GAP
    for topic, of_topic in entries.items():
        rules.append({"y": top - 2})
        top += 4
        put(0, [_TOPICS.get(topic, topic)], "topic")
        top += _LINE + _GAP
        for entry in of_topic:
            if used + entry.lines > _MOST_LINES:
                cut += 1
                continue
            kind = "untold" if entry.mark == UNTOLD and entry.ours == [_ABSENT] else "text"
            put(_PAIR[0], entry.pairs, kind)
            put(_QUANTITY[0], entry.quantities, kind)
            put(_PUBLISHED[0], entry.published, kind)
            put(_OURS[0] + 20, entry.ours, kind)
            marks.append({"x": _MARK_AT, "y": top + _LINE / 2, "mark": entry.mark})
            used += entry.lines
            top += entry.lines * _LINE + _GAP
    scale_x, scale_y = alt.Scale(domain=[0, _WIDTH], nice=False), alt.Scale(domain=[top, 0], nice=False)
    x, y = alt.X("x:Q", scale=scale_x, axis=None), alt.Y("y:Q", scale=scale_y, axis=None)
    layers: list[alt.Chart] = [
        alt.Chart(pd.DataFrame(rules))
        .mark_rule(color="#C9C9C9", aria=False)
        .encode(y=y, x=alt.value(0), x2=alt.value(_WIDTH))
    ]
    looks: dict[str, tuple[Literal["normal", "bold"], str]] = {
        "heading": ("normal", common.NOTE), "topic": ("bold", common.INK), "text": ("normal", common.INK),
        "untold": ("normal", "#7A7A7A"),
    }  # fmt: skip
    for kind, (weight, colour) in looks.items():
        of_kind = [text for text in texts if text["kind"] == kind]
        if of_kind:
            layers.append(
                alt.Chart(pd.DataFrame(of_kind))
                .mark_text(align="left", baseline="middle", fontWeight=weight, color=colour, aria=False)
                .encode(x=x, y=y, text="words:N")
            )
    present = [mark for mark in _MARKS if any(each["mark"] == mark for each in marks)]
    layers.append(
        alt.Chart(pd.DataFrame(marks))
        .mark_point(filled=True, size=90, opacity=1, aria=False)
        .encode(
            x=x,
            y=y,
            shape=alt.Shape(
                "mark:N", title=None, legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=present, range=[_MARKS[mark][1] for mark in present]),
            ),
            color=alt.Color(
                "mark:N", title=None,
                scale=alt.Scale(domain=present, range=[_MARKS[mark][0] for mark in present]),
            ),
        )
    )  # fmt: skip
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDTH, height=top, view=alt.ViewBackground(stroke=None)
    )
    return chart, cut


def _findings(published: pd.DataFrame) -> tuple[str, list[str]]:
    compared = published[published["agrees"].notna()]
    total = len(published)
    if compared.empty:
        return f"Nothing of what was published of PyTorch versions can be compared here ({total} results)", []
    agree = compared["agrees"].astype(bool)
    pairs = torch_common.pairs_of(compared)
    title = (
        f"{agree.sum()} of {len(compared)} published results agree with what was measured here "
        f"({torch_common.steps_words(pairs, 3)})"
    )
    notes = []
    by_topic = []
    for topic, of_topic in compared.groupby("topic", sort=False):
        by_topic.append(
            f"{_TOPICS.get(str(topic), str(topic)).lower()} {of_topic['agrees'].eq(True).sum()} of {len(of_topic)}"
        )
    notes.append(f"Agreement by topic: {common.listed(by_topic)}.")
    untold = total - len(compared)
    if untold:
        notes.append(f"Not measured here, or not to be compared: {untold} of {total} published results.")
    return title, notes

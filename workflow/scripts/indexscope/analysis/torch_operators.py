"""Which operator of a PyTorch version first gives another result for the same input.

An operator is guilty when another version's, given one version's recorded input, makes something else. That
needs no alignment: each call of the left version is replayed by itself. Whether both versions call the same
operators in the same order is said beside it, for an operator that only the right version calls is not replayed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexscope.artifacts.distances import COMPARABLE, distance
from indexscope.artifacts.operator_store import (
    ANY,
    INDEX,
    Case,
    Operator,
    Output,
    Reader,
    RecordedCase,
    json_lines,
)
from indexscope.run_record import FORMAT, InputError

_GUILTY = ("differs", "shape differs")
_NOT_KNOWN = ("missing", "failed")
_NOT_IN_ROWS = ("case", "position", "without_onednn")
_REPLAY_REMEDY = "run replay_operators.py again"
# Why an operator differs.
VECTOR_INSTRUCTIONS = "vector instructions"  # with those of the left version it is equal
ONEDNN = "oneDNN"  # and without oneDNN's kernels in both
OPERATOR_ITSELF = "the operator itself"  # with neither


@dataclass(frozen=True)
class ReplayedPair:
    """A recording of the left version, its replay in the right one, and the right one's own recording.

    For a version's noise floor, both versions and both recordings are the same.
    """

    left_version: str
    right_version: str
    replay: Path
    left_recording: Path
    right_recording: Path
    replay_as_left: Path | None = None  # with the left version's vector instructions, and without oneDNN too
    replay_in_left: Path | None = None  # in the left version itself, without oneDNN too

    @property
    def versions(self) -> dict[str, str]:
        return {"left_version": self.left_version, "right_version": self.right_version}

    @property
    def noise_floor(self) -> bool:
        return self.left_recording == self.right_recording


def read_pairs(argument: str) -> list[ReplayedPair]:
    """Read a JSON list of objects with the fields of ReplayedPair, texts; the last two may be null or left out.

    Args:
        argument: the JSON itself, if it starts with `[`, else the path of a file that holds it.

    Raises:
        InputError: the file is missing, an entry is not of that form, or versions are there twice.
    """
    inline = argument.lstrip().startswith("[")
    source = "pairs" if inline else argument
    try:
        entries = json.loads(argument if inline else Path(argument).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as JSON ({error}): give a list of pairs") from error
    if not isinstance(entries, list):
        raise InputError(f"{source} is not a list: give a list of pairs")
    pairs: list[ReplayedPair] = []
    names = {"left_version", "right_version", "replay", "left_recording", "right_recording"}
    for number, entry in enumerate(entries):
        given = dict(entry) if isinstance(entry, dict) else {}
        optional = [given.pop(name, None) for name in ("replay_as_left", "replay_in_left")]
        texts = all(isinstance(value, str) for value in [*given.values(), *filter(None, optional)])
        if not texts or set(given) != names:
            raise InputError(f"{source}[{number}]: give the texts {', '.join(sorted(names))}, not {entry!r}")
        pair = ReplayedPair(
            entry["left_version"],
            entry["right_version"],
            Path(entry["replay"]),
            Path(entry["left_recording"]),
            Path(entry["right_recording"]),
            *(Path(path) if path else None for path in optional),
        )
        if any(pair.versions == other.versions for other in pairs):
            raise InputError(f"{source}[{number}]: these versions are there twice; give each pair once")
        pairs.append(pair)
    return pairs


def operator_rows(pair: ReplayedPair) -> Iterator[dict[str, Any]]:
    """Rows of schemas.TORCH_OPERATORS, in order; none where there was no environment.

    Raises:
        InputError: a file is missing or damaged, or the replay is of another recording.
    """
    left = Reader(pair.left_recording)
    if _unavailable(pair, left) is None:
        for operator, replayed, cause in _replayed(pair, left):
            yield {
                **pair.versions,
                **asdict(left.header.cases[operator.case].case),
                "position": operator.position,
                "module": operator.module,
                "operator": operator.operator,
                "source": operator.source,
                **{name: value for name, value in replayed.items() if name not in _NOT_IN_ROWS},
                "cause": cause,
            }


def divergence_rows(pair: ReplayedPair) -> Iterator[dict[str, Any]]:
    """Rows of schemas.TORCH_DIVERGENCE: one for each case, those that could not run included.

    Raises:
        InputError: as for operator_rows.
    """
    left = Reader(pair.left_recording)
    if (reason := _unavailable(pair, left)) is not None:
        case = Case("all cases", ANY, "", ANY)
        yield {**_nothing(pair, case), "verdict": "failed", "detail": reason}
        return
    right = Reader(pair.right_recording)
    cases = [_Summary(recorded) for recorded in left.header.cases]
    for operator, replayed, cause in _replayed(pair, left):
        cases[operator.case].add(operator, replayed, cause)
    calls, finals = _by_case(right, right.operators(), _call), _by_case(right, right.outputs(), _final)
    own_finals = _by_case(left, left.outputs(), _final)
    outcomes = {recorded.case: recorded for recorded in right.header.cases}
    for summary in cases:
        case = summary.recorded.case
        row = {**_nothing(pair, case), **summary.columns(), "same_sequence": None, "final_equal": None}
        details = [summary.detail()]
        # A recording says nothing about itself.
        if summary.recorded.status == "recorded" and not pair.noise_floor:
            outcome = outcomes.get(case)
            if outcome is None or outcome.status != "recorded":
                why = outcome.detail if outcome else "it has no such case"
                details.append(f"{pair.right_version} did not run it: {why}")
            else:
                row["same_sequence"] = summary.calls == calls.get(case, [])
                row["final_equal"] = own_finals.get(case, []) == finals.get(case, [])
                details.append(_sequences(pair, summary.calls, calls.get(case, [])))
            details += dict.fromkeys([left.header.attention, right.header.attention])
        row["detail"] = "; ".join(filter(None, details)) or None
        yield row


def layer_rows(pair: ReplayedPair) -> Iterator[dict[str, Any]]:
    """Rows of schemas.TORCH_LAYERS: what modules of the encoder made in each version on its own.

    None of a noise floor, for which there is one recording, nor of what one version lacks.

    Raises:
        InputError: as for operator_rows.
    """
    left, right = Reader(pair.left_recording), Reader(pair.right_recording)
    if pair.noise_floor or left.header.unavailable or right.header.unavailable:
        return
    there = {
        (right.header.cases[output.case].case, output.module): output.tensor for output in right.outputs()
    }
    for output in left.outputs():
        case = left.header.cases[output.case].case
        tensor, other = output.tensor, there.get((case, output.module))
        comparable = other is not None and all(tensor[name] == other[name] for name in ("shape", "dtype"))
        if case.input == INDEX or not comparable or tensor["dtype"] not in COMPARABLE:
            continue
        assert other is not None
        found = distance(left.elements(tensor), right.elements(other), tensor["dtype"])
        yield {
            **pair.versions,
            **asdict(case),
            "position": output.position,
            "module": output.module,
            "equal_fraction": found.equal_fraction,
            "mean_absolute_difference": found.mean_absolute_difference,
            "max_absolute_difference": found.max_absolute_difference,
            "max_ulp_distance": found.max_ulp_distance,
        }


@dataclass
class _Summary:
    """What is known of one case after its operators have been replayed."""

    recorded: RecordedCase
    calls: list[tuple[str, str]] = field(default_factory=list)  # module, operator
    guilty: list[str] = field(default_factory=list)  # distinct, in order
    verdicts: Counter[str] = field(default_factory=Counter)
    causes: list[str] = field(default_factory=list)  # distinct, each with its operator
    not_known: list[str] = field(default_factory=list)
    first: dict[str, Any] = field(default_factory=dict)

    def add(self, operator: Operator, replayed: Mapping[str, Any], cause: str | None) -> None:
        verdict = replayed["verdict"]
        if cause is not None and (named := f"{operator.operator}: {cause}") not in self.causes:
            self.causes.append(named)
        self.calls.append(_call(operator))
        self.verdicts[verdict] += 1
        if verdict in _NOT_KNOWN and operator.operator not in self.not_known:
            self.not_known.append(operator.operator)
        if verdict in _GUILTY:
            if not self.first:
                self.first = {
                    "first_position": operator.position,
                    "first_module": operator.module,
                    "first_operator": operator.operator,
                    **{
                        f"first_{name}": replayed[name]
                        for name in (
                            "mean_absolute_difference",
                            "max_absolute_difference",
                            "max_ulp_distance",
                        )
                    },
                }
            if operator.operator not in self.guilty:
                self.guilty.append(operator.operator)

    def columns(self) -> dict[str, Any]:
        if self.recorded.status != "recorded":
            return {"verdict": self.recorded.status}
        unknown = "failed" if self.not_known else "equal"
        return {
            "operators": sum(self.verdicts.values()) - self.verdicts["not replayed"],
            "differing": sum(self.verdicts[verdict] for verdict in _GUILTY),
            "guilty": ", ".join(self.guilty),
            "causes": "; ".join(self.causes) or None,
            "verdict": "diverges" if self.guilty else unknown,
            **self.first,
        }

    def detail(self) -> str | None:
        if self.not_known:
            return f"missing or failed there: {', '.join(self.not_known)}"
        return self.recorded.detail


def _nothing(pair: ReplayedPair, case: Case) -> dict[str, Any]:
    return {**pair.versions, **asdict(case), "operators": 0, "differing": 0, "guilty": ""}


def _unavailable(pair: ReplayedPair, left: Reader) -> str | None:
    """Why there is no replay: an environment that could not be built."""
    reason: str | None = left.header.unavailable or _header(pair.replay)["unavailable"]
    return reason


def _header(replay: Path) -> dict[str, Any]:
    header = next(json_lines(replay, _REPLAY_REMEDY), {})
    if header.get("format") != FORMAT or "unavailable" not in header:
        raise InputError(f"{replay} does not start as a replay does: {_REPLAY_REMEDY}")
    return header


def _replayed(pair: ReplayedPair, left: Reader) -> Iterator[tuple[Operator, dict[str, Any], str | None]]:
    """Each operator, how its replay compares, and why it differs, where it does and that was tried."""
    paths = [pair.replay, pair.replay_as_left, pair.replay_in_left]
    tried = [path if path and _header(path)["unavailable"] is None else None for path in paths]
    files = [None if path is None else _lines(path) for path in tried]
    for operator in left.operators():
        own, as_left, in_left = (_of(operator, lines, path) for lines, path in zip(files, paths, strict=True))
        assert own is not None
        yield operator, own, _cause(own, as_left, in_left)
    for lines, path in zip(files, paths, strict=True):
        if lines is not None and next(lines, None) is not None:
            raise InputError(f"{path} is not of {pair.left_recording}: {_REPLAY_REMEDY}")


def _cause(
    own: Mapping[str, Any], as_left: Mapping[str, Any] | None, in_left: Mapping[str, Any] | None
) -> str | None:
    """What, when it is the same in both versions, makes an operator's output the same.

    None where the operator does not differ, or where it was not tried.
    """
    if own["verdict"] not in _GUILTY or as_left is None:
        return None
    if as_left["verdict"] == "equal":
        return VECTOR_INSTRUCTIONS
    plain = as_left.get("without_onednn")
    if plain is not None and in_left is not None and plain == in_left.get("without_onednn"):
        return ONEDNN
    return OPERATOR_ITSELF


def _lines(replay: Path) -> Iterator[dict[str, Any]]:
    lines = json_lines(replay, _REPLAY_REMEDY)
    next(lines)
    return lines


def _of(
    operator: Operator, lines: Iterator[dict[str, Any]] | None, replay: Path | None
) -> dict[str, Any] | None:
    if lines is None:
        return None
    line = next(lines, {})
    if (line.get("case"), line.get("position")) != (operator.case, operator.position):
        raise InputError(f"{replay} is not of its recording: {_REPLAY_REMEDY}")
    return line


def _by_case(
    reader: Reader, lines: Iterator[Any], taken: Callable[[Any], tuple[str, ...] | None]
) -> dict[Case, list[tuple[str, ...]]]:
    found: dict[Case, list[tuple[str, ...]]] = {}
    for line in lines:
        if (value := taken(line)) is not None:
            found.setdefault(reader.header.cases[line.case].case, []).append(value)
    return found


def _call(operator: Operator) -> tuple[str, str]:
    return operator.module, operator.operator


def _final(output: Output) -> tuple[str, ...] | None:
    """A final output by its content: tensors are recorded contiguous, so equal ones have equal storages."""
    if not output.final:
        return None
    return output.module, output.tensor["dtype"], str(output.tensor["shape"]), output.tensor["storage"]


def _sequences(pair: ReplayedPair, left: list[tuple[str, str]], right: list[tuple[str, ...]]) -> str | None:
    """In words, which calls only one version makes."""
    if left == right:
        return None
    one, two = Counter(map(tuple, left)), Counter(right)
    words = [
        f"only {version} calls {operator} in {module or 'no module'}" + (f" × {count}" if count > 1 else "")
        for version, extra in ((pair.left_version, one - two), (pair.right_version, two - one))
        for (module, operator), count in extra.items()
    ]
    return ", ".join(words) or "the same operators in another order"

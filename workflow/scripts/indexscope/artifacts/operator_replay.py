"""Give one version's recorded inputs to another version's operators, and compare what comes out.

Runs where torch is. One operator at a time is in memory: its arguments are made anew, with the strides,
offsets and shared storages that they had, so that an operator that works in place changes nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from indexscope.artifacts.distances import COMPARABLE, Distance, distance
from indexscope.artifacts.operator_store import Operator, Reader
from indexscope.artifacts.operator_values import Decoder, element_bytes, find, memory, outputs_of
from indexscope.run_record import FORMAT, InputError

_NOTHING = Distance(0, 0, 0.0, 0.0, None)


@dataclass(frozen=True)
class Replayed:
    """How the outcome of one operator compares; the fields but the first two are columns of TORCH_OPERATORS."""

    case: int
    position: int
    verdict: str
    detail: str | None = None
    shape: str | None = None
    dtype: str | None = None
    elements: int | None = None
    equal_fraction: float | None = None
    mean_absolute_difference: float | None = None
    max_absolute_difference: float | None = None
    max_ulp_distance: int | None = None
    without_onednn: str | None = None  # SHA-256 of what comes out without oneDNN, where that was asked for


def replay(reader: Reader, without_onednn: bool = False) -> Iterator[Replayed]:
    """Replay every operator of a recording, in order.

    Args:
        without_onednn: call each once more, without oneDNN's kernels, and keep a hash of what comes out.

    Raises:
        InputError: the recording is damaged.
    """
    with torch.inference_mode():  # as it was recorded: operators are called whole
        for operator in reader.operators():
            row = replay_operator(operator, reader)
            if without_onednn and row.verdict in ("equal", "differs"):
                row = replace(row, without_onednn=_hash_without_onednn(operator, reader))
            yield row


def _hash_without_onednn(operator: Operator, reader: Reader) -> str | None:
    with torch.backends.mkldnn.flags(enabled=False):
        try:
            outputs = _call(operator, reader)
        except RuntimeError:  # an operator that only oneDNN has
            return None
    digest = hashlib.sha256()
    for value in outputs:
        if value is not None:
            digest.update(element_bytes(_tensor(value)).data)
    return digest.hexdigest()


def _call(operator: Operator, reader: Reader) -> list[Any]:
    """What an operator makes of its recorded inputs; whatever it raises passes through."""
    decoder = Decoder(reader)
    arguments = [decoder.decode(each) for each in operator.arguments]
    keywords = {name: decoder.decode(each) for name, each in operator.keywords.items()}
    if operator.random_state is not None:
        torch.set_rng_state(memory(reader.storage(operator.random_state)))
    result = find(operator.operator)(*arguments, **keywords)  # type: ignore[misc]
    found: list[Any] = outputs_of(result, arguments)
    return found


def replay_operator(operator: Operator, reader: Reader) -> Replayed:
    """Replay one operator."""
    row = Replayed(operator.case, operator.position, "equal")
    if operator.skipped is not None:
        return replace(row, verdict="not replayed", detail=operator.skipped)
    if find(operator.operator) is None:
        return replace(row, verdict="missing", detail=f"torch {torch.__version__} has no {operator.operator}")
    outcome = Decoder(reader)
    expected = [outcome.decode(each) for each in operator.outputs]
    try:
        results = _call(operator, reader)
    except Exception as error:  # whatever an operator raises is its verdict
        message = str(error).strip().split("\n")[0]
        return replace(row, verdict="failed", detail=f"{type(error).__name__}: {message}")
    return _compared(row, expected, results)


def write(reader: Reader, output: Path, without_onednn: bool = False) -> int:
    """Replay a recording into a file of JSON lines: a header, then an operator a line. Returns the number.

    Raises:
        InputError: the recording is damaged, or of a device that is not here.
    """
    if reader.header.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"{reader.directory} was recorded on a GPU, and there is none here: record it on the CPU"
        )
    partial = output.with_name(output.name + ".partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            header = {
                "format": FORMAT,
                "torch_version": torch.__version__,
                "unavailable": reader.header.unavailable,
            }
            file.write(json.dumps(header) + "\n")
            for row in replay(reader, without_onednn):
                file.write(json.dumps(asdict(row)) + "\n")
                count += 1
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(output)
    return count


def _compared(row: Replayed, expected: list[Any], results: list[Any]) -> Replayed:
    if len(expected) != len(results):
        detail = f"{len(results)} outputs instead of {len(expected)}"
        return replace(row, verdict="shape differs", detail=detail)
    total, ulps_known = _NOTHING, True
    for value, other in zip(expected, results, strict=True):
        if value is None and other is None:
            continue
        if value is None or other is None:
            return replace(row, verdict="shape differs", detail="an output is missing in one version")
        left, right = _tensor(value), _tensor(other)
        if row.shape is None:
            row = replace(row, shape=str(tuple(left.shape)), dtype=_dtype(left))
        if left.shape != right.shape:
            detail = f"{tuple(right.shape)} instead of {tuple(left.shape)}"
            return replace(row, verdict="shape differs", detail=detail)
        if left.dtype != right.dtype:
            return replace(row, verdict="differs", detail=f"{_dtype(right)} instead of {_dtype(left)}")
        if _dtype(left) not in COMPARABLE:
            return replace(row, verdict="not replayed", detail=f"{_dtype(left)} cannot be compared")
        found = distance(element_bytes(left), element_bytes(right), _dtype(left))
        ulps_known &= found.max_ulp_distance is not None or not left.dtype.is_floating_point
        total += found
    return replace(
        row,
        verdict="equal" if total.equal == total.elements else "differs",
        elements=total.elements,
        equal_fraction=total.equal_fraction,
        mean_absolute_difference=total.mean_absolute_difference,
        max_absolute_difference=total.max_absolute_difference,
        max_ulp_distance=total.max_ulp_distance if ulps_known else None,
    )


def _tensor(value: Any) -> Any:
    """Numbers, as tensors of no dimensions in full precision; arrays share their memory."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return torch.from_numpy(np.asarray(value))


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")

"""Files of a recording of operators: what was called, with which tensors, and what came out. No torch here.

    recording.json     versions, threads, and the cases: what was encoded, and whether that worked
    operators.jsonl    one line for each operator of each case, in order
    outputs.jsonl      one line for each module's output of each case, in order
    storages/ab/….safetensors    bytes of a tensor's storage, once, by their SHA-256

A tensor is its storage's hash with dtype, shape, strides and offset, so that a view costs nothing, parameters
are there once, and a replayed operator gets the same memory layout, which can decide which kernel runs. What
cannot be recorded, such as a version whose environment cannot be built, has a recording.json that says so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexscope.run_record import FORMAT, InputError, read_json_object

Bytes = NDArray[np.uint8]

UNAVAILABLE = "INDEXSCOPE_UNAVAILABLE"  # environment variable: why there is no environment to run in
INDEX = "index"  # Case.input of the steps after encoding
ANY = "any"  # Case.input and Case.precision of a row that stands for all of them

_HEADER = "recording.json"
_OPERATORS = "operators.jsonl"
_OUTPUTS = "outputs.jsonl"
_CACHED_BYTES = 1 << 28
_REMEDY = "delete the recording and run record_operators.py again"


@dataclass(frozen=True)
class Case:
    """What is encoded; the fields are the leading columns of the tables of operators."""

    case: str
    input: str
    content: str
    precision: str
    batch_size: int | None = None
    sequence_length: int | None = None


@dataclass(frozen=True)
class RecordedCase:
    """A case and whether it ran: `recorded`, `unsupported` or `failed`, with the reason."""

    case: Case
    status: str
    detail: str | None = None


@dataclass(frozen=True)
class Header:
    """What a recording says of itself. `unavailable`: why there is nothing in it."""

    torch_version: str | None
    cases: tuple[RecordedCase, ...]
    unavailable: str | None = None
    attention: str | None = None  # what was forced, where ColBERT itself would have run something else
    device: str | None = None


@dataclass(frozen=True)
class Operator:
    """One call. Values are as operator_values encodes them.

    Attributes:
        case: position in Header.cases.
        position: in its case, from 0.
        module: path of the innermost torch module, or the ColBERT function where there is none.
        operator: of torch, such as aten.softmax.int; or one of operator_values.FUNCTIONS.
        source: file:line of ColBERT or transformers that called it.
        random_state: hash of the generator's state before the call, of operators that draw from it.
        skipped: why it cannot be replayed; then there are no values.
    """

    case: int
    position: int
    module: str
    operator: str
    source: str | None
    arguments: list[Any]
    keywords: dict[str, Any]
    outputs: list[Any]
    random_state: str | None
    skipped: str | None


@dataclass(frozen=True)
class Output:
    """What a module made: a tensor as operator_values encodes it. `final`: what the case is for."""

    case: int
    position: int
    module: str
    final: bool
    tensor: dict[str, Any]


class Writer:
    """Writes a recording under DIRECTORY.partial and moves it to DIRECTORY when it is complete."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._partial = directory.with_name(directory.name + ".partial")

    def __enter__(self) -> Writer:
        shutil.rmtree(self._partial, ignore_errors=True)
        (self._partial / "storages").mkdir(parents=True)
        self._operators = (self._partial / _OPERATORS).open("w", encoding="utf-8")
        self._outputs = (self._partial / _OUTPUTS).open("w", encoding="utf-8")
        self._written: set[str] = set()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._operators.close()
        self._outputs.close()
        if failure or not (self._partial / _HEADER).exists():
            shutil.rmtree(self._partial)
            return
        shutil.rmtree(self._directory, ignore_errors=True)
        self._partial.replace(self._directory)

    def storage(self, values: Bytes) -> str:
        """Keep (bytes,) once; returns their hash."""
        from safetensors.numpy import save_file

        digest = hashlib.sha256(values.data).hexdigest()
        if digest not in self._written:
            path = _storage(self._partial, digest)
            path.parent.mkdir(exist_ok=True)
            save_file({"bytes": values}, path)
            self._written.add(digest)
        return digest

    def operator(self, operator: Operator) -> None:
        self._operators.write(json.dumps(asdict(operator)) + "\n")

    def output(self, output: Output) -> None:
        self._outputs.write(json.dumps(asdict(output)) + "\n")

    def finish(self, header: Header, facts: Mapping[str, Any]) -> None:
        """Write recording.json, without which the recording is dropped."""
        value = {"format": FORMAT, **asdict(header), **facts}
        (self._partial / _HEADER).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


class Reader:
    """Reads a recording, a line and a tensor at a time.

    Raises:
        InputError: from every method: the recording is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.header = _header(directory / _HEADER)
        self._cache: OrderedDict[str, Bytes] = OrderedDict()

    def operators(self) -> Iterator[Operator]:
        yield from (Operator(**line) for line in self._lines(_OPERATORS))

    def outputs(self) -> Iterator[Output]:
        yield from (Output(**line) for line in self._lines(_OUTPUTS))

    def storage(self, digest: str) -> Bytes:
        """(bytes,) of a storage; not to be written to."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if digest in self._cache:
            self._cache.move_to_end(digest)
            return self._cache[digest]
        path = _storage(self.directory, digest)
        try:
            values: Bytes = load_file(path)["bytes"]
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read ({error}): {_REMEDY}") from error
        self._cache[digest] = values
        while len(self._cache) > 1 and sum(each.nbytes for each in self._cache.values()) > _CACHED_BYTES:
            self._cache.popitem(last=False)
        return values

    def elements(self, tensor: Mapping[str, Any]) -> Bytes:
        """(elements × bytes of an element,) of a recorded tensor that is contiguous from offset 0 on."""
        return self.storage(tensor["storage"])

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        if self.header.unavailable is None:
            yield from json_lines(self.directory / name, _REMEDY)


def write_unavailable(directory: Path, reason: str) -> None:
    """A recording that only says why there is none."""
    with Writer(directory) as writer:
        writer.finish(Header(None, (), unavailable=reason), {})


def json_lines(path: Path, remedy: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines.

    Raises:
        InputError: the file is missing, or a line is no JSON object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise InputError(f"{path}:{number} is not a JSON object: {remedy}")
                yield value
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON lines ({error}): {remedy}") from error


def _header(path: Path) -> Header:
    value = read_json_object(path, _REMEDY)
    try:
        cases = tuple(
            RecordedCase(Case(**each["case"]), each["status"], each["detail"]) for each in value["cases"]
        )
        return Header(
            value["torch_version"], cases, value["unavailable"], value["attention"], value["device"]
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a recording of operators ({error}): {_REMEDY}") from error


def _storage(directory: Path, digest: str) -> Path:
    return directory / "storages" / digest[:2] / f"{digest}.safetensors"


assert sys.byteorder == "little", "storages are recorded as the bytes of a little-endian machine"

"""Artifacts written as they arise in a run, one file each, and a donor run's values put in their place.

Runs inside the measured process: nothing but the standard library is imported before the framework is. numpy
and safetensors are loaded with the first artifact.

DIRECTORY/dumps.jsonl has one line for each artifact, written after its tensor file is complete; a tensor file
without a line is of a run that was killed meanwhile:

    stage, chunk, call, name   its key
    shape, dtype, sha256       as in the manifest of dump_artifacts
    source                     the framework's function that made it: file:line qualified name
    tensor_file                beside dumps.jsonl; the tensor in it is named by the key
    injected                   true: the values are the donor's
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from indexscope.measure import records
from indexscope.run_record import COMPLETED, InputError, RunIdentity, read_run_record

LINES = "dumps.jsonl"
FOLDER = "dumps"  # below a run directory
NO_CHUNK = "-"

# Names whose number of rows is not given by anything else in the run.
_ANY_NUMBER_OF_ROWS = frozenset({"sample_pids", "sample", "sample_heldout"})

_Place = tuple[str, str, int, str]  # stage, chunk, call, name


class InjectionError(RuntimeError):
    """A donor's artifact does not fit the run that it is given to: how that run ends, and no defect of ours."""

    own_fault = False  # to indexscope.measure.worker


class Donor:
    """The dumps of a run, read one artifact at a time."""

    def __init__(self, run_directory: Path) -> None:
        path = run_directory / "run.json"
        record = read_run_record(path)
        self.identity = RunIdentity.of(record["run"], path)
        self.outcome: str = record["outcome"]
        self._directory = run_directory / FOLDER
        self._lines = {
            (line["stage"], line["chunk"], line["call"], line["name"]): line
            for line in records.read(str(self._directory / LINES))
        }

    def lacks(self, names: Collection[str]) -> str | None:
        """Why this run cannot give `names`, as a sentence; None where it can."""
        of = f"{self.identity.run}, whose {' and '.join(names)} this run is given,"
        if self.outcome != COMPLETED:
            return f"{of} ended as {self.outcome}"
        dumped = {name for _, _, _, name in self._lines}
        missing = [name for name in names if name not in dumped]
        return f"{of} dumped no {missing[0]}" if missing else None

    def array(self, place: _Place) -> Any | None:
        """The numpy array that was dumped at `place`; None where there is none.

        Raises:
            InputError: the file does not hold what its line says.
        """
        from safetensors.numpy import load_file

        from indexscope.artifacts.dump import artifact_key, content_hash

        line = self._lines.get(place)
        if line is None:
            return None
        path = self._directory / line["tensor_file"]
        array = load_file(path)[artifact_key(*place)]
        if content_hash(array) != line["sha256"]:
            raise InputError(
                f"{path}: the values are not those that were dumped; run index_collection.py again"
            )
        return array


class Capture:
    """What is dumped and injected in one run.

    Args:
        directory: created with the first artifact.
        chosen: names to dump.
        injected: names whose values are the donor's.
        report: hears of each failure of our own code, before it is raised into the framework.
    """

    def __init__(
        self,
        directory: Path,
        chosen: Collection[str],
        injected: Collection[str],
        donor: Donor | None,
        report: Callable[[BaseException], None],
    ) -> None:
        self.stage: str | None = None
        self.chunk = NO_CHUNK
        self._directory = directory
        self._chosen = frozenset(chosen)
        self._injected = frozenset(injected)
        self._donor = donor
        self._report = report
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._replaced: set[str] = set()
        self._lines: records.Appender | None = None

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Artifacts are of `stage`, and of no chunk before one is named; outside of stages nothing is dumped."""
        outer = self.stage, self.chunk
        self.stage, self.chunk = stage, NO_CHUNK
        try:
            yield
        finally:
            self.stage, self.chunk = outer

    @contextmanager
    def own_code(self) -> Iterator[None]:
        """Whatever fails in here is our fault, not the framework's: running out of memory apart."""
        try:
            yield
        except (InjectionError, MemoryError):
            raise
        except BaseException as error:
            self._report(error)
            raise

    def wants(self, name: str) -> bool:
        """Whether `name` is dumped or injected now."""
        return self.stage is not None and (name in self._chosen or name in self._injected)

    def take(self, name: str, value: Any, source: str, beside: tuple[str, Any] | None = None) -> Any:
        """Dump an artifact that has just been made.

        Args:
            value: a tensor, a numpy array, a number, or a collection of integers.
            source: who made it.
            beside: name and value of an artifact of the same place that the donor's, if it has it, must equal.

        Returns:
            What the framework is to go on with: `value`, or the donor's values where they are injected.

        Raises:
            InjectionError: the donor has no such artifact, or it does not fit.
        """
        if self.stage is None or not self.wants(name):
            return value
        call = self._calls[self.stage, self.chunk, name]
        self._calls[self.stage, self.chunk, name] += 1
        place = (self.stage, self.chunk, call, name)
        if name in self._injected:
            value = self._donated(place, value, beside)
        if name in self._chosen:
            self._write(place, to_array(value), source)
        return value

    def finish(self) -> None:
        """After the last stage.

        Raises:
            InjectionError: an artifact to inject was never made.
        """
        if unused := sorted(self._injected - self._replaced):
            raise InjectionError(f"{unused[0]} was never made in this run, so nothing was injected there")

    def _donated(self, place: _Place, value: Any, beside: tuple[str, Any] | None) -> Any:
        assert self._donor is not None
        key, of = "/".join(map(str, place)), self._donor.identity.run
        given, own = self._donor.array(place), to_array(value)
        if given is None:
            raise InjectionError(f"{key}: {of} has no such artifact to inject")
        rows = slice(1 if place[-1] in _ANY_NUMBER_OF_ROWS else 0, None)
        if given.shape[rows] != own.shape[rows] or given.ndim != own.ndim:
            raise InjectionError(f"{key}: that of {of} has the shape {given.shape}, here it is {own.shape}")
        if given.dtype != own.dtype:
            raise InjectionError(f"{key}: that of {of} is of {given.dtype}, here it is of {own.dtype}")
        if beside is not None:
            theirs = self._donor.array((*place[:-1], beside[0]))
            if theirs is not None and theirs.tolist() != to_array(beside[1]).tolist():
                raise InjectionError(f"{key}: the {beside[0]} of {of} are not those of this run")
        self._replaced.add(place[-1])
        return _like(value, given)

    def _write(self, place: _Place, array: Any, source: str) -> None:
        from safetensors.numpy import save_file

        from indexscope.artifacts.dump import artifact_key, canonical, content_hash

        if self._lines is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lines = records.Appender(str(self._directory / LINES))
        stage, chunk, call, name = place
        tensor_file = f"{stage}.{chunk}.{call}.{name}.safetensors"
        path = self._directory / tensor_file
        if path.exists():
            raise FileExistsError(f"{tensor_file} is there already: two processes made one artifact")
        save_file({artifact_key(*place): canonical(array)}, path)
        self._lines.record(
            stage=stage,
            chunk=chunk,
            call=call,
            name=name,
            shape=list(array.shape),
            dtype=array.dtype.name,
            sha256=content_hash(array),
            source=source,
            tensor_file=tensor_file,
            injected=name in self._injected,
        )


def to_array(value: Any) -> Any:
    """A numpy array of a tensor (no copy on a CPU), an array, a number, a list, or a set (sorted) of integers."""
    import numpy as np

    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    return np.array(sorted(value) if isinstance(value, set) else value, dtype=np.int64)


def _like(value: Any, array: Any) -> Any:
    """The values of `array` as what `value` is: a tensor of its device, dtype and layout, an array, or a set.

    A tensor made here is an inference tensor where the framework works in torch.inference_mode.
    """
    import numpy as np

    array = np.array(array)  # writable, and no view of a file's bytes
    if isinstance(value, set):
        return set(array.tolist())
    if not hasattr(value, "detach"):
        return array.view(type(value))
    import torch

    # PyTorch's own allocation, so that alignment is what it would have been.
    if array.shape == tuple(value.shape):
        tensor = torch.empty_like(value)
    else:
        tensor = torch.empty(array.shape, dtype=value.dtype, device=value.device)
    return tensor.copy_(torch.from_numpy(array))


def source_of(function: Callable[..., Any]) -> str:
    """Where a function is, without this machine's folders: package/module.py:LINE Class.name."""
    code = inspect.unwrap(function).__code__
    file = PurePath(code.co_filename)
    depth = function.__module__.count(".") + (2 if file.name == "__init__.py" else 1)
    return f"{'/'.join(file.parts[-depth:])}:{code.co_firstlineno} {function.__qualname__}"

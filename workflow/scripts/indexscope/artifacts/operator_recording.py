"""Record every operator that ColBERT calls while it encodes and indexes. Runs where torch and colbert are.

Operators are seen where torch dispatches them (TorchDispatchMode) under torch.inference_mode, as ColBERT
encodes: there, aten.softmax.int, aten.linear and the like arrive whole, not decomposed. Inputs are written
before the call, for operators may work in place. A line and a tensor at a time is in memory.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from indexscope.artifacts.operator_store import Operator, Output, Writer
from indexscope.artifacts.operator_values import Encoder, Unsupported, element_bytes, outputs_of, tensors_of

FRAMEWORKS = ("colbert", "transformers")  # packages whose lines are named as an operator's source

_UNINITIALIZED = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "empty_permuted")
_RANDOM = ("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal", "uniform", "random")


class Recorder(TorchDispatchMode):  # type: ignore[misc]  # torch is not there when types are checked
    """Records what runs in its context, on the thread that made it, case after case."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self._constants: dict[int, str] = {}
        self._kept: list[Any] = []
        self._thread = threading.get_ident()
        self._paused = False
        self._modules: list[str] = []
        self._case = self._operators = self._outputs = 0

    def begin(self, case: int) -> None:
        """What follows is of this case."""
        self._case, self._operators, self._outputs = case, 0, 0
        self._modules.clear()

    def keep(self, parameters: Iterable[Any]) -> None:
        """Write tensors that never change now, so that they need not be hashed at each use."""
        for parameter in parameters:
            self._kept.append(parameter)  # its address stays its own
            encoded = Encoder(self._writer, {}).tensor(parameter)
            storage = (
                parameter.untyped_storage() if hasattr(parameter, "untyped_storage") else parameter.storage()
            )
            self._constants[storage.data_ptr()] = encoded["storage"]

    def follow(self, model: Any, outputs_of: Callable[[str], bool]) -> None:
        """Name modules of `model` as they run, and record the output of those that `outputs_of` chooses."""
        for path, module in model.named_modules():
            if path:
                name = path.removeprefix("model.")
                module.register_forward_pre_hook(functools.partial(self._enter, name))
                module.register_forward_hook(functools.partial(self._leave, name, outputs_of(name)))

    def output(self, module: str, tensor: Any, final: bool = False) -> None:
        """Record what a module, or a step, made."""
        with self.paused():
            compact = Encoder(self._writer, {}).tensor(tensor.detach().cpu().contiguous().clone())
        self._writer.output(Output(self._case, self._outputs, module, final, compact))
        self._outputs += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in this context is not recorded; nothing changes on another thread."""
        before = self._paused
        if threading.get_ident() == self._thread:
            self._paused = True
        try:
            yield
        finally:
            self._paused = before

    def unrecorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, paused."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            with self.paused():
                return function(*args, **kwargs)

        return call

    def whole(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, recorded as one operator of that name (operator_values.FUNCTIONS)."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, self.unrecorded(function), args, kwargs, None, draws=False)

        return call

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        name = str(func)
        base = name.split(".")[1]
        uninitialized = "its result is memory that is not initialized" if base in _UNINITIALIZED else None
        # Names are for versions that do not tag their operators.
        tag = getattr(getattr(torch, "Tag", None), "nondeterministic_seeded", None)
        draws = tag in getattr(func, "tags", ()) or base.rstrip("_") in _RANDOM
        return self._call(name, func, args, kwargs, uninitialized, draws)

    def _call(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        skipped: str | None,
        draws: bool,
    ) -> Any:
        module, source = _caller()
        arguments: list[Any] = []
        keywords: dict[str, Any] = {}
        outputs: list[Any] = []
        random_state = None
        encoder = Encoder(self._writer, self._constants)
        with self.paused():
            try:
                arguments = [encoder.encode(each) for each in args]
                keywords = {key: encoder.encode(each) for key, each in kwargs.items()}
                if draws:
                    random_state = self._random_state(args, kwargs)
            except Unsupported as reason:
                skipped = str(reason)
        result = function(*args, **kwargs)
        if skipped is None:
            with self.paused():
                try:
                    outputs = [encoder.encode(each) for each in outputs_of(result, args)]
                except Unsupported as reason:
                    skipped = str(reason)
        if skipped is not None:
            arguments, keywords, outputs, random_state = [], {}, [], None
        self._writer.operator(
            Operator(
                self._case,
                self._operators,
                self._modules[-1] if self._modules else module,
                name,
                source,
                arguments,
                keywords,
                outputs,
                random_state,
                skipped,
            )
        )
        self._operators += 1
        return result

    def _random_state(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        values = [*args, *kwargs.values()]
        if any(
            torch.device(each.device if isinstance(each, torch.Tensor) else each).type != "cpu"
            for each in values
            if isinstance(each, (torch.Tensor, torch.device))
        ):
            raise Unsupported(
                "it draws random numbers on a GPU, whose generator another version cannot repeat"
            )
        return self._writer.storage(element_bytes(torch.get_rng_state()))

    def _enter(self, name: str, *_: Any) -> None:
        self._modules.append(name)

    def _leave(self, name: str, recorded: bool, module: Any, inputs: Any, output: Any) -> None:
        if recorded and not self._paused:
            self.output(name, tensors_of(output)[0])
        self._modules.pop()


def _caller() -> tuple[str, str | None]:
    """The innermost function of a framework on the stack, and its file:line below site-packages."""
    frame = sys._getframe(2)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").split(".")[0]
        if package in FRAMEWORKS:
            code = frame.f_code
            root = Path(sys.modules[package].__file__ or "").parents[1]
            name = getattr(code, "co_qualname", code.co_name)  # qualified from Python 3.11 on
            return name, f"{os.path.relpath(code.co_filename, root)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "", None

"""Arguments and results of operators as JSON, tensors by their storage's hash. Runs where torch is.

Nothing is pickled: what is not a tensor, a number, a text, a dtype, device, layout or memory format, or a
sequence of these cannot be recorded (Unsupported), and its operator is not replayed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from indexscope.artifacts.operator_store import Bytes, Reader, Writer

# Functions that are recorded whole, as one operator: what they call is not torch's.
FUNCTIONS = {
    "compute_faiss_kmeans": ("colbert.indexing.collection_indexer", "compute_faiss_kmeans"),
    "numpy.packbits": ("numpy", "packbits"),
}
_KINDS = {
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}


class Unsupported(Exception):
    """A value that cannot be recorded; the message says which."""


class Encoder:
    """Encodes the values of one call. Tensors that share a storage share its `slot`.

    Args:
        constants: hashes of storages that never change, by address: those of parameters.
    """

    def __init__(self, writer: Writer, constants: dict[int, str]) -> None:
        self._writer = writer
        self._constants = constants
        self._slots: dict[int, int] = {}

    def encode(self, value: Any) -> Any:
        """JSON for `value`; tensors are written as they are now.

        Raises:
            Unsupported: it, or a part of it, is of another type.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, torch.Tensor):
            return {"tensor": self.tensor(value)}
        if isinstance(value, np.ndarray):
            return {"array": self.tensor(torch.from_numpy(value))}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        for name, kind in _KINDS.items():
            if isinstance(value, kind):
                return {name: str(value).removeprefix("torch.")}
        if isinstance(value, list):
            return [self.encode(each) for each in value]
        if isinstance(value, tuple):
            return {"tuple": [self.encode(each) for each in value]}
        raise Unsupported(f"a value of type {type(value).__name__} cannot be recorded")

    def tensor(self, tensor: Any) -> dict[str, Any]:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise Unsupported(f"a tensor of layout {tensor.layout} cannot be recorded")
        storage = _untyped(tensor)
        address = storage.data_ptr()
        digest = self._constants.get(address) if address else None
        return {
            "storage": digest or self._writer.storage(_bytes_of(storage, tensor.device)),
            "slot": self._slots.setdefault(address, len(self._slots)),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "stride": list(tensor.stride()),
            "offset": tensor.storage_offset(),
            "device": tensor.device.type,
        }


class Decoder:
    """Makes the values of one call: fresh memory for each slot, with what was recorded in it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._slots: dict[tuple[int, str], Any] = {}

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(each) for each in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "tensor":
            return self.tensor(content)
        if kind == "array":
            return self.tensor(content).numpy()
        if kind == "device":
            return torch.device(content)
        if kind == "tuple":
            return tuple(self.decode(each) for each in content)
        return getattr(torch, content)

    def tensor(self, content: dict[str, Any]) -> Any:
        key = (content["slot"], content["storage"])
        if key not in self._slots:
            self._slots[key] = memory(self._reader.storage(content["storage"])).to(content["device"])
        tensor = torch.empty(0, dtype=getattr(torch, content["dtype"]), device=content["device"])
        storage = _untyped(self._slots[key])
        return tensor.set_(storage, content["offset"], content["shape"], content["stride"])


def memory(values: Bytes) -> Any:
    """(bytes,) uint8 in memory of torch's own, aligned as torch aligns it; not through an operator."""
    fresh = torch.empty(len(values), dtype=torch.uint8)
    fresh.numpy()[:] = values
    return fresh


def element_bytes(tensor: Any) -> Bytes:
    """(elements × bytes of an element,) of a tensor of any layout, in the order of its elements."""
    values = tensor.detach().cpu().contiguous()
    start = values.storage_offset() * values.element_size()
    size: int = values.numel() * values.element_size()
    return _bytes_of(_untyped(values), values.device)[start : start + size]


def tensors_of(value: Any) -> list[Any]:
    """What a call returned, as a flat list."""
    return (
        [part for each in value for part in tensors_of(each)] if isinstance(value, (list, tuple)) else [value]
    )


def outputs_of(result: Any, arguments: Any) -> list[Any]:
    """What a call made: what it returned, or, where it returns nothing, its arguments, changed in place."""
    return tensors_of(list(arguments) if result is None else result)


def find(operator: str) -> Callable[..., Any] | None:
    """The operator, such as aten.softmax.int, or function of this version; None where there is no such."""
    try:
        if operator in FUNCTIONS:
            module, name = FUNCTIONS[operator]
            function: Callable[..., Any] = getattr(importlib.import_module(module), name)
            return function
        namespace, name, overload = operator.split(".")
        function = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    except (AttributeError, RuntimeError, ImportError):
        return None
    return function


def _untyped(tensor: Any) -> Any:
    # Before torch 2.0, typed storages had to be asked.
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage().untyped()


def _bytes_of(storage: Any, device: Any) -> Bytes:
    view = torch.empty(0, dtype=torch.uint8, device=device).set_(storage)
    values: Bytes = view.cpu().numpy()
    return values

"""A table of its own for each segment, taken from the model instead of computed: from a file, or from the loaded model.

Both are alternatives of opensearch-project/k-NN#1507. What faiss has no format for is stored as bare float32 values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from indexscope.run_record import InputError

from .reading import innermost, read_index


def prepare(folder: Path, segment: Path) -> None:
    """Write into `folder` the model of a segment (its codebooks, no vectors) and the model's table.

    Raises:
        InputError: the segment cannot be read, or is of a type that has no table.
    """
    index = read_index(segment, "default")
    values = _table(index)
    if values is None or not len(values):
        raise InputError(f"{segment}: faiss computes no table for it, and none can be stored")
    values.tofile(table_file(folder / segment.name))
    index.reset()
    faiss.write_index(index, str(model_file(folder / segment.name)))


def table_file(segment: Path) -> Path:
    """Where `prepare` puts the table of a segment's model; the tiny index that primes has a model of its own."""
    return segment.with_name(f"{_model(segment)}.table")


def model_file(segment: Path) -> Path:
    return segment.with_name(f"{_model(segment)}.faiss")


def from_file(path: Path) -> Any:
    """Load a segment and read its table from the file.

    Raises:
        InputError: the segment or the file cannot be read, or the table is not of this segment's size.
    """
    index = read_index(path, "skip")
    values = _allocate(index)
    stored = table_file(path)
    if not stored.is_file() or stored.stat().st_size != values.nbytes:
        raise InputError(
            f"{stored} is missing or has not the {values.nbytes} bytes of the table: measure again"
        )
    with stored.open("rb") as file:
        file.readinto(values.data.cast("B"))
    _use(index)
    return index


def model(path: Path) -> Any:
    """The model of a segment, with the table that faiss computes for it."""
    return read_index(model_file(path), "default")


def from_model(path: Path, model: Any) -> Any:
    """Load a segment and copy the table of its model into it.

    Raises:
        InputError: the segment cannot be read, or has another table than the model.
    """
    index = read_index(path, "skip")
    source = _table(model)
    values = _allocate(index)
    if source is None or source.shape != values.shape:
        raise InputError(f"{path} has not the geometry of {model_file(path)}: measure again")
    values[:] = source
    _use(index)
    return index


def _model(segment: Path) -> str:
    return "primer-model" if segment.stem == "primer" else "model"


def _quantizer(index: Any) -> Any:
    return faiss.downcast_index(innermost(index).storage).pq


def _table(index: Any) -> npt.NDArray[np.float32] | None:
    """The table of an index, in place; it must not be used when the index is gone."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVFPQ):
        held = inner.precomputed_table
    elif isinstance(inner, faiss.IndexHNSWPQ):
        held = _quantizer(inner).sdc_table
    else:
        return None
    values: npt.NDArray[np.float32] = faiss.rev_swig_ptr(held.data(), held.size())
    return values


def _allocate(index: Any) -> npt.NDArray[np.float32]:
    """Make room for the table of an index that was loaded without."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVFPQ):
        inner.precomputed_table.resize(inner.nlist * inner.pq.M * inner.pq.ksub)
    else:
        pq = _quantizer(inner)
        pq.sdc_table.resize(pq.M * pq.ksub * pq.ksub)
    values = _table(index)
    assert values is not None
    return values


def _use(index: Any) -> None:
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVFPQ):
        inner.use_precomputed_table = 1

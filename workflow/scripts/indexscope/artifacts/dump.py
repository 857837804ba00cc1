"""Dump the artifacts of a run: every tensor under a unique key, with shape, dtype and hash.

Runs in the framework's environment: numpy and safetensors, and torch only where index files are read.

The key is `{stage}/{chunk}/{call}/{name}`. For the artifacts of a finished index the stage is `final` and the
call 0; the chunk is the index's chunk number, or `-` for an artifact of the whole index:

    final/0/0/codes, final/0/0/residuals, final/0/0/doclens
    final/-/0/centroids, avg_residual, bucket_cutoffs, bucket_weights, ivf, ivf_lengths

Tensors lie beside the manifest, one safetensors file for the whole index and one for each chunk, so that one
chunk at a time is in memory.

A run under the profiler `dumps` has written the artifacts that arose on the way itself (indexscope.artifacts.hooks
has their keys). They come first in the manifest; their tensors stay where they are.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexscope.artifacts import capture
from indexscope.measure import records
from indexscope.run_record import (
    COMPLETED,
    FORMAT,
    InputError,
    RunIdentity,
    read_json_object,
    read_run_record,
)

FINAL_STAGE = "final"
WHOLE_INDEX = "-"

# Index file → the tensors in it, as CollectionIndexer.finalize of colbert.indexing lists them.
_WHOLE_INDEX_FILES = {
    "centroids.pt": ("centroids",),
    "avg_residual.pt": ("avg_residual",),
    "buckets.pt": ("bucket_cutoffs", "bucket_weights"),
    "ivf.pid.pt": ("ivf", "ivf_lengths"),
}
_CHUNK_FILES = {"{chunk}.codes.pt": ("codes",), "{chunk}.residuals.pt": ("residuals",)}
_DOCLENS_FILE = "doclens.{chunk}.json"

_DUMPS_REMEDY = "delete the run directory and run index_collection.py again"
_INDEX_REMEDY = "the index is incomplete; delete the run directory and run index_collection.py again"
_MANIFEST_REMEDY = "run dump_artifacts.py on the run directory"

Array = NDArray[Any]
TensorReader = Callable[[Path], Sequence[Array]]


@dataclass(frozen=True)
class Artifact:
    """One dumped tensor; `tensor_file` is relative to the manifest.

    `source_file` is, of a finished index, the index's file, relative to the run directory; of an artifact that
    arose on the way, the framework's function that made it: file:line qualified name.
    """

    stage: str
    chunk: str
    call: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    source_file: str
    tensor_file: str
    injected: bool = False  # the values are another run's

    @property
    def key(self) -> str:
        return artifact_key(self.stage, self.chunk, self.call, self.name)


@dataclass(frozen=True)
class Manifest:
    """What was dumped of one run; there are no artifacts of a run that did not complete, or of no `layout`."""

    run: RunIdentity
    outcome: str
    outcome_detail: str | None
    layout: str | None  # of the index's files, as the framework's adapter names it; None: it cannot be dumped
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True)
class _Shard:
    """The tensors of one chunk or of the whole index: name → (source file, values)."""

    chunk: str
    tensors: Mapping[str, tuple[str, Array]]


def every_index_has() -> list[str]:
    """Keys of the artifacts that an index of any size has: the whole index's and the first chunk's."""
    whole = [name for names in _WHOLE_INDEX_FILES.values() for name in names]
    chunk = [name for names in _CHUNK_FILES.values() for name in names] + ["doclens"]
    return [artifact_key(FINAL_STAGE, WHOLE_INDEX, 0, name) for name in whole] + [
        artifact_key(FINAL_STAGE, "0", 0, name) for name in chunk
    ]


def artifact_key(stage: str, chunk: str, call: int, name: str) -> str:
    return f"{stage}/{chunk}/{call}/{name}"


def canonical(array: Array) -> Array:
    """The same values, C-contiguous and little-endian; a copy only where needed. Keeps zero dimensions."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def content_hash(array: Array) -> str:
    """SHA-256 of the dtype, the shape and the little-endian contiguous bytes.

    The hashed bytes are the line `{dtype} {shape}` in ASCII, such as `float16 2048,96`, a newline, and then
    the values. Memory layout and byte order do not change the hash; a NaN's payload and the sign of zero do.
    """
    values = canonical(array)
    digest = hashlib.sha256(f"{array.dtype.name} {','.join(map(str, array.shape))}\n".encode("ascii"))
    digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def strip_ivf_padding(ivf: Array, ivf_lengths: Array, path: Path) -> Array:
    """Remove the zeros that ColBERT appends to the IVF so that strided reads stay inside.

    Args:
        ivf: (entries + padding,) passage ids, list after list.
        ivf_lengths: (partitions,) entries of each list.

    Returns:
        (entries,) with entries = sum of `ivf_lengths`.

    Raises:
        InputError: the IVF is shorter than its lists, or what follows the lists is not zero.
    """
    entries = int(ivf_lengths.sum())
    if len(ivf) < entries:
        raise InputError(
            f"{path}: the IVF has {len(ivf)} of the {entries} entries of its lists: {_INDEX_REMEDY}"
        )
    if ivf[entries:].any():
        raise InputError(f"{path}: entries after the IVF's last list are not zero padding: {_INDEX_REMEDY}")
    return ivf[:entries]


def read_tensors(path: Path) -> list[Array]:
    """Read a file that `torch.save` wrote: one tensor, or a tuple or list of tensors.

    Raises:
        InputError: the file is missing, truncated, or holds something else.
    """
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        tensors = list(value) if isinstance(value, (tuple, list)) else [value]
        return [tensor.numpy() for tensor in tensors]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {_INDEX_REMEDY}") from error
    except Exception as error:  # torch and pickle raise many types for damaged files
        problem = f"cannot be read as tensors ({type(error).__name__})"
        raise InputError(f"{path} {problem}: {_INDEX_REMEDY}") from error


def dump_artifacts(run_directory: Path, manifest_path: Path, read: TensorReader = read_tensors) -> Manifest:
    """Dump the artifacts of `run_directory`/index beside `manifest_path`, and write the manifest last.

    Artifacts that the run itself dumped are listed where they are. A run whose outcome is not `completed` gets
    a manifest without artifacts. Of an index of a layout that is not known here, nothing is dumped.

    Raises:
        InputError: run.json is missing or damaged, or a completed run's index or dumps are incomplete. Then
            neither tensors nor a manifest are written.
    """
    record_path = run_directory / "run.json"
    record = read_run_record(record_path)
    identity = RunIdentity.of(record["run"], record_path)
    layout = _layout_of(record["run"].get("framework"), record_path)
    output = manifest_path.parent
    output.mkdir(parents=True, exist_ok=True)
    artifacts: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=output) as partial_name:
        partial = Path(partial_name)
        if record["outcome"] == COMPLETED:
            artifacts += _dumped_by_the_run(run_directory / capture.FOLDER, output)
        if record["outcome"] == COMPLETED and layout is not None:
            index = run_directory / "index"
            for chunk in _chunks(index):
                artifacts += _write_shard(_read_shard(index, chunk, read), partial)
        manifest = Manifest(
            identity, record["outcome"], record.get("outcome_detail"), layout, tuple(artifacts)
        )
        _write_manifest(manifest, partial / manifest_path.name)
        for stale in output.glob("tensors*.safetensors"):
            stale.unlink()
        # The manifest's move comes last: where there is a manifest, its tensors are there.
        for path in [*sorted(partial.glob("tensors*.safetensors")), partial / manifest_path.name]:
            path.replace(output / path.name)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that `dump_artifacts` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    value = read_json_object(path, remedy=_MANIFEST_REMEDY)
    try:
        artifacts = tuple(Artifact(**{**row, "shape": tuple(row["shape"])}) for row in value["artifacts"])
        identity = RunIdentity.of(value["run"], path)
        return Manifest(identity, value["outcome"], value["outcome_detail"], value["layout"], artifacts)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a manifest ({error}): {_MANIFEST_REMEDY}") from error


def _dumped_by_the_run(dumps: Path, output: Path) -> list[Artifact]:
    """In the order in which they arose; none where the run dumped nothing."""
    lines_path = dumps / capture.LINES
    if not lines_path.exists():
        return []
    artifacts: dict[str, Artifact] = {}
    try:
        for line in records.read(str(lines_path)):
            artifact = Artifact(
                **{name: line[name] for name in ("stage", "chunk", "call", "name", "dtype", "sha256")},
                shape=tuple(line["shape"]),
                source_file=line["source"],
                tensor_file=os.path.relpath(dumps / line["tensor_file"], output),
                injected=line["injected"],
            )
            if artifact.key in artifacts:
                raise InputError(f"{lines_path}: {artifact.key} is there twice: {_DUMPS_REMEDY}")
            if not (dumps / line["tensor_file"]).exists():
                raise InputError(f"{dumps / line['tensor_file']} is missing: {_DUMPS_REMEDY}")
            artifacts[artifact.key] = artifact
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{lines_path} is damaged ({error}): {_DUMPS_REMEDY}") from error
    return list(artifacts.values())


def _layout_of(framework: Any, record_path: Path) -> str | None:
    try:
        layout: str | None = importlib.import_module(f"indexscope.frameworks.{framework}").LAYOUT
    except (ImportError, AttributeError):
        raise InputError(
            f"{record_path}: run.framework: {framework!r} has no adapter in indexscope/frameworks that names "
            "its LAYOUT; put it back, or run index_collection.py again"
        ) from None
    return layout


def _write_manifest(manifest: Manifest, path: Path) -> None:
    value = {"format": FORMAT, **asdict(manifest)}
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _write_shard(shard: _Shard, directory: Path) -> list[Artifact]:
    from safetensors.numpy import save_file

    tensor_file = (
        "tensors.safetensors" if shard.chunk == WHOLE_INDEX else f"tensors-{shard.chunk}.safetensors"
    )
    artifacts, values = [], {}
    for name, (source_file, array) in shard.tensors.items():
        artifact = Artifact(
            stage=FINAL_STAGE,
            chunk=shard.chunk,
            call=0,
            name=name,
            shape=array.shape,
            dtype=array.dtype.name,
            sha256=content_hash(array),
            source_file=f"index/{source_file}",
            tensor_file=tensor_file,
        )
        artifacts.append(artifact)
        values[artifact.key] = canonical(array)
    save_file(values, directory / tensor_file)
    return artifacts


def _chunks(index: Path) -> list[str]:
    path = index / "metadata.json"
    return [WHOLE_INDEX, *map(str, range(_count(_json_file(path), "num_chunks", path)))]


def _read_shard(index: Path, chunk: str, read: TensorReader) -> _Shard:
    return _read_whole_index(index, read) if chunk == WHOLE_INDEX else _read_chunk(index, chunk, read)


def _read_whole_index(index: Path, read: TensorReader) -> _Shard:
    tensors = _read_files(index, _WHOLE_INDEX_FILES, read)
    (file, ivf), (_, ivf_lengths) = tensors["ivf"], tensors["ivf_lengths"]
    tensors["ivf"] = (file, strip_ivf_padding(ivf, ivf_lengths, index / file))
    return _Shard(WHOLE_INDEX, tensors)


def _read_chunk(index: Path, chunk: str, read: TensorReader) -> _Shard:
    files = {file.format(chunk=chunk): names for file, names in _CHUNK_FILES.items()}
    tensors = _read_files(index, files, read)
    doclens_file = _DOCLENS_FILE.format(chunk=chunk)
    tensors["doclens"] = (doclens_file, _read_doclens(index / doclens_file))
    metadata_path = index / f"{chunk}.metadata.json"
    embeddings = _count(_json_file(metadata_path), "num_embeddings", metadata_path)
    for name, (file, array) in tensors.items():
        count = int(array.sum()) if name == "doclens" else len(array)
        if count != embeddings:
            raise InputError(
                f"{index / file} holds {count} embeddings where {metadata_path.name} says {embeddings}: "
                f"{_INDEX_REMEDY}"
            )
    return _Shard(chunk, tensors)


def _read_files(
    index: Path, files: Mapping[str, tuple[str, ...]], read: TensorReader
) -> dict[str, tuple[str, Array]]:
    tensors = {}
    for file, names in files.items():
        arrays = read(index / file)
        if len(arrays) != len(names):
            raise InputError(f"{index / file} holds {len(arrays)} tensors, not {len(names)}: {_INDEX_REMEDY}")
        tensors.update({name: (file, array) for name, array in zip(names, arrays, strict=True)})
    return tensors


def _read_doclens(path: Path) -> Array:
    lengths = _json_file(path)
    if not isinstance(lengths, list) or not all(isinstance(length, int) for length in lengths):
        raise InputError(f"{path} is not a list of lengths: {_INDEX_REMEDY}")
    return np.array(lengths, dtype=np.int64)


def _json_file(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {_INDEX_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): {_INDEX_REMEDY}") from error


def _count(metadata: Any, key: str, path: Path) -> int:
    value = metadata.get(key) if isinstance(metadata, dict) else None
    if not isinstance(value, int):
        raise InputError(f"{path}: {key}: {value!r} is not a number: {_INDEX_REMEDY}")
    return value

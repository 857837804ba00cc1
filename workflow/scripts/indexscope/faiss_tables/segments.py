"""Segments of one model: indexes with the same trained codebooks, each with its own vectors, as files in a folder.

`segment-000.faiss` …, `queries.npy`, `primer.faiss` (a tiny index of the same type, which a process loads before it is
measured) and `manifest.json`. What builds runs in the environment of faiss; what reads is standard library.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.run_record import FORMAT, InputError, read_json_object

from . import formulas

MANIFEST, QUERIES, PRIMER = "manifest.json", "queries.npy", "primer.faiss"
QUERY_COUNT = 10  # below 20, where faiss would call BLAS, whose buffers are none of a segment's
_REMEDY = "run build_faiss_segments.py again"
_SPREAD = 0.3  # standard deviation of a vector around its centre, whose values have one of 1
_PRIMER_VECTORS = 512
# Streams of the generator besides those of segments, which are counted from 0.
_CENTRES, _TRAINING, _QUERIES, _PRIMER = (1 << 30) + 1, (1 << 30) + 2, (1 << 30) + 3, (1 << 30) + 4


class Content(NamedTuple):
    """What determines a folder of segments."""

    index_type: str
    metric: str
    segments: int
    geometry: Mapping[str, Any]  # settings.faiss_tables.FaissGeometry

    @classmethod
    def of(cls, section: Mapping[str, Any], where: str) -> Content:
        """Check `section`.

        Raises:
            InputError: a key is missing or holds what it cannot; `where` says whose.
        """
        try:
            content = cls(
                str(section["index_type"]),
                str(section["metric"]),
                int(section["segments"]),
                dict(section["geometry"]),
            )
            formulas.Geometry.of(content.geometry)
            for key in ("training_vectors", "seed"):
                int(content.geometry[key])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: {error} is missing or damaged: {_REMEDY}") from None
        known = {
            "index_type": (formulas.IVF_FLAT, formulas.HNSW_PQ, formulas.IVF_PQ),
            "metric": (formulas.L2, formulas.INNER_PRODUCT),
        }
        for key, values in known.items():
            if section[key] not in values:
                raise InputError(f"{where}: {key}: {section[key]!r} is none of {', '.join(values)}")
        if content.segments < 1:
            raise InputError(
                f"{where}: segments: {content.segments} is no number of segments; give 1 or more"
            )
        return content

    @property
    def sizes(self) -> formulas.Geometry:
        return formulas.Geometry.of(self.geometry)


class Folder(NamedTuple):
    """A folder of segments that is complete."""

    path: Path
    content: Content
    faiss_version: str
    bytes_of: Mapping[str, int]  # file name → size

    def files(self, segments: int) -> list[Path]:
        """The first `segments` of them.

        Raises:
            InputError: there are fewer.
        """
        if not 1 <= segments <= self.content.segments:
            raise InputError(f"{self.path} holds {self.content.segments} segments, not {segments}: {_REMEDY}")
        return [self.path / segment_name(number) for number in range(segments)]

    def sizes(self, segments: int) -> list[int]:
        """Bytes of the files of the first `segments`."""
        return [self.bytes_of[path.name] for path in self.files(segments)]

    @property
    def primer(self) -> Path:
        return self.path / PRIMER

    @property
    def queries(self) -> Path:
        return self.path / QUERIES


def segment_name(number: int) -> str:
    return f"segment-{number:03d}.faiss"


def read(path: Path) -> Folder:
    """Read the manifest of a folder of segments.

    Raises:
        InputError: it is missing or damaged, or a file has another size than it says.
    """
    manifest = path / MANIFEST
    record = read_json_object(manifest, _REMEDY)
    if not isinstance(record.get("content"), dict) or not isinstance(record.get("bytes"), dict):
        raise InputError(f"{manifest}: content or bytes is missing: {_REMEDY}")
    content = Content.of(record["content"], str(manifest))
    names = [segment_name(number) for number in range(content.segments)]
    for name in [*names, QUERIES, PRIMER]:
        expected = record["bytes"].get(name)
        file = path / name
        if not file.is_file() or file.stat().st_size != expected:
            raise InputError(f"{file} is missing or has not the {expected} bytes of {MANIFEST}: {_REMEDY}")
    return Folder(path, content, str(record.get("faiss_version")), record["bytes"])


def build(content: Content, output: Path) -> None:
    """Build the folder `output`, or nothing: the same bytes whenever the same content is built with the same faiss.

    The codebooks are trained once; each segment is a copy of the trained index that its own vectors are added to.
    One thread: with several, the order in which HNSW adds is left to chance.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        seed, sizes = int(content.geometry["seed"]), content.sizes
        trained = faiss.serialize_index(
            train(content, vectors(seed, _TRAINING, int(content.geometry["training_vectors"]), sizes))
        )
        for number in range(content.segments):
            index = faiss.deserialize_index(trained)
            index.add(vectors(seed, number, sizes.vectors_per_segment, sizes))
            faiss.write_index(index, str(partial / segment_name(number)))
        np.save(partial / QUERIES, vectors(seed, _QUERIES, QUERY_COUNT, sizes))
        faiss.write_index(_primer(content), str(partial / PRIMER))
        sizes_of = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        record = {
            "format": FORMAT,
            "content": content._asdict(),
            "faiss_version": faiss.__version__,
            "bytes": sizes_of,
        }
        (partial / MANIFEST).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def vectors(seed: int, stream: int, count: int, sizes: formulas.Geometry) -> Any:
    """`count` seeded vectors around `nlist` seeded centres: (count, dim) float32."""
    import numpy as np

    centres = np.random.default_rng([seed, _CENTRES]).standard_normal(
        (sizes.nlist, sizes.dim), dtype=np.float32
    )
    generator = np.random.default_rng([seed, stream])
    chosen = centres[generator.integers(sizes.nlist, size=count)]
    return chosen + np.float32(_SPREAD) * generator.standard_normal((count, sizes.dim), dtype=np.float32)


def train(content: Content, training: Any) -> Any:
    """A trained faiss index without vectors.

    Args:
        training: (vectors, dim) float32.
    """
    import faiss

    sizes = content.sizes
    metric = faiss.METRIC_L2 if content.metric == formulas.L2 else faiss.METRIC_INNER_PRODUCT
    if content.index_type == formulas.HNSW_PQ:
        index = faiss.IndexHNSWPQ(sizes.dim, sizes.pq_m, sizes.hnsw_m, sizes.code_size, metric)
        pq = faiss.downcast_index(index.storage).pq
    else:
        quantizer = (
            faiss.IndexFlatL2(sizes.dim) if metric == faiss.METRIC_L2 else faiss.IndexFlatIP(sizes.dim)
        )
        if content.index_type == formulas.IVF_FLAT:
            index = faiss.IndexIVFFlat(quantizer, sizes.dim, sizes.nlist, metric)
        else:
            index = faiss.IndexIVFPQ(quantizer, sizes.dim, sizes.nlist, sizes.pq_m, sizes.code_size, metric)
            index.by_residual = True
        index.cp.min_points_per_centroid = 1
        pq = getattr(index, "pq", None)
    if pq is not None:
        pq.cp.min_points_per_centroid = 1
    index.train(training)
    return index


def _primer(content: Content) -> Any:
    """An index of the same type with one subquantizer, two lists and few vectors."""
    sizes = content.sizes
    small = {
        **content.geometry,
        "dim": sizes.dim // sizes.pq_m,
        "nlist": 2,
        "pq_m": 1,
        "vectors_per_segment": _PRIMER_VECTORS,
    }
    tiny = content._replace(geometry=small)
    index = train(tiny, vectors(int(small["seed"]), _PRIMER, _PRIMER_VECTORS, tiny.sizes))
    index.add(vectors(int(small["seed"]), _PRIMER, _PRIMER_VECTORS, tiny.sizes))
    return index

"""colbert-ai in small: the functions that artifacts/hooks.py replaces, on numpy arrays, each value known.

A passage is a text of letters; each letter's embedding is its code point times (1, 2). Chunks hold three passages,
batches two, docFromText four, a slice of compress four embeddings. It stands in for torch, too.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

CHUNK, BATCH, SLICE = 3, 2, 4
MODULES = {  # of the framework → what is in them
    "colbert.data.collection": ["Collection"],
    "colbert.modeling.tokenization.doc_tokenization": ["DocTokenizer"],
    "colbert.modeling.checkpoint": ["Checkpoint"],
    "colbert.indexing.collection_encoder": ["CollectionEncoder"],
    "colbert.indexing.codecs.residual": ["ResidualCodec"],
    "colbert.indexing.collection_indexer": ["CollectionIndexer", "compute_faiss_kmeans"],
}


class TensorBase(np.ndarray):
    def sort(self) -> Any:  # type: ignore[override]
        order = np.argsort(np.asarray(self), kind="stable")
        return types.SimpleNamespace(values=tensor(np.asarray(self)[order]), indices=tensor(order))


class Tensor(TensorBase):
    """Inherits sort, as torch.Tensor does."""

    def half(self) -> Any:
        return self.astype(np.float16)


def tensor(values: Any, dtype: Any = None) -> Any:
    return np.array(values, dtype=dtype).view(Tensor)


def normalize(values: Any, dim: int) -> Any:
    return values / np.linalg.norm(values, axis=dim, keepdims=True)


def compute_faiss_kmeans(dim: int, num_partitions: int, kmeans_niters: int, shared_lists: Any) -> Any:
    return tensor(shared_lists[0][0][:num_partitions], np.float32)


class Collection:
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def enumerate_batches(self, rank: int) -> Iterator[tuple[int, int, list[str]]]:
        for chunk, offset in enumerate(range(0, len(self), CHUNK)):
            yield chunk, offset, self.texts[offset : offset + CHUNK]


class DocTokenizer:
    def tensorize(self, texts: list[str], bsize: int) -> Any:
        """Shortest first, and each batch as wide as its longest passage."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        batches = []
        for start in range(0, len(texts), bsize):
            batch = [texts[number] for number in order[start : start + bsize]]
            width = max(map(len, batch))
            ids = tensor([[*map(ord, text), *[0] * (width - len(text))] for text in batch])
            batches.append((ids, tensor(ids > 0, np.int64)))
        return batches, tensor(np.argsort(order))


class Checkpoint:
    def __init__(self) -> None:
        self.doc_tokenizer = DocTokenizer()

    def doc(self, ids: Any, mask: Any, keep_dims: Any = True) -> Any:
        return tensor(np.stack([ids, 2 * ids], axis=-1), np.float32), mask

    def docFromText(self, docs: list[str], bsize: int, keep_dims: Any = True) -> Any:
        batches, reverse = self.doc_tokenizer.tensorize(docs, bsize=bsize)
        made = []
        for ids, mask in batches:
            values, _ = self.doc(ids, mask, keep_dims="return_mask")
            made += [row[keep > 0] for row, keep in zip(values, mask, strict=True)]
        made = [made[number] for number in reverse]
        return tensor(np.concatenate(made)), [len(row) for row in made]


class CollectionEncoder:
    def __init__(self) -> None:
        self.checkpoint = Checkpoint()

    def encode_passages(self, passages: list[str]) -> Any:
        if not passages:
            return None, None
        embs, doclens = [], []
        for start in range(0, len(passages), 2 * BATCH):
            batch = passages[start : start + 2 * BATCH]
            made, lengths = self.checkpoint.docFromText(batch, bsize=BATCH, keep_dims="flatten")
            embs.append(made)
            doclens += lengths
        return tensor(np.concatenate(embs)), doclens


class ResidualCodec:
    def __init__(self, centroids: Any) -> None:
        self.centroids = centroids

    def save(self, index_path: str) -> None:
        pass

    def compress(self, embs: Any) -> Any:
        codes, residuals = [], []
        for start in range(0, len(embs), SLICE):
            batch = embs[start : start + SLICE]
            made = self.compress_into_codes(batch, out_device="cpu")
            residuals.append(self.binarize(batch - self.lookup_centroids(made, out_device="cpu")))
            codes.append(made)
        return types.SimpleNamespace(
            codes=tensor(np.concatenate(codes), np.int32), residuals=tensor(np.concatenate(residuals))
        )

    def compress_into_codes(self, embs: Any, out_device: str) -> Any:
        return tensor(np.argmax(np.asarray(embs) @ np.asarray(self.centroids).T, axis=1))

    def lookup_centroids(self, codes: Any, out_device: str) -> Any:
        return tensor(np.asarray(self.centroids)[np.asarray(codes)])

    def binarize(self, residuals: Any) -> Any:
        return tensor(np.asarray(residuals) > 0, np.uint8)


class CollectionIndexer:
    def __init__(self, texts: list[str]) -> None:
        self.collection = Collection(texts)
        self.encoder = CollectionEncoder()
        self.index_files: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """What would be the index's files."""
        self.setup()
        self.train()
        self.index()
        self.finalize()
        return self.index_files

    def setup(self) -> None:
        pids = self._sample_pids()
        passages = [
            text
            for _, offset, texts in self.collection.enumerate_batches(rank=0)
            for number, text in enumerate(texts, offset)
            if number in pids
        ]
        self.sample_embs, _ = self.encoder.encode_passages(passages)

    def _sample_pids(self) -> set[int]:
        return set(range(len(self.collection)))

    def train(self) -> None:
        sample, heldout = self._concatenate_and_split_sample()
        centroids = self._train_kmeans(sample)
        self.index_files["buckets"] = self._compute_avg_residual(centroids, heldout)
        self.codec = ResidualCodec(centroids)
        self.codec.save(index_path="index")
        self.index_files["centroids"] = centroids

    def _concatenate_and_split_sample(self) -> Any:
        sample = self.sample_embs.half()
        return sample[:-1], sample[-1:]

    def _train_kmeans(self, sample: Any) -> Any:
        # The alias that hooks replace is the module's, wherever the function is from.
        indexer: Any = sys.modules.get("colbert.indexing.collection_indexer", sys.modules[__name__])
        import torch

        centroids = indexer.compute_faiss_kmeans(2, 2, 7, [[sample]])
        return torch.nn.functional.normalize(centroids, dim=-1)

    def _compute_avg_residual(self, centroids: Any, heldout: Any) -> Any:
        codec = ResidualCodec(centroids)
        codec.lookup_centroids(codec.compress_into_codes(heldout, out_device="cpu"), out_device="cpu")
        return tensor([0.5], np.float32), tensor([0.25, 0.75], np.float32), tensor(0.125, np.float32)

    def index(self) -> None:
        for chunk, _, passages in self.collection.enumerate_batches(rank=0):
            embs, doclens = self.encoder.encode_passages(passages)
            self.index_files[f"{chunk}.doclens"] = doclens
            self.index_files[f"{chunk}"] = self.codec.compress(embs.half())

    def finalize(self) -> None:
        self._build_ivf()

    def _build_ivf(self) -> None:
        chunks = [made.codes for name, made in self.index_files.items() if name.isdigit()]
        self.index_files["ivf"] = tensor(np.concatenate(chunks), np.int64).sort().indices


def build_index(texts: list[str]) -> dict[str, Any]:
    """As the adapter of the toy framework calls it: the modules are imported, and thereby hooked, first."""
    for name in MODULES:
        __import__(name)
    return CollectionIndexer(texts).run()

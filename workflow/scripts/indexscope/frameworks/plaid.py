"""What colbert-ai's PLAID indexes have in common, whichever library builds them. Standard library only."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Sequence


def observe_faiss_kmeans(
    dim: int, num_partitions: int, kmeans_niters: int, shared_lists: Sequence[Any], *_: Any, **__: Any
) -> Dict[str, Any]:
    """Arguments of colbert.indexing.collection_indexer.compute_faiss_kmeans."""
    return {
        "fact": "kmeans",
        "backend": "faiss",
        "points": len(shared_lists[0][0]),
        "partitions": num_partitions,
        "iterations": kmeans_niters,
    }


def observe_torch_kmeans(
    sample: Any, dim: int, num_partitions: int, kmeans_niters: int, *_: Any, **__: Any
) -> Dict[str, Any]:
    """Arguments of ragatouille.models.torch_kmeans.compute_pytorch_kmeans."""
    return {
        "fact": "kmeans",
        "backend": "torch",
        "points": len(sample),
        "partitions": num_partitions,
        "iterations": kmeans_niters,
    }


# Phases of CollectionIndexer.run, which the study could not tell apart from each other's time.
PHASES = {
    ("colbert.indexing.collection_indexer", "CollectionIndexer.setup"): "planning",
    ("colbert.indexing.collection_indexer", "CollectionIndexer.train"): "training",
    ("colbert.indexing.collection_indexer", "CollectionIndexer.index"): "encoding",
    ("colbert.indexing.collection_indexer", "CollectionIndexer.finalize"): "finalizing",
}

OBSERVERS = {
    ("colbert.indexing.collection_indexer", "compute_faiss_kmeans"): observe_faiss_kmeans,
    ("ragatouille.models.torch_kmeans", "compute_pytorch_kmeans"): observe_torch_kmeans,
}


def load_extensions(cuda: bool) -> None:
    """Load ColBERT's C++/CUDA extensions, which compiles what is not compiled yet.

    Raises:
        RuntimeError, OSError, subprocess.CalledProcessError: the compiler failed.
    """
    from colbert.indexing.codecs.residual import ResidualCodec
    from colbert.modeling.colbert import ColBERT

    # Each loads what the device at hand needs, and nothing otherwise.
    for owner in (ColBERT, ResidualCodec):
        owner.try_load_torch_extensions(cuda)


def ragatouille_choice(passages: int) -> Dict[str, int]:
    """What RAGatouille 0.0.9 sets by the number of passages, its batch size included.

    Source: ragatouille/models/index.py, PLAIDModelIndex.build.
    """
    iterations = 4 if passages > 100_000 else 10 if passages > 50_000 else 20
    return {"nbits": 4 if passages < 10_000 else 2, "index_bsize": 32, "kmeans_niters": iterations}


def resolve(index_path: str) -> Dict[str, Any]:
    """Resolved settings of a finished index, read from metadata.json and the chunks' metadata."""
    with open(os.path.join(index_path, "metadata.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    config = metadata["config"]
    passages = 0
    for chunk in range(metadata["num_chunks"]):
        with open(os.path.join(index_path, "%d.metadata.json" % chunk), encoding="utf-8") as file:
            passages += json.load(file)["num_passages"]
    resolved = {name: config[name] for name in ("dim", "nbits", "doc_maxlen", "index_bsize")}
    resolved.update(
        passages=passages,
        embeddings=metadata["num_embeddings"],
        partitions=metadata["num_partitions"],
        chunks=metadata["num_chunks"],
    )
    return resolved

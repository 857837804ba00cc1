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


OBSERVERS = {
    ("colbert.indexing.collection_indexer", "compute_faiss_kmeans"): observe_faiss_kmeans,
    ("ragatouille.models.torch_kmeans", "compute_pytorch_kmeans"): observe_torch_kmeans,
}


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

"""What colbert-ai's PLAID indexes have in common, whichever library builds them. Standard library only."""

from __future__ import annotations

import datetime
import functools
import json
import os
import socket
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from . import Setting

RENDEZVOUS_PORT = "INDEXSCOPE_RENDEZVOUS_PORT"  # environment variable: where the ranks of this run meet
# The supervisor ends a run that takes too long; ranks may wait for rank 0's k-means as long as that takes.
_RANKS_WAIT = datetime.timedelta(days=365)


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

CHUNK_PASSAGES = Setting(
    Optional[int],
    None,
    "passages of a chunk; empty: the library's 25,000; smaller chunks lose less when a run is interrupted",
    {"gt": 0},
)

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


def patches(run: Dict[str, Any], ranks: int = 1) -> Dict[Tuple[str, str], Callable[[Any], Any]]:
    """What is put in the place of colbert-ai's own, in every process of a run: {(module, qualname): wrap}.

    colbert-ai 0.2.22 knows no process group but nccl's (colbert/utils/distributed.py): on a CPU its ranks would each
    believe that they are alone, and fail at the first barrier. Its launcher (colbert/infra/launcher.py) sets
    CUDA_VISIBLE_DEVICES to 0, 1, ..., whichever GPUs a run was given, and lets ranks meet at a port that it draws
    from a thousand without looking whether it is free.
    """
    found: Dict[Tuple[str, str], Callable[[Any], Any]] = {}
    if run["device"] == "cuda":
        found["colbert.infra.config.settings", "RunSettings.gpus_"] = _those_visible
    if run["device"] == "cuda" or ranks > 1:
        found["colbert.utils.distributed", "init"] = _meet
    if run["device"] != "cuda" and ranks > 1:
        found["colbert.utils.distributed", "barrier"] = _barrier_without_devices
    if run["settings"].get("chunk_passages") is not None:
        at_most = functools.partial(_at_most, run["settings"]["chunk_passages"])
        found["colbert.data.collection", "Collection.get_chunksize"] = at_most
    if run.get("resume"):
        name = "CollectionIndexer._try_load_plan"
        found["colbert.indexing.collection_indexer", name] = _only_with_a_codec
    return found


def _at_most(passages: int, get_chunksize: Callable[[Any], int]) -> Callable[[Any], int]:
    """`Collection.get_chunksize`, bounded."""

    @functools.wraps(get_chunksize)
    def chunksize(collection: Any) -> int:
        return min(passages, get_chunksize(collection))

    return chunksize


def _only_with_a_codec(try_load_plan: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """`CollectionIndexer._try_load_plan`, for which there is no plan where there is no codec (colbert-ai issue 398).

    What an earlier process left has been looked at by then; but where PyTorch's k-means fails, RAGatouille begins
    again in the same process.
    """

    @functools.wraps(try_load_plan)
    def load(indexer: Any) -> bool:
        from . import plaid_resume

        return plaid_resume.has_codec(indexer.config.index_path_) and try_load_plan(indexer)

    return load


def choose_port() -> None:
    """Choose a free port for the ranks of this run, which are started with this process's environment."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        os.environ[RENDEZVOUS_PORT] = str(probe.getsockname()[1])


def _those_visible(gpus: Any) -> Any:
    """`RunSettings.gpus_`, a property, as the names that CUDA_VISIBLE_DEVICES holds where it is set."""

    def visible(config: Any) -> Any:
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        return [name.strip() for name in names if name.strip()] or gpus.fget(config)

    return property(visible)


def _meet(init: Callable[[int], Any]) -> Callable[[int], Any]:
    """`distributed.init`, which meets at the port that was chosen, and on a CPU by gloo."""

    @functools.wraps(init)
    def meet(rank: int) -> Any:
        import torch

        if RENDEZVOUS_PORT in os.environ and "MASTER_PORT" in os.environ:
            os.environ["MASTER_PORT"] = os.environ[RENDEZVOUS_PORT]
        ranks, distributed = init(rank)
        if ranks > 1 and not torch.cuda.is_available() and not torch.distributed.is_initialized():
            # All ranks are on this machine; its name need not resolve.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            torch.distributed.init_process_group("gloo", init_method="env://", timeout=_RANKS_WAIT)
        return ranks, distributed

    return meet


def _barrier_without_devices(barrier: Callable[[int], None]) -> Callable[[int], None]:
    """`distributed.barrier`, which divides by the number of GPUs."""

    @functools.wraps(barrier)
    def wait(rank: int) -> None:
        import torch

        if rank >= 0 and torch.distributed.is_initialized():
            torch.distributed.barrier()

    return wait


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
        ranks=config["nranks"],
    )
    return resolved

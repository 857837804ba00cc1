"""Adapter's extensions for indexing and searching: what plaid.load_extensions loads, and what a search compiles."""

from __future__ import annotations

from . import plaid


def load_extensions(cuda: bool) -> None:
    """Load all of ColBERT's C++/CUDA extensions, which compiles what is not compiled yet.

    Source: colbert-ai 0.2.22, colbert/search/index_storage.py and strided_tensor.py.

    Raises:
        RuntimeError, OSError, subprocess.CalledProcessError: the compiler failed.
    """
    from colbert.search.index_storage import IndexScorer
    from colbert.search.strided_tensor import StridedTensor

    plaid.load_extensions(cuda)
    # filter_pids and decompress_residuals, segmented_lookup; a GPU needs none of them.
    for owner in (IndexScorer, StridedTensor):
        owner.try_load_torch_extensions(cuda)

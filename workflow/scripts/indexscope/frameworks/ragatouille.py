"""Adapter of RAGatouille: `RAGPretrainedModel.index`, in process."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional

from . import Setting, plaid

SETTINGS_MEANING = "Arguments of RAGPretrainedModel.index; an empty value keeps the library's default."
SETTINGS = {
    "use_faiss": Setting(Optional[bool], None, "k-means by faiss; below 75,000 passages false means PyTorch"),
    "split_documents": Setting(Optional[bool], None, "split documents longer than max_document_length"),
    "max_document_length": Setting(Optional[int], None, "tokens of a passage after splitting", {"gt": 4}),
    "bsize": Setting(Optional[int], None, "passages per encoder batch", {"gt": 0}),
    "chunk_passages": plaid.CHUNK_PASSAGES,
}
OBSERVERS = plaid.OBSERVERS
PHASES = plaid.PHASES
EXTENSIONS = "plaid"
LAYOUT = "plaid"
resolve = plaid.resolve
patches = plaid.patches


def resume(index_root: str) -> Optional[Dict[str, Any]]:
    """Make an unfinished index fit for `overwrite_index="resume"`; what is kept and redone of it."""
    from . import plaid_resume

    return plaid_resume.tidy(_index(index_root))


def stage(index_root: str) -> Optional[str]:
    """What is being made of the index that is built there."""
    from . import plaid_resume

    return plaid_resume.stage(_index(index_root))


def prepare(run: Dict[str, Any]) -> Callable[[List[str], List[str]], str]:
    """Import RAGatouille; the function returned builds the index under `run["index_root"]`.

    Settings are keyword arguments of `RAGPretrainedModel.index`; None keeps the library's default.
    """
    from ragatouille import RAGPretrainedModel

    settings = {name: value for name, value in run["settings"].items() if value is not None}
    settings.pop("chunk_passages", None)  # no argument of the library: see patches
    # A new index too is "resumed": it and one that was gone on with then say the same of how they were made.
    if run.get("resume"):
        settings["overwrite_index"] = "resume"

    def build(document_ids: List[str], texts: List[str]) -> str:
        model = RAGPretrainedModel.from_pretrained(run["checkpoint"], index_root=run["index_root"])
        path: str = model.index(collection=texts, document_ids=document_ids, index_name="index", **settings)
        return path

    return build


def _index(index_root: str) -> str:
    return os.path.join(index_root, "colbert", "indexes", "index")

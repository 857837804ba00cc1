"""Adapter of RAGatouille: `RAGPretrainedModel.index`, in process."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from . import Setting, plaid

SETTINGS_MEANING = "Arguments of RAGPretrainedModel.index; an empty value keeps the library's default."
SETTINGS = {
    "use_faiss": Setting(Optional[bool], None, "k-means by faiss; below 75,000 passages false means PyTorch"),
    "split_documents": Setting(Optional[bool], None, "split documents longer than max_document_length"),
    "max_document_length": Setting(Optional[int], None, "tokens of a passage after splitting", {"gt": 4}),
    "bsize": Setting(Optional[int], None, "passages per encoder batch", {"gt": 0}),
}
OBSERVERS = plaid.OBSERVERS
PHASES = plaid.PHASES
EXTENSIONS = "plaid"
LAYOUT = "plaid"
resolve = plaid.resolve


def prepare(run: Dict[str, Any]) -> Callable[[List[str], List[str]], str]:
    """Import RAGatouille; the function returned builds the index under `run["index_root"]`.

    Settings are keyword arguments of `RAGPretrainedModel.index`; None keeps the library's default.
    """
    from ragatouille import RAGPretrainedModel

    settings = {name: value for name, value in run["settings"].items() if value is not None}

    def build(document_ids: List[str], texts: List[str]) -> str:
        model = RAGPretrainedModel.from_pretrained(run["checkpoint"], index_root=run["index_root"])
        path: str = model.index(collection=texts, document_ids=document_ids, index_name="index", **settings)
        return path

    return build

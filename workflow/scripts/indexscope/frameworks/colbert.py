"""Adapter of colbert-ai: `Indexer.index` in a run of its own."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Literal, Optional, Tuple

from . import Setting, plaid

SETTINGS_MEANING = "What the study passed to ColBERTConfig; an empty value keeps the library's default."
SETTINGS = {
    "in_process": Setting(
        bool,
        False,
        "false: ColBERT starts a child process, as it does by default; true: it works in process",
    ),
    "like_ragatouille": Setting(
        bool,
        False,
        "nbits, index_bsize and kmeans_niters as RAGatouille sets them for this number of passages, where empty",
    ),
    "doc_maxlen": Setting(Optional[int], None, "tokens of a passage that are kept", {"gt": 4}),
    "nbits": Setting(Optional[Literal[1, 2, 4]], None, "bits per dimension of a residual"),
    "index_bsize": Setting(Optional[int], None, "passages per encoder batch", {"gt": 0}),
    "kmeans_niters": Setting(Optional[int], None, "k-means iterations", {"gt": 0}),
    "chunk_passages": plaid.CHUNK_PASSAGES,
    "nranks": Setting(
        Optional[int],
        None,
        "processes that encode, each on a GPU of its own, on a CPU by gloo (1 where empty); above 1 they are "
        "child processes whatever in_process says",
        {"gt": 0},
    ),
}
OBSERVERS = plaid.OBSERVERS
PHASES = plaid.PHASES
EXTENSIONS = "plaid"
LAYOUT = "plaid"
resolve = plaid.resolve


def resume(index_root: str) -> Optional[Dict[str, Any]]:
    """Make an unfinished index fit for `overwrite="resume"`; what is kept and redone of it."""
    from . import plaid_resume

    return plaid_resume.tidy(_index(index_root))


def stage(index_root: str) -> Optional[str]:
    """What is being made of the index that is built there."""
    from . import plaid_resume

    return plaid_resume.stage(_index(index_root))


def patches(run: Dict[str, Any]) -> Dict[Tuple[str, str], Callable[[Any], Any]]:
    """What ColBERT lacks to run as several processes, and on the GPUs that it is given."""
    return plaid.patches(run, run["settings"].get("nranks") or 1)


def prepare(run: Dict[str, Any]) -> Callable[[List[str], List[str]], str]:
    """Import colbert-ai; the function returned builds the index under `run["index_root"]`.

    `in_process` decides what ColBERT leaves to `Run()`: its default starts a child process, whatever the
    ColBERTConfig says, because `Run()`'s settings override it.
    """
    from colbert import Indexer
    from colbert.infra import ColBERTConfig, Run, RunConfig

    settings = {name: value for name, value in run["settings"].items() if value is not None}
    settings.pop("chunk_passages", None)  # no argument of the library: see patches
    # A new index too is "resumed": it and one that was gone on with say the same of how they were made.
    overwrite = "resume" if run.get("resume") else False
    in_process = settings.pop("in_process")
    like_ragatouille = settings.pop("like_ragatouille")
    ranks = settings.pop("nranks", 1)
    run_config = RunConfig(nranks=ranks, index_root=run["index_root"])
    if ranks > 1 or run["device"] == "cuda":
        plaid.choose_port()
    if in_process:
        run_config.configure(avoid_fork_if_possible=True)

    def build(document_ids: List[str], texts: List[str]) -> str:
        chosen = plaid.ragatouille_choice(len(texts)) if like_ragatouille else {}
        config = ColBERTConfig(**{**chosen, **settings})
        with Run().context(run_config):
            indexer = Indexer(checkpoint=run["checkpoint"], config=config)
            path: str = indexer.index(name="index", collection=texts, overwrite=overwrite)
            return path

    return build


def _index(index_root: str) -> str:
    return os.path.join(index_root, "index")

"""Adapter of colbert-ai: `Indexer.index` in a run of its own."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from . import plaid

OBSERVERS = plaid.OBSERVERS
resolve = plaid.resolve


def prepare(run: Dict[str, Any]) -> Callable[[List[str], List[str]], str]:
    """Import colbert-ai; the function returned builds the index under `run["index_root"]`.

    `in_process` decides what ColBERT leaves to `Run()`: its default starts a child process, whatever the
    ColBERTConfig says, because `Run()`'s settings override it.
    """
    from colbert import Indexer
    from colbert.infra import ColBERTConfig, Run, RunConfig

    settings = dict(run["settings"])
    in_process = settings.pop("in_process")
    config = ColBERTConfig(**{name: value for name, value in settings.items() if value is not None})
    run_config = RunConfig(nranks=1, index_root=run["index_root"])
    if in_process:
        run_config.configure(avoid_fork_if_possible=True)

    def build(document_ids: List[str], texts: List[str]) -> str:
        with Run().context(run_config):
            indexer = Indexer(checkpoint=run["checkpoint"], config=config)
            path: str = indexer.index(name="index", collection=texts)
            return path

    return build

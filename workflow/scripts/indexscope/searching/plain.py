"""Loading an index by the libraries' own documented calls, with nothing of ours in the process.

Each library is tried with the same effort as the measured searches, where its documented arguments can say it: how many
centroids and candidates are looked at is the caller's choice, not the index's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .index_folder import COLBERT, RAGATOUILLE

LIBRARIES = (COLBERT, RAGATOUILLE)

_COLBERT = """\
import json, sys
from colbert import Searcher
from colbert.infra import ColBERTConfig

index, texts, queries, k, effort, output = sys.argv[1:]
queries, k, effort = json.load(open(queries)), int(k), json.loads(effort)
config = ColBERTConfig(**effort) if effort else None
searcher = Searcher(index=index, collection=json.load(open(texts)), config=config)
found = []
for query in queries:
    passages, ranks, scores = searcher.search(query, k=k)
    found.append(list(zip(passages, scores)))
json.dump(found, open(output, "w"))
"""

_RAGATOUILLE = """\
import json, sys
from ragatouille import RAGPretrainedModel

index, texts, queries, k, effort, output = sys.argv[1:]
queries, k, effort = json.load(open(queries)), int(k), json.loads(effort)
model = RAGPretrainedModel.from_index(index)
found = []
for query in queries:
    results = model.search(query, k=k, **effort)
    found.append([(result["passage_id"], result["score"]) for result in results])
json.dump(found, open(output, "w"))
"""


class Plain(NamedTuple):
    """A program that loads an index and searches it, and the call as one writes it.

    The program takes the index's folder, the texts, the queries (both JSON lists in files), k, `effort` as JSON, and
    the file to write: of each query the passages found and their scores.
    """

    program: str
    call: str
    effort: dict[str, Any]


def plain(library: str, measured_by: str, passages: int, k: int) -> Plain:
    """How `library` loads an index that `measured_by` was measured to search."""
    if library == COLBERT:
        effort = ragatouille_effort(passages, k) if measured_by == RAGATOUILLE else {}
        config = f", config=ColBERTConfig({_arguments(effort)})" if effort else ""
        return Plain(
            _COLBERT, f"Searcher(index=INDEX, collection=texts{config}).search(query, k={k})", effort
        )
    # What RAGatouille calls fast is what colbert-ai chooses for a k of up to 10.
    effort = {"force_fast": True} if measured_by == COLBERT else {}
    more = f", {_arguments(effort)}" if effort else ""
    return Plain(_RAGATOUILLE, f"RAGPretrainedModel.from_index(INDEX).search(query, k={k}{more})", effort)


def ragatouille_effort(passages: int, k: int) -> dict[str, Any]:
    """How far RAGatouille 0.0.9 searches an index of that many passages.

    Source: ragatouille/models/index.py, PLAIDModelIndex._load_searcher and search.
    """
    effort: dict[str, Any] = {"ncells": 16, "ndocs": max(4 * k, 1024)}
    if passages < 10_000:
        effort.update(ncells=8, centroid_score_threshold=0.4)
    elif passages < 100_000:
        effort.update(ncells=4, centroid_score_threshold=0.45)
    return effort


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())

"""A PLAID index in name, whole and tiny, and a toy colbert-ai that ranks passages by the words shared with a query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = ["red apple", "green apple tree", "blue sea", "green sea and red sun"]
DOCUMENT_IDS = [
    "fruits/Äpfel #1.pdf#page=1",
    "fruits/Äpfel #1.pdf#page=2",
    "sea.pdf#page=7",
    "sea.pdf#page=7",
]

COLBERT = """
import json, os

class Ranking:
    def __init__(self, data):
        self.data = data

class Searcher:
    def __init__(self, index, checkpoint=None, collection=None, config=None, index_root=None, verbose=3):
        assert os.path.isfile(os.path.join(index_root or "", index, "metadata.json"))
        print("a library prints on loading")
        self.texts = collection
        self.how = os.environ.get("TOY_COLBERT", "")
        if self.how == "abort":
            os.abort()

    def search(self, text, k=10):
        if self.how == "raise":
            raise RuntimeError("no such kernel")
        words = set(text.split())
        scores = [float(len(words & set(each.split()))) for each in self.texts]
        found = sorted(range(len(scores)), key=lambda passage: (-scores[passage], passage))[:k]
        return found, list(range(1, k + 1))[:len(found)], [scores[passage] for passage in found]

    def search_all(self, queries, k=10):
        data = {number: list(zip(*self.search(text, k))) for number, text in queries.items()}
        if self.how == "batch differs":
            data[0] = data[0][::-1]
        return Ranking(data)
"""
TORCH = """
class cuda:
    @staticmethod
    def is_available():
        return False

def set_num_threads(number):
    assert number == 1
"""


def write_index(run: Path, checkpoint: Path, **record: Any) -> Path:
    """A run directory with an index of TEXTS as colbert-ai leaves it; returns the run directory."""
    index = run / "index"
    index.mkdir(parents=True)
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "config.json").write_text("{}")
    for name in ("centroids.pt", "avg_residual.pt", "buckets.pt", "ivf.pid.pt"):
        (index / name).write_bytes(name.encode())
    for chunk in range(2):
        for name in (f"{chunk}.codes.pt", f"{chunk}.residuals.pt", f"doclens.{chunk}.json"):
            (index / name).write_bytes(name.encode())
        (index / f"{chunk}.metadata.json").write_text(json.dumps({"num_passages": 2}))
    config = {
        "checkpoint": str(checkpoint),
        "index_name": "index",
        "collection": ["list with 4 elements", []],
    }
    (index / "metadata.json").write_text(json.dumps({"config": config, "num_chunks": 2}))
    identity = {"system": "toy", "cell": "01234567", "documents": 3, "profiler": "spans", "repeat": 1}
    content = {
        "format": 1,
        "run": {**identity, "environment": "ragatouille"},
        "outcome": "completed",
        "lock_digest": "abcdef01",
        **record,
    }
    (run / "run.json").write_text(json.dumps(content))
    return run


def write_collection(
    path: Path, texts: Sequence[str] = TEXTS, document_ids: Sequence[str] = DOCUMENT_IDS
) -> Path:
    rows = [
        {"document_id": document_id, "text": text}
        for document_id, text in zip(document_ids, texts, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_toy_libraries(folder: Path) -> Path:
    """Packages colbert and torch, for PYTHONPATH."""
    (folder / "colbert").mkdir(parents=True)
    (folder / "colbert" / "__init__.py").write_text(COLBERT)
    (folder / "colbert" / "infra.py").write_text("class ColBERTConfig(dict):\n    pass\n")
    (folder / "torch.py").write_text(TORCH)
    return folder

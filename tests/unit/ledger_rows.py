"""Made-up rows of the table ledger, with known sums."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

KEY = ("run", "system", "cell", "documents", "profiler", "repeat")
COMPRESS = "colbert.indexing.codecs.residual.ResidualCodec.compress_into_codes"
MATRIX = {
    "operator": "aten.mm",
    "shape": "[2048, 60672]",
    "dtype": "float32",
    "function": COMPRESS,
    "blocks": 1,
}
MATRIX_WORDS = "aten.mm [2048, 60672] float32, compress_into_codes"


def part(part: str, mib: float, evidence: str = "observed", **columns: Any) -> dict[str, Any]:
    defaults = {"process_id": 100, "role": "parent", "name": part, "device": "cpu", "basis": "made up"}
    return {**defaults, "part": part, "mib": mib, "evidence": evidence, **columns}


def moment(of: Row, parts: list[dict[str, Any]], name: str = "tree peak") -> list[Row]:
    """Rows of the ledger at one moment of the run `of`; the tree's RSS is what the parts add up to."""
    total = sum(each["mib"] for each in parts if each["device"] == "cpu")
    shared = {**{key: of[key] for key in KEY}, "moment": name, "seconds": 9.5, "tree_rss_mib": total}
    return [{**shared, **each} for each in parts]


def process(role: str, **columns: Any) -> dict[str, Any]:
    return {"role": role, "process_id": {"parent": 100, "worker": 102}[role], **columns}


def colbert(documents: int, unexplained: float = 20.0, matrix: float | None = None) -> list[dict[str, Any]]:
    """Parts of two processes: 500 MiB of libraries, what grows with the documents, and 40 MiB inferred."""
    worker = process("worker")
    return [
        part("libraries and files", 200.0, name="torch"),
        part("libraries and files", 50.0, name="faiss"),
        part("unexplained", 0.0),
        part("tensors", documents * 0.5 if matrix is None else matrix, **worker, **MATRIX),
        part("libraries and files", 250.0, **{**worker, "name": "torch"}),
        part("retained by the allocator", 40.0, "inferred", **worker),
        part("unexplained", unexplained, "inferred", **worker),
    ]


def ragatouille(documents: int) -> list[dict[str, Any]]:
    numpy = {"shape": "[60672, 96]", "dtype": "float32", "function": "x.compute_faiss_kmeans"}
    return [
        part("libraries and files", 300.0),
        part("native buffers", documents * 0.2, name="numpy", **numpy),
        part("unexplained", 10.0),
    ]

"""Small tables of made-up rows of remote_indexing with known numbers, in the schemas of results/tables.

No number was measured: memory is round, GPUs and prices are of no shop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import tables
from indexscope import schemas

Row = dict[str, Any]

NAMES = list(schemas.REMOTE_TABLES)
HERE, RECIPE = "this configuration", "the published recipe"
RAGATOUILLE, COLBERT = "ragatouille_pdfs", "colbert_pdfs"
LABELS = {RAGATOUILLE: "RAGatouille", COLBERT: "ColBERT"}
# Name → MiB of memory, dollars per hour.
GPUS = {"Small": (16_000, 0.6), "Middle": (24_000, 0.9), "Large": (40_000, 2.1), "Huge": (80_000, 2.5)}
# MiB on a GPU by phase; the margin is a quarter.
PHASES = {"start-up": 500.0, "planning": 800.0, "training": 2000.0, "encoding": 1200.0, "finalizing": 600.0}
MARGIN = 1.25
PRICES = "2026-07-01"
DOCUMENTS = 16


def frame(name: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """The rows as the table `name`, as a figure reads it."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schemas.TABLES[name]).to_pandas()


def write(directory: Path, made: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Write all tables of remote_indexing into `directory`, empty where `made` has none; returns the directory."""
    for name in NAMES:
        schemas.write_table(made.get(name, ()), schemas.TABLES[name], directory / f"{name}.parquet")
    return directory


def page(
    file: str, number: int | None, outcome: str = "text", pages: int | None = None, **columns: Any
) -> Row:
    """A row of remote_pages; `number` None is the whole file."""
    reads = outcome == "text"
    row = {
        "file": file,
        "page": number,
        "pages": pages,
        "title": f"Title of {file}" if reads else None,
        "outcome": outcome,
        "reason": None if reads else f"made-up reason of {outcome}",
        "document_id": f"{file}#page={number}" if reads else None,
        "characters": 1000 if reads else 0,
        "file_mib": 0.5,
    }
    return row | columns


def pages() -> list[Row]:
    """22 pages of 5 files, 16 with text; two more files could not be read."""
    rows = [page("handbook.pdf", number, "text", 12) for number in range(1, 11)]
    rows += [page("handbook.pdf", 11, "image_only", 12), page("handbook.pdf", 12, "empty", 12)]
    rows += [page("reports/annual report.pdf", number, "text", 6) for number in range(1, 5)]
    rows += [page("reports/annual report.pdf", number, "image_only", 6) for number in (5, 6)]
    rows += [page("slow.pdf", 1, "text", 2), page("slow.pdf", 2, "timed_out", 2)]
    rows += [page("Ünïcode.PDF", 1, "text", 1), page("blank.pdf", 1, "empty", 1)]
    return [*rows, page("locked.pdf", None, "encrypted"), page("torn.pdf", None, "damaged")]


def run(system: str = RAGATOUILLE, repeat: int = 1, **columns: Any) -> Row:
    """A row of remote_runs."""
    framework = system.partition("_")[0]
    row = tables.run("colbert" if framework == "colbert" else system, DOCUMENTS, "spans", repeat)
    row |= {
        "run": f"{system}-0a1b2c3d/all/spans/{repeat}",
        "system": system,
        "label": LABELS.get(system),
        "passages": 40,
        "corpus": "pdfs",
        "index_size_mib": 0.25,
        "attempt": 1,
    }
    return row | columns


def phases(of: Row, predicted: Mapping[str, float] = PHASES, **columns: Any) -> list[Row]:
    """Rows of remote_phases of a run."""
    key = {
        name: of[name]
        for name in ("run", "system", "cell", "documents", "profiler", "repeat", "label", "device")
    }
    return [
        {
            **key,
            "phase": phase,
            "seconds": None if phase == "start-up" else 1.5,
            "host_peak_mib": 900.0,
            "host_predicted_mib": 880.0,
            "gpu_predicted_mib": mib,
            **columns,
        }
        for phase, mib in predicted.items()
    ]


def gpus(
    case: str = HERE,
    system: str = RAGATOUILLE,
    needs: Mapping[str, float] = PHASES,
    fix: tuple[str, float] | None = ("index_bsize: 16", 1000.0),
    chosen: str | None = "Small",
    minutes: float | None = 2.0,
    **columns: Any,
) -> list[Row]:
    """Rows of remote_gpus: one for each of GPUS; a dearer GPU is faster."""
    phase = max(needs, key=lambda name: needs[name])
    rows = []
    for place, (name, (memory, price)) in enumerate(GPUS.items(), start=1):
        short = [each for each, mib in needs.items() if mib * MARGIN > memory]
        row = {
            "case": case,
            "system": system,
            "label": LABELS.get(system),
            "gpu": name,
            "memory_mib": float(memory),
            "usd_per_hour": price,
            "prices_as_of": PRICES,
            "phase": phase,
            "needs_mib": needs[phase] * MARGIN,
            "fits": not short,
            "first_phase_that_does_not_fit": short[0] if short else None,
            "setting_that_fixes": fix[0] if short and fix else None,
            "needs_with_it_mib": fix[1] if short and fix else None,
            "minutes": None if minutes is None else minutes / place,
            "usd": None if minutes is None else minutes / place / 60 * price,
            "basis": "made-up passages per second",
            "chosen": name == chosen,
        }
        rows.append(row | columns)
    return rows


RECIPE_NEEDS = {"planning": 4000.0, "training": 20_000.0, "encoding": 6000.0}  # 25,000 MiB with the margin


def cost(system: str = RAGATOUILLE, moment: str = "estimated", **columns: Any) -> Row:
    """A row of remote_costs: estimated 100 s and $0.02, in fact 150 s and $0.03."""
    actual = moment == "actual"
    row = {
        "system": system,
        "label": LABELS.get(system),
        "run": f"{system}-0a1b2c3d/all/spans/1" if actual else None,
        "moment": moment,
        "device": "cpu",
        "machine": "2 cores, 2 GiB",
        "documents": DOCUMENTS,
        "passages": 40,
        "start_seconds": 60.0,
        "work_seconds": 150.0 if actual else 100.0,
        "host_mib": 2048.0,
        "usd": 0.03 if actual else 0.02,
        "usd_of_gpu": 0.0,
        "usd_of_cores": 0.025 if actual else 0.015,
        "usd_of_memory": 0.005,
        "prices_as_of": PRICES,
        "basis": "Made-up seconds.",
        "actual_by_estimated": 1.5 if actual else None,
    }
    return row | columns


def search(
    system: str = RAGATOUILLE,
    mode: str = "single",
    repeat: int = 1,
    outcome: str = "completed",
    milliseconds: float | None = None,
    **columns: Any,
) -> Row:
    """A row of remote_searches; ColBERT takes 10 ms a query, RAGatouille 20, a batch of ten five times as long."""
    base = milliseconds or (10.0 if system == COLBERT else 20.0)
    each = base * (1 + 0.02 * (repeat - 1)) * (5 if mode == "batch" else 1)
    size = 10 if mode == "batch" else 1
    row = {
        "system": system,
        "label": LABELS.get(system),
        "run": f"{system}-0a1b2c3d/all/spans/1",
        "mode": mode,
        "batch_size": size,
        "repeat": repeat,
        "outcome": outcome,
        "outcome_detail": None if outcome == "completed" else f"made-up reason of {outcome}",
        "queries": 20,
        "k": 5,
        "device": "cpu",
        "threads": 2,
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    if outcome == "completed":
        row |= {
            "import_seconds": 4.0,
            "load_seconds": 1.0 + 0.1 * repeat,
            "first_seconds": 0.1,
            "p50_ms": each,
            "p90_ms": each * 1.2,
            "p99_ms": each * 2,
            "queries_per_second": 1000 * size / each,
            "before_loading_mib": 400.0,
            "loaded_mib": 500.0,
            "peak_rss_mib": 550.0,
            "index_size_mib": 0.25,
            "results_digest": system.rjust(16, "0")[:16],
            "found_in_k": 0.95,
        }
    return row | columns


def result(query: str = "q1", rank: int = 1, system: str = RAGATOUILLE, **columns: Any) -> Row:
    """A row of remote_results."""
    row = {
        "system": system,
        "label": LABELS.get(system),
        "query_id": query,
        "query": f"what does the handbook say of {query}",
        "rank": rank,
        "score": 30.0 - rank,
        "document_id": f"handbook.pdf#page={rank}",
        "file": "handbook.pdf",
        "page": rank,
        "title": "Title of handbook.pdf",
        "passage_id": rank - 1,
        "passage": f"The passage of rank {rank} that answers {query}, with as many words as a passage may well have "
        "when it is the text of half a page and goes on for a while.",
        "relevant": rank == 1,
    }
    return row | columns


def load(system: str = RAGATOUILLE, library: str = "ragatouille", loads: bool = True, **columns: Any) -> Row:
    """A row of remote_loads."""
    row = {
        "system": system,
        "label": LABELS.get(system),
        "library": library,
        "version": {"ragatouille": "0.0.9.post2", "colbert-ai": "0.2.22"}.get(library),
        "loads": loads,
        "same_results": True if loads else None,
        "detail": f"made-up call of {library}" if loads else f"made-up reason of {library}",
    }
    return row | columns


def everything() -> dict[str, list[Row]]:
    """A whole study on a CPU: two systems, one of them resumed, the recipe, three repeats of each search."""
    runs = [
        run(),
        run(
            COLBERT,
            attempt=2,
            earlier_attempts="Attempt 1: ended from outside, in stage encoding, last seen 2026-01-02T03:04:05Z.",
            resumed_from="chunk 2",
        ),
    ]
    return {
        "remote_pages": pages(),
        "remote_runs": runs,
        "remote_phases": [row for of in runs for row in phases(of)],
        "remote_gpus": [*gpus(), *gpus(system=COLBERT, minutes=1.8), *recipe(), *short_recipe()],
        "remote_costs": [cost(system, moment) for system in LABELS for moment in ("estimated", "actual")],
        "remote_searches": [
            search(system, mode, repeat)
            for system in LABELS
            for mode in ("single", "batch")
            for repeat in (1, 2, 3)
        ],
        "remote_results": [
            result(query, rank, system) for system in LABELS for query in ("q1", "q2") for rank in range(1, 6)
        ],
        "remote_loads": [
            load(system, library) for system in LABELS for library in ("colbert-ai", "ragatouille")
        ],
    }


def recipe(**columns: Any) -> list[Row]:
    """The published recipe: runs out in training on the two small GPUs."""
    return gpus(RECIPE, "recipe_800", RECIPE_NEEDS, ("use_faiss: true", 9000.0), chosen="Large", minutes=4.0,
                label="RAGatouille, 400 pages of 800 tokens", **columns)  # fmt: skip


def short_recipe() -> list[Row]:
    """The published recipe with less text on its pages: fits everywhere."""
    return gpus(
        RECIPE, "recipe_500", chosen="Large", minutes=3.0, label="RAGatouille, 400 pages of 500 tokens"
    )


def on_gpu() -> dict[str, list[Row]]:
    """One system, run on a GPU."""
    of = run(device="cuda", gpu_model="Small", gpu_reserved_peak_mib=1900.0)
    measured = {"gpu_allocated_peak_mib": 1500.0, "gpu_reserved_peak_mib": 1900.0}
    return {
        "remote_runs": [of],
        "remote_phases": phases(of, **measured),
        "remote_gpus": gpus(),
        "remote_costs": [cost(), cost(moment="actual", device="cuda", machine="Small")],
        "remote_searches": [search(device="cuda", gpu_peak_mib=900.0)],
    }

"""The figures there are. Standard library only: the workflow reads it to plan.

A figure is a module here, with `draw(*tables) -> common.Figure`, and an entry below (docs/extending.md).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """Of which tables a figure is drawn, in the order that its `draw` takes them; where it is listed."""

    tables: list[str]
    category: str
    caption: str


MEMORY, FUNCTIONS, TIME, INDEX = "Memory", "Functions", "Time", "Index"

# In the order in which the report shows them.
FIGURES = {
    "peak_memory": Entry(
        ["runs", "memory_comparison"],
        MEMORY,
        "Peak of each run's process tree against the number of documents; each point is a run.",
    ),
    "memory_over_time": Entry(
        ["runs", "memory_curve", "spans", "memory_comparison"],
        MEMORY,
        "RSS of every process of a run against time, phases as bands, systems side by side on equal scales.",
    ),
    "confounds": Entry(
        ["confounds", "runs"],
        MEMORY,
        "From one process of ColBERT to RAGatouille's process tree: the share of each thing that is unequal.",
    ),
    "peak_parts": Entry(
        ["ledger", "runs"],
        MEMORY,
        "The peak of each system and size as a stack of named parts, with the largest things that hold data.",
    ),
    "part_growth": Entry(
        ["ledger", "runs"],
        MEMORY,
        "Each part of the peak against the number of documents, and the highest point of each phase as a stack.",
    ),
    "memory_model": Entry(
        ["memory_model", "memory_model_terms"],
        MEMORY,
        "What the memory model predicts of each run and published peak against what was measured, and its terms.",
    ),
    "memory_by_function": Entry(
        ["runs", "spans", "memory_by_function"],
        FUNCTIONS,
        "memory_profiler's start, increment and final of each function beside the function's exact peak.",
    ),
    "ghost": Entry(
        ["runs", "spans", "memory_by_function", "memory_profiler_lines"],
        FUNCTIONS,
        "memory_profiler's highest reading in each function against the exact peak: what no line shows.",
    ),
    "phase_time": Entry(
        ["runs", "memory_comparison", "published_encode_seconds"],
        TIME,
        "Time of each phase of a run, and of encoding 25,000 passages beside published times.",
    ),
    "profiler_cost": Entry(
        ["runs", "memory_comparison", "published_encode_seconds"],
        TIME,
        "Time and peak memory under each profiler relative to runs without one.",
    ),
    "resolved_settings": Entry(
        ["runs"],
        INDEX,
        "What really ran: resolved settings of the systems side by side, and how every run ended.",
    ),
    "published_beside_ours": Entry(
        ["published_memory", "runs"],
        FUNCTIONS,
        "The published start, increment and final of each function beside what was measured here.",
    ),
    "artifact_comparison": Entry(
        ["artifact_comparison", "runs"],
        INDEX,
        "Each final artifact of pairs of indexes: equal bit for bit, within tolerance, or different.",
    ),
}

ARTIFACTS, OPERATORS, INJECTION, SEARCH, PUBLISHED = (
    "Artifacts",
    "Operators",
    "Injection",
    "Search",
    "Published",
)

# Of the experiment torch_versions, in the order in which the report shows them.
TORCH_FIGURES = {
    "torch_artifacts": Entry(
        ["torch_artifacts", "torch_environments"],
        ARTIFACTS,
        "Each artifact of an index, final and intermediate, between a PyTorch version and the next, and repeats.",
    ),
    "torch_first_operator": Entry(
        ["torch_divergence", "torch_operators", "torch_environments"],
        OPERATORS,
        "The first operator that gives unequal output for equal input, for each text, batch and shape.",
    ),
    "torch_layers": Entry(
        ["torch_layers", "torch_artifacts", "torch_environments"],
        OPERATORS,
        "How far the outputs of two versions are apart after each layer of the encoder.",
    ),
    "torch_injections": Entry(
        ["torch_injections", "torch_artifacts", "torch_environments"],
        INJECTION,
        "Which final artifacts are equal once a version is given artifacts of the one before it.",
    ),
    "torch_search": Entry(
        ["torch_search", "torch_search_queries", "torch_environments"],
        SEARCH,
        "Whether search notices: the change of each measure, query by query, on own and on exchanged indexes.",
    ),
    "torch_published": Entry(
        ["torch_published"],
        PUBLISHED,
        "What was published of each pair of PyTorch versions beside what was measured here.",
    ),
}

# Of the benchmark profiler_cost (`snakemake profiler_cost`).
PROFILER_COST_FIGURES = {
    "profiler_disturbance": Entry(
        ["profiler_rounds", "profiler_overhead"],
        TIME,
        "Time and peak memory under each way of measuring relative to none, round by round, beside none with itself.",
    ),
}

# Of how right the measuring is (`snakemake accuracy`).
ACCURACY_FIGURES = {
    "measurement_accuracy": Entry(
        ["measurement_accuracy"],
        MEMORY,
        "How much of a spike of known size each instrument sees, by how long it is held.",
    ),
}

TABLES_OF_FAISS, LATENCY = "Memory of tables", "Latency"

# Of the experiment faiss_tables, in the order in which the report shows them.
FAISS_FIGURES = {
    "faiss_memory": Entry(
        ["faiss_memory"],
        TABLES_OF_FAISS,
        "Memory against the number of segments by load mode: formulas as lines, measured processes as points.",
    ),
    "faiss_projection": Entry(
        ["faiss_published", "faiss_memory"],
        TABLES_OF_FAISS,
        "Table memory before and after sharing, as published, by formula, and as measured.",
    ),
    "faiss_estimators": Entry(
        ["faiss_estimates"],
        TABLES_OF_FAISS,
        "Error of each way of estimating a process's memory, by index type, metric and number of segments.",
    ),
    "faiss_alternatives": Entry(
        ["faiss_alternatives"],
        TABLES_OF_FAISS,
        "The alternatives to a table for each segment: memory, time to load, and search time relative to keeping it.",
    ),
    "faiss_latency": Entry(
        ["faiss_latency", "faiss_break_even"],
        LATENCY,
        "Search with the table relative to without it, over nprobe and list length, and where it breaks even.",
    ),
}

# Of `snakemake faiss_tables_rfc`.
FAISS_RFC_FIGURES = {
    "faiss_rfc": Entry(
        ["faiss_rfc_memory", "faiss_rfc_estimates"],
        TABLES_OF_FAISS,
        "The 100 segments of the RFC: what each load mode needs by formula and as measured.",
    ),
}

THROUGHPUT, ACCESS_MEMORY, FETCHING = "Throughput", "Memory of trainings", "Fetching"

# Of the experiment document_access, in the order in which the report shows them.
DOCUMENT_FIGURES = {
    "document_throughput": Entry(
        ["document_access"],
        THROUGHPUT,
        "Samples per second by loader, parallelism and world size; each point is a run.",
    ),
    "document_step": Entry(
        ["document_access", "document_access_steps"],
        THROUGHPUT,
        "Where the time of a step goes, by loader and parallelism.",
    ),
    "document_memory": Entry(
        ["document_access", "document_access_processes"],
        ACCESS_MEMORY,
        "Memory of each rank and of all processes by loader and world size, page cache apart, and limits.",
    ),
    "document_fetches": Entry(
        ["document_fetches"],
        FETCHING,
        "Time to fetch one document, at random and in order, with a warm and a cold page cache.",
    ),
    "document_published": Entry(
        ["document_published", "document_access"],
        PUBLISHED,
        "Published throughput beside ours, and what throughput seems to be when the timer starts after the fetch.",
    ),
}

# Of `snakemake document_access_scale`.
DOCUMENT_SCALE_FIGURES = {
    "document_scale": Entry(
        ["document_scale"],
        FETCHING,
        "Fetching at random from a large collection: offset index, a bare read of the same bytes, ir_datasets.",
    ),
}

PAGES, COST, SEARCH = "Documents", "GPU and cost", "Search"

# Of the experiment remote_indexing, in the order in which the report shows them.
REMOTE_FIGURES = {
    "remote_gpu_memory": Entry(
        ["remote_gpus", "remote_phases"],
        COST,
        "GPU memory by phase, predicted and where there is a GPU measured, against the GPUs that can be rented.",
    ),
    "remote_costs": Entry(
        ["remote_costs", "remote_gpus"],
        COST,
        "Time and dollars: estimated before, as they were, and on each GPU that can be rented.",
    ),
    "remote_searches": Entry(
        ["remote_searches"],
        SEARCH,
        "Searching each system's index: time to load, memory, and latency of single queries and batches.",
    ),
    "remote_pages": Entry(
        ["remote_pages"],
        PAGES,
        "What became of the pages of the PDFs, by file and reason.",
    ),
}

# Each is drawn by a rule of its own. A view: what is added to one of them later is in it.
ALL_FIGURES: Mapping[str, Entry] = ChainMap(
    FIGURES,
    TORCH_FIGURES,
    PROFILER_COST_FIGURES,
    ACCURACY_FIGURES,
    FAISS_FIGURES,
    FAISS_RFC_FIGURES,
    DOCUMENT_FIGURES,
    DOCUMENT_SCALE_FIGURES,
    REMOTE_FIGURES,
)

# Drawn by `snakemake published_figures` from files that need no run; each is a module here too.
PUBLISHED_FIGURES = ["published_functions", "published_sentences", "external_logs"]

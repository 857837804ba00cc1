"""Arrow schemas of every table under results/tables: the one place that says which columns there are.

Units are in column names: `_mib` is 2**20 bytes, `_seconds` is wall time on the monotonic clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 1 << 17  # rows that write_batches holds in memory

# What identifies a run; leads every table that is made from run directories.
RUN_KEY = [
    pa.field("run", pa.string(), nullable=False),  # index_runs path below results/index_runs
    pa.field("system", pa.string(), nullable=False),
    pa.field("cell", pa.string(), nullable=False),  # digest of the resolved cell
    pa.field("documents", pa.int64(), nullable=False),  # documents requested (the size)
    pa.field("profiler", pa.string(), nullable=False),
    pa.field("repeat", pa.int64(), nullable=False),
]

RUNS = pa.schema(
    [
        *RUN_KEY,
        pa.field("campaign", pa.string()),  # the configuration's; null when it names none
        pa.field("label", pa.string()),  # the system's name for figures
        pa.field("framework", pa.string(), nullable=False),
        pa.field("environment", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("exit_code", pa.int64()),
        # Resolved: what really ran.
        pa.field("device", pa.string()),
        pa.field("process_model", pa.string()),  # "child process" or "in process"
        pa.field("passages", pa.int64()),  # after splitting
        pa.field("embeddings", pa.int64()),
        pa.field("partitions", pa.int64()),
        pa.field("dim", pa.int64()),
        pa.field("nbits", pa.int64()),
        pa.field("doc_maxlen", pa.int64()),
        pa.field("index_bsize", pa.int64()),
        pa.field("kmeans_iterations", pa.int64()),
        pa.field("kmeans_backend", pa.string()),  # the backend of the attempt that made the index
        pa.field("kmeans_points", pa.int64()),
        pa.field("kmeans_attempts", pa.int64()),
        pa.field("kmeans_failures", pa.string()),  # backend and error of each attempt that failed
        pa.field("index_size_mib", pa.float64()),
        # Measured from outside.
        pa.field("wall_seconds", pa.float64()),  # worker start to exit
        pa.field("index_seconds", pa.float64()),  # the framework's own index call
        # Phases of the last attempt, under every profiler: two clock readings each.
        pa.field("planning_seconds", pa.float64()),  # sampling and encoding the sample, setup
        pa.field("training_seconds", pa.float64()),  # k-means and the residual codec
        pa.field("encoding_seconds", pa.float64()),  # encoding, compressing and saving all passages
        pa.field("finalizing_seconds", pa.float64()),  # building the IVF
        pa.field("seconds_per_25k_passages", pa.float64()),  # of encoding
        pa.field("tree_peak_rss_mib", pa.float64()),  # maximum over samples of the sum over processes
        pa.field("tree_peak_moment", pa.string()),  # start-up, index call, child exit, exit
        pa.field("index_peak_rss_mib", pa.float64()),  # the same sum, while the framework's index call ran
        pa.field("parent_peak_rss_mib", pa.float64()),
        pa.field("worker_peak_rss_mib", pa.float64()),  # the spawned child; null when there is none
        pa.field("manager_peak_rss_mib", pa.float64()),
        pa.field("processes", pa.int64()),
        pa.field("samples", pa.int64()),
        pa.field("sample_interval_seconds", pa.float64()),  # median of the observed intervals
        pa.field("peaks_exact", pa.bool_()),  # false: /proc/self/clear_refs was not writable
        # Where and with what.
        pa.field("threads", pa.int64()),
        pa.field("allocator", pa.string()),
        pa.field("corpus", pa.string()),
        pa.field("checkpoint", pa.string()),
        pa.field("python_version", pa.string()),
        pa.field("torch_version", pa.string()),
        pa.field("transformers_version", pa.string()),
        pa.field("faiss_version", pa.string()),
        pa.field("colbert_version", pa.string()),
        pa.field("ragatouille_version", pa.string()),
        pa.field("cpu_model", pa.string()),
        pa.field("cpu_count", pa.int64()),
        pa.field("memory_total_mib", pa.float64()),
        pa.field("gpu_model", pa.string()),  # the first GPU that the run could use
        pa.field("kernel", pa.string()),
        pa.field("lock_digest", pa.string()),
        pa.field("git_commit", pa.string()),
        pa.field("started_at", pa.timestamp("ms", tz="UTC")),
    ]
)

SPANS = pa.schema(
    [
        *RUN_KEY,
        pa.field("process_id", pa.int64(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # parent, worker, manager, tracker, other
        pa.field("thread", pa.string()),
        pa.field("function", pa.string(), nullable=False),  # dotted: module, class, name
        pa.field("call", pa.int64(), nullable=False),  # 0 for the first call in its process
        pa.field("depth", pa.int64(), nullable=False),  # open spans of the same process at entry
        pa.field("started_seconds", pa.float64(), nullable=False),  # since the worker was started
        pa.field("ended_seconds", pa.float64(), nullable=False),
        pa.field("start_rss_mib", pa.float64(), nullable=False),
        pa.field("end_rss_mib", pa.float64(), nullable=False),
        pa.field("peak_rss_mib", pa.float64(), nullable=False),
        pa.field("peak_exact", pa.bool_(), nullable=False),
        pa.field("end_anon_mib", pa.float64()),
        pa.field("end_file_mib", pa.float64()),
        pa.field("end_shmem_mib", pa.float64()),
        pa.field("end_pss_mib", pa.float64()),  # at the end of phases only: reading it is slow
        pa.field("gpu_allocated_mib", pa.float64()),
        pa.field("gpu_reserved_mib", pa.float64()),
        pa.field("gpu_peak_mib", pa.float64()),
        pa.field("raised", pa.string()),  # the exception's type, when one left the function
    ]
)

MEMORY_CURVE = pa.schema(
    [
        *RUN_KEY,
        pa.field("seconds", pa.float64(), nullable=False),  # since the worker was started
        pa.field("process_id", pa.int64(), nullable=False),
        pa.field("parent_process_id", pa.int64(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("rss_mib", pa.float64(), nullable=False),
    ]
)

MEMORY_PROFILER_LINES = pa.schema(
    [
        pa.field("log", pa.string(), nullable=False),
        pa.field("table", pa.int64(), nullable=False),  # 0 for the first table of the log
        pa.field("attempt", pa.int64(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("function", pa.string()),
        pa.field("line_number", pa.int64(), nullable=False),
        pa.field("memory_mib", pa.float64()),
        pa.field("increment_mib", pa.float64()),
        pa.field("occurrences", pa.int64()),
        pa.field("line_contents", pa.string(), nullable=False),
        pa.field("process", pa.int64()),  # null in logs that IndexScope did not write
    ]
)

MEMORY_BY_FUNCTION = pa.schema(
    [
        pa.field("log", pa.string(), nullable=False),
        pa.field("attempt", pa.int64(), nullable=False),
        pa.field("function", pa.string(), nullable=False),
        pa.field("start_mib", pa.float64()),
        pa.field("increment_mib", pa.float64()),
        pa.field("final_mib", pa.float64()),
        pa.field("process", pa.int64()),
        pa.field("qualified_name", pa.string()),
    ]
)

# One row per quantity and pair (system against system, or profiler against `none`).
MEMORY_COMPARISON = pa.schema(
    [
        pa.field("comparison", pa.string(), nullable=False),  # "systems" or "profilers"
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),  # a measured column of RUNS
        pa.field("left", pa.string(), nullable=False),
        pa.field("right", pa.string(), nullable=False),
        pa.field("left_runs", pa.int64(), nullable=False),
        pa.field("left_median", pa.float64()),
        pa.field("left_min", pa.float64()),
        pa.field("left_max", pa.float64()),
        pa.field("right_runs", pa.int64(), nullable=False),
        pa.field("right_median", pa.float64()),
        pa.field("right_min", pa.float64()),
        pa.field("right_max", pa.float64()),
        pa.field("difference", pa.float64()),  # right - left, of the medians
        pa.field("ratio", pa.float64()),  # right / left, of the medians
        pa.field("separated", pa.bool_()),  # the samples do not overlap; null with one run on a side
    ]
)

ARTIFACT_COMPARISON = pa.schema(
    [
        pa.field("pair", pa.string(), nullable=False),
        pa.field("left_run", pa.string(), nullable=False),
        pa.field("right_run", pa.string(), nullable=False),
        pa.field("left_outcome", pa.string(), nullable=False),
        pa.field("right_outcome", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("artifact", pa.string(), nullable=False),  # {stage}/{chunk}/{call}/{name}
        pa.field("name", pa.string(), nullable=False),
        pa.field("presence", pa.string(), nullable=False),  # both, left only, right only, neither
        pa.field("left_shape", pa.string()),
        pa.field("right_shape", pa.string()),
        pa.field("left_dtype", pa.string()),
        pa.field("right_dtype", pa.string()),
        pa.field("left_sha256", pa.string()),
        pa.field("right_sha256", pa.string()),
        pa.field("exact", pa.bool_()),
        pa.field("within_tolerance", pa.bool_()),  # allclose, rtol and atol beside it; null for integers
        pa.field("rtol", pa.float64()),
        pa.field("atol", pa.float64()),
        pa.field("equal_fraction", pa.float64()),
        pa.field("mean_absolute_difference", pa.float64()),
        pa.field("max_absolute_difference", pa.float64()),
        # equal, within tolerance, differs, dtype differs, shape differs, missing, run failed
        pa.field("verdict", pa.string(), nullable=False),
    ]
)

# Published times of encoding (config/published): one row for each number.
PUBLISHED_ENCODE_SECONDS = pa.schema(
    [
        pa.field("framework", pa.string(), nullable=False),
        pa.field("profiler", pa.string(), nullable=False),
        pa.field("gpu", pa.string(), nullable=False),
        pa.field("seconds_per_25k_passages", pa.float64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)


# One row for each file of `external_logs`; `log` is as in the other tables.
EXTERNAL_LOGS = pa.schema(
    [
        pa.field("log", pa.string(), nullable=False),
        pa.field("entry", pa.int64(), nullable=False),  # position in external_logs; a glob's files share it
        pa.field("kind", pa.string(), nullable=False),  # memory_profiler or mprof
        pa.field("system", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("machine", pa.string(), nullable=False),
        pa.field("published", pa.bool_(), nullable=False),  # a log of the published study
        pa.field("source", pa.string(), nullable=False),  # path, glob or URL as configured
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("attempts", pa.int64(), nullable=False),  # of memory_profiler tables; recordings of mprof
        pa.field("tables", pa.int64(), nullable=False),  # of memory_profiler
        pa.field("incomplete_tables", pa.int64(), nullable=False),
        pa.field("calls", pa.int64(), nullable=False),  # FUNC lines of mprof
        pa.field("samples", pa.int64(), nullable=False),  # MEM and CHLD lines of mprof
    ]
)

# The published numbers of memory_profiler beside ours: one row for each source, system, size and function.
PUBLISHED_MEMORY = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # published, log (external), ours
        pa.field("system", pa.string(), nullable=False),  # label
        pa.field("framework", pa.string()),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("function", pa.string(), nullable=False),
        pa.field("start_mib", pa.float64()),  # median of the runs; a corrected cell has the value of the log
        pa.field("increment_mib", pa.float64()),
        pa.field("final_mib", pa.float64()),
        pa.field("corrected", pa.bool_(), nullable=False),  # the log contradicts a published cell of this row
        pa.field("runs", pa.int64(), nullable=False),
        pa.field("machine", pa.string()),
        pa.field("corpus", pa.string()),
        pa.field("checkpoint", pa.string()),
    ]
)


# Not below results/tables: made of the tables `runs` of several campaigns (results/trends).

TRENDS = pa.schema(
    [
        pa.field("campaign", pa.string(), nullable=False),  # results without a name are called by their date
        *(field for field in RUNS if field.name != "campaign"),
    ]
)

# One row for each quantity of a system, size and profiler, and each two campaigns that are compared.
CAMPAIGN_COMPARISON = pa.schema(
    [
        pa.field("comparison", pa.string(), nullable=False),  # "previous" or "first": which campaign is left
        pa.field("left_campaign", pa.string(), nullable=False),
        pa.field("right_campaign", pa.string(), nullable=False),  # the later one
        pa.field("system", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("profiler", pa.string(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),  # a measured column of RUNS
        pa.field("left_runs", pa.int64(), nullable=False),  # completed ones
        pa.field("left_median", pa.float64()),
        pa.field("left_min", pa.float64()),
        pa.field("left_max", pa.float64()),
        pa.field("right_runs", pa.int64(), nullable=False),
        pa.field("right_median", pa.float64()),
        pa.field("right_min", pa.float64()),
        pa.field("right_max", pa.float64()),
        pa.field("difference", pa.float64()),  # right - left, of the medians
        pa.field("ratio", pa.float64()),  # right / left, of the medians
        pa.field("separated", pa.bool_()),  # the samples do not overlap; null with one run on a side
        # How often samples of these numbers, all from one distribution, would be separated.
        pa.field("chance_of_separation", pa.float64()),
        pa.field("factor", pa.float64(), nullable=False),  # that the medians must differ by
        pa.field("exceeds_factor", pa.bool_()),
        pa.field("changed", pa.bool_(), nullable=False),  # the first three verdicts
        # changed, completes now, no longer completes; below the factor, within the spread of repeats,
        # too few repeats, no completed run
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("differs", pa.string(), nullable=False),  # what is known to differ between the campaigns
    ]
)


# Every table under results/tables, by its file's name.
TABLES = {
    "runs": RUNS,
    "spans": SPANS,
    "memory_curve": MEMORY_CURVE,
    "memory_profiler_lines": MEMORY_PROFILER_LINES,
    "memory_by_function": MEMORY_BY_FUNCTION,
    "external_logs": EXTERNAL_LOGS,
    "published_memory": PUBLISHED_MEMORY,
    "memory_comparison": MEMORY_COMPARISON,
    "artifact_comparison": ARTIFACT_COMPARISON,
    "published_encode_seconds": PUBLISHED_ENCODE_SECONDS,
}


# Where a table comes from: environment variables, which the workflow sets (rules/common.smk), and the keys
# under which their values are in the table's Parquet metadata. What made a run is in `runs`, by its key.
_ORIGIN = {
    "INDEXSCOPE_CAMPAIGN": b"indexscope.campaign",
    "INDEXSCOPE_COMMIT": b"indexscope.commit",  # of the code that made the table
    "INDEXSCOPE_ANALYSIS_LOCK": b"indexscope.analysis_lock",  # digest of the environment that made it
}


def origin() -> dict[bytes, bytes] | None:
    """What is known of where tables written now come from; None outside of the workflow."""
    known = {key: os.environ.get(name, "").encode() for name, key in _ORIGIN.items()}
    return {key: value for key, value in known.items() if value} or None


def write_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write `rows` as Parquet at `path` under `schema`, through a temporary name.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: a value does not fit its column.
        KeyError: a row has a column that the schema lacks.
    """
    names = set(schema.names)
    checked = []
    for row in rows:
        unknown = row.keys() - names
        if unknown:
            raise KeyError(f"{path}: columns {sorted(unknown)} are not in the schema")
        checked.append(dict(row))
    table = pa.Table.from_pylist(checked, schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table.replace_schema_metadata(origin()), partial)
    partial.replace(path)


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write `batches`, each of `schema`, as Parquet at `path` through a temporary name.

    Memory stays at one row group, whatever the number of batches. Nothing is left behind when an exception
    leaves `batches`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, schema.with_metadata(origin())) as writer:
            pending: list[pa.RecordBatch] = []
            for batch in batches:
                pending.append(batch)
                if sum(waiting.num_rows for waiting in pending) >= ROWS_PER_GROUP:
                    writer.write_table(pa.Table.from_batches(pending, schema))
                    pending = []
            if pending:
                writer.write_table(pa.Table.from_batches(pending, schema))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)

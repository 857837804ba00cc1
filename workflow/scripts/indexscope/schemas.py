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
        # On a GPU. In use on the device, by whomever, from outside (NVML); what PyTorch reserved in one process,
        # of it tensors, and what of the device it did not reserve: contexts, other allocations and programs.
        pa.field("gpu_used_peak_mib", pa.float64()),
        pa.field("gpu_reserved_peak_mib", pa.float64()),
        pa.field("gpu_allocated_peak_mib", pa.float64()),
        pa.field("gpu_others_peak_mib", pa.float64()),  # at ends of phases (profiler spans) and at exit
        # Under memray: the most that one process had asked its allocators for at once. Heap is not RSS.
        pa.field("memray_heap_peak_mib", pa.float64()),
        pa.field("processes", pa.int64()),
        pa.field("ranks", pa.int64()),  # processes that encode (nranks)
        pa.field("samples", pa.int64()),
        pa.field("sample_interval_seconds", pa.float64()),  # median of the observed intervals
        pa.field("peaks_exact", pa.bool_()),  # false: /proc/self/clear_refs was not writable
        # Of an exact peak: what it may be off by on this machine, and by what it was, for a spike of known size.
        pa.field("peak_error_bound_mib", pa.float64()),
        pa.field("peak_error_observed_mib", pa.float64()),  # the largest of the run's processes
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
        # The place: what a scheduler gave, what ran beside, and what became of the run before it ended.
        pa.field("scheduler", pa.string()),  # slurm; null where none started the run
        pa.field("scheduler_job", pa.string()),
        pa.field("granted_mib", pa.int64()),  # memory that the scheduler gave
        pa.field("attempt", pa.int64()),  # from 1; more where earlier ones were ended from outside
        pa.field("earlier_attempts", pa.string()),  # how each ended, a sentence each
        pa.field("resumed_from", pa.string()),  # the stage of an earlier attempt that was gone on from
        pa.field("visible_devices", pa.string()),  # CUDA_VISIBLE_DEVICES of the run
        pa.field("jobs_beside", pa.string()),  # IndexScope's own that ran at the same time on this machine
        pa.field("cores_beside", pa.float64()),  # mean processor cores that all else on the machine used
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
        pa.field("end_tree_pss_mib", pa.float64()),  # the same of all processes of the run, added up
        pa.field("pss_read_seconds", pa.float64()),  # after the end, when both had been read
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
        pa.field("shared_mib", pa.float64()),  # of it, pages of files and shared memory; null in older curves
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

# One row for each part of a process's memory at one moment of a run under the profiler ledger. The parts of a
# moment, `unexplained` among them, add up to tree_rss_mib.
LEDGER = pa.schema(
    [
        *RUN_KEY,
        # "tree peak" (while the index call ran); "peak of the whole run" where that is another; the highest point of
        # a phase: planning, training, encoding, finalizing; "highest point of FUNCTION" and "most in tensors of
        # FUNCTION" (that its own lines made), where these are other moments
        pa.field("moment", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),  # since the worker was started
        pa.field("tree_rss_mib", pa.float64(), nullable=False),  # sum over processes at that moment
        pa.field("process_id", pa.int64(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        # libraries and files, imported modules, model weights, corpus, tensors, native buffers, Python objects,
        # retained by the allocator, CUDA context, other processes, unexplained
        pa.field("part", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),  # within the part: a package, a tensor, a buffer
        pa.field("function", pa.string()),  # the framework's, which made it
        pa.field("source", pa.string()),  # file and line of it, below site-packages
        pa.field("operator", pa.string()),  # such as aten.mm
        pa.field("shape", pa.string()),
        pa.field("dtype", pa.string()),
        pa.field(
            "device", pa.string(), nullable=False
        ),  # cpu, cuda:0; parts of a GPU are no part of the tree's RSS
        pa.field("blocks", pa.int64()),
        pa.field("mib", pa.float64(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),  # observed, inferred
        pa.field("basis", pa.string(), nullable=False),  # how it is known
    ]
)

# What the memory model says of a phase of a run, beside what was measured.
_MODEL_KEY = [
    # run, published; with a level that smaller sizes alone give: run extrapolated, published extrapolated
    pa.field("source", pa.string(), nullable=False),
    pa.field("run", pa.string()),  # null where published, and where extrapolated
    pa.field("system", pa.string(), nullable=False),
    pa.field("label", pa.string()),
    pa.field("documents", pa.int64(), nullable=False),
    # start-up, planning, training, encoding, finalizing, child exit (of ColBERT's child); peak
    pa.field("phase", pa.string(), nullable=False),
    pa.field("memory", pa.string(), nullable=False),  # host, gpu
]
MEMORY_MODEL = pa.schema(
    [
        *_MODEL_KEY,
        pa.field("framework", pa.string(), nullable=False),
        pa.field("profiler", pa.string()),
        pa.field("repeat", pa.int64()),
        pa.field("passages", pa.int64()),
        pa.field("embeddings", pa.int64()),
        pa.field("predicted_mib", pa.float64(), nullable=False),
        pa.field("low_mib", pa.float64()),  # of an interval; null where nothing says how wide
        pa.field("high_mib", pa.float64()),
        pa.field("measured_mib", pa.float64()),
        pa.field("error_percent", pa.float64()),  # predicted against measured
        pa.field("deciding_phase", pa.string()),  # of the peak
        pa.field("basis", pa.string(), nullable=False),  # what the constants come from, in words
    ]
)
MEMORY_MODEL_TERMS = pa.schema(
    [
        *_MODEL_KEY,
        pa.field("process", pa.string(), nullable=False),  # parent, worker, manager, tracker
        pa.field("term", pa.string(), nullable=False),
        pa.field(
            "formula", pa.string(), nullable=False
        ),  # in words and numbers: partitions x points x 4 bytes
        pa.field("mib", pa.float64(), nullable=False),
    ]
)

# The benchmark profiler_cost: one row for each run, in the order in which they were made.
PROFILER_ROUNDS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("cell", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("framework", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),  # 0: a first run, which is not compared
        pa.field("position", pa.int64(), nullable=False),  # in the round, from 1
        # bare (the tree is looked at once a second), none, spans, memory_profiler, memray
        pa.field("variant", pa.string(), nullable=False),
        pa.field("again", pa.bool_(), nullable=False),  # the round's second run of none
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("started_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("wall_seconds", pa.float64()),
        pa.field("index_seconds", pa.float64()),
        pa.field("planning_seconds", pa.float64()),
        pa.field("training_seconds", pa.float64()),
        pa.field("encoding_seconds", pa.float64()),
        pa.field("finalizing_seconds", pa.float64()),
        pa.field("tree_peak_rss_mib", pa.float64()),
        pa.field("index_peak_rss_mib", pa.float64()),
        pa.field("memray_heap_peak_mib", pa.float64()),  # the largest of one process; null but under memray
        pa.field("samples", pa.int64()),
        # Processor time that the supervisor took while the run lasted: the cost of the curve.
        pa.field("sampling_processor_seconds", pa.float64(), nullable=False),
        pa.field("cpu_model", pa.string()),
        pa.field("cpu_count", pa.int64()),
    ]
)

# What each way of measuring costs: one row for each system, variant, baseline and quantity.
PROFILER_OVERHEAD = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("framework", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field(
            "variant", pa.string(), nullable=False
        ),  # none by none: its second run of each round by its first
        pa.field(
            "baseline", pa.string(), nullable=False
        ),  # what it is divided by: none, or bare (without the curve)
        pa.field("quantity", pa.string(), nullable=False),  # a measured column of PROFILER_ROUNDS
        pa.field("rounds", pa.int64(), nullable=False),  # in which it and the baseline completed
        pa.field("rounds_lost", pa.int64(), nullable=False),  # in which one of them did not
        pa.field("median_value", pa.float64()),  # of the variant
        pa.field("median_baseline", pa.float64()),
        pa.field("ratio", pa.float64()),  # median over rounds of the variant's value by the baseline's
        pa.field("ratio_min", pa.float64()),
        pa.field("ratio_max", pa.float64()),
        # Of the median ratio, from the order of the rounds alone (sign test), and how often it covers it.
        pa.field("interval_low", pa.float64()),
        pa.field("interval_high", pa.float64()),
        pa.field("interval_coverage", pa.float64()),  # below 0.95 with fewer than six rounds
        # The range of none against itself, widened to hold the inverse of each ratio: which run is first is chance.
        pa.field("none_low", pa.float64()),
        pa.field("none_high", pa.float64()),
        # at most 1.01 (of memory: no more than that either way), within the spread of none, beyond;
        # spread of none, not comparable (peaks sampled once a second), no complete round
        pa.field("verdict", pa.string(), nullable=False),
    ]
)

# How much of the difference between two systems each thing that is unequal makes; one change a row, and the
# shares of a size add up. Its last rows ("all, …") compare both ends directly: as the study did, and as trees.
CONFOUNDS = pa.schema(
    [
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # from 0
        pa.field("confound", pa.string(), nullable=False),  # what changes, such as "environment"
        pa.field("changes", pa.string(), nullable=False),  # every setting that does, from → to
        pa.field("from_system", pa.string(), nullable=False),
        pa.field("from_measure", pa.string(), nullable=False),  # parent process, process tree
        pa.field("to_system", pa.string(), nullable=False),
        pa.field("to_measure", pa.string(), nullable=False),
        pa.field("from_runs", pa.int64(), nullable=False),
        pa.field("to_runs", pa.int64(), nullable=False),
        pa.field("from_mib", pa.float64()),  # median of the runs
        pa.field("to_mib", pa.float64()),
        pa.field("share_mib", pa.float64()),  # to - from
        # Least and most of any two runs; of what is counted, within each of the same runs.
        pa.field("share_low_mib", pa.float64()),
        pa.field("share_high_mib", pa.float64()),
        pa.field("beyond_spread", pa.bool_()),  # the runs do not overlap; null with one on a side
    ]
)

# One row for each question, answered from measured rows or not at all.
ANSWERS = pa.schema(
    [
        pa.field("question", pa.string(), nullable=False),  # short name, stable
        pa.field("asked_by", pa.string(), nullable=False),  # the study's author, this project
        pa.field("text", pa.string(), nullable=False),  # the question in words
        pa.field("claim", pa.string(), nullable=False),  # what would be so; the verdict is about it
        pa.field("experiment", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),  # supported, not supported, not testable here
        pa.field("answer", pa.string(), nullable=False),  # in words, with the numbers
        pa.field("evidence", pa.list_(pa.string()), nullable=False),  # TABLE: row in words, one each
        pa.field("remedy", pa.string()),  # what to run, where it is not testable here
    ]
)

# One row for each quantity of two sides, aligned by run, phase and function; suppressed differences included.
RUN_COMPARISON = pa.schema(
    [
        pa.field("left", pa.string(), nullable=False),  # a system, or what the two were called
        pa.field("right", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("profiler", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # outcome, run, phase, function
        pa.field("part", pa.string(), nullable=False),  # whole run, index call, a phase, a function
        pa.field("role", pa.string()),  # of the process that it was read in
        pa.field("quantity", pa.string(), nullable=False),  # a column of RUNS or SPANS; outcome
        pa.field("left_runs", pa.int64(), nullable=False),
        pa.field("left_median", pa.float64()),
        pa.field("left_min", pa.float64()),
        pa.field("left_max", pa.float64()),
        pa.field("right_runs", pa.int64(), nullable=False),
        pa.field("right_median", pa.float64()),
        pa.field("right_min", pa.float64()),
        pa.field("right_max", pa.float64()),
        pa.field("difference", pa.float64()),  # right - left, of the medians
        pa.field("ratio", pa.float64()),
        pa.field("separated", pa.bool_()),  # the ranges do not overlap; null with one run on a side
        # increased, decreased, not changed, only left, only right
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # why it is no change, where it is none
    ]
)

# One row for each spike of known size and instrument: what it saw of it.
MEASUREMENT_ACCURACY = pa.schema(
    [
        # spans, curve, sampling thread, memory_profiler, Snakemake benchmark
        pa.field("instrument", pa.string(), nullable=False),
        # spike; untouched, shared memory, file-mapped; nested, inner; nested, outer; small after large;
        # threads, together; threads, each; forked child, spawned child, exception, killed
        pa.field("case", pa.string(), nullable=False),
        pa.field("size_mib", pa.int64(), nullable=False),
        pa.field("gil", pa.string(), nullable=False),  # held, released: while the memory is there
        pa.field("pages", pa.string(), nullable=False),  # 4 KiB, huge
        pa.field("hold_seconds", pa.float64(), nullable=False),  # once all of it has been touched
        pa.field("repeat", pa.int64(), nullable=False),
        pa.field("true_mib", pa.float64(), nullable=False),  # what the case makes resident
        pa.field("seen_mib", pa.float64()),  # above the level before; null where the instrument left nothing
        pa.field("error_mib", pa.float64()),  # seen - true
        pa.field("bound_mib", pa.float64()),  # declared of an exact peak; null before Linux 6.2
        pa.field("within_bound", pa.bool_()),
        pa.field("detail", pa.string()),
    ]
)

_ARTIFACT_COLUMNS = [
    pa.field("pair", pa.string(), nullable=False),
    pa.field("left_run", pa.string(), nullable=False),
    pa.field("right_run", pa.string(), nullable=False),
    pa.field("left_outcome", pa.string(), nullable=False),
    pa.field("right_outcome", pa.string(), nullable=False),
    pa.field("documents", pa.int64(), nullable=False),
    pa.field("artifact", pa.string(), nullable=False),  # {stage}/{chunk}/{call}/{name}
    pa.field("stage", pa.string(), nullable=False),  # planning, training, encoding, finalizing, final
    pa.field("name", pa.string(), nullable=False),
    # "as stored", or "up to order": centroids matched one to one, codes relabelled through that match, inverted
    # lists as sets.
    pa.field("compared_as", pa.string(), nullable=False),
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
    pa.field("within_bitsandbytes_tolerance", pa.bool_()),  # the looser one of the dtype; null for integers
    pa.field("bitsandbytes_rtol", pa.float64()),
    pa.field("bitsandbytes_atol", pa.float64()),
    pa.field("equal_fraction", pa.float64()),
    pa.field("mean_absolute_difference", pa.float64()),
    pa.field("max_absolute_difference", pa.float64()),
    # Representable numbers between the two, the largest of any element; null for integers and other dtypes.
    pa.field("max_ulp_distance", pa.int64()),
    pa.field("detail", pa.string()),  # what the verdict does not say, such as how many centroids have a match
    # equal, equal up to order, within tolerance, within bitsandbytes tolerance, differs, dtype differs,
    # shape differs, missing, run failed
    pa.field("verdict", pa.string(), nullable=False),
]

ARTIFACT_COMPARISON = pa.schema(_ARTIFACT_COLUMNS)

# The experiment torch_versions. "left" and "right" are PyTorch versions, left the one that artifacts come from.

_VERSIONS = [
    pa.field("left_version", pa.string(), nullable=False),
    pa.field("right_version", pa.string(), nullable=False),
]

# One row for each version: its environment, or why there is none, and what decides its arithmetic.
TORCH_ENVIRONMENTS = pa.schema(
    [
        pa.field("version", pa.string(), nullable=False),
        pa.field("environment", pa.string(), nullable=False),
        pa.field("lock_digest", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # built, failed, unsupported
        pa.field("detail", pa.string()),
        pa.field("python_version", pa.string()),
        pa.field("torch_build", pa.string()),  # such as 2.0.1+cu117
        pa.field("torch_commit", pa.string()),
        pa.field("cuda_of_build", pa.string()),
        pa.field("device", pa.string()),
        pa.field("gpu", pa.string()),
        pa.field("gpu_capability", pa.string()),
        pa.field("threads", pa.int64()),  # of torch.get_num_threads
        pa.field("interop_threads", pa.int64()),
        pa.field("cpu_capability", pa.string()),  # instruction set that torch chose; null before it said so
        pa.field("mkl", pa.string()),  # of torch.__config__
        pa.field("onednn", pa.string()),
        pa.field("openmp", pa.string()),
        pa.field("blas", pa.string()),
        pa.field("cpu_model", pa.string()),
        pa.field("cpu_flags", pa.string()),  # those of vector instructions, sorted
        pa.field("glibc", pa.string()),
        pa.field("transformers_version", pa.string()),
        pa.field("tokenizers_version", pa.string()),
        pa.field("numpy_version", pa.string()),
        pa.field("faiss_version", pa.string()),
        pa.field("colbert_version", pa.string()),
    ]
)

# ARTIFACT_COMPARISON for runs of versions: consecutive versions, a version with itself, and injections.
TORCH_ARTIFACTS = pa.schema(
    [
        *_VERSIONS,
        pa.field("kind", pa.string(), nullable=False),  # versions, repeat, injection
        pa.field("injected", pa.string(), nullable=False),  # names joined by " + "; empty but for injections
        *_ARTIFACT_COLUMNS,
    ]
)

# One row for each pair of versions and injection, "" (none) included: what it makes equal.
TORCH_INJECTIONS = pa.schema(
    [
        *_VERSIONS,
        pa.field("injected", pa.string(), nullable=False),
        pa.field("artifacts_injected", pa.int64(), nullable=False),
        pa.field("left_outcome", pa.string(), nullable=False),
        pa.field("right_outcome", pa.string(), nullable=False),
        pa.field("final_artifacts", pa.int64(), nullable=False),
        pa.field("equal", pa.int64(), nullable=False),  # of them, bit for bit
        pa.field("equal_up_to_order", pa.int64(), nullable=False),  # of them, those that are equal included
        pa.field(
            "differing", pa.string(), nullable=False
        ),  # final artifacts that are neither, joined by ", "
        pa.field("intermediate_artifacts", pa.int64(), nullable=False),
        pa.field("intermediate_equal", pa.int64(), nullable=False),
        # No injection of fewer artifacts, or a part of these, makes all final artifacts equal.
        pa.field("smallest", pa.bool_(), nullable=False),
        # all equal, all equal up to order, some differ, run failed
        pa.field("verdict", pa.string(), nullable=False),
    ]
)

# What was encoded: leads the tables of operators.
_CASE = [
    pa.field("case", pa.string(), nullable=False),  # unique: input, precision and shape in words
    # text, corpus batch, random tokens; index: the steps after encoding
    pa.field("input", pa.string(), nullable=False),
    pa.field("content", pa.string(), nullable=False),  # the text, the batch's number, the seed
    pa.field("precision", pa.string(), nullable=False),  # a setting of operators.precisions
    pa.field("batch_size", pa.int64()),
    pa.field("sequence_length", pa.int64()),
]

# One row for each operator of a case: the left version's inputs given to the right version's operator.
TORCH_OPERATORS = pa.schema(
    [
        *_VERSIONS,  # equal for the noise floor
        *_CASE,
        pa.field("position", pa.int64(), nullable=False),  # in the left version's recording, from 0
        pa.field("module", pa.string(), nullable=False),  # such as bert.encoder.layer.0.attention.self
        pa.field("operator", pa.string(), nullable=False),  # such as aten.softmax.int; a function by its name
        pa.field("source", pa.string()),  # file and line of the framework that called it
        pa.field("shape", pa.string()),  # of the first output
        pa.field("dtype", pa.string()),
        pa.field("elements", pa.int64()),  # of all outputs that can be compared
        pa.field("equal_fraction", pa.float64()),
        pa.field("mean_absolute_difference", pa.float64()),
        pa.field("max_absolute_difference", pa.float64()),
        pa.field("max_ulp_distance", pa.int64()),
        # equal, differs, shape differs, missing (no such operator there), failed, not replayed (random, in place)
        pa.field("verdict", pa.string(), nullable=False),
        # What, the same in both versions, makes it equal: vector instructions, oneDNN; else: the operator itself.
        pa.field("cause", pa.string()),  # null where it does not differ, or where that was not tried
        pa.field("detail", pa.string()),
    ]
)

# One row for each case: the first operator that gave unequal output for equal input.
TORCH_DIVERGENCE = pa.schema(
    [
        *_VERSIONS,
        *_CASE,
        pa.field("operators", pa.int64(), nullable=False),  # replayed
        pa.field("differing", pa.int64(), nullable=False),
        pa.field(
            "guilty", pa.string(), nullable=False
        ),  # distinct operators that differ, in order, joined by ", "
        # "OPERATOR: CAUSE" of each that differs, joined by "; "; null where it was not tried
        pa.field("causes", pa.string()),
        pa.field("same_sequence", pa.bool_()),  # both versions call the same operators in the same order
        pa.field("first_position", pa.int64()),
        pa.field("first_module", pa.string()),
        pa.field("first_operator", pa.string()),
        pa.field("first_mean_absolute_difference", pa.float64()),
        pa.field("first_max_absolute_difference", pa.float64()),
        pa.field("first_max_ulp_distance", pa.int64()),
        # Of what the case makes in each version on its own: embeddings after the last operator.
        pa.field("final_equal", pa.bool_()),
        pa.field("verdict", pa.string(), nullable=False),  # equal, diverges, unsupported, failed
        pa.field("detail", pa.string()),
    ]
)

# One row for each module output of a case: what each version makes on its own, differences added up.
TORCH_LAYERS = pa.schema(
    [
        *_VERSIONS,
        *_CASE,
        pa.field("position", pa.int64(), nullable=False),  # order of the outputs
        pa.field("module", pa.string(), nullable=False),  # bert.embeddings, bert.encoder.layer.0, linear, …
        pa.field("equal_fraction", pa.float64(), nullable=False),
        pa.field("mean_absolute_difference", pa.float64(), nullable=False),
        pa.field("max_absolute_difference", pa.float64(), nullable=False),
        pa.field("max_ulp_distance", pa.int64()),
    ]
)

# One row for each pair, comparison and measure: whether search notices.
TORCH_SEARCH = pa.schema(
    [
        *_VERSIONS,
        # own index: each version searches what it built; index of left, index of right: both search that one
        pa.field("comparison", pa.string(), nullable=False),
        pa.field("left_outcome", pa.string(), nullable=False),
        pa.field("right_outcome", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),  # Recall@10, MRR@10, nDCG@10 (at k)
        pa.field("queries", pa.int64()),
        pa.field("left_mean", pa.float64()),
        pa.field("right_mean", pa.float64()),
        pa.field("change", pa.float64()),  # right - left
        pa.field("increased", pa.int64()),  # queries whose value is higher in the right version
        pa.field("equal", pa.int64()),
        pa.field("decreased", pa.int64()),
        pa.field(
            "p_value", pa.float64()
        ),  # two-sided, paired sign-flip permutation test; 1 where none differs
        pa.field("permutations", pa.int64()),
        pa.field("differing_passages", pa.float64()),  # mean of |left top k Δ right top k| over queries
        pa.field("same_ranking", pa.float64()),  # part of the queries whose top k is the same, in order
        # no difference, within chance, beyond chance, search failed
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

# One row for each query of TORCH_SEARCH.
TORCH_SEARCH_QUERIES = pa.schema(
    [
        *_VERSIONS,
        pa.field("comparison", pa.string(), nullable=False),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("left_value", pa.float64(), nullable=False),
        pa.field("right_value", pa.float64(), nullable=False),
        pa.field("differing_passages", pa.int64(), nullable=False),
    ]
)

# What was published of a pair of versions beside what was measured here.
TORCH_PUBLISHED = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),  # artifacts, injection, search, operator, layers
        *_VERSIONS,
        pa.field(
            "quantity", pa.string(), nullable=False
        ),  # such as an artifact or Recall@10 change, own index
        pa.field("published", pa.string(), nullable=False),  # in words or digits as published
        pa.field("published_value", pa.float64()),
        pa.field("published_conditions", pa.string(), nullable=False),  # scale, precision, hardware
        pa.field("ours", pa.string()),  # null where nothing here measured it
        pa.field("our_value", pa.float64()),
        pa.field("our_conditions", pa.string()),
        pa.field("agrees", pa.bool_()),  # null where there is nothing to compare
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


# faiss_tables: what identifies a cell. Sizes are of one segment.
_FAISS_CELL = [
    pa.field("grid", pa.string(), nullable=False),  # grid, or rfc
    pa.field("index_type", pa.string(), nullable=False),  # ivf_flat, hnsw_pq, ivf_pq
    pa.field("metric", pa.string(), nullable=False),  # l2, inner_product
    pa.field("dim", pa.int64(), nullable=False),
    pa.field("nlist", pa.int64()),  # null for hnsw_pq
    pa.field("pq_m", pa.int64()),  # null for ivf_flat, as code_size
    pa.field("code_size", pa.int64()),  # bits of a code of one subquantizer
    pa.field("hnsw_m", pa.int64()),  # null but for hnsw_pq
    pa.field("vectors_per_segment", pa.int64(), nullable=False),
    pa.field("segments", pa.int64(), nullable=False),
    pa.field("load_mode", pa.string(), nullable=False),  # default, skip, shared
]

_MACHINE = [
    pa.field("cpu_model", pa.string()),
    pa.field("cpu_count", pa.int64()),
    pa.field("memory_total_mib", pa.float64()),
    pa.field("kernel", pa.string()),
    pa.field("lock_digest", pa.string()),
    pa.field("git_commit", pa.string()),
    pa.field("started_at", pa.timestamp("ms", tz="UTC")),
]

# One row for each process that loaded segments. Formulas are of all segments together.
FAISS_MEMORY = pa.schema(
    [
        *_FAISS_CELL,
        pa.field("repeat", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("memory_limit_mib", pa.int64()),
        # By formula, from the geometry alone.
        pa.field("centroids_mib", pa.float64(), nullable=False),  # coarse centroids: 4 * nlist * dim
        pa.field("pq_centroids_mib", pa.float64(), nullable=False),  # 4 * 2^code_size * dim
        pa.field("codes_mib", pa.float64(), nullable=False),  # codes, or the vectors of ivf_flat
        pa.field("ids_mib", pa.float64(), nullable=False),  # 8 bytes a vector of an IVF index
        pa.field("graph_mib", pa.float64(), nullable=False),  # links, levels and offsets of HNSW
        # Computed at load in this mode: IVFPQ-L2's precomputed table, HNSWPQ's SDC table; one where it is shared.
        pa.field("tables_mib", pa.float64(), nullable=False),
        pa.field("containers_mib", pa.float64(), nullable=False),  # of lists and allocations themselves
        pa.field("formula_mib", pa.float64(), nullable=False),  # all of these
        pa.field("redundant_mib", pa.float64(), nullable=False),  # of it what equals another segment's
        pa.field("file_mib", pa.float64()),  # size of the files that were read
        # Measured (kernel's smaps_rollup) above the process just before loading: anonymous memory, which no other
        # process shares, and pages of files, each counted whole.
        pa.field("measured_mib", pa.float64()),  # loaded and settled
        pa.field("measured_anon_mib", pa.float64()),  # of it anonymous memory
        pa.field("measured_file_pages_mib", pa.float64()),  # of it pages of files (libraries, first touched)
        # The same by PSS: also changes when another process starts or ends that maps the same libraries.
        pa.field("measured_pss_mib", pa.float64()),
        pa.field("warm_measured_mib", pa.float64()),  # after searching every segment
        pa.field("baseline_pss_mib", pa.float64()),  # libraries loaded, no index
        pa.field("tree_peak_rss_mib", pa.float64()),  # of the whole process, sampled from outside
        pa.field("load_seconds", pa.float64()),  # all segments
        pa.field("first_search_seconds", pa.float64()),  # one query in every segment
        # Of ids and distances of the same queries in every segment: the same where they are equal to rounding.
        pa.field("results_digest", pa.string()),
        pa.field("faiss_version", pa.string()),
        *_MACHINE,
    ]
)

# What each way of estimating says of a cell beside what was measured (median of completed repeats).
FAISS_ESTIMATES = pa.schema(
    [
        *_FAISS_CELL,
        # formula (ours), file size, accounting tool, and the RFC's estimates by number
        pa.field("estimator", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # where it is from
        pa.field("estimated_mib", pa.float64()),  # null where it is not defined for this index type
        pa.field("measured_mib", pa.float64()),  # null without a completed run
        pa.field("measured_low_mib", pa.float64()),
        pa.field("measured_high_mib", pa.float64()),
        pa.field("runs", pa.int64(), nullable=False),
        pa.field("error", pa.float64()),  # estimated / measured - 1
    ]
)

# The RFC's alternatives, each tried: one row for each index type, metric and alternative.
FAISS_ALTERNATIVES = pa.schema(
    [
        *[field for field in _FAISS_CELL if field.name not in ("grid", "load_mode")],
        # keep, disable, serialise with the model, initialise from the model index, share
        pa.field("alternative", pa.string(), nullable=False),
        pa.field("possible", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),  # where it is not
        pa.field("runs", pa.int64(), nullable=False),
        pa.field("measured_mib", pa.float64()),  # of all segments, as in FAISS_MEMORY; median
        pa.field("measured_low_mib", pa.float64()),
        pa.field("measured_high_mib", pa.float64()),
        pa.field("tables_mib", pa.float64()),  # by formula
        pa.field("extra_file_mib", pa.float64()),  # on disk, beside the segments
        pa.field("load_seconds", pa.float64()),  # all segments, median
        pa.field("search_p50_ms", pa.float64()),  # one query in one segment
        pa.field("search_by_keep", pa.float64()),  # median over rounds of its p50 by that of keep
        pa.field("search_by_keep_low", pa.float64()),
        pa.field("search_by_keep_high", pa.float64()),
        pa.field("results_equal", pa.bool_()),  # ids and distances to keep's, up to rounding
        # Of a distance from keep's, by its query's largest; 0: bit by bit.
        pa.field("largest_difference", pa.float64()),
        pa.field("can_add", pa.bool_()),  # vectors can still be added to a loaded segment
    ]
)

# Latency of single queries, one row for each round and way; ways are measured in turn within a round.
FAISS_LATENCY = pa.schema(
    [
        pa.field("index_type", pa.string(), nullable=False),  # ivf_pq (l2), hnsw_pq
        pa.field("dim", pa.int64(), nullable=False),
        pa.field("nlist", pa.int64()),
        pa.field("pq_m", pa.int64(), nullable=False),
        pa.field("code_size", pa.int64(), nullable=False),
        pa.field("list_length", pa.float64()),  # mean number of vectors in a list; null for hnsw_pq
        pa.field("vectors", pa.int64(), nullable=False),
        pa.field("nprobe", pa.int64()),  # null for hnsw_pq
        pa.field("way", pa.string(), nullable=False),  # with (the table), without, shared
        pa.field("round", pa.int64(), nullable=False),
        pa.field("queries", pa.int64(), nullable=False),
        pa.field("p50_ms", pa.float64(), nullable=False),
        pa.field("p90_ms", pa.float64(), nullable=False),
        pa.field("p99_ms", pa.float64(), nullable=False),
        pa.field("overhead_ms", pa.float64()),  # in each time: clock and binding (p50 of an empty index)
        pa.field("results_digest", pa.string(), nullable=False),  # of ids and distances, bit by bit
        pa.field("agreement", pa.string()),  # with `with`: identical, equal to rounding, different
        pa.field("largest_difference", pa.float64()),  # of a distance from `with`'s, by its query's largest
    ]
)

# With by without the table (and shared by with): the ratio of each round's quantile, and where it breaks even.
FAISS_BREAK_EVEN = pa.schema(
    [
        *[
            field
            for field in FAISS_LATENCY
            if not field.name.endswith("_ms")
            and field.name not in ("way", "round", "results_digest", "agreement", "largest_difference")
        ],
        pa.field("compared", pa.string(), nullable=False),  # with by without, shared by with
        pa.field("quantile", pa.string(), nullable=False),  # p50, p90, p99
        pa.field("rounds", pa.int64(), nullable=False),
        pa.field("ratio", pa.float64(), nullable=False),  # median over rounds
        pa.field("ratio_low", pa.float64(), nullable=False),
        pa.field("ratio_high", pa.float64(), nullable=False),
        pa.field(
            "saved_ms", pa.float64(), nullable=False
        ),  # per query, by the first of the two; may be negative
        pa.field("table_mib", pa.float64(), nullable=False),
        # faster, slower, no difference (the range of rounds includes 1, or the median is within 2 % of it)
        pa.field("verdict", pa.string(), nullable=False),
        # List length from which on the table is faster at this nprobe, between two that were measured (log scale);
        # null where no sign changes from slower to faster.
        pa.field("break_even_list_length", pa.float64()),
        pa.field("break_even_nprobe", pa.float64()),  # likewise the nprobe, at this list length
        pa.field("agreement", pa.string()),  # of the results, the worst of all rounds
    ]
)

# What was published of table memory beside our formula and, where it was run, our measurement.
FAISS_PUBLISHED = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),  # tables before, tables after, …
        pa.field("nlist", pa.int64()),
        pa.field("pq_m", pa.int64()),
        pa.field("code_size", pa.int64()),
        pa.field("segments", pa.int64()),
        pa.field("published_mib", pa.float64(), nullable=False),
        pa.field("formula_mib", pa.float64()),
        pa.field("measured_mib", pa.float64()),  # null where it was not run here
        pa.field("verdict", pa.string(), nullable=False),  # reproduced, differs, not run here
    ]
)

# document_access: what identifies a training.
_ACCESS_RUN = [
    pa.field("run", pa.string(), nullable=False),  # its folder below results/document_access/runs
    pa.field("experiment", pa.string(), nullable=False),  # grid, limited
    pa.field(
        "loader", pa.string(), nullable=False
    ),  # in_memory, offset_index, ir_datasets, arrow, shared_memory
    pa.field("parallelism", pa.string(), nullable=False),  # single, data_parallel, distributed, accelerate
    pa.field("world_size", pa.int64(), nullable=False),  # devices; on a CPU processes
    pa.field("workers", pa.int64(), nullable=False),  # DataLoader workers of each rank
    pa.field("pin_memory", pa.bool_(), nullable=False),
    pa.field("precision", pa.string(), nullable=False),  # fp32, fp16, bf16
    pa.field(
        "cache", pa.string(), nullable=False
    ),  # page cache of the documents' files at the start: warm, cold
    pa.field("documents", pa.int64(), nullable=False),
    pa.field("repeat", pa.int64(), nullable=False),
]

# One row for each training. Seconds of parts are means per step over ranks and measured steps, of the rank's clock.
DOCUMENT_ACCESS = pa.schema(
    [
        *_ACCESS_RUN,
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("device", pa.string(), nullable=False),  # cpu, cuda
        pa.field("backend", pa.string()),  # of communication: gloo, nccl, none
        pa.field("interconnect", pa.string()),  # what connects the devices, where there are several
        pa.field("batch_size", pa.int64(), nullable=False),  # samples of a rank in a step
        pa.field("max_length", pa.int64(), nullable=False),
        pa.field("steps", pa.int64(), nullable=False),  # measured
        pa.field("warm_up_steps", pa.int64(), nullable=False),  # before them, in no mean
        pa.field("open_seconds", pa.float64()),  # the loader, slowest rank
        pa.field("time_to_first_batch_seconds", pa.float64()),  # since the process started, slowest rank
        pa.field("samples_per_second", pa.float64()),  # of all ranks; steps with fetching
        pa.field(
            "samples_per_second_after_fetch", pa.float64()
        ),  # as published: the timer starts after the fetch
        pa.field("step_seconds", pa.float64()),  # mean; the parts below and what is between them
        pa.field("step_seconds_median", pa.float64()),
        pa.field("wait_seconds", pa.float64()),  # for the next batch: with workers 0 fetch and tokenise
        pa.field("fetch_seconds", pa.float64()),  # where it happened: with workers beside the step
        pa.field("tokenise_seconds", pa.float64()),
        pa.field("host_to_device_seconds", pa.float64()),
        pa.field("forward_seconds", pa.float64()),
        pa.field("backward_seconds", pa.float64()),  # without communication
        pa.field("communication_seconds", pa.float64()),  # all-reduce, or scatter, replicate and gather
        pa.field("optimiser_seconds", pa.float64()),
        pa.field("processor_seconds", pa.float64()),  # of the step, all threads of the rank
        pa.field("final_loss", pa.float64()),
        pa.field("samples_digest", pa.string()),  # of the order of samples, all ranks
        pa.field("texts_digest", pa.string()),  # of the bytes that were fetched, all ranks
        # Memory in the middle of the measured steps, and at the highest point.
        pa.field("processes", pa.int64()),
        pa.field("tree_pss_mib", pa.float64()),  # all ranks and workers: a shared page once
        pa.field("largest_rank_pss_mib", pa.float64()),
        pa.field("tree_peak_rss_mib", pa.float64()),  # shared pages as often as they are shared
        pa.field("page_cache_mib", pa.float64()),  # of the documents' files, in memory at that time (mincore)
        pa.field("page_cache_start_mib", pa.float64()),  # the same at the start
        pa.field("source_mib", pa.float64()),  # size of the files that the loader reads
        pa.field("gpu_peak_mib", pa.float64()),  # the largest of a rank's torch.cuda peaks
        pa.field("memory_limit_mib", pa.int64()),
        pa.field("predicted_mib", pa.float64()),  # of tree_peak_rss_mib, which the limit is on, by the model
        pa.field("torch_version", pa.string()),
        *_MACHINE,
    ]
)

DOCUMENT_ACCESS_STEPS = pa.schema(
    [
        *_ACCESS_RUN,
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # from 0, warm-up included
        pa.field("measured", pa.bool_(), nullable=False),  # no warm-up
        pa.field(
            "started_seconds", pa.float64(), nullable=False
        ),  # since the rank's process started, without the pause in which memory is read
        pa.field("step_seconds", pa.float64(), nullable=False),
        pa.field("wait_seconds", pa.float64(), nullable=False),
        pa.field("fetch_seconds", pa.float64(), nullable=False),
        pa.field("tokenise_seconds", pa.float64(), nullable=False),
        pa.field("host_to_device_seconds", pa.float64(), nullable=False),
        pa.field("forward_seconds", pa.float64(), nullable=False),
        pa.field("backward_seconds", pa.float64(), nullable=False),
        pa.field("communication_seconds", pa.float64(), nullable=False),
        pa.field("optimiser_seconds", pa.float64(), nullable=False),
        pa.field(
            "processor_seconds", pa.float64(), nullable=False
        ),  # of the step, all threads of the rank: near step_seconds, one thread (the GIL) did it all
        pa.field("loss", pa.float64(), nullable=False),
    ]
)

# Every process of a training in the middle of the measured steps.
DOCUMENT_ACCESS_PROCESSES = pa.schema(
    [
        *_ACCESS_RUN,
        pa.field("process_id", pa.int64(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # rank, worker, launcher, other
        pa.field("rank", pa.int64()),
        pa.field("pss_mib", pa.float64(), nullable=False),
        pa.field("rss_mib", pa.float64(), nullable=False),
        pa.field("anon_mib", pa.float64()),  # of PSS
        pa.field("file_mib", pa.float64()),  # of PSS
        pa.field("shmem_mib", pa.float64()),  # of PSS
    ]
)

# Fetching alone: one row for each process.
DOCUMENT_FETCHES = pa.schema(
    [
        pa.field("loader", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),  # random, sequential
        pa.field("cache", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("repeat", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("fetches", pa.int64(), nullable=False),
        pa.field("open_seconds", pa.float64()),
        pa.field("documents_per_second", pa.float64()),
        pa.field("mib_per_second", pa.float64()),  # of text
        pa.field("p50_us", pa.float64()),
        pa.field("p90_us", pa.float64()),
        pa.field("p99_us", pa.float64()),
        pa.field("pss_mib", pa.float64()),  # above that before the loader was opened
        pa.field("cached_fraction_start", pa.float64()),  # of the loader's files, in the page cache
        pa.field("texts_digest", pa.string()),
        *_MACHINE,
    ]
)

# The offset index of a large collection beside a bare pread and ir_datasets: one row for each way and round, and
# one for building each.
DOCUMENT_SCALE = pa.schema(
    [
        pa.field("way", pa.string(), nullable=False),  # pread, offset_index, ir_datasets, …
        pa.field("step", pa.string(), nullable=False),  # build, fetch
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("round", pa.int64()),  # of fetches
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("fetches", pa.int64()),
        pa.field("p50_us", pa.float64()),
        pa.field("p90_us", pa.float64()),
        pa.field("p99_us", pa.float64()),
        pa.field("peak_rss_mib", pa.float64()),  # of building: of the process
        pa.field("index_bytes_per_document", pa.float64()),
        pa.field("collection_mib", pa.float64(), nullable=False),
        pa.field("texts_digest", pa.string()),
        *_MACHINE,
    ]
)

# What was published beside ours: throughput (samples/s) and memory a process.
DOCUMENT_PUBLISHED = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field(
            "quantity", pa.string(), nullable=False
        ),  # samples_per_second, memory_mib_per_process, outcome
        pa.field("loader", pa.string(), nullable=False),
        pa.field("world_size", pa.int64()),
        pa.field("documents", pa.int64()),
        pa.field("published", pa.float64()),  # null where it ran out of memory
        pa.field("published_out_of_memory", pa.bool_(), nullable=False),
        pa.field("ours", pa.float64()),  # measured at this scale; null where it was not run
        pa.field("ours_out_of_memory", pa.bool_()),
        pa.field("by_formula", pa.float64()),  # of memory, at the published scale
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

# The recommendation, from the rows above.
DOCUMENT_ADVICE = pa.schema(
    [
        pa.field("situation", pa.string(), nullable=False),  # for which parallelism, world size, corpus
        pa.field("rank", pa.int64(), nullable=False),  # 1 is recommended
        pa.field("loader", pa.string(), nullable=False),
        pa.field("fits", pa.bool_(), nullable=False),
        pa.field("samples_per_second", pa.float64()),
        pa.field("samples_per_second_low", pa.float64()),
        pa.field("samples_per_second_high", pa.float64()),
        pa.field("tree_pss_mib", pa.float64()),
        pa.field("open_seconds", pa.float64()),
        pa.field("within_spread", pa.bool_()),  # of the fastest: no slower than repeats differ by
        # Of a step: what reading takes more than with the loader that reads fastest; up to 1 % no loader is slower.
        pa.field("reading_share", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),  # a sentence with its numbers
    ]
)


# Every table under results/tables, by its file's name.
INDEX_MEMORY_TABLES = {
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
    "ledger": LEDGER,
    "memory_model": MEMORY_MODEL,
    "memory_model_terms": MEMORY_MODEL_TERMS,
    "confounds": CONFOUNDS,
    "run_comparison": RUN_COMPARISON,
    "answers": ANSWERS,
}
TORCH_TABLES = {
    "torch_runs": RUNS,
    "torch_environments": TORCH_ENVIRONMENTS,
    "torch_artifacts": TORCH_ARTIFACTS,
    "torch_injections": TORCH_INJECTIONS,
    "torch_operators": TORCH_OPERATORS,
    "torch_divergence": TORCH_DIVERGENCE,
    "torch_layers": TORCH_LAYERS,
    "torch_search": TORCH_SEARCH,
    "torch_search_queries": TORCH_SEARCH_QUERIES,
    "torch_published": TORCH_PUBLISHED,
}
# --- remote_indexing ---------------------------------------------------------------------------------------------

# What became of each page of the corpus's PDFs; a file that could not be read is one row without a page, and so is what
# a file lacks of the pages that it is said to have.
REMOTE_PAGES = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # path below the folder of the PDFs
        pa.field("page", pa.int64()),  # from 1; null: the row is of the whole file
        pa.field("pages", pa.int64()),  # of the file; null where it could not be read
        pa.field("title", pa.string()),  # of the file's metadata
        # text, empty (without anything, or without a letter), image_only, encrypted, damaged, too_large, timed_out,
        # unreadable (a link that leads nowhere, no permission)
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # a sentence; null for text
        pa.field("document_id", pa.string()),  # of the document that was made of it; null where none was
        pa.field("characters", pa.int64()),
        pa.field("file_mib", pa.float64()),
    ]
)

# Memory and time of each phase of each index run, beside what the memory model predicts.
REMOTE_PHASES = pa.schema(
    [
        *RUN_KEY,
        pa.field("label", pa.string()),
        pa.field("device", pa.string()),
        pa.field("phase", pa.string(), nullable=False),  # as memory_model.PHASES calls them
        pa.field("seconds", pa.float64()),  # null for start-up
        pa.field("host_peak_mib", pa.float64()),  # of the process tree, while the phase ran
        pa.field("host_predicted_mib", pa.float64()),
        pa.field("gpu_allocated_peak_mib", pa.float64()),  # of tensors; null on a CPU
        pa.field("gpu_reserved_peak_mib", pa.float64()),  # by PyTorch's allocator
        pa.field("gpu_predicted_mib", pa.float64()),  # what it would take on a GPU, predicted on any device
    ]
)

# Which GPU is enough: GPU memory predicted phase by phase against each GPU that can be rented.
REMOTE_GPUS = pa.schema(
    [
        pa.field("case", pa.string(), nullable=False),  # "this configuration" or "the published recipe"
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("gpu", pa.string(), nullable=False),  # as the price table names it
        pa.field("memory_mib", pa.float64(), nullable=False),  # of the GPU
        pa.field("usd_per_hour", pa.float64(), nullable=False),
        pa.field("prices_as_of", pa.string(), nullable=False),  # date
        pa.field("phase", pa.string(), nullable=False),  # that needs most
        pa.field("needs_mib", pa.float64(), nullable=False),  # predicted, its peak, with the margin
        pa.field("fits", pa.bool_(), nullable=False),
        pa.field(
            "first_phase_that_does_not_fit", pa.string()
        ),  # in the order in which phases run; null: all fit
        pa.field("setting_that_fixes", pa.string()),  # as one writes it; null: it fits, or none is enough
        pa.field("needs_with_it_mib", pa.float64()),
        pa.field("minutes", pa.float64()),  # estimated; null where no throughput is known
        pa.field("usd", pa.float64()),
        pa.field("basis", pa.string(), nullable=False),  # what minutes are computed from
        pa.field("chosen", pa.bool_(), nullable=False),  # the GPU that is (to be) rented
    ]
)

# What indexing costs: estimated before, and as it was.
REMOTE_COSTS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("run", pa.string()),  # null for the estimate
        pa.field("moment", pa.string(), nullable=False),  # estimated, actual
        pa.field("device", pa.string(), nullable=False),  # cpu, cuda
        pa.field("machine", pa.string(), nullable=False),  # GPU, or cores and GiB, as it is billed
        pa.field("documents", pa.int64()),
        pa.field("passages", pa.int64()),
        pa.field("start_seconds", pa.float64()),  # billed beside the work
        pa.field("work_seconds", pa.float64()),
        pa.field("host_mib", pa.float64()),  # memory that is billed
        pa.field("usd", pa.float64()),  # null where a price or the time is not known
        pa.field("usd_of_gpu", pa.float64()),
        pa.field("usd_of_cores", pa.float64()),
        pa.field("usd_of_memory", pa.float64()),
        pa.field("prices_as_of", pa.string(), nullable=False),
        pa.field("basis", pa.string(), nullable=False),  # a sentence: what the seconds are from
        pa.field("actual_by_estimated", pa.float64()),  # work seconds; null for the estimate
    ]
)

# Searching an index: each row is a fresh process that loads it and searches, one query at a time or in batches.
REMOTE_SEARCHES = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("run", pa.string(), nullable=False),  # whose index it is
        pa.field("mode", pa.string(), nullable=False),  # single, batch
        pa.field("batch_size", pa.int64(), nullable=False),  # 1 for single
        pa.field("repeat", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("outcome_detail", pa.string()),
        pa.field("queries", pa.int64()),
        pa.field("k", pa.int64()),
        pa.field("device", pa.string()),
        pa.field("threads", pa.int64()),
        pa.field("import_seconds", pa.float64()),  # of the framework
        pa.field(
            "load_seconds", pa.float64()
        ),  # of the index and the encoder, until the first query can be asked
        pa.field("first_seconds", pa.float64()),  # of the first query or batch, which is not in what follows
        pa.field("p50_ms", pa.float64()),  # of a query, or of a batch
        pa.field("p90_ms", pa.float64()),
        pa.field("p99_ms", pa.float64()),
        pa.field("queries_per_second", pa.float64()),
        pa.field("before_loading_mib", pa.float64()),  # RSS of the process, framework imported
        pa.field("loaded_mib", pa.float64()),  # RSS, index loaded
        pa.field("peak_rss_mib", pa.float64()),  # of the process tree
        pa.field("gpu_peak_mib", pa.float64()),
        pa.field("index_size_mib", pa.float64()),
        pa.field("results_digest", pa.string()),  # of the ranked passages: equal in every repeat and mode
        pa.field(
            "found_in_k", pa.float64()
        ),  # share of queries whose judged document is among the k; null: none judged
        pa.field("lock_digest", pa.string()),
        pa.field("started_at", pa.timestamp("ms", tz="UTC")),
    ]
)

# What was found, traceable to file and page.
REMOTE_RESULTS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),  # from 1
        pa.field("score", pa.float64(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("file", pa.string()),  # null where the corpus is not of PDFs
        pa.field("page", pa.int64()),
        pa.field("title", pa.string()),
        pa.field("passage_id", pa.int64(), nullable=False),  # position in the index
        pa.field("passage", pa.string(), nullable=False),
        pa.field("relevant", pa.bool_()),  # judged so; null where the query has no judgement
    ]
)

# Whether an index loads in the plain libraries, by their own documented calls and nothing of ours.
REMOTE_LOADS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("library", pa.string(), nullable=False),  # colbert-ai, ragatouille
        pa.field("version", pa.string()),
        pa.field("loads", pa.bool_(), nullable=False),
        pa.field("same_results", pa.bool_()),  # as measured; null where it does not load
        pa.field("detail", pa.string()),  # the call, or why not
    ]
)

PROFILER_COST_TABLES = {"profiler_rounds": PROFILER_ROUNDS, "profiler_overhead": PROFILER_OVERHEAD}
ACCURACY_TABLES = {"measurement_accuracy": MEASUREMENT_ACCURACY}
FAISS_RFC_TABLES = {"faiss_rfc_memory": FAISS_MEMORY, "faiss_rfc_estimates": FAISS_ESTIMATES}
FAISS_TABLES = {
    "faiss_memory": FAISS_MEMORY,
    "faiss_estimates": FAISS_ESTIMATES,
    "faiss_alternatives": FAISS_ALTERNATIVES,
    "faiss_latency": FAISS_LATENCY,
    "faiss_break_even": FAISS_BREAK_EVEN,
    "faiss_published": FAISS_PUBLISHED,
}
DOCUMENT_SCALE_TABLES = {"document_scale": DOCUMENT_SCALE}
DOCUMENT_TABLES = {
    "document_access": DOCUMENT_ACCESS,
    "document_access_steps": DOCUMENT_ACCESS_STEPS,
    "document_access_processes": DOCUMENT_ACCESS_PROCESSES,
    "document_fetches": DOCUMENT_FETCHES,
    "document_published": DOCUMENT_PUBLISHED,
    "document_advice": DOCUMENT_ADVICE,
}
REMOTE_TABLES = {
    "remote_pages": REMOTE_PAGES,
    "remote_runs": RUNS,
    "remote_phases": REMOTE_PHASES,
    "remote_gpus": REMOTE_GPUS,
    "remote_costs": REMOTE_COSTS,
    "remote_searches": REMOTE_SEARCHES,
    "remote_results": REMOTE_RESULTS,
    "remote_loads": REMOTE_LOADS,
}
TABLES = {
    **PROFILER_COST_TABLES,
    **INDEX_MEMORY_TABLES,
    **TORCH_TABLES,
    **ACCURACY_TABLES,
    **FAISS_TABLES,
    **FAISS_RFC_TABLES,
    **DOCUMENT_TABLES,
    **DOCUMENT_SCALE_TABLES,
    **REMOTE_TABLES,
}


# Columns of RUNS that tables in older archives lack: null there.
ADDED_LATER = frozenset(
    {
        *(
            "ranks",
            "scheduler",
            "scheduler_job",
            "granted_mib",
            "attempt",
            "earlier_attempts",
            "resumed_from",
        ),
        *("visible_devices", "jobs_beside", "cores_beside"),
    }
)


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

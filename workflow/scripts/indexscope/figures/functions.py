"""The seven functions of the published study: which rows of the tables stand for them."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common

_INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
# The published labels in the order in which the functions run, and what they are called in full.
FUNCTIONS = {
    "indexer.index": "colbert.indexer.Indexer.index",
    "setup": _INDEXER + "setup",
    "_sample_embeddings": _INDEXER + "_sample_embeddings",
    "encoder.encode_passages": "colbert.indexing.collection_encoder.CollectionEncoder.encode_passages",
    "train": _INDEXER + "train",
    "index": _INDEXER + "index",
    "finalize": _INDEXER + "finalize",
}
ENCODE, SETUP, CALL = "encoder.encode_passages", "setup", "indexer.index"
# One row of a figure by function.
KEY = ["series", "documents", "function"]


def run_of_log(log: pd.Series) -> pd.Series:
    """The run (as in the tables' column `run`) that a memory_profiler log is part of, by the log's path."""
    return log.str.extract(r"(?:^|/)index_runs/(.+)/memory_profiler\.log$", expand=False)


def counted_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Run, series, documents and process model of the runs that count.

    A run that did not complete counts only where no repeat of it did.
    """
    completed = runs["outcome"] == COMPLETED
    repeats = [runs["series"], runs["documents"], runs["profiler"]]
    counts = completed | ~completed.groupby(repeats).transform("any")
    return runs.loc[counts, ["run", "series", "documents", "process_model"]]


def last_readings(runs: pd.DataFrame, by_function: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table memory_by_function that are of `runs`, each run's last attempt, with its run.

    Rows of logs from elsewhere have no run and are left out.
    """
    of_logs = by_function.assign(run=run_of_log(by_function["log"])).merge(counted_runs(runs), on="run")
    return of_logs.sort_values("attempt").drop_duplicates(["run", "function"], keep="last")


def last_spans(spans: pd.DataFrame) -> pd.DataFrame:
    """One row for each run and function: the span that the published label stands for, of the last attempt.

    The label encode_passages stands for the first call (of the sampled passages), all others for the only
    call of an attempt. An attempt begins with a call of `setup`.

    Returns: the columns of `spans`; `function` is the label.
    """
    labels = {name: label for label, name in FUNCTIONS.items()}
    known = spans.assign(function=spans["function"].map(labels)).dropna(subset=["function"])
    known = known.sort_values("started_seconds")
    last_setup = known[known["function"] == SETUP].groupby("run")["started_seconds"].max()
    since = known["run"].map(last_setup).astype(float).fillna(0.0)
    encode = known[(known["function"] == ENCODE) & (known["started_seconds"] >= since)]
    others = known[known["function"] != ENCODE]
    return pd.concat(
        [
            encode.drop_duplicates(["run", "function"], keep="first"),
            others.drop_duplicates(["run", "function"], keep="last"),
        ]
    )


def role(function: str, process_model: str | None) -> str:
    """The process in which a function runs, where no span says so."""
    return "worker" if process_model == "child process" and function != CALL else "parent"


def elsewhere_words(by_function: pd.DataFrame) -> str:
    """A sentence on logs that are not of runs of this study; empty when there are none."""
    logs = by_function.loc[run_of_log(by_function["log"]).isna(), "log"].nunique()
    if not logs:
        return ""
    return f"Not drawn: {logs} log{'s' * (logs > 1)} from elsewhere, which the table also holds."


def profiler_words(runs: pd.DataFrame) -> str:
    """A panel's heading: how many runs each profiler has, or how they ended."""
    parts = []
    for profiler in ("memory_profiler", "spans"):
        of_profiler = runs[runs["profiler"] == profiler]
        incomplete = of_profiler[of_profiler["outcome"] != COMPLETED]
        words = "no run" if of_profiler.empty else f"{len(of_profiler)} run" + "s" * (len(of_profiler) > 1)
        if len(incomplete):
            words = f"× {common.outcome_counts(incomplete)}"
        parts.append(f"{profiler}: {words}")
    return " · ".join(parts)


def axis(*, labels: bool) -> alt.Y:
    """A row for each function, in the order in which they run."""
    return alt.Y(
        "function:N",
        sort=list(FUNCTIONS),
        scale=alt.Scale(domain=list(FUNCTIONS)),
        title=None,
        axis=alt.Axis(grid=True, ticks=False, domain=False, labels=labels),
    )

"""How runs are measured, and which runs the experiment index_memory has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Model, Name

Profiler = Literal["none", "spans", "memory_profiler", "ledger", "memray"]


class Measurement(Model):
    """How each run is measured; equal for all runs of a configuration."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: cuda where a GPU is visible, else cpu"
    )
    threads: int = Field(2, gt=0, description="threads of each measured process (OpenMP, MKL, tokenizers)")
    allocator: Literal["default", "pinned"] = Field(
        "default",
        description="pinned: fixed glibc malloc thresholds; repeats differ less, and the peak is lower",
    )
    sample_interval_seconds: float = Field(
        0.02, ge=0.005, le=1, description="interval at which the process tree's memory is read from outside"
    )
    memory_limit_mib: int | None = Field(
        None, gt=0, description="a run whose process tree passes this is ended as out_of_memory_host"
    )
    allocation_limit_mib: int | None = Field(
        None, gt=0, description="allocations fail above this (RLIMIT_DATA of each process); empty: no limit"
    )
    timeout_seconds: int = Field(3600, gt=0, description="a run longer than this is ended as timed_out")


class Grid(Model):
    """Runs: each system × size × profiler, `repeats` times."""

    sizes: list[Annotated[int, Field(gt=0)]] = Field(min_length=1, description="numbers of documents")
    profilers: list[Profiler] = Field(
        min_length=1, description="each profiler is a run of its own, never stacked"
    )
    repeats: int = Field(1, gt=0, description="runs of each cell")
    systems: list[Name] | None = Field(
        None, description="of the experiment's systems, those that are named here; empty: all"
    )


class ArtifactPair(Model):
    """Two runs whose index artifacts are compared, at every size where the configuration has both."""

    name: str = Field(min_length=1, description="how figures and tables call the pair")
    left: Name = Field(description="a system")
    right: Name = Field(description="a system")
    left_repeat: int = Field(1, gt=0, description="repeat of the left run")
    right_repeat: int = Field(1, gt=0, description="repeat of the right run")
    profiler: Profiler = Field("none", description="profiler of both runs")


class Tolerance(Model):
    """Two floats a and b agree when |a - b| <= atol + rtol * |b|."""

    rtol: float = Field(1e-5, ge=0, description="relative")
    atol: float = Field(1e-8, ge=0, description="absolute")


# The systems as their users meet them.
_SHIPPED = ["colbert", "ragatouille_faiss_true", "ragatouille_faiss_false"]


class IndexMemory(Model):
    """Where memory goes when ColBERT and RAGatouille build an index."""

    corpus: Name = Field("synthetic", description="a name under corpora")
    checkpoint: Name = Field("synthetic_small", description="a name under checkpoints")
    systems: list[Name] = Field(
        [*_SHIPPED, "colbert_fair"],
        min_length=1,
        description="names under systems",
    )
    grids: list[Grid] = Field(
        [
            Grid(sizes=[200, 500], profilers=["none", "spans"], systems=_SHIPPED),
            Grid(sizes=[200], profilers=["none"], repeats=3),
            Grid(sizes=[200], profilers=["spans"]),
            Grid(sizes=[200], profilers=["memory_profiler"], systems=_SHIPPED),
        ],
        min_length=1,
        description="the runs; a run that several grids name is made once",
    )
    artifact_pairs: list[ArtifactPair] | None = Field(
        None,
        description="whose artifacts to compare; empty: the first two repeats of each system, and every two systems",
    )
    tolerance: Tolerance = Field(Tolerance(), description="for artifacts of floating-point numbers")

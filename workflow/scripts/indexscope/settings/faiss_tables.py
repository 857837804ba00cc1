"""The experiment faiss_tables: which segments are built, how they are loaded, and which latencies are measured."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from .base import Model, Name

IndexType = Literal["ivf_flat", "hnsw_pq", "ivf_pq"]
Metric = Literal["l2", "inner_product"]
LoadMode = Literal["default", "skip", "shared"]
Count = Annotated[int, Field(gt=0)]


class FaissGeometry(Model):
    """Sizes of one segment. The RFC names 2,048 lists, 64 subquantizers and 8 bits."""

    # Part of the digest: raise it when the same settings give other segments.
    generation: ClassVar[int] = 1

    dim: int = Field(64, gt=0, description="values of a vector, a multiple of pq_m")
    nlist: int = Field(256, gt=0, description="lists (coarse centroids) of an IVF index")
    pq_m: int = Field(16, gt=0, description="subquantizers of a product quantizer")
    code_size: Literal[4, 8] = Field(8, description="bits of a code of one subquantizer")
    hnsw_m: int = Field(16, ge=2, description="neighbours of a node of HNSW")
    vectors_per_segment: int = Field(4000, gt=0, description="vectors in each segment")
    training_vectors: int = Field(10240, gt=0, description="vectors that the shared codebooks are trained on")
    seed: int = Field(7, ge=0, lt=2**31, description="seed of all vectors")

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if self.dim % self.pq_m:
            raise ValueError(f"dim {self.dim} is not a multiple of pq_m ({self.pq_m})")
        if self.training_vectors < max(self.nlist, 2**self.code_size):
            raise ValueError(
                f"training_vectors: {self.training_vectors} are fewer than the centroids to be trained "
                f"({max(self.nlist, 2**self.code_size)}); give that many or more"
            )
        return self


class FaissGrid(Model):
    """Processes that load segments: each index type × metric × number of segments × load mode, `repeats` times."""

    index_types: list[IndexType] = Field(
        ["ivf_flat", "hnsw_pq", "ivf_pq"], min_length=1, description="kinds of FAISS index"
    )
    metrics: list[Metric] = Field(["l2", "inner_product"], min_length=1, description="metrics")
    segments: list[Count] = Field(
        [1, 2, 5, 10, 20, 50, 100], min_length=1, description="segments that one process holds at once"
    )
    load_modes: list[LoadMode] = Field(
        ["default", "skip", "shared"],
        min_length=1,
        description="default: as faiss.read_index does; skip: without the tables; shared: one table for all",
    )
    geometry: FaissGeometry = Field(FaissGeometry(), description="sizes of each segment")
    repeats: int = Field(3, gt=0, description="processes of each cell")
    memory_limit_mib: int | None = Field(
        None, gt=0, description="a process that passes this is ended as out_of_memory_host"
    )


class FaissLatency(Model):
    """Search with, without and with a shared table, in turn, over nprobe and list lengths."""

    geometry: FaissGeometry = Field(
        FaissGeometry(), description="sizes; vectors are nlist times the list length"
    )
    list_lengths: list[Count] = Field(
        [4, 32, 256, 1024], min_length=1, description="mean number of vectors in a list"
    )
    nprobes: list[Count] = Field([1, 2, 4, 16, 64], min_length=1, description="lists searched for each query")
    queries: int = Field(200, gt=0, description="queries, searched one at a time")
    rounds: int = Field(6, gt=0, description="rounds; in each every way is measured once, in changing order")
    k: int = Field(10, gt=0, description="neighbours asked for")

    @model_validator(mode="after")
    def _has_lists_to_probe(self) -> Self:
        if max(self.nprobes) > self.geometry.nlist:
            raise ValueError(
                f"nprobes: {max(self.nprobes)} is more than the lists of the geometry ({self.geometry.nlist})"
            )
        return self


_RFC = FaissGrid(
    index_types=["ivf_pq"],
    metrics=["l2"],
    segments=[100],
    geometry=FaissGeometry(dim=128, nlist=2048, pq_m=64, vectors_per_segment=10_000, training_vectors=80_000),
    repeats=1,
    memory_limit_mib=18_000,
)


class FaissTables(Model):
    """What precomputed tables cost across segments; targets faiss_tables and faiss_tables_rfc, no part of `all`."""

    environment: Name = Field("faiss", description="environment with faiss: envs/NAME.yaml")
    grid: FaissGrid = Field(FaissGrid(), description="what faiss_tables loads")
    rfc: FaissGrid = Field(_RFC, description="what faiss_tables_rfc loads: the RFC's 100 segments")
    latency: FaissLatency = Field(FaissLatency(), description="what searches cost with and without the table")
    threads: int = Field(1, gt=0, description="threads of each process")
    timeout_seconds: int = Field(1800, gt=0, description="a process that takes longer is ended as timed_out")

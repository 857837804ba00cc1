"""The experiment document_access: which loaders, which trainers, what is fetched alone, and at which scale."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Model, Name

Loader = Literal["in_memory", "offset_index", "ir_datasets", "arrow", "shared_memory"]
Parallelism = Literal["single", "data_parallel", "distributed", "accelerate"]
Precision = Literal["fp32", "fp16", "bf16"]
Cache = Literal["warm", "cold"]
Count = Annotated[int, Field(gt=0)]
LOADERS: list[Loader] = ["in_memory", "offset_index", "ir_datasets", "arrow", "shared_memory"]


class CrossEncoder(Model):
    """Geometry of the DistilBERT cross-encoder. distilbert-base-uncased: 6 layers, 768, 12 heads, 3072."""

    layers: int = Field(2, ge=1, le=96, description="transformer layers")
    hidden_size: int = Field(64, ge=8, le=8192, description="width of the transformer, a multiple of heads")
    heads: int = Field(2, ge=1, le=128, description="attention heads")
    intermediate_size: int = Field(128, ge=8, le=32768, description="width of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="between the CLS vector and the linear layer")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads ({self.heads})")
        return self


class TrainingGrid(Model):
    """Trainings: every combination of these, `repeats` times."""

    loaders: list[Loader] = Field(LOADERS, min_length=1, description="how documents are read")
    parallelism: list[Parallelism] = Field(
        ["distributed"],
        min_length=1,
        description="single: one process; data_parallel: torch.nn.DataParallel; distributed: "
        "DistributedDataParallel; accelerate: Hugging Face Accelerate",
    )
    world_sizes: list[Count] = Field(
        [1], min_length=1, description="devices (on a CPU: processes); single has 1 only"
    )
    workers: list[Annotated[int, Field(ge=0)]] = Field(
        [0], min_length=1, description="DataLoader workers of each rank"
    )
    pin_memory: list[bool] = Field([False], min_length=1, description="DataLoader's pin_memory")
    precisions: list[Precision] = Field(["fp32"], min_length=1, description="fp16 and bf16 by autocast")
    caches: list[Cache] = Field(
        ["warm"], min_length=1, description="whether the documents' files are in the page cache at the start"
    )
    repeats: int = Field(1, gt=0, description="runs of each combination")


class LimitedTraining(Model):
    """The in-memory loader at growing world sizes under a memory limit that one of them must pass."""

    documents: int = Field(200_000, gt=0, description="documents of the corpus; with few, libraries are all")
    world_sizes: list[Count] = Field([1, 2, 3, 4], min_length=1, description="in ascending order")
    fits: int = Field(
        2,
        gt=0,
        description="the limit is set, by the memory model, halfway between what this world size needs and the next",
    )

    @model_validator(mode="after")
    def _passes_the_limit(self) -> Self:
        if self.fits not in self.world_sizes or self.fits == max(self.world_sizes):
            raise ValueError(
                f"fits: {self.fits} must be one of world_sizes, and not the last, so that the next passes the limit"
            )
        return self


class Fetches(Model):
    """Fetching alone, without a model."""

    loaders: list[Loader] = Field(LOADERS, min_length=1, description="how documents are read")
    orders: list[Literal["random", "sequential"]] = Field(
        ["random", "sequential"], min_length=1, description="order of the documents"
    )
    caches: list[Cache] = Field(["warm", "cold"], min_length=1, description="page cache at the start")
    fetches: int = Field(2000, gt=0, description="documents fetched by a process")
    repeats: int = Field(3, gt=0, description="processes of each combination")


class Scale(Model):
    """The offset index of a large collection; target document_access_scale."""

    documents: int = Field(10_000_000, gt=0, description="documents, made for this, seeded")
    words: int = Field(20, gt=0, description="mean number of words of a document")
    fetches: int = Field(20_000, gt=0, description="documents fetched in each way")
    rounds: int = Field(5, gt=0, description="rounds, the ways in changing order")
    ir_datasets_documents: int = Field(
        1_000_000, gt=0, description="documents of ir_datasets' docstore, which takes long to build"
    )


class DocumentAccess(Model):
    """How a trainer should read its documents; targets document_access and document_access_scale."""

    environment: Name = Field("training", description="environment of the trainer: envs/NAME.yaml")
    corpus: Name | None = Field(None, description="a name under corpora; empty: that of index_memory")
    checkpoint: Name | None = Field(
        None, description="a name under checkpoints, for its tokenizer; empty: that of index_memory"
    )
    documents: int = Field(2000, gt=1, description="documents of the corpus")
    model: CrossEncoder = Field(CrossEncoder(), description="the trained model, of random weights")
    batch_size: int = Field(8, gt=0, description="samples of each rank in a step; a sample is two sequences")
    max_length: int = Field(128, ge=8, le=512, description="tokens of a sequence (query and document)")
    steps: int = Field(60, gt=0, description="steps that are measured")
    warm_up_steps: int = Field(5, ge=1, description="steps before them, which are not")
    threads: int = Field(1, gt=0, description="threads of each rank (OpenMP, MKL)")
    seed: int = Field(7, ge=0, lt=2**31, description="of weights, samples and their order")
    grids: list[TrainingGrid] = Field(
        [
            TrainingGrid(parallelism=["single"], caches=["warm", "cold"], repeats=3),
            TrainingGrid(parallelism=["distributed"], world_sizes=[1, 2], repeats=3),
            TrainingGrid(loaders=["offset_index"], parallelism=["accelerate"], world_sizes=[2], repeats=2),
            TrainingGrid(loaders=["offset_index"], parallelism=["data_parallel"], world_sizes=[2]),
            TrainingGrid(loaders=["offset_index"], parallelism=["single"], workers=[1, 2], repeats=2),
            TrainingGrid(loaders=["offset_index"], parallelism=["single"], precisions=["bf16", "fp16"]),
        ],
        min_length=1,
        description="the trainings; one that several grids name is made as often as the most of them say",
    )
    limited: LimitedTraining | None = Field(
        LimitedTraining(), description="the in-memory loader under a memory limit; empty: not run"
    )
    fetches: Fetches = Field(Fetches(), description="fetching alone")
    scale: Scale = Field(Scale(), description="the offset index of a large collection")
    timeout_seconds: int = Field(3600, gt=0, description="a run that takes longer is ended as timed_out")
    sample_interval_seconds: float = Field(
        0.02, ge=0.005, le=1, description="interval at which the process tree's memory is read from outside"
    )

"""The experiment remote_indexing: from PDFs to a searchable index, wherever there is a machine, and what it costs."""

from __future__ import annotations

from pydantic import Field

from .base import Model, Name
from .torch_versions import KnownItemQueries, Queries


class MeasuredSearch(Model):
    """What is searched for, and how it is measured."""

    queries: Queries = Field(
        KnownItemQueries(queries=20),
        description="known_item, hub or files; document identifiers are of pages",
    )
    k: int = Field(5, gt=0, description="passages for each query")
    batch_size: int = Field(10, gt=0, description="queries that are searched at once")
    repeats: int = Field(3, gt=0, description="fresh processes, each loads the index and searches")


class Rent(Model):
    """What a rented machine costs, and which is taken."""

    prices: str = Field(
        "config/prices/modal_2026-07-01.csv", min_length=1, description="price table: a CSV, dated"
    )
    gpus: str = Field(
        "config/prices/gpus.csv", min_length=1, description="memory and speed of GPUs: a CSV, with sources"
    )
    throughput: str = Field(
        "config/prices/throughput.csv",
        min_length=1,
        description="passages per second that have been measured, by device and encoder: a CSV, with sources",
    )
    gpu: str | None = Field(
        None, description="the GPU that is rented, as the price table names it; empty: the smallest that fits"
    )
    cores: float = Field(2, gt=0, description="processor cores that are rented")
    start_seconds: float = Field(
        60, ge=0, description="billed before work starts: a container's start, loading of the model"
    )


class RemoteIndexing(Model):
    """PDFs to a searchable index on a rented or scheduled machine; target remote_indexing."""

    corpus: Name | None = Field(
        None,
        description="a name under corpora; empty: pdfs where there is such a corpus, else that of index_memory",
    )
    checkpoint: Name | None = Field(None, description="a name under checkpoints; empty: that of index_memory")
    documents: int | None = Field(
        None,
        gt=0,
        description="documents (of PDFs: pages with text); empty: all of the corpus, of a synthetic one 200",
    )
    systems: list[Name] = Field(
        ["ragatouille_pdfs", "colbert_pdfs"], min_length=1, description="names under systems"
    )
    repeats: int = Field(1, gt=0, description="indexes of each system; the first is searched")
    search: MeasuredSearch = Field(MeasuredSearch(), description="searching the indexes")
    rent: Rent = Field(Rent(), description="what it costs, estimated before and reported after")

"""The experiment torch_versions: which PyTorch versions, what is dumped, injected, replayed and searched."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .base import Model, Name
from .corpora import REPOSITORY
from .experiments import Tolerance

Version = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
Precision = Literal["float32", "cpu_autocast_bfloat16", "cuda_autocast_float16"]

# Can take another run's values where they are made: what artifacts/hooks.py can put back into a run.
Injectable = Literal[
    "sample_pids",
    "local_sample_embs",
    "sample",
    "sample_heldout",
    "prenorm_centroids",
    "postnorm_centroids",
    "bucket_cutoffs",
    "bucket_weights",
    "avg_residual",
    "embs",
    "codes",
    "residuals",
]
Dumped = Literal[
    "tensorize_output",
    "batches",
    "D",
    "sample_pids",
    "num_passages",
    "local_sample_embs",
    "centroids",
    "bucket_cutoffs",
    "bucket_weights",
    "avg_residual",
    "sample",
    "sample_heldout",
    "kmeans_arguments",
    "prenorm_centroids",
    "postnorm_centroids",
    "half_centroids",
    "embs",
    "doclens",
    "compress_batch",
    "compress_codes",
    "lookup_centroids",
    "residuals_before_packing",
    "codes",
    "residuals",
    "presort_codes",
    "sorted_codes",
    "sort_indices",
]


class IndexSettings(Model):
    """ColBERT's settings for every version; the study's are the defaults."""

    doc_maxlen: int = Field(256, gt=4, description="tokens of a passage that are kept")
    nbits: Literal[1, 2, 4] = Field(4, description="bits per dimension of a residual")
    index_bsize: int = Field(32, gt=0, description="passages per encoder batch")
    kmeans_niters: int = Field(20, gt=0, description="k-means iterations")


class BitsandbytesTolerances(Model):
    """The looser tolerances of the bitsandbytes tests, by dtype; the default one is that of numpy and torch."""

    float32: Tolerance = Field(Tolerance(rtol=1e-5, atol=1e-6), description="of 32-bit floats")
    float16: Tolerance = Field(Tolerance(rtol=1e-3, atol=1e-4), description="of 16-bit floats")
    bfloat16: Tolerance = Field(Tolerance(rtol=1e-2, atol=1e-3), description="of bfloat16")


class Operators(Model):
    """What is encoded to find the first operator that differs: texts, corpus batches, and token grids."""

    texts: list[Annotated[str, Field(min_length=1)]] = Field(
        ["a", "test input"], description="each encoded alone, a batch of one"
    )
    corpus_batches: int = Field(
        1, ge=0, description="first batches of the corpus, of index_bsize passages each"
    )
    batch_sizes: list[Annotated[int, Field(gt=0)]] = Field(
        [1, 8], description="seeded random tokens: each batch size × each sequence length"
    )
    sequence_lengths: list[Annotated[int, Field(gt=4, le=512)]] = Field(
        [16, 71], description="tokens, special ones included"
    )
    token_seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        [1, 2], min_length=1, description="each shape is filled with other tokens for each seed"
    )
    precisions: list[Precision] = Field(
        ["float32", "cpu_autocast_bfloat16", "cuda_autocast_float16"],
        min_length=1,
        description="float32 is what ColBERT runs on a CPU, cuda_autocast_float16 on a GPU; "
        "autocast on the CPU is neither",
    )
    index_documents: int = Field(
        500,
        ge=64,
        description="documents of the index whose every step after encoding is replayed too; below some 33,000 tokens "
        "no version sorts unstably",
    )


class KnownItemQueries(Model):
    """Queries made of a document's own words; that document is relevant."""

    generation: ClassVar[int] = 1

    source: Literal["known_item"] = Field("known_item", description="words of documents of the corpus")
    queries: int = Field(200, ge=1, description="documents that are asked for (all, where there are fewer)")
    words: int = Field(6, ge=1, le=32, description="words of a query, drawn from its document")
    seed: int = Field(7, ge=0, lt=2**31, description="which documents, which words")


class HubQueries(Model):
    """Queries and relevance judgements of the Hugging Face hub, such as dapr's."""

    generation: ClassVar[int] = 1

    source: Literal["hub"] = Field(description="queries and judgements of the Hugging Face hub")
    repository: str = Field(pattern=REPOSITORY, description="the dataset, such as UKPLab/dapr")
    revision: str = Field(min_length=1, description="commit (pinned), or a branch or tag")
    queries_config: str = Field(description="configuration with the queries")
    qrels_config: str = Field(description="configuration with the judgements")
    split: str = Field("test", description="split of both")
    query_id_column: str = Field("_id", description="in the queries")
    text_column: str = Field("text", description="in the queries")
    qrels_query_column: str = Field("query_id", description="in the judgements")
    qrels_document_column: str = Field("corpus_id", description="in the judgements")
    qrels_score_column: str = Field("score", description="in the judgements")

    def fetched(self) -> dict[str, Any]:
        """What determines what is downloaded."""
        return self.model_dump(
            include={"source", "repository", "revision", "queries_config", "qrels_config", "split"}
        )


class FileQueries(Model):
    """Queries and judgements in files of this machine."""

    generation: ClassVar[int] = 1

    source: Literal["files"] = Field(description="files of this machine")
    queries: str = Field(min_length=1, description="TSV without a header: query identifier, text")
    qrels: str = Field(
        min_length=1, description="TREC's format: query identifier, iteration, document identifier, relevance"
    )

    def outside(self) -> dict[str, Any]:
        """The files as they are now."""
        from .files import file_states, matching_files

        return {name: file_states(matching_files(getattr(self, name), name)) for name in ("queries", "qrels")}


def _without_keys_of_the_default(value: Any) -> Any:
    """A configuration is laid over the default key by key: one with another source still has the default's keys."""
    for source, model in (("hub", HubQueries), ("files", FileQueries)):
        if isinstance(value, dict) and value.get("source") == source:
            default = KnownItemQueries().model_dump()
            return {
                key: each
                for key, each in value.items()
                if key in model.model_fields or key not in default or each != default[key]
            }
    return value


Queries = Annotated[
    KnownItemQueries | HubQueries | FileQueries,
    Field(discriminator="source"),
    BeforeValidator(_without_keys_of_the_default),
]


class Search(Model):
    """How every index is searched, by its own version and by the other one of a pair; the study's settings."""

    k: int = Field(10, ge=1, le=1000, description="passages retrieved for each query")
    ncells: int = Field(4, ge=1, description="centroids probed for each query token")
    centroid_score_threshold: float = Field(0.45, ge=-1, le=1, description="ColBERT's centroid pruning")
    ndocs: int = Field(1024, ge=4, description="candidates that are ranked")
    permutations: int = Field(
        9999, ge=99, description="random sign flips of the paired test (all, where there are fewer)"
    )


class VersionPair(Model):
    """Two versions whose indexes are compared."""

    left: Version = Field(description="the version that injected artifacts come from")
    right: Version = Field(description="the version that they go into")


class TorchVersions(Model):
    """Which artifacts of an index change between PyTorch versions, which operator changes first, does it matter."""

    corpus: Name | None = Field(None, description="a name under corpora; empty: that of index_memory")
    checkpoint: Name | None = Field(None, description="a name under checkpoints; empty: that of index_memory")
    documents: int = Field(1000, ge=64, description="documents of the index")
    versions: list[Version] = Field(
        ["2.0.1", "2.1.0"], min_length=1, description="each X has an environment of its own, envs/torch-X.in"
    )
    pairs: list[VersionPair] | None = Field(
        None, description="versions to compare; empty: each with the next in `versions`"
    )
    repeats: int = Field(2, ge=1, description="runs of each version; the first two are its noise floor")
    threads: int = Field(1, gt=0, description="threads of each process, the same for every version")
    cpu_capability: Literal["auto", "default", "avx2", "avx512"] = Field(
        "auto",
        description="vector instructions of PyTorch's own kernels (ATEN_CPU_CAPABILITY), the same for every version; "
        "auto: what each version chooses on this CPU, which is not always the same",
    )
    settings: IndexSettings = Field(IndexSettings(), description="ColBERT's settings for every version")
    artifacts: list[Dumped] | None = Field(
        None, description="intermediate artifacts to dump; empty: all; those of the finished index always are"
    )
    injections: list[Annotated[list[Injectable], Field(min_length=1)]] = Field(
        [["local_sample_embs"], ["local_sample_embs", "embs"], ["postnorm_centroids"]],
        description="artifacts of a pair's left version that the right version is given in a run of its own",
    )
    tolerance: Tolerance = Field(Tolerance(), description="the default one, for every floating-point dtype")
    bitsandbytes_tolerance: BitsandbytesTolerances = Field(
        BitsandbytesTolerances(), description="the looser one, by dtype"
    )
    operators: Operators = Field(Operators(), description="what is replayed to find the first operator")
    queries: Queries = Field(KnownItemQueries(), description="what is searched for")
    search: Search = Field(Search(), description="how it is searched")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for position, version in enumerate(self.versions):
            if version in self.versions[:position]:
                raise ValueError(f"versions[{position}]: {version!r} is there twice; name each version once")
        for position, pair in enumerate(self.pairs or []):
            for side in ("left", "right"):
                version = getattr(pair, side)
                if version not in self.versions:
                    raise ValueError(
                        f"pairs[{position}].{side}: {version!r} is not in versions; add it there"
                    )
            if pair.left == pair.right:
                raise ValueError(
                    f"pairs[{position}]: both are {pair.left!r}; the repeats compare a version with itself"
                )
        for position, names in enumerate(self.injections):
            if sorted(set(names)) != sorted(names) or set(names) in map(set, self.injections[:position]):
                raise ValueError(f"injections[{position}]: {names} repeats an artifact or an injection")
            if self.artifacts is not None and (missing := set(names) - set(self.artifacts)):
                raise ValueError(
                    f"injections[{position}]: {sorted(missing)[0]!r} is not in artifacts, so it is not dumped; "
                    "add it there"
                )
        return self

    def compared(self) -> list[VersionPair]:
        """The pairs: as configured, or each version with the next."""
        if self.pairs is not None:
            return self.pairs
        return [
            VersionPair(left=left, right=right)
            for left, right in zip(self.versions, self.versions[1:], strict=False)
        ]

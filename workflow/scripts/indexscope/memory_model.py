"""What building an index will need: a term for each part of memory, from the algorithm's own quantities.

Every term is a formula of numbers that are known, or well estimated, before a run: documents, passages, tokens,
dimensions, bits, partitions, sampled passages, chunks, batches, processes. What no formula of the algorithm gives
(the libraries of a process, what an allocator keeps) are constants, measured, with their source beside them.
Standard library only: the Snakefile, the estimate before a start and plan_memory.py use it without torch.

The algorithm is that of colbert-ai 0.2.22, ragatouille 0.0.9.post2 and fast-pytorch-kmeans 0.2.2; functions are
named beside the terms. docs/memory_model.md explains them one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

# The last only where ColBERT starts a child: it exits within the index call.
PHASES = ("start-up", "planning", "training", "encoding", "finalizing", "child exit")
MIB = 2**20

HELDOUT = (
    50_000  # CollectionIndexer._concatenate_and_split_sample: at most so many of the sample's embeddings
)
SUPER_BATCH = 50  # CollectionEncoder.encode_passages: encoder batches that are encoded before they are joined
CHUNK_PASSAGES = 25_000  # Collection.get_chunksize
SPLIT_EMBEDDINGS = 1 << 18  # ResidualCodec.compress
ASSIGNMENT_CELLS = 1 << 29  # ResidualCodec.compress_into_codes: partitions x embeddings of one product
FAISS_POINTS_PER_PARTITION = (
    256  # faiss.ClusteringParameters.max_points_per_centroid; RAGatouille's is the same
)
MINIBATCH_ABOVE = ((30_000, 8_000), (15_000, 16_000))  # partitions, points (ragatouille.models.torch_kmeans)
FAISS_FROM_PASSAGES = 75_000  # PLAIDModelIndex.build: from here RAGatouille never tries PyTorch's k-means


@dataclass(frozen=True)
class Quantities:
    """What the terms are made of; sizes are counts, texts are bytes."""

    framework: str
    in_process: bool  # False: ColBERT's own default, a child process beside an idle parent
    device: str  # cpu, cuda
    documents: int
    passages: int  # after splitting
    tokens_per_passage: float  # embeddings of a passage
    text_bytes: int  # of all documents
    dim: int
    nbits: int
    index_bsize: int  # passages an encoder batch
    kmeans_backend: str  # faiss, torch
    kmeans_iterations: int
    layers: int  # of the encoder
    hidden_size: int
    heads: int
    intermediate_size: int
    vocab_size: int
    doc_maxlen: int
    nranks: int = 1
    splits_documents: bool = False  # by RAGatouille, into passages that it keeps beside them
    environment: str = ""  # its libraries differ; empty: the framework's own
    largest_chunk: int = CHUNK_PASSAGES  # passages; the setting chunk_passages makes it smaller

    @property
    def embeddings(self) -> int:
        """Of the whole collection: `num_embeddings_est` of the plan."""
        return int(self.passages * self.tokens_per_passage)

    @property
    def sampled_passages(self) -> int:
        """`CollectionIndexer._sample_pids`: 16 sqrt(120 N), which does not depend on the passages' length."""
        return min(self.passages, 1 + int(16 * math.sqrt(120 * self.passages)))

    @property
    def sampled_embeddings(self) -> int:
        """Of the sampled passages, all ranks together."""
        return round(self.sampled_passages * self.tokens_per_passage)

    @property
    def heldout_embeddings(self) -> int:
        """What k-means does not see: 5 % of the sample, at most 50,000."""
        return int(min(0.05 * self.sampled_embeddings, HELDOUT))

    @property
    def points(self) -> int:
        """What k-means is given."""
        return self.sampled_embeddings - self.heldout_embeddings

    @property
    def partitions(self) -> int:
        """`CollectionIndexer.setup`: the power of two below 16 sqrt(embeddings)."""
        return int(2 ** math.floor(math.log2(16 * math.sqrt(max(self.embeddings, 1)))))

    @property
    def trained_points(self) -> int:
        """What k-means works on: both implementations take at most 256 points a partition."""
        return min(self.points, FAISS_POINTS_PER_PARTITION * self.partitions)

    @property
    def minibatch(self) -> int | None:
        """Points an iteration of PyTorch's k-means; None where it takes them all."""
        for partitions, points in MINIBATCH_ABOVE:
            if self.partitions > partitions:
                return points
        return None

    @property
    def chunk_passages(self) -> int:
        """Passages of the largest chunk."""
        return min(self.passages, self.largest_chunk, 1 + self.passages // self.nranks)

    @property
    def chunks(self) -> int:
        return math.ceil(self.passages / min(self.largest_chunk, 1 + self.passages // self.nranks))

    @property
    def chunk_embeddings(self) -> int:
        return int(self.chunk_passages * self.tokens_per_passage)

    @property
    def assigned_at_once(self) -> int:
        """Embeddings of one product with the centroids, of those that `compress` passes on together."""
        return min(ASSIGNMENT_CELLS // self.partitions, SPLIT_EMBEDDINGS, self.chunk_embeddings)


@dataclass(frozen=True)
class Term:
    """One part of a process's memory at the highest point of a phase."""

    phase: str
    process: str  # parent, worker, manager, tracker
    memory: str  # host, gpu
    name: str
    formula: str  # such as "partitions x points x 4 bytes = 2,048 x 57,639 x 4"
    mib: float


@dataclass(frozen=True)
class Prediction:
    """The terms that are alive at each phase's highest point; peaks are their sums over processes."""

    quantities: Quantities
    terms: Sequence[Term]

    def mib(self, phase: str, memory: str = "host") -> float:
        """The predicted highest point of a phase, over all processes; 0 of a phase that does not happen."""
        return sum(term.mib for term in self.terms if term.phase == phase and term.memory == memory)

    def peak(self, memory: str = "host") -> tuple[str, float]:
        """The phase that decides, and its highest point."""
        phase = max(PHASES, key=lambda name: self.mib(name, memory))
        return phase, self.mib(phase, memory)


@dataclass(frozen=True)
class Constants:
    """What no formula of the algorithm gives. Each has a meaning, and is measured where nothing else is alive."""

    libraries: float  # MiB of the building process before the index call: imported libraries, without weights
    opening: float  # MiB more when CollectionIndexer has been made: tokenizers, compiled extensions
    splitter: float  # MiB more when documents are split: llama-index and what it imports
    first_forward: float  # MiB more after the first batch: pages of the mathematical libraries, CUDA kernels
    idle_parent: float  # MiB of ColBERT's parent beside the child, without texts
    child_exit: float  # MiB of library pages that a child touches as it exits
    faiss_gpu_host: float = 0.0  # MiB of pinned memory that faiss takes for a GPU
    bytes_per_document: float = (
        117.0  # beside a document's text, where it was given: text and identifier as str
    )
    # Dictionaries beside a passage's text in RAGatouille: RSS that splitting 4,000 and 12,000 documents adds.
    bytes_per_passage: float = 740.0


# Measured with this project on a CPU (AMD EPYC, 2 cores, Linux 6.18, Python 3.11), synthetic_small, 200 documents;
# at 120 to 1,000 documents they differ by less than 15 MiB: RSS at the start of the index call less the encoder's
# weights (spans); what CollectionIndexer.__init__ and RAGatouille's _process_corpus add; pages of files that the
# first batch adds; and the memory curve from the last span to the child's end.
_CPU = {
    # (framework, environment)
    ("colbert", "colbert"): Constants(713.0, 29.0, 0.0, 12.0, 716.5, 125.0),
    ("colbert", "ragatouille"): Constants(813.0, 29.0, 0.0, 12.0, 816.5, 125.0),
    ("ragatouille", "ragatouille"): Constants(964.0, 0.5, 54.0, 12.0, 0.0, 0.0),
}
# On CUDA, from published starts and increments at 100,000 to 500,000 documents (config/published/
# memory_by_function.csv, RTX 6000 Ada; larger sizes were left for checking): starts at no documents by their slope;
# what encode_passages adds beside the sample; faiss's StandardGpuResources pins 256 MiB (its documentation).
_CUDA = {
    "colbert": Constants(636.0, 29.0, 0.0, 700.0, 1436.0, 125.0, 256.0),
    "ragatouille": Constants(1702.0, 0.5, 54.0, 585.0, 0.0, 0.0, 256.0),
}

MANAGER_MIB, TRACKER_MIB = (
    20.2,
    12.1,
)  # every run: a bare Python of multiprocessing, with and without its proxies
STR_BYTES = 57  # sys.getsizeof("") of ASCII text, and the pointer in a list
# glibc: blocks from this size on are mapped one by one and go back when freed; smaller ones come from the heap
# (M_MMAP_THRESHOLD's highest value on 64 bits, to which it grows by itself: mallopt(3)).
LARGEST_HEAP_BLOCK_MIB = 32.0
# Of an encoder batch, at 64 and 32 passages of 256 tokens and three geometries: the layer that is computed keeps two
# rows of its intermediate size (before and after GELU) and ten of its hidden size (input, query, key, value, ...).
INTERMEDIATE_ROWS, HIDDEN_ROWS = 2, 10
# Of a token of a super-batch while its passages are tokenized, and kept by the heap after it (3,200 passages of
# 256 tokens: 180 MiB): identifier, piece, word, offsets, mask of tokenizers' Encoding, and lists of numbers.
TOKENIZED_BYTES = 190
# PyTorch's k-means on a CPU (fast_pytorch_kmeans.KMeans.euc_sim): two differences of the matrix, and the mask
# of the iteration before. On a GPU the similarities come in parts: the mask as booleans and as numbers, the old one.
CPU_DISTANCE_MATRICES, GPU_DISTANCE_MATRICES = 3.0, 2.25
# What a GPU holds that torch did not allocate.
CUDA_CONTEXT_MIB = 500.0  # driver, cuBLAS and kernels; NVML used - reserved, by card 300 to 600
FAISS_GPU_TEMPORARY_MIB = 1536.0  # StandardGpuResources on cards of more than 8 GiB (its documentation)
OUTSIDE_TORCH = ("CUDA context", "temporary memory of faiss")

# Where nothing says otherwise: the means of UKPLab/dapr Genomics at 100,000 to 500,000 documents (config/published).
PASSAGES_PER_DOCUMENT = 1.33  # where RAGatouille splits
TOKENS_PER_PASSAGE = 90.0
TEXT_BYTES_PER_DOCUMENT = 644
ANSWERAI_COLBERT_SMALL = {
    "dim": 96,
    "layers": 12,
    "hidden_size": 384,
    "heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30_522,
}


def constants_of(quantities: Quantities) -> Constants:
    """The measured constants of a framework, its environment and device."""
    if quantities.device == "cuda":
        return _CUDA[quantities.framework]
    environment = quantities.environment or quantities.framework
    if (quantities.framework, environment) in _CPU:
        return _CPU[quantities.framework, environment]
    return _CPU[quantities.framework, quantities.framework]


def quantities_of(
    content: Mapping[str, Any], checkpoint: Mapping[str, Any], documents: int, **known: Any
) -> Quantities:
    """From a cell's content (cells.py) and a checkpoint's settings; `known` replaces what is estimated.

    Args:
        content: `framework`, `device`, `environment`, `split_to`, `settings` as a resolved cell has them.
        checkpoint: settings of a checkpoint; a geometry that it lacks is answerai-colbert-small-v1's.
        documents: the size.
        known: any field of `Quantities`, where it is known; None counts as unknown.

    What is not known is estimated: 1.33 passages a document where documents are split, 90 tokens a passage,
    644 bytes of text a document.

    Raises:
        TypeError: `known` names what is no field of `Quantities`.
        ValueError: a number of documents or passages is not positive.
    """
    given = {name: value for name, value in known.items() if value is not None}
    if unknown := sorted(given.keys() - {field.name for field in fields(Quantities)}):
        raise TypeError(f"quantities_of: {unknown[0]} is no quantity")
    framework = content["framework"]
    settings = content.get("settings") or {}
    ragatouille = framework == "ragatouille"
    splits = ragatouille and settings.get("split_documents") is not False
    estimated = (
        math.ceil(PASSAGES_PER_DOCUMENT * documents) if splits or content.get("split_to") else documents
    )
    passages = given.get("passages", estimated)
    if documents < 1 or passages < 1:
        raise ValueError(f"{documents} documents and {passages} passages: both must be positive")
    like_ragatouille = ragatouille or bool(settings.get("like_ragatouille"))
    backend = "faiss"
    if ragatouille and not settings.get("use_faiss") and passages < FAISS_FROM_PASSAGES:
        backend = "torch"
    doc_maxlen = settings.get("doc_maxlen") or checkpoint.get("doc_maxlen") or 220  # ColBERTConfig's default
    if ragatouille:  # RAGPretrainedModel.index passes its max_document_length on, 256 by default
        doc_maxlen = settings.get("max_document_length") or 256
    ranks = given.get("nranks") or settings.get("nranks") or 1
    values = {
        "framework": framework,
        # Several ranks are child processes, whatever in_process says.
        "in_process": ragatouille or (bool(settings.get("in_process")) and ranks == 1),
        "nranks": ranks,
        "device": "cuda" if content.get("device") == "cuda" else "cpu",
        "documents": documents,
        "passages": passages,
        "tokens_per_passage": TOKENS_PER_PASSAGE,
        "text_bytes": TEXT_BYTES_PER_DOCUMENT * documents,
        "nbits": settings.get("nbits") or ((4 if passages < 10_000 else 2) if like_ragatouille else 1),
        "index_bsize": settings.get("index_bsize")
        or settings.get("bsize")
        or (32 if like_ragatouille else 64),
        "kmeans_backend": backend,
        "kmeans_iterations": settings.get("kmeans_niters")
        or ((4 if passages > 100_000 else 10 if passages > 50_000 else 20) if like_ragatouille else 4),
        "doc_maxlen": doc_maxlen,
        "splits_documents": splits,
        "environment": content.get("environment") or "",
        "largest_chunk": min(settings.get("chunk_passages") or CHUNK_PASSAGES, CHUNK_PASSAGES),
    }
    for name, default in ANSWERAI_COLBERT_SMALL.items():
        values[name] = checkpoint.get(name) or default
    return Quantities(**{**values, **given})


def predict(quantities: Quantities, constants: Constants | None = None) -> Prediction:
    """The terms of every phase: of its moments the one where most is alive, host and GPU apart.

    Args:
        constants: in the place of the measured ones.
    """
    builder = _Builder(quantities, constants or constants_of(quantities))
    moments: dict[str, list[list[_Block]]] = {
        "start-up": [[]],
        "planning": builder.planning(),
        "training": builder.training(),
        "encoding": builder.encoding(),
        "finalizing": builder.finalizing(),
        "child exit": builder.child_exit(),
    }
    terms: list[Term] = []
    for phase, candidates in moments.items():
        for memory in ("host", "gpu"):
            here = [[block for block in moment if block.memory == memory] for moment in candidates]
            if here:
                terms += max((builder.at(phase, memory, alive) for alive in here), key=_total)
    return Prediction(quantities, tuple(terms))


def _total(terms: Iterable[Term]) -> float:
    return sum(term.mib for term in terms)


@dataclass(frozen=True)
class _Block:
    """Something that is alive at a moment."""

    name: str
    formula: str
    mib: float
    memory: str = "host"
    blocks: float = 1  # separate allocations of equal size: only small ones come from the heap
    every_rank: bool = False  # each rank has its own


def _product(name: str, words: str, *factors: float, **where: Any) -> _Block:
    """The product of `factors` in bytes; `words` name them in their order."""
    numbers = " × ".join(f"{factor:,.6g}" if factor % 1 else f"{factor:,.0f}" for factor in factors)
    return _Block(name, f"{words} = {numbers}", math.prod(factors) / MIB, **where)


class _Builder:
    """The moments of each phase, as blocks that are alive together."""

    def __init__(self, quantities: Quantities, constants: Constants) -> None:
        self.q, self.c = quantities, constants
        self.gpu = quantities.device == "cuda"
        self.device = "gpu" if self.gpu else "host"
        self.encoded_bytes = 2 if self.gpu else 4  # ColBERT.doc halves embeddings on a GPU

    def at(self, phase: str, memory: str, alive: Sequence[_Block]) -> list[Term]:
        """The blocks of a moment as terms, with what is alive all the time."""
        q = self.q
        always = self._always_host(phase) if memory == "host" else self._always_gpu(phase)
        blocks = [*always, *self._kept(phase, alive, memory), *alive]
        process = "parent" if q.in_process else "worker"
        terms = [Term(phase, process, memory, block.name, block.formula, block.mib) for block in blocks]
        if q.nranks > 1 and memory == "host":
            each = sum(block.mib for block in blocks if block.every_rank)
            formula = f"(ranks - 1) × MiB that every rank holds = {q.nranks - 1} × {each:,.0f}"
            terms.append(Term(phase, process, memory, "other ranks", formula, (q.nranks - 1) * each))
        return terms + (self._beside(phase) if memory == "host" else [])

    # What is alive all the time

    def _always_host(self, phase: str) -> list[_Block]:
        q, c = self.q, self.c
        blocks = [
            _Block("libraries", "measured: the process before the index call", c.libraries, every_rank=True),
            _Block(
                "tokenizers and extensions",
                "measured: CollectionIndexer.__init__",
                c.opening,
                every_rank=True,
            ),
            _product(
                "texts of the documents",
                "bytes of text + documents × bytes of Python objects",
                q.text_bytes + q.documents * (STR_BYTES if not q.in_process else c.bytes_per_document),
                every_rank=True,
            ),
        ]
        if not self.gpu:  # there the pages go once the weights have been copied
            blocks.insert(2, self._weights("host"))
        if q.splits_documents:
            blocks.append(_Block("sentence splitter", "measured: imports of llama-index", c.splitter))
        if q.framework == "ragatouille":
            copied = q.text_bytes + STR_BYTES * q.passages if q.splits_documents else 0
            blocks.append(
                _product(
                    "passages of RAGatouille",
                    "bytes of text, where split, + passages × bytes of dictionaries",
                    copied + q.passages * c.bytes_per_passage,
                )
            )
        if phase != "start-up":
            words = "measured: pages touched by the first batch"
            blocks.append(_Block("first batch", words, c.first_forward, every_rank=True))
        return blocks

    def _always_gpu(self, phase: str) -> list[_Block]:
        if not self.gpu or phase == "child exit":
            return []
        blocks = [
            _Block("CUDA context", "typical: driver, kernels and cuBLAS", CUDA_CONTEXT_MIB, memory="gpu"),
            self._weights("gpu"),
        ]
        if phase not in ("start-up", "planning") and self.q.kmeans_backend == "faiss":
            words = "StandardGpuResources: on a card of more than 8 GiB"
            blocks.append(_Block("temporary memory of faiss", words, FAISS_GPU_TEMPORARY_MIB, memory="gpu"))
        return blocks

    def _weights(self, memory: str) -> _Block:
        q = self.q
        layer = 4 * q.hidden_size**2 + 2 * q.hidden_size * q.intermediate_size
        values = q.layers * layer + (q.vocab_size + 512 + q.hidden_size + q.dim) * q.hidden_size
        words = "(layers × (4 h² + 2 h × intermediate) + (vocabulary + 512 + h + dim) × h) × 4 bytes, h: hidden size"
        return _product("weights of the encoder", words, values, 4, memory=memory, every_rank=True)

    def _beside(self, phase: str) -> list[Term]:
        """The processes beside the one that builds."""
        q, c = self.q, self.c
        python = "measured: a bare Python of multiprocessing"
        tracker = Term(phase, "tracker", "host", "resource tracker", python, TRACKER_MIB)
        if q.in_process:
            return [tracker]
        texts = (2 * q.text_bytes + q.documents * c.bytes_per_document) / MIB
        words = "bytes of text + documents × bytes of Python objects + pickled bytes of text"
        numbers = f"{q.text_bytes:,} + {q.documents:,} × {c.bytes_per_document:g} + {q.text_bytes:,}"
        idle = "measured: the parent before the index call"
        return [
            Term(phase, "parent", "host", "libraries", idle, c.idle_parent),
            Term(
                phase, "parent", "host", "texts, and as pickled for the child", f"{words} = {numbers}", texts
            ),
            Term(phase, "manager", "host", "manager", python, MANAGER_MIB),
            tracker,
        ]

    def _kept(self, phase: str, alive: Sequence[_Block], memory: str) -> list[_Block]:
        """What the allocator holds of the first encoding, less what small blocks of this moment take of it.

        Blocks under 32 MiB come from the heap. It shrinks from its top only, where the embeddings lie that were
        made last, or small objects of a further super-batch: all that is freed beneath them stays. Only where a
        single super-batch gives embeddings so large that they are mapped by themselves does the heap shrink.
        (Seen at 120 to 1,308 passages, then 1,600 and 3,200 passages, then 6,400 in two super-batches.)
        """
        if memory != "host" or self.gpu or phase in ("start-up", "planning"):
            return []
        if any(block.name == _JOINED for block in alive):
            return []  # another encoding uses it all
        tokenized, activations, outputs = self._tokenized(), self._activations(), self._padded(1)
        words, size = "tokenized super-batch", tokenized.mib
        encoded = self._passages_at_once() * self.q.tokens_per_passage * self.q.dim * self.encoded_bytes / MIB
        alone = self.q.chunk_passages <= self.q.index_bsize * SUPER_BATCH
        if encoded < LARGEST_HEAP_BLOCK_MIB or not alone:
            words += " + activations of a batch + outputs of the batches"
            size += activations.mib + outputs.mib
        small = sum(block.mib for block in alive if block.mib / block.blocks < LARGEST_HEAP_BLOCK_MIB)
        formula = f"{words} - blocks below that use it = {size:,.0f} - {min(small, size):,.0f} MiB"
        return [_Block("kept by the allocator", formula, max(size - small, 0.0), every_rank=True)]

    # The phases

    def planning(self) -> list[list[_Block]]:
        """`_sample_embeddings`: the passages of the sample are encoded, joined, and halved for the disk."""
        q = self.q
        mine = math.ceil(q.sampled_embeddings / q.nranks)
        words = "sampled embeddings × dim × bytes"
        sample = _product("embeddings of the sample", words, mine, q.dim, self.encoded_bytes, every_rank=True)
        joined = _product(
            "embeddings of the sample, as a list and joined",
            f"2 × {words}",
            2,
            mine,
            q.dim,
            self.encoded_bytes,
            blocks=2,
            every_rank=True,
        )
        return [[*self._super_batch(), sample], [joined]]

    def training(self) -> list[list[_Block]]:
        """`train`: the sample is read and shuffled, clustered, and the codec fitted to the heldout part."""
        q = self.q
        half = (q.sampled_embeddings, q.dim, 2)
        sample = _product("sample, float16", "sampled embeddings × dim × 2 bytes", *half)
        shuffling = [
            _product(
                "sample, float16: as read, as joined, as shuffled",
                "3 × sampled embeddings × dim × 2 bytes",
                3,
                *half,
                blocks=3,
            ),
            _product("order of the shuffle", "sampled embeddings × 8 bytes", q.sampled_embeddings, 8),
        ]
        clustering = self._faiss() if q.kmeans_backend == "faiss" else self._torch_kmeans()
        heldout = [
            sample,
            self._matrix(q.heldout_embeddings),
            _product(
                "heldout part, float32",
                "3 × heldout × dim × 4 bytes",
                3,
                q.heldout_embeddings,
                q.dim,
                4,
                blocks=3,
            ),
        ]
        return [shuffling, [sample, *clustering], heldout]

    def _faiss(self) -> list[_Block]:
        """`compute_faiss_kmeans` and faiss.Clustering.train."""
        q = self.q
        blocks = [
            _product("sample, float32 for faiss", "points × dim × 4 bytes", q.points, q.dim, 4),
            _product("nearest centroids", "points × (8 + 4) bytes", q.trained_points, 12),
            _product("centroids", "2 × partitions × dim × 4 bytes", 2, q.partitions, q.dim, 4, blocks=2),
        ]
        if q.trained_points < q.points:
            words = "256 × partitions × dim × 4 bytes"
            blocks.append(_product("subsample of faiss", words, q.trained_points, q.dim, 4))
        if self.gpu:
            pinned = "StandardGpuResources: pinned memory"
            blocks.append(_Block("pinned memory of faiss", pinned, self.c.faiss_gpu_host))
            words = "2 × partitions × dim × 4 bytes"
            blocks.append(_product("centroids", words, 2, q.partitions, q.dim, 4, memory="gpu"))
        return blocks

    def _torch_kmeans(self) -> list[_Block]:
        """`compute_pytorch_kmeans` and fast_pytorch_kmeans.KMeans.fit_predict."""
        q = self.q
        points = q.minibatch or q.trained_points
        matrices = GPU_DISTANCE_MATRICES if self.gpu else CPU_DISTANCE_MATRICES
        which = "points of a minibatch" if q.minibatch else "points"
        blocks = [
            _product(
                "sample, float32 for PyTorch's k-means",
                "points × dim × 4 bytes",
                *(q.trained_points, q.dim, 4),
                memory=self.device,
            ),
            _product(
                "distance matrix",
                f"{matrices:g} × {which} × partitions × 4 bytes",
                *(matrices, points, q.partitions, 4),
                memory=self.device,
                blocks=3,
            ),
            _product(
                "points, doubled",
                f"{which} × dim × 4 bytes",
                *(points, q.dim, 4),
                memory=self.device,
            ),
        ]
        if self.gpu:
            words = "points × dim × 2 bytes"
            blocks.append(_product("sample, float16", words, q.points, q.dim, 2, memory="gpu"))
        return blocks

    def encoding(self) -> list[list[_Block]]:
        """`index`: a chunk is encoded, compressed, and handed to the thread that writes it."""
        q = self.q
        chunk = (q.chunk_embeddings, q.dim)
        stay = []
        if q.chunks > 1:
            written = 4 + q.dim * q.nbits / 8
            words = "embeddings of a chunk × (4 + dim × nbits / 8) bytes"
            stay = [_product("chunk being written", words, q.chunk_embeddings, written, every_rank=True)]
        words = "embeddings of a chunk × dim × bytes"
        encoded = _product("embeddings of the chunk", words, *chunk, self.encoded_bytes, every_rank=True)
        joined = _product(
            "embeddings of the chunk, as a list and joined",
            f"2 × {words}",
            *(2, *chunk, self.encoded_bytes),
            blocks=2,
            every_rank=True,
        )
        half = _product(
            "embeddings of the chunk, float16", f"{words[:-5]}2 bytes", *chunk, 2, every_rank=True
        )
        together = min(q.chunk_embeddings, SPLIT_EMBEDDINGS)
        residuals = _product(
            "residuals before packing",
            "embeddings at once × dim × (4 + 4 + 8 + 1) bytes",
            *(together, q.dim, 17),
            memory=self.device,
            blocks=4,
            every_rank=True,
        )
        batch = _product(
            "embeddings to assign",
            "embeddings at once × dim × bytes",
            *(q.assigned_at_once, q.dim, self.encoded_bytes),
            memory=self.device,
            every_rank=True,
        )
        matrix = self._matrix(q.assigned_at_once, every_rank=True)
        return [
            [*self._super_batch(), encoded, *stay],
            [joined, *stay],
            [half, matrix, batch, *stay],
            [half, residuals, *stay],
        ]

    def finalizing(self) -> list[list[_Block]]:
        """`_build_ivf` and `optimize_ivf`: all codes are sorted, then each centroid's passages are told apart."""
        q = self.q
        sorting = _product(
            "codes, sorted codes, their places (int64)",
            "3 × embeddings × 8 bytes",
            3,
            q.embeddings,
            8,
            blocks=3,
        )
        listing = [
            _product(
                "sorted codes, their places (int64)", "2 × embeddings × 8 bytes", 2, q.embeddings, 8, blocks=2
            ),
            _product(
                "passages of embeddings, by place, by centroid, joined (int32)",
                "4 × embeddings × 4 bytes",
                *(4, q.embeddings, 4),
                blocks=4,
            ),
        ]
        return [[sorting], listing]

    def child_exit(self) -> list[list[_Block]]:
        """ColBERT's child ends while its parent waits: its last level, and library pages touched on the way.

        Of several ranks the first to end has touched them while the others have not (2 and 3 ranks, 200 documents,
        three runs each: 2,846 to 2,897 and 3,796 to 3,945 MiB; with the pages of every rank 6 % more were predicted).
        """
        if self.q.in_process:
            return []
        words = "measured: from the last span to the child's end"
        return [[_Block("pages touched at exit", words, self.c.child_exit)]]

    # Parts of several phases

    def _passages_at_once(self) -> int:
        """Of the largest super-batch."""
        return min(self.q.index_bsize * SUPER_BATCH, self.q.chunk_passages)

    def _super_batch(self) -> list[_Block]:
        """`docFromText`, as it joins and reorders the batches of a super-batch, padded to the longest passage."""
        blocks = [self._activations(), self._padded(3)]
        return [*blocks, self._tokenized()]

    def _activations(self) -> _Block:
        q = self.q
        rows = INTERMEDIATE_ROWS * q.intermediate_size + HIDDEN_ROWS * q.hidden_size
        passages = min(q.index_bsize, self._passages_at_once())
        return _product(
            "activations of a batch",
            "passages × tokens × (2 intermediate + 10 hidden) × bytes",
            *(passages, q.doc_maxlen, rows, self.encoded_bytes),
            memory=self.device,
            blocks=INTERMEDIATE_ROWS + HIDDEN_ROWS,
            every_rank=True,
        )

    def _padded(self, copies: int) -> _Block:
        q = self.q
        return _product(
            _JOINED,
            "(batches, joined, in order) × passages × tokens × dim × bytes",
            *(copies, self._passages_at_once(), q.doc_maxlen, q.dim, self.encoded_bytes),
            memory=self.device,
            blocks=copies,
            every_rank=True,
        )

    def _tokenized(self) -> _Block:
        q = self.q
        return _product(
            "tokenized super-batch",
            "passages × tokens × 190 bytes",
            *(self._passages_at_once(), q.doc_maxlen, TOKENIZED_BYTES),
            blocks=math.inf,
            every_rank=True,
        )

    def _matrix(self, embeddings: int, every_rank: bool = False) -> _Block:
        """`compress_into_codes`: the product of the centroids with as many embeddings as 2^29 cells take."""
        q = self.q
        at_once = min(embeddings, ASSIGNMENT_CELLS // q.partitions)
        return _product(
            "embeddings × centroids, to assign codes",
            "partitions × embeddings at once × bytes",
            *(q.partitions, at_once, self.encoded_bytes),
            memory=self.device,
            every_rank=every_rank,
        )


_JOINED = "padded outputs of a super-batch"

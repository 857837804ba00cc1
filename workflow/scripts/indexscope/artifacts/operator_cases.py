"""What is recorded: texts, batches of the corpus and random tokens through ColBERT's encoder, then an index.

Runs where torch and colbert are. The encoder is ColBERT's own Checkpoint.doc, as CollectionEncoder calls it;
the index is made by ColBERT's own Indexer, in process, and its encoding is not recorded a second time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers

from indexscope.artifacts.operator_recording import Recorder
from indexscope.artifacts.operator_store import ANY, INDEX, Case, Header, RecordedCase, Writer, json_lines
from indexscope.run_record import InputError

_SEED = 12345  # ColBERT's own, of colbert.infra.launcher
_GROUP = 50  # batches that ColBERT tokenizes, pads and sorts at once: CollectionEncoder.encode_passages
_LAYERS = re.compile(r"bert\.embeddings|bert\.encoder\.layer\.\d+|linear")


@dataclass(frozen=True)
class Request:
    """What to record; `operators` and `index` are settings.torch_versions' Operators and IndexSettings."""

    checkpoint: Path
    collection: Path
    operators: Mapping[str, Any]
    index: Mapping[str, Any]
    threads: int
    device: str


@dataclass(frozen=True)
class _Input:
    """Tokens of one batch: (batch size, sequence length) identifiers and attention mask."""

    input: str
    content: str
    words: str
    ids: Any
    mask: Any

    def case(self, precision: str) -> Case:
        batch_size, sequence_length = self.ids.shape
        words = f"{self.words}, {batch_size} × {sequence_length}, {precision}"
        return Case(words, self.input, self.content, precision, batch_size, sequence_length)


def record(request: Request, writer: Writer) -> None:
    """Record every case that this machine can run; the others are listed with the reason.

    Raises:
        InputError: the collection is missing, damaged or empty, or the checkpoint is no ColBERT checkpoint.
    """
    torch.set_num_threads(request.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(_SEED)
    texts = _texts(request)
    attention = _force_eager_attention()
    model = _load(request)
    recorder = Recorder(writer)
    recorder.keep([*model.parameters(), *model.buffers()])
    recorder.follow(model, lambda name: _LAYERS.fullmatch(name) is not None)
    cases: list[RecordedCase] = []
    for precision in request.operators["precisions"]:
        if reason := _unsupported(precision, request.device):
            cases.append(RecordedCase(Case(precision, ANY, "", precision), "unsupported", reason))
            continue
        for batch in _inputs(request, model, texts):
            recorder.begin(len(cases))
            cases.append(
                _outcome(batch.case(precision), functools.partial(_encode, model, batch, precision, recorder))
            )
            print(cases[-1].case.case, cases[-1].status, flush=True)
    recorder.begin(len(cases))
    cases.append(_index_case(request, texts, recorder))
    header = Header(torch.__version__, tuple(cases), attention=attention, device=request.device)
    facts = {
        "transformers_version": transformers.__version__,
        "numpy_version": np.__version__,
        "threads": torch.get_num_threads(),
    }
    writer.finish(header, facts)


def _texts(request: Request) -> list[str]:
    """As many texts of the collection as ColBERT pads together, or the index takes."""
    wanted = max(request.index["index_bsize"] * _GROUP, request.operators["index_documents"])
    texts: list[str] = []
    for line in json_lines(request.collection, "make the collection again"):
        if len(texts) == wanted:
            break
        if not isinstance(line.get("text"), str):
            raise InputError(f"{request.collection}:{len(texts) + 1} has no text: make the collection again")
        texts.append(line["text"])
    if not texts:
        raise InputError(f"{request.collection} is empty: make the collection again")
    return texts


def _force_eager_attention() -> str | None:
    """Make transformers build attention from separate operators; what ColBERT would have run, if not that.

    From 4.36 on transformers chooses an implementation, where the model has another (BERT since 4.42).
    """
    own = transformers.PreTrainedModel.from_pretrained.__func__
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if version < (4, 36):
        return None

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("attn_implementation", "eager")
        return own(cls, *args, **kwargs)

    transformers.PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    if getattr(transformers.BertModel, "_supports_sdpa", False):
        return "attention was forced to eager, ColBERT itself runs what transformers chooses (sdpa where torch has it)"
    return None


def _load(request: Request) -> Any:
    """ColBERT's checkpoint, as its Indexer loads it."""
    from colbert.infra import ColBERTConfig, Run
    from colbert.modeling.checkpoint import Checkpoint
    from colbert.modeling.colbert import ColBERT

    if request.device == "cpu":
        ColBERT.loaded_extensions = True  # compiled, and only for scores
    try:
        config = ColBERTConfig.from_existing(
            ColBERTConfig.load_from_checkpoint(str(request.checkpoint)),
            ColBERTConfig(**request.index),
            Run().config,
        )
        config.configure(checkpoint=str(request.checkpoint))
        model = Checkpoint(str(request.checkpoint), colbert_config=config)
    except OSError as error:
        raise InputError(
            f"{request.checkpoint} cannot be read as a ColBERT checkpoint ({error}): make it again"
        ) from error
    return model.cuda() if request.device == "cuda" else model


def _unsupported(precision: str, device: str) -> str | None:
    if precision == "cuda_autocast_float16" and device != "cuda":
        return "ColBERT's autocast is CUDA's, and this experiment runs on the CPU, where that does nothing"
    if precision == "cpu_autocast_bfloat16" and device != "cpu":
        return "autocast of the CPU has no effect on a GPU"
    return None


def _inputs(request: Request, model: Any, texts: list[str]) -> Iterator[_Input]:
    tokenizer = model.doc_tokenizer
    settings = request.operators
    for text in settings["texts"]:
        yield _Input("text", text, f"text {text!r}", *tokenizer.tensorize([text]))
    if settings["corpus_batches"]:
        size = request.index["index_bsize"]
        batches, _ = tokenizer.tensorize(texts[: size * _GROUP], bsize=size)
        for number, tokens in enumerate(batches[: settings["corpus_batches"]]):
            yield _Input("corpus batch", str(number), f"corpus batch {number}", *tokens)
    words = _words(tokenizer.tok)
    for batch_size in settings["batch_sizes"]:
        for length in settings["sequence_lengths"]:
            for seed in settings["token_seeds"]:
                drawn = random.Random(seed).choices(words, k=batch_size * (length - 3))
                body = torch.tensor(drawn).reshape(batch_size, length - 3)
                first = torch.tensor([[tokenizer.cls_token_id, tokenizer.D_marker_token_id]])
                last = torch.tensor([[tokenizer.sep_token_id]])
                ends = (each.expand(batch_size, -1) for each in (first, last))
                ids = torch.cat([next(ends), body, next(ends)], dim=1)
                tokens = ids, torch.ones_like(ids)
                yield _Input("random tokens", f"seed {seed}", f"random tokens, seed {seed}", *tokens)


def _words(tokenizer: Any) -> list[int]:
    """Identifiers of all tokens that are neither special nor unused, in order."""
    special = set(tokenizer.all_special_ids)
    return sorted(
        identifier
        for token, identifier in tokenizer.get_vocab().items()
        if identifier not in special and not token.startswith("[unused")
    )


def _outcome(case: Case, run: Any) -> RecordedCase:
    try:
        run()
    except Exception as error:  # whatever a version raises is this case's outcome
        message = str(error).strip().split("\n")[0]
        return RecordedCase(case, "failed", f"{type(error).__name__}: {message}")
    return RecordedCase(case, "recorded")


def _encode(model: Any, batch: _Input, precision: str, recorder: Recorder) -> None:
    """Checkpoint.doc under the inference mode that CollectionEncoder.encode_passages sets."""
    normalize = torch.nn.functional.normalize

    def seen(masked: Any, *args: Any, **kwargs: Any) -> Any:
        recorder.output("masked", masked)
        normalized = normalize(masked, *args, **kwargs)
        recorder.output("normalized", normalized)
        return normalized

    autocast: Any = contextlib.nullcontext()
    if precision == "cpu_autocast_bfloat16":
        autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    # On a GPU, ColBERT's own path is autocast: float32 is to leave it out.
    model.amp_manager.activated = precision != "float32" or not torch.cuda.is_available()
    with (
        torch.inference_mode(),
        mock.patch.object(torch.nn.functional, "normalize", seen),
        autocast,
        recorder,
    ):
        embeddings, _ = model.doc(batch.ids, batch.mask, keep_dims="return_mask")
        recorder.output("ColBERT.doc", embeddings, final=True)


def _index_case(request: Request, texts: list[str], recorder: Recorder) -> RecordedCase:
    documents = texts[: request.operators["index_documents"]]
    precision = "float32" if request.device == "cpu" else "cuda_autocast_float16"
    words = f"index of {len(documents)} documents, {precision}"
    case = Case(words, INDEX, f"{len(documents)} documents", precision)
    with tempfile.TemporaryDirectory() as directory:
        outcome = _outcome(case, functools.partial(_index, request, documents, directory, recorder))
    print(case.case, outcome.status, flush=True)
    return outcome


def _index(request: Request, documents: list[str], directory: str, recorder: Recorder) -> None:
    """Everything that an in-process index run does with tensors but encoding and files."""
    from colbert import Indexer
    from colbert.indexing import collection_indexer
    from colbert.indexing.codecs import residual
    from colbert.indexing.collection_encoder import CollectionEncoder
    from colbert.infra import ColBERTConfig, Run, RunConfig

    indexer_class, codec = collection_indexer.CollectionIndexer, residual.ResidualCodec

    def kept(owner: Any, name: str, *outputs: str) -> Any:
        """The function `name`, whose results are final outputs."""
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            values = (result.codes, result.residuals) if name == "compress" else result
            values = values if isinstance(values, tuple) else (values,)
            for output, value in zip(outputs, values, strict=True):
                recorder.output(output, value, final=True)
            return result

        return mock.patch.object(owner, name, call)

    kmeans = recorder.whole("compute_faiss_kmeans", collection_indexer.compute_faiss_kmeans)
    # What is packed on the CPU is packed by numpy.
    packing = mock.Mock(wraps=np, packbits=recorder.whole("numpy.packbits", np.packbits))
    # Loading the checkpoint and encoding are not recorded here; files are no arithmetic.
    load, encode = map(recorder.unrecorded, (indexer_class.__init__, CollectionEncoder.encode_passages))
    settings = RunConfig(nranks=1, index_root=directory)
    settings.configure(avoid_fork_if_possible=True)
    with (
        mock.patch.object(indexer_class, "__init__", load),
        mock.patch.object(CollectionEncoder, "encode_passages", encode),
        mock.patch.object(torch, "save", recorder.unrecorded(torch.save)),
        mock.patch.object(torch, "load", recorder.unrecorded(torch.load)),
        mock.patch.object(collection_indexer, "compute_faiss_kmeans", kmeans),
        mock.patch.object(residual, "np", packing),
        kept(indexer_class, "_train_kmeans", "centroids"),
        kept(indexer_class, "_compute_avg_residual", "bucket_cutoffs", "bucket_weights", "avg_residual"),
        kept(codec, "compress", "codes", "residuals"),
        kept(collection_indexer, "optimize_ivf", "ivf", "ivf_lengths"),
        Run().context(settings),
    ):
        indexer = Indexer(
            checkpoint=str(request.checkpoint), config=ColBERTConfig(**request.index), verbose=0
        )
        with recorder:
            indexer.index(name="index", collection=documents)


def parse_settings(name: str, text: str) -> dict[str, Any]:
    """A JSON object given on the command line.

    Raises:
        InputError: it is none.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not JSON ({error}): give the settings as an object") from error
    if not isinstance(value, dict):
        raise InputError(f"{name} is not an object: give the settings as an object")
    return value

"""Checkpoints in ColBERT's file layout: synthetic ones, copies of local ones, those of the Hugging Face hub.

A synthetic one has seeded random weights and is written without torch. Memory and time of indexing depend on
the shapes of a checkpoint, not on what its weights have learned, so a random one of the same geometry stands in
for a trained one where no model can be downloaded. Search quality means nothing with it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from indexscope.corpora.lexicon import word_pieces
from indexscope.corpora.manifests import MANIFEST, write_manifest
from indexscope.run_record import InputError
from indexscope.settings.checkpoints import (
    HubCheckpointSettings,
    LocalCheckpointSettings,
    SyntheticCheckpointSettings,
)

MAX_POSITIONS = 512
# The vocabulary begins as BERT's: same identifiers of the special tokens and of ColBERT's markers.
PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
QUERY_MARKER, DOCUMENT_MARKER = "[unused0]", "[unused1]"
BERT_HEAD = (PAD, *(f"[unused{index}]" for index in range(99)), UNK, CLS, SEP, MASK)
SPECIAL_TOKENS = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
# BERT draws every weight with this standard deviation. Word embeddings are drawn larger: a token's identity
# then outweighs its position, equal tokens lie close together, and k-means finds clusters.
INITIALIZER_RANGE = 0.02
WORD_EMBEDDING_RANGE = 0.06

Tensor = NDArray[np.float32]


def vocabulary(size: int) -> list[str]:
    """`size` word pieces in the order of their identifiers: BERT's special tokens, the lexicon, unused ones.

    Text is tokenized the same at every size. Raises InputError when `size` is too small for the lexicon.
    """
    pieces = [*BERT_HEAD, *word_pieces()]
    if size < len(pieces):
        raise InputError(
            f"vocab_size: {size} is too small, the synthetic corpus needs {len(pieces)} word pieces"
        )
    unused = len(BERT_HEAD) - 5  # what is left of the head are the numbered ones
    return pieces + [f"[unused{unused + index}]" for index in range(size - len(pieces))]


def weights(settings: SyntheticCheckpointSettings) -> dict[str, Tensor]:
    """All tensors of ColBERT's model (`HF_ColBERT` around `BertModel`, and its projection), float32, by name.

    Matrices and embeddings are normal, biases 0, layer norms 1 and 0, as BERT initialises them.
    """
    random = np.random.Generator(np.random.Philox(key=np.array([settings.seed, 0], dtype=np.uint64)))
    tensors: dict[str, Tensor] = {}
    for name, shape in _shapes(settings):
        if name.endswith("LayerNorm.weight"):
            tensors[name] = np.ones(shape, dtype=np.float32)
        elif name.endswith(".bias"):
            tensors[name] = np.zeros(shape, dtype=np.float32)
        else:
            scale = WORD_EMBEDDING_RANGE if name.endswith("word_embeddings.weight") else INITIALIZER_RANGE
            tensors[name] = random.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    return tensors


def _shapes(settings: SyntheticCheckpointSettings) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor; of a linear layer (outputs, inputs), as torch stores it."""
    hidden, inner = settings.hidden_size, settings.intermediate_size

    def linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (outputs, inputs)
        yield f"{name}.bias", (outputs,)

    def layer_norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.LayerNorm.weight", (hidden,)
        yield f"{name}.LayerNorm.bias", (hidden,)

    yield "bert.embeddings.word_embeddings.weight", (settings.vocab_size, hidden)
    yield "bert.embeddings.position_embeddings.weight", (MAX_POSITIONS, hidden)
    yield "bert.embeddings.token_type_embeddings.weight", (2, hidden)
    yield from layer_norm("bert.embeddings")
    for layer in range(settings.layers):
        block = f"bert.encoder.layer.{layer}"
        for projection in ("query", "key", "value"):
            yield from linear(f"{block}.attention.self.{projection}", hidden, hidden)
        yield from linear(f"{block}.attention.output.dense", hidden, hidden)
        yield from layer_norm(f"{block}.attention.output")
        yield from linear(f"{block}.intermediate.dense", inner, hidden)
        yield from linear(f"{block}.output.dense", hidden, inner)
        yield from layer_norm(f"{block}.output")
    yield from linear("bert.pooler.dense", hidden, hidden)
    yield "linear.weight", (settings.dim, hidden)  # ColBERT's projection has no bias


def write_checkpoint(settings: SyntheticCheckpointSettings, output: Path) -> None:
    """Write the checkpoint directory `output`; equal settings give equal bytes.

    The files are complete before the directory gets its name. An earlier checkpoint there is replaced.

    Raises:
        InputError: `output` holds anything but a checkpoint, or the vocabulary does not fit.
    """
    pieces = vocabulary(settings.vocab_size)
    with _complete_or_nothing(output) as partial:
        for name, content in _json_files(settings, pieces).items():
            (partial / name).write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
            )
        (partial / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8", newline="\n")
        # transformers refuses a file that does not name the framework its tensors are laid out for.
        save_file(weights(settings), partial / "model.safetensors", metadata={"format": "pt"})
        # safetensors makes the file private to its owner; give it the mode of its neighbours.
        (partial / "model.safetensors").chmod((partial / "vocab.txt").stat().st_mode)


def copy_checkpoint(settings: LocalCheckpointSettings, output: Path) -> None:
    """Copy the checkpoint in a local folder, its other files left out, with a manifest.

    A copy, no link: what the digest in a folder's name stands for must not change under the runs that used
    it, when the checkpoint is trained on or deleted.

    Raises:
        InputError: the folder is no ColBERT checkpoint, or `output` holds anything but one.
    """
    folder = Path(settings.path).expanduser()
    if not folder.is_dir():
        raise InputError(f"path: {settings.path!r} is no folder; correct it")
    chosen = needed_files(path.name for path in folder.iterdir() if path.is_file())
    refuse_incomplete(chosen, str(folder))
    with _complete_or_nothing(output) as partial:
        for name in chosen:
            shutil.copyfile(folder / name, partial / name)
        refuse_damaged(partial, chosen, str(folder))
        write_manifest(partial / MANIFEST, {"requested": settings.model_dump()}, partial, chosen)


def fetch_checkpoint(
    settings: HubCheckpointSettings, output: Path, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Download a checkpoint from the hub to the directory `output`, with a manifest; return the manifest.

    Until all is there it is in `output`.partial, where an interrupted download goes on.

    Raises:
        InputError: it cannot be had, or is no ColBERT checkpoint; the sentence says what to do.
    """
    from indexscope.corpora import hub

    repository = hub.Repository("model", settings.repository, settings.revision)
    commit = repository.resolve()
    listed = {file.path: file for file in repository.files(commit)}
    chosen = hub.matching(list(listed), settings.files) if settings.files else needed_files(listed)
    refuse_incomplete(chosen, str(repository))
    _refuse_other_content(output)
    partial = _partial(output)
    partial.mkdir(parents=True, exist_ok=True)
    total = sum(listed[path].size for path in chosen)
    for number, path in enumerate(chosen, start=1):
        report(f"{number} of {len(chosen)} files ({total / 2**20:.0f} MiB in all): {path}")
        repository.download(commit, listed[path], partial)
    refuse_damaged(partial, chosen, str(repository))
    for left in partial.iterdir():  # of an earlier attempt, when a branch was at another commit
        if left.is_file() and left.name not in chosen:
            left.unlink()
    manifest = write_manifest(
        partial / MANIFEST, {"requested": settings.model_dump(), "commit": commit}, partial, chosen
    )
    _replace(output, partial)
    return manifest


CHECKPOINT_FILES = frozenset(
    {
        "artifact.metadata",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
)
# What else a checkpoint may have that loading it reads: other tokenizers, other weights.
_OTHER_FILES = re.compile(
    r"added_tokens\.json|merges\.txt|vocab\.json|[\w.-]+\.model"
    r"|model-\d+-of-\d+\.safetensors|pytorch_model(-\d+-of-\d+)?\.bin"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
)
_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PYTORCH_WEIGHTS = re.compile(r"pytorch_model.*\.bin(\.index\.json)?")
_TOKENIZER = re.compile(r"tokenizer\.json|vocab\.txt|vocab\.json|[\w.-]+\.model")


def needed_files(names: Iterable[str]) -> list[str]:
    """Those of a folder's files that loading a ColBERT checkpoint reads; one set of weights, safetensors first."""
    known = sorted(name for name in names if name in CHECKPOINT_FILES or _OTHER_FILES.fullmatch(name))
    if any(_SAFETENSORS.fullmatch(name) for name in known):
        known = [name for name in known if not _PYTORCH_WEIGHTS.fullmatch(name)]
    return known


def refuse_incomplete(names: Iterable[str], where: str) -> None:
    """Raise InputError when the files named are not all that a ColBERT checkpoint must have."""
    names = list(names)

    def has(pattern: re.Pattern[str]) -> bool:
        return any(pattern.fullmatch(name) for name in names)

    if "config.json" not in names:
        problem = "has no config.json; name the folder or repository of an encoder as transformers saves it"
    elif not has(_SAFETENSORS) and not has(_PYTORCH_WEIGHTS):
        problem = "has no weights (model.safetensors or pytorch_model.bin); complete it"
    elif not has(_TOKENIZER):
        problem = "has no tokenizer (tokenizer.json or vocab.txt); save the tokenizer with it"
    elif "artifact.metadata" not in names:
        problem = (
            "has no artifact.metadata, so it is an encoder that ColBERT has not trained; name a ColBERT checkpoint, "
            "such as answerdotai/answerai-colbert-small-v1"
        )
    else:
        return
    raise InputError(f"{where}: {problem}")


def refuse_damaged(folder: Path, names: Iterable[str], where: str) -> None:
    """Raise InputError when a file cannot be what its name says: JSON that does not parse, weights cut off."""
    for name in names:
        try:
            if name.endswith((".json", ".metadata")):
                json.loads((folder / name).read_bytes())
            elif name.endswith(".safetensors"):
                with safe_open(folder / name, "np"):
                    pass
        except (ValueError, SafetensorError) as error:
            raise InputError(f"{where}: {name} is cut off or damaged ({error}); get it again") from None


def _partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


@contextmanager
def _complete_or_nothing(output: Path) -> Iterator[Path]:
    """A new folder that becomes `output` when all has been written to it, and vanishes when that fails."""
    _refuse_other_content(output)
    partial = _partial(output)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _replace(output, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(output: Path, complete: Path) -> None:
    if output.exists():
        shutil.rmtree(output)
    complete.rename(output)


def _refuse_other_content(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; a checkpoint is a directory, choose another name")
    known = CHECKPOINT_FILES | {MANIFEST, ".snakemake_timestamp"}
    others = sorted(
        path.name
        for path in output.glob("*")
        if path.name not in known and not _OTHER_FILES.fullmatch(path.name)
    )
    if others:
        raise InputError(f"{output}: holds {others[0]!r}, which no checkpoint has; choose another directory")


def _json_files(settings: SyntheticCheckpointSettings, pieces: list[str]) -> dict[str, Any]:
    identifiers = {piece: index for index, piece in enumerate(pieces)}
    return {
        "artifact.metadata": _colbert_config(settings),
        "config.json": _bert_config(settings),
        "special_tokens_map.json": SPECIAL_TOKENS,
        "tokenizer_config.json": {
            **SPECIAL_TOKENS,
            "clean_up_tokenization_spaces": True,
            "do_lower_case": True,
            "model_max_length": MAX_POSITIONS,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
        },
        "tokenizer.json": _fast_tokenizer(identifiers),
    }


def _colbert_config(settings: SyntheticCheckpointSettings) -> dict[str, Any]:
    """A whole ColBERTConfig, as `save_for_checkpoint` of colbert-ai 0.2.22 writes it, less the GPUs.

    Whole, because ColBERT passes on only the fields that a file or a caller has assigned: RAGatouille's own
    number of k-means iterations, for one, takes effect only when the checkpoint names that field.
    """
    return {
        "query_token_id": QUERY_MARKER,
        "doc_token_id": DOCUMENT_MARKER,
        "query_token": "[Q]",
        "doc_token": "[D]",
        "ncells": None,
        "centroid_score_threshold": None,
        "ndocs": None,
        "load_index_with_mmap": False,
        "index_path": None,
        "index_bsize": 64,
        "nbits": 1,
        "kmeans_niters": 4,
        "resume": False,
        "pool_factor": 1,
        "clustering_mode": "hierarchical",
        "protected_tokens": 0,
        "similarity": "cosine",
        "bsize": 32,
        "accumsteps": 1,
        "lr": 3e-06,
        "maxsteps": 500_000,
        "save_every": None,
        "warmup": None,
        "warmup_bert": None,
        "relu": False,
        "nway": 2,
        "use_ib_negatives": False,
        "reranker": False,
        "distillation_alpha": 1.0,
        "ignore_scores": False,
        "model_name": None,
        "query_maxlen": settings.query_maxlen,
        "attend_to_mask_tokens": False,
        "interaction": "colbert",
        "dim": settings.dim,
        "doc_maxlen": settings.doc_maxlen,
        "mask_punctuation": True,
        "checkpoint": None,
        "triples": None,
        "collection": None,
        "queries": None,
        "index_name": None,
        "overwrite": False,
        "root": "experiments",
        "experiment": "default",
        "index_root": None,
        "name": "synthetic",
        "rank": 0,
        "nranks": 1,
        "amp": True,
        "avoid_fork_if_possible": False,
        "meta": {"version": "colbert-v0.4"},
    }


def _bert_config(settings: SyntheticCheckpointSettings) -> dict[str, Any]:
    return {
        "architectures": ["HF_ColBERT"],
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": settings.hidden_size,
        "initializer_range": INITIALIZER_RANGE,
        "intermediate_size": settings.intermediate_size,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": MAX_POSITIONS,
        "model_type": "bert",
        "num_attention_heads": settings.heads,
        "num_hidden_layers": settings.layers,
        "pad_token_id": BERT_HEAD.index(PAD),
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": settings.vocab_size,
    }


def _fast_tokenizer(identifiers: Mapping[str, int]) -> dict[str, Any]:
    """`tokenizer.json` of an uncased BERT tokenizer, as the tokenizers library stores it."""

    def special(token: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": kind}}

    def sequence(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    single = [special(CLS, 0), sequence("A", 0), special(SEP, 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": identifiers[token], "content": token, **flags} for token in (PAD, UNK, CLS, SEP, MASK)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special(SEP, 1)],
            "special_tokens": {
                token: {"id": token, "ids": [identifiers[token]], "tokens": [token]} for token in (CLS, SEP)
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": dict(identifiers),
        },
    }

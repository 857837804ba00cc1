"""What of colbert-ai's index is dumped while it is made, where, and what can be injected there: no fork.

Each hook replaces one function of the framework at import (indexscope.measure.instrument). The key of an
artifact is `{stage}/{chunk}/{call}/{name}`: stage planning, training, encoding or finalizing (setup, train, index,
finalize of CollectionIndexer); the chunk's number while chunks are encoded, else `-`; call counts, from 0,
how often `name` arose within the two. Keys never repeat.

Values are dumped where they arise: after the function that made them returned, before anything else used
them. Hooks read values; they change none but those that are injected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.artifacts.capture import Capture, Donor, source_of, to_array
from indexscope.measure import instrument
from indexscope.run_record import InputError

PLANNING, TRAINING, ENCODING, FINALIZING = "planning", "training", "encoding", "finalizing"

Arguments = Mapping[str, Any]  # of one call, by name


class Hook(NamedTuple):
    """What is done around the calls of one function.

    `before` and `after` get (capture, source, arguments), `after` also what the function returned, and returns
    what its caller gets; `around` is a context that the call runs in.
    """

    module: str
    qualname: str
    before: Callable[[Capture, str, Arguments], None] | None = None
    after: Callable[[Capture, str, Arguments, Any], Any] | None = None
    around: Callable[[Capture, str], AbstractContextManager[None]] | None = None
    names: Sequence[str] = ()  # of the artifacts that arise here


# Names that can be injected; settings/torch_versions.py says the same to the configuration.
INJECTABLE = (
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
)


def targets(run: Mapping[str, Any], report: Callable[[BaseException], None]) -> list[instrument.Target]:
    """The functions to replace in a run under the profiler `dumps`.

    Args:
        run: the worker's specification: dumps (a folder), artifacts (names; empty: all), injected (names), donor
            (a run directory or None).
        report: hears of failures of our own.
    """
    check_names(run)
    donor = Donor(Path(run["donor"])) if run["injected"] else None
    capture = Capture(Path(run["dumps"]), run["artifacts"] or DUMPED, run["injected"], donor, report)
    return [
        instrument.Target(hook.module, hook.qualname, functools.partial(_wrap, hook, capture))
        for hook in HOOKS
    ]


def check_names(cell: Mapping[str, Any]) -> None:
    """
    Raises:
        InputError: the cell names an artifact that no hook dumps, or one that cannot be injected.
    """
    for key, known in (("artifacts", DUMPED), ("injected", INJECTABLE)):
        for name in cell.get(key) or []:
            if name not in known:
                raise InputError(f"cell: {key}: {name!r} is not known; known are {', '.join(known)}")


def obstacle(cell: Mapping[str, Any], donor: Path | None) -> str | None:
    """Why the run of `cell` has no result, before a framework is loaded: its donor lacks what it is to give.

    Raises:
        InputError: the cell or the donor is not what it should be.
    """
    check_names(cell)
    injected = cell.get("injected") or []
    if not injected:
        return None
    if donor is None:
        raise InputError(
            f"cell: injected: {', '.join(injected)}: give the run it is taken from, --donor RUN_DIR"
        )
    found = Donor(donor)
    if cell.get("donor") not in (None, found.identity.cell):
        raise InputError(
            f"{donor}: the donor's cell is {found.identity.cell}, the cell asks for {cell['donor']}; give that run"
        )
    return found.lacks(injected)


def _wrap(hook: Hook, capture: Capture, function: Callable[..., Any]) -> Callable[..., Any]:
    source = source_of(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        if hook.before is not None:
            with capture.own_code():
                hook.before(capture, source, signature.bind(*args, **kwargs).arguments)
        with hook.around(capture, source) if hook.around else nullcontext():
            result = function(*args, **kwargs)
        if hook.after is not None:
            with capture.own_code():
                return hook.after(capture, source, signature.bind(*args, **kwargs).arguments, result)
        return result

    return hooked


# Stages and chunks


def _stage(name: str) -> Callable[[Capture, str], AbstractContextManager[None]]:
    return lambda capture, source: capture.during(name)


def _finished(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    capture.finish()
    return result


def _enumerated(capture: Capture, source: str, arguments: Arguments, batches: Iterable[Any]) -> Iterator[Any]:
    """Collection.enumerate_batches: (chunk, offset, passages). While planning, the same chunks are sampled."""
    for chunk, offset, passages in batches:
        if capture.stage == ENCODING:
            capture.chunk = str(chunk)
        yield chunk, offset, passages


# The encoder


def tensorized(output: tuple[Any, Any]) -> Any:
    """What DocTokenizer.tensorize returned, as one array.

    Args:
        output: (batches, reverse_indices), with (ids, mask) for each batch; or (ids, mask), not sorted.

    Returns:
        (passages, 1 + 2 * width) int64, passages in the order of the batches: reverse_indices (its entry of the
        same number), the token ids, the mask; -1 where a batch is narrower than the widest.
    """
    import numpy as np

    if isinstance(output[0], list):
        batches, order = output[0], to_array(output[1])
    else:
        batches, order = [output], np.arange(len(output[0]))
    width = max(ids.shape[1] for ids, _ in batches)
    table = np.full((len(order), 1 + 2 * width), -1, dtype=np.int64)
    table[:, 0] = order
    row = 0
    for ids, mask in batches:
        rows, columns = ids.shape
        table[row : row + rows, 1 : 1 + columns] = to_array(ids)
        table[row : row + rows, 1 + width : 1 + width + columns] = to_array(mask)
        row += rows
    return table


def _tensorized(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    if capture.wants("tensorize_output"):
        capture.take("tensorize_output", tensorized(result), source)
    return result


def _batch(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    """Checkpoint.doc: D (passages, width, dim), or D and its mask."""
    capture.take("batches", result[0] if isinstance(result, tuple) else result, source)
    return result


def _flattened(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    """Checkpoint.docFromText: D (embeddings, dim) and doclens; other forms are not the indexer's."""
    if arguments.get("keep_dims") == "flatten":
        capture.take("D", result[0], source)
    return result


def _encoded(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    """CollectionEncoder.encode_passages: embeddings (embeddings, dim) and doclens; None for no passages."""
    embs, doclens = result
    if embs is None:
        return result
    name = "local_sample_embs" if capture.stage == PLANNING else "embs"
    embs = capture.take(name, embs, source, beside=("doclens", doclens))
    capture.take("doclens", doclens, source)
    return embs, doclens


# Planning and training


def _sampled(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    """CollectionIndexer._sample_pids: a set, which is only asked what it contains."""
    capture.take("num_passages", len(arguments["self"].collection), source)
    return capture.take("sample_pids", result, source)


def _each(*names: str) -> Callable[[Capture, str, Arguments, Any], Any]:
    """For a function that returns a tuple of artifacts."""

    def after(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
        return tuple(capture.take(name, value, source) for name, value in zip(names, result, strict=True))

    return after


def _returned(name: str) -> Callable[[Capture, str, Arguments, Any], Any]:
    """For a function that returns an artifact."""
    return lambda capture, source, arguments, result: capture.take(name, result, source)


def _given(name: str, argument: str) -> Callable[[Capture, str, Arguments], None]:
    """For a function whose argument is an artifact."""

    def before(capture: Capture, source: str, arguments: Arguments) -> None:
        capture.take(name, arguments[argument], source)

    return before


def _kmeans_arguments(capture: Capture, source: str, arguments: Arguments) -> None:
    numbers = [arguments[name] for name in ("dim", "num_partitions", "kmeans_niters")]
    capture.take("kmeans_arguments", numbers, source)


def _half_centroids(capture: Capture, source: str, arguments: Arguments) -> None:
    """ResidualCodec.save writes what it halves, so that is made once more here."""
    if capture.wants("half_centroids"):
        capture.take("half_centroids", arguments["self"].centroids.half(), source)


@contextmanager
def _replaced(owner: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """An attribute of a class or a module, for a while."""
    missing = object()
    before = vars(owner).get(name, missing)  # a class may only inherit it
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _framework_call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that may have no Python frame of its own, so that its failures look like ours."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        error.own_fault = False  # type: ignore[attr-defined]  # to indexscope.measure.worker
        raise


def _normalizing(capture: Capture, source: str) -> AbstractContextManager[None]:
    """Within _train_kmeans: what torch.nn.functional.normalize returns."""
    import torch

    normalize = torch.nn.functional.normalize

    def hooked(*args: Any, **kwargs: Any) -> Any:
        made = _framework_call(normalize, *args, **kwargs)
        with capture.own_code():
            return capture.take("postnorm_centroids", made, source)

    return _replaced(torch.nn.functional, "normalize", hooked)


# Compressing and finalizing


def _compressed(capture: Capture, source: str, arguments: Arguments, result: Any) -> Any:
    """ResidualCodec.compress: codes (embeddings,) and residuals (embeddings, dim * nbits / 8) of a chunk."""
    result.codes = capture.take("codes", result.codes, source)
    result.residuals = capture.take("residuals", result.residuals, source)
    return result


def _sorting(capture: Capture, source: str) -> AbstractContextManager[None]:
    """Within _build_ivf: what Tensor.sort is given and returns."""
    import torch

    sort = torch.Tensor.sort

    def hooked(codes: Any, *args: Any, **kwargs: Any) -> Any:
        with capture.own_code():
            capture.take("presort_codes", codes, source)
        made = _framework_call(sort, codes, *args, **kwargs)
        with capture.own_code():
            capture.take("sorted_codes", made.values, source)
            capture.take("sort_indices", made.indices, source)
        return made

    return _replaced(torch.Tensor, "sort", hooked)


_INDEXER = "colbert.indexing.collection_indexer"
_CODEC = "colbert.indexing.codecs.residual"
_CHECKPOINT = "colbert.modeling.checkpoint"
_TOKENIZER = "colbert.modeling.tokenization.doc_tokenization"
_SORTED = ("presort_codes", "sorted_codes", "sort_indices")
_BUCKETS = ("bucket_cutoffs", "bucket_weights", "avg_residual")
_SAMPLES = ("sample", "sample_heldout")

HOOKS = (
    Hook(_INDEXER, "CollectionIndexer.setup", around=_stage(PLANNING)),
    Hook(_INDEXER, "CollectionIndexer.train", around=_stage(TRAINING)),
    Hook(_INDEXER, "CollectionIndexer.index", around=_stage(ENCODING)),
    Hook(_INDEXER, "CollectionIndexer.finalize", around=_stage(FINALIZING), after=_finished),
    Hook("colbert.data.collection", "Collection.enumerate_batches", after=_enumerated),
    Hook(_TOKENIZER, "DocTokenizer.tensorize", after=_tensorized, names=["tensorize_output"]),
    Hook(_CHECKPOINT, "Checkpoint.doc", after=_batch, names=["batches"]),
    Hook(_CHECKPOINT, "Checkpoint.docFromText", after=_flattened, names=["D"]),
    Hook(_INDEXER, "CollectionIndexer._sample_pids", after=_sampled, names=["sample_pids", "num_passages"]),
    Hook(
        "colbert.indexing.collection_encoder",
        "CollectionEncoder.encode_passages",
        after=_encoded,
        names=["local_sample_embs", "embs", "doclens"],
    ),
    Hook(
        _INDEXER,
        "CollectionIndexer._concatenate_and_split_sample",
        after=_each(*_SAMPLES),
        names=_SAMPLES,
    ),
    Hook(
        _INDEXER,
        "compute_faiss_kmeans",
        before=_kmeans_arguments,
        after=_returned("prenorm_centroids"),
        names=["kmeans_arguments", "prenorm_centroids"],
    ),
    Hook(
        _INDEXER,
        "CollectionIndexer._train_kmeans",
        around=_normalizing,
        after=_returned("centroids"),
        names=["postnorm_centroids", "centroids"],
    ),
    Hook(_INDEXER, "CollectionIndexer._compute_avg_residual", after=_each(*_BUCKETS), names=_BUCKETS),
    Hook(_CODEC, "ResidualCodec.save", before=_half_centroids, names=["half_centroids"]),
    Hook(
        _CODEC,
        "ResidualCodec.compress_into_codes",
        before=_given("compress_batch", "embs"),
        after=_returned("compress_codes"),
        names=["compress_batch", "compress_codes"],
    ),
    Hook(
        _CODEC,
        "ResidualCodec.lookup_centroids",
        after=_returned("lookup_centroids"),
        names=["lookup_centroids"],
    ),
    Hook(
        _CODEC,
        "ResidualCodec.binarize",
        before=_given("residuals_before_packing", "residuals"),
        names=["residuals_before_packing"],
    ),
    Hook(_CODEC, "ResidualCodec.compress", after=_compressed, names=["codes", "residuals"]),
    Hook(_INDEXER, "CollectionIndexer._build_ivf", around=_sorting, names=_SORTED),
)
DUMPED = tuple(name for hook in HOOKS for name in hook.names)

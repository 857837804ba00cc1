"""One rank of a training: a cross-encoder of random weights, trained on documents that a loader reads.

DistilBERT → vector of CLS → dropout → linear → binary cross entropy with logits, AdamW. What the machine cannot
do is Unsupported, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch

from indexscope.measure import records
from indexscope.run_record import InputError

from . import batches, communication, loaders, timing
from .specification import Specification

_LEARNING_RATE = 2e-5  # of the published trainer
_HOLD_SECONDS = 30.0  # for memory to be read meanwhile; longer, and nobody is reading
_LOOK_SECONDS = 0.001


class Unsupported(Exception):
    """What this machine, or this PyTorch, cannot do."""


class Rank(NamedTuple):
    """This process's number among those that train, and what all are told."""

    rank: int
    told: Specification

    @property
    def training(self) -> dict[str, Any]:
        return self.told.training


@dataclass(frozen=True)
class Trained:
    """A model made ready for its parallelism, and how a step is done with it."""

    model: Any
    device: torch.device
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]
    backward: Callable[[Any], None]
    optimise: Callable[[], None]
    communication: communication.Communication


def run(told: Specification, rank: int) -> int:
    """Train; returns the process's exit code. An error is recorded in the events, and printed."""
    clock = timing.ProcessClock()
    events = records.Appender(str(told.events))
    events.record(event="process", process_id=os.getpid(), role="rank", rank=rank)
    try:
        _train(Rank(rank, told), clock, events)
    except BaseException as error:
        _record(events, rank, error)
        traceback.print_exc()
        return 1
    return 0


def _record(events: records.Appender, rank: int, error: BaseException) -> None:
    events.record(
        event="exception", rank=rank, type=type(error).__name__, message=" ".join(str(error).split())[:500]
    )


def _train(rank: Rank, clock: timing.ProcessClock, events: records.Appender) -> None:
    training = rank.training
    torch.set_num_threads(training["threads"])
    _require_support(training)
    with _process_group(rank), _open_loader(rank, events) as loader:
        tokenise, vocabulary = _tokenizer(rank.told.tokenizer, training["max_length"])
        trained = _make_ready(rank, vocabulary)
        with rank.told.steps(rank.rank).open("w", buffering=1, encoding="utf-8") as steps:
            result = _steps(rank, trained, _data_loader(rank, loader, tokenise, events), clock, events, steps)
        events.record(
            event="rank",
            rank=rank.rank,
            process_id=os.getpid(),
            **result,
            gpu_peak_mib=_gpu_peak_mib(training),
        )
        if torch.distributed.is_initialized():
            # Rank 0 owns what is shared: it stays until all have done.
            torch.distributed.barrier()


def _require_support(training: dict[str, Any]) -> None:
    """Raises Unsupported where the machine lacks what is asked for."""
    device, world_size = training["device"], training["world_size"]
    if device == "cpu":
        if training["parallelism"] == "data_parallel":
            raise Unsupported("torch.nn.DataParallel replicates a model to GPUs; a CPU is one device")
        if training["pin_memory"]:
            raise Unsupported("pin_memory: without a GPU PyTorch pins nothing, and warns so")
        return
    if not torch.cuda.is_available():
        raise Unsupported("no CUDA device is visible to this PyTorch")
    if world_size > torch.cuda.device_count():
        raise Unsupported(f"world size {world_size}, but {torch.cuda.device_count()} CUDA devices")
    if training["precision"] == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Unsupported(f"{torch.cuda.get_device_name()} has no bfloat16")


@contextlib.contextmanager
def _process_group(rank: Rank) -> Any:
    """The ranks' process group, where the parallelism has one."""
    training = rank.training
    carrier = communication.backend(training["device"], training["parallelism"])
    if carrier == "none":
        yield
        return
    # Accelerate asks for these, and takes the group that is there.
    os.environ.update(
        RANK=str(rank.rank),
        LOCAL_RANK=str(rank.rank),
        WORLD_SIZE=str(training["world_size"]),
        LOCAL_WORLD_SIZE=str(training["world_size"]),
    )
    if training["device"] == "cuda":
        torch.cuda.set_device(rank.rank)
    torch.distributed.init_process_group(
        carrier,
        init_method=f"file://{rank.told.store.resolve()}",
        rank=rank.rank,
        world_size=training["world_size"],
    )
    yield
    # Not after an error: others would fail of it before it is recorded.
    torch.distributed.destroy_process_group()


def _open_loader(rank: Rank, events: records.Appender) -> loaders.Loader:
    share = loaders.Share(rank.told.rendezvous, rank.rank, rank.training["timeout_seconds"])
    started = time.perf_counter()
    loader = loaders.open_loader(rank.training["loader"], rank.told.collection, rank.told.sources, share)
    events.record(event="opened", rank=rank.rank, open_seconds=time.perf_counter() - started)
    return loader


def _tokenizer(folder: Path, max_length: int) -> tuple[Callable[[list[str], list[str]], dict[str, Any]], int]:
    """The tokenizer of a checkpoint's folder as a function of queries and texts, and its vocabulary's size."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} has no tokenizer ({error}); give a checkpoint's folder") from error

    def tokenise(queries: list[str], texts: list[str]) -> dict[str, Any]:
        return dict(
            tokenizer(
                queries, texts, truncation=True, max_length=max_length, padding=True,
                return_token_type_ids=False, return_attention_mask=True, return_tensors="pt",
            )
        )  # fmt: skip

    return tokenise, len(tokenizer)


class CrossEncoder(torch.nn.Module):  # type: ignore[misc]  # torch is not there when types are checked
    """DistilBERT of random weights and a score from its CLS vector.

    Args:
        geometry: layers, hidden_size, heads, intermediate_size, dropout.
        vocabulary: number of tokens.
    """

    def __init__(self, geometry: dict[str, Any], vocabulary: int) -> None:
        from transformers import DistilBertConfig, DistilBertModel

        super().__init__()
        self.encoder = DistilBertModel(
            DistilBertConfig(
                vocab_size=vocabulary,
                max_position_embeddings=512,
                n_layers=geometry["layers"],
                dim=geometry["hidden_size"],
                n_heads=geometry["heads"],
                hidden_dim=geometry["intermediate_size"],
            )
        )
        self.dropout = torch.nn.Dropout(geometry["dropout"])
        self.score = torch.nn.Linear(geometry["hidden_size"], 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Scores (sequences,) of sequences (sequences, tokens)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        scores: torch.Tensor = self.score(self.dropout(states[:, 0])).squeeze(-1)
        return scores


def _make_ready(rank: Rank, vocabulary: int) -> Trained:
    training = rank.training
    device = torch.device(f"cuda:{rank.rank}" if training["device"] == "cuda" else "cpu")
    torch.manual_seed(training["seed"])  # equal weights everywhere
    model = CrossEncoder(training["model"], vocabulary).to(device)
    dtype = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[training["precision"]]
    if dtype is not None:
        _require_precision(model, device, dtype, training["precision"])
    torch.manual_seed(training["seed"] + rank.rank)  # dropout of its own
    if training["parallelism"] == "accelerate":
        return _by_accelerate(model, training, device)
    said: communication.Communication = communication.Silence()
    if training["parallelism"] == "distributed":
        model = torch.nn.parallel.DistributedDataParallel(
            model,
            device_ids=[rank.rank] if device.type == "cuda" else None,
            # DistilBERT's buffers are constants; to send them with each forward pass would be in its time.
            broadcast_buffers=False,
        )
        said = communication.AllReduce(model, device.type == "cuda")
    elif training["parallelism"] == "data_parallel":
        devices = list(range(training["world_size"]))
        model = torch.nn.DataParallel(model, device_ids=devices)
        if len(devices) > 1:
            said = communication.Replication(model, torch.nn.parallel._functions, _synchroniser(training))
    optimiser = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)

    def optimise() -> None:
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()

    def autocast() -> contextlib.AbstractContextManager[Any]:
        if dtype is None:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, dtype=dtype)
        return context

    return Trained(model, device, autocast, lambda loss: scaler.scale(loss).backward(), optimise, said)


def _by_accelerate(model: CrossEncoder, training: dict[str, Any], device: torch.device) -> Trained:
    """Hugging Face Accelerate, in the process group that is there.

    It prepares model and optimizer; the DataLoader stays ours, whose order is that of every other parallelism.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    precision = {"fp32": "no"}.get(training["precision"], training["precision"])
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=precision,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except ValueError as error:  # such as: fp16 mixed precision requires a GPU
        raise Unsupported(f"Accelerate: {error}") from error
    with accelerator.autocast():
        if precision != "no" and not torch.is_autocast_enabled(device.type):  # fp16 on a CPU, silently
            raise Unsupported(
                f"Accelerate computes in fp32 on {device.type} when it is asked for {precision}"
            )
    if accelerator.num_processes != training["world_size"]:
        raise RuntimeError(f"Accelerate sees {accelerator.num_processes} processes, not the world size")
    prepared, optimiser = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE))
    said: communication.Communication = communication.Silence()
    if isinstance(prepared, torch.nn.parallel.DistributedDataParallel):
        said = communication.AllReduce(prepared, device.type == "cuda")

    def optimise() -> None:
        optimiser.step()
        optimiser.zero_grad()

    return Trained(prepared, device, accelerator.autocast, accelerator.backward, optimise, said)


def _require_precision(model: CrossEncoder, device: torch.device, dtype: torch.dtype, name: str) -> None:
    """Try a step without an optimiser; what PyTorch then says it cannot do is Unsupported."""
    ids = torch.ones((2, 8), dtype=torch.long, device=device)
    try:
        with warnings.catch_warnings(record=True) as said, torch.autocast(device.type, dtype=dtype):
            warnings.simplefilter("always")
            # Where it cannot, autocast may only warn, and go on in float32.
            if not torch.is_autocast_enabled(device.type):
                reason = str(said[-1].message) if said else "autocast stays off"
                raise Unsupported(f"{name} on {device.type}: {reason}")
            loss = model(ids, torch.ones_like(ids)).float().sum()
        loss.backward()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        raise Unsupported(f"{name} on {device.type}: {' '.join(str(error).split())[:300]}") from error
    model.zero_grad()


def _data_loader(
    rank: Rank, loader: loaders.Loader, tokenise: Callable[..., dict[str, Any]], events: records.Appender
) -> Any:
    """Batches in the order of steps; each is made whole, here or in a DataLoader worker."""
    training = rank.training
    steps = training["warm_up_steps"] + training["steps"]
    world_size, batch_size = training["world_size"], training["batch_size"]
    needed = steps * world_size * batch_size
    if training["parallelism"] == "data_parallel":  # one process takes what all devices compute
        world_size, batch_size = 1, batch_size * world_size

    def announce(_: int) -> None:
        events.record(event="process", process_id=os.getpid(), role="worker", rank=rank.rank)

    made = batches.Batches(
        batches.Samples(rank.told.samples, needed),
        loader,
        batches.Portion(rank.rank, world_size, batch_size),
        steps,
        tokenise,
        in_worker=lambda: torch.utils.data.get_worker_info() is not None,
        failed=lambda error: _record(events, rank.rank, error),
    )
    return torch.utils.data.DataLoader(
        made,
        batch_size=None,
        shuffle=False,
        num_workers=training["workers"],
        pin_memory=training["pin_memory"],
        worker_init_fn=announce,
    )


def _steps(
    rank: Rank,
    trained: Trained,
    data: Any,
    clock: timing.ProcessClock,
    events: records.Appender,
    lines: TextIO,
) -> dict[str, Any]:
    """Train, a line for each step; returns what is known of the rank at the end."""
    training = rank.training
    warm_up, steps = training["warm_up_steps"], training["steps"]
    timer = timing.StepTimer(_synchroniser(training))
    digests = batches.Digests()
    result: dict[str, Any] = {}
    loss = math.nan
    source = iter(data)
    for step in range(warm_up + steps):
        if step == warm_up + steps // 2 and rank.told.held:
            with clock.pause():
                _hold(rank, events)
        started = clock.seconds()
        batch, loss = _step(trained, source, timer, non_blocking=training["pin_memory"])
        seconds = timer.seconds()
        if step == 0:
            result["time_to_first_batch_seconds"] = started + seconds["wait_seconds"]
        # Not in any step's time, nor what follows.
        digests.add(batch)
        row = {
            "rank": rank.rank,
            "step": step,
            "measured": step >= warm_up,
            "started_seconds": started,
            **seconds,
            "fetch_seconds": batch.fetch_seconds,
            "tokenise_seconds": batch.tokenise_seconds,
            "loss": loss,
        }
        lines.write(json.dumps(row) + "\n")
    return {
        **result,
        "samples_digest": digests.samples,
        "texts_digest": digests.texts,
        "final_loss": loss,
    }


def _step(
    trained: Trained, source: Any, timer: timing.StepTimer, non_blocking: bool
) -> tuple[batches.Batch, float]:
    timer.start()
    batch: batches.Batch = next(source)
    timer.end("wait")
    inputs = {
        name: tensor.to(trained.device, non_blocking=non_blocking) for name, tensor in batch.inputs.items()
    }
    labels = batch.labels.to(trained.device, non_blocking=non_blocking)
    timer.end("host_to_device")
    with trained.autocast():
        scores = trained.model(**inputs)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores.float(), labels)
    timer.end("forward", trained.communication.forward_seconds())
    trained.backward(loss)
    timer.end("backward", trained.communication.backward_seconds())
    trained.optimise()
    timer.end("optimiser")
    return batch, float(loss.detach())


def _hold(rank: Rank, events: records.Appender) -> None:
    """Stand still until memory has been read from outside."""
    events.record(event="held", rank=rank.rank)
    deadline = time.monotonic() + _HOLD_SECONDS
    while not rank.told.release.exists():
        if time.monotonic() > deadline:
            print(f"rank {rank.rank}: nobody read memory within {_HOLD_SECONDS:.0f} s", file=sys.stderr)
            return
        time.sleep(_LOOK_SECONDS)


def _synchroniser(training: dict[str, Any]) -> Callable[[], None]:
    """Waits until this rank's devices have done all."""
    devices = _devices(training)

    def synchronise() -> None:
        for device in devices:
            torch.cuda.synchronize(device)

    return synchronise


def _devices(training: dict[str, Any]) -> list[int]:
    """The CUDA devices of this rank."""
    if training["device"] == "cpu":
        return []
    if training["parallelism"] == "data_parallel":
        return list(range(training["world_size"]))
    return [torch.cuda.current_device()]


def _gpu_peak_mib(training: dict[str, Any]) -> float | None:
    """The largest of this rank's devices, as PyTorch counts: tensors, not what its allocator holds."""
    peaks = [int(torch.cuda.max_memory_allocated(device)) for device in _devices(training)]
    return round(max(peaks) / 2**20, 3) if peaks else None

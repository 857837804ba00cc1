"""One training under measurement: its processes watched from outside, and what is written of it, however it ends.

The worker program starts the ranks. Here the page cache is set before, memory is read in the middle, and nothing of
the process tree is left afterwards. No torch here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.measure import devices, proc, process_tree, provenance, records, supervised
from indexscope.run_record import COMPLETED, FORMAT, InputError

from . import communication, loaders, page_cache
from .specification import Specification

RUN, STEPS, CURVE, STDOUT = "run.json", "steps.jsonl", "memory_curve.csv", "stdout.log"
COLD = "cold"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_RANK = ("open_seconds", "time_to_first_batch_seconds", "samples_digest", "texts_digest", "final_loss",
         "gpu_peak_mib")  # fmt: skip
# What torch.utils.data says of a worker that ended by a signal.
_WORKER_KILLED = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)")
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Paths:
    """What a training reads, and the program that it runs.

    Attributes:
        collection: documents, as raw_files describes them.
        sources: manifest.json of prepare_documents.py.
        samples: of order_samples.py.
        tokenizer: folder of a checkpoint.
        worker_program: training_worker.py.
    """

    collection: Path
    sources: Path
    samples: Path
    tokenizer: Path
    worker_program: Path


def measure(
    training: dict[str, Any],
    paths: Paths,
    directory: Path,
    memory_limit_mib: int | None = None,
    predicted_mib: float | None = None,
) -> dict[str, Any]:
    """Train, and write the folder `directory`: run.json, steps.jsonl, memory_curve.csv, stdout.log.

    Args:
        training: all that determines it: access_runs.Training.content.
        memory_limit_mib: of the process tree's RSS; above it the run ends as out_of_memory_host.
        predicted_mib: what the memory model says; it is written down only.

    Returns:
        What run.json says. A run that failed, was ended or could not be is a result too.

    Raises:
        InputError: an input is missing or does not fit; `directory` is then as before.
    """
    for path in (paths.samples, paths.tokenizer):
        if not path.exists():
            raise InputError(f"{path} is missing; make it, or correct its path")
    files = loaders.loader_files(training["loader"], paths.collection, paths.sources)
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        record = _run(training, paths, files, partial.resolve(), memory_limit_mib)
        record |= {"memory_limit_mib": memory_limit_mib, "predicted_mib": predicted_mib}
        _publish(partial, directory, record)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _run(
    training: dict[str, Any], paths: Paths, files: list[Path], partial: Path, memory_limit_mib: int | None
) -> dict[str, Any]:
    told = Specification(
        training,
        paths.collection.resolve(),
        paths.sources.resolve(),
        paths.samples.resolve(),
        paths.tokenizer.resolve(),
        partial,
        held=True,
    )
    told.write()
    command = [sys.executable, str(paths.worker_program.resolve()), "--specification", str(told.file)]
    limits = supervised.Limits(
        training["sample_interval_seconds"], training["timeout_seconds"], memory_limit_mib
    )
    ranks_on_gpus = 0 if training["device"] == "cpu" else told.ranks
    with devices.reserved(ranks_on_gpus) as visible:  # before the page cache is made what it is to be
        (page_cache.drop if training["cache"] == COLD else page_cache.warm)(files)
        cached_start = page_cache.resident_bytes(files)
        reader = MiddleReader(told, files)
        done = supervised.run(
            command,
            str(partial / STDOUT),
            limits,
            _environment(training, visible),
            str(partial / CURVE),
            reader.look,
        )
    happened = list(records.read(str(told.events)))
    outcome, detail = _outcome(done, happened)
    _head_curve(partial / CURVE)
    _gather_steps(told, partial / STEPS)
    return {
        "format": FORMAT,
        "training": training,
        "outcome": outcome,
        "outcome_detail": detail,
        "exit_code": done.exit_code,
        "started_at": done.started_at,
        "wall_seconds": done.wall_seconds,
        "backend": communication.backend(training["device"], training["parallelism"]),
        "interconnect": communication.interconnect(training["device"], training["world_size"]),
        "ranks": [_rank(rank, happened) for rank in range(told.ranks)],
        "memory": {
            "tree_pss_mib": reader.tree_pss_mib,
            "tree_peak_rss_mib": done.tree_peak_rss_mib,
            "page_cache_mib": reader.page_cache_mib,
            "page_cache_start_mib": round(cached_start / _MIB, 3),
            "source_mib": round(sum(path.stat().st_size for path in files) / _MIB, 3),
            "processes": reader.processes,
        },
        "versions": provenance.versions(),
        "hardware": {**proc.hardware(), "gpus": provenance.gpus(training["device"])},
        "lock_digest": training["lock_digest"],
        "git_commit": os.environ.get("INDEXSCOPE_COMMIT") or None,
    }


class MiddleReader:
    """Reads memory once, while all ranks stand still in the middle of the measured steps, and lets them go on.

    Args:
        told: names the files in which the ranks say that they are held, and are told to go on.
        files: what the loader reads, for the page cache.
    """

    def __init__(self, told: Specification, files: list[Path]) -> None:
        self._told = told
        self._files = files
        self._seen_bytes = 0
        self.tree_pss_mib: float | None = None
        self.page_cache_mib: float | None = None
        self.processes: list[dict[str, Any]] = []

    def look(self, sampler: process_tree.TreeSampler) -> None:
        """To be called after each sample of the tree."""
        if self.tree_pss_mib is not None or not self._told.events.exists():
            return
        size = self._told.events.stat().st_size
        if size == self._seen_bytes:
            return
        self._seen_bytes = size
        happened = list(records.read(str(self._told.events)))
        if sum(event["event"] == "held" for event in happened) < self._told.ranks:
            return
        announced = {event["process_id"]: event for event in happened if event["event"] == "process"}
        self.processes = _processes(sampler.live(), announced)
        self.tree_pss_mib = round(sum(process["pss_mib"] for process in self.processes), 3)
        self.page_cache_mib = round(page_cache.resident_bytes(self._files) / _MIB, 3)
        self._told.release.touch()


class _Rollup(NamedTuple):
    """Of smaps_rollup, in MiB."""

    rss: float
    pss: float
    anon: float | None
    file: float | None
    shmem: float | None


def _processes(process_ids: list[int], announced: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for process_id in process_ids:
        memory = _rollup(process_id)
        if memory is None:  # it has just ended
            continue
        said = announced.get(process_id, {"role": "other", "rank": None})
        found.append(
            {
                "process_id": process_id,
                "role": said["role"],
                "rank": said["rank"],
                "pss_mib": memory.pss,
                "rss_mib": memory.rss,
                "anon_mib": memory.anon,
                "file_mib": memory.file,
                "shmem_mib": memory.shmem,
            }
        )
    return found


def _rollup(process_id: int) -> _Rollup | None:
    """/proc/PID/smaps_rollup; its parts of PSS are there since Linux 5.4. None for a process that is gone."""
    try:
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return None
    kib = {
        words[0].rstrip(":"): int(words[1])
        for line in text.splitlines()
        if len(words := line.split()) == 3 and words[2] == "kB"
    }
    if "Pss" not in kib:  # a zombie's is empty
        return None
    mib = {name: round(value / 1024, 3) for name, value in kib.items()}
    return _Rollup(mib["Rss"], mib["Pss"], mib.get("Pss_Anon"), mib.get("Pss_File"), mib.get("Pss_Shmem"))


def _environment(training: dict[str, Any], visible: str | None) -> dict[str, str]:
    """What the training is given; `visible`: the GPUs that are its own."""
    environment = dict(os.environ)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi numbers them
    environment.update(dict.fromkeys(_THREAD_VARIABLES, str(training["threads"])))
    environment.update(
        # Checkpoints are local files: without this every load waits on retries of the hub.
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        PYTHONUNBUFFERED="1",  # what was printed before a kill is kept
    )
    if training["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    # All ranks are on this machine, whose name need not have an address.
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return environment


def _outcome(done: supervised.Supervised, happened: list[dict[str, Any]]) -> tuple[str, str | None]:
    """The name of the ending, from what the first rank to fail said where it said something."""
    if done.outcome == COMPLETED:
        return COMPLETED, None
    if done.exit_code < 0:  # by the supervisor, the kernel, or as a rank ended
        ended = next((event for event in happened if event["event"] == "rank_ended"), None)
        if done.outcome == "killed" and ended is not None:
            return "killed", f"rank {ended['rank']} ended by {signal.Signals(-ended['exit_code']).name}"
        return done.outcome, done.outcome_detail
    # The first: others fail of its loss.
    said = next((event for event in happened if event["event"] == "exception"), None)
    if said is None:
        return done.outcome, done.outcome_detail
    if said["type"] == "Unsupported":
        return "unsupported", said["message"]
    text = f"{said['type']}: {said['message']}".rstrip(": ")
    if _WORKER_KILLED.search(text):
        return ("out_of_memory_host" if done.kernel_killed else "killed"), said["message"]
    return supervised.failure_outcome(text), said["message"] if said["type"] == "InputError" else text


def _rank(rank: int, happened: list[dict[str, Any]]) -> dict[str, Any]:
    """What is known of a rank."""
    known: dict[str, Any] = {}
    for event in happened:
        if event.get("rank") == rank and (
            event["event"] in ("opened", "rank") or (event["event"], event.get("role")) == ("process", "rank")
        ):
            known |= event
    return {
        "rank": rank,
        "process_id": known.get("process_id"),
        **{name: known.get(name) for name in _RANK},
    }


def _head_curve(path: Path) -> None:
    """Give the curve its header."""
    headed = path.with_name(path.name + ".headed")
    with path.open(encoding="utf-8") as raw, headed.open("w", encoding="utf-8") as curve:
        curve.write("seconds,process_id,parent_process_id,rss_mib,shared_mib\n")
        shutil.copyfileobj(raw, curve)
    headed.replace(path)


def _gather_steps(told: Specification, file: Path) -> None:
    with file.open("w", encoding="utf-8") as steps:
        for rank in range(told.ranks):
            for row in records.read(str(told.steps(rank))):
                steps.write(json.dumps(row) + "\n")


def _publish(partial: Path, directory: Path, record: dict[str, Any]) -> None:
    """Move what was measured into place; run.json comes last and says that all is there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RUN).unlink(missing_ok=True)
    (partial / RUN).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in (STEPS, CURVE, STDOUT, RUN):
        (partial / name).replace(directory / name)

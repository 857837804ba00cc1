"""What is written of a training: order, parts of a step, links, and every ending, with ranks that need no torch."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from indexscope.document_access import batches, communication, measured_training, specification, timing
from indexscope.run_record import InputError

TRAINING: dict[str, Any] = {
    "experiment": "grid",
    "loader": "in_memory",
    "parallelism": "distributed",
    "world_size": 2,
    "workers": 0,
    "pin_memory": False,
    "precision": "fp32",
    "cache": "warm",
    "documents": 3,
    "limit": None,
    "batch_size": 2,
    "max_length": 16,
    "steps": 4,
    "warm_up_steps": 1,
    "threads": 1,
    "seed": 7,
    "model": {},
    "timeout_seconds": 20,
    "sample_interval_seconds": 0.01,
    "device": "cpu",
    "corpus": "toy",
    "tokenizer": "toy",
    "lock_digest": "0" * 8,
    "repeat": 1,
}
# A rank without torch: it takes the memory that its rank is told, is held, goes on, and ends as it is told.
RANK = """
import json, os, pathlib, signal, sys, time
from indexscope.document_access import launcher, specification
from indexscope.measure import records

told = specification.read(pathlib.Path(sys.argv[2]))
if "--rank" not in sys.argv:
    sys.exit(launcher.launch(pathlib.Path(__file__), told))
launcher.end_with_parent()
rank = int(sys.argv[4])
plan = told.training["model"].get(str(rank), {})
events = records.Appender(str(told.events))
events.record(event="process", process_id=os.getpid(), role="rank", rank=rank)
events.record(event="opened", rank=rank, open_seconds=0.5 + rank)
held = b"x" * (plan.get("mib", 1) << 20)
told.steps(rank).write_text(json.dumps({"rank": rank, "step": 0}) + "\\n")
if "error" in plan:
    events.record(event="exception", rank=rank, type=plan["error"], message=plan["message"])
    print("Traceback", flush=True)
    sys.exit(1)
if "signal" in plan:
    os.kill(os.getpid(), plan["signal"])
if "sleep" in plan:
    time.sleep(plan["sleep"])
events.record(event="held", rank=rank)
while not told.release.exists():
    time.sleep(0.002)
events.record(event="rank", rank=rank, process_id=os.getpid(), time_to_first_batch_seconds=1.5, samples_digest="s",
              texts_digest="t", final_loss=0.25, gpu_peak_mib=None)
"""


class Toy:
    """A collection, and a worker program that trains nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.collection = directory / "3.jsonl"
        self.collection.write_text("".join(f'{{"document_id": "{n}", "text": "t{n}"}}\n' for n in range(3)))
        for name in ("manifest.json", "samples.jsonl", "tokenizer"):
            (directory / name).write_text("{}")
        self.program = directory / "worker.py"
        self.program.write_text(RANK)
        self.output = directory / "run"

    def measure(self, limit: int | None = None, **training: Any) -> dict[str, Any]:
        paths = measured_training.Paths(
            self.collection,
            self.directory / "manifest.json",
            self.directory / "samples.jsonl",
            self.directory / "tokenizer",
            self.program,
        )
        return measured_training.measure({**TRAINING, **training}, paths, self.output, limit, 123.5)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    scripts = Path(measured_training.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(scripts))
    return Toy(tmp_path)


def alive(directory: Path) -> list[int]:
    """Processes that were started with a path below this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in command and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def test_memory_is_read_while_all_are_held(toy: Toy) -> None:
    record = toy.measure(model={"0": {"mib": 60}, "1": {"mib": 30, "sleep": 0.2}})
    assert record["outcome"] == "completed", record["outcome_detail"]
    assert json.loads((toy.output / "run.json").read_text()) == record
    assert sorted(path.name for path in toy.output.iterdir()) == [
        "memory_curve.csv",
        "run.json",
        "stdout.log",
        "steps.jsonl",
    ]
    assert [path.name for path in toy.directory.glob("*.partial")] == []
    of_rank = {
        process["rank"]: process for process in record["memory"]["processes"] if process["role"] == "rank"
    }
    roles = sorted(process["role"] for process in record["memory"]["processes"])
    assert roles == ["launcher", "rank", "rank"]
    assert of_rank[0]["anon_mib"] - of_rank[1]["anon_mib"] == pytest.approx(30, abs=2)
    for process in record["memory"]["processes"]:
        parts = process["anon_mib"] + process["file_mib"] + process["shmem_mib"]
        assert parts == pytest.approx(process["pss_mib"], abs=0.1)
        assert process["pss_mib"] <= process["rss_mib"]
    memory = record["memory"]
    assert memory["tree_pss_mib"] == pytest.approx(sum(p["pss_mib"] for p in memory["processes"]), abs=0.01)
    assert memory["tree_pss_mib"] < memory["tree_peak_rss_mib"]
    size = toy.collection.stat().st_size / 2**20
    assert memory["source_mib"] == memory["page_cache_mib"] == pytest.approx(size, abs=0.001)
    assert [rank["open_seconds"] for rank in record["ranks"]] == [0.5, 1.5]
    assert record["ranks"][1] == {
        "rank": 1,
        "process_id": of_rank[1]["process_id"],
        "open_seconds": 1.5,
        "time_to_first_batch_seconds": 1.5,
        "samples_digest": "s",
        "texts_digest": "t",
        "final_loss": 0.25,
        "gpu_peak_mib": None,
    }
    steps = [json.loads(line) for line in (toy.output / "steps.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in steps] == [0, 1]
    assert (record["backend"], record["interconnect"]) == ("gloo", "memory of one machine (gloo)")
    assert (record["predicted_mib"], record["memory_limit_mib"]) == (123.5, None)
    assert (toy.output / "memory_curve.csv").read_text().startswith("seconds,process_id,")


@pytest.mark.parametrize(
    ("plan", "outcome", "detail"),
    [
        ({"1": {"signal": 9}}, "killed", "rank 1 ended by SIGKILL"),
        ({"0": {"signal": 11}}, "killed", "rank 0 ended by SIGSEGV"),
        ({"1": {"error": "InputError", "message": "line 3 is no sample"}}, "failed", "line 3 is no sample"),
        ({"1": {"error": "KeyError", "message": "'d9'"}}, "failed", "KeyError: 'd9'"),
        ({"0": {"error": "Unsupported", "message": "no GPU"}}, "unsupported", "no GPU"),
        ({"0": {"error": "MemoryError", "message": ""}}, "out_of_memory_host", "MemoryError"),
        (
            {"0": {"error": "OutOfMemoryError", "message": "CUDA out of memory. Tried"}},
            "out_of_memory_cuda",
            "OutOfMemoryError: CUDA out of memory. Tried",
        ),
        (
            {
                "0": {
                    "error": "RuntimeError",
                    "message": "DataLoader worker (pid 7) is killed by signal: Killed.",
                }
            },
            "killed",
            "DataLoader worker (pid 7) is killed by signal: Killed.",
        ),
    ],
)
def test_how_a_rank_ends_is_how_the_training_ends(
    toy: Toy, plan: dict[str, Any], outcome: str, detail: str
) -> None:
    # The other rank would wait for memory to be read, which it is not before both are held.
    record = toy.measure(model=plan)
    assert (record["outcome"], record["outcome_detail"]) == (outcome, detail)
    assert record["memory"]["tree_pss_mib"] is None
    assert record["memory"]["processes"] == []
    assert record["ranks"][0]["final_loss"] is None
    assert alive(toy.directory) == []


def test_a_training_that_takes_too_long_ends_with_all_its_ranks(toy: Toy) -> None:
    record = toy.measure(timeout_seconds=2, model={"1": {"sleep": 60}})
    assert record["outcome"] == "timed_out"
    assert record["ranks"][0]["open_seconds"] == 0.5  # known until then
    assert alive(toy.directory) == []


def test_a_training_above_its_memory_limit_is_out_of_memory(toy: Toy) -> None:
    record = toy.measure(limit=150, model={"0": {"mib": 300}, "1": {"sleep": 60}})
    assert (record["outcome"], record["memory_limit_mib"]) == ("out_of_memory_host", 150)
    assert record["memory"]["tree_peak_rss_mib"] > 150
    assert alive(toy.directory) == []


def test_one_process_trains_for_all_devices_of_data_parallel(tmp_path: Path) -> None:
    def ranks(parallelism: str) -> int:
        training = {**TRAINING, "parallelism": parallelism, "world_size": 3}
        told = specification.Specification(training, *[tmp_path] * 5, held=True)
        told.write()
        assert specification.read(told.file) == told
        return told.ranks

    found = {name: ranks(name) for name in ("data_parallel", "distributed", "accelerate")}
    assert found == {"data_parallel": 1, "distributed": 3, "accelerate": 3}


def test_a_missing_input_leaves_the_last_run_as_it_was(toy: Toy) -> None:
    toy.output.mkdir()
    (toy.output / "run.json").write_text("{}")
    (toy.directory / "samples.jsonl").unlink()
    with pytest.raises(InputError, match=r"samples\.jsonl is missing; make it"):
        toy.measure()
    assert (toy.output / "run.json").read_text() == "{}"
    assert list(toy.directory.glob("*.partial")) == []


class Dictionary(dict[str, str]):
    """A loader that takes its time."""

    def get(self, document_id: str) -> str:  # type: ignore[override]
        time.sleep(0.01)
        return self[document_id]


class Made:
    """Batches of samples in a file, with a tokenizer that takes its time."""

    def __init__(self, directory: Path, samples: int) -> None:
        self.path = directory / "samples.jsonl"
        lines = [{"query": f"q{n} ü", "positive_id": f"p{n}", "negative_id": f"n{n}"} for n in range(samples)]
        self.path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        self.texts = Dictionary({f"{kind}{n}": f"text {kind}{n}" for n in range(samples) for kind in "pn"})
        self.errors: list[BaseException] = []

    def of(self, portion: batches.Portion, steps: int, in_worker: bool = False) -> batches.Batches:
        def tokenise(queries: list[str], texts: list[str]) -> dict[str, Any]:
            time.sleep(0.02)
            return {"pairs": list(zip(queries, texts, strict=True))}

        needed = steps * portion.world_size * portion.batch_size
        return batches.Batches(
            batches.Samples(self.path, needed),
            self.texts,
            portion,
            steps,
            tokenise,
            lambda: in_worker,
            self.errors.append,
        )


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(tensor=list))
    return Made(tmp_path, 12)


def test_ranks_take_the_samples_in_turn_and_none_twice(made: Made) -> None:
    taken = [
        (step, rank, made.of(batches.Portion(rank, 3, 2), 2)[step].ids[::2])
        for step in range(2)
        for rank in range(3)
    ]
    assert taken == [
        (0, 0, ["p0", "p1"]),
        (0, 1, ["p2", "p3"]),
        (0, 2, ["p4", "p5"]),
        (1, 0, ["p6", "p7"]),
        (1, 1, ["p8", "p9"]),
        (1, 2, ["p10", "p11"]),
    ]


def test_a_sample_is_two_sequences(made: Made) -> None:
    batch = made.of(batches.Portion(1, 2, 1), 3)[1]
    assert batch.inputs["pairs"] == [("q3 ü", "text p3"), ("q3 ü", "text n3")]
    assert batch.labels == [1.0, 0.0]
    assert batch.fetch_seconds == pytest.approx(0.02, abs=0.015)
    assert batch.tokenise_seconds == pytest.approx(0.02, abs=0.015)


def test_a_worker_sends_the_digest_that_its_texts_have(made: Made) -> None:
    here, there = batches.Digests(), batches.Digests()
    for step in range(3):
        here.add(made.of(batches.Portion(0, 1, 2), 3)[step])
        there.add(made.of(batches.Portion(0, 1, 2), 3, in_worker=True)[step])
    assert (here.samples, here.texts) == (there.samples, there.texts)
    made.texts["n1"] = "Text n1"
    changed = batches.Digests()
    for step in range(3):
        changed.add(made.of(batches.Portion(0, 1, 2), 3)[step])
    assert (changed.samples, changed.texts != here.texts) == (here.samples, True)


def test_a_digest_knows_where_strings_end() -> None:
    assert batches.digest(["ab", "c"]) != batches.digest(["a", "bc"])
    assert batches.digest([]) == hashlib.sha256().hexdigest()
    assert batches.digest(["é\ud800"])  # a lone surrogate, which JSON can hold


def test_an_unknown_document_is_a_sentence(made: Made) -> None:
    del made.texts["n3"]
    with pytest.raises(
        InputError, match="step 1 takes the document 'n3', which the collection does not have"
    ):
        made.of(batches.Portion(0, 1, 2), 2)[1]
    assert [type(error) for error in made.errors] == [InputError]


def test_too_few_samples_are_refused(made: Made) -> None:
    with pytest.raises(InputError, match="has 12 samples, the training takes 14; draw the samples again"):
        made.of(batches.Portion(0, 2, 1), 7)


def test_a_damaged_sample_is_named_by_its_line(made: Made) -> None:
    lines = made.path.read_text().splitlines(keepends=True)
    made.path.write_text("".join([*lines[:4], '{"query": "q"}\n', *lines[5:]]))
    with pytest.raises(InputError, match=r"samples\.jsonl: line 5 is no sample \(KeyError"):
        made.of(batches.Portion(0, 1, 1), 12)[4]


def test_parts_of_a_step_leave_no_gap() -> None:
    moments = iter([1_000, 1_500, 1_600, 2_000, 5_000, 5_250])
    waits: list[int] = []
    timer = timing.StepTimer(lambda: waits.append(1), lambda: next(moments))
    timer.start()
    timer.end("wait")
    timer.end("host_to_device")
    timer.end("forward")
    timer.end("backward", communication_seconds=1e-6)
    timer.end("optimiser")
    seconds = timer.seconds()
    assert {name: round(value * 1e9) for name, value in seconds.items() if name != "processor_seconds"} == {
        "step_seconds": 4_250,
        "wait_seconds": 500,
        "host_to_device_seconds": 100,
        "forward_seconds": 400,
        "backward_seconds": 2_000,
        "communication_seconds": 1_000,
        "optimiser_seconds": 250,
    }
    assert len(waits) == 6  # the device is waited for at each cut


def test_processor_time_is_of_work_and_not_of_waiting() -> None:
    timer = timing.StepTimer(lambda: None)
    timer.start()
    time.sleep(0.1)
    timer.end("wait")
    waited = timer.seconds()
    assert waited["processor_seconds"] < 0.05 < waited["step_seconds"]
    timer.start()
    ends = time.process_time() + 0.05
    while time.process_time() < ends:
        pass
    timer.end("forward")
    assert timer.seconds()["processor_seconds"] == pytest.approx(0.05, rel=0.2)


def test_a_pause_takes_no_time() -> None:
    clock = timing.ProcessClock()
    before = clock.seconds()
    with clock.pause():
        time.sleep(0.2)
    assert 0 <= clock.seconds() - before < 0.1
    assert 0 < before < 24 * 3600


def test_replication_is_counted_once_where_it_nests() -> None:
    now = [0]

    def takes(nanoseconds: int) -> Any:
        def function(*_: Any) -> None:
            now[0] += nanoseconds

        return function

    def scatter_back() -> None:
        functions.Scatter.backward()

    model = types.SimpleNamespace(scatter=takes(3), replicate=takes(20), gather=takes(100))
    functions = types.SimpleNamespace(
        Scatter=types.SimpleNamespace(backward=takes(1_000)),
        Broadcast=types.SimpleNamespace(backward=takes(20_000)),
        Gather=types.SimpleNamespace(backward=scatter_back),
    )
    said = communication.Replication(model, functions, lambda: None, lambda: now[0])
    model.scatter()
    takes(7_000_000)()  # the forward pass itself
    model.replicate()
    model.gather()
    assert said.forward_seconds() == pytest.approx(123e-9)
    functions.Gather.backward()
    functions.Broadcast.backward()
    assert said.backward_seconds() == pytest.approx(21_000e-9)
    assert said.backward_seconds() == 0


TOPOLOGY = """\t\x1b[4mGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity\x1b[0m
GPU0\t X \tNV18\tSYS\tPIX\t0-31\t0
GPU1\tNV18\t X \tSYS\tSYS\t0-31\t0
GPU2\tSYS\tSYS\t X \tPIX\t32-63\t1

Legend:
  X    = Self
"""


@pytest.mark.parametrize(
    ("world_size", "expected"),
    [
        (2, "NV18: GPU0-GPU1"),
        (3, "NV18: GPU0-GPU1; SYS: GPU0-GPU2, GPU1-GPU2"),
        (4, "NV18: GPU0-GPU1; SYS: GPU0-GPU2, GPU1-GPU2; unknown: GPU0-GPU3, GPU1-GPU3, GPU2-GPU3"),
    ],
)
def test_links_are_read_from_the_topology(world_size: int, expected: str) -> None:
    assert communication.links(TOPOLOGY, world_size) == expected


def test_what_is_no_topology_has_no_links() -> None:
    assert communication.links("Failed to initialize NVML: Unknown Error\n", 2) is None
    assert communication.interconnect("cpu", 1) is None

"""Runs for other viewers: known spans and samples become known events, and both files keep their formats."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import tables
from indexscope.analysis import trace_export
from indexscope.figures import common, files
from indexscope.report import traces
from indexscope.run_record import InputError

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "export_trace.py"
INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
KMEANS = "colbert.indexing.collection_indexer.compute_faiss_kmeans"
MIB = 2**20
PARENT, WORKER = 100, 102
Event = dict[str, Any]

# What https://www.speedscope.app/file-format-schema.json asks for, without names that it does not know.
_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_UNITS = {"enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, **optional}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_PROFILE = {"name": _TEXT, "unit": _UNITS, "startValue": _NUMBER, "endValue": _NUMBER}
_EVENT = _object({"type": {"enum": ["O", "C"]}, "frame": _NUMBER, "at": _NUMBER})
SPEEDSCOPE = _object(
    {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "shared": _object({"frames": {"type": "array", "items": _object({"name": _TEXT}, file=_TEXT)}}),
        "profiles": {
            "type": "array",
            "items": {
                "oneOf": [
                    _object(
                        {
                            "type": {"const": "evented"},
                            **_PROFILE,
                            "events": {"type": "array", "items": _EVENT},
                        }
                    ),
                    _object(
                        {
                            "type": {"const": "sampled"},
                            **_PROFILE,
                            "samples": {"type": "array", "items": {"type": "array", "items": _NUMBER}},
                            "weights": {"type": "array", "items": {"type": "number", "minimum": 0}},
                        }
                    ),
                ]
            },
        },
    },
    name=_TEXT,
    exporter=_TEXT,
    activeProfileIndex=_NUMBER,
)


def check_speedscope(file: dict[str, Any]) -> None:
    """The schema, and what it cannot say: balanced events in order, known frames, weights beside samples."""
    jsonschema.validate(file, SPEEDSCOPE)
    frames = len(file["shared"]["frames"])
    assert 0 <= file["activeProfileIndex"] < len(file["profiles"])
    for profile in file["profiles"]:
        assert profile["startValue"] <= profile["endValue"]
        if profile["type"] == "sampled":
            assert len(profile["samples"]) == len(profile["weights"])
            assert all(0 <= frame < frames for stack in profile["samples"] for frame in stack)
            assert sum(profile["weights"]) == profile["endValue"] - profile["startValue"]
            continue
        stack: list[int] = []
        before = profile["startValue"]
        for event in profile["events"]:
            assert before <= event["at"] <= profile["endValue"]
            before = event["at"]
            assert 0 <= event["frame"] < frames
            if event["type"] == "O":
                stack.append(event["frame"])
            else:
                assert stack.pop() == event["frame"]
        assert not stack


_KEYS = {
    "M": {"ph", "name", "pid", "tid", "args"},
    "X": {"ph", "name", "cat", "pid", "tid", "ts", "dur", "args"},
    "C": {"ph", "name", "pid", "tid", "ts", "args"},
    "i": {"ph", "name", "cat", "pid", "tid", "ts", "s", "args"},
}


def check_trace(trace: dict[str, Any]) -> None:
    """Trace Event Format, and what Perfetto asks of it: whole microseconds, nested slices, every track named."""
    assert set(trace) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    processes: dict[int, str] = {}
    threads: dict[tuple[int, int], str] = {}
    slices = defaultdict(list)
    for event in trace["traceEvents"]:
        assert set(event) == _KEYS[event["ph"]], event
        assert isinstance(event["name"], str)
        assert event["name"]
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert event["pid"] > 0  # Perfetto takes 0 for the idle process
        if event["ph"] == "M":
            if event["name"] == "process_name":
                assert event["pid"] not in processes
                processes[event["pid"]] = event["args"]["name"]
            elif event["name"] == "thread_name":
                assert (event["pid"], event["tid"]) not in threads
                threads[event["pid"], event["tid"]] = event["args"]["name"]
            else:
                assert event["name"] == "process_sort_index"
            continue
        assert type(event["ts"]) is int
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert type(event["dur"]) is int
            assert event["dur"] >= 0
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        if event["ph"] == "i":
            assert event["s"] in ("t", "p", "g")
        if event["ph"] == "C":
            assert event["args"]
            assert all(type(value) in (int, float) for value in event["args"].values())
    events = [event for event in trace["traceEvents"] if event["ph"] != "M"]
    assert {event["pid"] for event in events} <= set(processes)
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] != "C"} <= set(threads)
    assert len({thread for _, thread in threads}) == len(threads)  # a thread is of one process
    for spans in slices.values():
        assert spans == sorted(spans, key=lambda each: (each[0], -each[1]))
        ends: list[int] = []
        for start, end in spans:
            while ends and ends[-1] <= start:
                ends.pop()
            assert not ends or end <= ends[-1], "slices of one track overlap"
            ends.append(end)


# A run directory


def span(
    function: str,
    seconds: tuple[float, float],
    rss: tuple[float, float] = (100.0, 100.0),
    process_id: int = PARENT,
    **columns: Any,
) -> dict[str, Any]:
    return {
        "process_id": process_id,
        "role": {PARENT: "parent", WORKER: "worker"}[process_id],
        "thread": "MainThread",
        "function": function,
        "call": 0,
        "depth": 0,
        "started_seconds": seconds[0],
        "ended_seconds": seconds[1],
        "start_rss_mib": rss[0],
        "end_rss_mib": rss[1],
        "peak_rss_mib": max(rss),
        "raised": None,
        "gpu_allocated_mib": None,
        "gpu_reserved_mib": None,
        **columns,
    }


Point = tuple[float, int, float]  # seconds, process, MiB
CURVE: list[Point] = [(0.0, PARENT, 10.0), (1.0, PARENT, 100.0), (2.0, PARENT, 160.0), (3.0, PARENT, 0.0)]


def run_directory(
    directory: Path,
    spans: Iterable[dict[str, Any]] = (),
    curve: Sequence[Point] = CURVE,
    end: str = "",
    **record: Any,
) -> Path:
    """A run directory; `end` follows the last line of spans and curve, as a killed process leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    roles = {PARENT: "parent", WORKER: "worker"}
    content = {
        "format": 1,
        "run": {"system": "toy", "cell": "0a1b2c3d", "documents": 300, "profiler": "spans", "repeat": 1},
        "outcome": "completed",
        "wall_seconds": 3.0,
        "memory": {"tree_peak_rss_mib": 160.0, "tree_peak_moment": "index call"},
        "processes": [{"process_id": PARENT, "role": "parent"}],
        **record,
    }
    (directory / "run.json").write_text(json.dumps(content))
    (directory / "spans.jsonl").write_text("".join(json.dumps(each) + "\n" for each in spans) + end)
    rows = [f"{seconds:.4f},{process},1,{roles[process]},{mib:.3f}\n" for seconds, process, mib in curve]
    header = "seconds,process_id,parent_process_id,role,rss_mib\n"
    (directory / "memory_curve.csv").write_text(header + "".join(rows) + end)
    return directory


def export(directory: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both files, read back and checked."""
    run = trace_export.read(directory)
    trace, profile = (
        json.loads(path.read_text()) for path in trace_export.write(run, directory / "out", **options)
    )
    check_trace(trace)
    check_speedscope(profile)
    assert {path.name for path in directory.iterdir()} >= {"out.trace.json", "out.speedscope.json"}
    assert not list(directory.glob("*.partial"))
    return trace, profile


def of_kind(trace: dict[str, Any], phase: str, category: str | None = None) -> list[Event]:
    found = [event for event in trace["traceEvents"] if event["ph"] == phase]
    return [event for event in found if category is None or event.get("cat") == category]


def counter(trace: dict[str, Any], name: str, process_id: int) -> list[tuple[int, float]]:
    return [
        (event["ts"], event["args"]["value"])
        for event in of_kind(trace, "C")
        if event["name"] == name and event["pid"] == process_id
    ]


def tree_of(trace: dict[str, Any]) -> int:
    return next(event["pid"] for event in of_kind(trace, "M") if event["args"].get("name") == "process tree")


def stacks(profile: dict[str, Any]) -> list[tuple[str, float]]:
    """The sampled profile: stack as `a > b`, MiB."""
    frames = [frame["name"] for frame in profile["shared"]["frames"]]
    sampled = profile["profiles"][0]
    return [
        (" > ".join(frames[place] for place in stack), weight / MIB)
        for stack, weight in zip(sampled["samples"], sampled["weights"], strict=True)
    ]


# Slices


def test_a_span_becomes_a_slice_in_microseconds(tmp_path: Path) -> None:
    spans = [
        span(INDEXER + "train", (1.5, 2.25), (100.0, 150.0), peak_rss_mib=170.5, end_pss_mib=140.0),
        span(INDEXER + "run", (1.0, 2.75)),
    ]
    trace, profile = export(run_directory(tmp_path, spans))
    run, train = of_kind(trace, "X", "function") + of_kind(trace, "X", "phase")
    assert (run["name"], run["ts"], run["dur"]) == ("CollectionIndexer.run", 1_000_000, 1_750_000)
    assert (train["name"], train["ts"], train["dur"]) == ("CollectionIndexer.train", 1_500_000, 750_000)
    assert (train["pid"], train["tid"]) == (run["pid"], run["tid"]) == (PARENT, PARENT)
    assert train["args"]["function"] == INDEXER + "train"
    assert (train["args"]["start_rss_mib"], train["args"]["peak_rss_mib"]) == (100.0, 170.5)
    assert "gpu_allocated_mib" not in train["args"]  # what has no value is not written
    whole = of_kind(trace, "X", "run")[0]
    assert (whole["ts"], whole["dur"], whole["args"]["outcome"]) == (0, 3_000_000, "completed")
    timed = profile["profiles"][1]
    assert (timed["type"], timed["unit"], timed["endValue"]) == ("evented", "microseconds", 3_000_000)
    assert [(event["type"], event["at"]) for event in timed["events"]] == [
        ("O", 1_000_000),
        ("O", 1_500_000),
        ("C", 2_250_000),
        ("C", 2_750_000),
    ]


def test_processes_and_threads_are_named_by_role(tmp_path: Path) -> None:
    spans = [
        span("a.f", (1.0, 2.0)),
        span("a.f", (1.0, 2.0), process_id=WORKER),
        span("a.g", (1.0, 2.0), process_id=WORKER, thread="Thread-1"),
    ]
    trace, profile = export(run_directory(tmp_path, spans))
    named = {
        (event["name"], event["pid"]): event["args"]["name"]
        for event in of_kind(trace, "M")
        if event["name"] == "process_name"
    }
    assert named == {
        ("process_name", PARENT): "parent",
        ("process_name", WORKER): "worker",
        ("process_name", tree_of(trace)): "process tree",
    }
    assert tree_of(trace) not in (PARENT, WORKER)
    assert [each["name"] for each in profile["profiles"][1:]] == [
        "time: parent 100, MainThread",
        "time: worker 102, MainThread",
        "time: worker 102, Thread-1",
    ]


def test_overlapping_calls_get_tracks_of_their_own(tmp_path: Path) -> None:
    """Two threads of one name; a call that only touches another does not overlap it."""
    spans = [
        span("a.first", (1.0, 2.0), thread="pool"),
        span("a.second", (1.5, 2.5), thread="pool"),
        span("a.inner", (1.6, 2.5), thread="pool"),
        span("a.after", (2.0, 2.2), thread="pool"),
    ]
    trace, _ = export(run_directory(tmp_path, spans))
    names = {
        event["tid"]: event["args"]["name"] for event in of_kind(trace, "M") if event["name"] == "thread_name"
    }
    placed = {event["name"]: names[event["tid"]] for event in of_kind(trace, "X", "function")}
    assert placed == {"a.first": "pool", "a.after": "pool", "a.second": "pool (2)", "a.inner": "pool (2)"}


def test_the_validator_sees_slices_that_overlap() -> None:
    named = [
        {"ph": "M", "name": f"{of}_name", "pid": 1, "tid": 1, "args": {"name": "x"}}
        for of in ("process", "thread")
    ]
    crossing = [
        {"ph": "X", "name": "f", "cat": "function", "pid": 1, "tid": 1, "ts": at, "dur": 10, "args": {}}
        for at in (0, 5)
    ]
    trace = {"displayTimeUnit": "ms", "otherData": {}, "traceEvents": [*named, *crossing]}
    with pytest.raises(AssertionError, match="overlap"):
        check_trace(trace)
    crossing[1]["ts"] = 10
    check_trace(trace)


def test_an_exception_is_marked_where_it_was_raised_and_the_attempt_that_it_ended(tmp_path: Path) -> None:
    spans = [
        span(KMEANS, (1.1, 1.4), raised="MemoryError"),
        span(INDEXER + "train", (1.0, 1.5), raised="MemoryError"),
        span(KMEANS, (2.0, 2.5)),
    ]
    attempts = [
        {"process_id": PARENT, "fact": "kmeans", "backend": "torch", "failure": "MemoryError: 27 GiB"},
        {"process_id": PARENT, "fact": "kmeans", "backend": "faiss"},
    ]
    trace, _ = export(run_directory(tmp_path, spans, attempts=attempts))
    assert [(event["name"], event["ts"]) for event in of_kind(trace, "i", "exception")] == [
        ("MemoryError in collection_indexer.compute_faiss_kmeans", 1_400_000)
    ]
    (failed,) = of_kind(trace, "i", "attempt")
    assert (failed["name"], failed["ts"], failed["args"]["failure"]) == (
        "k-means attempt 1 failed: torch",
        1_400_000,
        "MemoryError: 27 GiB",
    )
    raised = [event["args"].get("raised") for event in of_kind(trace, "X", "function")]
    assert raised == ["MemoryError", "MemoryError", None]


def test_a_failed_attempt_without_a_span_gets_no_made_up_moment(tmp_path: Path) -> None:
    attempts = [{"process_id": PARENT, "fact": "kmeans", "backend": "torch", "failure": "MemoryError"}]
    trace, _ = export(run_directory(tmp_path, attempts=attempts))
    assert of_kind(trace, "i", "attempt") == []
    assert of_kind(trace, "X", "run")[0]["args"]["attempts"] == attempts


def test_a_killed_run_is_exported_as_far_as_it_came(tmp_path: Path) -> None:
    """Calls that were open have no record; last lines are cut off; the outcome is marked."""
    spans = [span(INDEXER + "setup", (1.0, 2.0), depth=2)]
    directory = run_directory(
        tmp_path,
        spans,
        end='{"process_id": 10',
        outcome="out_of_memory_host",
        outcome_detail="the kernel ended process 100 (SIGKILL)",
        memory={},
    )
    trace, profile = export(directory)
    assert [event["name"] for event in of_kind(trace, "X", "phase") + of_kind(trace, "X", "function")] == [
        "CollectionIndexer.setup"
    ]
    (ended,) = of_kind(trace, "i", "outcome")
    assert (ended["name"], ended["ts"]) == ("out_of_memory_host", 3_000_000)
    assert "SIGKILL" in ended["args"]["detail"]
    assert sum(weight for _, weight in stacks(profile)) == 160.0


def test_a_run_that_never_started_is_exported_too(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, curve=[], outcome="unsupported", wall_seconds=None, processes=[])
    (directory / "memory_curve.csv").write_text("")
    trace, profile = export(directory)
    assert of_kind(trace, "C") == []
    assert stacks(profile) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("spans.jsonl", '{"process_id": 1}\n', r"spans.jsonl:1: KeyError"),
        ("memory_curve.csv", "time,rss\n", r"memory_curve.csv:1: 'time,rss' is not the header"),
        (
            "memory_curve.csv",
            "seconds,process_id,parent_process_id,role,rss_mib\n0,1,1,parent,many\n",
            r"memory_curve.csv:2: could not convert",
        ),
        ("run.json", None, r"run.json is missing"),
        ("memory_curve.csv", None, r"memory_curve.csv cannot be read"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, name: str, text: str | None, problem: str) -> None:
    directory = run_directory(tmp_path)
    if text is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(text)
    with pytest.raises(InputError, match=problem):
        trace_export.read(directory)


def test_nothing_half_written_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trace_export.read(run_directory(tmp_path / "run"))

    def fail(*arguments: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(trace_export, "speedscope", fail)
    with pytest.raises(OSError, match="disk full"):
        trace_export.write(run, tmp_path / "exported" / "1")
    assert list((tmp_path / "exported").iterdir()) == []


# Counters


def test_counters_equal_the_curve(tmp_path: Path) -> None:
    curve = [
        (0.0, PARENT, 10.0),
        (0.5, PARENT, 100.0),
        (0.5, WORKER, 7.5),
        (1.0, WORKER, 50.0),
        (2.0, WORKER, 0.0),
    ]
    trace, _ = export(run_directory(tmp_path, curve=curve))
    assert counter(trace, "RSS (MiB)", PARENT) == [(0, 10.0), (500_000, 100.0)]
    assert counter(trace, "RSS (MiB)", WORKER) == [(500_000, 7.5), (1_000_000, 50.0), (2_000_000, 0.0)]
    # A process without a row holds what it held.
    sums = [(0, 10.0), (500_000, 107.5), (1_000_000, 150.0), (2_000_000, 100.0)]
    assert counter(trace, "RSS (MiB)", tree_of(trace)) == sums
    (highest,) = of_kind(trace, "i", "run")
    assert (highest["ts"], highest["args"]) == (1_000_000, {"rss_mib": 150.0})
    assert trace["otherData"]["counters"] == "every sample"


def test_more_columns_of_the_curve_are_counters_too(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    (directory / "memory_curve.csv").write_text(
        "seconds,process_id,parent_process_id,role,rss_mib,shared_mib\n0.5,100,1,parent,10.0,4.0\n1,100,1,parent,12.0,\n"
    )
    trace, _ = export(directory)
    assert counter(trace, "shared (MiB)", PARENT) == [(500_000, 4.0), (1_000_000, 0.0)]


def test_pss_and_gpu_are_read_where_spans_end(tmp_path: Path) -> None:
    spans = [
        span("a.f", (1.0, 2.0), end_pss_mib=80.0, end_tree_pss_mib=95.0),
        span("a.g", (2.0, 2.5), gpu_allocated_mib=3.0, gpu_reserved_mib=20.0),
    ]
    trace, _ = export(run_directory(tmp_path, spans))
    name = "PSS at the end of phases (MiB)"
    assert counter(trace, name, PARENT) == [(2_000_000, 80.0)]
    assert counter(trace, name, tree_of(trace)) == [(2_000_000, 95.0)]
    assert counter(trace, "GPU allocated (MiB)", PARENT) == [(2_500_000, 3.0)]
    assert counter(trace, "GPU reserved (MiB)", PARENT) == [(2_500_000, 20.0)]


def test_parts_of_the_ledger_are_counters_of_their_process(tmp_path: Path) -> None:
    def row(part: str, mib: float, device: str = "cpu") -> dict[str, Any]:
        return {"seconds": 1.5, "process_id": PARENT, "part": part, "device": device, "mib": mib}

    parts = [
        row("tensors", 20.0),
        row("tensors", 12.0),
        row("unexplained", -2.0),
        row("tensors", 99.0, "cuda:0"),
    ]
    trace, _ = export(run_directory(tmp_path), parts=parts)
    assert counter(trace, "part: tensors (MiB)", PARENT) == [(1_500_000, 32.0)]
    assert counter(trace, "part: unexplained (MiB)", PARENT) == [(1_500_000, -2.0)]


def test_a_long_curve_is_thinned_to_a_stated_step_and_keeps_its_peaks(tmp_path: Path) -> None:
    curve = [(number / 100, PARENT, float(number % 97)) for number in range(1, 10_001)]
    curve[5000] = (curve[5000][0], PARENT, 5000.0)
    curve.append((100.5, PARENT, 0.0))
    trace, profile = export(run_directory(tmp_path, curve=curve), most=200)
    told = counter(trace, "RSS (MiB)", PARENT)
    assert len(told) <= 2 * 201
    assert trace["otherData"]["counters"] == "highest and last of each 0.5025 s"
    given = {(round(1e6 * seconds), mib) for seconds, _, mib in curve}
    assert set(told) <= given  # no value is made up
    assert told == sorted(told)
    assert max(mib for _, mib in told) == 5000.0
    assert told[-1] == (100_500_000, 0.0)
    for start in range(0, 100_500_000, 502_500):
        step = {(at, mib) for at, mib in given if start <= at < start + 502_500}
        assert max(step, key=lambda each: each[1])[1] in {mib for at, mib in told if (at, mib) in step}
    assert sum(weight for _, weight in stacks(profile)) == 5000.0  # the profile reads every sample


def test_memory_does_not_grow_with_the_curve(tmp_path: Path) -> None:
    def peak_of(rows: int) -> int:
        curve = [(number / 100, PARENT, float(number % 1000)) for number in range(rows)]
        directory = run_directory(tmp_path / str(rows), curve=curve)
        tracemalloc.start()
        trace_export.write(trace_export.read(directory), directory / "out")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_of(100)  # what is loaded once
    assert peak_of(6000) < peak_of(500) + 100_000


# Who makes the peak


def test_weights_are_what_each_call_adds_and_add_up_to_the_peak(tmp_path: Path) -> None:
    curve = [(0.5, PARENT, 90.0), (1.5, PARENT, 180.0), (2.2, PARENT, 250.0), (2.6, PARENT, 120.0)]
    spans = [
        span("a.setup", (1.0, 2.0), (100.0, 130.0)),  # 180 inside, 50 of it given back by its end
        span("a.encode", (2.1, 2.4), (130.0, 140.0)),
        span("a.run", (0.9, 2.5), (95.0, 125.0)),
    ]
    _, profile = export(run_directory(tmp_path, spans, curve))
    assert stacks(profile) == [
        ("parent 100 > outside of instrumented functions", 95.0),
        ("parent 100 > a.run", 5.0),
        ("parent 100 > a.run > a.setup", 30.0),
        ("parent 100 > a.run > a.encode", 120.0),
    ]
    assert profile["profiles"][0]["endValue"] == 250 * MIB
    assert profile["profiles"][0]["unit"] == "bytes"


def test_what_was_given_back_and_taken_again_counts_where_it_was_taken_last(tmp_path: Path) -> None:
    curve = [(0.5, PARENT, 100.0), (2.5, PARENT, 100.0)]
    spans = [span("a.first", (1.0, 1.5), (100.0, 60.0)), span("a.second", (2.0, 2.4), (60.0, 101.0))]
    _, profile = export(run_directory(tmp_path, spans, [*curve, (3.0, PARENT, 102.0)]))
    assert stacks(profile) == [
        ("parent 100 > outside of instrumented functions", 60.0),
        ("parent 100 > a.second", 40.0),
        ("parent 100 > outside of instrumented functions", 2.0),
    ]


def test_every_process_and_thread_of_the_peak_is_there(tmp_path: Path) -> None:
    curve = [(0.5, PARENT, 100.0), (1.2, WORKER, 30.0), (1.8, WORKER, 80.0), (2.9, WORKER, 0.0)]
    spans = [
        span("a.wait", (1.0, 2.8)),
        span("b.work", (1.5, 2.0), (30.0, 70.0), process_id=WORKER, thread="Thread-1"),
    ]
    _, profile = export(run_directory(tmp_path, spans, curve))
    assert stacks(profile) == [
        ("parent 100 > outside of instrumented functions", 100.0),
        ("worker 102 > outside of instrumented functions", 30.0),
        ("worker 102 > Thread-1 > b.work", 50.0),
    ]


# The program, and the report


def test_the_program_writes_both_files_and_refuses_what_is_no_run(tmp_path: Path) -> None:
    directory = run_directory(tmp_path / "run", [span("a.f", (1.0, 2.0))])
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(
        [*command, directory, "--output", tmp_path / "traces" / "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [Path(line).name for line in done.stdout.splitlines()] == ["1.trace.json", "1.speedscope.json"]
    check_trace(json.loads((tmp_path / "traces" / "1.trace.json").read_text()))
    refused = subprocess.run(
        [*command, tmp_path, "--output", tmp_path / "2"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "run.json is missing: the run did not finish" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_page_links_the_runs_and_says_how_to_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tables.run("colbert", 300, "spans"), tables.run("colbert", 300)]
    tables.write(tmp_path / "tables", runs=runs)
    empty = common.nothing_to_draw("Nothing", "Nothing is drawn here.", ["run"])
    with monkeypatch.context() as patched:
        patched.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        files.save(empty, tmp_path / "figures" / "peak_memory")
    (tmp_path / "configuration.yaml").write_text("campaign: null\n")
    trace = tmp_path / "traces" / "colbert-0a1b2c3d" / "300" / "1.trace.json"
    trace.parent.mkdir(parents=True)
    trace.touch()
    trace.with_name("1.speedscope.json").touch()

    def page(*given: Path) -> str:
        arguments = ["--tables", tmp_path / "tables", "--figures", tmp_path / "figures", "--traces", *given]
        arguments += [
            "--configuration",
            tmp_path / "configuration.yaml",
            "--output",
            tmp_path / "report.html",
        ]
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPT.with_name("report.py")), run_name="__main__")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    def outside(html: str) -> list[str]:
        return [each for each in tables.references(html) if not each.startswith(("data:", "#"))]

    linked = page(trace)
    assert outside(linked) == [
        "traces/colbert-0a1b2c3d/300/1.trace.json",
        "traces/colbert-0a1b2c3d/300/1.speedscope.json",
    ]
    assert all((tmp_path / each).exists() for each in outside(linked))
    assert "ui.perfetto.dev" in linked
    assert "speedscope.app" in linked
    # A page drawn from an archive is given none.
    assert outside(page()) == []
    assert "ui.perfetto.dev" not in page()


def labelled(*rows: tables.Row) -> pd.DataFrame:
    return common.label_systems(tables.frame("runs", rows))


def test_the_report_links_what_is_there_relative_to_itself(tmp_path: Path) -> None:
    runs = labelled(tables.run("colbert", 300, "spans"), tables.run("colbert", 300, "none"))
    there = tmp_path / "traces" / "colbert-0a1b2c3d" / "300" / "1.trace.json"
    missing, unknown = there.with_name("2.trace.json"), there.parents[1] / "900" / "1.trace.json"
    for path in (there, unknown):
        path.parent.mkdir(parents=True)
        path.touch()
        path.with_name("1.speedscope.json").touch()
    found = traces.links([there, missing, unknown], tmp_path / "report.html", runs)
    assert found == [
        traces.RunFiles(
            "ColBERT",
            "300",
            "completed",
            "traces/colbert-0a1b2c3d/300/1.trace.json",
            "traces/colbert-0a1b2c3d/300/1.speedscope.json",
        )
    ]
    there.with_name("1.speedscope.json").unlink()
    assert traces.links([there], tmp_path / "report.html", runs) == []

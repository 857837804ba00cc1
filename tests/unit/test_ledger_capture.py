"""From logs and facts with known sums to the parts of a process's memory. Neither torch nor memray is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import tabulate_ledger
from indexscope import schemas
from indexscope.analysis import ledger
from indexscope.ledger import mappings, places, reduce
from indexscope.run_record import InputError

MIB = 2**20
SITE = "/env/lib/python3.11/site-packages"
MATCH = (f"{SITE}/colbert/codec.py", "colbert/codec.py:7", "colbert.codec.compress")


def heap_line(mib: float, kind: str = "malloc", **columns: Any) -> dict[str, Any]:
    line = {"function": None, "source": None, "package": None, "importing": False, "instrument": False}
    return {"kind": kind, **line, "bytes": mib * MIB, "blocks": 1, **columns}


def tensor(mib: float, **columns: Any) -> dict[str, Any]:
    made = {"at": 1.0, "made": 1.1, "operator": "aten.mm", "function": MATCH[2], "source": MATCH[1]}
    return {
        "id": 1,
        "bytes": mib * MIB,
        "shape": "[4, 8]",
        "dtype": "float32",
        "device": "cpu",
        **made,
        **columns,
    }


def line(rss_mib: float, shared_mib: float = 0.0, **facts: Any) -> dict[str, Any]:
    return {
        "moment": "tree peak",
        "seconds": 5.0,
        "tree_rss_mib": rss_mib,
        "process_id": 7,
        "role": "parent",
        "name": "MainProcess",
        "rss_mib": rss_mib,
        "shared_mib": shared_mib,
        "recorded": {"at": 5.0, **facts},
    }


def sums(parts: list[ledger.Part]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        found[part.part] = found.get(part.part, 0.0) + part.mib
    return {name: round(mib, 6) for name, mib in found.items()}


def test_every_byte_has_one_name_and_the_parts_add_up() -> None:
    facts = {
        "mappings": {
            "at": 4.0,
            "files": {"torch": 60 * 1024, "python": 20 * 1024},
            "private": {"torch": 8 * 1024},
            "stack": 2 * 1024,
        },
        "heap": [
            heap_line(100, "aligned", source=MATCH[1], function=MATCH[2], package="colbert"),
            heap_line(30, "aligned", source="transformers/load.py:3", package="transformers"),
            heap_line(12, source="colbert/data.py:1", package="colbert"),
            heap_line(9, source="torch/_ops.py:1", package="torch", importing=True),
            heap_line(5, "arena", package="torch", importing=True),
            heap_line(4, "arena", source="colbert/data.py:2", package="colbert"),
            heap_line(1024, "mapping", source="pyarrow/lib.py:1", package="pyarrow"),
        ],
        "tensors": [tensor(96), tensor(20, source=None, operator=None, weights=True)],
        "corpus": {"strings": 50, "small": 1 * MIB, "large": 10 * MIB},
        "sample": {"at": 5.0, "free": 25 * MIB},
        "malloc_overhead_bytes": 40 * MIB,
    }
    parts = ledger.compose(line(350, shared_mib=100, **facts))
    assert (
        sums(parts)
        == {
            ledger.FILES: 110,  # 100 of files as read from outside, 8 private, 2 of the stack
            ledger.IMPORTED: 54,
            ledger.WEIGHTS: 20,
            ledger.CORPUS: 11,
            ledger.TENSORS: 96,
            ledger.BUFFERS: 16,  # what the tensor, the weights and the corpus leave of 142; the mapping is not counted
            ledger.OBJECTS: 3,
            ledger.RETAINED: 25,
            ledger.UNEXPLAINED: 15,
        }
    )
    (planted,) = [part for part in parts if part.part == ledger.TENSORS]
    assert (planted.name, planted.operator, planted.shape) == ("aten.mm [4, 8] float32", "aten.mm", "[4, 8]")
    assert (planted.dtype, planted.source, planted.function) == ("float32", MATCH[1], MATCH[2])
    assert [part.name for part in parts if part.part == ledger.FILES][:2] == ["torch", "python"]
    assert {part.mib for part in parts if part.name == "torch"} == {
        75,
        14,
    }  # scaled from 80 MiB to 100; imported
    assert {part.evidence for part in parts if part.part == ledger.RETAINED} == {"inferred"}
    assert not any(part.name.startswith("pyarrow") for part in parts)


def test_unexplained_may_be_negative() -> None:
    parts = ledger.compose(line(10, heap=[heap_line(16, source="a.py:1")]))
    assert sums(parts)[ledger.UNEXPLAINED] == -6


def test_a_tensor_whose_operator_runs_counts_as_far_as_the_heap_has_it() -> None:
    running = tensor(96, made=6.0)
    assert ledger.TENSORS not in sums(ledger.compose(line(10, heap=[], tensors=[running])))
    heap = [heap_line(40, "aligned", source=MATCH[1])]
    assert sums(ledger.compose(line(100, heap=heap, tensors=[running])))[ledger.TENSORS] == 40


def test_an_array_that_no_operator_made_is_its_own_line() -> None:
    heap = [heap_line(40, source="colbert/data.py:1")]
    seen = tensor(40, operator=None, source="colbert/other.py:1")
    parts = sums(ledger.compose(line(40, heap=heap, tensors=[seen])))
    assert parts == {ledger.BUFFERS: 40, ledger.UNEXPLAINED: 0}


def test_what_the_allocator_keeps_without_mallinfo_and_after_a_trim() -> None:
    trim = {"at": 4.0, "before": {"anon": 50 * 1024, "free": 30 * MIB}, "after": {"anon": 20 * 1024}}
    kept = ledger.compose(line(100, trim=trim))
    assert sums(kept)[ledger.RETAINED] == 30
    after = ledger.compose(line(100, trim=trim, sample={"at": 5.0, "free": 33 * MIB}))
    assert sums(after)[ledger.RETAINED] == 3
    before = ledger.compose(line(100, trim=trim, sample={"at": 3.0, "free": 33 * MIB}))
    assert sums(before)[ledger.RETAINED] == 33


def test_a_gpu_is_no_part_of_the_rss() -> None:
    gpu = {"at": 5.0, "device": "cuda:0", "used": 900 * MIB, "reserved": 600 * MIB, "allocated": 500 * MIB}
    parts = ledger.compose(line(10, gpu=gpu, tensors=[tensor(450, device="cuda:0")]))
    assert sum(part.mib for part in parts if part.device == "cpu") == 10
    on_gpu = {part.part: part.mib for part in parts if part.device == "cuda:0"}
    assert on_gpu == {ledger.TENSORS: 450, ledger.BUFFERS: 50, ledger.RETAINED: 100, ledger.CUDA: 300}


SMAPS = b"""\
1000-3000 r-xp 00000000 08:01 5 /env/lib/python3.11/site-packages/torch/lib/libtorch.so
Size:                  8 kB
Rss:                   8 kB
Anonymous:             0 kB
3000-5000 rw-p 00002000 08:01 5 /env/lib/python3.11/site-packages/torch/lib/libtorch.so
Rss:                   8 kB
Anonymous:             4 kB
5000-105000 rw-p 00000000 00:00 0
Rss:                1024 kB
Anonymous:          1024 kB
200000-300000 rw-p 00000000 00:00 0    [heap]
Rss:                 512 kB
Anonymous:           512 kB
7f0000000000-7f0040000000 rw-p 00000000 00:00 0
Rss:                   0 kB
Anonymous:             0 kB
7f1000000000-7f1000100000 rw-s 00000000 00:01 9 /dev/shm/torch_1 (deleted)
Rss:                 100 kB
Anonymous:             0 kB
7ffc00000000-7ffc00100000 rw-p 00000000 00:00 0    [stack]
Rss:                  64 kB
Anonymous:            64 kB
"""


def test_mappings_are_given_to_their_owners() -> None:
    # 100 KiB behind the library are its zero-filled data, the rest the kernel merged with them.
    found = mappings.classify(SMAPS.splitlines(), lambda path: 100 * 1024 if "libtorch" in path else 0)
    assert found == {
        "files": {"torch": 12, "shared memory": 100},
        "private": {"torch": 104},
        "heap": 512,
        "stack": 64,
        "anonymous": 924,
    }


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"{SITE}/numpy.libs/libopenblas-1f2e.so", "numpy"),
        (f"{SITE}/faiss_gpu_cu12.libs/libgomp.so", "faiss_gpu_cu12"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "system libraries"),
        ("/usr/lib/python3.11/lib-dynload/_json.so", "python"),
        ("/data/model.safetensors", "model.safetensors"),
    ],
)
def test_owner_of_a_file(path: str, owner: str) -> None:
    assert mappings.owner_of(path) == owner


def test_place_is_the_line_that_wanted_the_memory() -> None:
    wanted = ("compress", MATCH[0], 7)
    stack = [("__torch_dispatch__", reduce.__file__, 1), ("mm", f"{SITE}/torch/nn.py", 3), wanted]
    assert places.place_of(stack)[:3] == (MATCH[2], MATCH[1], "colbert")
    assert not places.place_of(stack).instrument
    importing = [
        ("<module>", f"{SITE}/torch/x.py", 1),
        ("_call", "<frozen importlib._bootstrap>", 2),
        wanted,
    ]
    place = places.place_of(importing)
    assert (place.package, place.importing) == ("torch", True)
    own = [("dumps", "/usr/lib/python3.11/json/encoder.py", 1), ("_flush", reduce.__file__, 1), wanted]
    assert places.place_of(own).instrument


class Record:
    """As memray's TemporalAllocationRecord."""

    def __init__(
        self, allocator: int, stack: list[places.Frame], *intervals: tuple[int, int | None, int]
    ) -> None:
        self.allocator = allocator
        self._stack = stack
        self.intervals = [
            SimpleNamespace(
                allocated_before_snapshot=made,
                deallocated_before_snapshot=freed,
                n_bytes=size,
                n_allocations=1,
            )
            for made, freed, size in intervals
        ]

    def stack_trace(self) -> list[places.Frame]:
        return self._stack


def test_heap_lines_are_what_was_live_at_each_snapshot() -> None:
    stack = [("compress", MATCH[0], 7)]
    found = [
        Record(9, stack, (2, 5, 8 * MIB), (4, None, 1 * MIB)),
        Record(6, stack, (0, None, 3 * MIB)),
        Record(14, stack, (0, None, 2**20), (0, None, 2**29)),
    ]
    lines, totals = reduce.heap_lines(found, [4, 1, 5])
    assert totals == [12 * MIB, 3 * MIB, 4 * MIB]
    assert {each["kind"]: each["bytes"] for each in lines[0]} == {
        "aligned": 9 * MIB,
        "malloc": 3 * MIB,
        "arena": 2**20,
        "mapping": 2**29,
    }
    assert {each["kind"] for each in lines[1]} == {"malloc", "arena", "mapping"}
    assert lines[0][1]["source"] == MATCH[1]


def test_tensors_alive_at_a_time() -> None:
    events = [
        {"event": "birth", **tensor(1, id=1, at=1.0)},
        {"event": "birth", **tensor(2, id=2, at=2.0)},
        {"event": "death", "id": 1, "at": 3.0},
        {"event": "birth", **tensor(4, id=3, at=4.0, weights=True)},
        {"event": "weights", "id": 2},
    ]
    tensors, _ = reduce.log_facts(events, [2.5, 0.5, 3.5])
    assert [{each["id"] for each in found} for found in tensors] == [{1, 2, 3}, {3}, {2, 3}]
    assert [each.get("model") for each in tensors[2] if each["id"] == 2] == [True]


def test_tree_peak_is_of_the_index_call() -> None:
    rows = [(1, 7, 100), (2, 7, 300), (2, 8, 50), (3, 7, 200), (3, 8, 90), (4, 8, 0), (5, 7, 900)]
    curve = reduce.Curve(
        {
            "seconds": str(at),
            "process_id": str(pid),
            "rss_mib": str(rss),
            "shared_mib": "10",
            "role": "parent",
        }
        for at, pid, rss in rows
    )
    indexed = {"started_seconds": 1.5, "ended_seconds": 4.5}
    moments = reduce.choose_moments(curve, [], [], indexed)
    assert moments == [("tree peak", 2.0, None), ("peak of the whole run", 5.0, None)]
    assert curve.at(3.5) == {7: (200.0, 10.0), 8: (90.0, 10.0)}


def recorded(calls: dict[str, list[tuple[float, float]]], events: list[dict[str, Any]]) -> Any:
    """A process whose RSS stays at its highest, all but a little, while more and less is allocated."""
    readings = [(1, 50, 20), (2, 100, 30), (3, 99.5, 70), (4, 99.2, 40), (5, 60, 90)]
    found = [SimpleNamespace(time=at * 1000, rss=rss * MIB, heap=heap * MIB) for at, rss, heap in readings]
    return SimpleNamespace(
        pid=7, calls=calls, snapshots=reduce.Snapshots(found, 0.0), events=lambda: iter(events), role="worker"
    )


def test_highest_points_of_phases_and_functions() -> None:
    phase = {"process_id": 7, "phase": "training", "started_seconds": 0.5, "ended_seconds": 4.5}
    own = {"function": "colbert.codec.compress", "at": 1.0}
    events = [
        {"event": "birth", **tensor(4, id=1, **own, made=1.1)},
        {"event": "birth", **tensor(4, id=2, **own, made=1.2)},
        {"event": "birth", **tensor(90, id=3, at=1.0, made=1.3, function="transformers.bert.compress")},
        {"event": "death", "id": 1, "at": 1.4},
        {"event": "birth", **tensor(2, id=4, **own, made=1.5)},
    ]
    calls = {"colbert.codec.Codec.compress": [(0.9, 1.6)], "colbert.codec.train": [(2.5, 4.5)]}
    moments = reduce.choose_moments(reduce.Curve([]), [recorded(calls, events)], [phase], None)
    assert moments == [
        ("training", 3.0, 7),  # most is allocated there, at a RSS within 1 % of the highest
        ("highest point of colbert.codec.Codec.compress", 1.0, 7),
        ("most in tensors of colbert.codec.Codec.compress", 1.2, 7),
    ]  # colbert.codec.train has the phase's


def test_the_allocators_sample_is_of_the_same_state() -> None:
    events: list[dict[str, Any]] = [
        {
            "event": "sample",
            "at": at,
            "anon": rss * 1024,
            "file": 0,
            "shmem": 0,
            "in_use": used * MIB,
            "free": free,
        }
        for at, rss, used, free in [(2.99, 90, 20, 1), (3.2, 100, 70, 2), (3.3, 100, 70, 3)]
    ]
    _, (facts,) = reduce.log_facts(events, [3.0])
    chosen = reduce._like_state(facts["samples"], 3.0, 70 * MIB, 99.5)
    assert chosen is not None
    assert chosen["free"] == 2
    assert facts["sample"]["free"] == 1  # the nearest, where none is like it


def run_directory(folder: Path, logs: bool = True) -> Path:
    """A run that was killed: its logs end in the middle of a line, and memray wrote nothing."""
    (folder / "ledger").mkdir(parents=True)
    identity = {"system": "colbert", "cell": "0a1b2c3d", "documents": 120, "profiler": "ledger", "repeat": 1}
    (folder / "run.json").write_text(json.dumps({"format": 1, "outcome": "killed", "run": identity}))
    curve = "seconds,process_id,parent_process_id,role,rss_mib,shared_mib\n1.0,7,1,parent,80,30\n1.0,8,7,manager,20,5\n"
    (folder / "memory_curve.csv").write_text(curve)
    name = {"event": "process", "process_id": 8, "name": "SyncManager-1"}
    (folder / "events.jsonl").write_text(json.dumps(name) + '\n{"event": "ph')
    if logs:
        log = [
            {"event": "process", "pid": 7, "role": "parent", "epoch_ms": 0.0},
            {"event": "birth", **tensor(6, id=1, at=0.5, made=0.6)},
        ]
        text = "".join(json.dumps(each) + "\n" for each in log) + '{"event": "dea'
        (folder / "ledger/log.7").write_text(text)
        (folder / "ledger/memray.7").write_bytes(b"")
    return folder


@pytest.mark.parametrize("logs", [True, False])
def test_a_killed_run_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: bool) -> None:
    run = run_directory(tmp_path / "run", logs)
    monkeypatch.setattr(sys, "argv", ["reduce", str(run)])
    reduce.main()
    output = tmp_path / "ledger.parquet"
    monkeypatch.setattr(sys, "argv", ["tabulate_ledger", str(run / "ledger.jsonl"), "--output", str(output)])
    tabulate_ledger.main()
    table = pq.read_table(output)
    assert table.schema.equals(schemas.LEDGER)
    rows = table.to_pylist()
    assert {row["tree_rss_mib"] for row in rows} == {100}
    assert sum(row["mib"] for row in rows) == pytest.approx(100)
    assert {(row["part"], row["name"]) for row in rows} >= {(ledger.OTHERS, "SyncManager-1")}
    assert (ledger.TENSORS in {row["part"] for row in rows}) == logs


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run")
    (run / "ledger.jsonl").write_text('{"moment": "tree peak"}\n')
    with pytest.raises(
        InputError, match=r"ledger\.jsonl:1: no line of a ledger.*run index_collection\.py again"
    ):
        list(ledger.rows([run / "ledger.jsonl"]))

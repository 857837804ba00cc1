"""What test_faiss_shared.py and test_faiss_gpu.py run where faiss is: one check of sharing in a process of its own.

    python faiss_sharing.py CHECK FOLDER [ARGUMENT...]

A check prints what it found as JSON; segments lie in FOLDER, as `build` has made them.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import hashlib
import json
import os
import pickle
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from indexscope.faiss_tables import layout, reading, shared
from indexscope.faiss_tables.shared import SharedTables
from indexscope.run_record import InputError

DIM, LISTS, PQ_M, VECTORS, TRAINING, K = 64, 256, 16, 1000, 2560, 10
TABLE_BYTES = 4 * LISTS * PQ_M * 256
SDC_BYTES = 4 * PQ_M * 256 * 256
KINDS = ("ivf_flat", "hnsw_pq", "ivf_pq")
METRICS = {"l2": faiss.METRIC_L2, "inner_product": faiss.METRIC_INNER_PRODUCT}
SEGMENTS = 20


def normal(seed: int, count: int, dim: int = DIM) -> Any:
    return np.random.default_rng(seed).standard_normal((count, dim), dtype="float32")


QUERIES = normal(5, 40)


def untrained(kind: str, metric: int) -> Any:
    quantizer = faiss.IndexFlat(DIM, metric)
    if kind == "hnsw_pq":
        index = faiss.IndexHNSWPQ(DIM, PQ_M, 8, 8, metric)
        faiss.downcast_index(index.storage).pq.cp.niter = 3
        return index
    if kind == "ivf_flat":
        index = faiss.IndexIVFFlat(quantizer, DIM, LISTS, metric)
    else:
        index = faiss.IndexIVFPQ(quantizer, DIM, LISTS, PQ_M, 8, metric)
        index.pq.cp.niter = 3
    index.cp.niter = 3
    return index


def with_codebooks(metric: int, centroids: Any, codes: Any) -> Any:
    """An IVFPQ index that is not trained, but given its codebooks."""
    index = untrained("ivf_pq", metric)
    index.quantizer.add(centroids)
    faiss.copy_array_to_vector(codes.ravel(), index.pq.centroids)
    index.is_trained = True
    index.add(normal(9, VECTORS))
    return index


def build(folder: Path) -> dict[str, Any]:
    """Segments of every kind and metric with equal codebooks, and some that differ in one thing only."""
    faiss.omp_set_num_threads(2)
    for kind in KINDS:
        for name, metric in METRICS.items():
            index = untrained(kind, metric)
            index.train(normal(1, TRAINING))
            count = SEGMENTS if name == "l2" else 2
            for number in range(count):
                index.reset()
                index.add(normal(100 + number, VECTORS))
                faiss.write_index(index, str(folder / f"{kind}-{name}-{number}"))
                if kind == "ivf_pq" and name == "l2":
                    outside = faiss.IndexIVFPQ(index.quantizer, DIM, LISTS, PQ_M, 8)
                    outside.pq, outside.is_trained = index.pq, True
                    outside.add_with_ids(normal(100 + number, VECTORS), np.arange(VECTORS) + number * VECTORS)
                    faiss.write_index(outside, str(folder / f"own_ids-{number}"))
            if kind != "ivf_flat":
                index.reset()
                mapped = faiss.IndexIDMap(index)
                mapped.add_with_ids(normal(9, VECTORS), np.arange(VECTORS) * 7)
                faiss.write_index(mapped, str(folder / f"mapped-{kind}-{name}"))
    centroids, codes = normal(2, LISTS), normal(3, 256)
    variants = {
        "same": (centroids, codes),
        "same_again": (centroids.copy(), codes.copy()),
        "other_centroids": (nudged(centroids), codes),
        "other_codes": (centroids, nudged(codes)),
    }
    for name, codebooks in variants.items():
        faiss.write_index(with_codebooks(faiss.METRIC_L2, *codebooks), str(folder / name))
    index = with_codebooks(faiss.METRIC_L2, centroids, codes)
    index.by_residual = False
    faiss.write_index(index, str(folder / "no_residuals"))
    multi = faiss.MultiIndexQuantizer(DIM, 2, 4)
    index = faiss.IndexIVFPQ(multi, DIM, 256, PQ_M, 8)
    index.quantizer_trains_alone = 1
    index.train(normal(1, TRAINING))
    faiss.write_index(index, str(folder / "multi_index"))
    (folder / "truncated").write_bytes((folder / "ivf_pq-l2-0").read_bytes()[:100_000])
    return {}


def nudged(values: Any) -> Any:
    other = values.copy()
    other[-1, -1] = np.nextafter(other[-1, -1], np.float32(9))
    return other


def found(index: Any, queries: Any = QUERIES) -> list[Any]:
    inner = reading.innermost(index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = 16
    distances, ids = index.search(queries, K)
    return [ids, distances]


def same(left: list[Any], right: list[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


def anonymous_kib() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def sentence(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except (InputError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def equal(folder: Path) -> dict[str, Any]:
    """Results of the three load modes, for each kind and metric."""
    rows = {}
    for name in [f"{kind}-{metric}-0" for kind in KINDS for metric in METRICS] + [
        f"mapped-{kind}-{metric}" for kind in KINDS[1:] for metric in METRICS
    ]:
        default = found(reading.read_index(folder / name, "default"))
        skip = found(reading.read_index(folder / name, "skip"))
        with SharedTables() as tables:
            index = tables.load(folder / name)
            ours = found(index)
            rows[name] = {
                "shared": same(default, ours),
                "skip": same(default, skip),
                "skip_ids": float(np.mean(default[0] == skip[0])),
                "skip_distance": float(np.abs(default[1] / skip[1] - 1).max()),
                "tables": [[table.bytes, table.users] for table in tables.tables],
                "class": type(index).__name__,
            }
    return rows


def one_table(folder: Path, kind: str) -> dict[str, Any]:
    """Anonymous memory of many segments of equal codebooks, shared and without tables."""
    paths = [folder / f"{kind}-l2-{number}" for number in range(SEGMENTS)]
    tables = SharedTables()
    warm = [tables.load(paths[0]), reading.read_index(paths[0], "skip")]
    for index in warm:
        found(index)
    del warm, index
    grown = {}
    for mode in ("skip", "shared"):
        before = anonymous_kib()
        held = [tables.load(path) if mode == "shared" else reading.read_index(path, "skip") for path in paths]
        grown[mode] = anonymous_kib() - before
        if mode == "skip":
            held.clear()
    users = [tables.tables[0].users]
    middle = anonymous_kib()
    last = held.pop()
    held.clear()
    users += [table.users for table in tables.tables]
    with_last = anonymous_kib()
    del last
    without = anonymous_kib()
    return {
        "skip_kib": grown["skip"],
        "shared_kib": grown["shared"],
        "users": users,
        "freed_with_last_kib": with_last - without,
        "freed_before_kib": middle - with_last,
        "tables_at_the_end": len(tables.tables),
    }


def keys(folder: Path) -> dict[str, Any]:
    """Which segments have one table together."""
    with SharedTables() as tables:
        names = ("same", "same_again", "other_centroids", "other_codes", "no_residuals")
        held = {name: tables.load(folder / name) for name in names}
        address = {
            name: int(index.precomputed_table.data()) if index.precomputed_table.size() else 0
            for name, index in held.items()
        }
        return {
            "users": sorted(table.users for table in tables.tables),
            "together": address["same"] == address["same_again"],
            "apart": len({address[name] for name in names[1:4]}),
            "no_residuals": address["no_residuals"],
            "equal": {
                name: same(found(held[name]), found(reading.read_index(folder / name, "default")))
                for name in names
            },
        }


def refused(folder: Path) -> dict[str, Any]:
    tables = SharedTables()
    answers = {"multi_index": sentence(tables.load, folder / "multi_index")}
    limit = faiss.cvar.precomputed_table_max_bytes
    faiss.cvar.precomputed_table_max_bytes = TABLE_BYTES - 1
    answers["too_large"] = sentence(tables.load, folder / "ivf_pq-l2-0")
    faiss.cvar.precomputed_table_max_bytes = TABLE_BYTES
    answers["just_fits"] = sentence(tables.load, folder / "ivf_pq-l2-0")
    faiss.cvar.precomputed_table_max_bytes = limit
    gc.collect()
    tables.close()
    answers["closed"] = sentence(tables.load, folder / "ivf_pq-l2-0")
    answers["closed_all"] = sentence(tables.load_all, [folder / "ivf_pq-l2-0"])
    return {**answers, "tables": len(tables.tables)}


def borrows(index: Any, other: Any) -> bool:
    return int(index.precomputed_table.data() or 0) == int(other.precomputed_table.data())


def copied(folder: Path) -> dict[str, Any]:
    """Copies of an index that shares, in memory and on disk."""
    path = folder / "ivf_pq-l2-0"
    expected = found(reading.read_index(path, "default"))
    with SharedTables() as tables:
        index, other = tables.load(path), tables.load(path)
        shares = borrows(index, other)
        faiss.write_index(index, str(folder / "written"))
        clone, unpickled = faiss.clone_index(index), pickle.loads(pickle.dumps(index))
        own = not borrows(clone, other) and not borrows(unpickled, other)
        del index
        return {
            "borrows": shares,
            "written": (folder / "written").read_bytes() == path.read_bytes(),
            "own_tables": own,
            "equal": same(found(clone), expected) and same(found(unpickled), expected),
            "users": [table.users for table in tables.tables],
        }


def changed(folder: Path) -> dict[str, Any]:
    """What else is done to an index that shares; another one that shares must not notice."""
    path = folder / "ivf_pq-l2-0"
    stock, second = reading.read_index(path, "default"), reading.read_index(folder / "ivf_pq-l2-1", "default")
    expected = found(stock)
    answers: dict[str, Any] = {}
    with SharedTables() as tables:
        other, index = tables.load(path), tables.load(path)
        merged = tables.load(folder / "ivf_pq-l2-1")
        for each, more in ((index, merged), (stock, second)):
            each.add(normal(77, 300))
            each.merge_from(more, 10_000)
            each.remove_ids(np.arange(50))
            each.set_direct_map_type(faiss.DirectMap.Hashtable)
        answers["added"] = same(found(index), found(stock)) and borrows(index, other)
        for each in (index, stock):
            each.set_direct_map_type(faiss.DirectMap.NoMap)
            each.train(normal(88, TRAINING))
        answers["trained"] = same(found(index), found(stock)) and not borrows(index, other)
        answers["trained_table"] = index.precomputed_table.size() * 4
        index = tables.load(path)
        index.precompute_table()
        answers["recomputed"] = same(found(index), expected) and not borrows(index, other)
        index = tables.load(path)
        index.use_precomputed_table = -1
        index.precompute_table()
        answers["disabled"] = index.precomputed_table.size()
        index = tables.load(path)
        index.precomputed_table = faiss.AlignedTableFloat32()
        answers["replaced"] = index.precomputed_table.size()
        del index, merged
        answers["users"] = [table.users for table in tables.tables]
    answers["other"] = same(found(other), expected)
    return answers


def given_away(folder: Path) -> dict[str, Any]:
    """Indexes whose C++ object outlives, or does not follow, the Python object."""
    path = folder / "ivf_pq-l2-0"
    expected = found(reading.read_index(path, "default"))
    with SharedTables() as tables:
        other, index = tables.load(path), tables.load(path)
        for _ in range(2):
            shared.detach(index)
        ids = found(index)[0]
        index.reset()
        around = faiss.IndexIDMap(index)
        around.own_fields = True
        index.this.disown()
        del index, around
        index = tables.load(path)
        index.thisown = False
        shares = borrows(index, other)
        index.thisown = True
        index = tables.load(path)
        view = index.this
        del index
        gc.collect()
        del view  # the C++ index is freed only now
        users = [table.users for table in tables.tables]
    return {
        "ids": np.array_equal(ids, expected[0]),
        "shares": shares,
        "users": users,
        "other": same(found(other), expected),
    }


def changed_graph(folder: Path) -> dict[str, Any]:
    """The same for HNSWPQ, whose SDC table adding vectors needs."""
    faiss.omp_set_num_threads(1)  # several build another graph each time
    path = folder / "hnsw_pq-l2-0"
    stock = reading.read_index(path, "default")
    expected = found(stock)
    answers: dict[str, Any] = {}
    with SharedTables() as tables:
        index, other = tables.load(path), tables.load(path)
        for each in (index, stock):
            each.add(normal(77, 300))
        answers["added"] = same(found(index), found(stock))
        answers["tables"] = [[table.bytes, table.users] for table in tables.tables]
        for each in (index, stock):
            each.reset()
            each.train(normal(88, TRAINING))
            each.add(normal(77, 300))
        answers["trained"] = same(found(index), found(stock))
        detached = tables.load(path)
        shared.detach(detached)
        detached.add(normal(77, 300))  # without a table faiss would end the process
        answers["detached"] = detached.ntotal
        answers["users"] = [table.users for table in tables.tables]
        answers["other"] = same(found(other), expected)
    return answers


def write(folder: Path) -> dict[str, Any]:
    """Write into the shared table behind its guards: it is protected, and the process ends."""
    with SharedTables() as tables:
        index = tables.load(folder / "ivf_pq-l2-0")
        faiss.downcast_index(index).precompute_table()
    return {}


def mismatch(folder: Path) -> dict[str, Any]:
    """With another layout nothing is shared: a sentence, or one index over the lists of all."""
    names = [f"own_ids-{number}" for number in range(4)]
    paths = [folder / name for name in names] + [folder / "hnsw_pq-l2-0", folder / "ivf_pq-inner_product-0"]

    class Swapped(layout.AlignedTable):
        def held(self) -> tuple[int, int]:
            return self.size, self.capacity

    layout.AlignedTable = Swapped  # type: ignore[misc]
    tables = SharedTables()
    refusal = sentence(tables.load, paths[0])
    indexes = tables.load_all(paths)
    parts = [found(reading.read_index(path, "default")) for path in paths[:4]]
    distances = np.concatenate([part[1] for part in parts], axis=1)
    ids = np.concatenate([part[0] for part in parts], axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :K]
    merged = [np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)]
    own = indexes[0].precomputed_table.size() * 4
    stacked = found(indexes[0])
    return {
        "refusal": refusal,
        "indexes": [type(index).__name__ for index in indexes],
        "vectors": [index.ntotal for index in indexes],
        "merged": same(stacked, merged),
        "others": [
            same(found(index), found(reading.read_index(path, "default")))
            for index, path in zip(indexes[1:], paths[4:], strict=True)
        ],
        "table_bytes": own,
        "flat": sentence(tables.load, folder / "ivf_flat-l2-0"),
    }


def bad_files(folder: Path) -> dict[str, Any]:
    path = folder / "bad"
    whole = {kind: (folder / f"{kind}-l2-0").read_bytes() for kind in KINDS}
    content = {
        "empty": b"",
        "text": b"no index at all",
        "newer": b"IwZZ" + bytes(200),
        "flat": b"IxF2" + bytes(200),
        "binary": b"IBxF" + bytes(200),
        "newer_lists": whole["ivf_pq"].replace(b"ilar", b"ilzz", 1),
        "truncated": whole["ivf_pq"][:-1],
        "mapped_flat": bytes(faiss.serialize_index(faiss.IndexIDMap(faiss.IndexFlatL2(4)))),
    }
    tables = SharedTables()
    answers = {}
    for name, written in content.items():
        path.write_bytes(written)
        answers[name] = sentence(tables.load, path)
    answers["missing"] = sentence(tables.load, folder / "missing")
    answers["folder"] = sentence(tables.load, folder)

    def fail(times: int) -> None:
        for number in range(times):
            kind = KINDS[number % len(KINDS)]
            path.write_bytes(whole[kind][: len(whole[kind]) * (number % 50 + 1) // 51])
            for load in (tables.load, lambda path: reading.read_index(path, "default")):
                assert "truncated" in sentence(load, path)

    fail(50)
    before, objects = anonymous_kib(), len(gc.get_objects())
    fail(100)
    return {
        "sentences": answers,
        "grown_kib": anonymous_kib() - before,
        "grown_objects": len(gc.get_objects()) - objects,
        "whole_kib": sum(map(len, whole.values())) // 1024,
        "tables": len(tables.tables),
    }


def latency(folder: Path) -> dict[str, Any]:
    """Time of single queries with the table shared, by that with a table of its own."""
    faiss.omp_set_num_threads(1)
    tables = SharedTables()
    path = folder / "ivf_pq-l2-0"
    indexes = {"own": reading.read_index(path, "default"), "shared": tables.load(path)}
    seconds: dict[str, list[float]] = {name: [] for name in indexes}
    for _ in range(60):
        for name, index in indexes.items():
            index.nprobe = 16
            start = time.perf_counter()
            for number in range(len(QUERIES)):
                index.search(QUERIES[number : number + 1], K)
            seconds[name].append(time.perf_counter() - start)
    return {"ratio": min(seconds["shared"]) / min(seconds["own"])}


def threads(folder: Path, seed: str) -> dict[str, Any]:
    """Eight threads load, search and let go at once."""
    faiss.omp_set_num_threads(1)
    paths = [folder / name for name in ("ivf_pq-l2-0", "ivf_pq-l2-1", "same", "hnsw_pq-l2-0", "other_codes")]
    expected = {path: found(reading.read_index(path, "default")) for path in paths}
    tables, wrong, done = SharedTables(), [], []
    until = time.monotonic() + 2

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        held: dict[Path, Any] = {}
        while time.monotonic() < until:
            path = chance.choice(paths)
            if path in held and chance.random() < 0.7:
                del held[path]
            else:
                held[path] = tables.load(path)
            for each, index in list(held.items()):
                if not same(found(index), expected[each]):
                    wrong.append(str(each))
            done.append(1)
            if chance.random() < 0.05:
                gc.collect()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    most = 0
    while any(worker.is_alive() for worker in workers):
        most = max(most, len(tables.tables))
        time.sleep(0.01)
    return {"wrong": wrong, "operations": len(done), "most_tables": most, "left": len(tables.tables)}


class Cycle:
    """Keeps an index in a cycle with itself, and searches it when it is collected."""

    def __init__(self, index: Any, search: bool) -> None:
        self.index, self.itself, self.search = index, self, search

    def __del__(self) -> None:
        if self.search:
            self.index.search(QUERIES[:1], 1)


KEPT: dict[str, Any] = {}


class Stress:
    """Random operations on indexes that share, each searched against what faiss itself finds."""

    NAMES = (
        *("ivf_pq-l2-0", "ivf_pq-l2-1", "hnsw_pq-l2-0", "same", "other_codes", "mapped-ivf_pq-l2"),
        *("mapped-hnsw_pq-l2", "ivf_flat-l2-0", "ivf_pq-inner_product-0"),
    )

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.expected = {name: found(reading.read_index(folder / name, "default")) for name in self.NAMES}
        self.registries = [SharedTables(), SharedTables()]
        self.held: list[tuple[str, Any]] = []

    def run(self) -> None:
        operations = [self.load] * 3 + [self.search] * 2 + [self.let_go, self.cycle, self.keep, self.clone]
        operations += [self.change, self.fail, self.bad_file, self.threads, self.idle_daemon, self.collect]
        if faiss.omp_get_max_threads() == 1:  # OpenMP does not survive a fork
            operations.append(self.fork)
        for _ in range(self.chance.randrange(20, 60)):
            self.chance.choice(operations)()

    def load(self) -> None:
        name = self.chance.choice(self.NAMES)
        self.held.append((name, self.chance.choice(self.registries).load(self.folder / name)))

    def one(self, take: bool = False) -> tuple[str, Any]:
        if not self.held:
            self.load()
        number = self.chance.randrange(len(self.held))
        return self.held.pop(number) if take else self.held[number]

    def let_go(self) -> None:
        self.one(take=True)

    def search(self) -> None:
        name, index = self.one()
        assert same(found(index), self.expected[name]), name

    def cycle(self) -> None:
        Cycle(self.one(take=True)[1], self.chance.random() < 0.5)

    def keep(self) -> None:
        KEPT[f"{self.chance.random()}"] = Cycle(self.one()[1], self.chance.random() < 0.3)

    def clone(self) -> None:
        name, index = self.one()
        self.held.append((name, faiss.clone_index(index)))

    def change(self) -> None:
        name, index = self.one(take=True)
        way = self.chance.choice(["precompute_table", "detach", "add"])
        if way == "precompute_table" and hasattr(index, way):
            index.precompute_table()
        elif way == "detach":
            shared.detach(index)
        elif not name.startswith("mapped"):
            index.add(normal(3, 20))
        found(index)

    def fail(self) -> None:
        number = self.chance.randrange(2)
        try:
            with self.registries[number] as tables:
                index = tables.load(self.folder / self.chance.choice(self.NAMES))
                raise RuntimeError(f"with {index} in the traceback")
        except RuntimeError as error:
            KEPT["error"] = error
        self.registries[number] = SharedTables()

    def bad_file(self) -> None:
        assert "truncated" in sentence(self.registries[0].load, self.folder / "truncated")

    def threads(self) -> None:
        def work() -> None:
            for index in [tables.load(self.folder / self.NAMES[0]) for tables in self.registries]:
                index.search(QUERIES[:2], K)

        several = [threading.Thread(target=work) for _ in range(3)]
        for each in several:
            each.start()
        self.let_go()
        for each in several:
            each.join()

    def idle_daemon(self) -> None:
        """A thread that ends with the process, an index in its hands."""

        def wait(_: Any) -> None:
            threading.Event().wait()

        threading.Thread(target=wait, args=(self.one()[1],), daemon=True).start()

    def collect(self) -> None:
        gc.collect()

    def fork(self) -> None:
        name, index = self.one()
        child = os.fork()
        if child == 0:
            equal = same(found(index), self.expected[name])
            del index
            self.held.clear()
            gc.collect()
            os._exit(0 if equal else 1)
        assert os.waitpid(child, 0)[1] == 0


def stress(folder: Path, seed: str) -> dict[str, Any]:
    """Random operations, and an end in any state; exit status 0, 3 or 1 as planned, never a signal."""
    chance = random.Random(seed)
    faiss.omp_set_num_threads(chance.choice([1, 2]))
    if chance.random() < 0.3:
        gc.disable()
    if chance.random() < 0.5:
        atexit.register(KEPT.clear)
    operations = Stress(folder, chance)
    operations.run()
    KEPT["held"] = operations.held
    end = chance.choice(["return", "exit", "raise", "abrupt", "last"])
    print(json.dumps({"end": end}), flush=True)
    if end == "exit":
        sys.exit(3)
    if end == "raise":
        raise RuntimeError("planned")
    if end == "abrupt":
        os._exit(0)
    if end == "last":
        atexit.register(lambda: KEPT.update(late=[SharedTables().load(folder / Stress.NAMES[0])]))
    return {"end": end}


def gpu(folder: Path) -> dict[str, Any]:
    """Copies on the GPU of an index in each load mode, with the options of the cloner."""
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return {"gpus": 0}
    runtime = next(
        ctypes.CDLL(line.split()[-1])
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libcudart" in line
    )

    def free_bytes() -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        code = runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
        assert code == 0, f"cudaMemGetInfo returned {code}"
        return free.value

    resources = faiss.StandardGpuResources()
    resources.noTempMemory()
    path, copies, rows = folder / "ivf_pq-l2-0", 8, []
    expected = found(reading.read_index(path, "default"))
    for precomputed in (False, True):
        for float16 in (False, True):
            options = faiss.GpuClonerOptions()
            options.usePrecomputed, options.useFloat16 = precomputed, float16
            for mode in ("default", "skip", "shared"):
                tables = SharedTables()
                index = tables.load(path) if mode == "shared" else reading.read_index(path, mode)
                warm = faiss.index_cpu_to_gpu(resources, 0, index, options)
                ids, distances = found(warm)
                before = free_bytes()
                held = [faiss.index_cpu_to_gpu(resources, 0, index, options) for _ in range(copies)]
                taken = before - free_bytes()
                rows.append(
                    {
                        **{"mode": mode, "precomputed": precomputed, "float16": float16},
                        "digest": hashlib.sha256(ids.tobytes() + distances.tobytes()).hexdigest(),
                        "copy_mib": taken / copies / 2**20,
                        "host_still_equal": np.array_equal(found(index)[0], expected[0]),
                        "users": [table.users for table in tables.tables],
                    }
                )
                del held, warm
    return {"gpus": faiss.get_num_gpus(), "rows": rows}


CHECKS = {
    check.__name__: check
    for check in (
        *(build, equal, one_table, keys, refused, copied, changed, changed_graph, given_away, write),
        *(mismatch, bad_files, latency, threads, stress, gpu),
    )
}

if __name__ == "__main__":
    answer = CHECKS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])  # type: ignore[operator]
    print(json.dumps(answer))

"""Dumping and injecting while an index is made: a small framework, each artifact known, each key once."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from indexscope.artifacts import capture, hooks
from indexscope.artifacts.capture import Donor, InjectionError
from indexscope.artifacts.dump import content_hash, dump_artifacts, every_index_has, read_manifest
from indexscope.measure import instrument, supervised
from indexscope.run_record import InputError, read_run_record
from indexscope.settings import torch_versions
from safetensors.numpy import load_file

HERE = Path(__file__).parent
REPO = HERE.parents[1]
SCRIPTS = REPO / "workflow" / "scripts"
TEXTS = ["abc", "d", "ef", "ghij", "k"]  # chunks: abc d ef | ghij k


class Run:
    """An index made by a fresh copy of the toy framework, hooked, in this process."""

    def __init__(self, directory: Path, texts: list[str], donor: Path | None, **wanted: list[str]) -> None:
        self.directory = directory
        self.faults: list[BaseException] = []
        self.toy = load_toy()
        specification = {
            "dumps": str(directory / "dumps"),
            "artifacts": wanted.get("artifacts", []),
            "injected": wanted.get("injected", []),
            "donor": donor and str(donor),
        }
        modules = {name: types.SimpleNamespace() for name in self.toy.MODULES}
        for name, attributes in self.toy.MODULES.items():
            for attribute in attributes:
                setattr(modules[name], attribute, getattr(self.toy, attribute))
        for target in hooks.targets(specification, self.faults.append):
            assert instrument.patch(modules[target.module], target.qualname, target.wrap), target.qualname
        sys.modules["colbert.indexing.collection_indexer"] = modules["colbert.indexing.collection_indexer"]  # type: ignore[assignment]
        self.indexer = self.toy.CollectionIndexer(texts)

    def finish(self) -> Run:
        self.index_files = self.indexer.run()
        record = {
            "format": 1,
            "run": {
                **{"system": "torch_1", "cell": "0a1b2c3d", "documents": 5, "profiler": "dumps"},
                **{"repeat": 1, "framework": "colbert"},
            },
            "outcome": "completed",
        }
        (self.directory / "run.json").write_text(json.dumps(record))
        return self

    def lines(self) -> list[dict[str, Any]]:
        text = (self.directory / "dumps" / "dumps.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def dumped_keys(self) -> list[str]:
        return ["{stage}/{chunk}/{call}/{name}".format(**line) for line in self.lines()]

    def tensor(self, key: str) -> Any:
        line = self.lines()[self.dumped_keys().index(key)]
        tensors = load_file(self.directory / "dumps" / line["tensor_file"])
        assert list(tensors) == [key]
        assert content_hash(tensors[key]) == line["sha256"]
        assert (list(tensors[key].shape), tensors[key].dtype.name) == (line["shape"], line["dtype"])
        return tensors[key]

    def hashes(self) -> dict[str, str]:
        return dict(zip(self.dumped_keys(), (line["sha256"] for line in self.lines()), strict=True))


def load_toy() -> Any:
    """A copy of its own for each run: hooks stay on classes."""
    spec = importlib.util.spec_from_file_location("toy_colbert", HERE / "toy_colbert.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_colbert"] = module
    spec.loader.exec_module(module)
    torch: Any = types.ModuleType("torch")
    torch.Tensor = module.Tensor
    torch.nn = types.SimpleNamespace(functional=types.SimpleNamespace(normalize=module.normalize))
    sys.modules["torch"] = torch
    return module


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    for name in ("torch", "toy_colbert", "colbert.indexing.collection_indexer"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))  # put back after the test

    def made(name: str = "run", texts: list[str] = TEXTS, donor: Path | None = None, **wanted: Any) -> Run:
        directory = tmp_path / name
        directory.mkdir()
        return Run(directory, texts, donor, **wanted)

    return made


def test_the_configuration_knows_the_same_names() -> None:
    assert set(hooks.DUMPED) == set(get_args(torch_versions.Dumped))
    assert len(hooks.DUMPED) == len(set(hooks.DUMPED))
    assert set(hooks.INJECTABLE) == set(get_args(torch_versions.Injectable))


def test_every_published_dump_has_its_place_here(start: Start) -> None:
    with (REPO / "config/published/torch_dumped_artifacts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    made = {as_pattern(key) for key in start().finish().dumped_keys()} | {
        as_pattern(key) for key in every_index_has()
    }
    for row in rows:
        keys = row["our_keys"].split(" + ") if row["our_keys"] else []
        assert keys or row["remark"], row["artifact"]
        assert {as_pattern(key) for key in keys} <= made, row["artifact"]
    # As published: the list is complete, and nothing of it was changed.
    published = [[row[name] for name in ["source_file", "artifact", "where_dumped"]] for row in rows]
    assert len(published) == 53
    assert hashlib.sha256(json.dumps(published).encode()).hexdigest()[:16] == "da71b696003a6758"


def as_pattern(key: str) -> str:
    """Chunks and calls as the table writes them."""
    stage, chunk, _, name = key.split("/")
    return f"{stage}/{'-' if chunk == '-' else '{chunk}'}/{name}"


# Dumping


def test_every_name_arises_and_no_key_twice(start: Start) -> None:
    run = start().finish()
    keys = run.dumped_keys()
    assert len(keys) == len(set(keys))
    assert {key.rsplit("/", 1)[1] for key in keys} == set(hooks.DUMPED)
    assert run.faults == []


def test_chunks_calls_and_slices_have_keys_of_their_own(start: Start) -> None:
    keys = start().finish().dumped_keys()

    def of(name: str) -> list[str]:
        return [key.removesuffix(f"/{name}") for key in keys if key.endswith(f"/{name}")]

    # Five passages by four, batches of two: 2 + 1. Chunks of 3 and 2 passages: 2 and 1 batches.
    assert of("tensorize_output") == ["planning/-/0", "planning/-/1", "encoding/0/0", "encoding/1/0"]
    assert of("batches") == [
        *("planning/-/0", "planning/-/1", "planning/-/2"),
        *("encoding/0/0", "encoding/0/1", "encoding/1/0"),
    ]
    assert of("local_sample_embs") == ["planning/-/0"]
    assert of("embs") == of("codes") == ["encoding/0/0", "encoding/1/0"]
    # Six and five embeddings, slices of four; and the held-out sample's.
    slices = ["encoding/0/0", "encoding/0/1", "encoding/1/0", "encoding/1/1"]
    assert of("residuals_before_packing") == slices
    assert of("compress_batch") == of("lookup_centroids") == ["training/-/0", *slices]
    assert of("sort_indices") == ["finalizing/-/0"]


def test_values_are_those_of_the_run(start: Start) -> None:
    run = start().finish()
    assert run.tensor("planning/-/0/num_passages").tolist() == 5
    assert run.tensor("planning/-/0/sample_pids").tolist() == [0, 1, 2, 3, 4]
    assert run.tensor("planning/-/0/doclens").tolist() == [3, 1, 2, 4, 1]
    assert run.tensor("encoding/1/0/doclens").tolist() == [4, 1]
    codes = [ord(letter) for letter in "ghijk"]
    assert run.tensor("encoding/1/0/embs").tolist() == [[code, 2 * code] for code in codes]
    assert run.tensor("training/-/0/kmeans_arguments").tolist() == [2, 2, 7]
    prenorm = run.tensor("training/-/0/prenorm_centroids")
    assert prenorm.tolist() == [[97, 194], [98, 196]]
    postnorm = run.tensor("training/-/0/postnorm_centroids")
    assert np.linalg.norm(postnorm, axis=1) == pytest.approx([1, 1])
    assert (run.tensor("training/-/0/half_centroids") == postnorm.astype(np.float16)).all()
    assert run.tensor("training/-/0/avg_residual").shape == ()
    codes = run.tensor("finalizing/-/0/presort_codes")
    order = run.tensor("finalizing/-/0/sort_indices")
    assert (codes[order] == run.tensor("finalizing/-/0/sorted_codes")).all()
    assert (np.asarray(run.index_files["ivf"]) == order).all()


def test_the_tokenizer_output_of_unequal_batches() -> None:
    """Of abc, d, ef by two: d ef, padded to two letters, then abc."""
    output = load_toy().DocTokenizer().tensorize(TEXTS[:3], bsize=2)
    assert hooks.tensorized(output).tolist() == [
        [2, ord("d"), 0, -1, 1, 0, -1],
        [0, ord("e"), ord("f"), -1, 1, 1, -1],
        [1, ord("a"), ord("b"), ord("c"), 1, 1, 1],
    ]
    ids, mask = output[0][0]
    assert hooks.tensorized((ids, mask)).tolist() == [[0, ord("d"), 0, 1, 0], [1, ord("e"), ord("f"), 1, 1]]


def test_the_source_names_the_function(start: Start) -> None:
    run = start(artifacts=["postnorm_centroids", "embs"]).finish()
    text = (HERE / "toy_colbert.py").read_text().splitlines()
    for line in run.lines():
        place, name = line["source"].split(" ")
        file, number = place.split(":")
        assert file == "toy_colbert.py"
        assert f"def {name.rsplit('.')[1]}(" in text[int(number) - 1]


def test_only_what_is_chosen_is_dumped(start: Start) -> None:
    run = start(artifacts=["codes", "sorted_codes"]).finish()
    assert run.dumped_keys() == ["encoding/0/0/codes", "encoding/1/0/codes", "finalizing/-/0/sorted_codes"]
    assert len(list((run.directory / "dumps").iterdir())) == 3 + 1


def test_a_repeat_is_equal_and_what_was_replaced_for_a_while_is_put_back(start: Start) -> None:
    first, second = start("first").finish(), start("second").finish()
    assert first.hashes() == second.hashes()
    assert "sort" not in vars(second.toy.Tensor)
    assert sys.modules["torch"].nn.functional.normalize is second.toy.normalize


def test_outside_of_an_index_nothing_is_dumped(start: Start) -> None:
    run = start()
    run.indexer.encoder.encode_passages(["abc"])
    assert not (run.directory / "dumps").exists()


# Injecting


def test_a_runs_own_artifacts_change_nothing(start: Start) -> None:
    donor = start("donor").finish()
    run = start("run", donor=donor.directory, injected=list(hooks.INJECTABLE)).finish()
    assert run.hashes() == donor.hashes()
    marked = {line["name"] for line in run.lines() if line["injected"]}
    assert marked == set(hooks.INJECTABLE)
    assert not any(line["injected"] for line in donor.lines())


def test_injected_values_are_used_downstream_and_no_earlier(start: Start) -> None:
    donor = start("donor", [text.upper() for text in TEXTS]).finish()
    plain = start("plain").finish().hashes()
    run = start("run", donor=donor.directory, injected=["local_sample_embs", "embs"]).finish()
    theirs, ours = donor.hashes(), run.hashes()
    assert plain["encoding/1/0/embs"] != theirs["encoding/1/0/embs"]
    upstream = ("tensorize_output", "batches", "D")
    for key, found in ours.items():
        assert found == (plain if key.endswith(upstream) else theirs)[key], key
    assert (run.index_files["ivf"] == donor.index_files["ivf"]).all()


@pytest.mark.parametrize("name", hooks.INJECTABLE)
def test_each_injectable_takes_the_donors_values(start: Start, name: str) -> None:
    donor = start("donor").finish()
    for line in donor.lines():
        if line["name"] == name:
            change(donor, line)
    theirs = donor.hashes()
    run = start("run", donor=donor.directory, injected=[name]).finish()
    found = {key: value for key, value in run.hashes().items() if key.endswith(f"/{name}")}
    assert found == {key: theirs[key] for key in found}
    plain = start("plain").finish()
    assert run.hashes() != plain.hashes()


def change(run: Run, line: dict[str, Any]) -> None:
    """Plant other values in what a run dumped."""
    from safetensors.numpy import save_file

    path = run.directory / "dumps" / line["tensor_file"]
    ((key, array),) = load_file(path).items()
    array = array[1:] if line["name"] == "sample_pids" else np.asarray(array + 1, array.dtype)
    save_file({key: array}, path)
    lines = run.lines()
    lines[run.dumped_keys().index(key)] |= {"sha256": content_hash(array), "shape": list(array.shape)}
    (run.directory / "dumps" / "dumps.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))


@pytest.mark.parametrize(
    ("texts", "injected", "sentence"),
    [
        (
            ["abc", "d", "ef"],
            ["codes"],
            "encoding/1/0/codes: torch_1-0a1b2c3d/5/dumps/1 has no such artifact",
        ),
        (["a", *TEXTS[1:]], ["embs"], r"encoding/0/0/embs: .* has the shape \(4, 2\), here it is \(6, 2\)"),
        (
            ["ab", "de", *TEXTS[2:]],
            ["embs"],
            "encoding/0/0/embs: the doclens of .* are not those of this run",
        ),
    ],
)
def test_what_does_not_fit_is_a_failed_run_and_no_defect(
    start: Start, texts: list[str], injected: list[str], sentence: str
) -> None:
    donor = start("donor", texts).finish()
    run = start("run", donor=donor.directory, injected=injected)
    with pytest.raises(InjectionError, match=sentence) as raised:
        run.finish()
    assert raised.value.own_fault is False
    assert run.faults == []


def test_another_dtype_does_not_fit(start: Start) -> None:
    donor = start("donor").finish()
    run = start("run", donor=donor.directory, injected=["bucket_cutoffs"])
    double = capture.Capture(
        run.directory / "dumps", ["bucket_cutoffs"], ["bucket_cutoffs"], Donor(donor.directory), print
    )
    with (
        double.during("training"),
        pytest.raises(
            InjectionError, match=r"training/-/0/bucket_cutoffs: .* of float32, here .* of float64"
        ),
    ):
        double.take("bucket_cutoffs", np.array([0.5]), "here")


def test_what_was_never_made_was_not_injected(start: Start) -> None:
    donor = start("donor").finish()
    run = start("run", donor=donor.directory, injected=["sample"])
    run.indexer.train = lambda: setattr(run.indexer, "codec", run.toy.ResidualCodec(run.toy.tensor([[1, 2]])))
    with pytest.raises(InjectionError, match="sample was never made"):
        run.finish()


def test_a_damaged_donor_is_noticed(start: Start) -> None:
    donor = start("donor").finish()
    lines = donor.lines()
    lines[donor.dumped_keys().index("encoding/0/0/codes")]["sha256"] = "0" * 64
    (donor.directory / "dumps" / "dumps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = start("run", donor=donor.directory, injected=["codes"])
    with pytest.raises(InputError, match=r"encoding.0.0.codes.safetensors: the values are not those"):
        run.finish()
    assert len(run.faults) == 1


# Before a framework is loaded


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"artifacts: 'emps' is not known; known are .*embs"):
        hooks.obstacle({"artifacts": ["emps"]}, None)
    with pytest.raises(InputError, match="injected: 'doclens' is not known"):
        hooks.obstacle({"injected": ["doclens"]}, None)


def test_the_donor_is_looked_at_first(start: Start) -> None:
    donor = start("donor", artifacts=["codes"]).finish().directory
    assert hooks.obstacle({"injected": ["codes"], "donor": "0a1b2c3d"}, donor) is None
    assert hooks.obstacle({"artifacts": [], "injected": [], "donor": None}, None) is None
    found = hooks.obstacle({"injected": ["codes", "embs"]}, donor)
    assert found == "torch_1-0a1b2c3d/5/dumps/1, whose codes and embs this run is given, dumped no embs"
    with pytest.raises(InputError, match="injected: codes: give the run it is taken from, --donor"):
        hooks.obstacle({"injected": ["codes"]}, None)
    with pytest.raises(InputError, match="the donor's cell is 0a1b2c3d, the cell asks for ffffffff"):
        hooks.obstacle({"injected": ["codes"], "donor": "ffffffff"}, donor)
    record = json.loads((donor / "run.json").read_text())
    (donor / "run.json").write_text(json.dumps({**record, "outcome": "killed"}))
    assert "ended as killed" in str(hooks.obstacle({"injected": ["codes"]}, donor))


# Our faults and the framework's


def test_a_failure_in_a_hook_is_reported_as_ours(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    monkeypatch.setattr(capture, "to_array", lambda value: {}["planted"])
    with pytest.raises(KeyError):
        run.finish()
    assert [type(fault) for fault in run.faults] == [KeyError]


@pytest.mark.parametrize("method", ["sort", "normalize"])
def test_a_failure_of_what_a_hook_calls_is_not_ours(start: Start, method: str) -> None:
    """Those have no Python frame of the framework's, so the last one is ours."""
    run = start()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    if method == "sort":
        run.toy.TensorBase.sort = fail
    else:
        sys.modules["torch"].nn.functional.normalize = fail
    with pytest.raises(RuntimeError) as raised:
        run.finish()
    assert raised.value.own_fault is False  # type: ignore[attr-defined]
    assert run.faults == []


def test_two_writers_of_one_artifact_are_noticed(start: Start) -> None:
    run = start()
    run.indexer.setup()
    second = capture.Capture(run.directory / "dumps", ["doclens"], [], None, print)
    with second.during("planning"), pytest.raises(FileExistsError, match="two processes made one artifact"):
        second.take("doclens", [1], "here")


# The manifest


def test_the_manifest_has_what_the_run_dumped_where_it_is(start: Start) -> None:
    run = start().finish()
    manifest_path = run.directory / "artifacts" / "manifest.json"
    write_index(run.directory / "index")
    dump_artifacts(run.directory, manifest_path, lambda path: INDEX[path.name])
    manifest = read_manifest(manifest_path)
    on_the_way = [artifact for artifact in manifest.artifacts if artifact.stage != "final"]
    assert [artifact.key for artifact in on_the_way] == run.dumped_keys()
    assert {artifact.key for artifact in manifest.artifacts} >= {"final/-/0/centroids", "final/0/0/codes"}
    for artifact in on_the_way:
        path = manifest_path.parent / artifact.tensor_file
        assert path.parent == manifest_path.parent / ".." / "dumps"
        assert content_hash(load_file(path)[artifact.key]) == artifact.sha256
        assert artifact.source_file.startswith("toy_colbert.py:")
    assert not {path.name for path in manifest_path.parent.iterdir()} & {
        path.name for path in (run.directory / "dumps").iterdir()
    }


INDEX: dict[str, list[Any]] = {
    "centroids.pt": [np.zeros((2, 8), np.float16)],
    "avg_residual.pt": [np.array(0.25, np.float32)],
    "buckets.pt": [np.zeros(3, np.float32), np.zeros(4, np.float32)],
    "ivf.pid.pt": [np.array([0, 1], np.int32), np.array([1, 1], np.int64)],
    "0.codes.pt": [np.zeros(3, np.int32)],
    "0.residuals.pt": [np.zeros((3, 2), np.uint8)],
}


def write_index(index: Path) -> None:
    index.mkdir()
    (index / "metadata.json").write_text('{"num_chunks": 1}')
    (index / "doclens.0.json").write_text("[1, 2]")
    (index / "0.metadata.json").write_text('{"num_embeddings": 3}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda dumps: next(dumps.glob("*.codes.safetensors")).unlink(), "codes.safetensors is missing"),
        (
            lambda dumps: (dumps / "dumps.jsonl").write_text((dumps / "dumps.jsonl").read_text() * 2),
            "encoding/0/0/codes is there twice",
        ),
        (lambda dumps: (dumps / "dumps.jsonl").write_text("{}\n"), "dumps.jsonl is damaged"),
        (lambda dumps: (dumps / "dumps.jsonl").write_text("{\n"), "dumps.jsonl is damaged"),
    ],
)
def test_damaged_dumps_leave_no_manifest(start: Start, damage: Callable[[Path], None], sentence: str) -> None:
    run = start(artifacts=["codes"]).finish()
    damage(run.directory / "dumps")
    manifest_path = run.directory / "artifacts" / "manifest.json"
    with pytest.raises(InputError, match=f"{sentence}.*run index_collection.py again"):
        dump_artifacts(run.directory, manifest_path)
    assert not manifest_path.exists()


def test_dumps_of_a_run_that_did_not_complete_are_not_listed(start: Start) -> None:
    run = start().finish()
    record = json.loads((run.directory / "run.json").read_text())
    (run.directory / "run.json").write_text(json.dumps({**record, "outcome": "out_of_memory_host"}))
    manifest_path = run.directory / "artifacts" / "manifest.json"
    manifest = dump_artifacts(run.directory, manifest_path)
    assert (manifest.outcome, manifest.artifacts) == ("out_of_memory_host", ())


# Under the supervisor


class Measured:
    """Programs beside which the toy framework is installed as colbert and torch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scripts = directory / "scripts"
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
        shutil.copy(HERE / "toy_adapter.py", self.scripts / "indexscope" / "frameworks" / "toy.py")
        shutil.copy(HERE / "toy_colbert.py", self.scripts / "toy_framework.py")
        self.write("torch", "from toy_framework import Tensor, normalize\nfrom types import SimpleNamespace\n"
                   "nn = SimpleNamespace(functional=SimpleNamespace(normalize=normalize))\n")  # fmt: skip
        for name, attributes in load_toy().MODULES.items():
            self.write(name, f"from toy_framework import {', '.join(attributes)}\n")
        self.collection = directory / "collection.jsonl"
        self.collection.write_text('{"document_id": "0", "text": "a"}\n')

    def write(self, module: str, text: str) -> None:
        path = self.scripts / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(
        self, output: str, *more: str, unavailable: str = "", profiler: str = "dumps", **cell: Any
    ) -> subprocess.CompletedProcess[str]:
        content = {
            **dict.fromkeys(("system", "corpus", "checkpoint", "framework", "environment"), "toy"),
            **{"cell": "00000000", "lock_digest": "00000000", "functions": [], "device": "cpu"},
            **{"threads": 1, "allocator": "default", "sample_interval_seconds": 0.01, "timeout_seconds": 60},
            **{"settings": {"call": "build_index", "arguments": [TEXTS]}},
            **{"artifacts": [], "injected": [], "donor": None, **cell},
        }
        path = self.directory / "cell.json"
        path.write_text(json.dumps(content))
        command = [
            *(sys.executable, str(self.scripts / "index_collection.py"), "--cell", str(path)),
            *("--collection", str(self.collection), "--checkpoint", "none", "--documents", "1"),
            *("--profiler", profiler, "--repeat", "1", "--output", output, *more),
        ]
        environment = {**os.environ, **({"INDEXSCOPE_UNAVAILABLE": unavailable} if unavailable else {})}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.directory, env=environment, check=False
        )

    def record(self, output: str) -> dict[str, Any]:
        return read_run_record(self.directory / output / "run.json")

    def files(self, output: str) -> list[str]:
        return sorted(path.name for path in (self.directory / output).iterdir())

    def dumped(self, output: str) -> dict[str, str]:
        lines = (self.directory / output / "dumps" / "dumps.jsonl").read_text().splitlines()
        found = map(json.loads, lines)
        return {
            f"{each['stage']}/{each['chunk']}/{each['call']}/{each['name']}": each["sha256"] for each in found
        }


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return Measured(tmp_path)


FILES = [
    "index", "ledger.jsonl", "memory_curve.csv", "memory_profiler.log", "run.json", "spans.jsonl", "stdout.log",
]  # fmt: skip


def test_a_run_under_dumps_and_one_given_its_artifacts(measured: Measured) -> None:
    done = measured.start("first")
    assert (done.returncode, measured.record("first")["outcome"]) == (0, "completed"), done.stderr
    assert measured.files("first") == sorted([*FILES, "dumps"])
    assert {key.rsplit("/", 1)[1] for key in measured.dumped("first")} == set(hooks.DUMPED)
    patched = {each["qualname"] for each in measured.record("first")["instrumented"] if each["patched"]}
    assert patched >= {hook.qualname for hook in hooks.HOOKS}

    measured.start("second", "--donor", "first", injected=["embs", "sample"], donor="00000000")
    assert measured.record("second")["injected"] == ["embs", "sample"]
    assert measured.dumped("second") == measured.dumped("first")

    measured.start("first", profiler="none")  # what was dumped there before is gone
    assert measured.files("first") == FILES


def test_what_was_dumped_before_a_failure_is_kept(measured: Measured) -> None:
    framework = measured.scripts / "toy_framework.py"
    framework.write_text(
        framework.read_text().replace(
            "return sample[:-1]", "raise OSError('gone')\n        return sample[:-1]"
        )
    )
    assert measured.start("run").returncode == 0
    assert measured.record("run")["outcome"] == "failed"
    stages = {key.split("/")[0] for key in measured.dumped("run")}
    assert stages == {"planning"}


def test_a_defect_of_a_hook_is_an_error_and_leaves_nothing(measured: Measured) -> None:
    library = measured.scripts / "indexscope" / "artifacts" / "hooks.py"
    text = library.read_text()
    assert "result[0], source)" in text
    library.write_text(text.replace("result[0], source)", "result[7], source)"))
    done = measured.start("run")
    assert done.returncode == 1
    assert "IndexScope's own code: IndexError" in done.stderr
    assert not (measured.directory / "run").exists()


def test_an_injection_that_does_not_fit_is_an_outcome(measured: Measured) -> None:
    measured.start("donor", settings={"call": "build_index", "arguments": [["abcd", *TEXTS[1:]]]})
    done = measured.start("run", "--donor", "donor", injected=["embs"])
    assert done.returncode == 0, done.stderr
    record = measured.record("run")
    assert record["outcome"] == "failed"
    assert (
        "encoding/0/0/embs: that of toy-00000000/1/dumps/1 has the shape (7, 2)" in record["outcome_detail"]
    )


def test_an_environment_that_could_not_be_built_is_a_result(measured: Measured) -> None:
    done = measured.start("run", unavailable="torch 1.13.1:\n no wheel for Python 3.12")
    assert done.returncode == 0, done.stderr
    record = measured.record("run")
    assert (record["outcome"], record["versions"]) == ("failed", {})
    assert record["outcome_detail"] == "torch 1.13.1: no wheel for Python 3.12"
    assert measured.files("run") == sorted([*FILES, "dumps"])
    run = measured.directory / "run"
    assert all(
        path.stat().st_size == 0 for path in run.iterdir() if path.is_file() and path.name != "run.json"
    )
    assert [*(run / "index").iterdir(), *(run / "dumps").iterdir()] == []


def test_requests_that_cannot_be_met_end_in_a_sentence(measured: Measured) -> None:
    for more, cell, sentence in [
        ((), {"artifacts": ["emps"]}, "'emps' is not known"),
        ((), {"injected": ["embs"]}, "--donor RUN_DIR"),
        (("--donor", "none"), {"injected": ["embs"]}, "run.json is missing"),
        ((), {"injected": ["embs"], "profiler": "none"}, "needs --profiler dumps"),
    ]:
        done = measured.start("run", *more, **cell)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert not (measured.directory / "run").exists()


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "unsupported"),
        ("sm_120 is not compatible with the current PyTorch installation.", "unsupported"),
        ("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB", "out_of_memory_cuda"),
        ("ValueError: something else", "failed"),
    ],
)
def test_a_capability_that_the_build_lacks_is_unsupported(text: str, outcome: str) -> None:
    assert supervised.failure_outcome(text) == outcome

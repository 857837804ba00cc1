"""On a CUDA machine: both frameworks at several sizes, PyTorch's account of the GPU, and what is beside it.

Skipped where nvidia-smi lists no GPU, or where PyTorch of the built environment cannot use it. A run in `finished_gpu`
takes minutes: it builds both environments and compiles the extensions for CUDA.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from checkout import ENVIRONMENTS, Checkout

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

SYSTEMS = ["colbert", "ragatouille_faiss_true"]
SIZES = [200, 500, 1000]
PHASES = ("setup", "train", "index", "finalize")
PLANTED_MIB = 512
# A context of its own, NVML's own steps, and what a library may take in one run and not in another.
ELSEWHERE_MIB = 64

# The measured program, which first takes memory behind PyTorch's back; in the parent only, not in what it spawns.
PLANTING_WORKER = """
import ctypes, glob, os, sys

from indexscope.measure import worker

if __name__ == "__main__" and int(os.environ.get("PLANTED_MIB", 0)):
    folders = [os.path.join(path, "nvidia", "cuda_runtime", "lib", "libcudart.so.*") for path in sys.path]
    libraries = [path for folder in folders for path in glob.glob(folder)]
    runtime = ctypes.CDLL(libraries[0] if libraries else "libcudart.so")
    pointer = ctypes.c_void_p()
    code = runtime.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(int(os.environ["PLANTED_MIB"]) << 20))
    assert code == 0, "cudaMalloc returned %d" % code

worker.run_program(__name__)
"""


class Run(NamedTuple):
    record: dict[str, Any]
    spans: list[dict[str, Any]]
    curve: list[dict[str, float]]


def read(directory: Path) -> Run:
    spans = [json.loads(line) for line in (directory / "spans.jsonl").read_text().splitlines()]
    with (directory / "gpu_curve.csv").open() as file:
        curve = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return Run(json.loads((directory / "run.json").read_text()), spans, curve)


@pytest.fixture(scope="session")
def finished_gpu(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which both frameworks have built indexes on the GPU, under spans."""
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    )
    if not listing or not listing.stdout.strip():
        pytest.skip("no CUDA machine: nvidia-smi lists no GPU")
    copy = Checkout(tmp_path_factory.mktemp("finished_gpu"))
    experiment = {
        "systems": SYSTEMS,
        "grids": [{"sizes": SIZES, "profilers": ["spans"]}, {"sizes": SIZES[:1], "profilers": ["none"]}],
    }
    (copy.path / "gpu.yaml").write_text(
        yaml.safe_dump({"measurement": {"device": "cuda"}, "index_memory": experiment})
    )
    copy.snakemake("index_runs", "--configfile", "gpu.yaml")
    reason = subprocess.run(
        [str(python_of(copy, "ragatouille")), "-c", "import torch; assert torch.cuda.is_available()"],
        capture_output=True,
        text=True,
        check=False,
    )
    if reason.returncode != 0:
        pytest.skip(f"PyTorch of the environment cannot use the GPU: {reason.stderr[-300:]}")
    return copy


def python_of(copy: Checkout, environment: str) -> Path:
    """Python of a built environment: Snakemake keeps a copy of the lock beside each."""
    specification = (copy.path / f"envs/{environment}.yaml").read_bytes()
    (lock,) = [path for path in ENVIRONMENTS.glob("*.yaml") if path.read_bytes() == specification]
    return lock.with_suffix("") / "bin" / "python"


def directories(copy: Checkout, system: str, profiler: str) -> dict[int, Path]:
    found = copy.path.glob(f"results/index_runs/{system}-*/*/{profiler}/1")
    return {int(path.parts[-3]): path for path in found}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_size_completes_with_memory_of_the_gpu_on_its_spans(
    finished_gpu: Checkout, system: str
) -> None:
    runs = {size: read(path) for size, path in directories(finished_gpu, system, "spans").items()}
    assert sorted(runs) == SIZES
    for run in runs.values():
        assert run.record["outcome"] == "completed", run.record["outcome_detail"]
        assert run.record["hardware"]["gpus"]
        on_gpu = [span for span in run.spans if span["gpu_peak_mib"] is not None]
        assert on_gpu
        for span in on_gpu:
            assert 0 <= span["gpu_allocated_mib"] <= span["gpu_reserved_mib"]
            assert span["gpu_allocated_mib"] <= span["gpu_peak_mib"] + 0.001
        memory = run.record["memory"]
        assert max(span["gpu_peak_mib"] for span in on_gpu) <= memory["gpu_allocated_peak_mib"] + 0.001
        assert 0 < memory["gpu_allocated_peak_mib"] <= memory["gpu_reserved_peak_mib"]
        assert memory["gpu_others_peak_mib"] > 0  # a context at least


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_phase_has_a_peak_on_the_gpu(finished_gpu: Checkout, system: str) -> None:
    for path in directories(finished_gpu, system, "spans").values():
        peaks = {
            span["function"].rpartition(".")[2]: span["gpu_peak_mib"]
            for span in read(path).spans
            if "CollectionIndexer" in span["function"]
        }
        assert all(peaks.get(phase) is not None for phase in PHASES), peaks
        assert peaks["index"] > 0  # the encoder is there


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("profiler", ["none", "spans"])
def test_used_memory_is_seen_from_outside(finished_gpu: Checkout, system: str, profiler: str) -> None:
    run = read(directories(finished_gpu, system, profiler)[SIZES[0]])
    memory = run.record["memory"]
    assert memory["gpu_used_before_mib"] < memory["gpu_used_peak_mib"]
    assert max(row["used_mib"] for row in run.curve if row["gpu"] == 0) == memory["gpu_used_peak_mib"]
    # What PyTorch reserved is in use, and NVML looks ten times a second at most.
    assert memory["gpu_used_peak_mib"] > memory["gpu_allocated_peak_mib"]
    assert all(
        earlier["seconds"] <= later["seconds"]
        for earlier, later in zip(run.curve, run.curve[1:], strict=False)
    )


def planted(copy: Checkout, tmp_path: Path, mib: int) -> Run:
    """RAGatouille, which works in process, in a program that has taken `mib` by cudaMalloc before."""
    scripts = copy.path / "workflow" / "scripts"
    program = scripts / "planting_worker.py"
    program.write_text(PLANTING_WORKER)
    starter = (scripts / "index_collection.py").read_text().replace("index_worker.py", program.name)
    (scripts / "planting_index_collection.py").write_text(starter)
    (cell,) = (copy.path / "results/cells").glob("ragatouille_faiss_true-*.json")
    (checkpoint,) = (path for path in (copy.path / "results/checkpoints").iterdir() if path.is_dir())
    (extensions,) = (copy.path / "results/extensions").glob("plaid-ragatouille-*-cuda")
    (collection,) = (copy.path / "results/slices").glob(f"*/{SIZES[0]}.jsonl")
    python = python_of(copy, "ragatouille")
    output = tmp_path / f"planted-{mib}"
    done = subprocess.run(
        [
            *(str(python), str(scripts / "planting_index_collection.py"), "--cell", str(cell)),
            *("--collection", str(collection), "--checkpoint", str(checkpoint)),
            *("--extensions", str(extensions), "--documents", str(SIZES[0])),
            *("--profiler", "spans", "--repeat", "1", "--output", str(output)),
        ],
        env={
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "PLANTED_MIB": str(mib),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = read(output)
    assert run.record["outcome"] == "completed", run.record["outcome_detail"]
    return run


def test_memory_behind_pytorchs_back_is_others_and_in_no_span(finished_gpu: Checkout, tmp_path: Path) -> None:
    without, with_it = planted(finished_gpu, tmp_path, 0), planted(finished_gpu, tmp_path, PLANTED_MIB)
    risen = {
        name: with_it.record["memory"][name] - without.record["memory"][name]
        for name in (
            "gpu_others_peak_mib",
            "gpu_used_peak_mib",
            "gpu_allocated_peak_mib",
            "gpu_reserved_peak_mib",
        )
    }
    assert risen["gpu_others_peak_mib"] == pytest.approx(PLANTED_MIB, abs=ELSEWHERE_MIB)
    assert risen["gpu_used_peak_mib"] == pytest.approx(PLANTED_MIB, abs=2 * ELSEWHERE_MIB)
    assert abs(risen["gpu_allocated_peak_mib"]) < ELSEWHERE_MIB
    assert abs(risen["gpu_reserved_peak_mib"]) < ELSEWHERE_MIB
    for name in ("gpu_allocated_mib", "gpu_reserved_mib", "gpu_peak_mib"):
        peaks = [max(span[name] or 0.0 for span in run.spans) for run in (without, with_it)]
        assert abs(peaks[1] - peaks[0]) < ELSEWHERE_MIB

"""Real segments, built, loaded and measured with faiss: bytes are where the formula says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from checkout import REPOSITORY
from indexscope.faiss_tables import formulas

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
GEOMETRY = {
    "dim": 32, "nlist": 64, "pq_m": 8, "code_size": 8, "hnsw_m": 16, "vectors_per_segment": 4000,
    "training_vectors": 2560, "seed": 7,
}  # fmt: skip
KINDS = [("ivf_flat", "l2"), ("hnsw_pq", "inner_product"), ("ivf_pq", "l2"), ("ivf_pq", "inner_product")]
SEGMENTS = 20


def run(python: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), str(SCRIPTS / program), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
    )  # fmt: skip


def build(python: Path, output: Path, index_type: str, metric: str, segments: int = SEGMENTS) -> Path:
    content = {"index_type": index_type, "metric": metric, "segments": segments, "geometry": GEOMETRY}
    done = run(python, "build_faiss_segments.py", "--segments", json.dumps(content), "--output", str(output))
    assert done.returncode == 0, done.stdout
    return output


def measure(python: Path, folder: Path, output: Path, **changes: Any) -> list[dict[str, Any]]:
    settings = {
        "segments": [SEGMENTS], "load_modes": ["default", "skip", "shared"], "repeats": 1, "memory_limit_mib": None,
        "threads": 1, "timeout_seconds": 120, "lock_digest": None, **changes,
    }  # fmt: skip
    done = run(
        python, "measure_faiss_memory.py", "--segments", str(folder), "--grid", "grid",
        "--settings", json.dumps(settings), "--output", str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (
        f"1/{len(settings['segments']) * len(settings['load_modes']) * settings['repeats']}: " in done.stdout
    )
    return [json.loads(line) for line in output.read_text().splitlines()]


def kib(line: dict[str, Any]) -> int:
    """Memory above the process before loading."""
    measured = line["measured"]
    return int(measured["loaded"]["rss"] - measured["baseline"]["rss"])


@pytest.fixture(scope="module")
def folders(faiss_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    directory = tmp_path_factory.mktemp("segments")
    return {kind: build(faiss_python, directory / "-".join(kind), *kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_formula_is_within_two_percent(
    faiss_python: Path, folders: dict[tuple[str, str], Path], kind: tuple[str, str], tmp_path: Path
) -> None:
    lines = measure(faiss_python, folders[kind], tmp_path / "lines.jsonl")
    geometry = formulas.Geometry.of(GEOMETRY)
    errors = {}
    for line in lines:
        assert line["outcome"] == "completed", line["outcome_detail"]
        formula = formulas.memory(*kind, geometry, SEGMENTS, line["load_mode"]).total
        errors[line["load_mode"]] = formula / (1024 * kib(line)) - 1
    # Sharing hashes codebooks; of its buffers some 100 KiB stay in the heap, whatever the number of segments.
    table = formulas.table_bytes(*kind, geometry)
    assert all(abs(errors[mode]) <= 0.02 for mode in ("default", "skip"))
    assert abs(errors["shared"]) <= (0.04 if table else 0.02)
    assert len({line["results_digest"] for line in lines}) == 1


def test_tables_are_counted_by_segment(
    faiss_python: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    """Known: a table of 4 x 64 x 8 x 256 bytes in each segment, one, or none."""
    lines = measure(faiss_python, folders["ivf_pq", "l2"], tmp_path / "lines.jsonl", segments=[1, 10])
    of = {(line["segments"], line["load_mode"]): kib(line) for line in lines}
    table = 4 * 64 * 8 * 256 // 1024
    assert of[10, "default"] - of[10, "skip"] == pytest.approx(10 * table, rel=0.02)
    assert of[10, "shared"] - of[10, "skip"] == pytest.approx(table, abs=160)
    nine = of[10, "shared"] - of[1, "shared"]
    assert nine == pytest.approx(of[10, "skip"] - of[1, "skip"], abs=64)


def test_tabulated(faiss_python: Path, folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    measure(faiss_python, folders["ivf_pq", "l2"], tmp_path / "lines.jsonl", segments=[2], repeats=2)
    names = tmp_path / "memory.parquet", tmp_path / "estimates.parquet"
    program = ["tabulate_faiss_memory.py", str(tmp_path / "lines.jsonl")]
    done = run(Path(sys.executable), *program, "--memory", str(names[0]), "--estimates", str(names[1]))
    assert done.returncode == 0, done.stdout
    assert pq.read_table(names[0]).num_rows == 6
    assert {row["runs"] for row in pq.read_table(names[1]).to_pylist()} == {2}


def test_limit_and_unusable_segments_are_rows(faiss_python: Path, tmp_path: Path) -> None:
    """One mode passes the limit; one segment is damaged although its size is right."""
    folder = build(faiss_python, tmp_path / "segments", "hnsw_pq", "l2")
    lines = measure(faiss_python, folder, tmp_path / "a.jsonl", memory_limit_mib=40)
    assert {line["outcome"] for line in lines} == {"out_of_memory_host"}  # importing faiss alone takes more
    last = folder / f"segment-{SEGMENTS - 1:03d}.faiss"
    size = last.stat().st_size
    last.write_bytes(last.read_bytes()[: size // 2].ljust(size, b"\xff"))
    lines = measure(
        faiss_python, folder, tmp_path / "b.jsonl", segments=[SEGMENTS - 1, SEGMENTS], load_modes=["skip"]
    )
    assert [line["outcome"] for line in lines] == ["completed", "failed"]
    assert last.name in lines[1]["outcome_detail"]


def test_the_same_bytes_twice(faiss_python: Path, tmp_path: Path) -> None:
    for kind in KINDS[1:3]:
        first, second = (build(faiss_python, tmp_path / name, *kind, segments=2) for name in ("a", "b"))
        files = sorted(path.name for path in first.iterdir())
        assert files == [
            "manifest.json", "primer.faiss", "queries.npy", "segment-000.faiss", "segment-001.faiss",
        ]  # fmt: skip
        assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
        assert (first / files[3]).read_bytes() != (first / files[4]).read_bytes()


def test_nothing_half_written_is_left(faiss_python: Path, tmp_path: Path) -> None:
    content = {"index_type": "ivf_pq", "metric": "l2", "segments": 1, "geometry": {**GEOMETRY, "dim": 30}}
    output = tmp_path / "segments"
    done = run(
        faiss_python, "build_faiss_segments.py", "--segments", json.dumps(content), "--output", str(output)
    )
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []
    done = run(faiss_python, "build_faiss_segments.py", "--segments", "{}", "--output", str(output))
    assert done.stdout.startswith("--segments: 'index_type' is missing")

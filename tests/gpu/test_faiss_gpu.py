"""On a CUDA machine: copies on the GPU of indexes that share, and of indexes without their table.

Skipped where FAISS of the built environment sees no GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

PROGRAM = REPOSITORY / "tests" / "workflow" / "faiss_sharing.py"
TABLE_MIB = 4
# The driver hands out 2 MiB at a time.
STEP_MIB = 2


def run(python: Path, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A row for each pair of options and load mode."""
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    )
    if not listing or not listing.stdout.strip():
        pytest.skip("no CUDA machine: nvidia-smi lists no GPU")
    python: Path = request.getfixturevalue("faiss_python")
    folder = tmp_path_factory.mktemp("segments")
    run(python, "build", folder)
    answer = run(python, "gpu", folder)
    if not answer["gpus"]:
        pytest.skip("FAISS of the environment sees no GPU")
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def of(copies: list[dict[str, Any]], mode: str, **options: bool) -> dict[str, Any]:
    (row,) = (
        row
        for row in copies
        if row["mode"] == mode and all(row[name] == value for name, value in options.items())
    )
    return row


@pytest.mark.parametrize("float16", [False, True])
@pytest.mark.parametrize("precomputed", [False, True])
def test_copies_find_the_same_and_take_the_same(
    copies: list[dict[str, Any]], precomputed: bool, float16: bool
) -> None:
    default = of(copies, "default", precomputed=precomputed, float16=float16)
    for mode in ("skip", "shared"):
        row = of(copies, mode, precomputed=precomputed, float16=float16)
        assert row["digest"] == default["digest"], mode
        assert row["copy_mib"] == pytest.approx(default["copy_mib"], abs=STEP_MIB)
        assert row["host_still_equal"]
    shared = of(copies, "shared", precomputed=precomputed, float16=float16)
    assert shared["users"] == [1]


def test_the_gpu_computes_a_table_for_every_copy(copies: list[dict[str, Any]]) -> None:
    with_table = of(copies, "shared", precomputed=True, float16=False)["copy_mib"]
    without = of(copies, "shared", precomputed=False, float16=False)["copy_mib"]
    assert with_table - without == pytest.approx(TABLE_MIB, abs=STEP_MIB)

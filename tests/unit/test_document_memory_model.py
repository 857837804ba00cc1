"""The memory model of document_access: sizes that CPython itself states, and a real dict that was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from indexscope.document_access import memory_model
from indexscope.document_access.memory_model import MIB, Calibration
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def write(path: Path, documents: list[tuple[str, str]], ascii_only: bool = False) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        for document_id, text in documents:
            file.write(json.dumps({"document_id": document_id, "text": text}, ensure_ascii=ascii_only) + "\n")
    return path


@pytest.mark.parametrize("entries", [0, 1, 5, 6, 10, 11, 85, 86, 170, 171, 43_690, 43_691, 200_000])
def test_a_dictionary_is_as_large_as_python_says(entries: int) -> None:
    real: dict[str, None] = {}
    for number in range(entries):
        real[str(number)] = None
    assert memory_model.dictionary_bytes(entries) == sys.getsizeof(real)


@pytest.mark.parametrize(
    ("size", "allocated"),
    [(1, 16), (16, 16), (49, 64), (512, 512), (513, 528), (520, 528), (521, 544), (131_072, 135_168)],
)
def test_requests_are_rounded_up_as_allocators_do(size: int, allocated: int) -> None:
    assert memory_model.allocated_bytes(size) == allocated


def test_the_widest_character_decides_for_all_of_a_text() -> None:
    narrow, latin, wide, widest = "a" * 1000, "a" * 999 + "é", "a" * 999 + "’", "a" * 999 + "😀"
    sizes = [memory_model.text_object_bytes(text) for text in (narrow, latin, wide, widest)]
    assert sizes[0] == memory_model.allocated_bytes(49 + 1000)
    assert sizes[1] - sizes[0] < 64
    assert sizes[2] == pytest.approx(2 * sizes[1], rel=0.05)
    assert sizes[3] == pytest.approx(4 * sizes[1], rel=0.1)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_collection_is_summed_whatever_its_escapes(tmp_path: Path, ascii_only: bool) -> None:
    documents = [("a", ""), ("b", "x" * 100), ("ü", "’" * 10), ("d", "😀")]
    sizes = memory_model.collection_sizes(write(tmp_path / "raw.jsonl", documents, ascii_only))
    assert sizes.documents == 4
    assert sizes.text_bytes == 100 + 30 + 4
    assert sizes.identifier_bytes == 5
    assert sizes.object_bytes == sum(
        memory_model.allocated_bytes(sys.getsizeof(text)) for document in documents for text in document
    )
    assert sizes.in_memory_bytes == sizes.object_bytes + sys.getsizeof({name: "" for name, _ in documents})
    last = (tmp_path / "raw.jsonl").read_bytes().splitlines(keepends=True)[-1]
    assert sizes.file_bytes == (tmp_path / "raw.jsonl").stat().st_size - len(last)


def test_a_real_dict_takes_what_the_model_says(tmp_path: Path) -> None:
    """Texts of every width, as the published trainers hold them; measured in a process of its own."""
    documents = [
        (f"document {number}", ("’" if number % 3 == 0 else "") + f"word{number} " * (number % 300))
        for number in range(30_000)
    ]
    collection = write(tmp_path / "raw.jsonl", documents)
    code = (
        "import sys, pathlib\n"
        "from indexscope.document_access import raw_files\n"
        "from indexscope.measure import proc\n"
        "def anon(): return int(open('/proc/self/smaps_rollup').read().split('Anonymous:')[1].split()[0])\n"
        "collection = pathlib.Path(sys.argv[1])\n"
        "next(iter(raw_files.documents(collection)))\n"
        "before = anon()\n"
        "held = {d.document_id: d.text for d in raw_files.documents(collection)}\n"
        "print((anon() - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, collection], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    predicted = memory_model.collection_sizes(collection).in_memory_bytes / MIB
    assert predicted > 30
    assert float(done.stdout) == pytest.approx(predicted, rel=0.06)


def test_memory_does_not_grow_with_the_collection(tmp_path: Path) -> None:
    collection = write(tmp_path / "raw.jsonl", [(str(number), "x" * 4000) for number in range(10_000)])
    code = (
        "import sys, pathlib, resource\n"
        "from indexscope.document_access import memory_model\n"
        "from indexscope.measure.proc import SelfMemory\n"
        "memory = SelfMemory(); memory.reset_peak(); before = memory.read().rss\n"
        "memory_model.collection_sizes(pathlib.Path(sys.argv[1]))\n"
        "print((memory.read().peak - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, collection], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert collection.stat().st_size > 38 * MIB
    assert float(done.stdout) < 6


def test_totals_give_what_the_texts_would(tmp_path: Path) -> None:
    documents = [(f"D{number:07}", "x" * (900 + number % 200)) for number in range(5000)]
    sizes = memory_model.collection_sizes(write(tmp_path / "raw.jsonl", documents))
    estimate = memory_model.estimated_in_memory_bytes(5000, sizes.text_bytes, 8)
    assert estimate == pytest.approx(sizes.in_memory_bytes, rel=0.01)
    twice = memory_model.estimated_in_memory_bytes(5000, sizes.text_bytes, 8, character_bytes=2)
    assert twice - estimate == sizes.text_bytes


def test_offsets_in_a_dict_take_many_times_the_index() -> None:
    pointers = memory_model.estimated_offsets_bytes(3_213_835, 8)
    index = memory_model.estimated_offset_index_bytes(3_213_835, 22e9)
    # By hand: 64 + 32 bytes of objects, 2^23 slots of 4 bytes, two thirds of them entries of 16.
    assert pointers == pytest.approx(3_213_835 * 96 + 2**23 * 4 + 2**24 // 3 * 16, rel=1e-6)
    assert index / 3_213_835 < 12
    assert pointers > 10 * index


def test_predictions_are_linear_in_the_world_size() -> None:
    calibration = memory_model.calibrated([150.0, 152.0], [251.0, 253.0], documents_mib=1.0)
    assert calibration == Calibration(launcher_mib=50.0, rank_mib=100.0)
    assert calibration.predicted_mib(1, 1.0) == 151.0
    assert calibration.predicted_mib(3, 20.0) == 50.0 + 3 * 120.0


def test_a_rank_that_takes_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="calibrate again"):
        memory_model.calibrated([150.0], [150.0], documents_mib=0.0)


def test_the_limit_is_halfway_to_the_next_size() -> None:
    predictions = {1: 100.0, 2: 200.0, 4: 400.0}
    assert memory_model.limit_between(predictions, 1) == 150
    assert memory_model.limit_between(predictions, 2) == 300
    for fits in (3, 4):
        with pytest.raises(InputError, match=r"limited\.fits"):
            memory_model.limit_between(predictions, fits)
    with pytest.raises(InputError, match="take more documents"):
        memory_model.limit_between({1: 100.0, 2: 100.2}, 1)

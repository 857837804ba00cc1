"""plan_memory.py: known numbers, what lowers them, exit codes, sentences, and no package but Python's own."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import plan_memory
import pytest
import yaml
from indexscope import memory_model, memory_plan
from indexscope.frameworks import colbert, ragatouille
from indexscope.memory_model import Prediction, Quantities, Term
from indexscope.memory_plan import Case

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "workflow" / "scripts" / "plan_memory.py"
LARGE = ["--documents", "12.6M", "--framework", "ragatouille", "--tokens-per-passage", "77"]
COLBERT: dict[str, Any] = {
    "framework": "colbert",
    "device": "cpu",
    "split_to": None,
    "settings": {name: setting.default for name, setting in colbert.SETTINGS.items()},
}
RAGATOUILLE: dict[str, Any] = {
    "framework": "ragatouille",
    "device": "cpu",
    "split_to": None,
    "settings": {name: setting.default for name, setting in ragatouille.SETTINGS.items()},
}
SMALL = memory_plan.ENCODERS["answerai-colbert-small-v1"]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    """The program, in this process."""
    written, errors = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [str(PROGRAM), *arguments]),
        redirect_stdout(written),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        plan_memory.main()
    return Done(int(ended.value.code or 0), written.getvalue(), errors.getvalue())


def planned(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def without_packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a Python without site-packages."""
    return subprocess.run(
        [sys.executable, "-S", "-E", str(PROGRAM), *arguments], capture_output=True, text=True, check=False
    )


def test_known_numbers_of_a_large_collection() -> None:
    """By hand: 12.6M documents, 1.25 passages each of 77 tokens, 128 values."""
    found = planned(*LARGE, "--passages-per-document", "1.25", "--dim", "128", "--text-bytes", "10G")
    quantities = found["quantities"]
    assert quantities["passages"] == 15_750_000
    assert quantities["text_bytes"] == 10_000_000_000
    assert found["estimated"] == []
    sampled = (1 + int(16 * math.sqrt(120 * 15_750_000))) * 77
    points = sampled - 50_000
    copies = [
        term
        for term in found["terms"]
        if term["phase"] == "training" and f"{points:,} × 128 × 4" in term["formula"]
    ]
    assert copies, [term["formula"] for term in found["terms"] if term["phase"] == "training"]
    assert copies[0]["mib"] == pytest.approx(points * 128 * 4 / 2**20)
    # codes, their sorted values and their indices
    triple = 3 * 15_750_000 * 77 * 8 / 2**20
    assert found["phases"]["host"]["finalizing"] > triple
    assert max(found["phases"]["host"].values()) == found["peaks"]["host"]["mib"]


def test_json_makes_the_same_prediction() -> None:
    found = planned(*LARGE, "--device", "cuda")
    prediction = memory_model.predict(Quantities(**found["quantities"]))
    assert [Term(**term) for term in found["terms"]] == list(prediction.terms)
    for memory in ("host", "gpu"):
        assert found["peaks"][memory]["phase"] == prediction.peak(memory)[0]
        assert found["peaks"][memory]["mib"] == pytest.approx(prediction.peak(memory)[1])
    assert set(found["lower_with"]) == {"host", "gpu"}


def test_text_says_what_json_says() -> None:
    found, done = planned(*LARGE), run(*LARGE)
    assert done.returncode == 0
    assert not done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert f"{found['peaks']['host']['mib'] / 1024:,.1f} GiB of host memory" in done.stdout
    words = " ".join(done.stdout.split())
    for term in found["terms"]:
        if " = " in term["formula"]:
            assert " ".join(term["formula"].split()) in words
    assert f"mem_mb={found['peaks']['host']['to_reserve_mib']}" in done.stdout
    assert "GPU" not in done.stdout.split("What lowers")[0]


def test_it_runs_where_nothing_is_installed() -> None:
    done = without_packages(*LARGE)
    assert done.stdout == run(*LARGE).stdout
    assert done.returncode == 0


def test_nothing_but_python_is_loaded() -> None:
    code = (
        f"import runpy, sys; before = set(sys.modules); sys.argv = ['plan_memory.py', *{LARGE!r}]\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        f"try: runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert loaded - sys.stdlib_module_names == {"indexscope"}


@pytest.mark.parametrize(
    ("content", "documents"),
    [
        (COLBERT, 500),
        (COLBERT, 2_000_000),
        ({**COLBERT, "device": "cuda"}, 500_000),
        (RAGATOUILLE, 500),
        (RAGATOUILLE, 8_000),
        ({**RAGATOUILLE, "device": "cuda"}, 8_000),
        (RAGATOUILLE, 12_600_000),
    ],
)
def test_what_is_said_to_lower_the_peak_does(content: dict[str, Any], documents: int) -> None:
    adapter = colbert if content["framework"] == "colbert" else ragatouille
    case = Case(content, SMALL, documents)
    for memory in ("host", "gpu"):
        before = case.prediction().peak(memory)[1]
        for saving in memory_plan.savings(case, memory):
            name, _, value = saving.change.setting.partition(": ")
            # Only settings that there are; applied to a cell, they give the peak that is told.
            changed = (
                {**content, "device": value}
                if name == "device"
                else {**content, "settings": {**content["settings"], name: yaml.safe_load(value)}}
            )
            assert name == "device" or name in adapter.SETTINGS
            told = saving.change.case
            again = Case(
                changed, SMALL, documents, told.passages_per_document, told.tokens_per_passage
            ).prediction()
            assert again.peak(memory) == (saving.phase, pytest.approx(saving.mib))
            assert saving.saves_mib == pytest.approx(before - saving.mib)
            assert saving.saves_mib >= before / 100


def test_the_child_process_and_the_distance_matrix_can_be_saved() -> None:
    named = [saving.change.setting for saving in memory_plan.savings(Case(COLBERT, SMALL, 500))]
    assert "in_process: true" in named
    torch = Case(RAGATOUILLE, SMALL, 8_000)
    assert torch.quantities().kmeans_backend == "torch"
    assert memory_plan.savings(torch)[0].change.setting in ("use_faiss: true", "device: cuda")
    faiss = torch.with_settings(use_faiss=True)
    named = [saving.change.setting for saving in memory_plan.savings(faiss)]
    assert not {"in_process: true", "use_faiss: true"} & set(named)


def test_splitting_off_keeps_the_text_that_fits() -> None:
    case = Case(RAGATOUILLE, SMALL, 1_000_000, passages_per_document=3.0, tokens_per_passage=77)
    (change,) = (each for each in memory_plan.changes(case) if each.setting == "split_documents: false")
    quantities = change.case.quantities()
    assert quantities.passages == 1_000_000
    assert quantities.tokens_per_passage == min(3 * 77, quantities.doc_maxlen)


def test_whether_it_fits_is_the_exit_status() -> None:
    peak = planned(*LARGE)["peaks"]["host"]["mib"]
    fits = run(*LARGE, "--memory", str(math.ceil(peak)))
    assert fits.returncode == 0
    assert "Fits into" in fits.stdout
    lacks = run(*LARGE, "--memory", f"{int(peak / 1024) - 1}G")
    assert lacks.returncode == 1
    assert "Does not fit into" in lacks.stdout
    found = planned(*LARGE, "--memory", "16G")
    assert found["peaks"]["host"]["fits"] is False
    most = found["most_documents"]
    assert 0 < most < 12_600_000
    others = LARGE[2:]
    assert run("--documents", str(most), *others, "--memory", "16G").returncode == 0
    assert run("--documents", str(most * 11 // 10), *others, "--memory", "16G").returncode == 1


def test_whether_it_fits_a_gpu() -> None:
    arguments = [*LARGE, "--device", "cuda"]
    peak = planned(*arguments)["peaks"]["gpu"]["mib"]
    assert run(*arguments, "--gpu-memory", str(math.ceil(peak))).returncode == 0
    done = run(*arguments, "--gpu-memory", str(int(peak / 2)))
    assert done.returncode == 1
    assert "of GPU memory" in done.stdout
    assert "no run of this project on a GPU has checked them" in done.stdout
    # On a CPU nothing of the GPU is needed.
    assert run(*LARGE, "--gpu-memory", "1").returncode == 0


def test_this_machine_can_be_asked() -> None:
    assert run("--documents", "1", "--framework", "colbert", "--memory", "machine").returncode in (0, 1)


def test_options_are_the_frameworks_settings() -> None:
    options = ["--nbits", "4", "--index-bsize", "16", "--doc-maxlen", "180"]
    found = planned("--documents", "500k", "--framework", "colbert", *options, "--in-process")["quantities"]
    assert (found["nbits"], found["index_bsize"], found["doc_maxlen"], found["in_process"]) == (
        4,
        16,
        180,
        True,
    )
    found = planned("--documents", "8k", "--framework", "ragatouille", *options, "--kmeans", "faiss")[
        "quantities"
    ]
    assert (found["nbits"], found["index_bsize"], found["doc_maxlen"]) == (4, 16, 180)
    assert found["kmeans_backend"] == "faiss"
    found = planned(*LARGE, "--encoder", "colbertv2.0", "--layers", "6", "--nranks", "2")["quantities"]
    assert (found["hidden_size"], found["dim"], found["layers"], found["nranks"]) == (768, 128, 6, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--framework", "colbert"], "--documents: is missing; give the number of documents, such as 500k"),
        (
            ["--framework", "colbert", "--documents", "12,6M"],
            "--documents: '12,6M' is not a positive number;",
        ),
        (["--framework", "colbert", "--documents", "0"], "--documents: '0' is not a positive number;"),
        (["--framework", "colbert", "--documents", "-5"], "--documents: '-5' is not a positive number;"),
        (
            ["--framework", "colbert", "--documents", "1.5"],
            "--documents: '1.5' is not a positive whole number;",
        ),
        (["--documents", "5"], "--framework, --system or --configfile: give one;"),
        (
            ["--framework", "colbert", "--system", "x", "--documents", "5"],
            "--framework and --system: give one",
        ),
        (["--framework", "pylate"], "--framework: invalid choice: 'pylate'"),
        ([*LARGE, "--in-process"], "--in-process: ragatouille has no child process;"),
        (["--framework", "colbert", "--documents", "5", "--kmeans", "torch"], "--kmeans: colbert has no"),
        ([*LARGE, "--memory", "lots"], "--memory: 'lots' is no size; write MiB (65536) or 64G"),
        ([*LARGE, "--gpu-memory", "0"], "--gpu-memory: '0' is no size;"),
        ([*LARGE, "--layers", "two"], "--layers: 'two' is not a positive number;"),
        ([*LARGE, "--tokens-per-passages", "5"], "unrecognized arguments: --tokens-per-passages"),
        (["--configfile", "x.yaml", "--framework", "colbert"], "--configfile: --framework takes no"),
    ],
)
def test_bad_input_is_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_a_system_of_the_configuration(tmp_path: Path) -> None:
    found = planned("--documents", "10k", "--system", "colbert_fair", "--device", "cpu")
    quantities = found["quantities"]
    # like_ragatouille: 2 bits from 10,000 passages on, batches of 32; the configuration's encoder.
    assert (quantities["nbits"], quantities["index_bsize"], quantities["layers"]) == (2, 32, 2)
    assert quantities["passages"] > 10_000
    mine = tmp_path / "mine.yaml"
    mine.write_text("systems: {colbert: {settings: {nbits: 1, in_process: true}}}\n")
    found = planned("--documents", "10k", "--system", "colbert", "--configfile", str(mine))
    quantities = found["quantities"]
    assert (quantities["nbits"], quantities["in_process"], quantities["doc_maxlen"]) == (1, True, 256)


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        ("{}", ["--system", "colbret"], "--system: 'colbret' is not defined; known are colbert, "),
        (None, ["--system", "colbert"], "FILE: cannot be read (No such file or directory);"),
        ("[a", ["--system", "colbert"], "FILE: is no YAML configuration ("),
        ("measurement: {threads: 0}", ["--system", "colbert"], "FILE: measurement.threads: 0 is not valid"),
    ],
)
def test_a_wrong_configuration_is_a_sentence(
    tmp_path: Path, text: str | None, arguments: list[str], sentence: str
) -> None:
    mine = tmp_path / "mine.yaml"
    if text is not None:
        mine.write_text(text)
    done = run("--documents", "5", *arguments, "--configfile", str(mine))
    assert done.returncode == 2
    assert done.stderr.startswith(sentence.replace("FILE", str(mine)))
    assert done.stderr.count("\n") == 1


def test_without_packages_a_configuration_is_a_sentence() -> None:
    done = without_packages("--documents", "5", "--system", "colbert")
    assert done.returncode == 2
    assert re.match(
        r"--system and --configfile read a configuration, for which \w+ is missing: ", done.stderr
    )


def test_a_whole_configuration(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "index_memory: {systems: [colbert, colbert_in_process], grids: [{sizes: [500, 1000000], profilers: [none]}]}\n"
        "measurement: {device: cpu}\n"
    )
    found = json.loads(run("--configfile", str(mine), "--json").stdout)
    assert [(each["system"], each["documents"]) for each in found] == [
        *[("colbert", 500), ("colbert_in_process", 500)],
        *[("colbert", 1_000_000), ("colbert_in_process", 1_000_000)],
    ]
    peaks = sorted(each["host_mib"] for each in found)
    done = run("--configfile", str(mine), "--memory", str(math.ceil(peaks[1])))
    assert done.returncode == 1
    assert [line.endswith("no: host") for line in done.stdout.splitlines()[1:]].count(True) == 2
    assert run("--configfile", str(mine), "--memory", str(math.ceil(peaks[-1]))).returncode == 0
    done = run("--configfile", str(mine), "--text-bytes", "5G")
    assert done.stderr.startswith("--text-bytes: a configuration has its own sizes;")
    # A profiler's own memory counts.
    mine.write_text(mine.read_text().replace("[none]", "[none, ledger]"))
    more = json.loads(run("--configfile", str(mine), "--json").stdout)
    assert all(after["host_mib"] > before["host_mib"] for before, after in zip(found, more, strict=True))


def test_most_documents_is_found_and_checked() -> None:
    assert memory_plan.most_documents(lambda documents: documents <= 123_456, 10**9) == 120_000
    assert memory_plan.most_documents(lambda documents: documents <= 7, 10**9) == 7
    assert memory_plan.most_documents(lambda documents: False, 10**9) == 0


def test_reserved_memory_has_a_margin_and_grows() -> None:
    sizes = [300, 1_000, 10_000, 100_000, 500_000, 2_000_000]
    reserved = [memory_plan.reserve_mib(Case(COLBERT, SMALL, size)) for size in sizes]
    assert reserved == sorted(reserved)
    assert reserved[0] > 1_500  # two processes with their libraries
    case = Case(RAGATOUILLE, SMALL, 2_000_000)
    peak = case.prediction().peak()[1]
    assert memory_plan.reserve_mib(case) == math.ceil(1.25 * peak)
    assert memory_plan.reserve_mib(case, "gpu") == 0
    assert memory_plan.reserve_mib(case, profiler="spans") == memory_plan.reserve_mib(case)
    for profiler in ("ledger", "memray", "dumps"):
        assert memory_plan.reserve_mib(case, profiler=profiler) > memory_plan.reserve_mib(case)
    # The study's largest run (RAGatouille, 2M documents, on a GPU) had 24.0 GiB at its highest.
    gpu = Case({**RAGATOUILLE, "device": "cuda"}, SMALL, 2_000_000)
    assert 24.0 * 1024 < memory_plan.reserve_mib(gpu) < 60_000
    assert memory_plan.reserve_mib(gpu, "gpu") > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_framework_that_was_added_is_planned_as_the_larger_one(device: str) -> None:
    added = {
        "framework": "toy",
        "environment": "toy",
        "device": device,
        "split_to": None,
        "settings": {"x": 1},
    }
    case = Case(added, SMALL, 1000)
    assert (
        case.prediction().peak() == Case({**RAGATOUILLE, "device": device}, SMALL, 1000).prediction().peak()
    )
    assert [change.setting.partition(":")[0] for change in memory_plan.changes(case)] == ["device"]


@pytest.mark.parametrize("block", [0, 1])
def test_the_page_shows_what_the_program_prints(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the model changes: run the command, and paste what it prints below it."""
    blocks = re.findall(r"```\n(.*?)\n```", (REPOSITORY / "docs" / "planning.md").read_text(), re.DOTALL)
    command, printed = blocks[2 * block : 2 * block + 2]
    words = shlex.split(command.replace("\\\n", " "))
    monkeypatch.chdir(REPOSITORY)
    assert run(*words[words.index("workflow/scripts/plan_memory.py") + 1 :]).stdout.rstrip() == printed


def test_an_encoder_is_known_by_name() -> None:
    hub = {"source": "hub", "repository": "colbert-ir/colbertv2.0", "revision": "main"}
    assert memory_plan.encoder_of(hub)["hidden_size"] == 768
    assert memory_plan.encoder_of({"source": "local", "path": "models/mine/"})["hidden_size"] == 384
    own = {"source": "synthetic", "layers": 3, "hidden_size": 64}
    assert memory_plan.encoder_of(own) == own


def test_needed_memory_is_the_sum_of_the_terms_of_the_deciding_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(quantities: Quantities) -> Prediction:
        return Prediction(
            quantities,
            [
                Term("planning", "parent", "host", "a", "measured constant", 100.0),
                Term("training", "parent", "host", "a", "measured constant", 100.0),
                Term("training", "worker", "host", "b", "points x 4 bytes = 1 x 4", 50.0),
                Term("encoding", "worker", "gpu", "c", "measured constant", 70.0),
            ],
        )

    monkeypatch.setattr(memory_model, "predict", made_up)
    case = Case(COLBERT, SMALL, 10)
    assert memory_plan.needed_mib(case) == 150
    assert memory_plan.reserve_mib(case) == math.ceil(150 * memory_plan.MARGIN)
    assert memory_plan.reserve_mib(case, "gpu") == math.ceil(70 * memory_plan.MARGIN)
    share, more = memory_plan.PROFILER_MEMORY["ledger"]
    assert memory_plan.needed_mib(case, profiler="ledger") == pytest.approx(150 + 150 * share + more)
    assert memory_plan.needed_mib(case, "gpu", profiler="ledger") == 70

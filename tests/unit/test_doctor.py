"""The doctor: each check finds what was planted, says what to do, and nothing else is amiss."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from indexscope import doctor
from indexscope.doctor import FAIL, OK, WARN, Finding, Machine, Needs

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FREE = 100 * 2**30
SMI_LIST = "NVIDIA RTX 6000 Ada Generation, 49140 MiB, 550.54.15"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which all is well, made of files; its PATH holds only what `program` puts there."""
    proc, sysfs, programs = tmp_path / "proc", tmp_path / "sys", tmp_path / "bin"
    own = proc / "self"
    (own / "task" / "17").mkdir(parents=True)
    for name in ("statm", "stat", "cmdline", "status", "smaps_rollup", "clear_refs", "task/17/children"):
        (own / name).write_text("0\n")
    (own / "cgroup").write_text("0::/user.slice/job\n")
    (proc / "loadavg").write_text("0.03 0.10 0.20 1/200 1234\n")
    (proc / "meminfo").write_text(
        "MemTotal:       16777216 kB\nMemAvailable:   12582912 kB\nSwapTotal:       4194304 kB\n"
        "SwapFree:        4194304 kB\nHugePages_Total:       0\n"
    )
    (sysfs / "kernel/mm/transparent_hugepage").mkdir(parents=True)
    (sysfs / "kernel/mm/transparent_hugepage/enabled").write_text("always [madvise] never\n")
    programs.mkdir()
    result = Machine(
        proc=proc,
        sysfs=sysfs,
        environ={"PATH": str(programs)},
        system="linux",
        architecture="x86_64",
        python=(3, 11, 7),
        cores=8,
        watched_seconds=0,
        free_bytes=lambda _: FREE,
    )
    plant(result, "uv", "true")
    plant(result, "conda", "# from uv_conda import cli\ntrue")
    plant(result, "git", "echo git version 2.39.5")
    plant(result, "c++", 'case "$1" in --version) echo "c++ (Debian) 12.2.0";; *) exit 0;; esac')
    return result


def plant(machine: Machine, name: str, script: str) -> None:
    """A program on the machine's PATH."""
    path = Path(machine.environ["PATH"], name)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def plant_gpu(machine: Machine, cuda: str = "12.4", processes: str = "") -> None:
    plant(
        machine,
        "nvidia-smi",
        f'case "$1" in\n--query-gpu*) echo "{SMI_LIST}";;\n--query-compute-apps*) printf "{processes}";;\n'
        f'*) echo "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: {cuda} |";;\nesac',
    )


def plant_nvcc(machine: Machine, release: str = "12.4") -> None:
    plant(machine, "nvcc", f'echo "Cuda compilation tools, release {release}, V{release}.131"')


def only(findings: Iterator[Finding] | list[Finding], subject: str) -> Finding:
    """The one finding about a subject; a remedy goes with whatever is not in order."""
    chosen = [finding for finding in findings if finding.subject == subject]
    assert len(chosen) == 1, chosen
    assert (chosen[0].status == OK) == (not chosen[0].remedy)
    return chosen[0]


def probe(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "environment": "colbert",
        "prefix": "/envs/colbert",
        "python": "3.11.7",
        "packages": {"torch": "2.10.0"},
        "torch": {"version": "2.10.0+cu128", "cuda": "12.8", "available": True, "devices": ["RTX 6000 Ada"]},
        "faiss": {"version": "1.14.1", "gpu_build": True, "gpus": 1},
        "ninja": "/envs/colbert/bin/ninja",
        "compiler": None,
        "nvcc": "12.4",
    }
    return found | changes


def test_memory_of_the_gpu(machine: Machine) -> None:
    assert doctor.gpu_memory_mib(machine) is None
    plant_gpu(machine)
    assert doctor.gpu_memory_mib(machine) == 49140


def test_a_machine_on_which_all_is_well(machine: Machine) -> None:
    findings = list(doctor.examine(Needs(device="cpu", work="24 of 24 to make"), machine, [probe(nvcc=None)]))
    assert {finding.status for finding in findings} <= {OK}, findings
    assert doctor.verdict(findings) == "Measuring can go on."


def _no_environments(machine: Machine) -> Machine:
    Path(machine.environ["PATH"], "uv").unlink()
    Path(machine.environ["PATH"], "conda").unlink()
    return machine


def _no_git(machine: Machine) -> Machine:
    Path(machine.environ["PATH"], "git").unlink()
    return machine


def _no_compiler(machine: Machine) -> Machine:
    Path(machine.environ["PATH"], "c++").unlink()
    return machine


def _old_compiler(machine: Machine) -> Machine:
    plant(machine, "c++", "echo 'error: invalid value c++17' >&2; exit 1")
    return machine


def _gpu_broken(machine: Machine) -> Machine:
    plant(machine, "nvidia-smi", "echo 'could not communicate with the NVIDIA driver'; exit 9")
    return machine


def _no_nvcc(machine: Machine) -> Machine:
    plant_gpu(machine)
    return machine


def _gpu_shared(machine: Machine) -> Machine:
    plant_gpu(machine, processes="4711, python, 2048 MiB\\n")
    plant_nvcc(machine)
    return machine


def _no_children(machine: Machine) -> Machine:
    (machine.proc / "self/task/17/children").unlink()
    return machine


def _no_clear_refs(machine: Machine) -> Machine:
    (machine.proc / "self/clear_refs").unlink()
    (machine.proc / "self/clear_refs").mkdir()  # not even root can write it
    return machine


def _no_smaps(machine: Machine) -> Machine:
    (machine.proc / "self/smaps_rollup").unlink()
    return machine


def _swapping(machine: Machine) -> Machine:
    meminfo = machine.proc / "meminfo"
    meminfo.write_text(meminfo.read_text().replace("SwapFree:        4194304", "SwapFree:        3145728"))
    return machine


def _huge_pages(machine: Machine) -> Machine:
    (machine.sysfs / "kernel/mm/transparent_hugepage/enabled").write_text("[always] madvise never\n")
    return machine


def _preload(machine: Machine) -> Machine:
    return replace(machine, environ={**machine.environ, "LD_PRELOAD": "libjemalloc.so"})


PLANTED: list[tuple[Callable[[Machine], Machine], Needs, str, str, str]] = [
    (lambda machine: replace(machine, system="darwin"), Needs(), "operating system", FAIL, "only Linux has"),
    (
        lambda machine: replace(machine, architecture="aarch64"),
        Needs(),
        "operating system",
        FAIL,
        "locked for x86_64",
    ),
    (lambda machine: replace(machine, python=(3, 9, 1)), Needs(), "Python", FAIL, "3.9.1"),
    (_no_environments, Needs(), "conda", FAIL, "neither conda nor uv"),
    (lambda machine: machine, Needs(deployed=False), "conda", FAIL, "--sdm conda"),
    (_no_git, Needs(), "git", FAIL, "apt-get install git"),
    (_no_compiler, Needs(), "C++ compiler", FAIL, "apt-get install g++"),
    (_old_compiler, Needs(), "C++ compiler", FAIL, "invalid value c++17"),
    (lambda machine: machine, Needs(device="cuda"), "GPU", FAIL, "device: cpu"),
    (_gpu_broken, Needs(), "GPU", WARN, "could not communicate with the NVIDIA driver"),
    (_gpu_broken, Needs(device="cuda"), "GPU", FAIL, "could not communicate with the NVIDIA driver"),
    (_no_nvcc, Needs(), "nvcc", FAIL, "CUDA toolkit"),
    (_gpu_shared, Needs(), "processes on the GPU", WARN, "4711, python, 2048 MiB"),
    (_no_children, Needs(), "/proc", FAIL, "children cannot be read"),
    (_no_clear_refs, Needs(), "exact peaks", WARN, "a lower bound"),
    (_no_smaps, Needs(), "shared memory", WARN, "PSS"),
    (lambda machine: machine, Needs(memory_mib=13000, largest="x"), "memory", WARN, "may need 12.7 GiB"),
    (_swapping, Needs(), "swap", WARN, "1.0 GiB are swapped out"),
    (lambda machine: replace(machine, cores=1), Needs(threads=2), "cores", WARN, "{threads: 1}"),
    (_huge_pages, Needs(), "huge pages", WARN, "2 MiB"),
    (_preload, Needs(), "allocator", WARN, "unset LD_PRELOAD"),
    (lambda machine: machine, Needs(disk_mib=200_000), "disk, results", FAIL, "keep: none"),
    (lambda machine: machine, Needs(environments_mib=200_000), "disk, environments", FAIL, "--conda-prefix"),
]


@pytest.mark.parametrize(("change", "needs", "subject", "status", "words"), PLANTED)
def test_what_is_planted_is_found(
    machine: Machine,
    change: Callable[[Machine], Machine],
    needs: Needs,
    subject: str,
    status: str,
    words: str,
) -> None:
    finding = only(list(doctor.examine(needs, change(machine))), subject)
    assert finding.status == status
    assert words in f"{finding.found} {finding.remedy}"


def test_a_real_conda_brings_git_and_compiler(machine: Machine) -> None:
    _no_git(_no_compiler(machine))
    plant(machine, "conda", "echo conda 24.7.1")
    findings = list(doctor.examine(Needs(device="cpu"), machine))
    assert only(findings, "git, C++ compiler").status == OK
    assert doctor.verdict(findings) == "Measuring can go on."


def test_a_gpu_is_described(machine: Machine) -> None:
    plant_gpu(machine)
    plant_nvcc(machine)
    findings = list(doctor.examine(Needs(), machine))
    assert only(findings, "GPU").found == (
        "NVIDIA RTX 6000 Ada Generation, 49140 MiB; driver 550.54.15, CUDA up to 12.4"
    )
    assert only(findings, "nvcc").found == "release 12.4"
    assert only(findings, "processes on the GPU").found == "none"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max", None),
        ("1073741824", 1024.0),
        ("9223372036854771712", None),  # what version 1 says for no limit
    ],
)
def test_the_control_groups_limit(machine: Machine, content: str, expected: float | None) -> None:
    group = machine.sysfs / "fs/cgroup/user.slice"
    (group / "job").mkdir(parents=True)
    (group / "job/memory.max").write_text("max\n")
    (group / "memory.max").write_text(content)  # of the group above
    assert doctor.cgroup_limit_mib(machine) == expected
    assert doctor.machine_memory_mib(machine) == (expected or 16384.0)


def test_a_cpu_quota_counts(machine: Machine) -> None:
    (machine.sysfs / "fs/cgroup").mkdir(parents=True)
    (machine.sysfs / "fs/cgroup/cpu.max").write_text("100000 100000\n")
    assert only(doctor.cores(Needs(threads=2), machine), "cores").found == "1 for 2 threads of a run"


def test_what_is_busy_is_named(machine: Machine) -> None:
    before = {
        1: doctor.Work(0, "init", 0),
        20: doctor.Work(500, "shell", 1),
        30: doctor.Work(500, "doctor", 20),
        40: doctor.Work(900, "make (all)", 1),
        41: doctor.Work(0, "idle", 1),
    }
    added = {1: 0, 20: 90, 30: 100, 40: 75, 41: 19}
    after = {pid: work._replace(ticks=work.ticks + added[pid]) for pid, work in before.items()}
    after[50] = doctor.Work(100, "new", 1)
    assert doctor.busiest(before, after, ticks=100, own=30) == [(40, 0.75)]


def test_load_of_the_past_is_no_warning(machine: Machine) -> None:
    (machine.proc / "loadavg").write_text("1.20 0.10 0.20 1/200 1234\n")
    (machine.proc / "40").mkdir()
    (machine.proc / "40/stat").write_text("40 (make (all)) R 1 " + "0 " * 9 + "600 300 0 0\n")
    assert doctor.processes(machine) == {40: doctor.Work(900, "make (all)", 1)}
    assert only(doctor.load(Needs(), machine), "other work").found.startswith("none now; load 1.20")


def test_a_hub_that_does_not_answer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    there = replace(machine, environ={**machine.environ, "HF_ENDPOINT": "http://127.0.0.1:9"})
    finding = only(doctor.network(Needs(hub=True), there), "hub")
    assert finding.status == FAIL
    assert finding.found.startswith("127.0.0.1:9 cannot be reached")
    offline = replace(there, environ={**there.environ, "HF_HUB_OFFLINE": "1"})
    assert only(doctor.network(Needs(hub=True), offline), "hub").status == WARN
    assert only(doctor.network(Needs(hub=False), there), "hub").status == OK


def test_a_proxys_password_is_not_printed(machine: Machine) -> None:
    behind = replace(machine, environ={"https_proxy": "http://user:secret@proxy.example:3128"})
    assert only(doctor.network(Needs(), behind), "proxy").found == "https_proxy=proxy.example:3128"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"torch": {"error": "ImportError: libcudart.so.12"}},
            "torch does not import: ImportError: libcudart",
        ),
        ({"faiss": {"error": "exit status -11"}}, "faiss does not import: exit status -11"),
        ({"ninja": None}, "ninja is not on its PATH"),
        ({"compiler": "crypt.h: No such file or directory"}, "libcrypt-dev"),
        ({"torch": {"cuda": None, "available": False, "devices": []}}, "built without CUDA"),
        (
            {"torch": {"cuda": "13.0", "available": False, "devices": []}, "nvcc": None},
            "driver 550.54.15 runs CUDA 12 at most",
        ),
        ({"torch": {"cuda": "12.8", "available": False, "devices": []}}, "is_available() is false"),
        ({"nvcc": "13.0"}, "nvcc is of CUDA 13.0, torch of 12.8"),
    ],
)
def test_what_an_environment_lacks(changes: dict[str, Any], words: str) -> None:
    driver = doctor.Driver(("RTX 6000 Ada, 49140 MiB",), "550.54.15", (12, 4))
    failed = [
        finding for finding in doctor.judge(Needs(), driver, probe(**changes)) if finding.status == FAIL
    ]
    assert len(failed) == 1
    assert words in f"{failed[0].found} {failed[0].remedy}"
    assert failed[0].remedy


@pytest.mark.parametrize(
    ("faiss", "words"),
    [
        ({"gpu_build": False, "gpus": 0}, "no GPU part"),
        ({"gpu_build": True, "gpus": 0}, "get_num_gpus() is 0"),
    ],
)
def test_faiss_without_a_gpu_is_a_warning(faiss: dict[str, Any], words: str) -> None:
    driver = doctor.Driver(("RTX 6000 Ada, 49140 MiB",), "550.54.15", (12, 4))
    warned = [
        finding for finding in doctor.judge(Needs(), driver, probe(faiss=faiss)) if finding.status == WARN
    ]
    assert [words in finding.found for finding in warned] == [True]


def test_a_check_that_fails_itself_is_a_finding(machine: Machine) -> None:
    (machine.proc / "loadavg").write_text("nonsense\n")
    finding = only(list(doctor.examine(Needs(), machine)), "load")
    assert finding.status == WARN
    assert finding.found == "could not be checked (ValueError: could not convert string to float: 'nonsense')"


def test_colours_and_columns() -> None:
    findings = [
        Finding(OK, "git", "2.39.5"),
        Finding(FAIL, "C++ compiler", "not found", "apt-get install g++"),
    ]
    assert list(doctor.lines(findings)) == [
        "ok    git                      2.39.5",
        "FAIL  C++ compiler             not found",
        "                               → apt-get install g++",
    ]
    assert next(doctor.lines(findings, colour=True)).startswith("\x1b[32mok")


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / "doctor.py", *arguments], capture_output=True, text=True, check=False
    )


def test_the_program_by_hand(tmp_path: Path) -> None:
    log = tmp_path / "doctor.log"
    refused = program("--needs", json.dumps({"disk_mib": 1e12}), "--log", str(log))
    assert refused.returncode == 1, refused.stderr
    assert "FAIL  disk, results" in refused.stdout
    assert "\x1b" not in refused.stdout  # no terminal, no colours
    assert (
        refused.stdout.rstrip().splitlines()[-1].startswith("Measuring cannot go on before this is mended: ")
    )
    said = log.read_text().splitlines()
    assert any(line.startswith("FAIL  disk, results") for line in said)
    assert not any(line.startswith("ok ") for line in said)


def test_the_probe_says_why_a_library_does_not_import(tmp_path: Path) -> None:
    """Here in the driver's Python, which has neither torch nor faiss."""
    output = tmp_path / "driver.json"
    subprocess.run(
        [sys.executable, SCRIPTS / "probe_environment.py", "--environment", "driver", "--output", output],
        check=True,
    )
    found = json.loads(output.read_text())
    assert found["torch"] == {"error": "ModuleNotFoundError: No module named 'torch'"}
    failed = [each.found for each in doctor.judge(Needs(), "no GPU", found) if each.status == FAIL]
    assert failed == [
        f"{name} does not import: ModuleNotFoundError: No module named '{name}'"
        for name in ("torch", "faiss")
    ]


OTHER_SYSTEM = """
import importlib, pathlib, runpy, sys
# Of the packages, each system has its own build; ours must be the same everywhere.
for name in sys.argv.pop(1).split():
    importlib.import_module(name)
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
sys.platform = "darwin"
scripts = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(scripts))
"""


def elsewhere(code: str, *arguments: str, packages: str = "") -> subprocess.CompletedProcess[str]:
    """Run code on what looks like another system: no fcntl, resource, termios."""
    return subprocess.run(
        [sys.executable, "-c", OTHER_SYSTEM + code, packages, str(SCRIPTS), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_elsewhere_all_but_measuring_imports() -> None:
    done = elsewhere(
        """
for folder in ("analysis", "figures", "report", "settings", "frameworks"):
    for path in sorted((scripts / "indexscope" / folder).glob("*.py")):
        importlib.import_module(f"indexscope.{folder}.{path.stem}".removesuffix(".__init__"))
# What the Snakefile imports.
for name in ("cells", "config", "environments", "run_record", "doctor", "estimate", "schemas"):
    importlib.import_module(f"indexscope.{name}")
assert not any(name.startswith("indexscope.measure") for name in sys.modules)
print("imported", sum(name.startswith("indexscope.") for name in sys.modules))
""",
        packages="altair jinja2 numpy pandas pyarrow.parquet pydantic safetensors vl_convert yaml",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 20


def test_elsewhere_logs_are_parsed(tmp_path: Path) -> None:
    log, table = tmp_path / "run.log", tmp_path / "lines.parquet"
    log.write_text(
        "Filename: /x/indexer.py\n\nLine #    Mem usage    Increment  Occurrences   Line Contents\n"
        "=============================================================\n"
        "     1    100.0 MiB    100.0 MiB           1   @profile\n"
        "     2    150.0 MiB     50.0 MiB           1   x = work()\n\n"
    )
    done = elsewhere(
        """
program = scripts / "parse_memory_profiler_log.py"
sys.argv = [str(program), *sys.argv[2:]]
runpy.run_path(str(program), run_name="__main__")
print(sys.modules["pandas"].read_parquet(sys.argv[3]).increment_mib.tolist())
""",
        str(log),
        "--output",
        str(table),
        packages="pandas pyarrow.parquet",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[100.0, 50.0]"


def test_elsewhere_measuring_refuses_in_a_sentence() -> None:
    done = elsewhere(
        """
sys.argv = ["index_collection.py"]
runpy.run_path(str(scripts / "index_collection.py"), run_name="__main__")
"""
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "Measuring needs Linux (/proc); parsing logs, figures and the report work everywhere."
    )

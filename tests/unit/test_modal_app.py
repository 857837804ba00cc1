"""The Modal app up to the network: its definitions, what it asks for, and what its functions do around the rules."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import modal
import pytest
from indexscope import config as configuration
from indexscope import environments

REPOSITORY = Path(__file__).parents[2]
APP = REPOSITORY / "profiles" / "modal" / "app.py"


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("modal_app_under_test", APP)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look there
    specification.loader.exec_module(module)
    return module


# `.local()` says that the volume is not mounted.
pytestmark = pytest.mark.filterwarnings("ignore:.*executing locally.*")


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """What Modal itself makes of the image's definition, line by line; filled when `app` is loaded."""
    return []


@pytest.fixture(scope="module")
def app(dockerfile: list[str]) -> Any:
    """The app, loaded while Modal's constructor of image layers is listened to."""
    image = modal._image._Image  # type: ignore[attr-defined]
    original = image._from_args

    def listening(**arguments: Any) -> Any:
        if arguments.get("dockerfile_function"):
            dockerfile.extend(arguments["dockerfile_function"]("2025.06").commands)
        return original(**arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "_from_args", staticmethod(listening))
        for name in [name for name in os.environ if name.startswith(("INDEXSCOPE_MODAL", "MODAL_"))]:
            patch.delenv(name)
        return load()


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """No account anywhere: no token, an empty home."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MODAL_", "INDEXSCOPE_"))
    }
    return {**kept, "HOME": str(home), **more}


def import_app(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Import the app in a process that cannot open a connection."""
    program = (
        "import runpy, socket\n"
        "def refuse(*arguments): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        f"found = runpy.run_path({str(APP)!r})\n"
        "print(sorted(found['app'].registered_functions), sorted(found['app'].registered_entrypoints))\n"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=bare_environment(home, **more), cwd=home, capture_output=True, text=True, check=False
    )


def test_the_app_imports_without_an_account_or_a_network(tmp_path: Path) -> None:
    done = import_app(tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['index', 'prepare', 'search'] ['main']"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "mine.yaml: cannot be read"),
        (
            "remote_indexing: {rent: {gpu: V100}}",
            "remote_indexing.rent.gpu: 'V100' is none of Modal's: write T4, L4",
        ),
        ("remote_indexing: {k: 1}", "mine.yaml: remote_indexing.k"),
        ("a: [", "mine.yaml: is no YAML"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    app: Any, tmp_path: Path, content: str | None, sentence: str
) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(app.Failure, match=re.escape(sentence)):
        app.read_deployment(REPOSITORY, {"INDEXSCOPE_MODAL_CONFIGURATION": str(path)})


def test_a_wrong_configuration_ends_the_app_without_a_traceback(tmp_path: Path) -> None:
    done = import_app(tmp_path, INDEXSCOPE_MODAL_CONFIGURATION=str(tmp_path / "none.yaml"))

    assert done.returncode == 1
    assert "none.yaml: cannot be read" in done.stderr and "Traceback" not in done.stderr


# --- The image


def test_the_image_is_built_in_this_order(app: Any, dockerfile: list[str]) -> None:
    lines = "\n".join(dockerfile)

    assert "FROM nvidia/cuda:12.4.0-devel-ubuntu22.04" in dockerfile
    assert [lines.index(word) for word in ORDER] == sorted(lines.index(word) for word in ORDER)
    assert [step.options for step in app.image_steps(app.DEPLOYMENT) if step.method == "from_registry"] == [
        {"add_python": "3.11"}
    ]


ORDER = [
    "FROM nvidia/cuda",
    "apt-get install -y ca-certificates g++ git",
    "ENV TORCH_CUDA_ARCH_LIST=",
    "--require-hashes",
    "uv sync --frozen",
    "--conda-create-envs-only",
    "measurement={device: cuda}",
    "measurement={device: cpu}",
]


def test_nothing_is_installed_that_no_lock_pins(app: Any, dockerfile: list[str]) -> None:
    # Each command of the image's build by itself.
    commands = [
        part for line in dockerfile if line.startswith("RUN ") for part in re.split(r" && |;|\n", line[4:])
    ]
    installing = [command for command in commands if re.search(r"\b(install|sync|add|download)\b", command)]

    assert len([command for command in installing if "apt-get" in command]) == 1
    for command in installing:
        if "pip install" in command:
            assert {"--require-hashes", "--no-deps", "-r"} <= set(command.split())
        elif "uv sync" in command:
            assert {"--frozen", "--no-dev"} <= set(command.split())
        else:
            assert "apt-get" in command, command
    assert re.fullmatch(r"uv==[0-9.]+ --hash=sha256:[0-9a-f]{64}", app.UV)
    # An image's name without a tag, or with one that moves, would be another image tomorrow.
    assert re.fullmatch(r"[\w/]+:[0-9]+\.[0-9]+\.[0-9]+-devel-ubuntu[0-9.]+", app.BASE)


def test_every_lock_is_in_the_image_and_complete(app: Any) -> None:
    steps = app.image_steps(app.DEPLOYMENT)
    copied = {step.arguments[0]: step.arguments[1] for step in steps if step.method.startswith("add_local")}
    order = [step.arguments[0] for step in steps if step.method.startswith("add_local")]

    assert copied[str(REPOSITORY / "envs")] == "/indexscope/envs"
    assert order.index(str(REPOSITORY / "uv.lock")) < order.index(str(REPOSITORY / "workflow"))
    # Files that are only mounted when a container starts are not there while the image is built.
    assert all(step.options["copy"] for step in steps if step.method.startswith("add_local"))
    for environment in ("ragatouille", "corpora", "analysis"):
        for pin in environments.read_lock(REPOSITORY / "envs" / f"{environment}.yaml"):
            assert pin.hashes, pin


def test_all_of_the_checkout_that_the_rules_use_is_in_the_image(app: Any) -> None:
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    tops = {name.partition("/")[0] for name in listed if name}
    left_out = {"tests", "docs", "benchmarks", "results", "tools", "README.md", "LICENSE"}

    assert {name for name in tops if not name.startswith(".")} - left_out == {
        *app.FOLDERS,
        *app.FILES,
        "pyproject.toml",
        "uv.lock",
    }


def test_the_image_holds_what_the_same_rules_make(app: Any) -> None:
    place = app.container_place(app.DEPLOYMENT)
    (environments_built,) = app.environment_commands(place)
    baked = app.baking_commands(place, ["cuda", "cpu"])

    for command in [environments_built, *baked]:
        assert command[:4] == ["/driver/bin/python", "-m", "snakemake", "remote_indexing"]
        assert command[command.index("--directory") + 1] == "/baked"
        assert command[command.index("--workflow-profile") + 1] == "/indexscope/profiles/modal"
    assert environments_built[-1] == "--conda-create-envs-only"
    assert [command[command.index("--config") + 1] for command in baked] == [
        "measurement={device: cuda}",
        "measurement={device: cpu}",
    ]
    assert "compile_extensions" in baked[0] and "fetch_checkpoint" in baked[0]
    assert place.environment()["SNAKEMAKE_CONDA_PREFIX"] == "/baked/environments"


@pytest.mark.parametrize(
    ("gpu", "architectures"),
    [
        ("A100 40GB", "8.0"),
        ("T4", "7.5"),
        ("H200", "9.0"),
        ("B200", "9.0+PTX"),  # newer than the compiler: by PTX
        (None, "7.5;8.0;8.6;8.9;9.0+PTX"),  # which one is not known yet
    ],
)
def test_extensions_are_compiled_for_the_gpus_that_may_be_rented(
    app: Any, gpu: str | None, architectures: str
) -> None:
    assert app.Deployment(gpu=gpu).architectures == architectures


def test_every_gpu_of_the_price_table_has_modals_name(app: Any) -> None:
    lines = app.DEPLOYMENT.prices.read_text().splitlines()[1:]
    rented = {line.split(",")[0] for line in lines if ",gpu," in line}

    assert rented == set(app.GPUS)


# --- The functions


def test_how_the_functions_run(app: Any) -> None:
    index, prepare, search = app.OPTIONS["index"], app.OPTIONS["prepare"], app.OPTIONS["search"]

    for name, options in app.OPTIONS.items():
        specification = getattr(app, name)._spec_
        assert list(specification.volumes) == ["/volume"]
        assert specification.memory == app.MEMORY[name] and specification.cpu == app.DEPLOYMENT.cores
        assert repr(specification.image) == repr(app.image) and specification.gpus is None
        assert 0 < options["timeout"] <= 24 * 3600
        assert not specification.secrets or name != "search"
    # Half an hour for the rest, and each of the recipe's indexes has its own limit, and ten minutes.
    assert index["timeout"] == 1800 + 14400 + 600
    assert index["retries"].max_retries == prepare["retries"].max_retries == 2
    assert index["max_containers"] == 1 and index["single_use_containers"]
    assert "retries" not in search
    assert app.volume.name == "indexscope"


def test_the_gpu_of_the_configuration_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "remote_indexing: {rent: {gpu: A100 40GB, cores: 3.5}}\nmeasurement: {timeout_seconds: 100000}\n"
    )
    monkeypatch.setenv("INDEXSCOPE_MODAL_CONFIGURATION", str(path))
    monkeypatch.setenv("INDEXSCOPE_MODAL_VOLUME", "elsewhere")

    app: Any = load()

    assert app.index._spec_.gpus == "A100-40GB" and app.index._spec_.cpu == 3.5
    assert app.prepare._spec_.gpus is None and app.search._spec_.gpus is None
    assert app.OPTIONS["index"]["timeout"] == 24 * 3600  # as long as Modal lets a function run
    assert app.volume.name == "elsewhere"
    steps = app.image_steps(app.DEPLOYMENT)
    assert [step.arguments[0] for step in steps if step.arguments[1:] == (app.IN_CONFIGURATION,)] == [
        str(path)
    ]
    (variables,) = [step.arguments[0] for step in steps if step.method == "env"]
    assert variables["TORCH_CUDA_ARCH_LIST"] == "8.0" and variables["INDEXSCOPE_CORES"] == "4"


# --- What the functions do around the rules


def place_in(app: Any, folder: Path, **more: Any) -> Any:
    """A place all below `folder`; `more` replaces parts of it."""
    settings = folder / "configuration.yaml"
    settings.write_text("measurement: {device: cpu}\n")
    parts = {
        "project": REPOSITORY,
        "volume": folder / "volume",
        "baked": folder / "baked",
        "environments": folder / "environments",
        "python": Path(sys.executable),
        "configuration": settings,
        "cores": 2,
        "in_container": False,
        "commit": lambda: None,
        "reload": lambda: None,
    }
    return app.Place(**{**parts, **more})


def test_what_is_baked_is_linked_to_where_the_results_are(app: Any, tmp_path: Path) -> None:
    place = place_in(app, tmp_path)
    app.link_baked(place)
    (tmp_path / "baked/results/checkpoints/a").mkdir()

    assert (tmp_path / "volume/work/results/checkpoints/a").is_dir()
    # The next container's image may have them elsewhere.
    app.link_baked(place_in(app, tmp_path, baked=tmp_path / "other"))
    assert (tmp_path / "volume/work/results/extensions").readlink() == tmp_path / "other/results/extensions"

    (tmp_path / "volume/work/results/extensions").unlink()
    (tmp_path / "volume/work/results/extensions").mkdir()
    with pytest.raises(app.Failure, match="results/extensions is no link to"):
        app.link_baked(place)


def test_each_set_of_pdfs_and_settings_has_results_of_its_own(app: Any, tmp_path: Path) -> None:
    place = place_in(app, tmp_path)

    def campaign(pdfs: str | None, **settings: Any) -> str:
        values = app.configuration_of(place, pdfs, settings)
        configuration.load(app.merged(default_configuration(), values))
        return str(values["campaign"])

    one = campaign("My_Papers-0123456789ab")

    assert re.fullmatch("pdfs_my_papers_[0-9a-f]{8}", one)
    assert campaign(None).startswith("pdfs_sample_")
    assert campaign("My_Papers-ba9876543210") != one
    assert campaign("My_Papers-0123456789ab", measurement={"device": "cuda"}) != one
    # The same index, on whichever GPU: what an interrupted container left is gone on with.
    assert campaign("My_Papers-0123456789ab", remote_indexing={"rent": {"gpu": "L4"}}) == one
    assert app.configuration_of(place, "a-b", {})["corpora"]["pdfs"]["path"] == "../pdfs/a-b"


def default_configuration() -> Any:
    import yaml

    return yaml.safe_load((REPOSITORY / "config" / "default.yaml").read_text())


def test_only_a_container_removes_a_lock_and_only_one_that_is_there(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(app, "run", lambda command, environment: commands.append(command))
    here, container = place_in(app, tmp_path), place_in(app, tmp_path, in_container=True)

    app.unlock(container, [])
    assert not commands
    locks = here.work / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    app.unlock(here, [])
    assert not commands
    app.unlock(container, [])
    assert [command[-1] for command in commands] == ["--unlock"]


def test_whatever_ends_the_work_the_volume_is_committed(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[str] = []
    place = place_in(app, tmp_path, commit=lambda: commits.append("commit"))
    monkeypatch.setattr(app, "here", lambda: place)

    def ending(error: BaseException) -> Callable[..., str]:
        def start(*arguments: Any) -> str:
            raise error

        return start

    monkeypatch.setattr(app, "start", ending(app.Failure("the reason")))
    assert app.index.local(None, {})["failed"] == "the reason"
    assert commits == ["commit"]
    monkeypatch.setattr(app, "start", ending(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        app.index.local(None, {})
    assert commits == ["commit"] * 2


def test_an_interrupted_container_ends_what_it_started_first(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3); pathlib.Path('ended').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "pathlib.Path('ready').touch()\ntime.sleep(60)\n"
    )
    program = (
        f"import os, pathlib, runpy, sys\nrun = runpy.run_path({str(APP)!r})['run']\n"
        "try:\n    run([sys.executable, 'child.py'], os.environ)\n"
        "except KeyboardInterrupt:\n    print(pathlib.Path('ended').exists())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=bare_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=20)[0].strip() == "True"


# --- Searching


def sealed(app: Any, place: Any) -> dict[str, str]:
    """An index of one file, sealed by the workflow's own program."""
    run = place.volume / "work/results/runs/1"
    (run / "index").mkdir(parents=True)
    (run / "index" / "0.codes.pt").write_bytes(b"codes")
    script = str(REPOSITORY / "workflow/scripts/seal_index.py")
    app.said(place, [script, "write", str(run / "index"), "--output", str(run / "index.sha256.json")])
    seal = hashlib.sha256((run / "index.sha256.json").read_bytes()).hexdigest()
    return {"system": "one", "run": "work/results/runs/1", "seal": seal}


def test_an_index_is_searched_only_as_it_was_sealed(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(app, tmp_path)
    (place.volume / "work").mkdir(parents=True)
    index = sealed(app, place)
    searching = []
    said = app.said

    def answer(place: Any, command: list[str]) -> Any:
        if "search_index.py" not in command[0]:
            return said(place, command)
        searching.append(command[1:])
        return json.dumps({"query": "a query", "results": []}) + "\n"

    monkeypatch.setattr(app, "said", answer)
    assert app.searched(place, index, ["a query"], 3) == [{"query": "a query", "results": []}]
    ((*options, dashes, run, query),) = searching
    assert (dashes, run, query) == ("--", str(place.volume / index["run"]), "a query")
    assert options == ["-k", "3", "--device", "cpu", "--conda-prefix", str(place.environments), "--json"]

    with pytest.raises(app.Failure, match="another index is there now"):
        app.searched(place, {**index, "seal": "0" * 64}, ["a query"], 3)
    with pytest.raises(app.Failure, match="no sealed index is there"):
        app.searched(place, {**index, "run": "work/results/runs/2"}, ["a query"], 3)
    (place.volume / index["run"] / "index" / "0.codes.pt").write_bytes(b"c0des")
    with pytest.raises(app.Failure, match=r"0\.codes\.pt"):
        app.searched(place, index, ["a query"], 3)
    assert len(searching) == 1


def test_the_volume_is_reloaded_before_anything_is_read(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    place = place_in(app, tmp_path, reload=lambda: order.append("reload"))
    monkeypatch.setattr(app, "here", lambda: place)
    monkeypatch.setattr(app, "searched", lambda *arguments: order.append("searched"))

    app.search.local([{"system": "a", "run": "", "seal": ""}], ["q"], 1)

    assert order == ["reload", "searched"]


# --- From the machine of whoever asks


def test_the_name_on_the_volume_is_of_the_pdfs_alone(app: Any, tmp_path: Path) -> None:
    folder = tmp_path / "My papers (2026)"
    (folder / "more").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(b"a")
    (folder / "more" / "B.PDF").write_bytes(b"b")
    first = app.name_of(folder, app.pdfs_of(folder))
    os.utime(folder / "a.pdf", (1, 1))
    (folder / "notes.txt").write_text("no PDF")

    assert re.fullmatch("My_papers_2026_-[0-9a-f]{12}", first)
    assert app.name_of(folder, app.pdfs_of(folder)) == first
    (folder / "a.pdf").rename(folder / "c.pdf")
    assert app.name_of(folder, app.pdfs_of(folder)) != first
    with pytest.raises(app.Failure, match="is no folder"):
        app.pdfs_of(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(app.Failure, match="has no PDF"):
        app.pdfs_of(tmp_path / "empty")


class FakeVolume:
    """Files by path, as on a volume."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def listdir(self, folder: str) -> list[str]:
        found = [path for path in self.files if path.startswith(f"{folder}/")]
        if not found:
            raise modal.exception.NotFoundError(folder)
        return found

    def batch_upload(self) -> Any:
        import contextlib

        batch = SimpleNamespace(put_file=lambda local, remote: self.files.__setitem__(remote, local))
        return contextlib.nullcontext(batch)


def test_pdfs_are_uploaded_once(app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "papers"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a b.pdf").write_bytes(b"a")
    volume = FakeVolume()
    monkeypatch.setattr(app, "volume", volume)

    name = app.upload(folder)

    assert list(volume.files) == [f"/pdfs/{name}/sub/a b.pdf"]
    volume.files = dict.fromkeys(volume.files, Path("untouched"))
    assert app.upload(folder) == name
    assert list(volume.files.values()) == [Path("untouched")]


def estimate(*rows: tuple[str, str, float, bool]) -> dict[str, Any]:
    return {
        "said": ["What it will need."],
        "gpus": [
            {
                "case": "this configuration",
                "system": system,
                "gpu": gpu,
                "memory_mib": memory,
                "chosen": chosen,
                "phase": "k-means",
                "needs_mib": 90 * 1024,
                "setting_that_fixes": "use_faiss: true",
            }
            for system, gpu, memory, chosen in rows
        ],
    }


def test_the_gpu_is_the_largest_that_any_system_needs(app: Any) -> None:
    known = estimate(
        ("a", "T4", 15e3, True), ("a", "L4", 23e3, False), ("b", "L4", 23e3, True), ("b", "T4", 15e3, False)
    )
    known["gpus"].append(
        {**known["gpus"][0], "case": "the published recipe", "gpu": "B200", "memory_mib": 1e6}
    )

    assert app.gpu_of(known) == "L4"
    with pytest.raises(app.Failure, match=r"b fits no GPU .* k-means needs 90\.0 GiB.*; set use_faiss: true"):
        app.gpu_of(estimate(("a", "T4", 15e3, True), ("b", "B200", 183e3, False)))


def fake_calls(app: Any, asked: list[Any], **answers: Any) -> Any:
    def call(name: str, answer: dict[str, Any]) -> Callable[..., dict[str, Any]]:
        def called(*arguments: Any) -> dict[str, Any]:
            asked.append((name, *arguments))
            return {"seconds": 100.0, **answer}

        return called

    indexed = {"indexes": [{"system": "a", "run": "r", "seal": "5" * 64, "outcome": "completed"}]}
    return app.Calls(
        lambda folder: "papers-0",
        call("prepare", answers.get("prepare", {"estimate": estimate(("a", "A100 40GB", 40e3, True))})),
        call("index", answers.get("index", indexed)),
        call("search", {"found": {"a": []}}),
        rented=answers.get("rented", True),
    )


def test_the_estimate_decides_which_gpu_is_rented_and_the_bill_follows(
    app: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "resource,usd_per_second,unit,as_of\nA100 40GB,0.001,gpu,2026-07-01\nCPU,0.0001,core,2026-07-01\n"
        "Memory,0.00001,GiB,2026-07-01\n"
    )
    monkeypatch.setattr(app, "DEPLOYMENT", app.Deployment(cores=2, prices=prices))
    asked: list[Any] = []
    settings = {"measurement": {"device": "cuda"}}

    app.index_and_search(fake_calls(app, asked), Path("papers"), ["q"], 5, None, settings)

    assert asked[0] == ("prepare", "papers-0", settings)
    assert asked[1] == ("index", "A100-40GB", "papers-0", settings)
    assert asked[2][0] == "search" and asked[2][2:] == (["q"], 5)
    printed = capsys.readouterr().out
    assert printed.startswith("What it will need.\nIndexing on one A100 40GB.\n")
    assert "nothing was paid" not in printed
    # 100 s each of 2 cores at 0.0001, and of 4, 16 and 8 GiB at 0.00001; 100 s of the GPU at 0.001.
    for dollars in ("prepare: 100 s on no GPU, 2 cores, 4 GiB: $0.0240", "$0.1360", "$0.0280", "$0.1880"):
        assert dollars in printed


def test_on_this_machine_nothing_is_paid(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []
    settings = {"measurement": {"device": "cpu"}}

    app.index_and_search(fake_calls(app, asked, rented=False), None, [], 5, None, settings)

    assert [call[:2] for call in asked] == [("prepare", None), ("index", None)]
    assert "on this machine nothing was paid" in capsys.readouterr().out


def test_nothing_is_rented_for_what_cannot_be_done(app: Any) -> None:
    settings = {"measurement": {"device": "cuda"}}
    for prepare in ({"estimate": estimate(("a", "B200", 183e3, False))}, {"failed": "No PDF can be read"}):
        asked: list[Any] = []
        with pytest.raises(app.Failure):
            app.index_and_search(fake_calls(app, asked, prepare=prepare), None, [], 5, None, settings)
        assert [call[0] for call in asked] == ["prepare"]
    with pytest.raises(app.Failure, match="none of Modal's"):
        app.index_and_search(fake_calls(app, []), None, [], 5, "V100", settings)

"""PDFs to a searchable index on Modal: the workflow's own rules in a container, the results on a volume.

On Modal (an account is needed; docs/remote_indexing_modal.md):
    uv run --extra modal modal run profiles/modal/app.py --pdfs FOLDER --query "what to search for"
On this machine, by the same functions, without an account:
    uv run --extra modal python profiles/modal/app.py --pdfs FOLDER --query "what to search for"

Read when the app is defined: INDEXSCOPE_MODAL_CONFIGURATION (a configuration file; profiles/modal/recipe.yaml),
INDEXSCOPE_MODAL_VOLUME (the volume's name; indexscope) and INDEXSCOPE_MODAL_FOLDER (what stands for it on this machine;
results/modal_volume). In a container this file is alone with Python's standard library and modal: all work is done by
Snakemake, in the driver environment that the image holds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import modal

NAME = "indexscope"
BASE = "nvidia/cuda:12.4.0-devel-ubuntu22.04"
PYTHON = "3.11"
# What installs all else from locks with hashes; its own is that of the wheel for manylinux2014 on x86_64.
UV = "uv==0.13.9 --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"

# As the price table names a GPU: how Modal does, and its compute capability (developer.nvidia.com/cuda-gpus).
# H100! is not upgraded to an H200 (modal.com/docs/guide/gpu): what is measured is what was asked for.
GPUS = {
    "T4": ("T4", 7.5),
    "L4": ("L4", 8.9),
    "A10": ("A10", 8.6),
    "L40S": ("L40S", 8.9),
    "A100 40GB": ("A100-40GB", 8.0),
    "A100 80GB": ("A100-80GB", 8.0),
    "RTX PRO 6000": ("RTX-PRO-6000", 12.0),
    "H100": ("H100!", 9.0),
    "H200": ("H200", 9.0),
    "B200": ("B200", 10.0),
}
NEWEST_OF_NVCC = 9.0  # of CUDA 12.4; a driver compiles the PTX of it for newer GPUs

# Where things are in a container: in the image, but for the volume.
IN_PROJECT = "/indexscope"
IN_DRIVER = "/driver"
IN_BAKED = "/baked"
IN_VOLUME = "/volume"
IN_CONFIGURATION = f"{IN_PROJECT}/modal_configuration.yaml"

# What of the checkout is in the image.
FOLDERS = ("config", "envs", "profiles", "rules", "workflow")
FILES = ("Snakefile",)
NOT_IN_IMAGE = ("**/__pycache__", "**/*.pyc")
# By what all else depends on: made once, baked into the image, and only linked to where the results are.
BAKED = ("checkpoints", "extensions")
BAKING_RULES = ("make_checkpoint", "fetch_checkpoint", "compile_extensions")
# None that another of them needs: Snakemake 9.27 then finds no job ready that needs both.
PREPARING_RULES = ("split_documents", "estimate_cost")
INDEXING_RULES = ("seal_index",)

# Asked of Modal, MiB: a request that a container may exceed, billed where it does.
MEMORY = {"prepare": 4096, "index": 16384, "search": 8192}
HOUR = 3600
LONGEST = 24 * HOUR  # of any function of Modal (modal.com/docs/guide/timeouts)
GRACE_SECONDS = 20  # of the 30 that Modal leaves a container that it takes away


class Failure(Exception):
    """What went wrong, as one sentence."""


# Found, or made, when it is first used.
volume = modal.Volume.from_name(os.environ.get("INDEXSCOPE_MODAL_VOLUME") or NAME, create_if_missing=True)


# --- What is deployed -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployment:
    """What the configuration says of the machines to rent; these values stand in where it cannot be read."""

    configuration: Path | None = None
    gpu: str | None = (
        None  # as the price table names it; None: the smallest that fits, once documents are known
    )
    cores: float = 2
    threads: int = 2
    timeout_seconds: int = HOUR
    prices: Path | None = None
    checkout: Path = Path(IN_PROJECT)

    @property
    def cores_of_snakemake(self) -> int:
        """Measured runs have their threads, however few cores are rented."""
        return max(math.ceil(self.cores), self.threads)

    @property
    def architectures(self) -> str:
        """TORCH_CUDA_ARCH_LIST: where extensions are compiled there is no GPU to ask."""
        capabilities = {GPUS[name][1] for name in ([self.gpu] if self.gpu else GPUS)}
        known = sorted(capability for capability in capabilities if capability <= NEWEST_OF_NVCC)
        newer = [f"{NEWEST_OF_NVCC}+PTX"] if max(capabilities) > NEWEST_OF_NVCC else []
        return ";".join([*(str(value) for value in known if not newer or value < NEWEST_OF_NVCC), *newer])


def read_deployment(checkout: Path, environment: Mapping[str, str]) -> Deployment:
    """What the configuration file says that `environment` names; for the driver environment, not for containers.

    Raises:
        Failure: the file is missing, no YAML, or wrong, or names a GPU that Modal does not have.
    """
    scripts = str(checkout / "workflow" / "scripts")
    if scripts not in sys.path:
        sys.path.insert(0, scripts)
    import yaml
    from indexscope import config as configuration
    from indexscope.run_record import InputError

    path = Path(
        environment.get("INDEXSCOPE_MODAL_CONFIGURATION") or checkout / "profiles" / "modal" / "recipe.yaml"
    ).absolute()
    try:
        default = yaml.safe_load((checkout / "config" / "default.yaml").read_text())
        values = merged(default, yaml.safe_load(path.read_text()) or {})
        settings = configuration.load(values, [path, checkout / "config" / "default.yaml"])
    except OSError as error:
        raise Failure(
            f"{path}: cannot be read ({error.strerror}); see INDEXSCOPE_MODAL_CONFIGURATION"
        ) from None
    except yaml.YAMLError as error:
        raise Failure(f"{path}: is no YAML ({' '.join(str(error).split())})") from None
    except InputError as error:
        raise Failure(str(error)) from None
    experiment = settings.remote_indexing
    rent = experiment.rent
    if rent.gpu is not None and rent.gpu not in GPUS:
        raise Failure(
            f"{path}: remote_indexing.rent.gpu: {rent.gpu!r} is none of Modal's: write {', '.join(GPUS)}, or "
            "leave it out"
        )
    indexes = len(experiment.systems) * experiment.repeats
    return Deployment(
        configuration=path,
        gpu=rent.gpu,
        cores=rent.cores,
        threads=settings.measurement.threads,
        timeout_seconds=min(LONGEST, HOUR // 2 + indexes * (settings.measurement.timeout_seconds + 600)),
        prices=(Path(rent.prices) if Path(rent.prices).exists() else checkout / rent.prices).absolute(),
        checkout=checkout,
    )


def merged(below: Any, above: Any) -> Any:
    """`above` laid over `below`, mapping by mapping, as Snakemake lays configuration files over each other."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def commit_of(checkout: Path) -> str:
    """What `git describe` says of the checkout; nothing where there is no git."""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# --- The image --------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """A call of a method of modal.Image."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def image_steps(deployment: Deployment) -> list[Step]:
    """How the image is built: what changes most often comes last, and all that is installed comes from a lock."""
    checkout = deployment.checkout
    container = container_place(deployment)

    def copied(name: str) -> Step:
        method = "add_local_dir" if (checkout / name).is_dir() else "add_local_file"
        ignored = {"ignore": list(NOT_IN_IMAGE)} if method == "add_local_dir" else {}
        return Step(method, (str(checkout / name), f"{IN_PROJECT}/{name}"), {"copy": True, **ignored})

    def run(*commands: str) -> Step:
        # One layer: what a command leaves behind and the next removes is not in it.
        return Step("run_commands", (" && ".join(commands),), {})

    return [
        Step("from_registry", (BASE,), {"add_python": PYTHON}),
        # The versions are those of the base image's distribution; what is measured comes from the locks below.
        Step("apt_install", ("ca-certificates", "g++", "git"), {}),
        Step(
            "env",
            (
                {
                    # At compile time and whenever an extension is loaded: PyTorch compiles again where it differs.
                    "TORCH_CUDA_ARCH_LIST": deployment.architectures,
                    "SNAKEMAKE_CONDA_PREFIX": str(container.environments),
                    "UV_PROJECT_ENVIRONMENT": IN_DRIVER,
                    "INDEXSCOPE_CORES": str(deployment.cores_of_snakemake),
                },
            ),
            {},
        ),
        run(
            f"mkdir -p {IN_PROJECT} && echo {shlex.quote(UV)} > {IN_PROJECT}/uv.txt",
            "python -m pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes"
            f" -r {IN_PROJECT}/uv.txt",
        ),
        *(copied(name) for name in ("pyproject.toml", "uv.lock", "tools/uv-conda")),
        run(
            f"uv sync --frozen --no-dev --no-cache --compile-bytecode --python python{PYTHON} --project {IN_PROJECT}"
        ),
        *(copied(name) for name in (*FILES, *FOLDERS)),
        Step(
            "add_local_file",
            (str(deployment.configuration or checkout / "profiles/modal/recipe.yaml"), IN_CONFIGURATION),
            {"copy": True},
        ),
        run(
            *(in_shell(container, command) for command in environment_commands(container)),
            "uv cache clean",
        ),
        run(*(in_shell(container, command) for command in baking_commands(container, ("cuda", "cpu")))),
    ]


def build_image(deployment: Deployment) -> modal.Image:
    """The image as Modal describes it; nothing is built before it is used."""
    image: Any = modal.Image
    for step in image_steps(deployment):
        image = getattr(image, step.method)(*step.arguments, **step.options)
    return image


# --- Where the work is done -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where things are: in a container of Modal, or on this machine, where a folder is the volume."""

    project: Path
    volume: Path
    baked: Path  # holds results/checkpoints and results/extensions
    environments: Path  # of Snakemake's deployment
    python: Path  # of the driver environment
    configuration: Path
    cores: int
    in_container: bool
    commit: Callable[[], Any]
    reload: Callable[[], Any]

    @property
    def work(self) -> Path:
        """Where Snakemake works: its results and what it remembers of them are on the volume."""
        return self.volume / "work"

    def environment(self) -> dict[str, str]:
        """The environment variables of Snakemake and of what it starts."""
        path = os.environ.get("PATH", os.defpath)
        return {
            **os.environ,
            # The stand-in for conda is a program of the driver environment.
            "PATH": f"{self.python.parent}{os.pathsep}{path}",
            "SNAKEMAKE_CONDA_PREFIX": str(self.environments),
            # Weights are there already: nothing is asked for while a machine is paid for.
            "HF_HUB_OFFLINE": "1",
        }


def container_place(deployment: Deployment) -> Place:
    return Place(
        project=Path(IN_PROJECT),
        volume=Path(IN_VOLUME),
        baked=Path(IN_BAKED),
        environments=Path(IN_BAKED) / "environments",
        python=Path(IN_DRIVER) / "bin" / "python",
        configuration=Path(IN_CONFIGURATION),
        cores=int(os.environ.get("INDEXSCOPE_CORES") or deployment.cores_of_snakemake),
        in_container=True,
        commit=volume.commit,
        reload=volume.reload,
    )


def local_place(deployment: Deployment, environment: Mapping[str, str]) -> Place:
    """This machine: the checkout's environments, checkpoints and extensions; commit and reload have nothing to do."""
    checkout = deployment.checkout
    named = environment.get("INDEXSCOPE_MODAL_FOLDER")
    return Place(
        project=checkout,
        volume=Path(named).absolute() if named else checkout / "results" / "modal_volume",
        baked=checkout,
        environments=Path(
            environment.get("SNAKEMAKE_CONDA_PREFIX") or checkout / ".snakemake" / "conda"
        ).absolute(),
        # Not resolved: a virtual environment's Python is a link to another.
        python=Path(sys.executable),
        configuration=deployment.configuration or checkout / "profiles" / "modal" / "recipe.yaml",
        cores=deployment.cores_of_snakemake,
        in_container=False,
        commit=lambda: None,
        reload=lambda: None,
    )


def here() -> Place:
    """Where this process runs: the one seam between Modal and `.local()`."""
    if modal.is_local():
        return local_place(DEPLOYMENT, os.environ)
    return container_place(DEPLOYMENT)


# --- Snakemake --------------------------------------------------------------------------------------------------


def snakemake_command(
    place: Place, directory: Path, configurations: Sequence[Path], *arguments: str
) -> list[str]:
    """The workflow's own target remote_indexing, worked on in `directory`."""
    return [
        *(str(place.python), "-m", "snakemake", "remote_indexing"),
        *("--snakefile", str(place.project / "Snakefile"), "--directory", str(directory)),
        # In the place of profiles/default, which Snakemake takes otherwise.
        *("--workflow-profile", str(place.project / "profiles" / "modal"), "--cores", str(place.cores)),
        *("--configfile", *map(str, configurations), *arguments),
    ]


def environment_commands(place: Place) -> list[list[str]]:
    """What builds every environment that remote_indexing needs, from envs/*.yaml, by Snakemake's own deployment."""
    return [snakemake_command(place, place.baked, [place.configuration], "--conda-create-envs-only")]


def baking_commands(place: Place, devices: Sequence[str]) -> list[list[str]]:
    """What makes weights and compiled extensions, by their own rules; on a CPU an index is searched."""
    return [
        snakemake_command(
            place,
            place.baked,
            [place.configuration],
            *("--config", f"measurement={{device: {device}}}", "--until", *BAKING_RULES),
        )
        for device in devices
    ]


def in_shell(place: Place, command: Sequence[str]) -> str:
    """A line of an image's build."""
    return f"PATH={place.python.parent}:$PATH {shlex.join(command)}"


def bake(place: Place, devices: Sequence[str]) -> None:
    """On this machine: what the image has from its build."""
    for command in [*environment_commands(place), *baking_commands(place, devices)]:
        environment = {name: value for name, value in place.environment().items() if name != "HF_HUB_OFFLINE"}
        run(command, environment)


def run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command to its end; one that is interrupted is ended before this returns, so that its files are whole.

    Raises:
        Failure: it ended with an error.
    """
    process = subprocess.Popen(command, env=environment)
    try:
        code = process.wait()
    except BaseException:  # Modal interrupts a container that it takes away
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        process.kill()
        process.wait()
        raise
    if code:
        raise Failure(f"{shlex.join(command)} ended with {code}: what it printed is above")


def link_baked(place: Place) -> None:
    """Let the image's checkpoints and extensions be where Snakemake looks for them: beside the results.

    Raises:
        Failure: something else is in the place of a link.
    """
    for name in BAKED:
        target, link = place.baked / "results" / name, place.work / "results" / name
        target.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            if link.readlink() == target:
                continue
            link.unlink()
        elif link.exists():
            raise Failure(f"{link} is no link to {target}: move it away, its content belongs there")
        link.symlink_to(target)


def unlock(place: Place, configurations: Sequence[Path]) -> None:
    """Remove the lock of a container that was taken away; only one works at a time (max_containers of `index`)."""
    locks = place.work / ".snakemake" / "locks"
    if place.in_container and locks.is_dir() and any(locks.iterdir()):
        run(snakemake_command(place, place.work, configurations, "--unlock"), place.environment())


# --- What is asked ----------------------------------------------------------------------------------------------


def configuration_of(place: Place, pdfs: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a call, laid over the deployed one: the folder of PDFs, and results of its own.

    The results' name changes with the PDFs, the configuration and the settings, but for the machine that is rented.
    """
    indexed = {
        **settings,
        "remote_indexing": {
            key: value for key, value in settings.get("remote_indexing", {}).items() if key != "rent"
        },
    }
    key = hashlib.sha256(
        place.configuration.read_bytes() + json.dumps([pdfs, indexed], sort_keys=True).encode()
    )
    words = re.sub(r"[^a-z0-9]+", "_", (pdfs or "sample").rpartition("-")[0].lower() or "sample").strip("_")
    named = {"campaign": f"pdfs_{words}_{key.hexdigest()[:8]}"}
    corpus = {"corpora": {"pdfs": {"source": "pdfs", "path": f"../pdfs/{pdfs}"}}} if pdfs else {}
    result: dict[str, Any] = merged(merged(corpus, dict(settings)), named)
    return result


def start(place: Place, pdfs: str | None, settings: Mapping[str, Any], until: Sequence[str]) -> str:
    """Run the rules of remote_indexing as far as `until`; the name of the results."""
    if pdfs and not (place.volume / "pdfs" / pdfs).is_dir():
        raise Failure(f"pdfs/{pdfs} is not on the volume: upload it first")
    link_baked(place)
    content = configuration_of(place, pdfs, settings)
    call = place.work / "configurations" / f"{content['campaign']}.json"
    call.parent.mkdir(parents=True, exist_ok=True)
    call.write_text(json.dumps(content, indent=1) + "\n")
    configurations = [place.configuration, call]
    unlock(place, configurations)
    run(snakemake_command(place, place.work, configurations, "--until", *until), place.environment())
    return str(content["campaign"])


def results_of(place: Place, campaign: str) -> Path:
    return place.work / "results" / "campaigns" / campaign / "remote_indexing"


def sealed_indexes(place: Place, campaign: str) -> list[dict[str, Any]]:
    """The first index of each system: where it is on the volume, and the digest of its seal."""
    found = []
    for seal in sorted(results_of(place, campaign).glob("runs/*/*/spans/1/index.sha256.json")):
        record = json.loads((seal.parent / "run.json").read_text())
        found.append(
            {
                "system": record["run"]["system"],
                "run": str(seal.parent.relative_to(place.volume)),
                "seal": hashlib.sha256(seal.read_bytes()).hexdigest(),
                "outcome": record.get("outcome"),
                "resumed": record.get("resumed"),
            }
        )
    return found


@contextlib.contextmanager
def committed(place: Place) -> Iterator[None]:
    """Whatever ends the work, what it wrote is on the volume for the next container."""
    try:
        yield
    finally:
        place.commit()


# --- The functions ----------------------------------------------------------------------------------------------


def environment_of_functions() -> dict[str, str | None]:
    commit = commit_of(DEPLOYMENT.checkout) if modal.is_local() else ""
    return {"INDEXSCOPE_COMMIT": commit} if commit else {}


def function_options(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """How each function runs on Modal."""
    shared = {
        "image": image,
        "volumes": {IN_VOLUME: volume},
        "env": environment_of_functions(),
        # A volume's writers do not see each other's changes: one at a time, and each begins with a fresh mount.
        "max_containers": 1,
        "single_use_containers": True,
        # Of failures and timeouts; Modal starts anew what it has taken away by itself. Each goes on where the last was.
        "retries": modal.Retries(max_retries=2, initial_delay=10.0, backoff_coefficient=2.0),
    }
    return {
        "prepare": {**shared, "cpu": deployment.cores, "memory": MEMORY["prepare"], "timeout": 4 * HOUR},
        "index": {
            **shared,
            "cpu": deployment.cores,
            "memory": MEMORY["index"],
            "timeout": deployment.timeout_seconds,
            # None: which it is, the estimate says once the documents are known.
            "gpu": GPUS[deployment.gpu][0] if deployment.gpu else None,
        },
        # Reads only, so that several may; on processor cores.
        "search": {
            "image": image,
            "volumes": {IN_VOLUME: volume},
            "cpu": deployment.cores,
            "memory": MEMORY["search"],
            "timeout": 600,
        },
    }


try:
    CHECKOUT = Path(__file__).resolve().parents[2] if modal.is_local() else Path(IN_PROJECT)
    DEPLOYMENT = read_deployment(CHECKOUT, os.environ) if modal.is_local() else Deployment()
except Failure as failure:
    raise SystemExit(str(failure)) from None

app = modal.App(NAME)
image = build_image(DEPLOYMENT)
OPTIONS = function_options(DEPLOYMENT)


def answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives, with its seconds; a Failure is an answer too: trying it again would only cost."""
    started = time.monotonic()
    try:
        answer = work()
    except Failure as failure:
        answer = {"failed": str(failure)}
    return {**answer, "seconds": time.monotonic() - started}


@app.function(**OPTIONS["prepare"])
def prepare(pdfs: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Read the PDFs and estimate what an index of them needs and costs: all that needs no GPU.

    `pdfs` is a folder below pdfs/ of the volume (None: a sample made on the spot), `settings` a configuration.
    """
    place = here()

    def work() -> dict[str, Any]:
        campaign = start(place, pdfs, settings, PREPARING_RULES)
        estimate = json.loads((results_of(place, campaign) / "estimate.json").read_text())
        return {"results": campaign, "estimate": estimate}

    with committed(place):
        return answered(work)


@app.function(**OPTIONS["index"])
def index(pdfs: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Index the PDFs, as `prepare` was asked or from the beginning, and seal the indexes.

    Interrupted anywhere, the next call with the same arguments goes on: chunks that are on the volume are kept.
    """
    place = here()

    def work() -> dict[str, Any]:
        campaign = start(place, pdfs, settings, INDEXING_RULES)
        return {"results": campaign, "indexes": sealed_indexes(place, campaign)}

    with committed(place):
        return answered(work)


@app.function(**OPTIONS["search"])
def search(indexes: list[dict[str, Any]], queries: list[str], k: int) -> dict[str, Any]:
    """Search indexes that another container made, once each file has the hash that was sealed there."""
    place = here()
    # Before any file of the volume is opened: Modal reloads none that has open files.
    place.reload()

    def work() -> dict[str, Any]:
        return {"found": {sealed["system"]: searched(place, sealed, queries, k) for sealed in indexes}}

    return answered(work)


def searched(place: Place, sealed: Mapping[str, Any], queries: Sequence[str], k: int) -> list[Any]:
    """What one index has for each query, as search_index.py says it.

    Raises:
        Failure: the index is not the one that was sealed, or cannot be searched.
    """
    run_directory = place.volume / sealed["run"]
    folder, seal = run_directory / "index", run_directory / "index.sha256.json"
    if not seal.is_file():
        raise Failure(f"{sealed['run']}: no sealed index is there; index the PDFs first")
    if hashlib.sha256(seal.read_bytes()).hexdigest() != sealed["seal"]:
        raise Failure(
            f"{sealed['run']}: the seal is not the one that indexing gave: another index is there now"
        )
    scripts = place.project / "workflow" / "scripts"
    said(place, [str(scripts / "seal_index.py"), "check", str(folder), str(seal)])
    # On processor cores, which the container has.
    options = ["-k", str(k), "--device", "cpu", "--conda-prefix", str(place.environments), "--json"]
    printed = said(place, [str(scripts / "search_index.py"), *options, "--", str(run_directory), *queries])
    return [json.loads(line) for line in printed.splitlines()]


def said(place: Place, command: Sequence[str]) -> str:
    """What a program of the workflow prints.

    Raises:
        Failure: with the last line that it printed, which is its sentence.
    """
    done = subprocess.run(
        [str(place.python), *command],
        cwd=place.work,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(lines[-1] if lines else f"{shlex.join(command)} ended with {done.returncode}")
    return done.stdout


# --- From the machine of whoever asks ---------------------------------------------------------------------------


def pdfs_of(folder: Path) -> list[Path]:
    """The PDFs in a folder and its subfolders, in the order of their paths.

    Raises:
        Failure: there is no folder, or no PDF in it.
    """
    if not folder.is_dir():
        raise Failure(f"--pdfs {folder}: is no folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".pdf" and path.is_file())
    if not found:
        raise Failure(f"--pdfs {folder}: has no PDF (*.pdf), nor have its subfolders")
    return found


def name_of(folder: Path, files: Sequence[Path]) -> str:
    """What the folder is called on the volume: it changes with a file's name or content, and with nothing else."""
    key = hashlib.sha256()
    for path in files:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        key.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return f"{re.sub(r'[^A-Za-z0-9._]+', '_', folder.resolve().name) or 'pdfs'}-{key.hexdigest()[:12]}"


def upload(folder: Path) -> str:
    """Put the PDFs on the volume; its name there. What is there already is left alone, and so are its times."""
    files = pdfs_of(folder)
    name = name_of(folder, files)
    with contextlib.suppress(modal.exception.NotFoundError, FileNotFoundError):
        if volume.listdir(f"/pdfs/{name}"):
            return name
    # All or nothing: files are on the volume once the block has ended.
    with volume.batch_upload() as batch:
        for path in files:
            batch.put_file(path, f"/pdfs/{name}/{path.relative_to(folder).as_posix()}")
    return name


def copy(folder: Path) -> str:
    """On this machine: the same, into the folder that stands for the volume."""
    files = pdfs_of(folder)
    name = name_of(folder, files)
    target = here().volume / "pdfs" / name
    if not target.is_dir():
        partial = target.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for path in files:
            copied = partial / path.relative_to(folder)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)
        partial.rename(target)
    return name


def gpu_of(estimate: Mapping[str, Any]) -> str:
    """The GPU that the estimate chose; the largest, where it chose one for each system.

    Raises:
        Failure: none that can be rented is large enough.
    """
    rows = [row for row in estimate["gpus"] if row["case"] == "this configuration"]
    chosen = [row for row in rows if row["chosen"]]
    short = {row["system"] for row in rows} - {row["system"] for row in chosen}
    if short or not chosen:
        largest = max((row for row in rows if row["system"] in short), key=lambda row: row["memory_mib"])
        remedy = largest["setting_that_fixes"]
        raise Failure(
            f"{largest['system']} fits no GPU that can be rented: {largest['phase']} needs "
            f"{largest['needs_mib'] / 1024:.1f} GiB, a {largest['gpu']} has {largest['memory_mib'] / 1024:.1f}"
            + (f"; set {remedy}" if remedy else "; index fewer documents")
        )
    return str(max(chosen, key=lambda row: row["memory_mib"])["gpu"])


class Use(NamedTuple):
    """A container that was rented: for which function, with which GPU, for how many seconds of work."""

    function: str
    gpu: str | None
    seconds: float


def bill(used: Sequence[Use], deployment: Deployment, rented: bool) -> list[str]:
    """What the containers cost at list prices, a line each, and together.

    Start-up is billed too, but no function sees it; nor what memory is used beyond what was asked for.
    """
    from indexscope import cost

    prices = cost.read_prices(deployment.prices or cost.PRICES)
    lines, total = [], 0.0
    for use in used:
        usd = cost.bill(prices, use.seconds, use.gpu, deployment.cores, MEMORY[use.function]).total
        if usd is None:
            raise Failure(f"{prices.path}: has no price of {use.gpu}; add it")
        total += usd
        lines.append(
            f"{use.function}: {use.seconds:.0f} s on {use.gpu or 'no GPU'}, {deployment.cores:g} cores, "
            f"{MEMORY[use.function] / 1024:g} GiB: ${usd:.4f}"
        )
    here_instead = (
        "" if rented else "; on this machine nothing was paid: so much would these seconds be there"
    )
    return [*lines, f"At list prices of {prices.as_of}, without start-up: ${total:.4f}{here_instead}"]


class Calls(NamedTuple):
    """The functions, however they are called."""

    upload: Callable[[Path], str]
    prepare: Callable[..., dict[str, Any]]
    index: Callable[..., dict[str, Any]]  # its first argument: the GPU, as Modal names it, or None
    search: Callable[..., dict[str, Any]]
    rented: bool


def remote_calls() -> Calls:
    def index_on(gpu: str | None, *arguments: Any) -> dict[str, Any]:
        function = index.with_options(gpu=gpu) if gpu else index
        return function.remote(*arguments)

    return Calls(upload, prepare.remote, index_on, search.remote, rented=True)


def local_calls() -> Calls:
    """The same functions by `.local()`; searching in a process of its own, as on Modal."""

    def here_is_no_volume(function: Any) -> Callable[..., dict[str, Any]]:
        def call(*arguments: Any) -> dict[str, Any]:
            with warnings.catch_warnings():
                # That the volume is not mounted: a folder stands for it.
                warnings.filterwarnings("ignore", message=".*executing locally.*")
                result: dict[str, Any] = function.local(*arguments)
                return result

        return call

    def search_elsewhere(*arguments: Any) -> dict[str, Any]:
        command = [sys.executable, str(Path(__file__).resolve()), "--search", json.dumps(arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failure("the process that searches has ended with an error: what it printed is above")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return Calls(
        copy,
        here_is_no_volume(prepare),
        lambda gpu, *arguments: here_is_no_volume(index)(*arguments),
        search_elsewhere,
        rented=False,
    )


def search_here(arguments: str) -> None:
    """What the second process does: print the answer as JSON."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*executing locally.*")
        print(json.dumps(search.local(*json.loads(arguments))))


def index_and_search(
    calls: Calls,
    folder: Path | None,
    queries: Sequence[str],
    k: int,
    gpu: str | None,
    settings: dict[str, Any],
) -> None:
    """Upload, estimate, index on the GPU that was found, search in another container; say what each took and cost.

    Raises:
        Failure: one of them failed, or nothing that can be rented is large enough.
    """
    if gpu is not None and gpu not in GPUS:
        raise Failure(f"--gpu {gpu!r} is none of Modal's: {', '.join(GPUS)}")
    pdfs = calls.upload(folder) if folder else None
    device = settings["measurement"]["device"]
    if gpu := gpu or DEPLOYMENT.gpu:
        settings = merged(settings, {"remote_indexing": {"rent": {"gpu": gpu}}})
    prepared = succeeded(calls.prepare(pdfs, settings))
    chosen = (gpu or gpu_of(prepared["estimate"])) if device == "cuda" else None
    used = [Use("prepare", None, prepared["seconds"])]
    # Before anything is rented for it.
    print("\n".join(prepared["estimate"]["said"]))
    print(f"Indexing on {'one ' + chosen if chosen else 'processor cores'}.", flush=True)
    indexed = succeeded(calls.index(GPUS[chosen][0] if chosen else None, pdfs, settings))
    used.append(Use("index", chosen, indexed["seconds"]))
    for one in indexed["indexes"]:
        print(f"{one['system']}: {one['run']}, {one['outcome']}, seal {one['seal'][:12]}")
    if queries:
        found = succeeded(calls.search(indexed["indexes"], list(queries), k))
        used.append(Use("search", None, found["seconds"]))
        print_found(found["found"])
    print("\n".join(bill(used, DEPLOYMENT, calls.rented)))


def print_found(found: Mapping[str, Any]) -> None:
    from indexscope.searching import printing

    for system, answers in found.items():
        print(f"\n{system}")
        for answer in answers:
            print(printing.readable(answer))


def succeeded(answer: dict[str, Any]) -> dict[str, Any]:
    if "failed" in answer:
        raise Failure(answer["failed"])
    return answer


@app.local_entrypoint()
def main(pdfs: str = "", query: str = "", k: int = 5, gpu: str = "") -> None:
    """Upload a folder of PDFs (none: a sample), index it, search it, say what it cost."""
    settings = {"measurement": {"device": "cuda"}}
    try:
        index_and_search(
            remote_calls(), Path(pdfs) if pdfs else None, [query] if query else [], k, gpu or None, settings
        )
    except Failure as failure:
        raise SystemExit(str(failure)) from None


def on_this_machine() -> None:
    """The same without Modal: parse the command line, make what the image would hold, index, search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pdfs", type=Path, help="a folder of PDFs (a sample of two, made on the spot)")
    parser.add_argument(
        "--query", action="append", default=[], help="what to search for; several are allowed"
    )
    parser.add_argument("-k", type=int, default=5, help="passages for each query")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="what to index on (cpu)")
    parser.add_argument("--search", metavar="JSON", help=argparse.SUPPRESS)  # of the second process
    arguments = parser.parse_args()
    if arguments.search:
        search_here(arguments.search)
        return
    try:
        bake(here(), sorted({arguments.device, "cpu"}))
        settings = {"measurement": {"device": arguments.device}}
        index_and_search(local_calls(), arguments.pdfs, arguments.query, arguments.k, None, settings)
    except Failure as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    on_this_machine()

# What the rules share: the validated configuration, the run matrix, paths, and what a job may use.

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

HOME = Path(os.path.relpath(Path(str(workflow.current_basedir)).parent))
SCRIPTS = HOME / "workflow" / "scripts"
LIBRARY = SCRIPTS / "indexscope"
ENVIRONMENTS = HOME / "envs"

sys.path.insert(0, str(SCRIPTS.resolve()))

from indexscope import cells, environments
from indexscope import config as configuration
from indexscope.figures.catalog import FIGURES
from indexscope.run_record import InputError

# The locks are complete: pip, where conda calls it, must not look for more (ragatouille asks for faiss-cpu,
# whose place faiss-gpu-cu12 takes).
os.environ.setdefault("PIP_NO_DEPS", "1")


def git_commit() -> str:
    """The commit that a run was made with; `+` when the tree differs from it."""
    describe = [
        "git",
        "-C",
        str(HOME),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(
            describe, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# In the environment, not in params: a commit must not make rules run again.
os.environ.setdefault("INDEXSCOPE_COMMIT", git_commit())


def resolved_device(requested: str) -> str:
    if requested != "auto":
        return requested
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True
    )
    return "cuda" if listing and listing.stdout.strip() else "cpu"


try:
    # Snakemake lists the files of the command line before the default that they are laid over.
    SETTINGS = configuration.load(
        config,
        sorted(
            (Path(os.path.relpath(path)) for path in workflow.configfiles),
            key=lambda path: path != HOME / "config" / "default.yaml",
        ),
    )
    FUNCTIONS = configuration.load_functions(HOME / "config" / "functions.yaml")
    DEVICE = resolved_device(SETTINGS.measurement.device)
    CELLS = {
        name: cells.resolve(
            SETTINGS,
            name,
            FUNCTIONS,
            device=DEVICE,
            lock_digest=environments.lock_digest(
                ENVIRONMENTS / f"{SETTINGS.systems[name].environment}.yaml"
            ),
        )
        for name in SETTINGS.index_memory.systems
    }
except InputError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    system="[a-z][a-z0-9_]*-[0-9a-f]{8}",
    documents="[0-9]+",
    profiler="none|spans|memory_profiler",
    repeat="[0-9]+",


# What is content-addressed is shared by all campaigns; what is measured and made of it is not.
RESULTS = f"results/campaigns/{SETTINGS.campaign}" if SETTINGS.campaign else "results"
CORPUS = f"{SETTINGS.index_memory.corpus}-{configuration.digest(SETTINGS.corpora[SETTINGS.index_memory.corpus])}"
CHECKPOINT = "{}-{}".format(
    SETTINGS.index_memory.checkpoint,
    configuration.digest(SETTINGS.checkpoints[SETTINGS.index_memory.checkpoint]),
)
RUN = f"{RESULTS}/index_runs/{{system}}/{{documents}}/{{profiler}}/{{repeat}}"
# (system, documents, profiler, repeat) → run directory
RUNS = {
    run: RUN.format(
        system=CELLS[run[0]].path_name, documents=run[1], profiler=run[2], repeat=run[3]
    )
    for run in configuration.experiment_runs(SETTINGS.index_memory)
}
TABLES = [
    "runs",
    "spans",
    "memory_curve",
    "memory_profiler_lines",
    "memory_by_function",
    "memory_comparison",
    "artifact_comparison",
]


def cell_of(wildcards):
    """The cell whose run directory the wildcards name."""
    return CELLS[wildcards.system.rpartition("-")[0]]


def run_files(name, profiler=None):
    """The file `name` of each run, or of the runs under one profiler."""
    return [
        f"{path}/{name}" for run, path in RUNS.items() if profiler in (None, run[2])
    ]


def gpus(wildcards):
    """One GPU for a cell whose device is cuda, none otherwise."""
    return 1 if DEVICE == "cuda" else 0


def library(*names):
    """Library files that a cheap rule's program uses: editing one runs the rule again."""
    return [str(LIBRARY / name) for name in names]


def python_files(folder):
    """Names, below the library, of a folder's modules."""
    return [f"{folder}/{path.name}" for path in sorted((LIBRARY / folder).glob("*.py"))]


def measuring_files(wildcards):
    """All code that takes part in a run; an edit elsewhere must never schedule an index."""
    framework = cell_of(wildcards).content["framework"]
    shared = cells.ADAPTERS[framework].EXTENSIONS
    adapter = ["frameworks/__init__.py", f"frameworks/{framework}.py"]
    return library(
        *python_files("measure"),
        *adapter,
        *([f"frameworks/{shared}.py"] * bool(shared)),
    )


def figure_files(name=None):
    """The three files of one figure, or of all."""
    names = [name] if name else list(FIGURES)
    return [
        f"{RESULTS}/figures/{figure}.{suffix}"
        for figure in names
        for suffix in ("svg", "html", "csv")
    ]


def figure_tables(name):
    return [f"{RESULTS}/tables/{table}.parquet" for table in FIGURES[name].tables]


def figure_code(name):
    return library(
        "schemas.py",
        "run_record.py",
        "figures/catalog.py",
        "figures/common.py",
        "figures/files.py",
        f"figures/{name}.py",
    )


def collection_of(wildcards):
    """The documents that a run is given: a slice, or what it is when split beforehand."""
    split_to = cell_of(wildcards).content["split_to"]
    if split_to is None:
        return f"results/slices/{CORPUS}/{wildcards.documents}.jsonl"
    return f"results/passages/{CORPUS}/{wildcards.documents}-{split_to}.jsonl"


def extensions_of(wildcards):
    """The manifest of the compiled extensions that a run uses; nothing where its framework has none."""
    name = cell_of(wildcards).extensions
    return [] if name is None else f"results/extensions/{name}/manifest.json"


def kept(path, *while_kept):
    """An output that goes once it has been used, unless the configuration keeps it."""
    return path if SETTINGS.keep in while_kept else temp(path)


def kept_files():
    """What is made to be kept, beside what results are made of: the dump of each run where its index goes."""
    if SETTINGS.keep != "dumps":
        return []
    return [f"{run}/artifacts" for run in RUNS.values()]


CONFIGURATION = f"{RESULTS}/configuration.yaml"


onstart:
    configuration.write_resolved(SETTINGS, Path(CONFIGURATION))

# What the rules share: the validated configuration, the run matrix, paths, and what a job may use.

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

HOME = Path(os.path.relpath(Path(str(workflow.current_basedir)).parent))
SCRIPTS = HOME / "workflow" / "scripts"
LIBRARY = SCRIPTS / "indexscope"
ENVIRONMENTS = HOME / "envs"

sys.path.insert(0, str(SCRIPTS.resolve()))

from indexscope.figures.catalog import (
    ACCURACY_FIGURES,
    ALL_FIGURES,
    DOCUMENT_FIGURES,
    DOCUMENT_SCALE_FIGURES,
    FAISS_FIGURES,
    FAISS_RFC_FIGURES,
    FIGURES,
    PROFILER_COST_FIGURES,
    PUBLISHED_FIGURES,
    REMOTE_FIGURES,
    TORCH_FIGURES,
)
from indexscope.run_record import InputError

try:
    from indexscope import (
        access_runs,
        archive,
        cells,
        environments,
        memory_plan,
        version_runs,
    )
    from indexscope import config as configuration
except InputError as error:  # of an adapter, which is looked at as it is imported
    raise WorkflowError(str(error)) from None

from indexscope.settings.external_logs import DOWNLOADS, external_files

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


def executor_in_use() -> str:
    """What --executor says, on the command line or in a profile.

    Snakemake knows by itself only once all rules are read, and in a dry run not at all: so its command line is asked.
    """
    frame = sys._getframe()
    while frame is not None:
        if (
            frame.f_globals.get("__name__") == "snakemake.cli"
            and "args" in frame.f_locals
        ):
            return getattr(frame.f_locals["args"], "executor", None) or "local"
        frame = frame.f_back
    return "local"


def resolved_device(requested: str) -> str:
    if requested != "auto":
        return requested
    executor = executor_in_use()
    if workflow.is_main_process and executor not in ("local", "dryrun", "touch"):
        raise WorkflowError(
            f"measurement.device is auto, but under --executor {executor} runs are measured elsewhere, and whether "
            "this machine has a GPU says nothing of there: say which with --config 'measurement={device: cpu}' "
            "(or cuda), or in a file for --configfile"
        )
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
    EXTERNAL_FILES = external_files(SETTINGS.external_logs)
    CORPUS = configuration.addressed(SETTINGS, "corpora", SETTINGS.index_memory.corpus)
    CHECKPOINT = configuration.addressed(
        SETTINGS, "checkpoints", SETTINGS.index_memory.checkpoint
    )
    FUNCTIONS = configuration.load_functions(HOME / "config" / "functions.yaml")
    DEVICE = resolved_device(SETTINGS.measurement.device)
    ALL_CELLS = {
        name: cells.resolve(
            SETTINGS,
            name,
            FUNCTIONS,
            device=DEVICE,
            lock_digest=environments.lock_digest(
                ENVIRONMENTS / f"{SETTINGS.systems[name].environment}.yaml"
            ),
        )
        for name in [*SETTINGS.index_memory.systems, *SETTINGS.profiler_cost.systems]
    }
    # Those of index_memory, and those of the benchmark profiler_cost.
    CELLS = {name: ALL_CELLS[name] for name in SETTINGS.index_memory.systems}
    COST_CELLS = {name: ALL_CELLS[name] for name in SETTINGS.profiler_cost.systems}
    # The runs of torch_versions; an experiment of its own, with environments that only its target builds.
    TORCH = version_runs.Matrix(
        SETTINGS,
        version_runs.lock_digests(SETTINGS.torch_versions.versions, ENVIRONMENTS),
        DEVICE,
    )
    TORCH_CORPUS = configuration.addressed(
        SETTINGS, "corpora", SETTINGS.corpus_of_versions
    )
    TORCH_CHECKPOINT = configuration.addressed(
        SETTINGS, "checkpoints", SETTINGS.checkpoint_of_versions
    )
    ACCESS_CORPUS = configuration.addressed(
        SETTINGS, "corpora", SETTINGS.corpus_of_access
    )
    # The checkpoint whose tokenizer the trainings use.
    ACCESS_TOKENIZER = configuration.addressed(
        SETTINGS, "checkpoints", SETTINGS.checkpoint_of_access
    )
    REMOTE_CORPUS = configuration.addressed(
        SETTINGS, "corpora", SETTINGS.corpus_of_remote
    )
    REMOTE_CHECKPOINT = configuration.addressed(
        SETTINGS, "checkpoints", SETTINGS.checkpoint_of_remote
    )
    # The systems of remote_indexing: what is built there goes on where it was interrupted.
    REMOTE_CELLS = {
        name: cells.resolve(
            SETTINGS,
            name,
            FUNCTIONS,
            device=DEVICE,
            lock_digest=environments.lock_digest(
                ENVIRONMENTS / f"{SETTINGS.systems[name].environment}.yaml"
            ),
            corpus=SETTINGS.corpus_of_remote,
            encoder=SETTINGS.checkpoint_of_remote,
            resume=True,
        )
        for name in SETTINGS.remote_indexing.systems
    }
    # Metadata of the tables; in the environment for the same reason as the commit.
    os.environ.update(
        INDEXSCOPE_CAMPAIGN=SETTINGS.campaign or "",
        INDEXSCOPE_ANALYSIS_LOCK=environments.lock_digest(
            ENVIRONMENTS / "analysis.yaml"
        ),
    )
    # What figures and report are drawn from, where it is not the results of runs.
    ARCHIVE = (
        archive.read_manifest(Path(SETTINGS.archive)) if SETTINGS.archive else None
    )
except InputError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    system="[a-z][a-z0-9_]*-[0-9a-f]{8}",
    documents="[0-9]+|all",
    profiler="none|spans|memory_profiler|ledger|memray",
    repeat="[0-9]+",


# What is content-addressed is shared by all campaigns; what is measured and made of it is not.
RESULTS = f"results/campaigns/{SETTINGS.campaign}" if SETTINGS.campaign else "results"
if ARCHIVE:
    RESULTS = f"results/archives/{ARCHIVE.folder(Path(SETTINGS.archive))}"
# The corpora and checkpoints in use, by their names on disk.
CORPORA = {
    CORPUS: SETTINGS.corpora[SETTINGS.index_memory.corpus],
    TORCH_CORPUS: SETTINGS.corpora[SETTINGS.corpus_of_versions],
    ACCESS_CORPUS: SETTINGS.corpora[SETTINGS.corpus_of_access],
    REMOTE_CORPUS: SETTINGS.corpora[SETTINGS.corpus_of_remote],
}
CHECKPOINTS = {
    CHECKPOINT: SETTINGS.checkpoints[SETTINGS.index_memory.checkpoint],
    TORCH_CHECKPOINT: SETTINGS.checkpoints[SETTINGS.checkpoint_of_versions],
    ACCESS_TOKENIZER: SETTINGS.checkpoints[SETTINGS.checkpoint_of_access],
    REMOTE_CHECKPOINT: SETTINGS.checkpoints[SETTINGS.checkpoint_of_remote],
}
# Those of the corpora that are downloaded, by the name of what is: a change of what is read of it fetches nothing.
DATASETS = {
    f"{name[:-9]}-{configuration.digest(settings.fetched())}": settings
    for name, settings in CORPORA.items()
    if hasattr(settings, "fetched")
}
PDF_DATASETS = {
    name for name, settings in DATASETS.items() if settings.source == "pdfs"
}
RUN = f"{RESULTS}/index_runs/{{system}}/{{documents}}/{{profiler}}/{{repeat}}"
# (system, documents, profiler, repeat) → run directory
RUNS = {
    run: RUN.format(
        system=CELLS[run[0]].path_name, documents=run[1], profiler=run[2], repeat=run[3]
    )
    for run in configuration.experiment_runs(SETTINGS.index_memory)
}
# For other viewers: the run whose functions were measured, and PREFIX of its two files.
SPANS_RUN = RUN.replace("{profiler}", "spans")
TRACE = f"{RESULTS}/traces/{{system}}/{{documents}}/{{repeat}}"
TABLES = [
    "runs",
    "spans",
    "memory_curve",
    "memory_profiler_lines",
    "memory_by_function",
    "external_logs",
    "published_memory",
    "memory_comparison",
    "artifact_comparison",
    "published_encode_seconds",
    "ledger",
    "memory_model",
    "memory_model_terms",
    "confounds",
    "run_comparison",
    "answers",
]
if ARCHIVE:
    # Nothing is measured; what an older archive has no table for is not drawn.
    RUNS, TABLES = {}, ARCHIVE.tables
    FIGURES = {
        name: entry
        for name, entry in FIGURES.items()
        if set(entry.tables) <= set(TABLES)
    }


def cell_of(wildcards):
    """The cell whose run directory the wildcards name."""
    if wildcards.system in TORCH.cells:
        return TORCH.cells[wildcards.system].cell
    for cell in REMOTE_CELLS.values():
        if cell.path_name == wildcards.system:
            return cell
    return ALL_CELLS[wildcards.system.rpartition("-")[0]]


def run_files(name, profiler=None):
    """The file `name` of each run, or of the runs under one profiler."""
    return [
        f"{path}/{name}" for run, path in RUNS.items() if profiler in (None, run[2])
    ]


def lock_of(environment):
    """The digest of an environment's lock."""
    try:
        return environments.lock_digest(ENVIRONMENTS / f"{environment}.yaml")
    except InputError as error:
        raise WorkflowError(str(error)) from None


# What a job takes that must be alone: all of the machine, however many GPUs a profile lets work side by side.
MACHINE = (
    workflow.global_resources["machine"].value
    if "machine" in workflow.global_resources
    else 100
)


def gpus(wildcards):
    """The GPUs of a job where the device is cuda, none otherwise: one, or one a rank of its system."""
    if DEVICE != "cuda":
        return 0
    if not hasattr(wildcards, "system"):
        return 1
    return cell_of(wildcards).content["settings"].get("nranks") or 1


def machine_of(wildcards):
    """Hundredths of the machine that an index run takes: all; where GPUs work side by side, a hundred a GPU."""
    return min(MACHINE, 100 * gpus(wildcards)) if DEVICE == "cuda" else MACHINE


def memory_of(wildcards, memory="host"):
    """MiB that a run is to have on the host or on the GPU, by the memory model; none of the GPU on a CPU."""
    of_version = wildcards.system in TORCH.cells
    encoder = CHECKPOINTS[TORCH_CHECKPOINT if of_version else CHECKPOINT]
    case = memory_plan.Case(
        cell_of(wildcards).content, encoder.model_dump(), int(wildcards.documents)
    )
    profiler = version_runs.PROFILER if of_version else wildcards.profiler
    return memory_plan.reserve_mib(case, memory, profiler)


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
    # What the profiler ledger loads beside the framework; other profilers load none of it.
    ledger = (
        python_files("ledger") if getattr(wildcards, "profiler", "") == "ledger" else []
    )
    return library(
        *python_files("measure"),
        *ledger,
        *adapter,
        *([f"frameworks/{shared}.py"] * bool(shared)),
        *(
            ["frameworks/plaid_resume.py"]
            if cells.ADAPTERS[framework].LAYOUT == "plaid"
            else []
        ),
    )


def cost_memory_of(wildcards):
    """MiB that the runs of the benchmark profiler_cost are to have; memray needs most."""
    wildcards = SimpleNamespace(
        system=wildcards.system,
        documents=SETTINGS.profiler_cost.documents,
        profiler="memray",
    )
    return memory_of(wildcards)


def files_of_figures(names):
    """The three files of each figure."""
    return [
        f"{RESULTS}/figures/{figure}.{suffix}"
        for figure in names
        for suffix in ("svg", "html", "csv")
    ]


def figure_tables(name):
    tables = ALL_FIGURES[name].tables
    return [f"{RESULTS}/tables/{table}.parquet" for table in tables]


def figure_code(name):
    return library(
        "schemas.py",
        "run_record.py",
        "figures/catalog.py",
        "figures/common.py",
        "figures/files.py",
        "figures/functions.py",
        # What the steps between the systems say.
        *(["analysis/confounds.py"] if name == "confounds" else []),
        # What several figures of one experiment share.
        *(["figures/torch_common.py"] if name in TORCH_FIGURES else []),
        *(
            ["figures/faiss_common.py", "faiss_tables/formulas.py"]
            if name in {**FAISS_FIGURES, **FAISS_RFC_FIGURES}
            else []
        ),
        *(
            ["figures/document_common.py"]
            if name in {**DOCUMENT_FIGURES, **DOCUMENT_SCALE_FIGURES}
            else []
        ),
        *(
            ["figures/remote_common.py", "memory_model.py"]
            if name in REMOTE_FIGURES
            else []
        ),
        "figures/artifact_comparison.py",
        *(["figures/peak_parts.py"] if name == "part_growth" else []),
        f"figures/{name}.py",
    )


def to_make(form, values, *paths):
    """A regular expression, `form` but for those of `values` that exist in all of `paths`.

    What is named by the digest of its settings is made once: where it exists it is a source, which no edit,
    lock or parameter makes anew. (Were it a product that is made anew, Snakemake 9.27 would not look for other
    reasons to run what takes it as ancient, not even a missing output.)
    """
    made = [
        re.escape(str(value))
        for value in values
        if all(os.path.exists(path.format(value)) for path in paths)
    ]
    return f"(?!(?:{'|'.join(made)})(?![0-9A-Za-z_-]))(?:{form})" if made else form


def one_of(values):
    """A regular expression of these names; of nothing where there is none."""
    return "|".join(sorted(map(re.escape, values))) or "none of them"


# Documents of remote_indexing, as they are in paths.
REMOTE_DOCUMENTS = str(SETTINGS.documents_of_remote or "all")
# CORPUS/DOCUMENTS
SLICES = sorted(
    {
        f"{REMOTE_CORPUS}/{REMOTE_DOCUMENTS}",
        *(f"{CORPUS}/{run[1]}" for run in RUNS),
        f"{CORPUS}/{SETTINGS.profiler_cost.documents}",
        f"{TORCH_CORPUS}/{SETTINGS.torch_versions.documents}",
        f"{ACCESS_CORPUS}/{SETTINGS.document_access.documents}",
        *(
            f"{ACCESS_CORPUS}/{limited.documents}"
            for limited in [SETTINGS.document_access.limited]
            if limited
        ),
    }
)
# CORPUS/DOCUMENTS-TOKENS
SPLITS = sorted(
    {
        f"{CORPUS}/{run[1]}-{split_to}"
        for run in [
            *RUNS,
            *((name, SETTINGS.profiler_cost.documents) for name in COST_CELLS),
        ]
        for split_to in [SETTINGS.systems[run[0]].split_to]
        if split_to
    }
    | {
        f"{REMOTE_CORPUS}/{REMOTE_DOCUMENTS}-{SETTINGS.systems[name].split_to}"
        for name in REMOTE_CELLS
        if SETTINGS.systems[name].split_to
    }
)
EXTENSIONS = sorted(
    {
        *(cell.extensions for cell in ALL_CELLS.values() if cell.extensions),
        # What a search compiles holds what indexing needs.
        *(
            extensions.replace("plaid-", "plaid_search-", 1)
            for cell in REMOTE_CELLS.values()
            for extensions in [cell.extensions]
            if extensions
        ),
    }
)


def collection_of(wildcards):
    """The documents that a run is given: a slice, or what it is when split beforehand."""
    split_to = cell_of(wildcards).content["split_to"]
    if split_to is None:
        return f"results/slices/{CORPUS}/{wildcards.documents}.jsonl"
    return f"results/passages/{CORPUS}/{wildcards.documents}-{split_to}.jsonl"


def cost_collection_of(wildcards):
    """The documents of the runs of the benchmark profiler_cost."""
    documents = SETTINGS.profiler_cost.documents
    return collection_of(SimpleNamespace(system=wildcards.system, documents=documents))


# Of each system: a first one, and none twice in each round.
COST_RUNS = 1 + SETTINGS.profiler_cost.rounds * (
    len(SETTINGS.profiler_cost.variants) + 1
)


def dataset_of(corpus):
    """The manifest of the download that a corpus is read from; nothing where it needs none."""
    for name, settings in DATASETS.items():
        if settings is CORPORA[corpus]:
            return f"results/datasets/{name}/manifest.json"
    return []


def checkpoints_from(*sources):
    """A regular expression of the checkpoints in use that come from these sources."""
    names = [
        name for name, settings in CHECKPOINTS.items() if settings.source in sources
    ]
    return one_of(names)


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
    return [f"{run}/artifacts" for run in RUNS.values() if not was_not_kept(run)]


def archived_artifacts():
    """The dumps whose manifests go into an archive: those that are kept, of the runs that are compared."""
    if SETTINGS.keep == "none":
        return []
    compared = {
        RUNS[run]
        for pair in configuration.artifact_pairs(SETTINGS)
        for runs in configuration.pair_runs(pair, set(RUNS))
        for run in runs
    }
    return [f"{run}/artifacts" for run in sorted(compared) if not was_not_kept(run)]


def campaign_tables():
    """The tables of runs of all campaigns, as NAME=FILE; those of results/ have no name.

    They are parameters, not inputs: what is compared is what was measured, and no trend starts a run.
    """
    results = Path("results")
    named = sorted(results.glob("campaigns/*/tables/runs.parquet"))
    unnamed = [path for path in [results / "tables/runs.parquet"] if path.exists()]
    unpacked = sorted(results.glob("archives/*/tables/runs.parquet"))
    return [
        *(f"{path.parts[-3]}={path}" for path in named),
        *(str(path) for path in unnamed),
        *(f"{path.parts[-3]}={path}" for path in unpacked),
    ]


def campaign_tables_digest():
    """Changes with the content of any of them."""
    digest = hashlib.sha256()
    for table in campaign_tables():
        digest.update(Path(table.rpartition("=")[2]).read_bytes())
    return digest.hexdigest()[:16]


def was_not_kept(run):
    """A finished run of which another setting of keep left only the record: a dump would measure it again."""
    path = Path(run)
    left = [path / "index", path / "artifacts"]
    return (path / "run.json").exists() and not any(each.exists() for each in left)


def unless_gone(paths, *while_kept):
    """Programs whose edit makes a result anew, unless what it is made of is gone: runs would be measured again."""
    return paths if SETTINGS.keep in while_kept else ancient(paths)


def trace_files(suffix="trace.json"):
    """Of each system and size the first run under the profiler spans, for other viewers."""
    first = {}
    for system, documents, profiler, repeat in sorted(RUNS):
        if profiler == "spans":
            first.setdefault((system, documents), repeat)
    return [
        f"{TRACE.format(system=CELLS[system].path_name, documents=documents, repeat=repeat)}.{suffix}"
        for (system, documents), repeat in first.items()
    ]


EXTERNAL_LOGS = f"{RESULTS}/tables/external_logs.parquet"


# The functions of the published tables, as their files are called.
PUBLISHED_FUNCTIONS = [
    "indexer.index",
    "encoder.encode_passages",
    "sample_embeddings",
    "setup",
    "train",
    "index",
    "finalize",
]


def external_logs():
    """The files of external_logs: in place, or where they are downloaded to."""
    return [file.path for file in EXTERNAL_FILES]


PUBLISHED = HOME / "config" / "published"


def published_numbers():
    """What was published of memory: cells, sentences, what the logs say, and what was measured."""
    return [
        PUBLISHED / "memory_by_function.csv",
        PUBLISHED / "memory_by_function_in_logs.csv",
        PUBLISHED / "memory_sentences.csv",
        PUBLISHED / "memory_study.yaml",
    ]


def published_files():
    """What checking the published study writes."""
    names = ["study.md", "cells.csv", "sentences.md", "sentences.csv"]
    names += ["sentence_values.csv"]
    names += [
        f"{function}.{suffix}"
        for function in PUBLISHED_FUNCTIONS
        for suffix in ("md", "csv")
    ]
    return [f"{RESULTS}/published/{name}" for name in names]


def published_figure_files():
    """The figures of the published study; that of recordings from elsewhere where there are logs."""
    names = [
        name for name in PUBLISHED_FIGURES if EXTERNAL_FILES or name != "external_logs"
    ]
    return [
        f"{RESULTS}/published/{name}.{suffix}"
        for name in names
        for suffix in ("svg", "html", "csv")
    ]


CONFIGURATION = f"{RESULTS}/configuration.yaml"


# All that writes a page; read as a whole, because each part may be on each page.
REPORT_CODE = library(
    "schemas.py",
    "run_record.py",
    "analysis/search_comparison.py",
    "analysis/confounds.py",
    *(
        str(path.relative_to(LIBRARY))
        for folder in ("report", "figures")
        for path in sorted((LIBRARY / folder).iterdir())
        if path.is_file()
    ),
)


# What dumps the artifacts of an index, and what compares dumps.
DUMP_FILES = library(
    "run_record.py", "measure/records.py", "artifacts/capture.py", "artifacts/dump.py"
)
COMPARISON_FILES = DUMP_FILES + library(
    "schemas.py",
    "artifacts/compare.py",
    "artifacts/distances.py",
    "artifacts/order.py",
)

# What the rules of remote_indexing share: its runs, its collections, and the tables of prices.

REMOTE = SETTINGS.remote_indexing
REMOTE_RUN = f"{RESULTS}/remote_indexing/runs/{{system}}/{{documents}}/spans/{{repeat}}"
# (system, repeat) → run directory. Under the profiler spans: what is asked is the memory of each phase.
REMOTE_RUNS = {
    (name, repeat): REMOTE_RUN.format(
        system=cell.path_name, documents=REMOTE_DOCUMENTS, repeat=repeat
    )
    for name, cell in REMOTE_CELLS.items()
    for repeat in range(1, REMOTE.repeats + 1)
}
REMOTE_SYSTEM = one_of({cell.path_name for cell in REMOTE_CELLS.values()})
REMOTE_QUERIES = "results/queries/{}/{}-{}".format(
    REMOTE_CORPUS, REMOTE_DOCUMENTS, configuration.digest(REMOTE.search.queries)
)
REMOTE_SLICE = f"results/slices/{REMOTE_CORPUS}/{REMOTE_DOCUMENTS}.jsonl"
REMOTE_LABELS = json.dumps(
    {name: SETTINGS.systems[name].label for name in REMOTE_CELLS}
)
REMOTE_ESTIMATE = f"{RESULTS}/remote_indexing/estimate.json"
REMOTE_TABLES = [
    "remote_pages",
    "remote_runs",
    "remote_phases",
    "remote_gpus",
    "remote_costs",
    "remote_searches",
    "remote_results",
    "remote_loads",
]
REMOTE_ANALYSIS = library(
    "schemas.py",
    "run_record.py",
    "memory_model.py",
    "memory_plan.py",
    "cost.py",
    "analysis/run_directories.py",
    "analysis/measured_rows.py",
    "searching/passages.py",
    "searching/index_folder.py",
    *(name for name in python_files("analysis") if name.startswith("analysis/remote_")),
)


def remote_collection(wildcards):
    """What a system of remote_indexing indexes: the documents, or what they are when split beforehand."""
    split_to = cell_of(wildcards).content["split_to"]
    if split_to is None:
        return REMOTE_SLICE
    return f"results/passages/{REMOTE_CORPUS}/{REMOTE_DOCUMENTS}-{split_to}.jsonl"


def remote_extensions(wildcards, of="plaid"):
    """The manifest of the compiled extensions of a run, or of searching its index; nothing where there are none."""
    name = cell_of(wildcards).extensions
    if name is None:
        return []
    return f"results/extensions/{name.replace('plaid-', f'{of}-', 1)}/manifest.json"


def pdf_pages():
    """What became of the pages of PDFs; nothing where the corpus is of something else."""
    if getattr(CORPORA[REMOTE_CORPUS], "source", None) != "pdfs":
        return []
    return [f"{os.path.dirname(dataset_of(REMOTE_CORPUS))}/pages.jsonl"]


def remote_memory(wildcards, input, memory="host"):
    """MiB that a run is to have, by the memory model, once the documents are there."""
    with open(input.documents, "rb") as lines:
        documents = max(sum(1 for _ in lines), 1)
    case = memory_plan.Case(
        cell_of(wildcards).content,
        CHECKPOINTS[REMOTE_CHECKPOINT].model_dump(),
        documents,
        bytes_per_document=os.path.getsize(input.documents) / documents,
    )
    return memory_plan.reserve_mib(case, memory, "spans")


def beside_configuration(path):
    """A file that the configuration names: where Snakemake is run, else beside the workflow."""
    return path if os.path.exists(path) else str(HOME / path)


REMOTE_PRICES = {
    name: beside_configuration(getattr(REMOTE.rent, name))
    for name in ("prices", "gpus", "throughput")
}

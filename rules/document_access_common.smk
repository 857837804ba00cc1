# What the rules of document_access share: the trainings, and the files that loaders read.

ACCESS = SETTINGS.document_access
ACCESS_LOCK = lock_of(ACCESS.environment)
TRAININGS = access_runs.trainings(
    SETTINGS, DEVICE, ACCESS_CORPUS, ACCESS_TOKENIZER, ACCESS_LOCK
)
TRAINING = f"{RESULTS}/document_access/runs/{{training}}/{{repeat}}"
# Loaders that read files of their own making.
ACCESS_LOADERS = sorted(
    {
        *(training.content["loader"] for training in TRAININGS.values()),
        *ACCESS.fetches.loaders,
    }
)
ACCESS_SIZES = sorted(
    {training.content["documents"] for training in TRAININGS.values()}
    | {ACCESS.documents}
)
DOCUMENT_TABLES = [
    "document_access",
    "document_access_steps",
    "document_access_processes",
    "document_fetches",
    "document_published",
    "document_advice",
]

# Library files of programs that run in the environment of training.
ACCESS_FILES = library("run_record.py", *python_files("document_access"))
# What makes and reads the files of loaders: a changed trainer does not make them anew.
LOADER_FILES = library(
    "run_record.py",
    "measure/proc.py",
    *(
        f"document_access/{name}.py"
        for name in (
            "loaders",
            "raw_files",
            "base",
            "id_table",
            "table_file",
            "offset_index",
            "arrow_documents",
            "docstore",
        )
    ),
)
ACCESS_ANALYSIS = library(
    "schemas.py",
    "run_record.py",
    "document_access/memory_model.py",
    "document_access/raw_files.py",
    "document_access/id_table.py",
    "analysis/measured_rows.py",
    *(
        name
        for name in python_files("analysis")
        if name.startswith("analysis/document_")
    ),
)


def training_of(wildcards):
    return TRAININGS[f"{wildcards.training}/{wildcards.repeat}"].content


def access_collection(documents):
    """The documents as JSON lines: the raw file."""
    return f"results/slices/{ACCESS_CORPUS}/{documents}.jsonl"


def access_sources(documents):
    """The manifest of what the loaders read beside it."""
    return f"results/document_sources/{ACCESS_CORPUS}/{documents}-{ACCESS_LOCK}/manifest.json"


def access_samples(documents):
    return (
        f"results/document_samples/{ACCESS_CORPUS}/{documents}-{SAMPLES_DIGEST}.jsonl"
    )


# Enough for the largest world: each sample is drawn once.
SAMPLES = (
    (ACCESS.steps + ACCESS.warm_up_steps)
    * ACCESS.batch_size
    * max(training.content["world_size"] for training in TRAININGS.values())
)
SAMPLES_DIGEST = configuration.digest(SAMPLES, ACCESS.seed)


def limited_plan(wildcards):
    """The memory limit and what is predicted under it; nothing for a training without a limit."""
    if training_of(wildcards)["limit"] is None:
        return []
    return f"{RESULTS}/document_access/limit.json"


def training_memory(wildcards, input):
    """MiB for a training: each rank its libraries, and a dict of the documents where that is how it reads them."""
    training = training_of(wildcards)
    # A dict of short ASCII texts is up to three times its file.
    collection = 3 * os.path.getsize(input.collection) // 2**20
    copies = {"in_memory": training["world_size"], "shared_memory": 1}
    return (
        2000 * (1 + training["world_size"])
        + copies.get(training["loader"], 0) * collection
    )

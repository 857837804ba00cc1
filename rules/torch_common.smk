# What the rules of torch_versions share. Environments are built by a rule: one that cannot be built is a result, and
# the others go on.

TORCH_SYSTEM = "torch_[0-9_]+(?:_given_[a-z_]+_of_[0-9_]+)?-[0-9a-f]{8}"
TORCH_RUN = (
    f"{RESULTS}/index_runs/{{system}}/{{documents}}/{version_runs.PROFILER}/{{repeat}}"
)
TORCH_RUNS = [f"{RESULTS}/index_runs/{run}" for run in TORCH.runs()]
TORCH_SLICE = f"results/slices/{TORCH_CORPUS}/{SETTINGS.torch_versions.documents}.jsonl"
TORCH_TABLES = [
    "torch_runs",
    "torch_environments",
    "torch_artifacts",
    "torch_injections",
    "torch_operators",
    "torch_divergence",
    "torch_layers",
    "torch_search",
    "torch_search_queries",
    "torch_published",
]
# Version → folder name of its environment, ENVIRONMENT-LOCK.
TORCH_ENVIRONMENTS = {
    version: "{environment}-{lock_digest}".format(**cell.cell.content)
    for version, cell in TORCH.plain.items()
}
TORCH_EXTENSIONS = {version: cell.extensions for version, cell in TORCH.plain.items()}
TORCH_QUERIES = "{}-{}".format(
    SETTINGS.torch_versions.documents,
    configuration.digest(SETTINGS.torch_versions.queries),
)
# What is downloaded of queries; None where they are made or local.
TORCH_QUERY_DATASET = (
    f"queries-{configuration.digest(SETTINGS.torch_versions.queries.fetched())}"
    if SETTINGS.torch_versions.queries.source == "hub"
    else None
)


# Library files of programs that run in a version's environment.
DUMPING_FILES = library("run_record.py", "artifacts/capture.py", "artifacts/hooks.py")
OPERATOR_FILES = library(
    "run_record.py",
    "artifacts/distances.py",
    *(name for name in python_files("artifacts") if "operator" in name),
)


def index_run_of(version):
    """The first run of a version, whose index is searched."""
    run = TORCH.plain[version].run(SETTINGS.torch_versions.documents, 1)
    return f"{RESULTS}/index_runs/{run}"


def version_environment(version):
    """The manifest of a version's environment."""
    return f"results/environments/{TORCH_ENVIRONMENTS[version]}/environment.json"


def version_of(wildcards):
    """The version whose environment a run is made in."""
    return TORCH.cells[wildcards.system].version


def inside(input):
    """What runs a program in a version's environment; stands between `python` and the program."""
    capability = SETTINGS.torch_versions.cpu_capability
    asked = "" if capability == "auto" else f" --cpu-capability {capability}"
    extensions = input.get("extensions")
    needs = f" --needs {extensions}" if extensions else ""
    return f"{SCRIPTS / 'run_in_environment.py'}{asked}{needs} {input.environment}"


def donor_of(wildcards):
    """The run directory whose artifacts a run is given; nothing where it is given none."""
    donor = TORCH.cells[wildcards.system].donor
    if donor is None:
        return []
    return f"{RESULTS}/index_runs/{donor.run(int(wildcards.documents), 1)}"


def torch_comparisons():
    """The comparisons as compare_torch_artifacts.py takes them."""
    return [
        {
            "left_version": comparison.left_version,
            "right_version": comparison.right_version,
            "kind": comparison.kind,
            "injected": list(comparison.injected),
            "pair": comparison.pair,
            "left": f"{RESULTS}/index_runs/{comparison.left}",
            "right": f"{RESULTS}/index_runs/{comparison.right}",
        }
        for comparison in TORCH.comparisons()
    ]


def search_file(index_version, searching_version):
    """Rankings of one version's index, searched by another or the same."""
    return f"{RESULTS}/torch_versions/searches/{index_version}-by-{searching_version}.jsonl"


def torch_searches():
    """The comparisons of searches as compare_searches.py takes them."""
    pairs = []
    for pair in SETTINGS.torch_versions.compared():
        left, right = pair.left, pair.right
        sides = {
            "own index": (search_file(left, left), search_file(right, right)),
            "index of left": (search_file(left, left), search_file(left, right)),
            "index of right": (search_file(right, left), search_file(right, right)),
        }
        for comparison, (of_left, of_right) in sides.items():
            pairs.append(
                {
                    "left_version": left,
                    "right_version": right,
                    "comparison": comparison,
                    "left": of_left,
                    "right": of_right,
                }
            )
    return pairs


def recording_of(version):
    return f"{RESULTS}/torch_versions/recordings/{version}"


def torch_replays():
    """The replays as tabulate_torch_operators.py takes them: each version's own, then the pairs."""
    compared = [(version, version) for version in SETTINGS.torch_versions.versions]
    compared += [(pair.left, pair.right) for pair in SETTINGS.torch_versions.compared()]
    return [
        {
            "left_version": left,
            "right_version": right,
            "replay": f"{RESULTS}/torch_versions/replays/{left}-in-{right}.jsonl",
            # Why an operator differs: with the left version's vector instructions, and without oneDNN in both.
            "replay_in_left": (
                f"{RESULTS}/torch_versions/replays/{left}-in-{left}.jsonl"
                if left != right
                else None
            ),
            "replay_as_left": (
                f"{RESULTS}/torch_versions/replays/{left}-in-{right}-as-recorded.jsonl"
                if left != right
                else None
            ),
            "left_recording": recording_of(left),
            "right_recording": recording_of(right),
        }
        for left, right in compared
    ]

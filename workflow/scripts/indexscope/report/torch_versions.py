"""The report of torch_versions: what changes, which operator first, what makes it equal again, who notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from indexscope.analysis.search_comparison import FAILED, NO_DIFFERENCE, search_verdict
from indexscope.figures import common, torch_common
from indexscope.run_record import COMPLETED

from . import facts, page
from .page import EmbeddedFigure, Finding

# What the page is made of; fields of Measured.
TABLES = (
    "torch_runs",
    "torch_environments",
    "torch_artifacts",
    "torch_injections",
    "torch_divergence",
    "torch_search",
    "torch_published",
)
PUBLISHED_PASSAGES = 69_199  # of ConditionalQA (config/published/torch_study.yaml)
_PRECISION_WORDS = {
    "float32": "float32",
    "cpu_autocast_bfloat16": "CPU autocast (bfloat16)",
    "cuda_autocast_float16": "CUDA autocast (float16)",
}
_INDEX_STEPS = "index"  # torch_divergence.input of the steps after encoding
# Pairs and versions that the first screen names; figures and tables have all.
_MOST_NAMED, _MOST_VERSIONS = 3, 7
_STAGES = ["planning", "training", "encoding", "finalizing"]
_WITHIN = ["within tolerance", "within bitsandbytes tolerance"]
_NOT_COMPARED = ["missing", "run failed"]
# Of the machine: the scale beside the study has the device, the table of versions the versions.
_TOLD_BESIDE = ("Versions", "Device")
# What may differ between environments besides torch itself.
_PACKAGES = {
    "python_version": "Python",
    "cpu_capability": "instruction set that PyTorch chose",
    "mkl": "MKL",
    "onednn": "oneDNN",
    "transformers_version": "transformers",
    "tokenizers_version": "tokenizers",
    "numpy_version": "numpy",
    "faiss_version": "FAISS",
    "colbert_version": "colbert-ai",
}


@dataclass(frozen=True)
class Measured:
    """The tables of the experiment."""

    torch_runs: pd.DataFrame
    torch_environments: pd.DataFrame
    torch_artifacts: pd.DataFrame
    torch_injections: pd.DataFrame
    torch_divergence: pd.DataFrame
    torch_search: pd.DataFrame
    torch_published: pd.DataFrame

    @property
    def precision(self) -> str:
        """In which the encoder ran while indexing."""
        return "cuda_autocast_float16" if set(self.torch_runs["device"].dropna()) == {"cuda"} else "float32"


@dataclass(frozen=True)
class VersionFacts:
    """A version as the first screen lists it."""

    version: str
    build: str
    arithmetic: str
    runs: str


def render(measured: Measured, figures: Sequence[EmbeddedFigure], configuration: str) -> str:
    """The page.

    Args:
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
    """
    runs = common.label_systems(measured.torch_runs)
    return page.render(
        page.TORCH_VERSIONS,
        runs,
        figures,
        configuration,
        summary=summary(measured),
        environments_missing=int((measured.torch_environments["outcome"] != "built").sum()),
        troubles=troubles(measured, runs),
        findings=findings(measured, {figure.name for figure in figures}),
        versions=version_facts(measured)[:_MOST_VERSIONS],
        more_versions=max(0, len(measured.torch_environments) - _MOST_VERSIONS),
        machine=[(label, value) for label, value in facts.machine(runs) if label not in _TOLD_BESIDE],
        conditions=conditions(measured),
        environments=environment_table(measured.torch_environments),
        artifacts=artifact_table(measured.torch_artifacts),
        injections=injection_table(measured.torch_injections),
        divergence=divergence_table(measured.torch_divergence),
        search=search_table(measured.torch_search),
        published=published_table(measured.torch_published),
        compared=int(measured.torch_published["agrees"].notna().sum()),
        runs=facts.run_table(runs),
        limits=limits(measured),
    )


def summary(measured: Measured) -> str:
    """One line: which versions, of what."""
    versions = measured.torch_environments["version"].tolist()
    if not versions:
        return "Nothing was run: the table of environments is empty."
    if len(versions) == 1:
        names = f"PyTorch {versions[0]}"
    elif len(versions) <= _MOST_NAMED:
        names = f"PyTorch {common.listed(versions)}"
    else:
        names = f"{len(versions)} versions of PyTorch, {versions[0]} to {versions[-1]}"
    runs = measured.torch_runs
    sizes = [common.documents(size) for size in sorted(common.unique(runs["documents"]))]
    corpora = [
        f"{words} {common.listed(names)}"
        for words, names in (
            ("corpus", common.unique(runs["corpus"])),
            ("checkpoint", common.unique(runs["checkpoint"])),
        )
        if names
    ]
    where = [
        *(common.unique(runs["device"])),
        *([_PRECISION_WORDS[measured.precision]] if len(runs) else []),
    ]
    parts = [names, *([common.listed(sizes)] if sizes else []), *corpora, *where]
    return " · ".join(parts) + "."


def version_facts(measured: Measured) -> list[VersionFacts]:
    found = []
    runs = measured.torch_runs
    for row in common.each_row(measured.torch_environments):
        of_version = runs[runs["environment"] == row.environment]
        ended = common.outcome_counts(of_version) if len(of_version) else "no run"
        arithmetic = [_known(row.cpu_capability), _known(row.mkl, "MKL ").partition("-")[0], _known(row.gpu)]
        found.append(
            VersionFacts(
                row.version,
                _known(row.torch_build) or str(row.outcome),
                " · ".join(part for part in arithmetic if part) or "–",
                ended,
            )
        )
    return found


def conditions(measured: Measured) -> facts.Table:
    """The runs beside the published study."""
    runs = measured.torch_runs
    environments = measured.torch_environments
    here = {
        "documents": _listed(common.count(size) for size in sorted(common.unique(runs["documents"]))),
        "corpus": facts.values(runs["corpus"]),
        "checkpoint": facts.values(runs["checkpoint"]),
        "precision": _PRECISION_WORDS[measured.precision],
        "hardware": facts.values(runs["gpu_model"]) or facts.values(runs["device"]).replace("cpu", "CPU"),
        "transformers": facts.values(environments["transformers_version"]),
    }
    published = {
        "documents": common.count(PUBLISHED_PASSAGES),
        "corpus": "UKPLab/dapr, ConditionalQA",
        "checkpoint": "answerdotai/answerai-colbert-small-v1",
        "precision": _PRECISION_WORDS["cuda_autocast_float16"],
        "hardware": "NVIDIA L4",
        "transformers": "4.38.2",
    }
    # What is the same on both sides explains nothing, and the first screen is short.
    told = [name for name in here if here[name] != published[name]]
    return facts.Table(
        ["", "here", "published"], [[name, here[name] or "–", published[name]] for name in told]
    )


# Troubles


def troubles(measured: Measured, runs: pd.DataFrame) -> facts.Troubles:
    """Environments that could not be built, and runs that did not complete."""
    missing = measured.torch_environments[measured.torch_environments["outcome"] != "built"]
    # Those of an environment that is not there could not but fail.
    of_runs = facts.troubles(runs[~runs["environment"].isin(missing["environment"])])
    sentences, rows = [], []
    for row in common.each_row(missing):
        what = "is not supported here" if row.outcome == "unsupported" else "has no environment"
        why = "" if pd.isna(row.detail) else f": {row.detail.rstrip('.')}"
        sentences.append(f"PyTorch {row.version} {what}{why}.")
        rows.append(
            [
                f"PyTorch {row.version}",
                "–",
                "–",
                "–",
                f"environment {row.outcome}",
                "–" if pd.isna(row.detail) else row.detail,
            ]
        )
    table = of_runs.table
    return facts.Troubles(
        [*sentences, *of_runs.sentences], facts.Table(table.columns, [*rows, *table.rows], table.numeric)
    )


# Findings


def findings(measured: Measured, drawn: set[str]) -> list[Finding]:
    """In the order of what matters; a question that the tables cannot answer is left out."""
    told = [
        ("What changes between the versions", "torch_artifacts", what_changes(measured)),
        ("Which operator changes first", "torch_first_operator", first_operator(measured)),
        ("What makes the indexes equal again", "torch_injections", smallest_injection(measured)),
        ("Whether search notices", "torch_search", search_notices(measured)),
        ("Beside what was published", "torch_published", beside_published(measured)),
    ]
    return [
        Finding(question, sentence, support, name * (name in drawn))
        for question, name, (sentence, support) in told
        if sentence
    ]


def noise_floor(artifacts: pd.DataFrame) -> tuple[str, str]:
    """What repeats of one version say: a sentence to lead with where a version differs from itself, and one else."""
    repeats = artifacts[(artifacts["kind"] == "repeat") & (artifacts["compared_as"] == "as stored")]
    if repeats.empty:
        return "", "No version was repeated, so how much a version differs from itself is not known."
    unequal, equal = [], []
    for version, rows in repeats.groupby("left_version", sort=False):
        compared = rows[~rows["verdict"].isin(_NOT_COMPARED)]
        different = compared[compared["verdict"] != "equal"]
        if len(different):
            unequal.append(
                f"PyTorch {version} differs from itself in {len(different)} of {len(compared)} artifacts"
            )
        elif len(compared):
            equal.append(str(version))
    versions = (
        f"{len(equal)} versions" if len(equal) > _MOST_NAMED else common.listed([f"{name}" for name in equal])
    )
    quiet = (
        f"The noise floor is zero: repeats of {versions} are equal bit for bit in every artifact."
        if equal
        else ""
    )
    return common.listed(unequal), quiet


def what_changes(measured: Measured) -> tuple[str, str]:
    """How many of the final artifacts change, pair by pair; a version that differs from itself comes first."""
    artifacts = measured.torch_artifacts
    noise, quiet = noise_floor(artifacts)
    final = artifacts[
        (artifacts["kind"] == "versions")
        & (artifacts["stage"] == "final")
        & (artifacts["compared_as"] == "as stored")
    ]
    compared = final[~final["verdict"].isin(_NOT_COMPARED)]
    unknown = [pair for pair in _pairs(final) if pair not in _pairs(compared)]
    if final.empty:
        return "", ""
    if compared.empty:
        sentence, support = "No two versions could be compared", ""
    elif len(_pairs(compared)) == 1:
        sentence, support = _one_step(artifacts, compared)
    else:
        sentence, support = _steps(compared), ""
    others = ""
    if unknown:
        named = common.listed(unknown[:_MOST_NAMED]) + " and others" * (len(unknown) > _MOST_NAMED)
        steps = f"step{'s' * (len(unknown) > 1)}"
        others = f"{len(unknown)} {steps} could not be compared ({named})."
    if noise:
        sentence = f"{noise}, so what follows is not of the version alone. {sentence}"
    return sentence, " ".join(part for part in (quiet, support, others) if part)


def _pairs(rows: pd.DataFrame) -> list[str]:
    return common.unique(rows["left_version"] + " → " + rows["right_version"])


def _one_step(artifacts: pd.DataFrame, compared: pd.DataFrame) -> tuple[str, str]:
    """Of the only pair of versions."""
    left, right = compared["left_version"].iloc[0], compared["right_version"].iloc[0]
    different = compared[compared["verdict"] != "equal"]
    if different.empty:
        sentence = (
            f"From PyTorch {left} to {right}, all {len(compared)} final artifacts are equal bit for bit"
        )
        return sentence, _intermediates(artifacts, left, right)
    sentence = f"From PyTorch {left} to {right}, {len(different)} of {len(compared)} final artifacts change"
    groups = {
        "Within a tolerance": common.unique(different.loc[different["verdict"].isin(_WITHIN), "name"]),
        "Equal": [name for name in common.unique(compared["name"]) if name not in set(different["name"])],
    }
    support = [f"{words}: {common.listed(names)}." for words, names in groups.items() if names]
    return sentence, " ".join([*support, _intermediates(artifacts, left, right)]).strip()


def _steps(compared: pd.DataFrame) -> str:
    """Of several pairs of versions."""
    named = []
    for pair in _pairs(compared):
        of_pair = compared[(compared["left_version"] + " → " + compared["right_version"]) == pair]
        different = int((of_pair["verdict"] != "equal").sum())
        named += [f"{pair} ({different} of {len(of_pair)})"] * bool(different)
    steps = len(_pairs(compared))
    if not named:
        return f"No final artifact changes: all are equal bit for bit in {steps} steps between versions"
    return f"The index changes in {len(named)} of {steps} steps, by {common.listed(named)} final artifacts"


def _intermediates(artifacts: pd.DataFrame, left: str, right: str) -> str:
    """How many of the intermediate artifacts change, and from which stage on."""
    rows = artifacts[
        (artifacts["kind"] == "versions")
        & (artifacts["stage"] != "final")
        & (artifacts["compared_as"] == "as stored")
        & (artifacts["left_version"] == left)
        & (artifacts["right_version"] == right)
        & ~artifacts["verdict"].isin(_NOT_COMPARED)
    ]
    if rows.empty:
        return ""
    different = rows[rows["verdict"] != "equal"]
    if different.empty:
        return f"None of {len(rows)} intermediate artifacts changes."
    stages = [stage for stage in _STAGES if stage in set(different["stage"])]
    since = f", from {stages[0]} on" if stages else ""
    return f"Of {len(rows)} intermediate artifacts {len(different)} change{since}."


def first_operator(measured: Measured) -> tuple[str, str]:
    """The first operator with unequal output for equal input, in the precision that indexing ran in."""
    rows = measured.torch_divergence
    known = rows[rows["verdict"].isin(["equal", "diverges"])]
    own = known[known["left_version"] == known["right_version"]]
    noisy = own[own["verdict"] == "diverges"]
    across = known[known["left_version"] != known["right_version"]]
    encoder = across[(across["input"] != _INDEX_STEPS) & (across["precision"] == measured.precision)]
    told, equal = [], []
    for (left, right), of_pair in encoder.groupby(["left_version", "right_version"], sort=False):
        diverging = of_pair[of_pair["verdict"] == "diverges"]
        if diverging.empty:
            equal.append(f"{left} → {right}")
        else:
            told.append((f"{left} → {right}", len(of_pair), diverging))
    words = _PRECISION_WORDS[measured.precision]
    support = []
    if len(own):
        support.append(
            f"Replayed in the version that recorded it, {len(noisy)} of {len(own)} inputs differ, so this is not of "
            "the version alone."
            if len(noisy)
            else f"Replayed in the version that recorded them, all of {len(own)} inputs are equal."
        )
    if told:
        sentence = f"In {words}, " + "; ".join(
            _first_words(pair, inputs, diverging, name=len(told) > 1 or bool(equal))
            for pair, inputs, diverging in told[:_MOST_NAMED]
        )
        sentence += f"; and {len(told) - _MOST_NAMED} more steps" if len(told) > _MOST_NAMED else ""
        guilty = list(
            dict.fromkeys(
                name for each in told for text in each[2]["guilty"] for name in str(text).split(", ") if name
            )
        )
        support.insert(0, f"All encoder operators that differ: {common.listed(guilty)}.")
        for _, _, rows in told[:1]:
            pair = (str(rows["left_version"].iloc[0]), str(rows["right_version"].iloc[0]))
            if why := torch_common.causes(rows, measured.torch_environments, pair):
                support.insert(1, f"Why: {why}.")
    elif equal:
        sentence = f"In {words}, no operator of the encoder gives other output for equal input"
    else:
        sentence = ""
    support += _index_steps(across)
    return sentence, " ".join(support)


def _place(module: str) -> str:
    """A module's path for a sentence; the tables have it whole."""
    for beginning in ("bert.encoder.", "bert."):
        module = module.removeprefix(beginning)
    for ending in (".intermediate_act_fn", ".self"):  # of what is named before it, the one that computes
        module = module.removesuffix(ending)
    return module


def _first_words(pair: str, inputs: int, diverging: pd.DataFrame, name: bool) -> str:
    """Which operator is first, how much it differs, for how many inputs."""
    places = Counter(zip(diverging["first_operator"], diverging["first_module"], strict=True)).most_common()
    (operator, module), number = places[0]
    same = (
        f"the same for all {inputs} inputs, whatever their tokens"
        if number == inputs
        else f"for {number} of {inputs} inputs"
    )
    rows = diverging[(diverging["first_operator"] == operator) & (diverging["first_module"] == module)]
    ulp = rows["first_max_ulp_distance"].max()
    largest = rows["first_max_absolute_difference"].max()
    size = (
        "in shape or presence"
        if pd.isna(largest)
        else f"by at most {largest:.2g}" + ("" if pd.isna(ulp) else f" ({ulp:.0f} ULP)")
    )
    others = [f"{each} in {_place(where)} for {count}" for (each, where), count in places[1:_MOST_NAMED]]
    more = f"; {common.listed(others)}" if others else ""
    equal = inputs - len(diverging)
    none = f"; none for {equal}" if equal else ""
    at = f"from {pair}, " if name else ""
    return f"{at}{operator} in {_place(module)} is the first to differ for equal input, {size}, {same}{more}{none}"


def _index_steps(across: pd.DataFrame) -> list[str]:
    """Sentences on the steps after encoding, k-means to sorting."""
    steps = across[across["input"] == _INDEX_STEPS]
    if steps.empty:
        return []
    diverging = steps[steps["verdict"] == "diverges"]
    if diverging.empty:
        return ["After encoding, no operator differs."]
    parts = [
        f"{row.first_operator} ({row.left_version} → {row.right_version})"
        for row in common.each_row(diverging[["first_operator", "left_version", "right_version"]])
    ]
    return [f"After encoding, the first is {common.listed(common.unique(parts)[:_MOST_NAMED])}."]


def _precisions_not_measured(rows: pd.DataFrame) -> list[str]:
    sentences = []
    for precision, of_precision in rows.groupby("precision", sort=False):
        if not set(of_precision["verdict"]) & {"equal", "diverges"}:
            reasons = [str(text) for text in common.unique(of_precision["detail"])]
            why = f": {reasons[0].rstrip('.')}" if reasons else ""
            sentences.append(
                f"No operator was replayed in {_PRECISION_WORDS.get(str(precision), str(precision))}{why}."
            )
    return sentences


def smallest_injection(measured: Measured) -> tuple[str, str]:
    """The smallest injection that makes all final artifacts equal, exactly or up to order."""
    rows = measured.torch_injections
    told: dict[str, list[str]] = {}
    support = []
    for (left, right), of_pair in rows.groupby(["left_version", "right_version"], sort=False):
        plain = of_pair[of_pair["injected"] == ""]
        if len(plain) and plain["verdict"].iloc[0] == "all equal":
            continue
        ended = of_pair[of_pair["verdict"] != "run failed"]
        given = ended[ended["injected"] != ""]
        if given.empty:
            continue
        smallest = given[given["smallest"]]
        if len(smallest):
            row = smallest.iloc[0]
            how = "bit for bit" if row["verdict"] == "all equal" else "up to order"
            enough = common.listed([f"“{each}”" for each in smallest["injected"]]).replace(" and ", " or ")
            words = f"{enough} of the older version makes all final artifacts equal, {how}"
        elif len(plain) and plain["smallest"].iloc[0]:
            words = "nothing needs to be injected: all final artifacts are equal up to order"
        else:
            nearest = given.sort_values("equal_up_to_order", ascending=False, kind="stable").iloc[0]
            words = (
                f"no injection tried makes all final artifacts equal ({nearest['injected']} leaves "
                f"{nearest['differing']})"
            )
        told.setdefault(words, []).append(f"{left} → {right}")
        left_over = [
            f"with {row.injected}, {row.differing} still differ"
            for row in common.each_row(given)
            if row.differing and not row.smallest
        ]
        if len(rows.groupby(["left_version", "right_version"])) == 1 and left_over:
            support.append(f"{_capital(', '.join(left_over).replace(' differ, with', ' differ; with'))}.")
    if not told:
        if rows.empty:
            return "", ""
        if set(rows["verdict"]) == {"run failed"}:
            return "What makes the indexes equal is not known: the runs failed", ""
        return "Nothing needs to be injected: the final artifacts are equal as they are", ""
    failed = int((rows["verdict"] == "run failed").sum())
    if failed:
        support.append(f"{failed} of {len(rows)} injections could not be compared.")
    sentence = "; ".join(f"from {common.listed(pairs)}, {words}" for words, pairs in told.items())
    return _capital(sentence), " ".join(support)


def search_notices(measured: Measured) -> tuple[str, str]:
    """Whether any measure changes beyond chance when versions search their own index, or another's."""
    rows = measured.torch_search
    known = rows[rows["verdict"] != FAILED]
    if rows.empty:
        return "", ""
    support = []
    sentence = search_verdict(_records(rows)).rstrip(".")
    changed = known[known["verdict"] != NO_DIFFERENCE]
    if len(changed):
        largest = changed.iloc[int(changed["change"].abs().argmax())]
        support.append(f"The largest change: {_search_words(largest)}.")
    if len(known) and known["differing_passages"].max() > 0:
        most = known.iloc[int(known["differing_passages"].argmax())]
        support.append(
            f"The results of a query differ in at most {most['differing_passages']:.2g} passages on average "
            f"({most['left_version']} → {most['right_version']}, {most['comparison']})."
        )
    return sentence, " ".join(support)


def _search_words(row: Any) -> str:
    return (
        f"{row.measure} {row.change:+.2g} from {row.left_version} to {row.right_version}, {row.comparison} "
        f"({row.increased:.0f} queries up, {row.decreased:.0f} down, p = {row.p_value:.2g})"
    )


def beside_published(measured: Measured) -> tuple[str, str]:
    """How many of the published statements that could be checked hold here."""
    rows = measured.torch_published
    if rows.empty:
        return "", ""
    compared = rows[rows["agrees"].notna()]
    if compared.empty:
        return f"None of {len(rows)} published statements could be checked here", ""
    agreeing = int(compared["agrees"].astype(bool).sum())
    by_topic = [
        f"{topic} {int(of_topic['agrees'].astype(bool).sum())} of {len(of_topic)}"
        for topic, of_topic in compared.groupby("topic", sort=False)
    ]
    sentence = (
        f"{agreeing} of {len(compared)} published statements that could be checked hold here"
        f" ({', '.join(by_topic)})"
    )
    support = [
        f"{len(rows) - len(compared)} more were not measured here.",
        f"Published: {common.count(PUBLISHED_PASSAGES)} passages, CUDA autocast, NVIDIA L4. Statements such as "
        "“this artifact changes” are compared, not numbers.",
    ]
    return sentence, " ".join(support)


# Tables


def environment_table(environments: pd.DataFrame) -> facts.Table:
    columns = {
        "version": "PyTorch",
        "outcome": "environment",
        "torch_build": "build",
        "device": "device",
        "cpu_capability": "instruction set",
        "mkl": "MKL",
        "onednn": "oneDNN",
        "openmp": "OpenMP",
        "threads": "threads",
        "interop_threads": "between operators",
        "cpu_model": "CPU",
        "cpu_flags": "vector instructions of the CPU",
        "gpu": "GPU",
        "gpu_capability": "capability",
        "transformers_version": "transformers",
        "numpy_version": "numpy",
        "faiss_version": "FAISS",
        "lock_digest": "lock",
        "detail": "detail",
    }
    return facts.table(
        environments,
        {name: (title, ".0f" if "threads" in name else None) for name, title in columns.items()},
    )


def artifact_table(artifacts: pd.DataFrame) -> facts.Table:
    """The final artifacts between versions, as stored and up to order."""
    shown = artifacts[(artifacts["stage"] == "final") & (artifacts["kind"] == "versions")]
    return facts.table(
        shown,
        {
            "pair": ("versions", None),
            "artifact": ("artifact", None),
            "compared_as": ("compared", None),
            "verdict": ("verdict", None),
            "left_dtype": ("type", None),
            "left_shape": ("shape", None),
            "right_shape": ("shape of the later", None),
            "equal_fraction": ("equal elements", ".4f"),
            "mean_absolute_difference": ("mean absolute difference", ".3g"),
            "max_absolute_difference": ("largest", ".3g"),
            "max_ulp_distance": ("largest (ULP)", ",.0f"),
            "detail": ("detail", None),
        },
    )


def injection_table(injections: pd.DataFrame) -> facts.Table:
    shown = injections.assign(
        pair=injections["left_version"] + " → " + injections["right_version"],
        injected=injections["injected"].where(injections["injected"] != "", "nothing"),
        differing=injections["differing"].where(injections["differing"] != "", "–"),
        smallest=injections["smallest"].map({True: "smallest", False: ""}),
    )
    return facts.table(
        shown,
        {
            "pair": ("versions", None),
            "injected": ("given", None),
            "verdict": ("final artifacts", None),
            "equal": ("equal", ".0f"),
            "equal_up_to_order": ("equal up to order", ".0f"),
            "final_artifacts": ("of", ".0f"),
            "differing": ("that differ", None),
            "intermediate_equal": ("intermediate equal", ".0f"),
            "intermediate_artifacts": ("of", ".0f"),
            "smallest": ("", None),
        },
    )


def divergence_table(divergence: pd.DataFrame) -> facts.Table:
    """One row for each pair, precision and kind of result; a version with itself is the noise floor."""
    rows = []
    keys = ["left_version", "right_version", "precision", "part", "verdict", "first_operator", "first_module"]
    groups = divergence.assign(
        part=["steps after encoding" if kind == _INDEX_STEPS else "encoder" for kind in divergence["input"]]
    ).groupby(keys, sort=False, dropna=False)
    for _, cases in groups:
        row = next(common.each_row(cases))
        largest, ulp = cases["first_max_absolute_difference"].max(), cases["first_max_ulp_distance"].max()
        detail = [str(text) for text in common.unique(cases["detail"])]
        rows.append(
            [
                f"{row.left_version} with itself"
                if row.left_version == row.right_version
                else f"{row.left_version} → {row.right_version}",
                _PRECISION_WORDS.get(row.precision, row.precision),
                row.part,
                row.verdict,
                common.count(len(cases)),
                _known(row.first_operator) or "–",
                _known(row.first_module) or "–",
                "–" if pd.isna(largest) else f"{largest:.3g}",
                "–" if pd.isna(ulp) else f"{ulp:,.0f}",
                "; ".join(common.unique(text for text in cases["guilty"] if text)) or "–",
                detail[0] if detail else "–",
            ]
        )
    return facts.Table(
        [
            "versions",
            "precision",
            "part",
            "verdict",
            "inputs",
            "first operator",
            "in",
            "largest difference",
            "largest (ULP)",
            "all that differ",
            "detail",
        ],
        rows,
        frozenset({4, 7, 8}),
    )


def search_table(search: pd.DataFrame) -> facts.Table:
    shown = search.assign(pair=search["left_version"] + " → " + search["right_version"])
    return facts.table(
        shown,
        {
            "pair": ("versions", None),
            "comparison": ("searched", None),
            "measure": ("measure", None),
            "left_mean": ("mean before", ".4f"),
            "right_mean": ("after", ".4f"),
            "change": ("change", "+.4f"),
            "increased": ("queries up", ".0f"),
            "equal": ("equal", ".0f"),
            "decreased": ("down", ".0f"),
            "p_value": ("p", ".3g"),
            "differing_passages": ("passages that differ", ".2f"),
            "same_ranking": ("same ranking", ".3f"),
            "verdict": ("verdict", None),
            "detail": ("detail", None),
        },
    )


def published_table(published: pd.DataFrame) -> facts.Table:
    """The statements that could be compared here."""
    compared = published[published["agrees"].notna()]
    shown = compared.assign(
        pair=compared["left_version"] + " → " + compared["right_version"],
        agrees=compared["agrees"].map(lambda value: "yes" if value else "no"),
    )
    return facts.table(
        shown,
        {
            "topic": ("topic", None),
            "pair": ("versions", None),
            "quantity": ("what", None),
            "published": ("published", None),
            "ours": ("here", None),
            "agrees": ("agrees", None),
            "published_conditions": ("published on", None),
            "our_conditions": ("here on", None),
        },
    )


# Limits


def limits(measured: Measured) -> list[str]:
    """Sentences on what these runs cannot tell, each for a reason found in the tables."""
    runs = measured.torch_runs
    completed = runs[runs["outcome"] == COMPLETED]
    if completed.empty:
        return ["No run completed, so nothing can be said about any index."]
    found = []
    synthetic = [
        name
        for name in ("corpus", "checkpoint")
        if all(str(value).startswith("synthetic") for value in common.unique(completed[name]))
    ]
    if "checkpoint" in synthetic:
        found.append(
            f"Synthetic here: {common.listed(synthetic)}. With random weights the measures say whether results "
            "change, not how good they are: a change that a trained encoder would show may be smaller or larger."
        )
    elif synthetic:
        found.append("The corpus is synthetic: its measures are not those of real queries.")
    if "cuda" not in set(completed["device"]):
        found.append(
            "Nothing ran on a GPU: these are the CPU's operators, in float32. ColBERT's autocast does nothing on a "
            "CPU, so what a GPU changes under autocast is not shown."
        )
    found += _precisions_not_measured(measured.torch_divergence)
    largest = completed["documents"].max()
    if largest < PUBLISHED_PASSAGES:
        found.append(
            f"{common.documents(largest)}, not the published {common.count(PUBLISHED_PASSAGES)}: how many "
            "codes and results change may differ with scale."
        )
    machines = common.unique(completed["cpu_model"])
    sets = common.unique(measured.torch_environments["cpu_capability"])
    if len(machines) == 1:
        instructions = f" ({common.listed([str(each) for each in sets])})" if sets else ""
        found.append(
            f"One machine: {machines[0]}{instructions}. Other instruction sets and other thread counts run "
            "other kernels, which may differ elsewhere or not at all."
        )
    differing = [
        f"{words} ({facts.values(measured.torch_environments[column], ' or ')})"
        for column, words in _PACKAGES.items()
        if measured.torch_environments[column].nunique() > 1
    ]
    if differing:
        found.append(
            f"The environments differ in more than PyTorch: {common.listed(differing)}. A difference between "
            "versions is one of the environments; the operators that differ are named apart."
        )
    repeats = completed.groupby("system")["repeat"].nunique()
    if len(repeats):
        most = int(repeats.max())
        found.append(
            "No version was repeated."
            if most < 2
            else f"Equal repeats ({most} of a version) do not prove that a version is always equal to itself."
        )
    return found


# Words


def _known(value: Any, before: str = "") -> str:
    return "" if pd.isna(value) else f"{before}{value}"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [row._asdict() for row in common.each_row(rows)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

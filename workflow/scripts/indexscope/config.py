"""The configuration: every key with its type, default and description, in one place (`indexscope.settings`).

`config/default.yaml` and `config/schema.json` are generated from these models; a test fails when they drift.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from indexscope.run_record import InputError
from indexscope.settings import systems as frameworks
from indexscope.settings.base import Model, Name
from indexscope.settings.checkpoints import Checkpoint, SyntheticCheckpointSettings
from indexscope.settings.corpora import Corpus, PdfCorpusSettings, SyntheticCorpusSettings
from indexscope.settings.document_access import DocumentAccess
from indexscope.settings.experiments import ArtifactPair, IndexMemory, Measurement
from indexscope.settings.external_logs import ExternalLog
from indexscope.settings.faiss_tables import FaissTables
from indexscope.settings.profiler_cost import ProfilerCost
from indexscope.settings.remote_indexing import RemoteIndexing
from indexscope.settings.torch_versions import TorchVersions

# The systems of the default configuration. ColBERT has the ColBERTConfig of the published study.
_STUDY = {"doc_maxlen": 256, "nbits": 2, "kmeans_niters": 4}
_SYSTEMS: dict[str, dict[str, Any]] = {
    "colbert": {
        "framework": "colbert",
        "environment": "colbert",
        "label": "ColBERT",
        "settings": _STUDY,
    },
    "colbert_in_process": {
        "framework": "colbert",
        "environment": "colbert",
        "label": "ColBERT in process",
        "settings": {"in_process": True, **_STUDY},
    },
    "ragatouille_faiss_true": {
        "framework": "ragatouille",
        "environment": "ragatouille",
        "label": "RAGatouille (use_faiss=True)",
        "settings": {"use_faiss": True},
    },
    "ragatouille_faiss_false": {
        "framework": "ragatouille",
        "environment": "ragatouille",
        "label": "RAGatouille (use_faiss=False)",
        "settings": {"use_faiss": False},
    },
    # ColBERT in process again, in the environment of RAGatouille: what the environment alone changes.
    "colbert_same_environment": {
        "framework": "colbert",
        "environment": "ragatouille",
        "label": "ColBERT in process, RAGatouille's environment",
        "settings": {"in_process": True, **_STUDY},
    },
    # The fair pair: RAGatouille with faiss against ColBERT with the same environment, process model, passages
    # and settings.
    "colbert_fair": {
        "framework": "colbert",
        "environment": "ragatouille",
        "label": "ColBERT, given RAGatouille's work",
        "split_to": 256,
        "settings": {"in_process": True, "like_ragatouille": True, "doc_maxlen": 256},
    },
    # A second fair pair, of whole documents.
    "colbert_whole": {
        "framework": "colbert",
        "environment": "ragatouille",
        "label": "ColBERT, settings of RAGatouille, whole documents",
        "settings": {"in_process": True, "like_ragatouille": True, "doc_maxlen": 256},
    },
    "ragatouille_whole": {
        "framework": "ragatouille",
        "environment": "ragatouille",
        "label": "RAGatouille, whole documents",
        "settings": {"use_faiss": True, "split_documents": False},
    },
    # The recipe of remote_indexing, and ColBERT on the same passages.
    "ragatouille_pdfs": {
        "framework": "ragatouille",
        "environment": "ragatouille",
        "label": "RAGatouille",
        "settings": {"split_documents": True, "max_document_length": 512},
    },
    "colbert_pdfs": {
        "framework": "colbert",
        "environment": "ragatouille",
        "label": "ColBERT",
        "split_to": 512,
        "settings": {"in_process": True, "like_ragatouille": True, "doc_maxlen": 512},
    },
}


class Configuration(Model):
    """IndexScope's configuration."""

    corpora: dict[Name, Corpus] = Field(
        {"synthetic": SyntheticCorpusSettings(), "pdfs": PdfCorpusSettings(source="pdfs")},
        min_length=1,
        description="where documents come from",
    )
    checkpoints: dict[Name, Checkpoint] = Field(
        {"synthetic_small": SyntheticCheckpointSettings()},
        min_length=1,
        description="where the encoder comes from",
    )
    systems: dict[Name, frameworks.AnySystem] = Field(
        {name: frameworks.system(values) for name, values in _SYSTEMS.items()},
        min_length=1,
        description="what builds an index: a framework, its environment, its settings",
    )
    measurement: Measurement = Field(Measurement(), description="how runs are measured")
    index_memory: IndexMemory = Field(IndexMemory(), description="the experiment index_memory")
    torch_versions: TorchVersions = Field(TorchVersions(), description="the experiment torch_versions")
    faiss_tables: FaissTables = Field(FaissTables(), description="the experiment faiss_tables")
    document_access: DocumentAccess = Field(DocumentAccess(), description="the experiment document_access")
    remote_indexing: RemoteIndexing = Field(RemoteIndexing(), description="the experiment remote_indexing")
    profiler_cost: ProfilerCost = Field(
        ProfilerCost(), description="the benchmark profiler_cost: what measuring costs"
    )
    external_logs: list[ExternalLog] = Field(
        [], description="memory logs from elsewhere, tabulated and drawn beside the runs"
    )
    keep: Literal["indexes", "dumps", "none"] = Field(
        "indexes",
        description="what stays of a run beside its record: the index and dumped artifacts, the dumps alone, or none "
        "(a later comparison then builds its indexes again)",
    )
    campaign: Name | None = Field(
        None,
        description="results go to results/campaigns/NAME and stay beside those of others; empty: results/",
    )
    archive: str | None = Field(
        None, description="redraw figures and report from this archive (snakemake archive) instead of runs"
    )

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        experiment = self.index_memory
        for key, name, known in self._references():
            if name not in known:
                raise ValueError(f"{key}: {name!r} is not defined; known are {', '.join(known) or 'none'}")
        runs = set(experiment_runs(experiment))
        if not runs:
            raise ValueError(
                "index_memory.grids: no grid has one of index_memory.systems; name them there, or leave "
                "the grids' systems empty"
            )
        for position, pair in enumerate(experiment.artifact_pairs or []):
            if not any(True for _ in pair_runs(pair, runs)):
                raise ValueError(
                    f"index_memory.artifact_pairs[{position}]: no size has both runs; "
                    f"add repeat {max(pair.left_repeat, pair.right_repeat)} under profiler "
                    f"{pair.profiler} to a grid, or remove the pair"
                )
        return self

    @property
    def corpus_of_versions(self) -> str:
        """The corpus of torch_versions."""
        return self.torch_versions.corpus or self.index_memory.corpus

    @property
    def checkpoint_of_versions(self) -> str:
        """The checkpoint of torch_versions."""
        return self.torch_versions.checkpoint or self.index_memory.checkpoint

    @property
    def corpus_of_access(self) -> str:
        """The corpus of document_access."""
        return self.document_access.corpus or self.index_memory.corpus

    @property
    def checkpoint_of_access(self) -> str:
        """The checkpoint whose tokenizer document_access uses."""
        return self.document_access.checkpoint or self.index_memory.checkpoint

    @property
    def corpus_of_remote(self) -> str:
        """The corpus of remote_indexing."""
        named = self.remote_indexing.corpus
        return named or ("pdfs" if "pdfs" in self.corpora else self.index_memory.corpus)

    @property
    def documents_of_remote(self) -> int | None:
        """How many documents remote_indexing takes; None: all. Of a corpus without an end the default size."""
        endless = isinstance(self.corpora[self.corpus_of_remote], SyntheticCorpusSettings)
        return self.remote_indexing.documents or (200 if endless else None)

    @property
    def checkpoint_of_remote(self) -> str:
        """The checkpoint of remote_indexing."""
        return self.remote_indexing.checkpoint or self.index_memory.checkpoint

    def _references(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        experiment = self.index_memory
        systems = experiment.systems
        yield "index_memory.corpus", experiment.corpus, list(self.corpora)
        yield "index_memory.checkpoint", experiment.checkpoint, list(self.checkpoints)
        yield "torch_versions.corpus", self.corpus_of_versions, list(self.corpora)
        yield "torch_versions.checkpoint", self.checkpoint_of_versions, list(self.checkpoints)
        yield "document_access.corpus", self.corpus_of_access, list(self.corpora)
        yield "document_access.checkpoint", self.checkpoint_of_access, list(self.checkpoints)
        for position, name in enumerate(systems):
            yield f"index_memory.systems[{position}]", name, list(self.systems)
        yield "remote_indexing.corpus", self.corpus_of_remote, list(self.corpora)
        yield "remote_indexing.checkpoint", self.checkpoint_of_remote, list(self.checkpoints)
        for position, name in enumerate(self.remote_indexing.systems):
            yield f"remote_indexing.systems[{position}]", name, list(self.systems)
        for position, name in enumerate(self.profiler_cost.systems):
            yield f"profiler_cost.systems[{position}]", name, list(self.systems)
        for position, grid in enumerate(experiment.grids):
            for entry, name in enumerate(grid.systems or []):
                yield f"index_memory.grids[{position}].systems[{entry}]", name, list(self.systems)
        for position, pair in enumerate(experiment.artifact_pairs or []):
            yield f"index_memory.artifact_pairs[{position}].left", pair.left, systems
            yield f"index_memory.artifact_pairs[{position}].right", pair.right, systems


RunName = tuple[str, int, str, int]  # system, documents, profiler, repeat


def experiment_runs(experiment: IndexMemory) -> list[RunName]:
    """The run matrix: each run once, in the order of the grids."""
    runs: dict[RunName, None] = {}
    for grid in experiment.grids:
        for documents in grid.sizes:
            for system in experiment.systems:
                if grid.systems is not None and system not in grid.systems:
                    continue
                for profiler in grid.profilers:
                    for repeat in range(1, grid.repeats + 1):
                        runs[(system, documents, profiler, repeat)] = None
    return list(runs)


def artifact_pairs(configuration: Configuration) -> list[ArtifactPair]:
    """The pairs that are configured; else each system's first two repeats, and every two systems.

    A framework whose indexes cannot be dumped is in no pair, unless one is configured.
    """
    experiment = configuration.index_memory
    if experiment.artifact_pairs is not None:
        return experiment.artifact_pairs
    label = {
        name: configuration.systems[name].label
        for name in experiment.systems
        if frameworks.ADAPTERS[configuration.systems[name].framework].LAYOUT is not None
    }
    repeated = [
        ArtifactPair(name=f"{label[name]}: repeated", left=name, right=name, right_repeat=2) for name in label
    ]
    between = [
        ArtifactPair(name=f"{label[left]} | {label[right]}", left=left, right=right)
        for left, right in itertools.combinations(label, 2)
    ]
    return repeated + between


def pair_runs(pair: ArtifactPair, runs: set[RunName]) -> Iterator[tuple[RunName, RunName]]:
    """The two runs of a pair, at each size where both are in the run matrix."""
    for documents in sorted({run[1] for run in runs}):
        left = (pair.left, documents, pair.profiler, pair.left_repeat)
        right = (pair.right, documents, pair.profiler, pair.right_repeat)
        if left in runs and right in runs:
            yield left, right


def digest(*parts: Any) -> str:
    """Eight hexadecimal digits that change with any of the settings, and with what is made of them."""
    plain = [_identity(part) if isinstance(part, BaseModel) else part for part in parts]
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _identity(settings: BaseModel) -> dict[str, Any]:
    """The settings, and what they name outside themselves (`outside`: the state of files)."""
    outside: dict[str, Any] = getattr(settings, "outside", dict)()
    return {
        "generation": getattr(settings, "generation", None),
        **settings.model_dump(mode="json"),
        **outside,
    }


def addressed(configuration: Configuration, section: Literal["corpora", "checkpoints"], name: str) -> str:
    """`NAME-DIGEST` of a corpus or checkpoint: how what is made of it is called on disk.

    Raises:
        ConfigurationError: a file that it names is missing; the sentence names the configuration key.
    """
    try:
        return f"{name}-{digest(getattr(configuration, section)[name])}"
    except InputError as error:
        raise ConfigurationError(f"{section}.{name}.{error}") from None


class ConfigurationError(InputError):
    """A sentence for each thing that is wrong: file, key, value, remedy."""


Settings = TypeVar("Settings", bound=Model)
_UNIONS = [("systems",), ("corpora",), ("checkpoints",)]


def settings_from_json(model: type[Settings], argument: str, option: str) -> Settings:
    """Settings that a program was given, as JSON inline or in the file that `argument` names.

    `model` is a model, or the union of those of a section, told apart by `source`.

    Raises:
        ConfigurationError: the file cannot be read, is not a JSON object, or holds a wrong setting.
    """
    inline = argument.lstrip().startswith("{")
    where = option if inline else argument
    is_union = not isinstance(model, type)  # pydantic then puts the union's tag first
    try:
        text = argument if inline else Path(argument).read_text(encoding="utf-8")
        return TypeAdapter(model).validate_json(text)
    except OSError as error:
        raise ConfigurationError(
            f"{where}: cannot be read ({error.strerror}); give a JSON file or an inline JSON object"
        ) from None
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(
                f"{where}: {_sentence(problem['loc'][is_union:], problem)}" for problem in error.errors()
            )
        ) from None


def load(values: Mapping[str, Any], files: Sequence[Path] = ()) -> Configuration:
    """The configuration that `values` (merged from `files`, later ones first) describe.

    Raises:
        ConfigurationError: one line for each wrong key, naming the file that sets it.
    """
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        sentences = []
        for problem in error.errors():
            location: tuple[Any, ...] = problem["loc"]
            if location[:1] in _UNIONS:  # pydantic puts the union's tag after the entry's name
                location = location[:2] + location[3:]
            sentences.append(f"{_origin(location, files)}: {_sentence(location, problem)}")
        raise ConfigurationError("\n".join(dict.fromkeys(sentences))) from None


def _sentence(location: tuple[Any, ...], problem: Mapping[str, Any]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    message: str = problem["msg"].removeprefix("Value error, ")
    if problem["type"].startswith("union_tag"):  # the entry's kind decides which keys there are
        kind = problem["ctx"]["discriminator"].strip("'")
        key = f"{key}.{kind}" if key else kind
        if problem["type"] == "union_tag_not_found":
            return f"{key}: is missing; see config/README.md for what it means"
        tags = problem["ctx"]["expected_tags"].replace(", ", " or ")
        return f"{key}: {problem['input'][kind]!r} is not valid: input should be {tags}"
    if not location:  # the model's own validator names the key
        return message[0].lower() + message[1:]
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key; see config/README.md for those there are"
    if problem["type"] == "missing":
        return f"{key}: is missing; see config/README.md for what it means"
    lowered = message[0].lower() + message[1:]
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        return f"{key}: {lowered}"  # the entry's own validator names the key
    return f"{key}: {problem['input']!r} is not valid: {lowered}"


def _origin(location: tuple[Any, ...], files: Sequence[Path]) -> str:
    """The last file that sets the key, or as much of it as any does; else it came from the command line."""
    origin, deepest = "--config", 1
    for file in files:
        depth = _depth(yaml.safe_load(file.read_text()), location)
        if depth >= deepest:
            origin, deepest = str(file), depth
    return origin


def _depth(value: Any, location: tuple[Any, ...]) -> int:
    """How many parts of the key `value` has."""
    for depth, part in enumerate(location):
        is_entry = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not is_entry and not (isinstance(value, Mapping) and part in value):
            return depth
        value = value[part]
    return len(location)


def write_resolved(configuration: Configuration, path: Path) -> None:
    """Write the resolved configuration as YAML, every default filled in."""
    text = yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("# The configuration in use, defaults filled in; written before work starts.\n" + text)
    partial.replace(path)


class Function(Model):
    """A function to instrument, from config/functions.yaml."""

    module: str
    qualname: str
    phase: bool = False
    memory_profiler: bool = False


class _FunctionFlags(Model):
    published: bool = False
    phase: bool = False


def load_functions(path: Path) -> list[Function]:
    """The functions to instrument.

    Raises:
        ConfigurationError: the file is not YAML, or an entry is not a function with flags that exist.
    """
    try:
        modules = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    functions = []
    for module, entries in modules.items():
        for qualname, flags in entries.items():
            try:
                parsed = _FunctionFlags.model_validate(flags)
            except ValidationError as error:
                wrong = error.errors()[0]["loc"]
                problem = f"{wrong[0]} is not one of" if wrong else "expected flags in braces, of"
                raise ConfigurationError(
                    f"{path}: {module}: {qualname}: {problem} published, phase (true or false)"
                ) from None
            functions.append(
                Function(
                    module=module, qualname=qualname, phase=parsed.phase, memory_profiler=parsed.published
                )
            )
    return functions

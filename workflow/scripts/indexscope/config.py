"""The configuration: every key with its type, default and description, in one place.

`config/default.yaml` and `config/schema.json` are generated from these models; a test fails when they drift.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from indexscope.run_record import InputError

Profiler = Literal["none", "spans", "memory_profiler"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Model(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SyntheticCorpusSettings(Model):
    """A seeded corpus whose passage lengths follow the published one."""

    # Part of the digest: raise it when the same settings give other documents.
    generation: ClassVar[int] = 1

    source: Literal["synthetic"] = Field("synthetic", description="a seeded corpus made on the spot")
    seed: int = Field(7, ge=0, lt=2**63, description="document i depends on these settings and i only")
    topics: int = Field(32, ge=1, le=1024, description="topics; documents of one topic share terms")
    topic_share: float = Field(0.36, ge=0, le=1, description="share of words that are terms of the topic")
    zipf_exponent: float = Field(1.0, ge=0, le=3, description="exponent of the word frequencies")
    median_words: float = Field(35.5, ge=1, le=2048, description="median words of a document (log-normal)")
    sigma: float = Field(1.28, ge=0, le=3, description="standard deviation of the logarithm of the words")
    length_growth: float = Field(
        0.1,
        ge=0,
        le=1,
        description="documents after the 100,000th are longer by (index / 100,000) to this power",
    )


class SyntheticCheckpointSettings(Model):
    """Random weights of a given geometry in ColBERT's file layout.

    `answerai-colbert-small-v1` has 12 layers, hidden_size 384, 12 heads, intermediate_size 1536, dim 96 and a
    vocabulary of 30,522.
    """

    # Part of the digest: raise it when the same settings give other files.
    generation: ClassVar[int] = 1

    source: Literal["synthetic"] = Field("synthetic", description="random weights in ColBERT's file layout")
    seed: int = Field(7, ge=0, lt=2**63, description="seed of all weights")
    layers: int = Field(2, ge=1, le=96, description="transformer layers")
    hidden_size: int = Field(128, ge=8, le=8192, description="width of the transformer, a multiple of heads")
    heads: int = Field(2, ge=1, le=128, description="attention heads")
    intermediate_size: int = Field(256, ge=8, le=32768, description="width of the feed-forward layers")
    dim: int = Field(
        96, ge=32, le=1024, multiple_of=32, description="values of one token embedding in the index"
    )
    vocab_size: int = Field(
        4096, ge=2048, le=262144, description="word pieces; unused ones fill up to this number"
    )
    doc_maxlen: int = Field(
        256, ge=8, le=512, description="longest passage in tokens, where a run does not say"
    )
    query_maxlen: int = Field(
        32, ge=8, le=512, description="length of a query in tokens, where a run does not say"
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads ({self.heads})")
        return self


class ColbertSettings(Model):
    """What the study passed to ColBERTConfig; an empty value keeps the library's default."""

    in_process: bool = Field(
        False,
        description="false: ColBERT starts a child process, as it does by default; true: it works in process",
    )
    doc_maxlen: int | None = Field(None, gt=4, description="tokens of a passage that are kept")
    nbits: Literal[1, 2, 4] | None = Field(None, description="bits per dimension of a residual")
    index_bsize: int | None = Field(None, gt=0, description="passages per encoder batch")
    kmeans_niters: int | None = Field(None, gt=0, description="k-means iterations")


class RagatouilleSettings(Model):
    """Arguments of RAGPretrainedModel.index; an empty value keeps the library's default."""

    use_faiss: bool | None = Field(
        None, description="k-means by faiss; below 75,000 passages false means PyTorch"
    )
    split_documents: bool | None = Field(None, description="split documents longer than max_document_length")
    max_document_length: int | None = Field(None, gt=4, description="tokens of a passage after splitting")
    bsize: int | None = Field(None, gt=0, description="passages per encoder batch")


class ColbertSystem(Model):
    framework: Literal["colbert"]
    environment: Name = Field(description="name of a locked environment, envs/NAME.yaml")
    label: str = Field(description="name in figures and tables that people read")
    settings: ColbertSettings = ColbertSettings()


class RagatouilleSystem(Model):
    framework: Literal["ragatouille"]
    environment: Name = Field(description="name of a locked environment, envs/NAME.yaml")
    label: str = Field(description="name in figures and tables that people read")
    settings: RagatouilleSettings = RagatouilleSettings()


System = Annotated[ColbertSystem | RagatouilleSystem, Field(discriminator="framework")]


class Measurement(Model):
    """How each run is measured; equal for all runs of a configuration."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: cuda where a GPU is visible, else cpu"
    )
    threads: int = Field(2, gt=0, description="threads of each measured process (OpenMP, MKL, tokenizers)")
    allocator: Literal["default", "pinned"] = Field(
        "default",
        description="pinned: fixed glibc malloc thresholds; repeats differ less, and the peak is lower",
    )
    sample_interval_seconds: float = Field(
        0.02, ge=0.005, le=1, description="interval at which the process tree's memory is read from outside"
    )
    memory_limit_mib: int | None = Field(
        None, gt=0, description="a run whose process tree passes this is ended as out_of_memory_host"
    )
    allocation_limit_mib: int | None = Field(
        None, gt=0, description="allocations fail above this (RLIMIT_DATA of each process); empty: no limit"
    )
    timeout_seconds: int = Field(3600, gt=0, description="a run longer than this is ended as timed_out")


class Grid(Model):
    """Runs: each system × size × profiler, `repeats` times."""

    sizes: list[Annotated[int, Field(gt=0)]] = Field(min_length=1, description="numbers of documents")
    profilers: list[Profiler] = Field(
        min_length=1, description="each profiler is a run of its own, never stacked"
    )
    repeats: int = Field(1, gt=0, description="runs of each cell")
    systems: list[Name] | None = Field(None, description="empty: all systems of the experiment")


class ArtifactPair(Model):
    """Two runs whose index artifacts are compared, at every size where the configuration has both."""

    name: str = Field(min_length=1, description="how figures and tables call the pair")
    left: Name = Field(description="a system")
    right: Name = Field(description="a system")
    left_repeat: int = Field(1, gt=0, description="repeat of the left run")
    right_repeat: int = Field(1, gt=0, description="repeat of the right run")
    profiler: Profiler = Field("none", description="profiler of both runs")


class Tolerance(Model):
    """Two floats a and b agree when |a - b| <= atol + rtol * |b|."""

    rtol: float = Field(1e-5, ge=0, description="relative")
    atol: float = Field(1e-8, ge=0, description="absolute")


class IndexMemory(Model):
    """Where memory goes when ColBERT and RAGatouille build an index."""

    corpus: Name = Field("synthetic", description="a name under corpora")
    checkpoint: Name = Field("synthetic_small", description="a name under checkpoints")
    systems: list[Name] = Field(
        ["colbert", "ragatouille_faiss_true", "ragatouille_faiss_false"],
        min_length=1,
        description="names under systems",
    )
    grids: list[Grid] = Field(
        [
            Grid(sizes=[200, 500], profilers=["none", "spans"]),
            Grid(sizes=[200], profilers=["none"], repeats=3),
            Grid(sizes=[200], profilers=["memory_profiler"]),
        ],
        min_length=1,
        description="the runs; a run that several grids name is made once",
    )
    artifact_pairs: list[ArtifactPair] = Field(
        [
            ArtifactPair(name="ColBERT repeated", left="colbert", right="colbert", right_repeat=2),
            ArtifactPair(
                name="RAGatouille: use_faiss True and False",
                left="ragatouille_faiss_true",
                right="ragatouille_faiss_false",
            ),
            ArtifactPair(name="ColBERT and RAGatouille", left="colbert", right="ragatouille_faiss_true"),
        ],
        description="whose artifacts to compare",
    )
    tolerance: Tolerance = Field(Tolerance(), description="for artifacts of floating-point numbers")


class Configuration(Model):
    """IndexScope's configuration."""

    corpora: dict[Name, SyntheticCorpusSettings] = Field(
        {"synthetic": SyntheticCorpusSettings()}, min_length=1, description="where documents come from"
    )
    checkpoints: dict[Name, SyntheticCheckpointSettings] = Field(
        {"synthetic_small": SyntheticCheckpointSettings()},
        min_length=1,
        description="where the encoder comes from",
    )
    systems: dict[Name, System] = Field(
        {
            "colbert": ColbertSystem(
                framework="colbert",
                environment="colbert",
                label="ColBERT",
                settings=ColbertSettings(doc_maxlen=256, nbits=2, kmeans_niters=4),
            ),
            "ragatouille_faiss_true": RagatouilleSystem(
                framework="ragatouille",
                environment="ragatouille",
                label="RAGatouille (use_faiss=True)",
                settings=RagatouilleSettings(use_faiss=True),
            ),
            "ragatouille_faiss_false": RagatouilleSystem(
                framework="ragatouille",
                environment="ragatouille",
                label="RAGatouille (use_faiss=False)",
                settings=RagatouilleSettings(use_faiss=False),
            ),
        },
        min_length=1,
        description="what builds an index: a framework, its environment, its settings",
    )
    measurement: Measurement = Field(Measurement(), description="how runs are measured")
    index_memory: IndexMemory = Field(IndexMemory(), description="the experiment index_memory")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        experiment = self.index_memory
        for key, name, known in self._references():
            if name not in known:
                raise ValueError(f"{key}: {name!r} is not defined; known are {', '.join(known) or 'none'}")
        runs = set(experiment_runs(experiment))
        for position, pair in enumerate(experiment.artifact_pairs):
            if not any(True for _ in pair_runs(pair, runs)):
                raise ValueError(
                    f"index_memory.artifact_pairs[{position}]: no size has both runs; "
                    f"add repeat {max(pair.left_repeat, pair.right_repeat)} under profiler "
                    f"{pair.profiler} to a grid, or remove the pair"
                )
        return self

    def _references(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        experiment = self.index_memory
        systems = experiment.systems
        yield "index_memory.corpus", experiment.corpus, list(self.corpora)
        yield "index_memory.checkpoint", experiment.checkpoint, list(self.checkpoints)
        for position, name in enumerate(systems):
            yield f"index_memory.systems[{position}]", name, list(self.systems)
        for position, grid in enumerate(experiment.grids):
            for entry, name in enumerate(grid.systems or []):
                yield f"index_memory.grids[{position}].systems[{entry}]", name, systems
        for position, pair in enumerate(experiment.artifact_pairs):
            yield f"index_memory.artifact_pairs[{position}].left", pair.left, systems
            yield f"index_memory.artifact_pairs[{position}].right", pair.right, systems


RunName = tuple[str, int, str, int]  # system, documents, profiler, repeat


def experiment_runs(experiment: IndexMemory) -> list[RunName]:
    """The run matrix: each run once, in the order of the grids."""
    runs: dict[RunName, None] = {}
    for grid in experiment.grids:
        for documents in grid.sizes:
            for system in grid.systems or experiment.systems:
                for profiler in grid.profilers:
                    for repeat in range(1, grid.repeats + 1):
                        runs[(system, documents, profiler, repeat)] = None
    return list(runs)


def pair_runs(pair: ArtifactPair, runs: set[RunName]) -> Iterator[tuple[RunName, RunName]]:
    """The two runs of a pair, at each size where both are in the run matrix."""
    for documents in sorted({run[1] for run in runs}):
        left = (pair.left, documents, pair.profiler, pair.left_repeat)
        right = (pair.right, documents, pair.profiler, pair.right_repeat)
        if left in runs and right in runs:
            yield left, right


def digest(*parts: Any) -> str:
    """Eight hexadecimal digits that change with any of the settings, and with what is made of them."""
    plain = [
        {"generation": getattr(part, "generation", None), **part.model_dump(mode="json")}
        if isinstance(part, BaseModel)
        else part
        for part in parts
    ]
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


class ConfigurationError(InputError):
    """A sentence for each thing that is wrong: file, key, value, remedy."""


Settings = TypeVar("Settings", bound=Model)


def settings_from_json(model: type[Settings], argument: str, option: str) -> Settings:
    """Settings that a program was given, as JSON inline or in the file that `argument` names.

    Raises:
        ConfigurationError: the file cannot be read, is not a JSON object, or holds a wrong setting.
    """
    inline = argument.lstrip().startswith("{")
    where = option if inline else argument
    try:
        text = argument if inline else Path(argument).read_text(encoding="utf-8")
        return model.model_validate_json(text)
    except OSError as error:
        raise ConfigurationError(
            f"{where}: cannot be read ({error.strerror}); give a JSON file or an inline JSON object"
        ) from None
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(f"{where}: {_sentence(problem['loc'], problem)}" for problem in error.errors())
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
            if location[:1] == ("systems",):  # pydantic puts the union's tag after the system's name
                location = location[:2] + location[3:]
            sentences.append(f"{_origin(location, files)}: {_sentence(location, problem)}")
        raise ConfigurationError("\n".join(dict.fromkeys(sentences))) from None


def _sentence(location: tuple[Any, ...], problem: Mapping[str, Any]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    message: str = problem["msg"].removeprefix("Value error, ")
    if not location:  # the model's own validator names the key
        return message[0].lower() + message[1:]
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key; see config/README.md for those there are"
    if problem["type"] == "missing":
        return f"{key}: is missing; see config/README.md for what it means"
    lowered = message[0].lower() + message[1:]
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

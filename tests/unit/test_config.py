"""The configuration: what is refused and how, what is generated, and what makes a new cell."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from indexscope import cells, config
from indexscope.run_record import FORMAT
from indexscope.settings import corpora, experiments

REPOSITORY = Path(__file__).parents[2]
DEFAULT = REPOSITORY / "config" / "default.yaml"


def sentence(values: dict[str, Any], files: list[Path] | None = None) -> str:
    with pytest.raises(config.ConfigurationError) as raised:
        config.load(values, files or [])
    return str(raised.value)


def test_default_file_is_the_models_defaults() -> None:
    assert config.load(yaml.safe_load(DEFAULT.read_text())) == config.Configuration()


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "workflow/scripts/generate_configuration.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_change_of_the_models_is_seen_as_drift(tmp_path: Path) -> None:
    for name in ("default.yaml", "schema.json", "README.md"):
        (tmp_path / name).write_text((REPOSITORY / "config" / name).read_text())
    text = (tmp_path / "default.yaml").read_text()
    (tmp_path / "default.yaml").write_text(text.replace("threads: 2", "threads: 3"))
    done = subprocess.run(
        [
            *(sys.executable, REPOSITORY / "workflow/scripts/generate_configuration.py"),
            *("--check", "--config", tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "-  threads: 3" in done.stdout
    assert "+  threads: 2" in done.stdout


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"bogus": 1}, "--config: bogus: there is no such key"),
        (
            {"index_memory": {"grids": [{"sizes": [0], "profilers": ["none"]}]}},
            "index_memory.grids[0].sizes[0]: 0 is not valid: input should be greater than 0",
        ),
        (
            {"index_memory": {"grids": [{"sizes": [10], "profilers": ["valgrind"]}]}},
            "index_memory.grids[0].profilers[0]: 'valgrind' is not valid: input should be 'none', 'spans', ",
        ),
        (
            {"systems": {"x": {"framework": "colbert", "environment": "colbert", "label": "x", "colour": 1}}},
            "systems.x.colour: there is no such key",
        ),
        (
            {"systems": {"x": {"framework": "colbert", "environment": "colbert"}}},
            "systems.x.label: is missing",
        ),
        (
            {"index_memory": {"systems": ["splade"]}},
            "index_memory.systems[0]: 'splade' is not defined; known are colbert, colbert_in_process, rag",
        ),
        (
            {"index_memory": {"artifact_pairs": [{"name": "p", "left": "colbert", "right": "x"}]}},
            "index_memory.artifact_pairs[0].right: 'x' is not defined",
        ),
        (
            {
                "index_memory": {
                    "artifact_pairs": [
                        {"name": "p", "left": "colbert", "right": "colbert", "right_repeat": 9}
                    ]
                }
            },
            "index_memory.artifact_pairs[0]: no size has both runs; add repeat 9 under profiler none",
        ),
        ({"measurement": {"threads": "many"}}, "measurement.threads: 'many' is not valid: input should be a"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(values: dict[str, Any], expected: str) -> None:
    assert expected in sentence(values)


def test_every_wrong_key_has_its_own_line() -> None:
    lines = sentence({"bogus": 1, "measurement": {"threads": 0, "device": "tpu"}}).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["measurement.device", "measurement.threads", "bogus"]


def test_the_file_that_sets_a_key_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("measurement: {threads: 0}\n")
    values = yaml.safe_load(DEFAULT.read_text())
    values["measurement"]["threads"] = 0
    assert sentence(values, [DEFAULT, mine]).startswith(f"{mine}: measurement.threads")
    values["measurement"]["threads"] = 1
    values["measurement"]["device"] = "tpu"  # from the command line, over the default's
    assert sentence(values, [DEFAULT, mine]).startswith(f"{DEFAULT}: measurement.device")
    assert sentence({"bogus": 1}, [DEFAULT, mine]).startswith("--config: bogus")


def test_run_matrix_has_each_run_once() -> None:
    experiment = experiments.IndexMemory(
        systems=["a", "b"],
        grids=[
            experiments.Grid(sizes=[10, 20], profilers=["none"]),
            experiments.Grid(sizes=[10], profilers=["none", "spans"], repeats=2, systems=["a"]),
        ],
    )
    assert config.experiment_runs(experiment) == [
        ("a", 10, "none", 1),
        ("b", 10, "none", 1),
        ("a", 20, "none", 1),
        ("b", 20, "none", 1),
        ("a", 10, "none", 2),
        ("a", 10, "spans", 1),
        ("a", 10, "spans", 2),
    ]


def test_pairs_are_compared_at_each_size_that_has_both() -> None:
    runs = {("a", 10, "none", 1), ("a", 20, "none", 1), ("b", 20, "none", 1), ("b", 30, "none", 1)}
    pair = experiments.ArtifactPair(name="p", left="a", right="b")
    assert list(config.pair_runs(pair, runs)) == [(("a", 20, "none", 1), ("b", 20, "none", 1))]


def functions_file(directory: Path, text: str) -> Path:
    path = directory / "functions.yaml"
    path.write_text(text)
    return path


def test_functions(tmp_path: Path) -> None:
    path = functions_file(tmp_path, "a.b:\n  C.d: {published: true}\n  _C__e: {phase: true}\nf:\n  g: {}\n")
    found = [
        (each.module, each.qualname, each.phase, each.memory_profiler) for each in config.load_functions(path)
    ]
    assert found == [
        ("a.b", "C.d", False, True),
        ("a.b", "_C__e", True, False),
        ("f", "g", False, False),
    ]
    with pytest.raises(config.ConfigurationError, match=r"functions\.yaml: a: b: colour is not one of"):
        config.load_functions(functions_file(tmp_path, "a: {b: {colour: 1}}\n"))
    with pytest.raises(config.ConfigurationError, match=r"functions\.yaml: a: b: expected flags"):
        config.load_functions(functions_file(tmp_path, "a: {b: 3}\n"))
    with pytest.raises(config.ConfigurationError, match=r"functions\.yaml: is not valid YAML"):
        config.load_functions(functions_file(tmp_path, "a: [\n"))


def test_published_functions_are_all_there() -> None:
    """The study profiled 19; `callee` is `encode`, and its RAGatouille `indexer.index` is `Indexer.index`."""
    functions = config.load_functions(REPOSITORY / "config" / "functions.yaml")
    assert sum(function.memory_profiler for function in functions) == 17
    phases = [function.qualname for function in functions if function.phase]
    assert phases == [f"CollectionIndexer.{name}" for name in ("setup", "train", "index", "finalize")]


def resolve(values: dict[str, Any], **changes: Any) -> cells.Cell:
    functions = [config.Function(module="m", qualname="f")]
    return cells.resolve(
        config.load(values), "colbert", functions, **{"device": "cpu", "lock_digest": "0" * 8, **changes}
    )


def test_what_makes_a_new_cell_and_what_does_not() -> None:
    values = yaml.safe_load(DEFAULT.read_text())
    cell = resolve(values)
    assert cell.path_name == f"colbert-{cell.digest}"

    def changed(*path: str, to: Any) -> cells.Cell:
        edited = copy.deepcopy(values)
        part = edited
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = to
        return resolve(edited)

    same = [
        changed("systems", "colbert", "label", to="Another name"),
        changed("systems", "ragatouille_faiss_true", "settings", "bsize", to=7),
        changed(
            "index_memory",
            "grids",
            to=[*values["index_memory"]["grids"], {"sizes": [9], "profilers": ["none"]}],
        ),
        changed("index_memory", "tolerance", "rtol", to=0.5),
    ]
    assert [each.content for each in same] == [cell.content] * len(same)
    other = [
        changed("systems", "colbert", "settings", "nbits", to=4),
        changed("systems", "colbert", "environment", to="colbert_next"),
        changed("corpora", "synthetic", "seed", to=8),
        changed("checkpoints", "synthetic_small", "layers", to=3),
        changed("measurement", "threads", to=1),
        changed("measurement", "allocator", to="pinned"),
        resolve(values, device="cuda"),
        resolve(values, lock_digest="1" * 8),
    ]
    digests = [cell.digest, *(each.digest for each in other)]
    assert len(set(digests)) == len(digests)


def test_a_new_generation_of_the_corpus_makes_a_new_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = config.digest(corpora.SyntheticCorpusSettings())
    monkeypatch.setattr(corpora.SyntheticCorpusSettings, "generation", 2)
    assert config.digest(corpora.SyntheticCorpusSettings()) != before


def test_supervisor_and_readers_agree_on_the_format() -> None:
    from indexscope.measure import supervisor

    assert supervisor.FORMAT == FORMAT


def test_a_grid_takes_the_experiments_systems_that_it_names() -> None:
    values = yaml.safe_load(DEFAULT.read_text())
    values["index_memory"]["systems"] = ["colbert", "ragatouille_whole"]
    runs = config.experiment_runs(config.load(values).index_memory)
    assert {run[0] for run in runs} == {"colbert", "ragatouille_whole"}
    assert ("ragatouille_whole", 500, "none", 1) not in runs  # the grid of size 500 names others
    values["index_memory"]["grids"] = [{"sizes": [10], "profilers": ["none"], "systems": ["colbert_fair"]}]
    assert "index_memory.grids: no grid has one of index_memory.systems" in sentence(values)
    values["index_memory"]["grids"][0]["systems"] = ["colbret"]
    assert "index_memory.grids[0].systems[0]: 'colbret' is not defined" in sentence(values)

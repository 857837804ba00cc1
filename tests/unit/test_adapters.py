"""What every adapter must have, of those that are here, and the sentence for each thing that one may lack."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from indexscope import cells, config, frameworks
from indexscope.run_record import InputError
from indexscope.settings.adapters import adapters

REPOSITORY = Path(__file__).parents[2]
TOY = (Path(__file__).parent / "toy_adapter.py").read_text()


def test_the_frameworks_there_are_fulfil_the_contract() -> None:
    found = adapters()
    assert {"colbert", "ragatouille"} <= found.keys()
    assert "plaid" not in found  # what they share
    for name, adapter in found.items():
        defaults = config.frameworks.SYSTEMS[name].model_validate(
            {"framework": name, "environment": "any", "label": "any"}
        )
        assert defaults.settings.model_dump() == {
            setting: each.default for setting, each in adapter.SETTINGS.items()
        }


def test_phases_and_observed_functions_are_in_the_modules_that_functions_yaml_names() -> None:
    """A name that is written in two places is written in the same way."""
    functions = config.load_functions(REPOSITORY / "config" / "functions.yaml")
    listed = {(each.module, each.qualname) for each in functions}
    for adapter in adapters().values():
        assert {*adapter.PHASES, *adapter.OBSERVERS} <= listed


def refusal(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said to an adapter `toy` in a copy of the frameworks."""
    shutil.copytree(frameworks.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "toy.py").write_text(text)
    monkeypatch.setattr(frameworks, "__path__", [str(folder)])
    monkeypatch.delitem(sys.modules, "indexscope.frameworks.toy", raising=False)
    try:
        assert "toy" in adapters()
    except InputError as error:
        return str(error)
    finally:
        sys.modules.pop("indexscope.frameworks.toy", None)
    return ""


def test_the_toy_adapter_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / "frameworks", TOY, monkeypatch) == ""


@pytest.mark.parametrize(
    ("find", "replacement", "problem"),
    [
        ("LAYOUT = None\n", "", "LAYOUT is missing"),
        ("def prepare(", "def make_ready(", "prepare is missing"),
        ("def resolve(", "def what_was_built(", "resolve is missing"),
        ("EXTENSIONS = None", "EXTENSIONS = False", "EXTENSIONS: False is not the name of a module here, or"),
        (
            "EXTENSIONS = None",
            "EXTENSIONS = 'toy'",
            "EXTENSIONS: toy.py beside it has no load_extensions(cuda)",
        ),
        ("LAYOUT = None", "LAYOUT = 'faiss'", "LAYOUT: 'faiss' is none of 'plaid' or None"),
        ("SETTINGS = {\n", "SETTINGS = {\n    'x': 3,\n", "SETTINGS['x']: give a name and a Setting"),
        ('Setting(str, "outer"', "Setting(str, 3", "SETTINGS['call']: its own default 3 is not valid"),
        ('Setting(str, "outer"', 'Setting("str?", "outer"', "SETTINGS['call']: 'str?' and its bounds are no"),
        ("Setting(str, ", "Setting(object(), ", "are no type of a setting"),
        (
            'function to call")',
            'function to call", {"gt": "p"})',
            "SETTINGS['call']: its own default 'outer' is",
        ),
        (
            '("toy_framework", "hold"): ',
            '"toy_framework.hold": ',
            "PHASES: 'toy_framework.hold' is not (module",
        ),
        ('"encoding"', "4", "PHASES[('toy_framework', 'hold')]: 4 is not a name of a phase"),
        (
            '"inner"): _observe',
            '"inner"): "kmeans"',
            "OBSERVERS[('toy_framework', 'inner')]: 'kmeans' is not a function of the call's arguments",
        ),
        (
            "import os\n",
            "import os\nimport numpy\n",
            "imports numpy at its top level: import it inside prepare",
        ),
        (
            "import os\n",
            "import os\nimport no_such\n",
            "cannot be imported (No module named 'no_such'): import",
        ),
        (
            "import os\n",
            "import os, types, sys\nsys.modules['toy_framework'] = types\nfrom toy_framework import ModuleType\n",
            "imports toy_framework at its top level",
        ),
        ("import os\n", "import os\nmatch os:\n    case 1: pass\n", "is not Python 3.8 (Pattern matching"),
        ("import os\n", "import os\n1 / 0\n", "cannot be imported (ZeroDivisionError: division by zero)"),
        (TOY.splitlines()[0], "", "the docstring that config/README.md shows is missing"),
    ],
)
def test_a_broken_adapter_is_refused_by_file_and_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find: str, replacement: str, problem: str
) -> None:
    changed = TOY.replace(find, replacement, 1)
    assert changed != TOY
    monkeypatch.chdir(tmp_path)
    (sentence,) = refusal(tmp_path / "frameworks", changed, monkeypatch).splitlines()
    assert sentence.startswith("frameworks/toy.py: ")
    assert problem in sentence
    assert sentence.endswith("see docs/extending.md for what an adapter has")


# Which functions a cell has


def functions_of(framework: str, functions: list[config.Function]) -> list[tuple[str, str, bool]]:
    configuration = config.Configuration()
    name = next(name for name, each in configuration.systems.items() if each.framework == framework)
    content = cells.resolve(configuration, name, functions, device="cpu", lock_digest="0").content
    return [(each["module"], each["qualname"], each["phase"]) for each in content["functions"]]


def test_a_cell_has_the_functions_of_its_frameworks_packages_and_its_phases() -> None:
    indexer = "colbert.indexing.collection_indexer"
    listed = [
        config.Function(module="another.framework", qualname="build", phase=True),
        config.Function(module=indexer, qualname="CollectionIndexer.setup", phase=True),
        config.Function(module="ragatouille.models.index", qualname="build"),
    ]
    assert functions_of("colbert", listed) == [
        (indexer, "CollectionIndexer.setup", True),
        ("ragatouille.models.index", "build", False),
        *((indexer, f"CollectionIndexer.{name}", True) for name in ("train", "index", "finalize")),
    ]


def test_cells_of_the_frameworks_there_are_have_every_function_of_functions_yaml() -> None:
    functions = config.load_functions(REPOSITORY / "config" / "functions.yaml")
    expected = [(each.module, each.qualname, each.phase) for each in functions]
    for name in ("colbert", "ragatouille"):
        assert functions_of(name, functions) == expected


def test_systems_that_cannot_be_dumped_are_in_no_default_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = config.Configuration()
    pairs = config.artifact_pairs(configuration)
    assert {pair.left for pair in pairs} >= {"colbert", "ragatouille_faiss_true"}
    monkeypatch.setattr(config.frameworks.ADAPTERS["ragatouille"], "LAYOUT", None)
    left = config.artifact_pairs(configuration)
    assert left
    assert not any("ragatouille" in name for pair in left for name in (pair.left, pair.right))
    assert set(frameworks.LAYOUTS) == {"plaid"}

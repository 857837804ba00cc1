"""The house rules that code alone can break: who imports whom, and what a measured process may load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
LIBRARY = SCRIPTS / "indexscope"

# From the top down; a line never imports from one above it.
LAYERS = [
    {"report"},
    {"figures"},
    {"analysis"},
    {"artifacts", "document_access", "faiss_tables", "ledger", "searching"},
    {"plan_arguments"},
    {"access_runs", "doctor", "estimate", "version_runs"},
    {"cells", "checkpoints", "environments"},
    {"corpora"},
    {"ground_truth"},
    {"measure"},
    {"config", "redaction", "schemas"},
    {"cost"},
    {"memory_plan"},
    {"memory_model"},
    {"settings"},
    {"frameworks"},
    {"archive", "sealing"},
    {"run_record"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")


def imported(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, relative ones resolved."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(SCRIPTS).parts[: -node.level]
                base = ".".join([*package, base]).rstrip(".")
            names.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return names


def part_of(module: str) -> str | None:
    words = module.split(".")
    return words[1] if words[0] == "indexscope" and len(words) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_lower_layers_never_import_upper_ones(path: Path) -> None:
    own = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    upwards = {
        module
        for module in imported(path)
        if (part := part_of(module)) in LEVEL and part != own and LEVEL[part] <= LEVEL[own]
    }
    assert not upwards, f"{path.name} ({own}) imports {sorted(upwards)}"


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("measure", "frameworks", "ground_truth")
        for path in sorted((LIBRARY / folder).glob("*.py"))
    ],
    ids=lambda path: path.name,
)
def test_measuring_is_standard_library_and_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in top_level:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.ImportFrom) and node.level:
            continue
        for name in names:
            root = name.split(".")[0]
            assert root in sys.stdlib_module_names or root == "__future__", f"{path.name} imports {name}"


def test_worker_loads_little() -> None:
    """What a measured process holds of ours before its framework is imported."""
    code = (
        "import sys; before = set(sys.modules); "
        "from indexscope.measure import worker; from indexscope.frameworks import colbert, ragatouille; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "pandas", "pyarrow", "snakemake", "yaml", "colbert", "ragatouille"}
    assert "multiprocessing" not in loaded


@pytest.mark.parametrize("program", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.name)
def test_programs_explain_themselves(program: Path) -> None:
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True, check=False)
    if program.name == "index_worker.py":  # started by index_collection.py only, and says so
        assert done.returncode == 1
        assert "started by index_collection.py" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout


def test_a_stock_snakemake_can_plan() -> None:
    """What the Snakefile imports of ours needs no package that Snakemake does not bring."""
    packages = {
        package["name"]: [each["name"] for each in package.get("dependencies", [])]
        for package in tomllib.loads((SCRIPTS.parents[1] / "uv.lock").read_text())["package"]
    }
    brought: set[str] = set()
    pending = ["snakemake"]
    while pending:
        name = pending.pop()
        if name not in brought:
            brought.add(name)
            pending += packages[name]
    third_party = {
        module.split(".")[0]
        for name in (
            *(
                "access_runs.py",
                "archive.py",
                "cells.py",
                "config.py",
                "environments.py",
                "run_record.py",
                "figures/catalog.py",
            ),
            *("doctor.py", "estimate.py", "memory_model.py", "memory_plan.py"),
            *(str(path.relative_to(LIBRARY)) for path in sorted((LIBRARY / "settings").glob("*.py"))),
        )
        for module in imported(LIBRARY / name)
    } - {*sys.stdlib_module_names, "__future__", "indexscope"}
    assert third_party == {"pydantic", "yaml"}
    assert {"pydantic", "pyyaml"} <= brought

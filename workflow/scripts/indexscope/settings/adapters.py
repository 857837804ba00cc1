"""The adapters there are, each held to what `indexscope.frameworks` says an adapter has."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from indexscope import frameworks
from indexscope.run_record import InputError

_REMEDY = "see docs/extending.md for what an adapter has"
_OLDEST_PYTHON = (3, 8)  # of the environments in which frameworks run


class _BrokenError(Exception):
    """What is wrong with an adapter, in words that follow the name of its file."""


def adapters() -> dict[str, Any]:
    """Framework → its adapter module, for every adapter in `indexscope.frameworks`.

    Raises:
        InputError: a module there cannot be imported without its framework, or an adapter lacks something.
    """
    modules = {}
    for path in sorted(Path(frameworks.__path__[0]).glob("*.py")):
        if path.stem == "__init__":
            continue
        try:
            module = _imported(path)
            # What adapters share is a module without either.
            if hasattr(module, "prepare") or hasattr(module, "SETTINGS"):
                for check in (_check_attributes, _check_settings, _check_functions, _check_imports):
                    check(module, path)
                modules[path.stem] = module
        except _BrokenError as broken:
            raise InputError(f"{os.path.relpath(path)}: {broken}; {_REMEDY}") from None
    return modules


def _imported(path: Path) -> Any:
    try:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=_OLDEST_PYTHON)
        return importlib.import_module(f"{frameworks.__name__}.{path.stem}")
    except SyntaxError as error:
        raise _BrokenError(f"line {error.lineno} is not Python 3.8 ({error.msg})") from None
    except ImportError as error:
        raise _BrokenError(f"cannot be imported ({error}): import the framework inside prepare") from None
    except Exception as error:
        raise _BrokenError(f"cannot be imported ({type(error).__name__}: {error})") from None


def _check_attributes(module: Any, path: Path) -> None:
    if not (module.__doc__ or "").strip():
        raise _BrokenError("the docstring that config/README.md shows is missing")
    for name, kind, words in _KINDS:
        if not hasattr(module, name):
            raise _BrokenError(f"{name} is missing")
        if not (callable(getattr(module, name)) if kind is None else isinstance(getattr(module, name), kind)):
            raise _BrokenError(f"{name}: {getattr(module, name)!r} is not {words}")
    if module.LAYOUT not in (None, *frameworks.LAYOUTS):
        raise _BrokenError(
            f"LAYOUT: {module.LAYOUT!r} is none of {', '.join(map(repr, frameworks.LAYOUTS))} or None"
        )
    if module.EXTENSIONS is not None:
        compiles = path.with_name(f"{module.EXTENSIONS}.py")
        if not compiles.is_file() or not hasattr(_imported(compiles), "load_extensions"):
            raise _BrokenError(f"EXTENSIONS: {compiles.name} beside it has no load_extensions(cuda)")


_NOTHING = type(None)
# Attribute, its type (None: something to call), how to say so.
_KINDS: list[tuple[str, Any, str]] = [
    ("SETTINGS", Mapping, "{name: Setting}"),
    ("SETTINGS_MEANING", str, "a text"),
    ("OBSERVERS", Mapping, "{(module, qualname): function}"),
    ("PHASES", Mapping, "{(module, qualname): name}"),
    ("EXTENSIONS", (str, _NOTHING), "the name of a module here, or None"),
    ("LAYOUT", (str, _NOTHING), "the name of a layout, or None"),
    ("prepare", None, "a function"),
    ("resolve", None, "a function"),
]


def _check_settings(module: Any, path: Path) -> None:
    for name, setting in module.SETTINGS.items():
        key = f"SETTINGS[{name!r}]"
        if not (isinstance(name, str) and name.isidentifier() and isinstance(setting, frameworks.Setting)):
            raise _BrokenError(f"{key}: give a name and a Setting")
        try:
            bounded: Any = Annotated[setting.type, Field(**(setting.bounds or {}))]
            kind: TypeAdapter[Any] = TypeAdapter(bounded)
            kind.dump_python(kind.validate_python(setting.default), mode="json")
        except ValidationError as error:
            raise _BrokenError(
                f"{key}: its own default {setting.default!r} is not valid: {error.errors()[0]['msg']}"
            ) from None
        except Exception as error:  # pydantic raises many types for what is no type
            reason = str(error).strip().partition("\n")[0]
            raise _BrokenError(
                f"{key}: {setting.type!r} and its bounds are no type of a setting ({reason})"
            ) from None


def _check_functions(module: Any, path: Path) -> None:
    for attribute, is_value, words in (
        ("OBSERVERS", callable, "a function of the call's arguments"),
        ("PHASES", lambda value: isinstance(value, str) and value.isidentifier(), "a name of a phase"),
    ):
        for key, value in getattr(module, attribute).items():
            if not (isinstance(key, tuple) and [type(part) for part in key] == [str, str]):
                raise _BrokenError(f"{attribute}: {key!r} is not (module, qualname)")
            if not is_value(value):
                raise _BrokenError(f"{attribute}[{key!r}]: {value!r} is not {words}")


def _check_imports(module: Any, path: Path) -> None:
    """A framework that is imported early is not instrumented, and not measured as it runs."""
    instrumented = {name.partition(".")[0] for name, _ in [*module.OBSERVERS, *module.PHASES]}
    for name in _imported_at_top_level(ast.parse(path.read_text(encoding="utf-8"))):
        root = name.partition(".")[0]
        if root in instrumented or root not in sys.stdlib_module_names:
            raise _BrokenError(f"imports {root} at its top level: import it inside prepare")


def _imported_at_top_level(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)

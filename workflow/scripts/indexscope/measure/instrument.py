"""Instrumenting functions of a framework at run time, without a fork and without importing it early.

An import hook patches each named module right after it has executed: aliases that other modules take
(`from … import encode`) are then the wrapped function, which pickling by name needs.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class Target(NamedTuple):
    """A function to replace: `qualname` inside `module` (private names in their mangled form)."""

    module: str
    qualname: str
    wrap: Wrap


class PatchingFinder(importlib.abc.MetaPathFinder):
    """Patches modules as they are imported; `report(module, qualname, patched)` hears of each target."""

    def __init__(self, targets: Sequence[Target], report: Callable[[str, str, bool], None]) -> None:
        self._targets: Dict[str, List[Target]] = {}
        for target in targets:
            self._targets.setdefault(target.module, []).append(target)
        self._report = report

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]],
        target: Optional[types.ModuleType] = None,
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname not in self._targets:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                self._patch_after_execution(spec.loader)
                return spec
        return None

    def _patch_after_execution(self, loader: Any) -> None:
        # The loader belongs to this one module; replacing its method keeps its type (inspect, linecache).
        execute = loader.exec_module

        @functools.wraps(execute)
        def execute_and_patch(module: types.ModuleType) -> None:
            execute(module)
            for target in self._targets[module.__name__]:
                self._report(target.module, target.qualname, patch(module, target.qualname, target.wrap))

        loader.exec_module = execute_and_patch


def install(targets: Sequence[Target], report: Callable[[str, str, bool], None]) -> None:
    """Patch `targets` when their modules are imported. None of the modules may be imported yet."""
    early = sorted({target.module for target in targets} & set(sys.modules))
    if early:
        raise RuntimeError("imported before it could be instrumented: " + ", ".join(early))
    sys.meta_path.insert(0, PatchingFinder(targets, report))


def patch(module: types.ModuleType, qualname: str, wrap: Wrap) -> bool:
    """Replace one function, keeping static and class methods what they are. False when it does not exist."""
    *path, name = qualname.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part, None)
    raw = vars(owner).get(name) if owner is not None else None
    if raw is None:
        return False
    if isinstance(raw, (staticmethod, classmethod)):
        setattr(owner, name, type(raw)(wrap(raw.__func__)))
    else:
        setattr(owner, name, wrap(raw))
    return True

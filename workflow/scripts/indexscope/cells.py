"""Cells: a system with all that determines its runs, but size, profiler and repeat.

A cell is named by its settings' digest: changed settings make a new cell, and its runs a new folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from indexscope.config import Configuration, Function, digest
from indexscope.settings.systems import ADAPTERS


@dataclass(frozen=True)
class Cell:
    """A resolved cell; `content` is what the measured run is given, as JSON values."""

    system: str
    digest: str
    content: dict[str, Any]

    @property
    def path_name(self) -> str:
        return f"{self.system}-{self.digest}"

    @property
    def extensions(self) -> str | None:
        """Folder name of the compiled extensions that this cell uses; None when its framework has none."""
        compiled_by = ADAPTERS[self.content["framework"]].EXTENSIONS
        if compiled_by is None:
            return None
        return f"{compiled_by}-" + "{environment}-{lock_digest}-{device}".format(**self.content)


def resolve(
    configuration: Configuration,
    system_name: str,
    functions: Sequence[Function],
    *,
    device: str,
    lock_digest: str,
    corpus: str | None = None,
    encoder: str | None = None,
    resume: bool = False,
) -> Cell:
    """The cell of a system under a configuration; names for people (labels) are no part of it.

    Args:
        corpus, encoder: names of a corpus and a checkpoint in the configuration; default: those of index_memory.
        resume: whether a run that was interrupted is gone on with. What is measured is then its last attempt.
    """
    system = configuration.systems[system_name]
    corpus = corpus or configuration.index_memory.corpus
    checkpoint = encoder or configuration.index_memory.checkpoint
    content = {
        "framework": system.framework,
        "environment": system.environment,
        "split_to": system.split_to,
        "settings": system.settings.model_dump(mode="json"),
        "lock_digest": lock_digest,
        "functions": [
            function.model_dump(mode="json") for function in _functions_of(system.framework, functions)
        ],
        **configuration.measurement.model_dump(mode="json"),
        "device": device,
    }
    if system.allocation_limit_mib is not None:
        content["allocation_limit_mib"] = system.allocation_limit_mib
    if resume:
        content["resume"] = True
    sources = (configuration.corpora[corpus], configuration.checkpoints[checkpoint])
    cell_digest = digest(content, *sources)
    content |= {
        "system": system_name,
        "cell": cell_digest,
        "corpus": corpus,
        "checkpoint": checkpoint,
    }
    return Cell(system_name, cell_digest, content)


def _functions_of(framework: str, functions: Sequence[Function]) -> list[Function]:
    """Those of the packages that a framework's adapter knows, and its phases that are not among them.

    So a function that is listed for one framework makes no new cells of another.
    """
    adapter = ADAPTERS[framework]
    packages = {module.partition(".")[0] for module, _ in [*adapter.PHASES, *adapter.OBSERVERS]}
    listed = [function for function in functions if function.module.partition(".")[0] in packages]
    named = {(function.module, function.qualname) for function in listed}
    phases = [
        Function(module=module, qualname=qualname, phase=True)
        for module, qualname in adapter.PHASES
        if (module, qualname) not in named
    ]
    return listed + phases

"""Cells: a system with all that determines its runs, but size, profiler and repeat.

A cell is named by its settings' digest: changed settings make a new cell, and its runs a new folder.
"""

from __future__ import annotations

import math
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
) -> Cell:
    """The cell of a system under a configuration; names for people (labels) are no part of it."""
    system = configuration.systems[system_name]
    experiment = configuration.index_memory
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
    sources = (
        configuration.corpora[experiment.corpus],
        configuration.checkpoints[experiment.checkpoint],
    )
    cell_digest = digest(content, *sources)
    content |= {
        "system": system_name,
        "cell": cell_digest,
        "corpus": experiment.corpus,
        "checkpoint": experiment.checkpoint,
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


def memory_to_reserve_mib(documents: int) -> int:
    """Memory to ask a scheduler for, in MiB: the largest terms of building an index, generously.

    Terms as in colbert-ai 0.2.22, with 128 dimensions, 100 embeddings a document and every document split
    in 1.3: libraries and model of two processes; texts; the k-means sample as float16, shuffled, and float32;
    the code-assignment matrix (`compress_into_codes`: partitions × batch × 4 bytes, at most 2 GiB); codes,
    sorted values and indices as int64 (`_build_ivf`).
    """
    passages = math.ceil(1.3 * documents)
    embeddings = 100 * passages
    partitions: int = 2 ** int(math.log2(16 * math.sqrt(embeddings)))
    sampled = min(passages, 1 + int(16 * math.sqrt(120 * passages))) * 100
    libraries = 2 * 1000 * 2**20
    texts = 2 * documents * 2000
    sample = sampled * 128 * (2 + 2 + 4)
    assignment = partitions * min(2**29 // partitions, embeddings) * 4
    inverted_lists = embeddings * 3 * 8
    return math.ceil((libraries + texts + sample + assignment + inverted_lists) / 2**20)

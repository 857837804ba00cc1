"""The run matrix of torch_versions: each version, repeated, and the right one of a pair given the left one's artifacts.

A run here is an index run like any other (a cell, a run directory), under the profiler `dumps`: it writes the
artifacts that arise while the index is made, and takes injected ones where they would have been made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from indexscope import environments
from indexscope.cells import Cell
from indexscope.config import Configuration, digest
from indexscope.run_record import InputError, RunIdentity

PROFILER = "dumps"
EXTENSIONS = "plaid_search"  # module of indexscope.frameworks: what indexing and searching compile


def environment_of(version: str) -> str:
    """The locked environment of a PyTorch version: envs/NAME.in and envs/NAME.yaml."""
    return f"torch-{version}"


def lock_digests(versions: Sequence[str], folder: Path) -> dict[str, str]:
    """The digest of the lock of each version's environment, in `folder`.

    Raises:
        InputError: a version has no lock.
    """
    digests = {}
    for position, version in enumerate(versions):
        name = environment_of(version)
        lock = folder / f"{name}.yaml"
        if not lock.exists():
            raise InputError(
                f"torch_versions.versions[{position}]: {version!r} has no {lock}: write {folder / name}.in, and "
                f"lock it with `python workflow/scripts/lock_environments.py {name}`"
            )
        digests[version] = environments.lock_digest(lock)
    return digests


@dataclass(frozen=True)
class VersionCell:
    """What determines a run but its repeat: a version and, for an injection, whose artifacts it is given."""

    version: str
    cell: Cell
    injected: tuple[str, ...] = ()
    donor: VersionCell | None = None

    @property
    def extensions(self) -> str:
        """Folder name of the compiled extensions: MODULE-ENVIRONMENT-LOCK-DEVICE."""
        return f"{EXTENSIONS}-" + "{environment}-{lock_digest}-{device}".format(**self.cell.content)

    def run(self, documents: int, repeat: int) -> str:
        """The run directory's path below results/index_runs."""
        return RunIdentity(self.cell.system, self.cell.digest, documents, PROFILER, repeat).run


@dataclass(frozen=True)
class Comparison:
    """Two runs to compare; paths below results/index_runs."""

    left_version: str
    right_version: str
    kind: Literal["versions", "repeat", "injection"]
    injected: tuple[str, ...]
    left: str
    right: str

    @property
    def pair(self) -> str:
        """How tables call it."""
        if self.kind == "repeat":
            return f"{self.left_version}: repeated"
        given = f", given {' + '.join(self.injected)}" if self.injected else ""
        return f"{self.left_version} | {self.right_version}{given}"


def system_name(version: str, injected: Sequence[str] = (), donor: str = "") -> str:
    """Such as torch_2_0_1, and torch_2_1_0_given_embs_of_2_0_1."""
    name = "torch_" + version.replace(".", "_")
    return name + (f"_given_{'_'.join(injected)}_of_{donor.replace('.', '_')}" if injected else "").lower()


class Matrix:
    """All runs and comparisons of the experiment under a configuration.

    Args:
        lock_digests: of the environment of each version.
        device: cpu or cuda.
    """

    def __init__(self, configuration: Configuration, lock_digests: dict[str, str], device: str) -> None:
        self._configuration = configuration
        self._device = device
        self._lock_digests = lock_digests
        self.settings = configuration.torch_versions
        self.plain = {version: self._cell(version) for version in self.settings.versions}
        self.injections = [
            self._cell(pair.right, tuple(names), self.plain[pair.left])
            for pair in self.settings.compared()
            for names in self.settings.injections
        ]

    @property
    def cells(self) -> dict[str, VersionCell]:
        """By the name of their folder, SYSTEM-DIGEST."""
        return {cell.cell.path_name: cell for cell in [*self.plain.values(), *self.injections]}

    def label(self, cell: VersionCell) -> str:
        """How figures and tables that people read call a cell."""
        given = f", given {' + '.join(cell.injected)} of {cell.donor.version}" if cell.donor else ""
        return f"PyTorch {cell.version}{given}"

    def runs(self) -> list[str]:
        """Each run once, paths below results/index_runs: the versions, repeated, then the injections."""
        documents = self.settings.documents
        repeated = [
            cell.run(documents, repeat)
            for cell in self.plain.values()
            for repeat in range(1, self.settings.repeats + 1)
        ]
        return repeated + [cell.run(documents, 1) for cell in self.injections]

    def comparisons(self) -> Iterator[Comparison]:
        """The noise floor of each version, each pair, and each pair with each injection."""
        documents = self.settings.documents
        for version, cell in self.plain.items():
            if self.settings.repeats > 1:
                first, second = cell.run(documents, 1), cell.run(documents, 2)
                yield Comparison(version, version, "repeat", (), first, second)
        for pair in self.settings.compared():
            left, right = self.plain[pair.left], self.plain[pair.right]
            runs = left.run(documents, 1), right.run(documents, 1)
            yield Comparison(pair.left, pair.right, "versions", (), *runs)
            for cell in self.injections:
                if (cell.version, cell.donor) == (pair.right, left):
                    given = cell.run(documents, 1)
                    yield Comparison(pair.left, pair.right, "injection", cell.injected, runs[0], given)

    def _cell(
        self, version: str, injected: tuple[str, ...] = (), donor: VersionCell | None = None
    ) -> VersionCell:
        settings = self.settings
        content: dict[str, Any] = {
            "framework": "colbert",
            "environment": environment_of(version),
            "split_to": None,
            "settings": {"in_process": True, "like_ragatouille": False, **settings.settings.model_dump()},
            "lock_digest": self._lock_digests[version],
            "functions": [],
            **self._configuration.measurement.model_dump(mode="json"),
            "threads": settings.threads,
            "device": self._device,
            "cpu_capability": settings.cpu_capability,
            # What the profiler `dumps` does; an empty list of artifacts is all of them.
            "artifacts": settings.artifacts or [],
            "injected": list(injected),
            "donor": donor.cell.digest if donor else None,
        }
        corpus = self._configuration.corpus_of_versions
        checkpoint = self._configuration.checkpoint_of_versions
        sources = (self._configuration.corpora[corpus], self._configuration.checkpoints[checkpoint])
        cell_digest = digest(content, *sources)
        system = system_name(version, injected, donor.version if donor else "")
        content |= {
            "system": system,
            "cell": cell_digest,
            "corpus": corpus,
            "checkpoint": checkpoint,
        }
        return VersionCell(version, Cell(system, cell_digest, content), injected, donor)

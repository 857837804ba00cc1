"""What the worker program of a training is told, as JSON, and where its processes write. Standard library only."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Specification:
    """One training.

    Attributes:
        training: all that determines it: access_runs.Training.content.
        collection, sources, samples, tokenizer: as measured_training.Paths.
        directory: an empty folder for what the processes write.
        held: whether memory is read in the middle of the measured steps, for which all ranks stand still.
    """

    training: dict[str, Any]
    collection: Path
    sources: Path
    samples: Path
    tokenizer: Path
    directory: Path
    held: bool

    @property
    def ranks(self) -> int:
        """Processes that train: DataParallel has one for all devices."""
        together = self.training["parallelism"] in ("distributed", "accelerate")
        return int(self.training["world_size"]) if together else 1

    @property
    def file(self) -> Path:
        return self.directory / "specification.json"

    @property
    def events(self) -> Path:
        """What the processes announce (JSON lines)."""
        return self.directory / "events.jsonl"

    @property
    def store(self) -> Path:
        """Where the ranks of a process group find each other."""
        return self.directory / "store"

    @property
    def rendezvous(self) -> Path:
        """Where the ranks find the copy of the documents that they share."""
        return self.directory / "rendezvous"

    @property
    def release(self) -> Path:
        """Appears when memory has been read."""
        return self.directory / "release"

    def steps(self, rank: int) -> Path:
        """Steps of one rank (JSON lines)."""
        return self.directory / f"steps-{rank}.jsonl"

    def write(self) -> None:
        told = {name: getattr(self, name) for name in _NAMES}
        self.file.write_text(json.dumps(told, default=str), encoding="utf-8")


_PATHS = ("collection", "sources", "samples", "tokenizer", "directory")
_NAMES = tuple(field.name for field in dataclasses.fields(Specification))


def read(file: Path) -> Specification:
    """What `write` wrote."""
    told = json.loads(file.read_text(encoding="utf-8"))
    fields: dict[str, Any] = {name: Path(told[name]) if name in _PATHS else told[name] for name in _NAMES}
    return Specification(**fields)

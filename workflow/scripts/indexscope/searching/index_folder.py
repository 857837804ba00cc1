"""A PLAID index on disk: whether it is whole, who made it, and with which encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexscope.run_record import COMPLETED, InputError, read_run_record

COLBERT, RAGATOUILLE = "colbert", "ragatouille"
_COLLECTION, _DOCUMENT_IDS = "collection.json", "pid_docid_map.json"
_ONCE = ("centroids.pt", "avg_residual.pt", "buckets.pt")
_PER_CHUNK = ("{}.metadata.json", "{}.codes.pt", "{}.residuals.pt", "doclens.{}.json")
_INVERTED_LISTS = ("ivf.pid.pt", "ivf.pt")  # the latter of old colbert-ai


@dataclass(frozen=True)
class IndexFolder:
    """A whole index. `run` is the record of the run that made it, where it is one of ours."""

    path: Path
    framework: str  # COLBERT or RAGATOUILLE
    passages: int
    checkpoint: str  # as the index names it: a folder, or a name on the hub
    collection: Any  # the same: a file's path, or a note of what a list began with
    name: str | None  # that RAGatouille looks for
    run: dict[str, Any] | None

    @property
    def has_passages(self) -> bool:
        """Whether the passages and where they are from are in the folder, as RAGatouille keeps them."""
        return all((self.path / name).is_file() for name in (_COLLECTION, _DOCUMENT_IDS))

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def locate(path: Path) -> IndexFolder:
    """The index at `path`, a run directory or the folder of an index itself.

    Raises:
        InputError: there is none, it is unfinished, or a file of it is missing.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give a run directory or the folder of a PLAID index")
    folder = path / "index" if (path / "run.json").is_file() else path
    record_path = folder.parent / "run.json"
    record = read_run_record(record_path) if folder.name == "index" and record_path.is_file() else None
    if record is not None and record["outcome"] != COMPLETED:
        detail = f" ({record['outcome_detail']})" if record.get("outcome_detail") else ""
        raise InputError(f"{path} has no index: its run ended as {record['outcome']}{detail}; run it again")
    if not (folder / "metadata.json").is_file():
        if (folder / "plan.json").is_file():
            raise InputError(
                f"{folder} is an unfinished index (a plan, no metadata.json); build it to its end"
            )
        if record is not None:
            raise InputError(f"{folder} was not kept; set keep to indexes and run it again")
        raise InputError(
            f"{path} has no PLAID index (no metadata.json); give a run directory or an index's folder"
        )
    return _read(folder, record)


def encoder(index: IndexFolder, given: Path | None = None) -> str:
    """The checkpoint to encode queries with: `given`, or what the index names; a folder is absolute.

    Where the folder that the index names is gone, one of that name in results/checkpoints above the index is taken:
    results may have moved as a whole.

    Raises:
        InputError: it is no checkpoint, or gone.
    """
    if given is not None:
        if not (given / "config.json").is_file():
            raise InputError(
                f"--checkpoint: {given} is no checkpoint (no config.json); give the folder of the encoder"
            )
        return str(given.resolve())
    named = Path(index.checkpoint)
    moved = [parent / "checkpoints" / named.name for parent in index.path.resolve().parents]
    for folder in [named, *moved]:
        if (folder / "config.json").is_file():
            return str(folder.resolve())
    if named.is_absolute() or len(named.parts) != 2 or named.parts[0] in (".", ".."):
        raise InputError(
            f"{index.path} was made with {named}, which is gone; give the encoder with --checkpoint"
        )
    return index.checkpoint  # OWNER/NAME on the hub


def _read(folder: Path, record: dict[str, Any] | None) -> IndexFolder:
    metadata = _json(folder / "metadata.json")
    try:
        config, chunks = metadata["config"], range(int(metadata["num_chunks"]))
        checkpoint = str(config["checkpoint"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder / 'metadata.json'} is not of a PLAID index; give the folder of one"
        ) from None
    expected = [*_ONCE, *(name.format(chunk) for chunk in chunks for name in _PER_CHUNK)]
    if not any((folder / name).is_file() for name in _INVERTED_LISTS):
        expected.append(_INVERTED_LISTS[0])
    _need(folder, expected)
    made_by = metadata.get("RAGatouille")
    try:
        passages = sum(_json(folder / f"{chunk}.metadata.json")["num_passages"] for chunk in chunks)
    except (KeyError, TypeError):
        raise InputError(
            f"{folder / '0.metadata.json'} does not say num_passages; build the index again"
        ) from None
    return IndexFolder(
        folder,
        RAGATOUILLE if made_by else COLBERT,
        passages,
        checkpoint,
        config.get("collection"),
        config.get("index_name"),
        record,
    )


def _need(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{folder} is half an index: {missing[0]}{more} is missing; build it again, or get it again"
        )


def _json(path: Path) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); build the index again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; build the index again")
    return value

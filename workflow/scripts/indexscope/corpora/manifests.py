"""What was downloaded: a folder of files, and a manifest of them, written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from indexscope.run_record import FORMAT, InputError, read_json_object

MANIFEST = "manifest.json"
CONTENT = "content"  # the folder beside a dataset's manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in constant memory."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_manifest(path: Path, facts: dict[str, Any], content: Path, paths: Iterable[str]) -> dict[str, Any]:
    """Write what was fetched and from where, with each file's size and SHA-256."""
    files: list[dict[str, Any]] = [
        {"path": name, "bytes": (content / name).stat().st_size, "sha256": sha256_of(content / name)}
        for name in paths
    ]
    manifest = {"format": FORMAT, **facts, "bytes": sum(file["bytes"] for file in files), "files": files}
    write_json(path, manifest)
    return manifest


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file through a temporary name."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_dataset(folder: Path) -> dict[str, Any]:
    """The manifest of a fetched dataset, whose files are all there.

    Raises:
        InputError: it is missing, or a file is missing or has another size.
    """
    manifest = read_json_object(folder / MANIFEST, remedy="run fetch_dataset.py")
    for file in manifest["files"]:
        path = folder / CONTENT / file["path"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            problem = "has changed" if path.is_file() else "is missing"
            raise InputError(
                f"{path}: {problem} since it was fetched; remove {folder} and run fetch_dataset.py"
            )
    return manifest

"""The seal of an index: what each of its files holds, for whoever gets the folder later or elsewhere.

A seal is a JSON file beside the index: of each file its path, size and SHA-256. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.run_record import FORMAT, InputError, read_json_object

NOT_OF_THE_INDEX = ".snakemake_timestamp"  # Snakemake puts it into each folder that a rule makes
SUFFIX = ".sha256.json"
_BLOCK_BYTES = 1 << 20


class SealedFile(NamedTuple):
    """A file of an index: its path below it, its size, and the SHA-256 of its content (hexadecimal)."""

    path: str
    bytes: int
    sha256: str


def beside(index: Path) -> Path:
    """Where the seal of an index is looked for."""
    return index.with_name(index.name + SUFFIX)


def seal(index: Path) -> dict[str, Any]:
    """What the seal of an index says; a run that made no index has an empty one.

    Raises:
        InputError: there is no such folder, or a file in it cannot be read.
    """
    files = [SealedFile(name, *_content(path)) for name, path in _files(index).items()]
    return {
        "format": FORMAT,
        "count": len(files),
        "bytes": sum(file.bytes for file in files),
        "sha256": total(files),
        "files": [file._asdict() for file in files],
    }


def total(files: list[SealedFile]) -> str:
    """One SHA-256 for all: of the lines `SHA256  PATH` in the order of the paths, as `sha256sum` prints them."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def write(index: Path, output: Path) -> dict[str, Any]:
    """Write the seal of `index` to `output`, whole or not at all, and return it.

    Raises:
        InputError: as `seal`; or `output` would be in the index, which it would change.
    """
    if index.resolve() in output.resolve().parents:
        raise InputError(f"{output} is in the index that it seals; put it beside {index}")
    content = seal(index)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(output)
    return content


def check(index: Path, sealed: Path, contents: bool = True) -> dict[str, Any]:
    """Compare an index with its seal, in the order of the paths, and return the seal.

    Args:
        contents: false: names and sizes only, which takes no time and finds what was cut off, not what was changed.

    Raises:
        InputError: it has no files, or the first file that differs, is missing, or is there without being sealed.
    """
    remedy = "write it with seal_index.py write"
    content = read_json_object(sealed, remedy)
    expected = {file.path: file for file in _sealed_files(content, sealed, remedy)}
    again = "get the index again, or seal it anew if it was changed on purpose"
    if not expected:
        raise InputError(f"{sealed} is of an index without files: its run made none; look at its run.json")
    found = _files(index)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise InputError(f"{index / name} is missing, which {sealed} names; {again}")
        if name not in expected:
            raise InputError(f"{found[name]} is not in {sealed}: it came later; {again}")
        size = found[name].stat().st_size
        if size != expected[name].bytes:
            raise InputError(f"{found[name]} has {size} bytes, {sealed} says {expected[name].bytes}; {again}")
        if contents and _content(found[name])[1] != expected[name].sha256:
            raise InputError(f"{found[name]} holds something else than {sealed} says; {again}")
    return content


def _sealed_files(content: dict[str, Any], sealed: Path, remedy: str) -> list[SealedFile]:
    try:
        files = [
            SealedFile(str(file["path"]), int(file["bytes"]), str(file["sha256"]))
            for file in content["files"]
        ]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{sealed} is no seal of an index: {remedy}") from None
    if total(files) != content.get("sha256"):
        raise InputError(f"{sealed} was changed: its files do not give its own sha256; {remedy}")
    return files


def _files(index: Path) -> dict[str, Path]:
    """Path below the index → file, in the order of the paths."""
    if not index.is_dir():
        raise InputError(f"{index} is no folder; give the folder of an index")
    found = {
        path.relative_to(index).as_posix(): path
        for path in index.rglob("*")
        if not path.is_dir() and path.name != NOT_OF_THE_INDEX
    }
    return {name: found[name] for name in sorted(found)}


def _content(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file, which is read block by block."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable") from None
    return size, digest.hexdigest()

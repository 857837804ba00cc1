"""Make the files that loaders read beside the collection: a folder for each loader, and manifest.json, written last.

Each loader is prepared in a process of its own, so that the seconds and the peak of memory are its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from indexscope.document_access import loaders, raw_files
from indexscope.measure import proc
from indexscope.run_record import FORMAT, InputError


def main() -> None:
    """Parse the command line, prepare each loader, write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path, help="documents as JSON lines (document_id, text) or TSV")
    parser.add_argument("--loaders", nargs="+", required=True, choices=loaders.LOADERS, metavar="LOADER")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    try:
        _prepare(arguments.collection, list(dict.fromkeys(arguments.loaders)), arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))


def _prepare(collection: Path, names: list[str], output: Path) -> None:
    manifest = output / loaders.MANIFEST
    output.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    state = raw_files.state_of(collection)
    prepared = {}
    for name in names:
        prepared[name] = _in_a_fresh_process(name, collection, output / name)
        facts = prepared[name]
        print(
            f"{name}: {facts['bytes']} bytes, {facts['seconds']:.1f} seconds, {facts['peak_rss_mib']} MiB",
            flush=True,
        )
    raw_files.refuse_changed(collection, state, "prepare the documents again once it is complete")
    partial = manifest.with_name(manifest.name + ".partial")
    content = {"format": FORMAT, "collection": state, "loaders": prepared}
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(manifest)


def _in_a_fresh_process(name: str, collection: Path, folder: Path) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        try:
            return fresh.submit(prepare_one, name, collection, folder).result()
        except BrokenProcessPool:
            raise InputError(
                f"{folder}: the process that prepares it was killed; give it more memory, or leave {name} out"
            ) from None


def prepare_one(name: str, collection: Path, folder: Path) -> dict[str, Any]:
    """Make one loader's files in `folder`; their names from its parent on, bytes, seconds and peak memory."""
    memory = proc.SelfMemory()
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    facts = loaders.prepare(name, collection, folder)
    names = facts.pop("files")
    return {
        "files": [f"{folder.name}/{file}" for file in names],
        "bytes": sum((folder / file).stat().st_size for file in names),
        "seconds": round(time.monotonic() - started, 3),
        "peak_rss_mib": round(memory.read().peak / 1024, 1),
        **facts,
    }


if __name__ == "__main__":
    main()

"""Lock environments: generate NAME.yaml, with every pin and hash, from NAME.in, with uv and PyPI.

A pin stays as long as NAME.in allows it; --upgrade looks for newer ones.
"""

from __future__ import annotations

import argparse
import difflib
import graphlib
import sys
from pathlib import Path

from indexscope.environments import LockError, generate, read_request


def in_order(requests: list[Path]) -> list[Path]:
    """The requests, each after those from which it takes versions."""
    by_lock = {path.with_suffix(".yaml").resolve(): path for path in requests}
    read = {path: read_request(path) for path in requests}
    sources = {
        path: [source.resolve() for source in [*request.pins_from, *request.like]]
        for path, request in read.items()
    }
    before = {
        path: [by_lock[source] for source in found if source in by_lock] for path, found in sources.items()
    }
    return list(graphlib.TopologicalSorter(before).static_order())


def lock_one(path: Path, check: bool, upgrade: bool) -> bool:
    """Generate the lock of one NAME.in, or with `check` only compare; says whether nothing changes."""
    lock = path.with_suffix(".yaml")
    before = lock.read_text() if lock.exists() else ""
    after = generate(path, upgrade)
    if after == before:
        print(f"{lock}: unchanged")
    elif check:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
        print(*difflib.unified_diff(old, new, str(lock), "generated"), sep="", end="")
    else:
        partial = lock.with_suffix(".yaml.partial")
        partial.write_text(after)
        partial.replace(lock)
        print(f"{lock}: written")
    return after == before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="environment, for example colbert (default: all)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parents[2] / "envs",
        help="folder of NAME.in (default: envs)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--check", action="store_true", help="write nothing; a diff and exit code 1 if it would"
    )
    mode.add_argument("--upgrade", action="store_true", help="take the newest versions that NAME.in allows")
    args = parser.parse_args()

    names = args.name or sorted(path.stem for path in args.folder.glob("*.in"))
    try:
        requests = in_order([args.folder / f"{name}.in" for name in names])
        unchanged = [lock_one(path, args.check, args.upgrade) for path in requests]
    except (LockError, graphlib.CycleError) as error:
        sys.exit(str(error))
    if args.check and not all(unchanged):
        sys.exit(
            f"Locks are not what their .in files generate: run `python {' '.join([sys.argv[0], *args.name])}`"
        )


if __name__ == "__main__":
    main()

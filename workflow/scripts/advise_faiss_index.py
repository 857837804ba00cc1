"""Advise on the table that faiss computes when it loads an index: keep it, skip it, or share it among segments.

Runs in an environment with faiss. Bytes are by formula; searches with and without the table are timed on the index.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexscope.run_record import InputError

if TYPE_CHECKING:
    from indexscope.faiss_tables.advice import Advice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path, help="an index that faiss wrote")
    parser.add_argument(
        "--segments",
        type=int,
        default=1,
        metavar="N",
        help="indexes with these codebooks that one process is to hold; default: 1",
    )
    parser.add_argument(
        "--nprobe", type=int, help="lists searched for each query; default: what the index was saved with"
    )
    parser.add_argument(
        "--queries", type=Path, help="queries to time, .npy of shape (any, dim); default: stored vectors"
    )
    parser.add_argument(
        "--neighbours", type=int, default=10, metavar="K", help="neighbours asked for; default: 10"
    )
    parser.add_argument("--adding", action="store_true", help="vectors will be added after loading")
    parser.add_argument("--threads", type=int, default=1, help="threads of faiss; default: 1")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    arguments = parser.parse_args()
    try:
        import faiss
    except ImportError:
        sys.exit(
            "faiss is not installed here: run this with Python of an environment that has it, as envs/faiss.yaml"
        )
    from indexscope.faiss_tables import advice, reading

    faiss.omp_set_num_threads(arguments.threads)
    try:
        # The measuring computes a table of its own, beside which another would only take memory.
        index = reading.read_index(arguments.index, "skip")
        given = advice.advise(
            index,
            arguments.segments,
            arguments.nprobe,
            _queries(arguments.queries),
            arguments.neighbours,
            arguments.adding,
        )
    except InputError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps({"index": arguments.index.name, **given.as_json()}, indent=2))
    else:
        print(_text(given))


def _queries(path: Path | None) -> Any:
    import numpy as np

    if path is None:
        return None
    try:
        queries = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a .npy file of shape (any, dim)") from error
    return np.ascontiguousarray(queries, dtype=np.float32)


def _text(given: Advice) -> str:
    lines = [f"{given.advice}: {given.reason}"]
    if given.table.bytes:
        lines += [
            f"{given.table.name}: {given.table.formula} = {given.table.bytes:,} bytes",
            f"tables of {given.segments:,} index{'es' * (given.segments != 1)}, by formula: "
            f"keep {_mib(given.keep_bytes)}, skip {_mib(given.skip_bytes)}, share {_mib(given.share_bytes)}",
        ]
    return "\n".join(lines)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.4g} MiB"


if __name__ == "__main__":
    main()

"""Measure how an index is searched, by the framework that made it, in fresh processes: one query at a time, in batches.

Then load it in plain colbert-ai and plain RAGatouille, by their own documented calls. Writes JSON lines, each with its
`kind`: search (a process, with the time of every query), result (a passage found), load (a library).

Runs in the environment in which the index was built.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from indexscope.measure import command_line
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of the index")
    parser.add_argument(
        "--collection",
        type=Path,
        help="what was indexed, where the index has no passages beside it (JSON lines)",
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of the encoder; default: as the index names it"
    )
    parser.add_argument(
        "--extensions", type=Path, help="what compile_extensions.py --of plaid_search compiled"
    )
    parser.add_argument("--queries", type=Path, required=True, help="query_id and text as JSON lines")
    parser.add_argument("--qrels", type=Path, help="query_id, document_id and relevance as JSON lines")
    parser.add_argument(
        "--search", type=json.loads, required=True, metavar="JSON", help="k, batch_size and repeats"
    )
    parser.add_argument(
        "--measurement",
        type=json.loads,
        required=True,
        metavar="JSON",
        help="sample_interval_seconds, timeout_seconds and memory_limit_mib of each process",
    )
    parser.add_argument("--threads", type=int, required=True, help="threads of each process")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--output", type=Path, required=True, help="the records to write (JSON lines)")
    arguments = parser.parse_args()
    command_line.require_linux()
    command_line.leave_by_exception()
    try:
        print(f"{arguments.output}: {_measure(arguments)} records")
    except InputError as error:
        sys.exit(str(error))


def _measure(arguments: argparse.Namespace) -> int:
    """Write the output, whole or not at all; how many records it has."""
    from indexscope.measure import devices, supervised
    from indexscope.searching import measuring

    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    count = 0
    try:
        with (
            devices.reserved(int(arguments.device == "cuda")) as visible,
            tempfile.TemporaryDirectory(prefix="search-", dir=output.parent) as folder,
            partial.open("w", encoding="utf-8") as lines,
        ):
            plan = measuring.Plan(
                run=arguments.run,
                queries=measuring.read_queries(arguments.queries, arguments.qrels),
                **_chosen(arguments.search, "--search", "k", "batch_size", "repeats"),
                threads=arguments.threads,
                device=arguments.device,
                limits=supervised.Limits(
                    **_chosen(
                        arguments.measurement,
                        "--measurement",
                        *("sample_interval_seconds", "timeout_seconds", "memory_limit_mib"),
                    )
                ),
                worker=Path(__file__).resolve().with_name("search_worker.py"),
                checkpoint=arguments.checkpoint,
                collection=arguments.collection,
                extensions=arguments.extensions,
                visible_devices=visible,
            )
            for record in measuring.measure(plan, Path(folder)):
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _chosen(values: Any, argument: str, *names: str) -> dict[str, Any]:
    try:
        return {name: values[name] for name in names}
    except (KeyError, TypeError):
        raise InputError(
            f"{argument}: {json.dumps(values)} lacks one of {', '.join(names)}; add it"
        ) from None


if __name__ == "__main__":
    main()

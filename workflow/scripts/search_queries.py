"""Search a run's index with ColBERT and write, for each query, the documents it found and their scores.

The first line of the output says how it went, the others are query_id, rank, document_id and score. A run that
did not complete, an environment that could not be built (INDEXSCOPE_UNAVAILABLE says why) and a ColBERT that
fails are results too: then there is the first line alone.

Runs in a torch environment. ColBERT searches in a process of its own, whose death is seen here.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from indexscope.run_record import COMPLETED, FORMAT, InputError, RunIdentity, read_run_record

UNAVAILABLE = "INDEXSCOPE_UNAVAILABLE"
SETTINGS = ("k", "ncells", "centroid_score_threshold", "ndocs")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_OWN_FAULT = 1  # exit code of an uncaught exception


class ColbertFailed(Exception):
    """ColBERT, or what it needs, failed."""


def main() -> None:
    """Parse the command line, search in a process of its own, write what it found or why it did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, type=pathlib.Path, help="run directory with index/")
    parser.add_argument("--collection", required=True, type=pathlib.Path, help="the slice that was indexed")
    parser.add_argument("--checkpoint", required=True, type=pathlib.Path, help="folder of the checkpoint")
    parser.add_argument(
        "--extensions", required=True, type=pathlib.Path, help="what compile_extensions.py compiled"
    )
    parser.add_argument(
        "--queries", required=True, type=pathlib.Path, help="folder that make_queries.py wrote"
    )
    parser.add_argument(
        "--search", required=True, metavar="JSON", help=f"{', '.join(SETTINGS)}, inline or a file"
    )
    parser.add_argument("--threads", required=True, type=int, help="threads of ColBERT")
    parser.add_argument("--device", required=True, choices=["cpu", "cuda"])
    parser.add_argument("--output", required=True, type=pathlib.Path, help="JSON lines to write")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.in_this_process:
            _search_and_write(arguments)
        else:
            print(f"{arguments.output}: {_supervise(arguments)}")
    except (InputError, OSError) as error:
        sys.exit(str(error))


def _supervise(arguments: argparse.Namespace) -> str:
    """Write the output; returns the outcome."""
    partial = _partial(arguments.output)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        header = _without_search(arguments) or _in_process_of_its_own(arguments)
        if header is not None:
            partial.write_text(_line(header), encoding="utf-8")
        with partial.open(encoding="utf-8") as lines:
            outcome: str = json.loads(next(lines))["outcome"]
        partial.replace(arguments.output)
    finally:
        partial.unlink(missing_ok=True)
    return outcome


def _without_search(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The first line where there is nothing to search, or nothing to search with."""
    if unavailable := os.environ.get(UNAVAILABLE):
        return _header("unavailable", unavailable, None)
    record = read_run_record(arguments.run / "run.json")
    run = RunIdentity.of(record["run"], arguments.run / "run.json").run
    if record["outcome"] != COMPLETED:
        detail = record.get("outcome_detail")
        return _header(record["outcome"], f"its index was not made{f': {detail}' if detail else ''}", run)
    if not (arguments.run / "index" / "metadata.json").is_file():
        raise InputError(f"{arguments.run}/index is missing; set keep to indexes and run it again")
    _settings(arguments.search)
    for path in (arguments.collection, arguments.queries / "queries.jsonl", arguments.checkpoint):
        if not path.exists():
            raise InputError(f"{path} is missing; make it, or correct its path")
    return None


def _in_process_of_its_own(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Search; the first line where the process died before it could write one."""
    environment = dict(os.environ)
    environment["TORCH_EXTENSIONS_DIR"] = str(arguments.extensions.resolve())
    environment["HF_HUB_OFFLINE"] = "1"
    environment.update(dict.fromkeys(_THREAD_VARIABLES, str(arguments.threads)))
    if arguments.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    # Leave by an exception, so that the process is ended and nothing half-written stays.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    command = [sys.executable, __file__, *sys.argv[1:], "--in-this-process"]
    last_line = ""
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last_line = line.strip() or last_line
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return None
    if process.returncode == _OWN_FAULT:
        sys.exit(last_line)
    ending = f"exit code {process.returncode}"
    if process.returncode < 0:
        ending = signal.Signals(-process.returncode).name
    run = _run(arguments)
    return _header("failed", f"the process ended by {ending}; it last said: {last_line[:300]}", run)


def _search_and_write(arguments: argparse.Namespace) -> None:
    """Search in this process and write all lines, or the first alone where ColBERT fails."""
    queries = {line["query_id"]: line["text"] for line in _json_lines(arguments.queries / "queries.jsonl")}
    document_ids = [line["document_id"] for line in _json_lines(arguments.collection)]
    versions = {"version": None, "torch_build": None}
    with _partial(arguments.output).open("w", encoding="utf-8") as output:
        try:
            rows = list(_search(arguments, queries, document_ids, versions))
        except ColbertFailed as error:
            output.write(_line(_header("failed", str(error), _run(arguments), **versions)))
            return
        output.write(_line(_header(COMPLETED, None, _run(arguments), **versions)))
        output.writelines(map(_line, rows))


def _search(
    arguments: argparse.Namespace, queries: dict[str, str], document_ids: list[str], versions: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What ColBERT finds; `versions` is filled in as soon as it is known.

    Raises:
        ColbertFailed: with the type and the first line of what it raised.
        InputError: the index is of another collection.
    """
    try:
        import torch

        versions.update(version=torch.__version__.partition("+")[0], torch_build=torch.__version__)
        torch.set_num_threads(arguments.threads)
        from colbert import Searcher
        from colbert.infra import ColBERTConfig

        settings = _settings(arguments.search)
        k = settings.pop("k")
        searcher = Searcher(
            index="index",
            index_root=str(arguments.run.resolve()),
            # The index names the path that the checkpoint had when it was made.
            checkpoint=str(arguments.checkpoint.resolve()),
            # Kept for callers who want the text of what is found; a search does not read it.
            collection=document_ids,
            config=ColBERTConfig(**settings),
            verbose=1,
        )
        passages = len(searcher.ranker.doclens)
        if passages == len(document_ids):
            found = searcher.search_all(queries, k=k).data
    except (Exception, SystemExit) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ColbertFailed(f"{type(error).__name__}: {lines[0][:300] if lines else ''}") from error
    if passages != len(document_ids):
        raise InputError(
            f"{arguments.run}/index has {passages} passages, {arguments.collection} {len(document_ids)} documents; "
            "give the slice that was indexed"
        )
    for query_id in queries:
        for passage, rank, score in found[query_id]:
            document_id = document_ids[passage]
            yield {"query_id": query_id, "rank": rank, "document_id": document_id, "score": score}


def _settings(argument: str) -> dict[str, Any]:
    inline = argument.lstrip().startswith("{")
    where = "--search" if inline else argument
    try:
        values = json.loads(argument if inline else pathlib.Path(argument).read_text(encoding="utf-8"))
        return {name: values[name] for name in SETTINGS}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{where}: cannot be read as a JSON object ({error}); correct it") from None
    except KeyError as error:
        raise InputError(f"{where}: {error.args[0]} is missing; give {', '.join(SETTINGS)}") from None


def _header(
    outcome: str,
    detail: str | None,
    index_run: str | None,
    version: str | None = None,
    torch_build: str | None = None,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "outcome": outcome,
        "detail": detail,
        "index_run": index_run,
        "version": version,
        "torch_build": torch_build,
    }


def _run(arguments: argparse.Namespace) -> str:
    path = arguments.run / "run.json"
    return RunIdentity.of(read_run_record(path)["run"], path).run


def _json_lines(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _partial(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(output.name + ".partial")


if __name__ == "__main__":
    main()

"""Search an index: the passages of each query, with score, document, file and page.

INDEX is a run directory, or the folder of any PLAID index of colbert-ai or RAGatouille. A query of - reads queries
from standard input, one a line. The framework that made the index searches it, in the environment in which it was
built, wherever this program is started.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from indexscope import sealing
from indexscope.run_record import InputError
from indexscope.searching import index_folder, libraries, passages, printing
from run_in_environment import command_in

HOME = Path(__file__).resolve().parents[2]
_INSIDE = (
    "INDEXSCOPE_SEARCHES"  # environment variable: this process is in the environment that was looked for
)


def main() -> None:
    """Parse the command line, go to the environment, search, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path, metavar="INDEX", help="run directory, or folder of an index")
    parser.add_argument(
        "queries", nargs="+", metavar="QUERY", help="what to search for; - reads standard input"
    )
    parser.add_argument("-k", type=int, default=5, help="passages for each query (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON object a query, one a line")
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of the encoder, where it is not where the index says"
    )
    parser.add_argument(
        "--collection",
        type=Path,
        help="what was indexed (JSON lines: document_id, text; or .tsv), where the index has no passages beside it",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare all content with the index's seal first, not sizes alone",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--environment", help="name of the environment to search in, of envs/NAME.yaml")
    parser.add_argument(
        "--conda-prefix", type=Path, help="folder of Snakemake's environments (default: .snakemake/conda)"
    )
    parser.add_argument("--verbose", action="store_true", help="show what the framework prints")
    arguments = parser.parse_args()
    try:
        index = _checked(arguments)
        if not os.environ.get(_INSIDE):
            _go_inside(arguments, index)
        queries = list(_queries(arguments.queries))
        for answer in _answers(arguments, index, queries):
            print(json.dumps(answer, ensure_ascii=False) if arguments.json else printing.readable(answer))
    except (InputError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _checked(arguments: argparse.Namespace) -> index_folder.IndexFolder:
    """The index, when what is asked for can be answered.

    Raises:
        InputError: it cannot.
    """
    index = index_folder.locate(arguments.index)
    if arguments.k < 1:
        raise InputError(f"-k: {arguments.k} is not a positive number of passages; give 1 or more")
    if arguments.k > index.passages:
        raise InputError(
            f"-k: {arguments.k} is more than the {index.passages} passages of {index.path}; give fewer"
        )
    if any(not query.strip() for query in arguments.queries):
        raise InputError("QUERY: an empty query finds nothing; give some words")
    seal = sealing.beside(index.path)
    if seal.is_file():
        sealing.check(index.path, seal, contents=arguments.verify)
    elif arguments.verify:
        raise InputError(f"--verify: {seal} is missing; seal the index first: seal_index.py write")
    index_folder.encoder(index, arguments.checkpoint)
    if not index.has_passages:
        passages.where_else(index, arguments.collection)
    return index


def _queries(given: Sequence[str]) -> Iterator[str]:
    count = 0
    for query in given:
        lines = sys.stdin if query == "-" else [query]
        for line in lines:
            if line.strip():
                yield line.strip()
                count += 1
    if not count:
        raise InputError("standard input has no query; give one a line")


def _answers(
    arguments: argparse.Namespace, index: index_folder.IndexFolder, queries: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Of each query what was found, best first."""
    collection = passages.read(index, arguments.collection)
    checkpoint = index_folder.encoder(index, arguments.checkpoint)
    try:
        with libraries.shown() if arguments.verbose else libraries.quiet():
            searcher = libraries.load(index, checkpoint, collection.texts)
            found = libraries.search(searcher, queries, arguments.k)
    except ImportError as error:
        raise InputError(
            f"{sys.executable} cannot load {index.framework} ({error}); see --environment"
        ) from None
    for query, of_query in zip(queries, found, strict=True):
        results = [
            {
                "rank": rank,
                "score": each.score,
                "document_id": collection.document_ids[each.passage],
                **collection.source(each.passage)._asdict(),
                "passage_id": each.passage,
                "passage": collection.texts[each.passage],
            }
            for rank, each in enumerate(of_query, 1)
        ]
        yield {"query": query, "results": results}


def _go_inside(arguments: argparse.Namespace, index: index_folder.IndexFolder) -> None:
    """Start this program anew in the environment of the index; returns where this Python can search it already.

    Raises:
        InputError: the environment is not built.
    """
    device = arguments.device if arguments.device != "auto" else _device()
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    names = _environments(arguments, index)
    prefix, name = _built(names, arguments.conda_prefix)
    if prefix is None:
        if arguments.environment is None and importlib.util.find_spec(index.framework) is not None:
            return  # an environment of the user's own
        raise InputError(
            f"{index.path} is searched in the environment {names[0]}, which is not built here; build it: "
            f"uv run snakemake --conda-create-envs-only --cores 1 {_first_target(names[0])}"
        )
    _note_other_lock(index, name)
    arguments_inside = [str(Path(__file__).resolve()), *sys.argv[1:]]
    os.environ["TORCH_EXTENSIONS_DIR"] = str(_extensions(index, prefix, name, device))
    os.environ[_INSIDE] = "1"
    command = command_in(prefix, arguments_inside)
    sys.stdout.flush()
    os.execvp(command[0], command)


def _environments(arguments: argparse.Namespace, index: index_folder.IndexFolder) -> list[str]:
    """Names of environments that can search the index, the one that made it first."""
    if arguments.environment is not None:
        return [arguments.environment]
    if index.run is not None:
        return [str(index.run["run"].get("environment"))]
    return (
        [index_folder.RAGATOUILLE]
        if index.framework == index_folder.RAGATOUILLE
        else ["colbert", "ragatouille"]
    )


def _built(names: Sequence[str], folder: Path | None) -> tuple[Path | None, str]:
    """Prefix and name of the first of these environments that is built."""
    from indexscope import environments

    folders = [folder] if folder else [Path(".snakemake/conda"), HOME / ".snakemake" / "conda"]
    for name in names:
        lock = HOME / "envs" / f"{name}.yaml"
        if not lock.is_file():
            raise InputError(
                f"{name}: there is no environment of that name (envs/{name}.yaml); see --environment"
            )
        for each in folders:
            if prefix := environments.built(lock, each):
                return prefix.resolve(), name
    return None, names[0]


def _first_target(environment: str) -> str:
    """What Snakemake makes first of all that needs an environment."""
    from indexscope import environments

    lock = environments.lock_digest(HOME / "envs" / f"{environment}.yaml")
    return f"results/extensions/plaid_search-{environment}-{lock}-{_device()}/manifest.json"


def _note_other_lock(index: index_folder.IndexFolder, environment: str) -> None:
    from indexscope import environments

    made_with = index.run and index.run.get("lock_digest")
    now = environments.lock_digest(HOME / "envs" / f"{environment}.yaml")
    if made_with and made_with != now:
        print(
            f"note: {index.path} was made with lock {made_with} of {environment}; it is searched with {now}",
            file=sys.stderr,
        )


def _device() -> str:
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    )
    return "cuda" if listing and listing.stdout.strip() else "cpu"


def _extensions(index: index_folder.IndexFolder, prefix: Path, environment: str, device: str) -> Path:
    """The folder of the compiled extensions that a search needs; compiled now where they are not there.

    Raises:
        InputError: they cannot be compiled.
    """
    from indexscope import environments

    lock = environments.lock_digest(HOME / "envs" / f"{environment}.yaml")
    name = f"plaid_search-{environment}-{lock}-{device}"
    above = [folder for folder in index.path.resolve().parents if (folder / "extensions").is_dir()]
    candidates = [folder / "extensions" / name for folder in [Path("results"), *above, HOME / "results"]]
    for folder in candidates:
        if (folder / "manifest.json").is_file():
            return folder.resolve()
    folder = HOME / "results" / "extensions" / name
    print(
        f"The first search compiles ColBERT's extensions to {folder}; this takes a minute or more.",
        file=sys.stderr,
        flush=True,
    )
    program = [str(HOME / "workflow" / "scripts" / "compile_extensions.py"), "--of", "plaid_search"]
    path = os.environ.get("PATH", "")
    try:
        command = command_in(
            prefix, [*program, "--device", device, "--output", str(folder / "manifest.json")]
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        os.environ["PATH"] = path
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise InputError(f"{folder} cannot be compiled: {lines[-1]}")
    return folder


if __name__ == "__main__":
    main()

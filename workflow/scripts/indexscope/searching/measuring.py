"""How an index is searched: fresh processes that load it and ask queries, and the plain libraries beside them.

What comes out are records, one a line: `search` (a process), `result` (a passage that was found), `load` (a library).
A process that dies is a record with its outcome.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexscope import sealing
from indexscope.measure import extension_locks, supervised
from indexscope.run_record import COMPLETED, InputError, RunIdentity, read_run_record

from . import index_folder, libraries, passages, plain

SINGLE, BATCH = "single", "batch"
NO_INDEX = "its index was not made"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
# RAGatouille 0.0.9 gives each query this many tokens, or 1.35 a word of the longest (models/index.py, search).
_QUERY_TOKENS = 32
_CLOSE = 1e-3  # of a score: sums of another order differ by less

Record = dict[str, Any]
Ranked = list[list[libraries.Found]]  # of each query


@dataclass(frozen=True)
class Queries:
    """What is asked, by query identifier, and which documents are relevant to each."""

    texts: dict[str, str]
    relevant: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is measured, and where."""

    run: Path
    queries: Queries
    k: int
    batch_size: int
    repeats: int
    threads: int
    device: str
    limits: supervised.Limits
    worker: Path  # the program of a measured process
    checkpoint: Path | None = None  # default: as the index names it
    collection: Path | None = None  # for an index that has no passages beside it
    extensions: Path | None = None
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES


def read_queries(queries: Path, qrels: Path | None) -> Queries:
    """Read what make_queries.py wrote.

    Raises:
        InputError: there is no query, or a line is none.
    """
    texts = {row["query_id"]: row["text"] for row in _json_lines(queries, ("query_id", "text"))}
    if not texts:
        raise InputError(f"{queries} has no query; run make_queries.py again")
    relevant: dict[str, set[str]] = {}
    for row in _json_lines(qrels, ("query_id", "document_id", "relevance")) if qrels else []:
        if row["relevance"] > 0:
            relevant.setdefault(row["query_id"], set()).add(row["document_id"])
    return Queries(texts, relevant)


def measure(plan: Plan, folder: Path) -> Iterator[Record]:
    """The records of an index; `folder` is for files that last as long as this.

    Modes take turns, repeat by repeat: what changes on the machine meanwhile befalls each.

    Raises:
        InputError: what is asked for is not there, or is not what was sealed.
    """
    record_path = plan.run / "run.json"
    record = read_run_record(record_path)
    identity = RunIdentity.of(record["run"], record_path)
    columns = {"system": identity.system, "run": identity.run}
    if record["outcome"] != COMPLETED:
        yield from _without_index(plan, columns, record)
        return
    index = index_folder.locate(plan.run)
    if sealing.beside(index.path).is_file():
        sealing.check(index.path, sealing.beside(index.path), contents=False)
    checkpoint = index_folder.encoder(index, plan.checkpoint)
    collection = passages.read(index, plan.collection)
    asked: Ranked | None = None
    for repeat in range(1, plan.repeats + 1):
        for mode in (SINGLE, BATCH):
            row, found = _search(plan, index, checkpoint, collection, mode, repeat, folder)
            if found is not None:
                asked = asked or found
                row["outcome_detail"] = _difference(found, asked, _reason(plan, index, mode))
            row["lock_digest"] = record.get("lock_digest")
            yield {"kind": "search", **columns, **row}
    if asked is not None:
        yield from _results(plan, collection, asked, identity.system)
    for library in plain.LIBRARIES:
        loaded = _load(plan, index, collection, library, asked, folder)
        yield {"kind": "load", "system": identity.system, **loaded}


def digest(found: Ranked) -> str:
    """Of the ranked passages; scores do not count."""
    ranked = [[passage for passage, _ in of_query] for of_query in found]
    return hashlib.sha256(json.dumps(ranked).encode()).hexdigest()[:16]


def found_in_k(queries: Queries, document_ids: Sequence[Sequence[str]]) -> float | None:
    """Share of queries with a relevant document of which one is found; None where no query has any.

    Args:
        document_ids: of each query, in their order, what was found.
    """
    hits = [
        not relevant.isdisjoint(found)
        for query, found in zip(queries.texts, document_ids, strict=True)
        if (relevant := queries.relevant.get(query))
    ]
    return sum(hits) / len(hits) if hits else None


def _without_index(plan: Plan, columns: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Record]:
    """What stands for the measures of a run that did not complete."""
    detail = record.get("outcome_detail")
    reason = f"{NO_INDEX}: {detail}" if detail else NO_INDEX
    for mode in (SINGLE, BATCH):
        row = _row(plan, mode, 1)
        yield {"kind": "search", **columns, **row, "outcome": record["outcome"], "outcome_detail": reason}
    for library in plain.LIBRARIES:
        yield {"kind": "load", "system": columns["system"], **_loaded(library, False, None, reason)}


def _row(plan: Plan, mode: str, repeat: int) -> Record:
    return {
        "mode": mode,
        "batch_size": plan.batch_size if mode == BATCH else 1,
        "repeat": repeat,
        "queries": len(plan.queries.texts),
        "k": plan.k,
        "device": plan.device,
        "threads": plan.threads,
    }


def _search(
    plan: Plan,
    index: index_folder.IndexFolder,
    checkpoint: str,
    collection: passages.Passages,
    mode: str,
    repeat: int,
    folder: Path,
) -> tuple[Record, Ranked | None]:
    """The record of one process, and what it found where it completed."""
    row = _row(plan, mode, repeat)
    output, specification = folder / "found.json", folder / "specification.json"
    output.unlink(missing_ok=True)
    given = {
        "index": str(index.path.resolve()),
        "collection": str(plan.collection.resolve()) if plan.collection else None,
        "checkpoint": checkpoint,
        "queries": list(plan.queries.texts.values()),
        "k": plan.k,
        "batch_size": plan.batch_size if mode == BATCH else None,
        "threads": plan.threads,
        "output": str(output),
    }
    specification.write_text(json.dumps(given), encoding="utf-8")
    command = [sys.executable, str(plan.worker), str(specification)]
    done = supervised.run(command, str(folder / "printed.log"), plan.limits, _environment(plan))
    row.update(
        outcome=done.outcome,
        outcome_detail=done.outcome_detail,
        started_at=done.started_at,
        peak_rss_mib=done.tree_peak_rss_mib,
        index_size_mib=round(index.bytes / 2**20, 3),
    )
    if done.outcome != COMPLETED:
        return row, None
    made = json.loads(output.read_text(encoding="utf-8"))
    found = [[libraries.Found(*each) for each in of_query] for of_query in made.pop("found")]
    ids = [[collection.document_ids[each.passage] for each in of_query] for of_query in found]
    row.update(made, results_digest=digest(found), found_in_k=found_in_k(plan.queries, ids))
    return row, found


def _results(plan: Plan, collection: passages.Passages, found: Ranked, system: str) -> Iterator[Record]:
    for (query_id, query), of_query in zip(plan.queries.texts.items(), found, strict=True):
        relevant = plan.queries.relevant.get(query_id)
        for rank, (passage, score) in enumerate(of_query, 1):
            document_id = collection.document_ids[passage]
            yield {
                "kind": "result",
                "system": system,
                "query_id": query_id,
                "query": query,
                "rank": rank,
                "score": score,
                "document_id": document_id,
                **collection.source(passage)._asdict(),
                "passage_id": passage,
                "passage": collection.texts[passage],
                "relevant": None if relevant is None else document_id in relevant,
            }


def _load(
    plan: Plan,
    index: index_folder.IndexFolder,
    collection: passages.Passages,
    library: str,
    measured: Ranked | None,
    folder: Path,
) -> Record:
    """Whether a library loads the index, and finds what was measured."""
    texts, queries, output = (folder / f"plain_{name}.json" for name in ("texts", "queries", "found"))
    texts.write_text(json.dumps(list(collection.texts)), encoding="utf-8")
    queries.write_text(json.dumps(list(plan.queries.texts.values())), encoding="utf-8")
    output.unlink(missing_ok=True)
    tried = plain.plain(library, index.framework, index.passages, plan.k)
    arguments = [index.path.resolve(), texts, queries, plan.k, json.dumps(tried.effort), output]
    command = [sys.executable, "-c", tried.program, *map(str, arguments)]
    done = supervised.run(command, str(folder / "printed.log"), plan.limits, _environment(plan))
    if done.outcome != COMPLETED:
        return _loaded(library, False, None, f"{tried.call}: {done.outcome}: {done.outcome_detail}")
    found = [
        [libraries.Found(*each) for each in of_query]
        for of_query in json.loads(output.read_text(encoding="utf-8"))
    ]
    if measured is None:
        return _loaded(library, True, None, tried.call)
    difference = _difference(found, measured)
    return _loaded(
        library, True, difference is None, f"{tried.call}: {difference}" if difference else tried.call
    )


def _loaded(library: str, loads: bool, same: bool | None, detail: str) -> Record:
    name = libraries.distribution(library)
    try:
        version: str | None = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return {"library": name, "version": version, "loads": loads, "same_results": same, "detail": detail}


def _reason(plan: Plan, index: index_folder.IndexFolder, mode: str) -> str:
    """Why a batch may find something else than its queries do singly, where that is known."""
    longest = max(int(1.35 * len(query.split(" "))) for query in plan.queries.texts.values())
    if mode == BATCH and index.framework == index_folder.RAGATOUILLE and longest > _QUERY_TOKENS:
        return "RAGatouille fills all queries of a batch up to its longest with mask tokens, which count"
    return ""


def _difference(found: Ranked, expected: Ranked, reason: str = "") -> str | None:
    """A sentence where other passages, or the same in another order or with other scores, are found; else None."""
    other = [
        (mine, theirs)
        for mine, theirs in zip(found, expected, strict=True)
        if [each.passage for each in mine] != [each.passage for each in theirs]
    ]
    distances = [
        abs(each.score - by_passage[each.passage])
        for mine, theirs in zip(found, expected, strict=True)
        for by_passage in [dict(theirs)]
        for each in mine
        if each.passage in by_passage
    ]
    largest = max(distances, default=0.0)
    if other:
        sets = sum(
            {each.passage for each in mine} != {each.passage for each in theirs} for mine, theirs in other
        )
        because = f" ({reason})" if reason else ""
        return (
            f"{len(other)} of {len(found)} queries are ranked otherwise than when asked singly, {sets} of them with "
            f"other passages; scores of the same passage differ by at most {largest:.2g}{because}"
        )
    if largest <= _CLOSE:
        return None
    return f"scores differ by up to {largest:.2g} from those when asked singly" + (
        f" ({reason})" if reason else ""
    )


def _environment(plan: Plan) -> dict[str, str]:
    """What a measured process is given; the network is not asked for a checkpoint that is here."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **dict.fromkeys(_THREAD_VARIABLES, str(plan.threads))}
    if plan.extensions is not None:
        extension_locks.clear(str(plan.extensions))
        environment["TORCH_EXTENSIONS_DIR"] = str(plan.extensions.resolve())
    if plan.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif plan.visible_devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = plan.visible_devices
    return environment


def _json_lines(path: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                row = json.loads(line)
                yield {name: row[name] for name in names}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); run make_queries.py") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: line {number} has no {', '.join(names)}; run make_queries.py again"
        ) from None

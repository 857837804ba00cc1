"""Queries of a slice and which of its documents are relevant: known items, the hub's, or files of this machine."""

from __future__ import annotations

import gzip
import hashlib
import heapq
import json
import random
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.corpora.manifests import CONTENT, MANIFEST, sha256_of, write_manifest
from indexscope.run_record import FORMAT, InputError, read_json_object
from indexscope.settings.files import matching_files
from indexscope.settings.torch_versions import FileQueries, HubQueries, KnownItemQueries

QUERIES, QRELS = "queries.jsonl", "qrels.jsonl"

_MARKUP = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>|&#?\w+;", re.DOTALL)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_BATCH_ROWS = 1024


class Query(NamedTuple):
    """A query: its identifier, unique and not empty, and its text, which is not empty."""

    query_id: str
    text: str


class Judgement(NamedTuple):
    """How relevant a document is to a query; 1 and more is relevant, as in TREC."""

    query_id: str
    document_id: str
    relevance: int


@dataclass
class QuerySet:
    """Queries, each with a relevant document in the slice, their judgements, and counts for the manifest."""

    queries: list[Query]
    judgements: list[Judgement]
    counts: dict[str, int] = field(default_factory=dict)


class _Row(NamedTuple):
    """Values of a row, and where they are, such as `FILE: line 3`."""

    where: str
    values: tuple[Any, ...]


def fetch_queries(
    settings: HubQueries, folder: Path, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Download queries and judgements to `folder`/content; write `folder`/manifest.json last, and return it.

    What an earlier attempt has downloaded is kept and not fetched again.

    Raises:
        InputError: they cannot be had; the sentence says what to do. No manifest is written.
    """
    from indexscope.corpora import hub

    repository = hub.Repository("dataset", settings.repository, settings.revision)
    commit = repository.resolve()
    card = repository.read_text(commit, "README.md")
    listed = {file.path: file for file in repository.files(commit)}
    files: dict[str, list[str]] = {}
    for key, config in (("queries", settings.queries_config), ("qrels", settings.qrels_config)):
        try:
            patterns = hub.files_of_split(card, config, settings.split)
        except ValueError as error:
            raise InputError(f"{repository}: {error}; correct {key}_config or split") from None
        files[key] = hub.matching(list(listed), patterns)
        if not files[key]:
            raise InputError(
                f"{repository}: no file matches {', '.join(patterns)}; correct {key}_config or split"
            )
    content = folder / CONTENT
    paths = list(dict.fromkeys(chain.from_iterable(files.values())))
    for number, path in enumerate(paths, start=1):
        report(f"{number} of {len(paths)} files: {path}")
        repository.download(commit, listed[path], content)
    facts = {"requested": settings.fetched(), "commit": commit, **files}
    return write_manifest(folder / MANIFEST, facts, content, paths)


def make_queries(
    settings: KnownItemQueries | HubQueries | FileQueries, collection: Path, dataset: Path | None = None
) -> QuerySet:
    """The queries that `settings` describe for the slice `collection` (JSON lines: document_id, text).

    The slice is read as a stream; what is held is queries, judgements and the identifiers in them. `dataset` is
    the folder that fetch_queries.py has made, for source hub.

    Raises:
        InputError: a file is missing or has a wrong row, or no query has a relevant document in the slice.
    """
    if isinstance(settings, KnownItemQueries):
        made = _known_items(settings, collection)
        if not made.queries:
            raise InputError(
                f"{collection}: no document has {settings.words} different words; lower queries.words"
            )
        return made
    queries, judgements = (
        _from_hub(settings, dataset) if isinstance(settings, HubQueries) else _read(settings)
    )
    found = _of_slice(_queries(queries), _judgements(judgements), collection)
    if not found.queries:
        raise InputError(
            f"{collection}: none of {found.counts['queries_read']} queries has a relevant document in it; index "
            "more documents, or take queries of this corpus"
        )
    return found


def write_queries(made: QuerySet, requested: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write queries.jsonl, qrels.jsonl and, last, manifest.json to `folder`; return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, rows in ((QUERIES, made.queries), (QRELS, made.judgements)):
        partial = folder / f"{name}.partial"
        with partial.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
        partial.replace(folder / name)
    manifest = {
        "format": FORMAT,
        "requested": requested,
        "queries": len(made.queries),
        "judgements": len(made.judgements),
        **made.counts,
        "sha256": {name: sha256_of(folder / name) for name in (QUERIES, QRELS)},
    }
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)
    return manifest


def read_qrels(path: Path) -> list[Judgement]:
    """Read the judgements that `write_queries` wrote.

    Raises:
        InputError: the file is missing, has a wrong line, or no judgement.
    """
    judgements = []
    for where, record in _json_lines(path, "run make_queries.py"):
        try:
            judgement = Judgement(record["query_id"], record["document_id"], record["relevance"])
        except KeyError as error:
            raise InputError(f"{where} has no {error.args[0]}; run make_queries.py again") from None
        judgements.append(judgement)
    if not judgements:
        raise InputError(f"{path} has no judgement; run make_queries.py again")
    return judgements


def _known_items(settings: KnownItemQueries, collection: Path) -> QuerySet:
    """Words of the documents whose seeded hashes are the smallest: a random choice, in one pass.

    The hash of a document depends on the seed and its identifier, so the same documents are chosen in every
    process, and memory is that of the queries.
    """
    chosen: list[tuple[int, int, str, str]] = []  # a heap: negated hash, position, document_id, query
    documents = without_words = 0
    for position, (document_id, text) in enumerate(_slice(collection)):
        documents += 1
        words = distinct_words(text)
        if len(words) < settings.words:
            without_words += 1
            continue
        digest = hashlib.sha256(f"{settings.seed}:{document_id}".encode()).digest()
        rank = -int.from_bytes(digest[:8], "big")
        if len(chosen) == settings.queries and rank < chosen[0][0]:
            continue
        drawn = random.Random(f"{settings.seed}:{document_id}").sample(words, settings.words)
        entry = (rank, position, document_id, " ".join(drawn))
        if len(chosen) < settings.queries:
            heapq.heappush(chosen, entry)
        else:
            heapq.heappushpop(chosen, entry)
    queries, judgements = [], []
    for _, _, document_id, text in sorted(chosen, key=lambda entry: entry[1]):
        queries.append(Query(f"known-{document_id}", text))
        judgements.append(Judgement(f"known-{document_id}", document_id, 1))
    counts = {"documents": documents, "documents_with_too_few_words": without_words}
    return QuerySet(queries, judgements, counts)


def distinct_words(text: str) -> list[str]:
    """The words of a text without its HTML or XML markup, each once, whatever its case, in their order."""
    words: dict[str, str] = {}
    for word in _WORD.findall(_MARKUP.sub(" ", text)):
        words.setdefault(word.casefold(), word)
    return list(words.values())


def _of_slice(
    queries: dict[str, Query], judgements: dict[tuple[str, str], Judgement], collection: Path
) -> QuerySet:
    """What of them concerns the slice, and how much does not.

    Left out are judgements of documents that the slice lacks, and then queries without a relevant document.
    """
    judged = {document_id for _, document_id in judgements}
    documents, present = 0, set()
    for document_id, _ in _slice(collection):
        documents += 1
        if document_id in judged:
            present.add(document_id)
    of_queries = [judgement for judgement in judgements.values() if judgement.query_id in queries]
    of_slice = [judgement for judgement in of_queries if judgement.document_id in present]
    answered = {judgement.query_id for judgement in of_slice if judgement.relevance > 0}
    kept = [query for query in queries.values() if query.query_id in answered]
    counts = {
        "documents": documents,
        "queries_read": len(queries),
        "judgements_read": len(judgements),
        "judgements_without_their_query": len(judgements) - len(of_queries),
        "judgements_of_documents_not_in_slice": len(of_queries) - len(of_slice),
        "queries_without_relevant_document_in_slice": len(queries) - len(kept),
    }
    return QuerySet(kept, [judgement for judgement in of_slice if judgement.query_id in answered], counts)


def _queries(rows: Iterable[_Row]) -> dict[str, Query]:
    """By identifier, in their order."""
    queries: dict[str, Query] = {}
    for where, (identifier, text) in rows:
        query_id = _identifier(where, "query identifier", identifier)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: query {query_id!r} has no text; correct it")
        if query_id in queries:
            raise InputError(f"{where}: query {query_id!r} is there twice; give each query once")
        queries[query_id] = Query(query_id, text)
    return queries


def _judgements(rows: Iterable[_Row]) -> dict[tuple[str, str], Judgement]:
    """By query and document, in their order; a repeated one must say the same."""
    judgements: dict[tuple[str, str], Judgement] = {}
    for where, (query, document, value) in rows:
        judgement = Judgement(
            _identifier(where, "query identifier", query),
            _identifier(where, "document identifier", document),
            _relevance(where, value),
        )
        earlier = judgements.setdefault(judgement[:2], judgement)
        if earlier != judgement:
            raise InputError(
                f"{where}: document {judgement.document_id!r} has relevance {judgement.relevance} for query "
                f"{judgement.query_id!r}, and {earlier.relevance} before; keep one of them"
            )
    return judgements


def _identifier(where: str, what: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: {value!r:.80} is no {what}; correct it")
    return value


def _relevance(where: str, value: Any) -> int:
    try:
        relevance = int(value)
    except (TypeError, ValueError, OverflowError):
        relevance = None
    if relevance is None or isinstance(value, bool) or (isinstance(value, float) and value != relevance):
        raise InputError(f"{where}: relevance {value!r:.80} is no whole number; correct it")
    return relevance


def _read(settings: FileQueries) -> tuple[Iterator[_Row], Iterator[_Row]]:
    return (
        _fields(matching_files(settings.queries, "queries.queries"), _query_fields),
        _fields(matching_files(settings.qrels, "queries.qrels"), _trec_fields),
    )


def _query_fields(line: str) -> tuple[str, ...]:
    fields = tuple(line.split("\t"))
    if len(fields) != 2:
        raise ValueError(f"has {len(fields)} fields between tabs, not query identifier and text")
    return fields


def _trec_fields(line: str) -> tuple[str, ...]:
    fields = line.split()
    if len(fields) != 4:
        raise ValueError(
            f"has {len(fields)} fields, not query identifier, iteration, document identifier and relevance"
        )
    return fields[0], fields[2], fields[3]


def _fields(files: Iterable[Path], split: Callable[[str], tuple[str, ...]]) -> Iterator[_Row]:
    for file in files:
        for where, line in _lines(file):
            try:
                yield _Row(where, split(line))
            except ValueError as error:
                raise InputError(f"{where} {error}; correct it") from None


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file, plain or gzip, that are not empty, without their ends."""
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield f"{file}: line {number}", text
    except UnicodeDecodeError:
        raise InputError(f"{file}: line {number} is not valid UTF-8; convert the file to UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{file}: is damaged after line {number} ({error}); get the file again") from None


def _from_hub(settings: HubQueries, dataset: Path | None) -> tuple[Iterator[_Row], Iterator[_Row]]:
    if dataset is None:
        raise InputError("--dataset: is needed for source hub; run fetch_queries.py and name its --output")
    again = f"remove {dataset} and run fetch_queries.py"
    manifest = read_json_object(dataset / MANIFEST, remedy="run fetch_queries.py")
    for file in manifest["files"]:
        path = dataset / CONTENT / file["path"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            problem = "has changed" if path.is_file() else "is missing"
            raise InputError(f"{path}: {problem} since it was fetched; {again}")

    def rows(name: str, *keys: str) -> Iterator[_Row]:
        columns = {key: getattr(settings, key) for key in keys}
        return chain.from_iterable(
            _parquet_rows(dataset / CONTENT / path, columns) for path in manifest[name]
        )

    return (
        rows("queries", "query_id_column", "text_column"),
        rows("qrels", "qrels_query_column", "qrels_document_column", "qrels_score_column"),
    )


def _parquet_rows(file: Path, columns: dict[str, str]) -> Iterator[_Row]:
    """The values of `columns` (configuration key → name) of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            for key, name in columns.items():
                if name not in names:
                    raise InputError(
                        f"{file}: has no column {name!r}, only {', '.join(map(repr, names))}; correct {key}"
                    )
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(columns.values())):
                for values in zip(
                    *(batch.column(name).to_pylist() for name in columns.values()), strict=True
                ):
                    number += 1
                    yield _Row(f"{file}: row {number}", values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = "is no Parquet file, or cut off" if number == 0 else f"is damaged after row {number}"
        raise InputError(f"{file}: {problem} ({' '.join(str(error).split())}); get the file again") from None


def _slice(collection: Path) -> Iterator[tuple[str, str]]:
    for where, record in _json_lines(collection, "run slice_dataset.py"):
        try:
            yield record["document_id"], record["text"]
        except KeyError as error:
            raise InputError(f"{where} has no {error.args[0]}; run slice_dataset.py again") from None


def _json_lines(path: Path, remedy: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with ExitStack() as stack:
        try:
            lines = stack.enter_context(path.open(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
        for number, line in enumerate(lines, start=1):
            where = f"{path}: line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{where} is not JSON ({error.msg}); {remedy} again") from None
            if not isinstance(record, dict):
                raise InputError(f"{where} is not a JSON object; {remedy} again")
            yield where, record

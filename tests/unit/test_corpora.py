"""The synthetic corpus and its slices: reproducible, shaped like the published one; refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import statistics
import string
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from indexscope.config import settings_from_json
from indexscope.corpora import slicing
from indexscope.corpora.catalog import open_corpus
from indexscope.corpora.lexicon import TERM_COUNT, general_words, terms, word_pieces
from indexscope.corpora.slicing import SLICE_SCHEMA, write_slice
from indexscope.corpora.source import Document
from indexscope.corpora.synthetic import BLOCK_DOCUMENTS, GROWTH_STARTS_AT, SyntheticCorpus
from indexscope.run_record import InputError
from indexscope.settings.corpora import Corpus, SyntheticCorpusSettings

PROGRAM = Path(__file__).parents[2] / "workflow" / "scripts" / "slice_dataset.py"
# When this changes, raise SyntheticCorpusSettings.generation: old slices are then not taken for new ones.
# SHA-256 of the JSON lines of the first 1,500 documents with the default settings (a block and a half).
FIRST_1500_DOCUMENTS = "c8ddd9afb80f826023cb2bd9900dcc734b55fc481406ca5c0141f2c4632c6313"


@dataclasses.dataclass
class ListedCorpus:
    """A corpus of given documents."""

    listed: list[Document]

    def documents(self, count: int) -> Iterator[Document]:
        return iter(self.listed[:count])

    def where(self, position: int) -> str:
        return f"listed: item {position}"

    def describe(self) -> str:
        return "listed corpus"


def numbered(count: int) -> list[Document]:
    return [Document(f"d{index}", f"text {index}") for index in range(count)]


def word_piece_counts(texts: Iterable[str], doc_maxlen: int = 256) -> list[int]:
    """Embeddings that ColBERT keeps of a passage: [CLS], [D], pieces up to doc_maxlen, [SEP], no punctuation.

    A plain greedy longest-match-first WordPiece, to check the vocabulary without the tokenizers library.
    """
    vocabulary = set(word_pieces())
    pieces_of: dict[str, int] = {}

    def count_pieces(word: str) -> int:
        start = count = 0
        while start < len(word):
            end = next(
                end
                for end in range(len(word), start, -1)
                if ("##" if start else "") + word[start:end] in vocabulary
            )
            start, count = end, count + 1
        return count

    counts = []
    for text in texts:
        spaced = "".join(
            f" {character} " if character in string.punctuation else character for character in text
        )
        room, kept = doc_maxlen - 3, 0
        for word in spaced.lower().split():
            if word not in pieces_of:
                pieces_of[word] = count_pieces(word)
            fitting = min(pieces_of[word], room)
            room -= fitting
            kept += 0 if word in string.punctuation else fitting
        counts.append(kept + 3)
    return counts


def test_first_documents_are_pinned() -> None:
    lines = "".join(
        json.dumps(document._asdict(), ensure_ascii=False) + "\n"
        for document in SyntheticCorpus().documents(1500)
    )
    assert hashlib.sha256(lines.encode()).hexdigest() == FIRST_1500_DOCUMENTS


@pytest.mark.parametrize("count", [1, BLOCK_DOCUMENTS - 1, BLOCK_DOCUMENTS, BLOCK_DOCUMENTS + 1])
def test_a_slice_is_the_beginning_of_a_longer_one(count: int) -> None:
    longer = list(SyntheticCorpus().documents(2 * BLOCK_DOCUMENTS + 10))
    assert list(SyntheticCorpus().documents(count)) == longer[:count]


def test_seed_and_settings_change_the_documents() -> None:
    def first(**changes: Any) -> list[str]:
        return [
            document.text for document in SyntheticCorpus(SyntheticCorpusSettings(**changes)).documents(20)
        ]

    assert first() == first(seed=7)
    assert first() != first(seed=8)
    assert first() != first(topics=4)


def test_identifiers_are_unique_and_texts_look_like_text() -> None:
    documents = list(SyntheticCorpus().documents(3000))
    assert len({document.document_id for document in documents}) == 3000
    assert all(
        text[0] == text[0].upper() and text.endswith(".") and "  " not in text for _, text in documents
    )
    assert any("\n" in text for _, text in documents)
    assert any(not text.isascii() for _, text in documents)


@pytest.mark.parametrize("count", [300, 1000, 3000])
def test_token_lengths_follow_the_published_corpus(count: int) -> None:
    """Mean 77.4 embeddings a passage at doc_maxlen 256 (raw ColBERT, 100,000 documents), at every size."""
    texts = [document.text for document in SyntheticCorpus().documents(count)]
    embeddings = word_piece_counts(texts)
    assert statistics.mean(embeddings) == pytest.approx(77.4, abs=1.5)
    assert max(embeddings) <= 256
    words = [len(text.replace("-", " ").split()) for text in texts]
    assert statistics.median(words) == pytest.approx(35.5, abs=1)
    assert max(words) > 20 * statistics.median(words)  # the heavy tail
    untruncated = word_piece_counts(texts, doc_maxlen=10**6)
    assert sum(untruncated) / sum(words) == pytest.approx(1.3, abs=0.1)


def test_documents_grow_after_the_hundred_thousandth() -> None:
    corpus = SyntheticCorpus()
    flat = SyntheticCorpus(SyntheticCorpusSettings(length_growth=0.0))
    late = 2_000_000 // BLOCK_DOCUMENTS
    early = (GROWTH_STARTS_AT // BLOCK_DOCUMENTS) - 1
    assert corpus._block(early) == flat._block(early)
    growth = sum(map(len, corpus._block(late))) / sum(map(len, flat._block(late)))
    assert growth == pytest.approx(20**0.1, abs=0.03)


def test_documents_of_a_topic_share_terms() -> None:
    """Every term of a document belongs to one topic: term index modulo the number of topics."""
    topics = SyntheticCorpusSettings().topics
    topic_of = {term: index % topics for index, term in enumerate(terms())}
    for _, text in SyntheticCorpus().documents(300):
        words = text.lower().translate(str.maketrans(string.punctuation, " " * 32)).split()
        assert len({topic_of[word] for word in words if word in topic_of}) <= 1
    assert len(set(topic_of.values())) == topics


def test_lexicon_is_distinct_and_tokenizable() -> None:
    assert len(set(terms())) == TERM_COUNT
    assert not set(terms()) & set(general_words())
    pieces = word_pieces()
    assert len(set(pieces)) == len(pieces)
    assert set(string.ascii_lowercase + string.digits + string.punctuation) <= set(pieces)
    assert {f"##{letter}" for letter in string.ascii_lowercase + string.digits} <= set(pieces)


def test_slice_holds_the_same_rows_twice(tmp_path: Path) -> None:
    written = write_slice(SyntheticCorpus(), 1500, tmp_path / "made" / "1500.parquet")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["1500.jsonl", "1500.parquet"]
    table = pq.read_table(written.parquet)
    assert table.schema.equals(SLICE_SCHEMA)
    rows = [json.loads(line) for line in written.jsonl.read_text(encoding="utf-8").splitlines()]
    assert rows == table.to_pylist() == [document._asdict() for document in SyntheticCorpus().documents(1500)]
    assert written.documents == 1500
    assert written.parquet_bytes == written.parquet.stat().st_size


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "ROW_GROUP_DOCUMENTS", 4)
    monkeypatch.setattr(slicing, "ROW_GROUP_CHARACTERS", 100)
    documents = [*numbered(5), Document("long", "x" * 200), Document("last", "")]
    written = write_slice(ListedCorpus(documents), 7, tmp_path / "7.parquet")
    metadata = pq.read_metadata(written.parquet)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 2, 1]


def test_text_stays_unicode(tmp_path: Path) -> None:
    documents = [Document("ä", "κB line\nbreak \u2028 “quoted”")]
    written = write_slice(ListedCorpus(documents), 1, tmp_path / "1.parquet")
    assert "κB line\\nbreak" in written.jsonl.read_text(encoding="utf-8")
    with written.jsonl.open(encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == [documents[0]._asdict()]


@pytest.mark.parametrize(
    ("documents", "count", "message"),
    [
        (
            [*numbered(30), Document("d3", "again")],
            31,
            r"^listed: item 30: document_id 'd3' is not unique, listed: item 3 ",
        ),
        (numbered(3), 4, r"^listed corpus: 4 documents were asked for, it has only 3; ask for fewer$"),
        (
            [*numbered(2), Document("", "text")],
            3,
            r"^listed: item 2: the document_id is empty",
        ),
        ([Document("a", "half \ud800 pair")], 1, r"^listed: item 0: document 'a' is not valid Unicode"),
        (numbered(3), 0, r"^--documents: 0 is not a positive number of documents$"),
    ],
)
def test_unusable_corpus_is_refused_and_leaves_nothing(
    tmp_path: Path, documents: list[Document], count: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slicing, "ROW_GROUP_DOCUMENTS", 8)
    with pytest.raises(InputError, match=message):
        write_slice(ListedCorpus(documents), count, tmp_path / "slice.parquet")
    assert list(tmp_path.iterdir()) == []


def test_equal_hashes_alone_are_not_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "hash", len, raising=False)
    assert write_slice(ListedCorpus(numbered(10)), 10, tmp_path / "10.parquet").documents == 10
    with pytest.raises(InputError, match=r"item 3: document_id 'd1' is not unique, listed: item 1 "):
        write_slice(ListedCorpus([*numbered(3), Document("d1", "")]), 4, tmp_path / "4.parquet")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ('{"source": "web"}', "--corpus: source: 'web' is not valid: input should be 'synthetic' or 'files'"),
        ("{}", "--corpus: source: is missing"),
        ('{"source": "files"}', "--corpus: path: is missing"),
        (
            '{"source": "hub", "repository": "a/b", "revision": "c"}',
            "--corpus: give either files, or split",
        ),
        ('{"source": "hub", "repository": "a/b", "split": "test"}', "--corpus: revision: is missing"),
        (
            '{"source": "files", "path": "x.tsv", "columns": ["id"]}',
            "--corpus: columns does not name 'text'",
        ),
        ('{"source": "synthetic", "topic": 3}', "--corpus: topic: there is no such key"),
        ('{"source": "synthetic", "topics": 0}', "--corpus: topics: 0 is not valid: input should be greater"),
        ('{"source": "synthetic", "sigma": 4}', "--corpus: sigma: 4 is not valid: input should be less"),
        ('{"source": "synthetic", "seed": "x"}', "--corpus: seed: 'x' is not valid: input should be a valid"),
        ('{"source": ', "--corpus: invalid JSON"),
        ("missing.json", "missing.json: cannot be read (No such file or directory)"),
    ],
)
def test_wrong_settings_are_one_sentence(argument: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        settings_from_json(Corpus, argument, "--corpus")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_settings_file_is_named_in_messages(tmp_path: Path) -> None:
    file = tmp_path / "corpus.json"
    file.write_text('["synthetic"]')
    with pytest.raises(InputError, match=r"corpus\.json: .* should be an object"):
        settings_from_json(Corpus, str(file), "--corpus")
    file.write_text('{"source": "synthetic", "median_words": 40}')
    settings = settings_from_json(Corpus, str(file), "--corpus")
    assert open_corpus(settings).describe().endswith("median 40 words")


def run_program(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_program_writes_equal_bytes_in_every_process(tmp_path: Path) -> None:
    corpus = '{"source": "synthetic", "seed": 3}'
    for hash_seed in ("1", "2"):
        done = run_program(
            "--corpus",
            corpus,
            "--documents",
            "200",
            "--output",
            tmp_path / hash_seed / "200.parquet",
            hash_seed=hash_seed,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("200 documents of synthetic corpus, seed 3")
    for name in ("200.parquet", "200.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_program_fails_with_one_sentence(tmp_path: Path) -> None:
    done = run_program(
        "--corpus", '{"source": "synthetic"}', "--documents", "5", "--output", tmp_path / "5.csv"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path / '5.csv'}: the name of a slice must end in .parquet\n"
    assert list(tmp_path.iterdir()) == []

"""A seeded synthetic corpus whose passage lengths follow a published one; no download, no limit of size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexscope.corpora.lexicon import TERM_COUNT, general_words, terms
from indexscope.corpora.source import Document
from indexscope.run_record import InputError
from indexscope.settings.corpora import SyntheticCorpusSettings

# Documents are drawn in blocks, each from its own random stream: fast, and independent of how many are asked.
BLOCK_DOCUMENTS = 1024
# The published corpus grows in length from its 100,000th document on (see docs/corpora.md).
GROWTH_STARTS_AT = 100_000
MAX_WORDS = 4_096
SENTENCE_WORDS = (8, 32)  # shortest and longest sentence
# 2**64 divided by the golden ratio: the multiples, modulo 2**64, are spread evenly.
_GOLDEN_STEP = np.uint64(11_400_714_819_323_198_485)
# The stream for the first length quantile; no block has this number.
_LENGTH_STREAM = 2**64 - 1
# What follows a word inside a sentence, and how often.
_INNER = ((" ", 0.905), (", ", 0.07), ("-", 0.02), ("; ", 0.005))
_SENTENCE_END = ((". ", 0.9), (".\n", 0.1))


class SyntheticCorpus:
    """Documents drawn from `settings`; document i depends on the settings and i only.

    A slice of n documents is therefore the beginning of every longer one.
    """

    def __init__(self, settings: SyntheticCorpusSettings | None = None) -> None:
        self.settings = settings or SyntheticCorpusSettings()

    def describe(self) -> str:
        """One line for the report."""
        return (
            f"synthetic corpus, seed {self.settings.seed}, {self.settings.topics} topics, "
            f"median {self.settings.median_words:g} words"
        )

    def where(self, position: int) -> str:
        """The document's number: there is no file."""
        return f"{self.describe()}: document {position}"

    def documents(self, count: int | None) -> Iterator[Document]:
        """The first `count` documents, one block in memory at a time.

        Raises:
            InputError: all are asked for.
        """
        if count is None:
            raise InputError("the synthetic corpus has no end: ask for a number of documents instead of all")
        return self._documents(count)

    def _documents(self, count: int) -> Iterator[Document]:
        for first in range(0, count, BLOCK_DOCUMENTS):
            texts = self._block(first // BLOCK_DOCUMENTS)
            for offset, text in enumerate(texts[: count - first]):
                yield Document(f"synthetic-{first + offset:08d}", text)

    def _block(self, block: int) -> list[str]:
        """The texts of documents [block x BLOCK_DOCUMENTS, (block + 1) x BLOCK_DOCUMENTS)."""
        random = np.random.Generator(_stream(self.settings.seed, block))
        topic = random.integers(self.settings.topics, size=BLOCK_DOCUMENTS)
        lengths = self._lengths(block)
        ends = np.cumsum(lengths)
        total = int(ends[-1])

        rank = np.searchsorted(self._word_cdf, random.random(total), side="right")
        general = len(general_words())
        term = (rank - general) * self.settings.topics + np.repeat(topic, lengths)
        word = np.where(rank < general, rank, general + term)

        separator = _draw(random, [share for _, share in _INNER], total)
        shortest, longest = SENTENCE_WORDS
        sentence_ends = np.cumsum(random.integers(shortest, longest + 1, size=total // shortest + 1))
        sentence_ends = sentence_ends[sentence_ends < total] - 1
        separator[sentence_ends] = len(_INNER) + _draw(
            random, [share for _, share in _SENTENCE_END], len(sentence_ends)
        )
        separator[ends - 1] = len(_INNER) + len(_SENTENCE_END)

        starts = np.concatenate(([0], np.flatnonzero(separator >= len(_INNER))[:-1] + 1))
        word[starts] += len(self._words) // 2  # the capitalised half
        pieces = np.empty(2 * total, dtype=object)
        pieces[0::2] = self._words[word]
        pieces[1::2] = self._separators[separator]
        flat = pieces.tolist()
        return [
            "".join(flat[2 * (end - length) : 2 * end])
            for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]

    def _lengths(self, block: int) -> NDArray[np.int64]:
        """Words of each document of a block.

        Quantiles step by the golden ratio instead of being drawn: every slice, however small, then has the
        length distribution of the whole corpus, and sizes are compared without that sampling noise.
        """
        index = np.arange(block * BLOCK_DOCUMENTS, (block + 1) * BLOCK_DOCUMENTS, dtype=np.uint64)
        quantile = (index * _GOLDEN_STEP + self._length_offset) / 2.0**64
        words = 1 + np.searchsorted(self._length_cdf, quantile, side="right")
        growth = np.maximum(index / GROWTH_STARTS_AT, 1.0) ** self.settings.length_growth
        return np.minimum(np.rint(words * growth), MAX_WORDS).astype(np.int64)

    @cached_property
    def _length_offset(self) -> np.uint64:
        return np.uint64(_stream(self.settings.seed, _LENGTH_STREAM).random_raw())

    @cached_property
    def _length_cdf(self) -> NDArray[np.float64]:
        """P(words <= n) of the log-normal law for n = 1 … MAX_WORDS, cut off at MAX_WORDS."""
        mean, sigma = math.log(self.settings.median_words), max(self.settings.sigma, 1e-9) * math.sqrt(2)
        below = [0.5 * (1 + math.erf((math.log(n + 0.5) - mean) / sigma)) for n in range(1, MAX_WORDS + 1)]
        return np.array(below[:-1]) / below[-1]

    @cached_property
    def _word_cdf(self) -> NDArray[np.float64]:
        """Cumulative frequencies: the general words, then the terms of one topic; Zipf-Mandelbrot in each."""
        share = self.settings.topic_share
        general = _zipf(len(general_words()), self.settings.zipf_exponent)
        topical = _zipf(TERM_COUNT // self.settings.topics, self.settings.zipf_exponent)
        return np.cumsum(np.concatenate(((1 - share) * general, share * topical)))[:-1]

    @cached_property
    def _words(self) -> NDArray[np.object_]:
        """General words, then terms; the same once more, capitalised."""
        words = [*general_words(), *terms()]
        return np.array(words + [word[0].upper() + word[1:] for word in words], dtype=object)

    @cached_property
    def _separators(self) -> NDArray[np.object_]:
        return np.array([text for text, _ in (*_INNER, *_SENTENCE_END)] + ["."], dtype=object)


def _stream(seed: int, stream: int) -> np.random.Philox:
    """One of 2**64 independent random streams of a seed."""
    return np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    """Frequencies of `count` ranks by the Zipf-Mandelbrot law with its usual offset for English, 2.7."""
    weights = (np.arange(count) + 1 + 2.7) ** -exponent
    return np.asarray(weights / weights.sum())


def _draw(random: np.random.Generator, shares: list[float], count: int) -> NDArray[np.intp]:
    return np.searchsorted(np.cumsum(shares)[:-1], random.random(count), side="right")

"""Where documents come from: one model for each kind of source, told apart by `source`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from .base import Model


class SyntheticCorpusSettings(Model):
    """A seeded corpus whose passage lengths follow the published one."""

    # Part of the digest: raise it when the same settings give other documents.
    generation: ClassVar[int] = 1

    source: Literal["synthetic"] = Field("synthetic", description="a seeded corpus made on the spot")
    seed: int = Field(7, ge=0, lt=2**63, description="document i depends on these settings and i only")
    topics: int = Field(32, ge=1, le=1024, description="topics; documents of one topic share terms")
    topic_share: float = Field(0.36, ge=0, le=1, description="share of words that are terms of the topic")
    zipf_exponent: float = Field(1.0, ge=0, le=3, description="exponent of the word frequencies")
    median_words: float = Field(35.5, ge=1, le=2048, description="median words of a document (log-normal)")
    sigma: float = Field(1.28, ge=0, le=3, description="standard deviation of the logarithm of the words")
    length_growth: float = Field(
        0.1,
        ge=0,
        le=1,
        description="documents after the 100,000th are longer by (index / 100,000) to this power",
    )


Corpus = SyntheticCorpusSettings

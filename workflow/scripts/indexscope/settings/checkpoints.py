"""Where encoders come from: one model for each kind of source, told apart by `source`."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from .base import Model


class SyntheticCheckpointSettings(Model):
    """Random weights of a given geometry in ColBERT's file layout.

    `answerai-colbert-small-v1` has 12 layers, hidden_size 384, 12 heads, intermediate_size 1536, dim 96 and a
    vocabulary of 30,522.
    """

    # Part of the digest: raise it when the same settings give other files.
    generation: ClassVar[int] = 1

    source: Literal["synthetic"] = Field("synthetic", description="random weights in ColBERT's file layout")
    seed: int = Field(7, ge=0, lt=2**63, description="seed of all weights")
    layers: int = Field(2, ge=1, le=96, description="transformer layers")
    hidden_size: int = Field(128, ge=8, le=8192, description="width of the transformer, a multiple of heads")
    heads: int = Field(2, ge=1, le=128, description="attention heads")
    intermediate_size: int = Field(256, ge=8, le=32768, description="width of the feed-forward layers")
    dim: int = Field(
        96, ge=32, le=1024, multiple_of=32, description="values of one token embedding in the index"
    )
    vocab_size: int = Field(
        4096, ge=2048, le=262144, description="word pieces; unused ones fill up to this number"
    )
    doc_maxlen: int = Field(
        256, ge=8, le=512, description="longest passage in tokens, where a run does not say"
    )
    query_maxlen: int = Field(
        32, ge=8, le=512, description="length of a query in tokens, where a run does not say"
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads ({self.heads})")
        return self


Checkpoint = SyntheticCheckpointSettings

"""Where encoders come from: one model for each kind of source, told apart by `source`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from indexscope.run_record import InputError

from .base import Model
from .files import file_states


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


class HubCheckpointSettings(Model):
    """A ColBERT checkpoint of the Hugging Face hub."""

    generation: ClassVar[int] = 1

    source: Literal["hub"] = Field(description="a model of the Hugging Face hub")
    repository: str = Field(
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="the model, such as answerdotai/answerai-colbert-small-v1",
    )
    revision: str = Field(
        min_length=1, description="commit (pinned), or a branch or tag, whose commit is then recorded"
    )
    files: list[str] | None = Field(
        None,
        min_length=1,
        description="paths or globs in the repository; empty: configuration, tokenizer and one set of weights",
    )


class LocalCheckpointSettings(Model):
    """A ColBERT checkpoint in a folder of this machine, copied before it is used."""

    generation: ClassVar[int] = 1

    source: Literal["local"] = Field(description="a folder of this machine")
    path: str = Field(min_length=1, description="the folder")

    def outside(self) -> dict[str, Any]:
        """The folder's files as they are now: a checkpoint that was trained on is another one."""
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"path: {self.path!r} is no folder; correct it (a relative path starts where Snakemake is run)"
            )
        return {"files": file_states(sorted(path for path in folder.iterdir() if path.is_file()))}


Checkpoint = Annotated[
    SyntheticCheckpointSettings | HubCheckpointSettings | LocalCheckpointSettings,
    Field(discriminator="source"),
]

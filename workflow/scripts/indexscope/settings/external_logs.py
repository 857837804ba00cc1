"""Memory logs that were made elsewhere, to be tabulated and drawn beside the project's own runs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from .base import Model


class ExternalLog(Model):
    """A memory_profiler or mprof log of a run that was not made here."""

    log: str = Field(
        min_length=1, description="path, glob or URL of the log; a glob's files are parts of one run"
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the file; required for a URL"
    )
    system: str = Field(min_length=1, description="the system's name in figures and tables that people read")
    documents: int = Field(gt=0, description="documents that were indexed")
    machine: str = Field(min_length=1, description="where it was measured")

    @property
    def is_url(self) -> bool:
        return self.log.startswith(("http://", "https://"))

    @model_validator(mode="after")
    def _a_url_has_a_hash(self) -> Self:
        if self.is_url and self.sha256 is None:
            raise ValueError(f"{self.log}: a URL needs the file's sha256, so that it cannot change unseen")
        return self

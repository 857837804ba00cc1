"""The benchmark profiler_cost: what measuring costs, on which systems, in how many rounds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Model, Name

Variant = Literal["bare", "none", "spans", "memory_profiler", "memray"]


class ProfilerCost(Model):
    """One index, built under each way of measuring in turn; target profiler_cost, no part of `all`."""

    systems: list[Name] = Field(
        ["colbert", "ragatouille_faiss_true"],
        min_length=1,
        description="names under systems; one for each framework tells most",
    )
    documents: int = Field(200, gt=0, description="documents of the index")
    rounds: int = Field(
        6,
        gt=0,
        description="rounds; six are the fewest whose range covers the median ratio with 95 %, and each variant is "
        "then once in each place of the order",
    )
    variants: list[Variant] = Field(
        ["bare", "none", "spans", "memory_profiler", "memray"],
        min_length=2,
        description="ways of measuring, run once in each round (none twice); bare: no spans and no curve",
    )

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if "none" not in self.variants:
            raise ValueError("variants: 'none' is missing, which the others are compared with; add it")
        for position, variant in enumerate(self.variants):
            if variant in self.variants[:position]:
                raise ValueError(f"variants[{position}]: {variant!r} is there twice; name each variant once")
        return self

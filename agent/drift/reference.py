"""What the features looked like in training, by hardware family: what a bundle is judged by later.

Made by the trainer, compared by `agent.drift.population`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_EDGES = 19


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureReference(_Part):
    """Distribution of one feature over the training rows of a family.

    Args:
        edges: rising bounds between the E + 1 bins; a value on a bound belongs to the bin above it.
        shares: [E + 2] share of the rows in each bin, then the share without a value. They sum to 1.
    """

    edges: Annotated[list[float], Field(max_length=MAX_EDGES)]
    shares: list[Annotated[float, Field(ge=0.0, le=1.0)]]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.shares) != len(self.edges) + 2:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 2} shares")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges must rise")
        if abs(sum(self.shares) - 1.0) > 1e-3:
            raise ValueError("shares must sum to 1")
        return self


class FamilyReference(_Part):
    """The watched features of one hardware family, and how many units they were learned from."""

    family: Annotated[str, Field(min_length=1, max_length=100)]
    units: Annotated[int, Field(ge=1)]
    features: Annotated[dict[str, FeatureReference], Field(max_length=64)]

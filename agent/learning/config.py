"""The `learning:` section of `site.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.yamlfile import StrictModel


class ExploreConfig(StrictModel):
    """Trying settings to learn what they bring; off unless a person turns it on."""

    enabled: bool = False
    budget_usd_per_day: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    step_share: Annotated[float, Field(gt=0.0, le=0.3)] = 0.1
    cheap_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.35
    use_days: Annotated[float, Field(gt=0.0, le=90.0)] = 14.0


class LearningConfig(StrictModel):
    """Whether curves are corrected for each unit by what it has shown."""

    enabled: bool = True
    explore: ExploreConfig = ExploreConfig()

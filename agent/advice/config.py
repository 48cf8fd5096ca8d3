"""The `advice:` section of the site file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent.yamlfile import StrictModel


class AdviceConfig(StrictModel):
    """How often people are advised, of how much at once, and where coins and pools are described.

    Without `coins` neither coins nor pools are compared. What was rejected or approved is not advised again
    for `quiet_h`.
    """

    coins: Path | None = None
    interval_s: Annotated[float, Field(ge=60.0, le=86400.0)] = 3600.0
    most_open: Annotated[int, Field(ge=0, le=1000)] = 20
    stands_h: Annotated[float, Field(ge=1.0, le=720.0)] = 48.0
    quiet_h: Annotated[float, Field(ge=1.0, le=8760.0)] = 168.0
    minimum_repair_usd_per_day: Annotated[float, Field(ge=0.0)] = 0.10

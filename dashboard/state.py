"""What every request can reach: database and clocks. Set by `dashboard.app`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from fastapi import Request

from agent.clock import Clock
from dashboard.database import Database

STALE_AFTER = timedelta(minutes=5)
WALL_SLACK = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class State:
    """Shared by all requests.

    Args:
        database: the fleet database.
        clock: time of the sites, simulated in a demo; recommendations expire by it.
        wall: real time; sessions, throttling and audit go by it.
        relayed: folder of the sources that are relayed to sites; None where none is.
        secure: whether pages are served over TLS, so that cookies never leave it.
    """

    database: Database
    clock: Clock
    wall: Clock
    secure: bool
    relayed: Path | None = None

    @property
    def patience(self) -> timedelta:
        """How old a site's figures may be before they are stale, in the sites' time.

        Under a fast clock the seconds that delivery takes on the wall are many minutes there.
        """
        return max(STALE_AFTER, WALL_SLACK * self.clock.factor)


def state_of(request: Request) -> State:
    """The state of the application that got this request."""
    return cast("State", request.app.state.shared)

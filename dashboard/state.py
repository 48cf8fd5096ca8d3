"""What every request can reach: database and clocks. Set by `dashboard.app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from agent.clock import Clock
from dashboard.database import Database


@dataclass(frozen=True, slots=True)
class State:
    """Shared by all requests.

    Args:
        database: the fleet database.
        clock: time of the sites, simulated in a demo; recommendations expire by it.
        wall: real time; sessions, throttling and audit go by it.
        secure: whether pages are served over TLS, so that cookies never leave it.
    """

    database: Database
    clock: Clock
    wall: Clock
    secure: bool


def state_of(request: Request) -> State:
    """The state of the application that got this request."""
    return cast("State", request.app.state.shared)

"""The login of BraiinsOS: user and password for a token that an hour of silence or a restart ends."""

from __future__ import annotations

from agent.devices.device import Credentials, Endpoint
from agent.devices.token_session import TokenLogin, TokenSession

FACTORY = Credentials("root", "root")


def session(endpoint: Endpoint) -> TokenSession:
    """The interface of one miner, with the factory login where the endpoint names none."""
    login = endpoint.credentials or FACTORY
    return TokenSession(
        endpoint,
        TokenLogin(
            root="/api/v1",
            path="/auth/login",
            body={"username": login.username, "password": login.password},
            who=f"as {login.username!r}",
            remedy="BraiinsOS 25.07 or newer is needed; upgrade the firmware",
        ),
    )

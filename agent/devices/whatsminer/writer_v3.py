"""Writes of API v3: each goes by v2 where that port takes it, else by v3 itself.

Which steps are needed is left to `agent.devices.whatsminer.writes`, frames and seals to `.line`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from agent.clock import Clock
from agent.devices.device import Credentials, Endpoint
from agent.devices.whatsminer.line import write
from agent.devices.whatsminer.pools import listed
from agent.devices.whatsminer.session import NoFreeToken
from agent.devices.whatsminer.v2 import WhatsminerV2
from agent.devices.whatsminer.wire import Budget
from agent.devices.whatsminer.writes import Step, Verb, percent_after
from agent.errors import DeviceError, Refused
from agent.pools.guard import PoolLogin

DEFAULT_LOGIN = Credentials("super", "super")
_V2_BUDGET_S = 15.0
_T = TypeVar("_T")


class WriterV3:
    """Sends to one Whatsminer behind API v3, and remembers what firmware does not tell.

    Args:
        endpoint: credentials hold account and password; None means super/super, and the factory's
            admin password for writes by v2.

    Attributes:
        percent: power percentage last sent, None where it is not known.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.percent: float | None = None
        self._endpoint = endpoint
        self._clock = clock
        self._login = endpoint.credentials or DEFAULT_LOGIN
        self._v2 = WhatsminerV2(endpoint, clock)
        self._by_v2: bool | None = None

    def relearn(self) -> None:
        """Try v2 again at the next write."""
        self._by_v2 = None

    async def send(self, step: Step, switch: bool | None, budget: Budget) -> tuple[bool | None, str]:
        """Send one step, once. Returns the answer, None where none came, and the words for the journal.

        Args:
            switch: whether the miner says that its write API is open.

        Raises:
            DeviceError: nothing was sent, or the miner refused.
        """
        done = await self._by_v2_first(lambda part: self._v2.send(step, part), budget)
        if done is None:
            command, param = commands_of(step)
            answer = await write(self._endpoint, self._clock, self._login, (command, param), switch, budget)
            done = answer, json.dumps({"cmd": command, "param": param})
        self.percent = percent_after(step, done[0], self.percent)
        return done

    async def send_pools(
        self, pools: Sequence[PoolLogin], switch: bool | None, budget: Budget
    ) -> bool | None:
        """Send all pools, once. Returns and raises as `send` does, without the words."""

        async def v2(part: Budget) -> tuple[bool | None]:
            return (await self._v2.send_pools(pools, part),)

        done = await self._by_v2_first(v2, budget)
        if done is not None:
            return done[0]
        request = ("set.miner.pools", listed(pools))
        return await write(self._endpoint, self._clock, self._login, request, switch, budget, sealed=True)

    async def _by_v2_first(self, send: Callable[[Budget], Awaitable[_T]], budget: Budget) -> _T | None:
        """What v2 made of it; None where nothing was sent and the command has to go by v3."""
        if self._by_v2 is False:
            return None
        try:
            done = await send(Budget(self._endpoint.address, budget.left(_V2_BUDGET_S)))
        except NoFreeToken:
            # Tokens run out in half an hour; until then this one command goes by v3.
            return None
        except Refused:
            raise
        except DeviceError:
            # Each of these was raised before the command could be carried out.
            self._by_v2 = False
            return None
        self._by_v2 = True
        return done


def commands_of(step: Step) -> tuple[str, object]:
    """The v3 command of one step and its param."""
    if step.verb in (Verb.POWER_ON, Verb.POWER_OFF):
        return "set.miner.service", "start" if step.verb is Verb.POWER_ON else "stop"
    if step.verb is Verb.MODE:
        return "set.miner.power_mode", step.value
    if step.verb is Verb.LIMIT:
        return "set.miner.power_limit", step.value
    if step.verb is Verb.FREQUENCY:
        return "set.miner.target_freq", step.value
    percent = 100 if step.verb is Verb.FULL_POWER else step.value
    speed = "fast" if step.verb is Verb.FAST_PERCENT else "normal"
    return "set.miner.power_percent", {"percent": str(percent), "mode": speed}

"""Settings of the whole suite: the same examples every time, and which tests one worker runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("hashmargin", derandomize=True, deadline=None, database=None)
settings.load_profile("hashmargin")

# Files whose tests share what takes long to make. All of such a file is one worker's, and begun first.
_TOGETHER = frozenset(
    f"tests/trainer/test_{name}.py"
    for name in ("simulated", "train_command", "report", "evaluation", "models")
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread single tests over the workers, but for files in `_TOGETHER`.

    The marks that the plugin has for this do nothing under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return file if file in _TOGETHER else nodeid

    return Scheduling(config, log)

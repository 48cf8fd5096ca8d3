"""Which of the processes that run the suite side by side this is, so that no two listen at one place."""

from __future__ import annotations

import os

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

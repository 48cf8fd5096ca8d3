"""How long tests wait for processes of their own, real time: never in full unless one hangs."""

from __future__ import annotations

# On a machine that is busy with other things a start that takes a second may take a minute.
PATIENCE_S = 180.0

"""What all 80 % intervals share."""

from __future__ import annotations

# q90 of a normal distribution in standard deviations: half of its 80 % interval.
Z80 = 1.2815515655446004

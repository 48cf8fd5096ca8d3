"""What the benchmark of models says of chance: rows of one unit are one piece of evidence, not many."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judging.accuracy import judged


def test_the_error_of_a_coverage_comes_from_the_spread_between_units() -> None:
    inside = np.repeat([1.0, 1.0, 1.0, 0.0], 50)
    truth = np.ones(200)
    bounds = np.stack([np.where(inside > 0.0, 0.9, 1.1), np.full(200, 1.02), np.full(200, 1.2)], axis=1)
    found = judged(truth, bounds, np.repeat([7, 8, 9, 3], 50))
    assert found["coverage"] == 0.75
    assert found["below"] == 0.25
    assert found["units"] == 4
    # Of four units, each all inside or all outside: their deviation is 0.5, over the root of four.
    assert found["coverage_standard_error"] == pytest.approx(0.25, abs=1e-4)
    assert found["median_error"] == pytest.approx(0.02, abs=1e-4)

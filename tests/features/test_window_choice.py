"""Further windows from the environment: what may be asked for, and that they are features like all others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.errors import InputError
from agent.features.streaming import feature_hash
from agent.features.window_choice import NAMED, WINDOWS_VARIABLE, Window, chosen_windows


def test_without_a_wish_there_are_the_named_ones() -> None:
    assert chosen_windows("") == NAMED == chosen_windows(" , ")


def test_each_is_made_of_the_finest_buckets_that_hold_it() -> None:
    found = {window.name: window for window in chosen_windows("3d, 30min,12h,90min")}
    assert found["30min"] == Window("30min", 0, 6, slopes=True)
    assert found["90min"] == Window("90min", 1, 3, slopes=True)
    assert found["12h"] == Window("12h", 1, 24)
    assert found["3d"] == Window("3d", 2, 12)
    assert list(found) == ["30min", "1h", "90min", "6h", "12h", "24h", "3d", "7d"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("yesterday", "'yesterday' is no window; write 30min, 12h or 3d"),
        ("0h", "'0h' is no window"),
        ("7min", "not made of two or more buckets of 5 min"),
        ("5min", "not made of two or more buckets of 5 min"),
        ("100min", "not made of two or more buckets of 30 min"),
        ("31h", "not made of two or more buckets of 360 min"),
        ("8d", "longer than the 7 days"),
        ("60min", "there already"),
        ("3h,180min", "there already"),
        ("10min,15min,20min,25min,35min,40min,45min,50min,55min", "more than 8 windows"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(more: str, words: str) -> None:
    with pytest.raises(InputError, match=f"{WINDOWS_VARIABLE}: .*{words}"):
        chosen_windows(more)


_AGREE = """
import numpy as np
from agent.features.streaming import batch_features_exact, feature_hash, feature_names
from tests.features.fleets import START_S, lively, table
from tests.features.test_streaming import stream

rng = np.random.default_rng(8)
times = [START_S + float(t) for t in np.cumsum(rng.choice([20.0, 300.0, 300.0, 4000.0, 50_000.0], size=250))]
rows = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
found = batch_features_exact(table(rows))
np.testing.assert_allclose(stream(rows), found, rtol=1e-9, atol=1e-9)
place = feature_names().index
for name in ("hashrate_mean_30min", "power_std_12h", "power_max_3d"):
    assert np.isfinite(found[:, place(name)]).any(), name
assert np.isfinite(found[:, place("chip_temp_slope_30min")]).any()
short, long = found[:, place("power_max_3d")], found[:, place("power_max_7d")]
assert (np.nan_to_num(short) <= np.nan_to_num(long)).all()
print(feature_hash())
"""


def run(code: str, windows: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    env = os.environ | {WINDOWS_VARIABLE: windows}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_streaming_and_batch_agree_on_chosen_windows_and_the_table_has_another_hash() -> None:
    done = run(_AGREE, "30min,12h,3d")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != feature_hash()


def test_the_command_says_what_is_wrong_with_a_wish() -> None:
    done = run("from agent.cli import main; main(['models', 'list'])", "8d")
    assert done.returncode == 2
    assert "longer than the 7 days" in done.stderr and "Traceback" not in done.stderr

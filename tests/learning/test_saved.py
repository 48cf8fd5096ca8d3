"""What is learned outlives the agent; what is damaged is refused, never believed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from agent.errors import DataError
from agent.learning.live import STATE_NAME, Learner
from agent.learning.saved import from_bytes, sealed
from agent.learning.tuning import Tuning
from agent.store import Store
from tests.learning.site import SmallSite, reading, unit


@pytest.fixture(scope="module")
def taught() -> bytes:
    farm = SmallSite(Learner(), [unit("m0"), unit("m1", kind=1)], readings={"m0": reading(("A", "B"))})
    return farm.run(12, power=1.05, rate=0.98).learner.to_bytes()


def changed(raw: bytes, **arrays: np.ndarray) -> bytes:
    with np.load(io.BytesIO(raw[32:])) as held:
        parts = {name: held[name] for name in held.files} | arrays
    out = io.BytesIO()
    np.savez(out, **parts)
    return sealed(out.getvalue())


def head_of(raw: bytes, **changes: object) -> np.ndarray:
    with np.load(io.BytesIO(raw[32:])) as held:
        head = json.loads(held["head"].tobytes()) | changes
    return np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)


def test_round_trip_keeps_every_number(taught: bytes) -> None:
    first = from_bytes(taught, Tuning())
    second = from_bytes(Learner(taught).to_bytes(), Tuning())
    assert (first.ids, first.marks, first.bundle) == (second.ids, second.marks, second.bundle)
    assert first.marks[0].boards == ("A", "B")
    pairs = ((first.units, second.units), (first.baselines, second.baselines), (first.heat, second.heat))
    for one, other in pairs:
        for f in fields(one):
            np.testing.assert_array_equal(getattr(one, f.name), getattr(other, f.name))


def test_a_unit_takes_less_than_six_kilobytes(taught: bytes) -> None:
    assert len(taught) / 2 < 6000


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"nonsense", b"{}"])
def test_bytes_that_are_none_of_ours_are_refused(raw: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        from_bytes(raw, Tuning())


def test_cut_off_anywhere_it_is_refused(taught: bytes) -> None:
    for length in range(0, len(taught), 97):
        with pytest.raises(DataError):
            from_bytes(taught[:length], Tuning())


def test_flipped_bits_are_refused(taught: bytes) -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        raw = bytearray(taught)
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        with pytest.raises(DataError, match="cannot be read"):
            from_bytes(bytes(raw), Tuning())


def test_another_version_is_refused(taught: bytes) -> None:
    with pytest.raises(DataError, match="another version"):
        from_bytes(changed(taught, head=head_of(taught, version=99)), Tuning())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("info", np.nan),
        ("info", -1e6),
        ("info", 1e15),
        ("noise_var", 0.0),
        ("seen", np.inf),
        ("own_var", -1.0),
    ],
)
def test_numbers_that_nothing_can_have_taught_are_refused(taught: bytes, name: str, value: float) -> None:
    with np.load(io.BytesIO(taught[32:])) as held:
        array = held[name].copy()
    array.flat[0] = value
    with pytest.raises(DataError):
        from_bytes(changed(taught, **{name: array}), Tuning())


def test_rows_and_names_must_agree(taught: bytes) -> None:
    with pytest.raises(DataError):
        from_bytes(changed(taught, head=head_of(taught, ids=["m0"])), Tuning())
    with pytest.raises(DataError):
        from_bytes(changed(taught, head=head_of(taught, ids=["m0", "m0"])), Tuning())


def test_damaged_state_is_said_and_learning_starts_anew(taught: bytes) -> None:
    learner = Learner(taught[:-40])
    assert learner.problem is not None and "starts at its model's curve" in learner.problem
    farm = SmallSite(learner, [unit("m0")])
    assert farm.run(12, power=1.05).corrected()[0, 1] == pytest.approx(1.05, abs=0.005)


_SAVER = """
import sys
from pathlib import Path
from agent.learning.live import STATE_NAME
from agent.store import Store
raws = [Path(name).read_bytes() for name in sys.argv[2:]]
store = Store(Path(sys.argv[1]), "s")
count = 0
while True:
    store.put_state(STATE_NAME, raws[count % 2])
    count += 1
    print(count, flush=True)
"""


def test_killed_in_the_middle_of_a_save_one_of_the_two_is_there(taught: bytes, tmp_path: Path) -> None:
    other = SmallSite(Learner(taught), [unit("m0"), unit("m7")]).run(6).learner.to_bytes()
    names = []
    for i, raw in enumerate((taught, other)):
        # Large, so that most of the time is spent writing.
        names.append(tmp_path / f"raw{i}")
        names[-1].write_bytes(raw)
    path = tmp_path / "agent.sqlite3"
    for saves in (1, 2, 5, 8):
        command = [sys.executable, "-c", _SAVER, str(path), *map(str, names)]
        saver = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert saver.stdout is not None
        for _ in range(saves):
            saver.stdout.readline()
        os.kill(saver.pid, signal.SIGKILL)
        saver.wait()
        saver.stdout.close()
        store = Store(path, "s")
        held = store.state(STATE_NAME)
        store.close()
        assert held in (taught, other)
        assert Learner(held).problem is None

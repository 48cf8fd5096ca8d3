"""Random numbers by place instead of by order: one seed, channel and index always give one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed_uniform(seed: int, channel: ArrayLike, index: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1), one for each pair of `channel` and `index` (whole numbers, broadcast)."""
    channels, indices = np.broadcast_arrays(
        np.atleast_1d(np.asarray(channel, dtype=np.int64)), np.atleast_1d(np.asarray(index, dtype=np.int64))
    )
    start = np.full(channels.shape, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    mixed = _mix(_mix(_mix(start) ^ channels.astype(np.uint64)) ^ indices.astype(np.uint64))
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def hashed_normal(seed: int, channel: ArrayLike, index: ArrayLike) -> NDArray[np.float64]:
    """Standard normal numbers, as `hashed_uniform`."""
    first = hashed_uniform(seed, channel, index)
    second = hashed_uniform(seed ^ 0x5DEECE66D, channel, index)
    return np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64; arrays wrap around silently."""
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))

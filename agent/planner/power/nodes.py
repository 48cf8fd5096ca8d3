"""The places of a site whose power is limited, and what miners may take there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Places whose power is limited, each inside its parent.

    Args:
        member: [N,G] True where a miner hangs below a node.
        cap_w: [G] for the miners that are up for decision; infinity without a cap.
        floor_w: [G] least load; minus infinity without.
        z: [G], or one for all: standard deviations of a node's summed error of predicted power to keep free
            on either side; errors of different miners are independent.
        names: [G] for messages. A parent stands before its children.
    """

    member: Bools
    cap_w: Floats
    floor_w: Floats
    z: Floats | float
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Give every node its own `z`."""
        object.__setattr__(self, "z", np.broadcast_to(np.asarray(self.z, dtype=np.float64), self.cap_w.shape))

    @property
    def free_z(self) -> Floats:
        """[G] of `z`."""
        assert isinstance(self.z, np.ndarray)
        return self.z

    @staticmethod
    def one(count: int, cap_w: float, z: float, name: str = "site") -> Nodes:
        """A site with a single cap."""
        everyone = np.ones((count, 1), dtype=np.bool_)
        return Nodes(everyone, np.array([cap_w]), np.array([-np.inf]), z, (name,))

    def load(self, mean_w: Floats, variance: Floats, side: float = 1.0) -> Floats:
        """[...,G] bound of each node's power for means and variances [...,N]."""
        total = mean_w @ self.member
        return np.asarray(total + side * self.free_z * np.sqrt(np.maximum(variance @ self.member, 0.0)))


@dataclass(frozen=True, slots=True)
class Choices:
    """Value, power and variance of power of K candidates of N miners, [N,K]; NaN value may not be taken."""

    value: Floats
    power_w: Floats
    variance: Floats

    def at(self, chosen: Ints) -> tuple[Floats, Floats]:
        """Mean and variance of power [N]; nothing where a miner has no candidate."""
        rows, has = np.arange(len(chosen)), chosen >= 0
        pick = np.maximum(chosen, 0)
        return np.where(has, self.power_w[rows, pick], 0.0), np.where(has, self.variance[rows, pick], 0.0)

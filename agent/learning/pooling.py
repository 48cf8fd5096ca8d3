"""What is believed of each unit after all evidence: its own, and that of the units of its group.

A unit's parameters are those of its group plus its own, both normal with mean zero before any evidence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def posterior(
    info: Floats, seen: Floats, group: Ints, group_var: Floats, own_var: Floats, common_var: float
) -> tuple[Floats, Floats]:
    """Mean [N,Q,D] and covariance [N,Q,D,D] of the units' parameters.

    With evidence (A, b) of a unit, own prior W and group prior V, diagonal both:

        C = (W^-1 + A)^-1                       the unit, were its group known
        group precision  V^-1 + sum of W^-1 - W^-1 C W^-1,   group vector  sum of W^-1 C b
        unit mean        C (b + W^-1 g),        covariance  C + C W^-1 G W^-1 C

    Args:
        info, seen: [N,Q,D,D] and [N,Q,D] evidence as precision and precision times value.
        group: [N] group of each unit, from 0.
        group_var: [G,Q,D], own_var: [N,Q,D] prior variances.
        common_var: added to the group's level, for errors that all units make at once.
    """
    groups = len(group_var)
    own_weight = 1.0 / own_var
    alone = inverse(info + _diagonal(own_weight))
    pull = own_weight[..., :, None] * alone
    told = _diagonal(own_weight) - pull * own_weight[..., None, :]
    vector = np.einsum("nqij,nqj->nqi", pull, seen)
    total = np.zeros((groups, *told.shape[1:]))
    sums = np.zeros((groups, *vector.shape[1:]))
    np.add.at(total, group, told)
    np.add.at(sums, group, vector)
    spread = inverse(total + _diagonal(1.0 / group_var))
    middle = np.einsum("gqij,gqj->gqi", spread, sums)
    spread[..., 0, 0] += common_var
    mean = np.einsum("nqij,nqj->nqi", alone, seen + own_weight * middle[group])
    back = np.swapaxes(pull, -1, -2)
    return mean, alone + back @ spread[group] @ pull


def inverse(matrices: Floats) -> Floats:
    """Inverses of symmetric positive definite [..., D, D], all at once by Gauss-Jordan."""
    size = matrices.shape[-1]
    # The batch goes last, so that every step is one long vector operation.
    work = np.ascontiguousarray(np.moveaxis(matrices.reshape(-1, size, size), 0, -1))
    for pivot in range(size):
        by = 1.0 / work[pivot, pivot]
        row = work[pivot] * by
        column = work[:, pivot].copy()
        work -= column[:, None] * row[None, :]
        work[:, pivot] = -column * by
        work[pivot] = row
        work[pivot, pivot] = by
    return np.ascontiguousarray(np.moveaxis(work, -1, 0)).reshape(matrices.shape)


def _diagonal(values: Floats) -> Floats:
    return values[..., None] * np.eye(values.shape[-1])

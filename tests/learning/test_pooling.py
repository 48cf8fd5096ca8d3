"""Pooling is exact: the same as one joint normal distribution over all parameters of all units."""

from __future__ import annotations

import numpy as np

from agent.learning.pooling import inverse, posterior


def evidence(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows = rng.normal(size=(count, 2, 3, 4))
    info = 4e3 * np.swapaxes(rows, -1, -2) @ rows
    return info, np.einsum("nqij,nqj->nqi", info, 0.05 * rng.normal(size=(count, 2, 4)))


def test_inverse_of_many() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(50, 2, 4, 6))
    spd = half @ np.swapaxes(half, -1, -2)
    np.testing.assert_allclose(inverse(spd) @ spd, np.broadcast_to(np.eye(4), spd.shape), atol=1e-9)


def test_same_as_the_joint_distribution() -> None:
    rng = np.random.default_rng(2)
    count = 5
    info, seen = evidence(rng, count)
    group_var, own_var = rng.uniform(1e-4, 1e-2, (1, 2, 4)), rng.uniform(1e-4, 1e-2, (count, 2, 4))
    mean, cov = posterior(info, seen, np.zeros(count, dtype=np.int64), group_var, own_var, 0.0)
    for q in range(2):
        prior = np.kron(np.ones((count, count)), np.diag(group_var[0, q]))
        prior += np.diag(own_var[:, q].ravel())
        weight = np.zeros_like(prior)
        for i in range(count):
            weight[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = info[i, q]
        spread = np.linalg.inv(np.linalg.inv(prior) + weight)
        np.testing.assert_allclose(mean[:, q].ravel(), spread @ seen[:, q].ravel(), rtol=1e-7, atol=1e-12)
        for i in range(count):
            np.testing.assert_allclose(
                cov[i, q], spread[4 * i : 4 * i + 4, 4 * i : 4 * i + 4], rtol=1e-7, atol=1e-14
            )


def test_groups_do_not_mix() -> None:
    info, seen = evidence(np.random.default_rng(3), 4)
    variances = np.full((2, 2, 4), 1e-3), np.full((4, 2, 4), 1e-3)
    group = np.array([0, 0, 1, 1])
    mean, _ = posterior(info, seen, group, *variances, 0.0)
    seen[2:] *= 2.0
    other, _ = posterior(info, seen, group, *variances, 0.0)
    np.testing.assert_array_equal(mean[:2], other[:2])
    assert not np.allclose(mean[2:], other[2:])


def test_without_evidence_the_prior_stands() -> None:
    group_var, own_var = np.full((1, 2, 4), 2e-3), np.full((3, 2, 4), 1e-3)
    nothing = np.zeros((3, 2, 4, 4)), np.zeros((3, 2, 4))
    mean, cov = posterior(*nothing, np.zeros(3, dtype=np.int64), group_var, own_var, 0.0)
    assert not mean.any()
    np.testing.assert_allclose(cov, np.broadcast_to(3e-3 * np.eye(4), cov.shape))

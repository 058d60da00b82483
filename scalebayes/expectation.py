"""Gaussian mixtures of points in a plane, fitted by expectation and maximisation.

What scikit-learn's GaussianMixture does, from the same starts and to the same numbers, without the
checks that cost most of its time on two thousand points.
"""

import math

import numpy as np

from scalebayes.machine_code import compiled

_MOST_STEPS = 100
_TOLERANCE = 1e-3  # nats per point that a step must gain
_LOG_2_PI = math.log(2 * math.pi)
_EPSILON = 10 * np.finfo(float).eps


def gaussian_mixture(points, n_components, *, regular, seed):
    """Return weights, means and covariances of the mixture that describes points in a plane.

    Parameters
    ----------
    points : ndarray
        [point, 2].
    n_components : int
    regular : float
        Added to the variances.
    seed : int
        Of the points that the components start from.

    Returns
    -------
    weight, mean, covariance : ndarray
        [component], [component, 2] and [component, 2, 2].

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39.
    """
    points = np.ascontiguousarray(points, dtype=float)
    share = np.full((len(points), n_components), 1.0 / n_components)
    if n_components > 1:  # the only start of one component is its solution
        from sklearn.cluster import kmeans_plusplus  # half a second

        share[:] = 0.0
        _, starts = kmeans_plusplus(points, n_components, random_state=seed % 2**32)
        share[starts, np.arange(n_components)] = 1.0
    table = np.empty((n_components, 6))
    _climb(points, share, table, regular)
    return table[:, 0], table[:, 1:3], table[:, [[3, 4], [4, 5]]]


def mean_log_density(points, weight, mean, covariance):
    """Return the mean log density (nats) of a mixture at points [point, 2].

    Parameters
    ----------
    points : ndarray
    weight, mean, covariance : ndarray
        As `gaussian_mixture` returns them.
    """
    points = np.ascontiguousarray(points, dtype=float)
    table = np.column_stack([weight, mean, covariance[:, [0, 0, 1], [0, 1, 1]]])
    return _expect(points, table, np.empty((len(points), len(weight))))


@compiled
def _climb(points, share, table, regular):
    """Improve a mixture, begun from each component's share of each point, until it stands still."""
    _maximise(points, share, table, regular)
    height = -np.inf
    for _ in range(_MOST_STEPS):
        before = height
        height = _expect(points, table, share)
        _maximise(points, share, table, regular)
        if abs(height - before) < _TOLERANCE:
            break


@compiled
def _maximise(points, share, table, regular):
    """Write weight, means, var, covariance, var of each component, from its shares."""
    whole = 0.0
    for k in range(share.shape[1]):
        mass, first, second = _EPSILON, 0.0, 0.0
        for i in range(len(points)):
            mass += share[i, k]
            first += share[i, k] * points[i, 0]
            second += share[i, k] * points[i, 1]
        first, second = first / mass, second / mass
        v11 = v12 = v22 = 0.0
        for i in range(len(points)):
            x, y = points[i, 0] - first, points[i, 1] - second
            v11 += share[i, k] * x * x
            v12 += share[i, k] * x * y
            v22 += share[i, k] * y * y
        part = table[k]
        part[0], part[1], part[2] = mass, first, second
        part[3], part[4], part[5] = v11 / mass + regular, v12 / mass, v22 / mass + regular
        whole += mass
    for k in range(share.shape[1]):
        table[k, 0] /= whole


@compiled
def _expect(points, table, share):
    """Return the mean log density at the points, and write each component's share of each."""
    n = len(table)
    scale = np.empty(n)
    for k in range(n):
        determinant = table[k, 3] * table[k, 5] - table[k, 4] ** 2
        scale[k] = math.log(table[k, 0]) - _LOG_2_PI - 0.5 * math.log(determinant)
    total = 0.0
    for i in range(len(points)):
        highest = -np.inf
        for k in range(n):
            x, y = points[i, 0] - table[k, 1], points[i, 1] - table[k, 2]
            v11, v12, v22 = table[k, 3], table[k, 4], table[k, 5]
            squared = (v22 * x * x - 2 * v12 * x * y + v11 * y * y) / (v11 * v22 - v12**2)
            share[i, k] = scale[k] - 0.5 * squared
            highest = max(highest, share[i, k])
        mass = 0.0
        for k in range(n):
            share[i, k] = math.exp(share[i, k] - highest)
            mass += share[i, k]
        for k in range(n):
            share[i, k] /= mass
        total += highest + math.log(mass)
    return total / len(points)

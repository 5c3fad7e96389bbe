"""Fréchet distance between two sets of vectors: how far one collection of music is from another, without pairs.

Conventions
-----------
- ``test`` (M, D) and ``reference`` (N, D) are float arrays of vectors as the model gives them, not scaled to length 1.
- Both are modelled as normal distributions; the distance is that of the two,
  |m_t - m_r|² + tr(S_t) + tr(S_r) - 2 tr((S_r½ S_t S_r½)½). It is 0 for equal ones and grows with squared lengths.
- Mean and covariance of both sides come from the same estimator.
- With fewer vectors than their width the plain covariance is singular and the distance is biased upwards; shrunken
  estimators and the extrapolation to infinitely many samples correct for it. Compare only values of one estimator and,
  without extrapolation, of one sample size.

Estimators
----------
- ``mle``: mean and sample covariance, divided by n - 1.
- ``ledoit_wolf``, ``oas``, ``shrinkage``: scikit-learn's covariances, shrunk towards a multiple of the identity by
  Ledoit and Wolf's formula, by oracle approximating shrinkage, and by a tenth.
- ``bootstrap``: mean and sample covariance averaged over resamples with replacement.

References
----------
D. C. Dowson, B. V. Landau: The Fréchet distance between multivariate normal distributions, 1982.
J. Retkowski, J. Stępniak, M. Modrzejewski: Frechet Music Distance, arXiv:2412.07948, 2024 (of symbolic music; its
estimators, distances of single songs, and the extrapolation).
M. J. Chong, D. Forsyth: Effectively unbiased FID and Inception Score, CVPR 2020 (extrapolation).
O. Ledoit, M. Wolf: A well-conditioned estimator for large-dimensional covariance matrices, 2004.
Y. Chen, A. Wiesel, Y. C. Eldar, A. O. Hero: Shrinkage algorithms for MMSE covariance estimation, 2010.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import ConfigError, DataError

ESTIMATORS = ("mle", "ledoit_wolf", "oas", "shrinkage", "bootstrap")
SHRINKAGE = 0.1
N_RESAMPLES = 1000
N_SIZES = 25
MIN_SIZE = 500


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """Symmetric root of the covariance."""
        values, axes = np.linalg.eigh((self.covariance + self.covariance.T) / 2)
        return (axes * np.sqrt(np.clip(values, 0, None))) @ axes.T


@dataclass(frozen=True)
class Extrapolation:
    """The distance for infinitely many test vectors, and the line it was extrapolated along.

    Attributes
    ----------
    distance : float
        Where the line meets 1 / n = 0.
    slope : float
        Of the line over 1 / n: the bias times n.
    r2 : float
        Coefficient of determination of the line; do not trust the distance if it is far below 1.
    sizes : list of int
        Sample sizes.
    distances : list of float
        Distance of each sample.
    """

    distance: float
    slope: float
    r2: float
    sizes: list[int]
    distances: list[float]


def validate(test: NDArray[np.float64], reference: NDArray[np.float64], estimator: str = "mle") -> None:
    """Check that two sets of vectors can be compared; warn if there are too few for an estimator that does not shrink.

    Parameters
    ----------
    test, reference : arrays of float64, shapes (M, D) and (N, D)
    estimator : str
        One of `ESTIMATORS`.

    Raises
    ------
    DataError
        If one is no (n, D) array of finite numbers with at least two rows, or the widths differ.
    """
    for name, values in (("test", test), ("reference", reference)):
        if values.ndim != 2:
            raise DataError(f"{name} vectors must have shape (items, width), got {values.shape}.")
        if len(values) < 2:
            raise DataError(f"the {name} set has {len(values)} vectors; a distribution needs at least 2.")
        if not np.isfinite(values).all():
            raise DataError(f"the {name} set holds NaN or infinity; leave inputs that failed to encode out.")
    if test.shape[1] != reference.shape[1]:
        raise DataError(f"test vectors are {test.shape[1]} wide, references {reference.shape[1]}; of one model?")
    if estimator in ("mle", "bootstrap") and min(len(test), len(reference)) <= test.shape[1]:
        warnings.warn(
            f"{len(test)} and {len(reference)} vectors of width {test.shape[1]}: with fewer vectors than width the "
            "plain distance is far too large; use a shrunken estimator, and compare equal sizes only.",
            stacklevel=3,
        )


def estimate(vectors: ArrayLike, estimator: str = "mle", *, seed: int = 0) -> Gaussian:
    """Return mean and covariance of vectors.

    Parameters
    ----------
    vectors : array of float, shape (n, D)
    estimator : str
        One of `ESTIMATORS`.
    seed : int
        Of the bootstrap's resamples.

    Raises
    ------
    ConfigError
        If the estimator is unknown, or needs scikit-learn and it is absent.
    """
    values = np.asarray(vectors, np.float64)
    if estimator == "mle":
        return Gaussian(values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False)))
    if estimator == "bootstrap":
        return _bootstrap(values, np.random.default_rng(seed))
    return Gaussian(values.mean(axis=0), _shrunken(estimator)(values))


def distance(left: Gaussian, right: Gaussian) -> float:
    """Return the squared Fréchet distance of two normal distributions; never negative.

    Parameters
    ----------
    left, right : Gaussian

    Notes
    -----
    The trace of the square root is the sum of the square roots of a symmetric matrix's eigenvalues, so singular
    covariances need no added constant and no complex numbers appear.
    """
    product = right.root @ left.covariance @ right.root
    shared = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    gap = left.mean - right.mean
    return max(0.0, float(gap @ gap + np.trace(left.covariance) + np.trace(right.covariance) - 2 * shared))


def frechet_distance(test: ArrayLike, reference: ArrayLike, *, estimator: str = "mle", seed: int = 0) -> float:
    """Return the squared Fréchet distance of two sets of vectors.

    Parameters
    ----------
    test, reference : arrays of float, shapes (M, D) and (N, D)
    estimator : str
        One of `ESTIMATORS`, for both sides.
    seed : int
        Of the bootstrap's resamples.

    Raises
    ------
    DataError
        As `validate`.
    ConfigError
        As `estimate`.

    Examples
    --------
    Two sets of equal shape, 3 apart along the first axis:

    >>> reference = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> round(frechet_distance(reference + [3.0, 0.0], reference), 6)
    9.0
    """
    left, right = np.asarray(test, np.float64), np.asarray(reference, np.float64)
    validate(left, right, estimator)
    return distance(estimate(left, estimator, seed=seed), estimate(right, estimator, seed=seed))


def song_distances(
    test: ArrayLike, reference: ArrayLike, *, estimator: str = "mle", seed: int = 0
) -> NDArray[np.float64]:
    """Return the distance of every single test vector to the reference.

    A song is modelled as a distribution around its vector with the covariance of the reference, so what remains of the
    formula is the squared Euclidean distance to the reference's mean.

    Parameters
    ----------
    test, reference : arrays of float, shapes (M, D) and (N, D)
    estimator : str
        One of `ESTIMATORS`; of the reference's mean.
    seed : int
        Of the bootstrap's resamples.

    Returns
    -------
    array of float64, shape (M,)
    """
    left, right = np.atleast_2d(np.asarray(test, np.float64)), np.asarray(reference, np.float64)
    # One song is enough, and the covariance plays no part.
    validate(np.repeat(left, 2, axis=0), right, "")
    gaps = left - estimate(right, "mle" if estimator != "bootstrap" else estimator, seed=seed).mean
    return np.einsum("md,md->m", gaps, gaps)


def extrapolate(
    test: ArrayLike,
    reference: ArrayLike,
    *,
    estimator: str = "mle",
    n_sizes: int = N_SIZES,
    min_size: int = MIN_SIZE,
    seed: int = 0,
) -> Extrapolation:
    """Return the distance that infinitely many test vectors would have.

    Test samples of rising size are drawn without replacement; their distances lie near a line over 1 / size, which is
    extrapolated to 0. The largest sample is the whole set. The reference is never sampled.

    Parameters
    ----------
    test, reference : arrays of float, shapes (M, D) and (N, D)
    estimator : str
        One of `ESTIMATORS`, for both sides.
    n_sizes : int
        Samples, of sizes equally spaced from ``min_size`` to M.
    min_size : int
        Smallest sample.
    seed : int
        Of the samples.

    Raises
    ------
    DataError
        As `validate`, or if there are not enough vectors for two sizes.
    ConfigError
        As `estimate`, or if ``n_sizes`` or ``min_size`` is below 2.
    """
    left, right = np.asarray(test, np.float64), np.asarray(reference, np.float64)
    if n_sizes < 2 or min_size < 2:
        raise ConfigError(f"a line needs 2 sizes of at least 2 vectors, got {n_sizes} and {min_size}.")
    validate(left, right, estimator)
    if len(left) <= min_size:
        raise DataError(f"{len(left)} test vectors are too few to extrapolate from samples of {min_size} and more.")
    rng = np.random.default_rng(seed)
    whole = estimate(right, estimator, seed=seed)
    sizes = np.unique(np.linspace(min_size, len(left), n_sizes).round().astype(int)).tolist()
    distances = []
    for size in sizes:
        rows = np.sort(rng.choice(len(left), size, replace=False))
        distances.append(distance(estimate(left[rows], estimator, seed=seed), whole))
    slope, crossing = np.polyfit(1 / np.array(sizes), distances, 1)
    left_over = np.asarray(distances) - (crossing + slope / np.array(sizes))
    spread = np.var(distances)
    r2 = 1 - np.mean(left_over**2) / spread if spread > 0 else 1.0
    return Extrapolation(float(crossing), float(slope), float(r2), sizes, distances)


def _bootstrap(values: NDArray[np.float64], rng: np.random.Generator) -> Gaussian:
    """Average mean and covariance over resamples, from how often each draws every row."""
    n = len(values)
    centre = values.mean(axis=0)
    centred = values - centre
    counts = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)  # (resamples, n)
    means = counts @ centred / n  # (resamples, D)
    second = (centred * counts.mean(axis=0)[:, None]).T @ centred / n
    covariance = (second - means.T @ means / N_RESAMPLES) * n / (n - 1)
    return Gaussian(centre + means.mean(axis=0), covariance)


def _shrunken(estimator: str) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    if estimator not in ESTIMATORS:
        raise ConfigError(f"the estimator is {estimator!r}; choose one of {', '.join(ESTIMATORS)}.")
    try:
        from sklearn import covariance
    except ImportError:
        raise ConfigError(
            f"the estimator {estimator} needs scikit-learn: pip install 'clamp3[eval]', or choose mle or bootstrap."
        ) from None
    kinds = {
        "ledoit_wolf": covariance.LedoitWolf(),
        "oas": covariance.OAS(),
        "shrinkage": covariance.ShrunkCovariance(shrinkage=SHRINKAGE),
    }
    return lambda values: kinds[estimator].fit(values).covariance_

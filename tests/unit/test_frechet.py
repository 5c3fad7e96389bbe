"""Fréchet distance: against scipy and hand-derived values, and perfect, tied, empty, malformed."""

import sys
import warnings

import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError
from clamp3.retrieval import frechet
from clamp3.retrieval.frechet import ESTIMATORS, Gaussian, distance, estimate, extrapolate, frechet_distance

pytestmark = pytest.mark.kernels


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def spread(rng, n, width=6, shift=0.0):
    return shift + rng.standard_normal((n, width)) @ np.random.default_rng(1).standard_normal((width, width))


def test_one_dimension_by_hand():
    # N(1, 4) and N(3, 9): (1 - 3)² + (2 - 3)²
    assert distance(Gaussian(np.array([1.0]), np.array([[4.0]])), Gaussian(np.array([3.0]), np.array([[9.0]]))) == 5
    # Vectors 0, 2, 4 (mean 2, variance 4) and 1, 2, 3 (mean 2, variance 1).
    assert frechet_distance([[0.0], [2.0], [4.0]], [[1.0], [2.0], [3.0]]) == pytest.approx(1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_to_the_formula_with_scipys_matrix_root(rng, estimator):
    linalg = pytest.importorskip("scipy.linalg")
    test, reference = spread(rng, 80), spread(rng, 90, shift=0.3)
    a, b = estimate(test, estimator), estimate(reference, estimator)
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    gap = a.mean - b.mean
    expected = gap @ gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root)
    assert frechet_distance(test, reference, estimator=estimator) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_sets_are_at_no_distance_and_a_shift_counts_its_square(rng, estimator):
    vectors = spread(rng, 50)
    assert frechet_distance(vectors, vectors, estimator=estimator) == pytest.approx(0, abs=1e-8)
    shift = np.array([3, 0, 4, 0, 0, 0])
    assert frechet_distance(vectors + shift, vectors, estimator=estimator) == pytest.approx(25, rel=1e-9)


def test_the_distance_is_symmetric(rng):
    a, b = spread(rng, 40), spread(rng, 70, shift=1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_vectors_all_alike_and_singular_covariances(rng):
    same = np.ones((5, 6))
    with pytest.warns(UserWarning, match="fewer vectors than width"):
        assert frechet_distance(same, same) == 0
    with pytest.warns(UserWarning, match="fewer vectors than width"):
        assert frechet_distance(same + 2, same) == pytest.approx(4 * 6)
    few = spread(rng, 4, width=6)  # rank 3 of 6
    with pytest.warns(UserWarning):
        assert frechet_distance(few, few) == pytest.approx(0, abs=1e-8)


def test_shrunken_estimators_do_not_warn_of_few_vectors(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for estimator in ("ledoit_wolf", "oas", "shrinkage"):
            assert np.isfinite(frechet_distance(spread(rng, 4), spread(rng, 5), estimator=estimator))
        assert frechet.song_distances(spread(rng, 4), spread(rng, 5)).shape == (4,)


def test_the_plain_and_the_shrunken_covariance_by_hand(rng):
    vectors = spread(rng, 30)
    centred = vectors - vectors.mean(axis=0)
    plain = centred.T @ centred
    np.testing.assert_allclose(estimate(vectors, "mle").covariance, plain / 29, rtol=1e-12)
    tenth = 0.9 * plain / 30 + 0.1 * np.trace(plain) / 30 / 6 * np.eye(6)
    np.testing.assert_allclose(estimate(vectors, "shrinkage").covariance, tenth, rtol=1e-12)


def test_shrunken_estimates_come_nearer_to_the_truth(rng):
    width = 40
    truth = np.diag(np.linspace(0.5, 2, width))
    vectors = rng.standard_normal((30, width)) * np.sqrt(np.diag(truth))
    off = {name: np.linalg.norm(estimate(vectors, name).covariance - truth) for name in ESTIMATORS}
    assert off["ledoit_wolf"] < off["mle"] / 2 and off["oas"] < off["mle"] / 2 and off["shrinkage"] < off["mle"]


def test_the_bootstrap_equals_resampling_one_by_one(rng, monkeypatch):
    monkeypatch.setattr(frechet, "N_RESAMPLES", 40)
    vectors = spread(rng, 25)
    counts = np.random.default_rng(3).multinomial(25, np.full(25, 1 / 25), size=40)
    drawn = [np.repeat(vectors, count, axis=0) for count in counts]
    got = estimate(vectors, "bootstrap", seed=3)
    np.testing.assert_allclose(got.mean, np.mean([d.mean(axis=0) for d in drawn], axis=0), rtol=1e-10)
    np.testing.assert_allclose(got.covariance, np.mean([np.cov(d, rowvar=False) for d in drawn], axis=0), rtol=1e-10)
    np.testing.assert_array_equal(got.covariance, estimate(vectors, "bootstrap", seed=3).covariance)
    assert not np.array_equal(got.covariance, estimate(vectors, "bootstrap", seed=4).covariance)


def test_a_songs_distance_is_the_square_to_the_references_mean(rng):
    reference, songs = spread(rng, 50), spread(rng, 3)
    gaps = songs - reference.mean(axis=0)
    np.testing.assert_allclose(frechet.song_distances(songs, reference), (gaps**2).sum(axis=1), rtol=1e-12)
    assert frechet.song_distances(songs[0], reference).shape == (1,)


def test_extrapolation_removes_the_bias_of_few_samples(rng):
    width = 30
    reference = rng.standard_normal((20_000, width))
    test = rng.standard_normal((400, width))  # of one distribution: the truth is 0
    plain = frechet_distance(test, reference)
    found = extrapolate(test, reference, min_size=60)
    assert plain > 0.5 and abs(found.distance) < 0.25 * plain
    assert found.slope > 0 and found.r2 > 0.9
    assert found.sizes[0] == 60 and found.sizes[-1] == 400 and len(found.sizes) == 25
    assert found.distances[-1] == pytest.approx(plain)  # without replacement the largest sample is the whole set
    assert extrapolate(test, reference, min_size=60) == found
    assert extrapolate(test, reference, min_size=60, seed=1) != found


def test_samples_are_drawn_without_replacement(rng, monkeypatch):
    seen = []
    monkeypatch.setattr(frechet, "estimate", lambda values, name, seed=0: seen.append(values) or estimate(values))
    extrapolate(spread(rng, 40), spread(rng, 50), min_size=20, n_sizes=5)
    assert [len(values) for values in seen] == [50, 20, 25, 30, 35, 40]
    assert all(len(np.unique(values, axis=0)) == len(values) for values in seen)


def test_both_sides_have_the_same_estimator_while_extrapolating(rng, monkeypatch):
    used = []
    monkeypatch.setattr(frechet, "estimate", lambda values, name, seed=0: used.append(name) or estimate(values, "mle"))
    extrapolate(spread(rng, 40), spread(rng, 50), estimator="oas", min_size=20, n_sizes=3)
    assert used == ["oas"] * 4


@pytest.mark.parametrize(
    ("test", "reference", "message"),
    [
        (np.zeros((0, 3)), np.ones((4, 3)), "test set has 0 vectors"),
        (np.ones((4, 3)), np.ones((1, 3)), "reference set has 1 vectors"),
        (np.ones(3), np.ones((4, 3)), "items, width"),
        (np.ones((4, 3)), np.ones((4, 2)), "3 wide, references 2"),
        (np.full((4, 3), np.nan), np.ones((4, 3)), "NaN"),
    ],
)
def test_malformed_sets_are_named(test, reference, message):
    with pytest.raises(DataError, match=message):
        frechet_distance(test, reference)


def test_malformed_arguments_are_named(rng, monkeypatch):
    vectors = spread(rng, 30)
    with pytest.raises(ConfigError, match="choose one of mle"):
        estimate(vectors, "leodit_wolf")
    with pytest.raises(DataError, match="too few to extrapolate"):
        extrapolate(vectors, vectors)
    with pytest.raises(ConfigError, match="2 sizes"):
        extrapolate(vectors, vectors, n_sizes=1, min_size=5)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"clamp3\[eval\]"):
        estimate(vectors, "oas")

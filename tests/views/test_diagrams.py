"""Diagrams equal those of gudhi, ripser and a slow union-find, on signals of every kind."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import sublevel_diagrams

RNG = np.random.default_rng(7)
CASES = {
    "noise": RNG.normal(size=(40, 3, 50)),
    "float32": RNG.normal(size=(20, 2, 33)).astype(np.float32),
    "walk": np.cumsum(RNG.normal(size=(20, 2, 129)), axis=-1),
    "ties": RNG.integers(-3, 4, size=(200, 2, 20)),
    "two values": RNG.integers(0, 2, size=(100, 1, 17)).astype(float),
    "plateaus": np.repeat(RNG.integers(0, 6, size=(50, 2, 12)), 3, axis=-1).astype(float),
    "constant": np.full((2, 2, 9), 0.1),
    "rising": np.arange(12.0).reshape(1, 1, 12),
    "falling": -np.arange(12.0).reshape(1, 1, 12),
    "length 1": RNG.normal(size=(3, 2, 1)),
    "length 2": RNG.normal(size=(3, 2, 2)),
    "length 3": RNG.integers(0, 3, size=(60, 1, 3)).astype(float),
    "sawtooth": np.tile([0.0, 1.0], 32).reshape(1, 1, 64),
}


def union_find(row):
    """The diagram by its definition: samples enter in rising order; of two components that meet the younger dies."""
    parent, pairs = {}, []

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in sorted(range(len(row)), key=lambda i: (row[i], i)):
        parent[i] = i
        for j in (i - 1, i + 1):
            if j in parent and root(i) != root(j):
                elder, younger = sorted((root(i), root(j)), key=lambda k: (row[k], k))
                if row[i] > row[younger]:
                    pairs.append((row[younger], row[i]))
                parent[younger] = elder
    return np.array(pairs, dtype=float).reshape(-1, 2)


def assert_same(found, expected, atol=0.0):
    order = [np.lexsort(d.T) for d in (found, expected)]
    np.testing.assert_allclose(found[order[0]], expected[order[1]], rtol=0, atol=atol)


@pytest.mark.parametrize("case", CASES)
def test_equals_union_find(case):
    x = CASES[case]
    diagrams = sublevel_diagrams(x)
    assert [len(d) for d in diagrams] == [x.shape[1]] * len(x)
    for window, found in zip(x, diagrams, strict=True):
        for row, pairs in zip(window, found, strict=True):
            assert pairs.dtype == np.float64
            assert pairs.shape[1:] == (2,)
            assert (pairs[:, 1] > pairs[:, 0]).all()
            assert_same(pairs, union_find(row.astype(float)))


@pytest.mark.parametrize("case", CASES)
def test_equals_gudhi(case):
    cubical = pytest.importorskip("gudhi.sklearn.cubical_persistence")
    x = CASES[case].astype(float)
    rows = x.reshape(-1, x.shape[2])
    expected = cubical.CubicalPersistence(homology_dimensions=0, input_type="vertices").fit_transform(list(rows))
    for found, pairs in zip([d for window in sublevel_diagrams(x) for d in window], expected, strict=True):
        assert_same(found, pairs[np.isfinite(pairs).all(axis=1)], 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_equals_ripser(case):
    ripser = pytest.importorskip("ripser").ripser
    sparse = pytest.importorskip("scipy.sparse")
    x = CASES[case][:25].astype(float)
    for row, found in zip(x.reshape(-1, x.shape[2]), [d for w in sublevel_diagrams(x) for d in w], strict=True):
        if len(row) == 1:  # ripser wants two points
            assert len(found) == 0
            continue
        t = np.arange(len(row))
        values = np.concatenate([row, np.maximum(row[1:], row[:-1]), np.maximum(row[1:], row[:-1])]) + 10
        rows, columns = np.concatenate([t, t[1:], t[:-1]]), np.concatenate([t, t[:-1], t[1:]])
        graph = sparse.csr_matrix((values, (rows, columns)))
        pairs = ripser(graph, distance_matrix=True, maxdim=0)["dgms"][0].astype(float) - 10
        pairs = pairs[np.isfinite(pairs).all(axis=1) & (pairs[:, 1] > pairs[:, 0])]
        assert_same(found, pairs, 1e-5)  # ripser works in float32


def test_essential_class_dies_at_the_maximum():
    x = CASES["ties"]
    for window, dropped, closed in zip(x, sublevel_diagrams(x), sublevel_diagrams(x, essential="max"), strict=True):
        for row, a, b in zip(window, dropped, closed, strict=True):
            extra = [[row.min(), row.max()]] if row.max() > row.min() else np.empty((0, 2))
            assert_same(b, np.concatenate([a, extra]))
    assert len(sublevel_diagrams(np.ones((1, 1, 5)), essential="max")[0][0]) == 0


def test_invariances():
    x = CASES["walk"]
    for a, b, c in zip(sublevel_diagrams(x), sublevel_diagrams(x[..., ::-1]), sublevel_diagrams(4 * x), strict=True):
        for p, q, r in zip(a, b, c, strict=True):
            assert_same(p, q)
            assert_same(4 * p, r)


def test_stable_under_noise():
    """Bottleneck stability: as many pairs of persistence above 2 e remain when a signal moves by at most e."""
    t = np.linspace(0, 1, 200)
    x = np.sin(2 * np.pi * 5 * t)[None, None]
    noisy = x + np.random.default_rng(0).uniform(-0.05, 0.05, size=x.shape)
    big = [d[np.diff(d)[:, 0] > 0.2] for d in (sublevel_diagrams(x)[0][0], sublevel_diagrams(noisy)[0][0])]
    assert len(big[0]) == len(big[1]) == 5  # five valleys and the start, less the lowest
    np.testing.assert_allclose(np.sort(big[0], axis=0), np.sort(big[1], axis=0), atol=0.05)


@pytest.mark.parametrize("windows", [np.ones((3, 4)), np.ones((1, 1, 4), dtype=complex), np.ones((1, 0, 4))])
def test_bad_windows_are_refused(windows):
    with pytest.raises(MmkdError, match="windows must"):
        sublevel_diagrams(windows)


def test_bad_choice_is_refused():
    with pytest.raises(MmkdError, match="drop, max"):
        sublevel_diagrams(np.ones((1, 1, 4)), essential="keep")
    assert sublevel_diagrams(np.empty((0, 2, 5))) == []


@pytest.mark.parametrize("at", [0, 5, 49])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e300, np.array(-1, np.int64).view(np.float64)])
def test_values_that_are_no_level_are_refused_wherever_they_are(at, value):
    x = CASES["noise"].copy()
    x[31, 2, at] = value  # all bits set is a NaN whose key would be above the bottom of the stack
    with pytest.raises(MmkdError, match=r"1 values .* first in window 31 "):
        sublevel_diagrams(x)

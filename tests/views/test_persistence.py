"""Persistence images equal those of persim, and keep the identities of their definition."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import PersistenceImage, splat, sublevel_diagrams

X = np.random.default_rng(5).normal(size=(8, 2, 60)).cumsum(axis=-1) / 8


def gaussian_masses(center, sigma, edges):
    special = pytest.importorskip("scipy.special")
    return np.diff(special.ndtr((edges - center) / sigma))


def slow_image(pairs, births, persistences, sigma_birth, sigma_persistence):
    """The image by its definition, dense; `births` and `persistences` are the edges of the pixels."""
    image = np.zeros((len(births) - 1, len(persistences) - 1))
    for birth, death in pairs:
        along = gaussian_masses(birth, sigma_birth, births)
        image += (death - birth) * np.outer(along, gaussian_masses(death - birth, sigma_persistence, persistences))
    return image


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.6])
@pytest.mark.parametrize(("low", "size"), [(-1.0, 32), (-2.0, 48)])
def test_equals_persim(sigma, low, size):
    persim = pytest.importorskip("persim")
    pixel = (1.0 - low) / size
    imager = persim.PersistenceImager(
        birth_range=(low, 1.0), pers_range=(0.0, 1.0 - low), pixel_size=pixel, kernel_params={"sigma": sigma**2}
    )
    assert imager.resolution == (size, size)
    pi = PersistenceImage(size, birth_low=low, birth_high=1, persistence_high=1 - low, sigma=sigma, scale="none")
    assert not pi.fitted
    found = pi.transform(X)
    for window, images in zip(sublevel_diagrams(X), found, strict=True):
        for pairs, image in zip(window, images, strict=True):
            np.testing.assert_allclose(image, imager.transform(pairs, skew=True), rtol=0, atol=1e-5)


def test_fitted_grid_equals_the_definition():
    pi = PersistenceImage(24, sigma_pixels=1.7, essential="max").fit(X)
    state, found = pi.state(), pi.transform(X)
    for window, images in zip(sublevel_diagrams(X, essential="max"), found, strict=True):
        for c, pairs in enumerate(window):
            births = np.linspace(state["birth_low"][c], state["birth_high"][c], 25)
            persistences = np.linspace(0, state["persistence_high"][c], 25)
            expected = slow_image(pairs, births, persistences, 1.7 * np.diff(births)[0], 1.7 * np.diff(persistences)[0])
            np.testing.assert_allclose(images[c], expected / state["scale"][c], atol=1e-5)


def test_fitted_axes_span_the_quantiles_of_the_training_windows_with_a_margin():
    """Births from the 1 - q quantile of the least to the q quantile of the greatest, 5 % on either side; persistence up
    to the q quantile of the greatest, and 5 % more."""
    state = PersistenceImage(16, quantile=0.9).fit(X).state()
    for c in range(X.shape[1]):
        pairs = [window[c] for window in sublevel_diagrams(X)]
        low = np.quantile([each[:, 0].min() for each in pairs], 0.1)
        high = np.quantile([each[:, 0].max() for each in pairs], 0.9)
        top = np.quantile([(each[:, 1] - each[:, 0]).max() for each in pairs], 0.9)
        assert state["birth_low"][c] == pytest.approx(low - 0.05 * (high - low))
        assert state["birth_high"][c] == pytest.approx(high + 0.05 * (high - low))
        assert state["persistence_high"][c] == pytest.approx(1.05 * top)


def test_fitted_values_suit_a_network():
    x = X[:, :1] * np.array([1e-3, 1.0, 1e4])[:, None] + np.array([0.0, 5.0, -2e4])[:, None]
    images = PersistenceImage(32).fit(x).transform(x)
    assert 0 <= images.min() <= images.max() <= 2
    assert (images.max(axis=(0, 2, 3)) > 0.5).all()
    np.testing.assert_allclose(images[:, 0], images[:, 1], atol=1e-3)  # each channel has its own unit
    np.testing.assert_allclose(images[:, 1], images[:, 2], atol=1e-3)


def test_fitted_ranges_hold_the_training_pairs():
    state = PersistenceImage(16, quantile=1).fit(X).state()
    pairs = [np.concatenate([window[c] for window in sublevel_diagrams(X)]) for c in range(2)]
    for c, p in enumerate(pairs):
        assert state["birth_low"][c] < p[:, 0].min()
        assert state["birth_high"][c] > p[:, 0].max()
        assert state["persistence_high"][c] == pytest.approx(1.05 * np.diff(p).max())


def test_outliers_do_not_stretch_the_range():
    x = np.repeat(X[:, :1], 50, axis=0)
    spiked = x.copy()
    spiked[0, 0, 20] = -1e6
    clean, robust = PersistenceImage(16).fit(x).state(), PersistenceImage(16).fit(spiked).state()
    assert robust["persistence_high"][0] < 2 * clean["persistence_high"][0]
    assert robust["birth_low"][0] > 2 * clean["birth_low"][0] - 1


def test_levels():
    ends = {"birth_low": -2, "birth_high": 2, "persistence_high": 4, "sigma": 0.2, "scale": "none"}
    sub = PersistenceImage(16, "sublevel", **ends).transform(X)
    sup = PersistenceImage(16, "superlevel", **ends).transform(X)
    both = PersistenceImage(16, "both", **ends)
    assert both.shape(2, 60) == (4, 16, 16)
    np.testing.assert_array_equal(both.transform(X)[:, 0::2], sub)
    np.testing.assert_array_equal(both.transform(X)[:, 1::2], sup)
    turned = PersistenceImage(16, "sublevel", **ends).transform(-X)  # births of -x are those of x with the sign turned
    np.testing.assert_allclose(sup, turned[:, :, ::-1], atol=1e-6)
    fitted = PersistenceImage(16, "both").fit(X)
    assert fitted.transform(X).shape == (8, 4, 16, 16)
    assert len(fitted.state()["scale"]) == 4


def test_two_planes():
    """Another name of `levels="both"`: the same configuration, and so the same view in the cache."""
    two = PersistenceImage.parse({"planes": "2", "size": "16"})
    assert two.shape(3, 60) == (6, 16, 16)
    assert two.config() == PersistenceImage(16, "both").config()
    np.testing.assert_array_equal(two.fit(X).transform(X), PersistenceImage(16, "both").fit(X).transform(X))
    assert PersistenceImage(16, planes=1).config() == PersistenceImage(16).config()
    assert "planes" not in PersistenceImage().config()
    for bad in ({"levels": "superlevel", "planes": 2}, {"levels": "both", "planes": 1}, {"planes": 3}):
        with pytest.raises(MmkdError, match="planes"):
            PersistenceImage(**bad)


def test_weight_lies_in_the_image():
    """Away from the edges an image sums to the total persistence."""
    ends = {"birth_low": -20, "birth_high": 20, "persistence_high": 20, "sigma": 0.004, "scale": "none"}
    images = PersistenceImage(50, **ends, min_persistence=0.03).transform(X)
    for window, sums in zip(sublevel_diagrams(X), images.sum(axis=(2, 3)), strict=True):
        for pairs, total in zip(window, sums, strict=True):
            persistence = np.diff(pairs)[:, 0]
            assert total == pytest.approx(persistence[persistence >= 0.03].sum(), abs=1e-5)


def test_constant_and_monotone_windows_are_zeros():
    flat = np.stack([np.full((2, 30), 0.1), np.arange(60.0).reshape(2, 30)])
    for pi in (PersistenceImage(8), PersistenceImage(8, scale="image"), PersistenceImage.published(8)):
        assert (pi.fit(flat).transform(flat) == 0).all()
        assert (pi.fit(X).transform(flat) == 0).all()
        assert np.isfinite(pi.fit(flat).transform(X)).all()
    closed = PersistenceImage(8, essential="max").fit(flat).transform(flat)
    assert (closed[0] == 0).all()
    assert closed[1].max() > 0


def test_published():
    pi = PersistenceImage.published()
    assert not pi.fitted
    found = pi.transform(X)
    assert found.shape == (8, 2, 64, 64)
    np.testing.assert_allclose(found.max(axis=(2, 3)), 1)
    births, persistences = np.linspace(-1, 1, 65), np.linspace(0, 1, 65)
    for window, images in zip(sublevel_diagrams(X), found, strict=True):
        for pairs, image in zip(window, images, strict=True):
            expected = slow_image(pairs[np.diff(pairs)[:, 0] >= 0.01], births, persistences, 0.015, 0.015)
            np.testing.assert_allclose(image, expected / expected.max(), atol=1e-5)


def test_far_points_and_small_sigma_stay_finite():
    pi = PersistenceImage(8, birth_low=0, birth_high=1, persistence_high=1, sigma=1e-9, scale="none")
    far = np.array([[[1e30, 3e30, 2e30, 3e30], [0.5, 0.9, 0.5, 0.9], [-1e30, 1e30, 0.5, 1e30]]])
    images = pi.transform(far)
    assert np.isfinite(images).all()
    assert images[0, 0].max() == images[0, 2].max() == 0
    assert images[0, 1].sum() == pytest.approx(0.4, abs=1e-6)


def test_bad_options_are_refused():
    for bad in ({"birth_low": 0}, {"birth_high": 1}, {"birth_low": 1, "birth_high": 1}):
        with pytest.raises(MmkdError, match="birth-low"):
            PersistenceImage(**bad)
    for bad in ({"sigma": 0}, {"size": 1}, {"quantile": 0.2}, {"persistence_high": -1}, {"levels": "sub"}):
        with pytest.raises(MmkdError, match=next(iter(bad)).replace("_", "-")):
            PersistenceImage(**bad)


def test_the_table_of_the_normal_distribution():
    special = pytest.importorskip("scipy.special")
    z = np.linspace(-9, 9, 20001)
    found = np.array([splat._normal_cdf(v) for v in z])
    np.testing.assert_allclose(found, special.ndtr(z), rtol=0, atol=2e-9)
    assert (np.diff(found) >= -1e-15).all()

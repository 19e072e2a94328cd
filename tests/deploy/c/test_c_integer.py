"""The integer model: each layer against a slow formula in Python's own integers, and how near it is to the student."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from mmkd.core.errors import MmkdError
from mmkd.deploy.c.extract import extract
from mmkd.deploy.c.layers import Add, Affine, Conv, Input, Mean, Network, run_layers
from mmkd.deploy.c.quantise import Scale, _add, _affine, _conv, choose_scale, choose_units, measure_ranges, quantise
from mmkd.deploy.integer import FloatInput, IntegerConv, IntegerInput, IntegerMean, multipliers, requantise


def half_up(value):
    """A fraction, rounded, halves up."""
    return floor(value + Fraction(1, 2))


def cut(value, lowest=-128):
    return max(lowest, min(127, value))


@pytest.mark.parametrize("shift", [1, 7, 31, 40, 62])
def test_requantise_rounds_halves_up(shift):
    generator = np.random.default_rng(shift)
    sums = np.concatenate([generator.integers(-(2**31), 2**31, 200), [0, 1, -1, -(2**31), 2**31 - 1]])
    multiplier = int(generator.integers(2**30, 2**31))
    expected = [half_up(Fraction(int(value) * multiplier, 2**shift)) for value in sums]
    assert requantise(sums, multiplier, shift).tolist() == expected
    assert requantise(np.array([-3, -1, 1, 3]), 1, 1).tolist() == [-1, 0, 1, 2]


def test_multipliers_are_near_what_they_stand_for():
    real = np.array([0.9999999999, 1e-3, 0.0, 0.3])
    whole, shift = multipliers(real)
    assert 2**30 <= whole.max() < 2**31
    np.testing.assert_allclose(whole / 2.0**shift, real, atol=2.0**-31)
    whole, shift = multipliers(np.array([2.0**-30]))
    assert (whole[0] / 2.0**shift, shift) == (2.0**-30, 60)
    for bad in (0.0, 2.0**-32, 2.0**30):
        with pytest.raises(ValueError, match="a factor of"):
            multipliers(np.array([bad]))


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "relu"),
    [(1, 1, 1, 1, False), (2, 3, 2, 2, True), (3, 6, 1, 4, True), (1, 0, 3, 4, False)],
)
def test_a_convolution_in_integers(stride, padding, dilation, groups, relu):
    generator = np.random.default_rng(1)
    weight = generator.standard_normal((8, 4 // groups, 3))
    plain = Conv(("x",), "y", weight, generator.standard_normal(8), stride, padding, dilation, groups, relu)
    layer = _conv(plain, Scale(0.03, 11), Scale(0.05, -20), logits=False)
    x = generator.integers(-128, 128, (2, 4, 11))
    found = layer.run(x)
    for window, result in zip(x.tolist(), found.tolist(), strict=True):
        for o, row in enumerate(result):
            first = o // (8 // groups) * (4 // groups)
            for t, value in enumerate(row):
                total = int(layer.bias[o])
                for i in range(4 // groups):
                    for k in range(3):
                        position = t * stride - padding + k * dilation
                        if 0 <= position < 11:
                            total += int(layer.weight[o, i, k]) * (window[first + i][position] - 11)
                scaled = half_up(Fraction(total * int(layer.multiplier[o]), 2**layer.shift)) - 20
                assert value == cut(scaled, -20 if relu else -128)
    assert np.abs(layer.weight).max(axis=(1, 2)).tolist() == [127] * 8  # each channel has its own scale


def test_affine_add_and_mean_in_integers():
    generator = np.random.default_rng(2)
    scale, shift = np.array([1.5, -0.7, 1e-4]), np.array([0.3, -2.0, 5.0])
    affine = _affine(Affine(("x",), "y", scale, shift, relu=True), Scale(0.02, -5), Scale(0.04, -100))
    x, y = generator.integers(-128, 128, (2, 1, 3, 50))
    for c in range(3):
        for q, value in zip(x[0, c].tolist(), affine.run(x)[0, c].tolist(), strict=True):
            total = q * int(affine.multiplier[c]) + int(affine.bias[c])
            assert value == cut(floor(Fraction(total, 2**affine.shift)), -100)
            exact = (scale[c] * 0.02 * (q + 5) + shift[c]) / 0.04 - 100
            assert abs(value - cut(exact, -100)) < 0.501
    add = _add(Add(("x", "y"), "z"), Scale(0.02, -5), Scale(0.5, 90), Scale(0.3, 7))
    exact = (0.02 * (x + 5) + 0.5 * (y - 90)) / 0.3 + 7
    assert np.abs(add.run(x, y) - np.clip(exact, -128, 127)).max() < 0.501
    assert add.run(np.array([[[-5]]]), np.array([[[90]]])).item() == 7  # zero is exact
    mean = IntegerMean(("x",), "z", 4, 3, 2**29, 31, -5, 10)
    total = [sum(int(q) + 5 for q in x[0, 1, start : start + 4]) for start in range(0, 47, 3)]
    assert mean.run(x)[0, 1].tolist() == [cut(half_up(Fraction(s, 4)) + 10) for s in total]


def test_scales_hold_zero_exactly():
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-1e-3, 1e3)):
        scale = choose_scale(low, high)
        assert -128 <= scale.zero <= 127
        assert scale.step > 0
        for value in (low, high):
            q = np.clip(np.rint(value / scale.step) + scale.zero, -128, 127)
            assert abs(scale.step * (q - scale.zero) - value) <= scale.step


def test_a_dead_channel_keeps_its_bias():
    weight = np.array([[[1e-30]], [[1.0]], [[0.0]]])
    layer = _conv(Conv(("x",), "y", weight, np.array([3.0, 0.0, -2.0])), Scale(0.1, 0), Scale(0.05, 0), logits=False)
    assert layer.run(np.array([[[20]]]))[0, :, 0].tolist() == [60, 40, -40]
    assert np.abs(layer.bias).max() <= 2**30


def test_what_does_not_fit_into_32_bits_is_refused():
    wide = Conv(("x",), "y", np.ones((1, 70000, 1)), np.zeros(1))
    with pytest.raises(ValueError, match="sums may overflow"):
        _conv(wide, Scale(1.0, 0), Scale(70000.0, 0), logits=False)
    with pytest.raises(ValueError, match="results may overflow"):
        _conv(Conv(("x",), "y", np.ones((1, 8, 1)), np.zeros(1)), Scale(1.0, 0), Scale(1e-7, 0), logits=False)
    with pytest.raises(ValueError, match="a factor of"):
        _affine(Affine(("x",), "y", np.array([1e9]), np.zeros(1)), Scale(1.0, 0), Scale(1.0, 0))
    view = Input("x", (0,), np.zeros(1), np.ones(1))
    network = Network((view, wide), {"x": (70000, 1), "y": (1, 1)})
    with pytest.raises(MmkdError, match="layer y does not fit into 32 bits: its sums may overflow"):
        quantise(network, {"x": (-1, 1), "y": (-1, 1)}, (1, 1))


def test_raw_windows_become_integers():
    centre, factor = np.array([1.0, 0.0], np.float32), np.array([2.0, 0.0], np.float32)
    layer = FloatInput("x", (1, 0), centre, factor, zero=-3)
    channel = [1.0, 1.25, 0.75, 2.25, np.nan, np.inf, -np.inf, 3e38, -3e38]
    x = np.array([[[np.inf] * 9, channel]], np.float32)
    found = layer.run(x)[0].tolist()
    assert found[0] == [-3, -2, -3, 0, -3, 127, -128, 127, -128]  # halves up: 0.5 to 1, -0.5 to 0, 2.5 to 3
    assert found[1] == [-3] * 9  # a channel that was constant in training is zero whatever it is
    units = np.array([0.25])
    view = IntegerInput("x", (0,), units, np.array([256 * 4]), np.array([2**30]), 38, 5)
    assert view.run(np.array([[[4, 5, -1, 32767, -32768]]], np.int16))[0, 0].tolist() == [6 - 1, 6, 0, 127, -128]


def test_units_of_integer_windows_hold_twice_the_training_values():
    windows = np.array([[[1.0, -3.0], [0.0, 0.0], [1000.0, 2.0]]])
    units = choose_units(windows)
    assert (np.log2(units) % 1 == 0).all()
    for unit, largest in zip(units[[0, 2]], (3.0, 1000.0), strict=True):
        assert 2 * largest / unit <= 32767 < 4 * largest / unit


def test_integers_are_near_the_student(made):
    for net in ("tiny", "micro", "small"):
        network = extract(made.student(net))
        windows = made.windows(200, seed=1)
        model = quantise(network, measure_ranges(network, windows), windows.shape[1:])
        *_, (_, logits) = run_layers(network, windows)
        found = model.logits(model.as_input(windows)) / 1024
        spread = np.ptp(logits)
        assert np.abs(found - logits[:, :, 0]).max() < 0.08 * spread
        assert (model.predict(windows) == logits[:, :, 0].argmax(1)).mean() > 0.9
        whole = quantise(network, measure_ranges(network, windows), windows.shape[1:], choose_units(windows))
        assert np.abs(whole.logits(whole.as_input(windows)) / 1024 - logits[:, :, 0]).max() < 0.08 * spread
        assert all(
            layer.logits == (layer is model.layers[-1]) for layer in model.layers if isinstance(layer, IntegerConv)
        )


def test_ranges_are_those_of_all_windows(made):
    network = extract(made.student("micro"))
    windows = made.windows(150)
    ranges = measure_ranges(network, windows)
    for name, values in run_layers(network, windows):
        assert ranges[name] == (pytest.approx(values.min()), pytest.approx(values.max()))
    assert any(isinstance(layer, Mean) for layer in network.layers)

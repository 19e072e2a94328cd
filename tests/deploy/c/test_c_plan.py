"""The arena: no two maps that live at once share a byte, and what a layer may write over it does."""

import numpy as np
import pytest

from mmkd.deploy.c.plan import plan
from mmkd.deploy.integer import (
    FloatInput,
    IntegerAdd,
    IntegerAffine,
    IntegerConcat,
    IntegerConv,
    IntegerMean,
    IntegerModel,
)


def bytes_of(place, shape):
    channels, length = shape
    return {place.offset + t * place.row + c for t in range(length) for c in range(channels)}


def simulate(model):
    """Run through the layers with an arena of names: each byte that is read must hold what was written there."""
    places, arena = plan(model)
    memory = [""] * arena
    for layer in model.layers:
        for name in layer.inputs:
            found = {memory[byte] for byte in bytes_of(places[name], model.shapes[name])}
            assert found == {name} or isinstance(layer, IntegerConcat), f"{layer.output} reads {name} and finds {found}"
        if isinstance(layer, IntegerConcat):
            whole = bytes_of(places[layer.output], model.shapes[layer.output])
            assert whole == set.union(*(bytes_of(places[name], model.shapes[name]) for name in layer.inputs))
        elif layer is not model.layers[-1]:
            written = bytes_of(places[layer.output], model.shapes[layer.output])
            for name in layer.inputs:
                over = isinstance(layer, IntegerAffine | IntegerAdd) and places[name] == places[layer.output]
                assert over or not written & bytes_of(places[name], model.shapes[name])
        if layer is not model.layers[-1]:
            for byte in bytes_of(places[layer.output], model.shapes[layer.output]):
                memory[byte] = layer.output
    return arena


@pytest.mark.parametrize("name", ["tiny-float", "micro-int", "small-float"])
def test_no_map_is_written_over_while_it_is_read_later(models, name):
    arena = simulate(models[name])
    sizes = {n: c * t for n, (c, t) in models[name].shapes.items()}
    largest = max(sum(sizes[n] for n in (*layer.inputs,)) for layer in models[name].layers)
    assert largest <= arena < sum(sizes.values())


def conv(inputs, output, channels=4):
    zeros = np.zeros(channels, np.int64)
    return IntegerConv((inputs,), output, np.zeros((channels, 4, 1), np.int64), zeros, zeros, 1, 0, 0, 0, 1, 0, 1, 1)


def affine(inputs, output):
    return IntegerAffine((inputs,), output, np.ones(4, np.int64), np.zeros(4, np.int64), 1, -128)


def model_of(*layers, **shapes):
    view = FloatInput("x", (0, 1, 2, 3), np.zeros(4, np.float32), np.zeros(4, np.float32), 0)
    every = (view, *layers, conv(layers[-1].output, "logits"))
    known = {layer.output: (4, 10) for layer in every} | {"logits": (4, 1)} | shapes
    return IntegerModel(every, known, 4, 10)


def test_layers_that_may_write_over_their_input_do():
    assert simulate(model_of(affine("x", "a"), affine("a", "b"))) == 40
    assert simulate(model_of(affine("x", "a"), IntegerAdd(("x", "a"), "b", (1, 1), 0, 1, -128))) == 80
    assert simulate(model_of(affine("x", "a"), conv("a", "b"), IntegerAdd(("b", "x"), "c", (1, 1), 0, 1, -128))) == 120
    assert simulate(model_of(conv("x", "a"), conv("a", "b"), conv("b", "c"))) == 80


def test_parts_lie_where_the_whole_has_them():
    joined = IntegerConcat(("a", "b"), "c")
    model = model_of(conv("x", "a"), conv("x", "b"), joined, c=(8, 10))
    places, arena = plan(model)
    assert arena == simulate(model) == 120
    assert places["a"].row == places["c"].row == 8
    assert (places["a"].offset, places["b"].offset) == (places["c"].offset, places["c"].offset + 4)
    mean = IntegerMean(("x",), "m", 10, 10, 1, 1, 0, 0)
    assert simulate(model_of(mean, m=(4, 1))) == 44

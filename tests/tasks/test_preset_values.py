"""Presets: what they make of few training windows."""

from dataclasses import replace

import pytest

from mmkd.tasks import TASKS


def test_the_rate_of_sgd_falls_with_the_batch() -> None:
    full = TASKS.get("classification").preset("full")
    published = full.resolve(5000, False, {})
    few = full.resolve(64, False, {})
    assert (published.batch_size, published.lr) == (64, 0.05)
    assert few.batch_size == 8
    assert few.lr == pytest.approx(0.05 * 8 / 64)
    assert few.given == ()
    assert full.resolve(64, False, {"lr": 0.05}).lr == 0.05


def test_other_optimizers_keep_their_rate() -> None:
    quick = TASKS.get("classification").preset("quick")
    assert quick.resolve(64, False, {}).lr == quick.training.lr
    adam = replace(TASKS.get("classification").preset("full"), training=quick.training)
    assert adam.resolve(64, False, {}).lr == quick.training.lr

"""Random numbers for windows: a stream of its own for each window and each time that it is read."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
NOISE = 1 << 20
"""Numbers in the table that `Draws.noise` reads."""


class Draws:
    """Random numbers for B windows, an independent stream for each.

    What a window is given depends on its own stream alone, not on the other windows that are drawn for at the same
    time.

    Args:
        generators: one a window.
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = generators

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Float32:
        """Numbers of mean 0 and standard deviation 1, (B, *shape)."""
        out = np.empty((len(self), *shape), np.float32)
        for row, generator in zip(out.reshape(len(self), -1), self._generators, strict=True):
            generator.standard_normal(out=row, dtype=np.float32)
        return out

    def uniform(self, low: float, high: float, *shape: int) -> Float32:
        """Numbers that are equally likely anywhere in [low, high), (B, *shape)."""
        out = np.empty((len(self), *shape), np.float32)
        for row, generator in zip(out.reshape(len(self), -1), self._generators, strict=True):
            generator.random(out=row, dtype=np.float32)
        return low + np.float32(high - low) * out

    def noise(self, *shape: int) -> Float32:
        """Normal numbers as `normal` has them, (B, *shape), where many are needed.

        They are read from a table of about a million, from a random place on, which is ten times as quick as to draw
        them: two windows may share a part of their noise.
        """
        size = int(np.prod(shape))
        if size > NOISE // 16:
            return self.normal(*shape)
        table = _noise_table()
        out = np.empty((len(self), size), np.float32)
        for row, generator in zip(out, self._generators, strict=True):
            start = int(generator.random() * (NOISE - size + 1))
            row[:] = table[start : start + size]
        return out.reshape(len(self), *shape)

    def each(self, draw: Callable[[np.random.Generator], Any]) -> NDArray[Any]:
        """What `draw` returns for the generator of each window, (B, ...)."""
        return np.array([draw(generator) for generator in self._generators])


class Streams:
    """The streams of all windows of one training.

    Args:
        seed: a whole number from 0, below 2^63.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: list[np.random.Generator] = []

    def draws(self, windows: NDArray[np.int64], numbers: NDArray[np.int64], stream: int = 0) -> Draws:
        """The draws of these windows; those of an earlier call can then no longer be used.

        Args:
            windows: (B,) numbers of the windows in the data set.
            numbers: (B,) how many times each was read before: the number of the pass, or of the copy.
            stream: another number gives independent draws for the same windows.
        """
        while len(self._generators) < len(windows):  # they are made once, because that takes longer than to set them
            self._generators.append(np.random.Generator(np.random.Philox(0)))
        generators = self._generators[: len(windows)]
        key = np.array([self._seed, 0], np.uint64)
        counter = np.array([0, 0, 0, stream], np.uint64)
        state: dict[str, Any] = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": key},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        for generator, window, number in zip(generators, windows.tolist(), numbers.tolist(), strict=True):
            key[1] = window
            counter[2] = number
            generator.bit_generator.state = state
        return Draws(generators)


@lru_cache(maxsize=1)
def _noise_table() -> Float32:
    return np.random.Generator(np.random.PCG64(20_261_129)).standard_normal(NOISE, dtype=np.float32)

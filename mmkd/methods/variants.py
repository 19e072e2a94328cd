"""Methods that also read what the networks say of changed copies of each window, such as one with a part left out."""

from torch import Tensor

from mmkd.methods.contract import Method


class ReadsVariants(Method):
    """A method whose student and teachers see M changed copies of each window besides the window itself.

    The training loop changes the raw windows, makes their views anew, runs the student on them in the same batch as the
    windows themselves (so that batch normalisation has the statistics of both), and the teachers once. Their logits
    are `Outputs.variants`. In a trial without windows, and in `Setup`, that is None.

    It needs signals, teachers that are networks, and one process.
    """

    def variants(self, x: Tensor) -> Tensor:
        """The changed copies of raw windows, the same each time for a window.

        Args:
            x: (B, C, W) float32, before views are made, after augmentation.

        Returns:
            (B, M, C, W).

        Raises:
            MmkdError: windows of this length cannot be changed so.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no variants")

    @property
    def variants_key(self) -> object:
        """What the copies depend on besides the windows, in values of JSON; by default all options of the method."""
        return {name: getattr(self.config, name) for name in self.config.__dataclass_fields__}

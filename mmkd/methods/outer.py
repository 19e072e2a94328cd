"""For methods that optimise by themselves: Adam for a module of their own, and weights of gradients in conflict."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


class Outer(nn.Module):
    """A module that `Method.after_step` trains by Adam. Kingma and Ba, ICLR 2015, arXiv:1412.6980.

    Its parameters require no gradient outside of `lower`. The moments are buffers, so that a checkpoint holds them.
    """

    count: Tensor

    def __init__(self, module: nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.lr = lr
        self.weight_decay = weight_decay
        self.register_buffer("count", torch.zeros(()))
        for number, parameter in enumerate(module.parameters()):
            for moment in ("first", "second"):
                self.register_buffer(f"{moment}_{number}", torch.zeros_like(parameter))

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def lower(self, loss: Callable[[], Tensor]) -> Tensor:
        """One step that lowers the scalar which `loss` computes with the module; its value before."""
        parameters: list[Tensor] = list(self.module.parameters())
        self.module.requires_grad_(True)
        try:
            value = loss()
            gradients = torch.autograd.grad(value, parameters)
        finally:
            self.module.requires_grad_(False)
        first, second = ([self.get_buffer(f"{m}_{n}") for n in range(len(parameters))] for m in ("first", "second"))
        counts = [self.count.clone() for _ in parameters]  # each is counted up
        with torch.no_grad():
            adam(
                parameters,
                list(gradients),
                first,
                second,
                [],
                counts,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.lr,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )
        self.count += 1
        return value.detach()


def least_conflict(gradients: Tensor, most: float) -> Tensor:
    """The M weights, from 0 to `most` and summing to 1, of the shortest combination of M gradients.

    Args:
        gradients: (M, K), up to a common factor.
        most: 1 / M or more.
    """
    from scipy.optimize import Bounds, LinearConstraint, minimize

    count = len(gradients)
    products = (gradients @ gradients.T).double().cpu().numpy()
    scale = products.trace()
    if not scale > 0:
        return gradients.new_full((count,), 1 / count)

    def square(s: _Vector) -> float:
        return float(s @ products @ s / scale)

    def slope(s: _Vector) -> _Vector:
        return np.asarray(2 * products @ s / scale)

    start: _Vector = np.full(count, 1 / count)
    whole = LinearConstraint(np.ones((1, count)), 1, 1)
    found = minimize(
        square, start, method="SLSQP", jac=slope, bounds=Bounds(0, most), constraints=whole, options={"ftol": 1e-12}
    )
    shares = found.x.clip(0, most)
    return torch.from_numpy(shares / shares.sum()).to(gradients)

"""Tools for methods that optimise by themselves: a module with its own optimiser, and weights of gradients."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


class Outer(nn.Module):
    """A wrapper of a module that a method trains itself in `Method.after_step`, by Adam or by plain gradient descent.

    Adam: Kingma and Ba, ICLR 2015, arXiv:1412.6980. The parameters of the module require gradients only inside of
    `lower`, so that the training loop does not train them. Adam's moments are buffers, so that checkpoints contain
    them.

    Args:
        module: the module to train.
        lr: learning rate.
        weight_decay: L2 penalty.
        optimizer: "adam", or "sgd" for gradient descent without momentum.
    """

    count: Tensor

    def __init__(
        self, module: nn.Module, lr: float, weight_decay: float = 0.0, optimizer: Literal["adam", "sgd"] = "adam"
    ) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.register_buffer("count", torch.zeros(()))
        for number, parameter in enumerate(module.parameters() if optimizer == "adam" else ()):
            for moment in ("first", "second"):
                self.register_buffer(f"{moment}_{number}", torch.zeros_like(parameter))

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def lower(self, loss: Callable[[], Tensor]) -> Tensor:
        """Take one optimiser step on a loss.

        Args:
            loss: computes a scalar with the module; called once.

        Returns:
            The value of the loss before the step, detached.
        """
        parameters: list[Tensor] = list(self.module.parameters())
        self.module.requires_grad_(True)
        try:
            value = loss()
            gradients = torch.autograd.grad(value, parameters)
        finally:
            self.module.requires_grad_(False)
        if self.optimizer == "sgd":
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= self.lr * (gradient + self.weight_decay * parameter)
        else:
            self._step_adam(parameters, gradients)
        self.count += 1
        return value.detach()

    def _step_adam(self, parameters: list[Tensor], gradients: Sequence[Tensor]) -> None:
        first, second = ([self.get_buffer(f"{m}_{n}") for n in range(len(parameters))] for m in ("first", "second"))
        counts = [self.count.clone() for _ in parameters]  # one counter for each parameter, which adam() increments
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


def least_conflict(gradients: Tensor, limit: float) -> Tensor:
    """Find the convex combination of gradients with the smallest norm.

    Args:
        gradients: (M, K), one gradient a row. A common factor does not change the result.
        limit: the largest weight, at least 1 / M.

    Returns:
        (M,) weights between 0 and `limit` that sum to 1; equal weights if all gradients are 0.
    """
    from scipy.optimize import Bounds, LinearConstraint, minimize

    count = len(gradients)
    products = (gradients @ gradients.T).double().cpu().numpy()
    scale = products.trace()
    if not scale > 0:
        return gradients.new_full((count,), 1 / count)

    def squared_norm(s: _Vector) -> float:
        return float(s @ products @ s / scale)

    def gradient(s: _Vector) -> _Vector:
        return np.asarray(2 * products @ s / scale)

    start: _Vector = np.full(count, 1 / count)
    sum_to_one = LinearConstraint(np.ones((1, count)), 1, 1)
    solution = minimize(
        squared_norm,
        start,
        method="SLSQP",
        jac=gradient,
        bounds=Bounds(0, limit),
        constraints=sum_to_one,
        options={"ftol": 1e-12},
    )
    shares = solution.x.clip(0, limit)
    return torch.from_numpy(shares / shares.sum()).to(gradients)

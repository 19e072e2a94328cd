"""Soft targets, the loss that most distillation methods share, and the range of their temperature."""

from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError

TEMPERATURES = (0.01, 100.0)
"""The lowest and the highest temperature that an option accepts."""


def check_temperature(source: str, value: float) -> None:
    """Check that a temperature is in the accepted range.

    Far below it, a softmax cannot be told from a one-hot vector; far above it, T^2 KL drowns in rounding errors.

    Args:
        source: the option and its value, for the message.
        value: the temperature.

    Raises:
        MmkdError: The value is outside of `TEMPERATURES`.
    """
    low, high = TEMPERATURES
    if not low <= value <= high:
        raise MmkdError(f"{source}: a temperature is from {low:g} to {high:g}")


def soft_targets(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """T^2 KL(teacher || student) of softened probabilities. Hinton, Vinyals, Dean 2015, arXiv:1503.02531.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        temperature: T > 0, by which both logits are divided.

    Returns:
        A scalar, the mean over the batch.

    >>> import torch
    >>> soft_targets(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]]), temperature=4.0).item()
    0.0
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)

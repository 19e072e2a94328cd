"""Soft targets, the loss that most distillation methods share, and what scales terms of temperatures and of batches."""

import math

from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError

TEMPERATURES = (0.01, 100.0)
"""The lowest and the highest temperature that an option accepts."""
PUBLISHED_BATCH = 64
"""Windows in the batches for which the weights of terms that compare the windows of a batch were published."""

SMALLEST_REST = 1e-12
"""The least 1 - p of the focal loss: the slope of a power below 1 has no limit at 0."""


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


def label_losses(logits: Tensor, targets: Tensor, smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    """Cross-entropy of each sample times (1 - p)^gamma: the focal loss. Lin et al., ICCV 2017, arXiv:1708.02002.

    p is the probability of the label. The gradient flows through the factor too, as in the paper. With label smoothing
    the factor, of the label alone, multiplies the whole smoothed cross-entropy; the paper has none.

    Args:
        logits: (n, K).
        targets: (n,) labels.
        smoothing: share of the label that is spread over all classes.
        gamma: power of the factor; 0 for cross-entropy as it is.

    Returns:
        (n,).

    >>> import torch
    >>> label_losses(torch.zeros(1, 2), torch.tensor([1]), gamma=2.0)  # ln(2) / 4
    tensor([0.1733])
    """
    losses = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    if gamma == 0:
        return losses
    log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None])[:, 0]
    rest = -log_p.expm1()  # 1 - p, without cancellation near p = 1
    return losses * rest.clamp_min(SMALLEST_REST) ** gamma


def batch_scale(size: int, growth: int) -> float:
    """Factor that gives a term the scale that it has in batches of 64, if it grows with the batch size B as B^growth.

    >>> batch_scale(32, growth=2)
    4.0
    """
    return float((PUBLISHED_BATCH / size) ** growth)


def distinct_scale(size: int, count: int) -> float:
    """Factor on a mean over all tuples of samples that counts tuples with a repeated sample as in batches of 64.

    A tuple that names a sample twice adds nothing to such a mean; there are more of them in a small batch.

    Args:
        size: B, the number of samples.
        count: samples in a tuple, 2 for pairs or 3 for triples.

    Returns:
        The share of tuples without a repeated sample in a batch of 64, divided by that in this batch; 0 if there is
        none in this batch.
    """
    share = math.perm(size, count) / size**count
    return math.perm(PUBLISHED_BATCH, count) / PUBLISHED_BATCH**count / share if share else 0.0

"""The training of a kd unit as one would write it by hand, for one data set and one student: its least cost."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.keys import seed_for

LR, WEIGHT_DECAY, BATCH, WARM_UP = 2e-3, 1e-4, 64, 0.05
TEMPERATURE, KD_WEIGHT = 4.0, 0.7


def learning_rate(progress: float) -> float:
    if progress < WARM_UP:
        return LR * (progress + 0.005) / (WARM_UP + 0.005)
    return LR * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def kd_loss(logits: Tensor, labels: Tensor, teachers: list[Tensor]) -> Tensor:
    student = F.log_softmax(logits / TEMPERATURE, dim=1)
    targets = [F.log_softmax(teacher / TEMPERATURE, dim=1) for teacher in teachers]
    soft = sum(F.kl_div(student, each, reduction="batchmean", log_target=True) for each in targets) / len(targets)
    return (1 - KD_WEIGHT) * F.cross_entropy(logits, labels) + KD_WEIGHT * TEMPERATURE**2 * soft


def train(network: nn.Module, x: Tensor, y: Tensor, teachers: list[Tensor], epochs: int, seed: int) -> None:
    """Train on windows x (N, C, W) with labels y (N,) and each teacher's logits (N, K)."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    torch.manual_seed(seed_for(seed, "dropout"))
    network.train()
    for epoch in range(epochs):
        order = np.random.default_rng([seed_for(seed, "batches"), epoch]).permutation(len(x))
        batches = [torch.from_numpy(order[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        batches = batches if len(batches[-1]) > 1 else batches[:-1]
        for step, batch in enumerate(batches):
            optimizer.param_groups[0]["lr"] = learning_rate((epoch + step / len(batches)) / epochs)
            optimizer.zero_grad(set_to_none=True)
            logits = network({"sig": x[batch]}).logits
            kd_loss(logits, y[batch], [teacher[batch] for teacher in teachers]).backward()
            optimizer.step()


def test(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy and mean negative log-likelihood of test windows."""
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network({"sig": part}).logits for part in x.split(256)]).double()
    return {
        "accuracy": float((logits.argmax(1) == y).double().mean()),
        "nll": float(F.cross_entropy(logits, y)),
    }

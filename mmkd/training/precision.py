"""The precision of a training: networks may compute in bfloat16, losses are always computed in float32."""

from contextlib import nullcontext
from typing import Any

import torch

from mmkd.methods.outputs import Outputs
from mmkd.specs.unit import Training


def autocast(training: Training, device: torch.device) -> Any:
    """A context in which networks compute in bfloat16 if the training asks for it; otherwise it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if training.precision == "bf16" else nullcontext()


def as_float(outputs: Outputs) -> Outputs:
    """The outputs of a network in float32."""
    if outputs.logits.dtype == torch.float32:
        return outputs
    return Outputs(
        outputs.logits.float(),
        outputs.embedding.float(),
        {k: v.float() for k, v in outputs.features.items()},
        None if outputs.classifier is None else outputs.classifier.float(),
        {k: v.float() for k, v in outputs.attention.items()},
        {k: as_float(v) for k, v in outputs.branches.items()},
    )

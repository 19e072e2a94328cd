"""CPU latency of the dense students at equal parameters, side by side: python experiments/dense_latency.py

Fast-SCNN as `fast-scnn-small`, Mamba and U-Net widened to as many parameters, on one window of 512 samples and on 32.
The networks take turns, so that all see the same machine; the table holds the median and, in brackets, the multiple of
Fast-SCNN's time (median of the ratios of neighbours). MACs are those of convolutions and matrix products.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.nets import build_dense, count_parameters
from mmkd.nets.dense.mamba import Mamba
from mmkd.nets.dense.unet import UNet

SHAPE, CLASSES = (6, 512), 13


def networks() -> dict[str, nn.Module]:
    """Three networks of about the same size."""
    torch.manual_seed(0)
    found = {
        "fast-scnn": build_dense("fast-scnn-small", SHAPE, CLASSES),
        "mamba": Mamba(SHAPE, CLASSES, width=47),
        "unet": UNet(SHAPE, CLASSES, (11, 22, 44, 86)),
    }
    return {name: net.eval() for name, net in found.items()}


def macs(net: nn.Module) -> float:
    """Multiply-accumulates of one window, in millions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *SHAPE))
    return counter.get_total_flops() / 2e6


def seconds(net: nn.Module, x: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        net(x)
    return time.perf_counter() - started


def measure(args: Namespace) -> None:
    """Print the table."""
    nets = networks()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.rounds} rounds")
    print(f"{'':10}  params  MMACs  1 window, ms  32 windows, ms")
    times = {name: [[], []] for name in nets}
    for batch, x in enumerate((torch.randn(1, *SHAPE), torch.randn(32, *SHAPE))):
        for _ in range(3 + args.rounds):
            for name, net in nets.items():
                times[name][batch].append(seconds(net, x))
    for name, net in nets.items():
        cells = []
        for batch in (0, 1):
            own, first = (np.array(times[which][batch][3:]) for which in (name, "fast-scnn"))
            cells.append(f"{1e3 * np.median(own):6.1f} ({np.median(own / first):4.1f})")
        print(f"{name:10}  {count_parameters(net):6,}  {macs(net):5.1f}  {cells[0]}  {cells[1]}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="dense_latency.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", metavar="N", type=int, default=50)
    return run_script(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(main())

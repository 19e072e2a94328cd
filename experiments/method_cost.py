"""What a training step of each method costs, in steps of the student alone: python experiments/method_cost.py

The shapes of hapt6 under the quick preset: 6 x 128 samples, images of side 32, 7,000 training windows, batches of 64,
student sig+gaf+pi, three WRN16-1 teachers; the windows are made up. Teachers' outputs are read from memory, as the
runner reads them from its cache; a method that trains teachers runs them. Each step of a method is timed next to one of
`student`, round after round; the table has the median of their ratios and its quartiles, and the ratio of the sums, in
which steps count that come once in several (`meta-mkd`). Options are those of the preset; `progressive` is in its
second stage, with the features, and so is `mst-distill`, whose first costs most. How large each term of a method is
beside cross-entropy is measured by `method_scale.py`.
"""

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import Refused
from mmkd.core.registry import METHODS
from mmkd.methods.outputs import Batch, Outputs, Step
from mmkd.specs.unit import UnitSpec
from mmkd.training.optimization import make_optimizer
from mmkd.training.setup import select_teacher_parameters
from mmkd.training.teacher_outputs import StoredOutputs, flatten
from mmkd.training.trial import Trial
from mmkd.units.expansion import expand
from mmkd.units.request import Request

WINDOWS, BATCH, CHANNELS, LENGTH, CLASSES = 7000, 64, 6, 128, 6
CPU = torch.device("cpu")


class Steps:
    """The training steps of one unit."""

    def __init__(self, spec: UnitSpec, labels: torch.Tensor) -> None:
        trial = Trial.make(
            spec, shape=(CHANNELS, LENGTH), classes=CLASSES, targets=labels, validated=True, window_s=2.56
        )
        self.network, self.method, self.rate = trial.student.train(), trial.method.train(), spec.training.lr
        own = [p for p in self.method.parameters() if p.requires_grad]
        moving = select_teacher_parameters(self.method, trial.teachers)
        self.teachers = {name: net.train() for name, net in trial.teachers.items()} if moving else {}
        self.optimizer = make_optimizer(self.network.parameters(), spec.training, method=own, teachers=moving)
        self.rows = np.arange(BATCH) % 4
        views = {name: trial.views[name][self.rows] for name in (*spec.student, *self.teachers)}
        self.views = {
            name: view.contiguous(memory_format=torch.channels_last) if view.ndim == 4 else view
            for name, view in views.items()
        }
        self.stored = {
            name: StoredOutputs({k: v.numpy() for k, v in flatten(outputs, True).items()}, outputs.classifier)
            for name, outputs in trial.teacher_outputs.items()
        }
        index = torch.randperm(WINDOWS, generator=torch.Generator().manual_seed(0))[:BATCH]
        self.batch = Batch(labels[index], index, spec.training.epochs // 2, spec.training.epochs)

    def taught(self) -> Mapping[str, Outputs]:
        if self.teachers:
            return {name: net(self.views) for name, net in self.teachers.items()}
        return {name: stored.load(self.rows, CPU) for name, stored in self.stored.items()}

    def read(self, index: torch.Tensor) -> tuple[Mapping[str, torch.Tensor], Mapping[str, Outputs], Batch]:
        """The windows of the batch, whichever are asked for."""
        return self.views, self.taught(), self.batch

    def seconds(self) -> float:
        """Take one step."""
        started = time.perf_counter()
        terms = self.method.terms(self.network(self.views), self.taught(), self.batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        self.optimizer.step()
        self.method.after_step(Step(self.network, self.batch, self.rate, self.read))
        return time.perf_counter() - started


def units(names: tuple[str, ...], fusion: str, net: str = "small") -> list[UnitSpec]:
    """A unit a method, on made-up windows, `student` first; `net` is that of the student's branches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "windows.npz")
        x = np.random.default_rng(0).standard_normal((WINDOWS + CLASSES, CHANNELS, LENGTH), dtype=np.float32)
        number = np.arange(len(x))
        np.savez(path, x=x, y=number % CLASSES, test=number >= WINDOWS)
        wanted = tuple(dict.fromkeys(("student", *names)))
        request = Request(wanted, data=str(path), students=("sig+gaf+pi",), fusion=(fusion,), student_net=(net,))
        return [spec for spec, _ in expand(request)]


def measure(args: Namespace) -> None:
    """Print a line a method."""
    labels = torch.arange(WINDOWS) % CLASSES
    first, *others = units(tuple(args.methods.split(",")) if args.methods else tuple(METHODS), args.fusion)
    alone = Steps(first, labels)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.rounds} rounds")
    print(f"{'':16}  student steps (quartiles)  of sums")
    for spec in others:
        try:
            steps = Steps(spec, labels)
        except Refused as error:
            print(f"{spec.method:16}  left out: {error}")
            continue
        for _ in range(2):
            alone.seconds(), steps.seconds()
        pairs = np.array([(steps.seconds(), alone.seconds()) for _ in range(args.rounds)])
        low, middle, high = np.percentile(pairs[:, 0] / pairs[:, 1], (25, 50, 75))
        own, base = pairs.sum(0)
        print(f"{spec.method:16}  {middle:6.2f} ({low:.2f} to {high:.2f})  {own / base:6.2f}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="method_cost.py", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", metavar="M[,M]", help="default: all that fit the student")
    parser.add_argument("--rounds", metavar="N", type=int, default=15)
    parser.add_argument("--fusion", default="concat", help="of the student's branches")
    return run_script(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(main())

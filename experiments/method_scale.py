"""How large the gradient of each loss term is beside that of cross-entropy: python experiments/method_scale.py

For every method on three data sets: the norm of the gradient of each of its terms on the student's parameters, divided
by that of its own cross-entropy term (of one with weight 1, if it has none), at the start and after one epoch. Terms
of several teachers are added. Norms are means over a few batches. After an epoch, factors and stages that change over
the epochs are those of half of the training, or of its end where a term is larger there.

Quick preset, default options, student sig+gaf+pi (with `--fusion attention` where a method needs it), teachers of few
epochs. Writes `results/method-scale.csv` and `results/method-scale.md`; `tests/test_scale.py` checks that each method
outside the band 1/50 to 10 is explained in `EXPLAINED`.
"""

import csv
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.methods.contract import SUPERVISED
from mmkd.methods.outputs import Batch
from mmkd.specs.unit import UnitSpec
from mmkd.training.loop import batches, train_epoch
from mmkd.training.optimization import make_optimizer
from mmkd.training.precision import as_float
from mmkd.training.preparation import PreparedUnit, prepare_unit
from mmkd.training.setup import build_method, make_setup, select_teacher_parameters
from mmkd.training.variants import with_variants
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

RESULTS = Path(__file__).parent / "results"
SETS: Mapping[str, Mapping[str, int]] = {"basic-motions": {}, "racketsports": {}, "natops": {}}
"""Data set -> what makes it small."""
TEACHERS: Mapping[str, str] = {"timedistill": "sig"}
"""Method -> its teachers, if it refuses the usual ones."""
TEACHER_EPOCHS, BATCHES = 8, 4
HIGHEST, LOWEST = 10.0, 0.02
"""The band: a term above or below it is changed or explained."""

PUBLISHED = "the published weight"
EXPLAINED: Mapping[str, str] = {
    "at": f"{PUBLISHED}, 1000, of maps with norm 1 over all positions",
    "c2kd": "the other term trains the teachers, which the student does not reach",
    "cat-kd": f"{PUBLISHED}, 15, of normalised maps",
    "fitnet": f"{PUBLISHED} of the usual toolkit, 100",
    "gkl": f"{PUBLISHED}, 16, of logits at the scale of the teacher",
    "ls-kd": f"{PUBLISHED}s, 9 beside 0.1 of cross-entropy",
    "meta-mkd": f"{PUBLISHED} of features, 100",
    "mlkd": f"{PUBLISHED}s: 0.9 beside 0.1, and soft targets at five temperatures added",
    "mst-distill": "terms that train the teachers, masks and router, which the student does not reach",
    "sp": f"{PUBLISHED}, 3000, at batches of 64",
    "vid": f"{PUBLISHED}, 1, and the published variance at the start, 5",
    "wkd-f": f"{PUBLISHED} of 256 channels, over the channels of the teacher",
}
"""Method -> why a term of it is outside the band by default; the method's docstring says more."""

Ratios = dict[str, float]


class Steps:
    """The training of one unit, stopped where gradients are measured."""

    def __init__(self, spec: UnitSpec, data: Dataset, workspace: Workspace) -> None:
        self.unit: PreparedUnit = prepare_unit(spec, data, workspace)
        unit = self.unit
        setup = make_setup(unit.student, unit.windows, unit.source, spec.training)
        build_method(unit.method, setup, spec.seed)
        unit.method.deploy(unit.student)
        self.windows = with_variants(unit, workspace)
        assert setup.targets is not None
        self.targets = setup.targets
        own = [p for p in unit.method.parameters() if p.requires_grad]
        moving = select_teacher_parameters(unit.method, unit.source.networks)
        self.parameters = [p for p in unit.student.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            self.parameters,
            spec.training,
            method=own,
            method_factor=getattr(unit.method.config, "method_lr_factor", 1.0),
            teachers=moving,
        )

    def terms(self, positions: np.ndarray, epoch: int) -> tuple[Mapping[str, Tensor], Tensor]:
        """The terms of a batch, and its plain cross-entropy."""
        unit, windows = self.unit, self.windows
        views = windows.load_views(windows.train[positions])
        index = torch.from_numpy(positions)
        batch = Batch(self.targets[index], index, epoch, unit.spec.training.epochs)
        teachers = unit.source.outputs(positions, views)
        if windows.variants is not None:
            views, teachers = windows.variants.join(positions, views, teachers)
        student = as_float(unit.student(views)).split_variants(len(positions))
        plain = F.cross_entropy(student.logits, batch.targets)
        return unit.method.terms(student, teachers, batch), plain

    def norm(self, term: Tensor) -> float:
        """The norm of the gradient of a term on the student's parameters."""
        if not term.requires_grad:
            return 0.0
        gradients = torch.autograd.grad(term, self.parameters, retain_graph=True, allow_unused=True)
        return float(
            torch.stack([g.square().sum() for g in gradients if g is not None] or [torch.zeros(())]).sum().sqrt()
        )

    def ratios(self, epoch: int) -> Ratios:
        """Term -> norm of its gradient, in those of cross-entropy; means over a few batches."""
        unit = self.unit
        unit.student.train()
        unit.method.train()
        for network in unit.source.networks.values():
            network.train(any(p.requires_grad for p in network.parameters()))
        keep = [(module, {n: b.clone() for n, b in module.named_buffers()}) for module in (unit.student, unit.method)]
        norms: dict[str, list[float]] = {}
        training = unit.spec.training
        for positions in batches(len(unit.windows.train), training.batch_size, 0, epoch)[:BATCHES]:
            terms, plain = self.terms(positions, epoch)
            for name, term in _added(terms, tuple(unit.spec.teachers)).items():
                norms.setdefault(name, []).append(self.norm(term))
            norms.setdefault("plain", []).append(self.norm(plain))
        for module, buffers in keep:  # running means and memories are as they were
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        means = {name: float(np.mean(values)) for name, values in norms.items()}
        base = means.get("ce") or means["plain"]
        return {name: value / base for name, value in means.items() if name not in (*SUPERVISED, "plain")}

    def train(self) -> None:
        """One epoch."""
        unit = self.unit
        train_epoch(
            unit.student,
            unit.method,
            self.windows,
            unit.source,
            training=unit.spec.training,
            seed=unit.spec.seed,
            epoch=0,
            targets=self.targets,
            optimizer=self.optimizer,
        )


def _added(terms: Mapping[str, Tensor], teachers: Sequence[str]) -> dict[str, Tensor]:
    """The terms with those of several teachers added: fam_sig + fam_gaf is fam."""
    added: dict[str, Tensor] = {}
    for name, term in terms.items():
        ending = next((f"_{teacher}" for teacher in teachers if name.endswith(f"_{teacher}")), "")
        short = name.removesuffix(ending) if name not in SUPERVISED else name
        added[short] = added[short] + term if short in added else term
    return added


def measure(
    dataset: str, methods: Sequence[str], workspace: Workspace, data_root: str | None
) -> Iterator[list[object]]:
    """Rows (method, term, data set, at the start, after an epoch) of the methods that fit."""
    for method in methods:
        for fusion in ("concat", "attention"):
            request = Request(
                (method,),
                datasets=(dataset,),
                students=("sig+gaf+pi",),
                teachers=(TEACHERS.get(method, "sig,gaf,pi"),),
                fusion=(fusion,),
                teacher_epochs=TEACHER_EPOCHS,
                data_root=data_root,
                **SETS.get(dataset, {}),
            )
            ((spec, data),) = expand(request)
            try:
                steps = Steps(spec, data, workspace)
            except MmkdError as error:
                if fusion == "attention":
                    print(f"{dataset}, {method}: left out: {error}", file=sys.stderr)
                continue
            start = steps.ratios(0)
            steps.train()
            epochs = spec.training.epochs
            half, last = steps.ratios(epochs // 2), steps.ratios(epochs - 1)
            later = {term: max(half.get(term, 0.0), last.get(term, 0.0)) for term in dict.fromkeys([*half, *last])}
            for term in dict.fromkeys([*start, *later]):
                yield [method, term, dataset, start.get(term, 0.0), later.get(term, 0.0)]
            break


def outside(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Method -> its terms outside the band: the median over the data sets, at the start and after an epoch."""
    found: dict[str, list[str]] = {}
    for method, term in dict.fromkeys((row["method"], row["term"]) for row in rows):
        own = [row for row in rows if (row["method"], row["term"]) == (method, term)]
        start, later = (float(np.median([float(row[name]) for row in own])) for name in ("start", "later"))
        if max(start, later) > HIGHEST or max(start, later) < LOWEST:
            found.setdefault(method, []).append(term)
    return found


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as Markdown, a line a term."""
    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    bad = outside(rows)
    lines = ["| method | term | " + " | ".join(f"{name}, start | after an epoch" for name in sets) + " | |"]
    lines.append("|---|---|" + "---:|---:|" * len(sets) + "---|")
    for method, term in dict.fromkeys((row["method"], row["term"]) for row in rows):
        cells = []
        for name in sets:
            own = [row for row in rows if (row["method"], row["term"], row["dataset"]) == (method, term, name)]
            cells += [f"{float(own[0][key]):.2g}" if own else "" for key in ("start", "later")]
        mark = "outside" if term in bad.get(method, ()) else ""
        lines.append(f"| `{method}` | {term} | " + " | ".join(cells) + f" | {mark} |")
    return "\n".join(lines)


def measured() -> list[str]:
    """The methods that are measured: those with teachers, of windows, that are no controls."""
    own = {name: METHODS.get(name) for name in METHODS}
    return [n for n, m in own.items() if m.distils and m.status != "control" and "classification" in m.tasks]


def run(args: Namespace) -> None:
    """Print a line a method, term and data set."""
    methods = args.methods.split(",") if args.methods else measured()
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder, "runs"), args.cache or Path(folder, "cache"))
        for dataset in args.datasets.split(","):
            for method, term, name, start, later in measure(dataset, methods, workspace, args.data_root):
                print(f"{name:14} {method:14} {term:20} {start:10.3g} {later:10.3g}", flush=True)
                numbers = {"start": f"{start:.4g}", "later": f"{later:.4g}"}
                rows.append({"method": str(method), "term": str(term), "dataset": str(name), **numbers})
    if args.write:
        write(rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="method_scale.py", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", metavar="M[,M]", help="default: all for windows that have teachers")
    parser.add_argument("--datasets", metavar="D[,D]", default=",".join(SETS))
    parser.add_argument("--data-root", metavar="DIR")
    parser.add_argument("--cache", metavar="DIR", help="of views and teachers; default: a folder that is removed")
    parser.add_argument("--write", action="store_true", help="replace the rows of these methods in results/")
    return run_script(parser, run, argv)


def write(rows: Sequence[dict[str, str]]) -> None:
    """Write the CSV and the page; rows of other methods or data sets stay."""
    path = RESULTS / "method-scale.csv"
    new = {(row["method"], row["dataset"]) for row in rows}
    old = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            old = [row for row in csv.DictReader(stream) if (row["method"], row["dataset"]) not in new]
    order = {name: number for number, name in enumerate(SETS)}
    every = sorted([*old, *rows], key=lambda row: (row["method"], order.get(row["dataset"], 9)))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["method", "term", "dataset", "start", "later"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)
    page = RESULTS / "method-scale.md"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Scale of loss terms\n\n| method |\n"
    head = text[: text.index("| method |")]
    page.write_text(f"{head}{table(every)}\n\n{explanations()}", encoding="utf-8")


def explanations() -> str:
    """Why methods are outside the band."""
    lines = "".join(f"- `{name}`: {why}\n" for name, why in sorted(EXPLAINED.items()))
    return f"Outside the band of 1/50 to 10 by default, and why:\n\n{lines}" if lines else ""


if __name__ == "__main__":
    sys.exit(main())

# %% [markdown]
# # Add a method
#
# A method is a class with options and a loss, in a file of your own. Every command takes it as `--plugin FILE.py`. This
# one asks the student's embedding to point where the teacher's does.

# %%
import warnings
from pathlib import Path

import mmkd
from mmkd.core.errors import DataWarning

CODE = '''
"""Cosine of embeddings: an example."""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from mmkd import METHODS, DistillConfig, Method, option, paired_branch


@METHODS.register("cosine")
class Cosine(Method):
    """One minus the cosine of the embeddings of student and teacher, after a linear projection."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight of the cosine term", ge=0)

    needs = frozenset({"embedding"})

    def build(self, setup):
        self.projectors = nn.ModuleDict()
        for modality, teacher in setup.teachers.items():
            student = paired_branch(setup.student, modality)
            self.projectors[modality] = nn.Linear(student.embedding.shape[1], teacher.embedding.shape[1])

    def losses(self, student, teachers, batch):
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            projected = self.projectors[modality](paired_branch(student, modality).embedding)
            distance = 1 - F.cosine_similarity(projected, teachers[modality].embedding).mean()
            terms[f"cosine_{modality}"] = self.config.weight * share * distance
        return terms
'''
Path("cosine.py").write_text(CODE, encoding="utf-8")

# %% [markdown]
# Its option is an argument at once, with its range: a weight below 0 is refused in one line, before anything is
# trained.

# %%
small = {"dataset": "basic-motions", "student": "sig", "teachers": "sig", "epochs": 5, "peers": "none"}
warnings.simplefilter("ignore", DataWarning)
try:
    mmkd.run("cosine", plugin="cosine.py", weight=-1.0, **small)
except mmkd.MmkdError as error:
    print(error)

# %% [markdown]
# Under one seed it has the same split, the same teacher, the same initial student and the same batches as every other
# method.

# %%
for weight in (0.5, 2.0):
    record = mmkd.run("cosine", plugin="cosine.py", weight=weight, **small)
    print(weight, record.metrics["test"]["macro_f1"], record.folder)
print("kd", mmkd.run("kd", **small).metrics["test"]["macro_f1"])

# %% [markdown]
# On the command line: `python -m mmkd.bench --method student,kd,cosine --plugin cosine.py --seeds 0-4`.
# CONTRIBUTING.md has all that a method can do, and what a method of mmkd itself needs besides: a test against the
# paper's formula, and its rows of scale.

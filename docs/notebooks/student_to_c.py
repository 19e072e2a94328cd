# %% [markdown]
# # From a student to C
#
# A student of signals alone becomes integer C99 source: no heap, no library. A C compiler is all that it needs; with
# one at hand the export compiles the source and compares it bit for bit before anything is written.

# %%
import subprocess

import numpy as np

import mmkd
from mmkd.data import load_dataset

record = mmkd.run(
    "kd",
    dataset="basic-motions",
    student="sig",
    teachers="sig",
    student_net="micro",
    steps=100,
    teacher_steps=100,
    peers="none",
)
print(record.metrics["test"]["macro_f1"], record.metrics["test"]["accuracy"])

# %% [markdown]
# What is printed: the memory, the comparison with the integer model, and macro-F1 of the integer model beside float32.

# %%
print("\n".join(mmkd.export_student(record, to="c", out="device").lines))

# %% [markdown]
# The example program reads windows from its standard input, and prints a line for each: class, logits, name.

# %%
subprocess.run(["make", "-s", "-C", "device"], check=True)
data = load_dataset("basic-motions")
windows = np.ascontiguousarray(data.x[data.test][::10], np.float32)
done = subprocess.run(["device/student"], input=windows.tobytes(), stdout=subprocess.PIPE, check=True)
print(done.stdout.decode())

# %% [markdown]
# Beside what the student itself says of them, in float32:

# %%
print(mmkd.load_student(record).predict(windows))

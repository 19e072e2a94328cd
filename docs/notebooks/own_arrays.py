# %% [markdown]
# # Your own arrays to a distilled student
#
# Windows as a NumPy array, labels, and who wore the sensor: that is all. Here they come from BasicMotions, which
# ships inside a dependency; put your own in their place.

# %%
import numpy as np

import mmkd
from mmkd.data import load_dataset

bundled = load_dataset("basic-motions")
x = bundled.x  # (N, C, W): 80 windows of 6 channels and 100 samples
y = np.array(bundled.classes)[bundled.y]  # (N,): any labels
test = bundled.test  # (N,): true for a test window; leave it out if you have none
print(x.shape, np.unique(y), test.sum(), "test windows")

# %% [markdown]
# `from_arrays` checks them. With `subject=who` (N,) the split is by person, and no person is on both sides; this set
# names no persons, and its own test part is taken.

# %%
data = mmkd.Dataset.from_arrays(x, y, test=test, rate_hz=10)
alone = mmkd.run("student", data=data, student="sig", epochs=10, peers="none")
taught = mmkd.run("kd", data=data, student="sig", teachers="sig,gaf", epochs=10, image_size=32, peers="none")

# %% [markdown]
# A record has the scores on the test windows, which were read once, and every setting. Ten epochs are for a first
# look.

# %%
for record in (alone, taught):
    print(record.key, record.metrics["test"]["accuracy"], record.metrics["test"]["macro_f1"])

# %% [markdown]
# The student takes raw windows, and gives labels as they were.

# %%
student = mmkd.load_student(taught)
print(student.predict(x[:5]), y[:5])
print(student.predict_proba(x[:2]).round(2))

# %% [markdown]
# The same as a classifier of scikit-learn, with cross-validation of your own:

# %%
clf = mmkd.DistilledClassifier(method="kd", teachers=("sig",), student="sig", epochs=5)
clf.fit(x[~test], y[~test])
print(clf.score(x[test], y[test]))

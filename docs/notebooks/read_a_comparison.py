# %% [markdown]
# # Read a comparison
#
# Three seeds of a student alone, a method and two controls, on the gun/point recordings that ship inside a
# dependency. The trainings are far too short for conclusions; what counts here is how to read what comes out.

# %%
import warnings
from pathlib import Path

import mmkd
from mmkd.core.errors import DataWarning

warnings.simplefilter("ignore", DataWarning)
small = {"dataset": "gunpoint", "student": "sig", "teachers": "sig", "steps": 20, "peers": "none"}
for seed in range(3):
    for method in ("student", "kd", "label-smoothing", "shuffled-teacher"):
        mmkd.run(method, seed=seed, **small)

# %% [markdown]
# All records of a folder as a table of pandas: a row a unit.

# %%
compared = mmkd.compare_records("runs")
print(compared.frame[["method", "seed", "accuracy", "macro_f1"]].to_string())

# %% [markdown]
# The leaderboard has a row a method, the mean over seeds and its standard deviation. `change_mean` is macro-F1
# against the student alone of the same seeds (a share of 1), `change_low` and `change_high` its interval. If the
# interval holds 0, nothing is shown.

# %%
board = compared.leaderboard()
print(
    board[["row", "kind", "n", "macro_f1_mean", "macro_f1_sd", "change_mean", "change_low", "change_high"]].to_string()
)

# %% [markdown]
# First look at the gap: what is the teacher better than the student alone? Below two points there is next to nothing
# to gain.

# %%
print(board[["row", "teacher_gap_mean", "teacher_gap_low", "teacher_gap_high", "teacher_has_room"]].to_string())

# %% [markdown]
# Then at the controls: is the method better than smoothed labels, and than soft targets of another window? "not
# shown" is the honest answer of most short comparisons.

# %%
print(
    board[
        [name for name in board.columns if name in ("row", "better_than_label_smoothing", "better_than_shuffled_class")]
    ]
)

# %% [markdown]
# Everything else, from curves to class activation maps, is on one page that loads nothing else.

# %%
compared.to_html("page.html")
print(Path("page.html").stat().st_size, "bytes")

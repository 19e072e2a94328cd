"""The contract of a distillation method: `Method`, `Outputs`, `Batch`, `Setup`, and what methods share.

A method sees this room, `mmkd.frequency` and torch, nothing else. The methods themselves are files in `baselines/`;
the training loop that calls them is in `training/`.
"""

"""The contract of a distillation method: `Method`, `Outputs`, `Batch`, `Setup`, and what methods share.

A method imports only names of `mmkd`, `mmkd.frequency` and torch. The methods themselves are files in `baselines/`;
the training loop that calls them is in `training/`.
"""

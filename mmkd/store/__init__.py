"""What is kept on disk: the content-addressed cache, and records. Each entry is written completely or not at all.

Files, checksums, locks and renames belong here. What the files mean (scores, networks, pictures) does not. Neither
torch nor mlflow is imported.
"""

"""What is kept on disk: the content-addressed cache, and records, each written whole or not at all.

Files, checksums, locks and renames belong here; what the files mean (scores, networks, pictures) does not. Neither
torch nor mlflow is imported.
"""

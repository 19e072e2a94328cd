"""A trained student as files for a device: ONNX, ONNX in int8, and whatever else `targets.TARGETS` names.

Here is what reads a record and writes such files, and checks them against the student that they were made from. What
measures students as they are is in `mmkd/evaluation`; what a command prints and refuses is in `mmkd/cli/export.py`.
A target is one function of an `ExportJob`, and one entry in the table of targets.
"""

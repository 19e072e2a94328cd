"""The runner behind `fit` and `predict`: `mmkd.DistilledClassifier` for scikit-learn, and what aeon's has in common.

What an estimator trains is a unit of the runner, with its views, teachers and loop; nothing is trained here. Estimators
keep plain values only, so that pickling them stores no code.
"""

"""The methods, as `mmkd.baselines.NAME`, wherever their files lie.

In a checkout (a `pyproject.toml` stands beside the package) they are the files of the top-level folder `baselines/`; in
an installed wheel they are carried here. That folder is no package of its own, so that nothing is called `baselines`
outside.
"""

from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "pyproject.toml").is_file() and (_checkout / "baselines").is_dir():
    __path__ = [str(_checkout / "baselines")]

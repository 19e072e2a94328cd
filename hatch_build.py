"""What the wheel carries of frozen benchmarks: `experiments/v1` as `mmkd/v1`, without its records, which are large."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LEFT_OUT = ("records",)


class Benchmarks(BuildHookInterface[Any]):
    """Adds the files of each folder of `experiments/` that has a protocol.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for protocol in sorted(Path(self.root, "experiments").glob("*/protocol.toml")):
            for path in sorted(protocol.parent.iterdir()):
                if path.name not in LEFT_OUT:
                    build_data["force_include"][str(path)] = f"mmkd/{protocol.parent.name}/{path.name}"

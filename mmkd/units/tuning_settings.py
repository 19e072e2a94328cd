"""The fields of a request that are about equal tuning."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options
from mmkd.units.setting import setting

CARRIED = "experiments/tuned"
"""The folder of the frozen configurations that mmkd carries."""
MOST = 1000
"""How many configurations of a method are tried at most."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings(Options):
    """How the options of methods are tuned, each with the same number of configurations."""

    tune: int | None = setting(
        None,
        "first try N configurations of each method, in a fold of the training windows; rows of the default (number 0) "
        "and of the best one, (tuned)",
        flag="--tune",
        metavar="N",
        group="what",
        ge=2,
        le=MOST,
    )
    tune_on: tuple[str, ...] = setting(
        (),
        "with --tune: try them on these data sets, and report on the others",
        flag="--tune-on",
        metavar="NAME[,NAME]",
        group="what",
    )

    freeze: str | None = setting(
        None,
        "with --tune: write what was chosen to DIR/METHOD.toml",
        flag="--freeze",
        metavar="DIR",
        group="what",
    )
    tuned: str | None = setting(
        None,
        f"rows of frozen configurations too, of DIR/METHOD.toml (default {CARRIED})",
        flag="--tuned",
        metavar="DIR",
        group="what",
        alone=CARRIED,
    )

    def check_tuning(self, checkpoints: Mapping[str, str], targets: str) -> None:
        """Check that settings of tuning do not exclude each other.

        Args:
            checkpoints: teachers whose weights are given.
            targets: `Request.teacher_targets`.

        Raises:
            MmkdError: they do.
        """
        if self.tune is not None and checkpoints:
            raise MmkdError(
                f"--tune {self.tune}: nobody knows which windows the teachers of --teacher-checkpoint have seen; leave "
                f"one of them out"
            )
        if self.tune is not None and targets != "fitted":
            raise MmkdError(
                f"--tune {self.tune}: --teacher-targets {targets} would need folds inside a fold of the training part; "
                f"leave one of them out"
            )
        if self.tune_on and self.tune is None:
            raise MmkdError("--tune-on names data sets to tune on; also give --tune N")
        if self.freeze is not None and self.tune is None:
            raise MmkdError("--freeze writes what --tune N chooses; also give --tune N")
        if self.tuned is not None and self.tune is not None:
            raise MmkdError("--tune chooses options, --tuned reads those that were chosen before; give one of the two")

"""The fields of a request that are about equal tuning."""

from dataclasses import dataclass

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options
from mmkd.units.setting import setting


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
        le=1000,
    )
    tune_on: tuple[str, ...] = setting(
        (),
        "with --tune: try them on these data sets, and report on the others",
        flag="--tune-on",
        metavar="NAME[,NAME]",
        group="what",
    )

    def check_tuning(self) -> None:
        """Raise MmkdError if settings of tuning exclude each other."""
        if self.tune_on and self.tune is None:
            raise MmkdError("--tune-on names data sets to tune on; also give --tune N")

"""What a trial leaves in its folder: `trial.json`, written whole, last and once; a trial that has it is finished."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import parse_json, read_plain
from atft_gat_fan.validation.divergence import Divergence

OUTCOME = "trial.json"
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class TrialOutcome:
    """Readings of one trial; None where its kind takes none.

    `daily_rank_ic`: horizon in days → RankIC of each of `days` (ISO dates), None on a day without one. A training that
    ended without finite weights ranks nothing: 0 on every day. Memory in bytes, of the training alone.
    """

    days: tuple[str, ...] = ()
    daily_rank_ic: Mapping[int, tuple[float | None, ...]] | None = None
    stocks: float | None = None
    """Mean number a test day."""
    seconds: float | None = None
    """Of the training, wall clock, all its processes."""
    steps: int | None = None
    epochs: int | None = None
    parameters: int | None = None
    samples_per_second: float | None = None
    peak_private_bytes: int | None = None
    peak_cuda_bytes: int | None = None
    divergence: Divergence | None = None
    baseline_seconds: tuple[float, ...] = ()
    """Of each turn of a timing, pairwise with `variant_seconds`."""
    variant_seconds: tuple[float, ...] = ()

    def write(self, folder: Path) -> None:
        """Raises StorageError."""
        values = asdict(self)
        if self.daily_rank_ic is not None:
            values["daily_rank_ic"] = {str(h): list(daily) for h, daily in self.daily_rank_ic.items()}
        try:
            replace_durably(folder / OUTCOME, strict_json(values).encode())
        except OSError as error:
            raise StorageError(f"{folder / OUTCOME}: cannot write: {error.strerror}; free space") from error

    @classmethod
    def read(cls, folder: Path) -> "TrialOutcome | None":
        """None where the trial is not finished. Raises StorageError where the file is something else."""
        file = folder / OUTCOME
        if not file.exists():
            return None
        try:
            return _outcome(parse_json(read_plain(file, MOST_BYTES)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(f"{file}: expected the outcome of a trial, found {error}; delete that folder") from error


def _outcome(values: dict[str, Any]) -> TrialOutcome:
    daily, divergence = values["daily_rank_ic"], values["divergence"]
    return TrialOutcome(
        **{
            **values,
            "days": tuple(values["days"]),
            "daily_rank_ic": None if daily is None else {int(h): tuple(series) for h, series in daily.items()},
            "divergence": None if divergence is None else Divergence(tuple(divergence["reasons"])),
            "baseline_seconds": tuple(values["baseline_seconds"]),
            "variant_seconds": tuple(values["variant_seconds"]),
        }
    )

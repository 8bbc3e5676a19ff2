"""Numbers that stay not finite: training goes back as long as it may, then leaves what it saw, and ends."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch

from atft_gat_fan.errors import NonFiniteError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.debug_bundle import write_debug_bundle
from atft_gat_fan.training.history import History
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import StepReport
from atft_gat_fan.training.training_data import TrainingData
from atft_gat_fan.types import DayBatch, RandomKey


class DivergedError(Exception):
    """Training goes back to the newest checkpoint, and goes on more slowly."""


class Divergence:
    """What follows where steps or weights of a training in `folder` are not finite."""

    def __init__(
        self, settings: TrainSettings, folder: Path, data: TrainingData, model: ATFT_GAT_FAN, layout: Layout
    ) -> None:
        self._settings, self._folder, self._data = settings, folder, data
        self._model, self._layout = model, layout

    def raise_for(
        self,
        history: History,
        what: str,
        device: torch.device,
        batches: Iterable[DayBatch] = (),
        report: StepReport | None = None,
    ) -> NoReturn:
        """Raises DivergedError as long as training may go back, then NonFiniteError, on every rank alike.

        `batches` of the step are normalised and computed on `device` once more, for the bundle that rank 0 leaves.
        """
        if history.rollbacks < self._settings.max_rollbacks:
            raise DivergedError(what)
        model = self._layout.plain(self._model)
        where = "rank 0 writes what it saw"
        if self._layout.ranks.first:
            where = self._bundle(
                history, what, model, (self._data.to_device(batch, device) for batch in batches), report
            )
        raise NonFiniteError(
            f"{what}, after going back to a checkpoint {history.rollbacks} times; {where}; the checkpoints are kept: "
            "lower optimizer.lr or optimizer.clip_norm, or check the data of these days, and start over with "
            "run.fresh=true"
        )

    def _bundle(
        self,
        history: History,
        what: str,
        model: ATFT_GAT_FAN,
        batches: Iterable[DayBatch],
        report: StepReport | None,
    ) -> str:
        """Write what the last step saw; where it is, in words."""
        facts = {
            "why": what,
            "step": history.step,
            "seed": self._settings.seed,
            "lr_factor": history.lr_factor,
            "last_step": None if report is None else asdict(report),
        }
        try:
            key = RandomKey(self._settings.seed, history.step - 1)
            bundle = write_debug_bundle(self._folder, model, batches, key, facts)
        except OSError as error:
            return f"what the last step saw could not be written ({error})"
        return f"what the last step saw is in {bundle}"

"""The state of a training as checkpoints: taken from its parts, and given back to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from atft_gat_fan.errors import StorageError
from atft_gat_fan.training.checkpoint import TrainingState, load_newest, save_checkpoint
from atft_gat_fan.training.history import History
from atft_gat_fan.training.optim import load_optimizer_tensors, optimizer_tensors
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.runtime import Runtime
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.weights import Weights


class Saves:
    """Checkpoints of one training, in its folder. Reads and writes its parts, decides nothing."""

    def __init__(
        self, settings: TrainSettings, folder: RunFolder, runtime: Runtime, weights: Weights, optimizer: Optimizer
    ) -> None:
        self._settings, self._folder, self._scaler = settings, folder, runtime.scaler
        self._weights, self._optimizer = weights, optimizer

    def save(self, history: History) -> Path:
        """Write a checkpoint; the older ones beyond those to keep are deleted once it is verified.

        Not while steps are being skipped for numbers that are not finite: what training may have to go back to stays.
        Raises NonFiniteError, StorageError: then nothing has changed.
        """
        weights = self._weights
        state = TrainingState(
            step=history.step,
            epoch=history.epoch,
            returns=history.returns,
            model=weights.trained.state_dict(),
            optimizer=optimizer_tensors(self._optimizer, weights.trained),
            best=weights.best,
            progress=self._progress(history),
            ema={} if weights.ema is None else weights.ema.tensors(),
            best_raw=weights.best_raw,
        )
        keep = None if history.non_finite_in_row else self._settings.keep_checkpoints
        path = save_checkpoint(self._folder.checkpoints, state, keep)
        weights.saved(path)
        return path

    def sound(self, warn: Callable[[str], None]) -> TrainingState:
        """The newest checkpoint from before steps were skipped for numbers that are not finite."""

        def is_sound(state: TrainingState) -> bool:
            return History.from_json(state.progress["history"]).non_finite_in_row == 0

        state = load_newest(self._folder.checkpoints, warn, is_sound)
        assert state is not None, "a training begins with a checkpoint"
        return state

    def restore(self, state: TrainingState) -> History:
        """Put a checkpoint's tensors where they belong; what it had counted is returned.

        Raises StorageError where they are those of another network.
        """
        try:
            self._weights.load(state)
            load_optimizer_tensors(self._optimizer, self._weights.trained, state.optimizer)
        except (RuntimeError, KeyError) as error:
            raise StorageError(
                f"{self._folder.checkpoints / state.name}: expected the parameters of this model, found others: "
                f"{error}; resume with the release that wrote it, or start over with run.fresh=true"
            ) from error
        if self._scaler is not None:
            self._scaler.load_state_dict(state.progress["scaler"])
        return History.from_json(state.progress["history"])

    def _progress(self, history: History) -> dict[str, Any]:
        return {
            "digest": self._settings.digest,
            "data": self._settings.data,
            "compiled": self._weights.trained.compiled,
            "history": history.to_json(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }

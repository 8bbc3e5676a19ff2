"""The weights of a training: those being trained, their average, and the best so far."""

from pathlib import Path

from torch import Tensor

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.checkpoint import BEST_RAW, TrainingState, read_tensors
from atft_gat_fan.training.ema import EmaTeacher
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.ranks import Ranks


class Weights:
    """Which network is trained, which is evaluated, and what is kept.

    Without an EMA trained and evaluated network are one. With it, the best weights are averaged ones, and
    the raw weights of that moment wait in the newest checkpoint rather than in memory. All of them lie on the ranks as
    the layout says, from here on those of `model` too.
    """

    def __init__(self, model: ATFT_GAT_FAN, ema: EmaPlan | None, layout: Layout | None = None) -> None:
        self.layout = Layout(Ranks()) if layout is None else layout
        self.trained = model
        self.ema = None if ema is None else EmaTeacher(model, ema, self.layout)
        self.layout.divide(model)
        self.best: dict[str, Tensor] = {}
        self.best_raw: dict[str, Tensor] | Path | None = None

    @property
    def evaluated(self) -> ATFT_GAT_FAN:
        """The network that is validated: with an EMA the averaged one, so that no weights are ever swapped."""
        return self.trained if self.ema is None else self.ema.model

    def stepped(self) -> None:
        """An optimizer step was applied."""
        if self.ema is not None:
            self.ema.update(self.trained)

    def keep_as_best(self) -> None:
        """The present weights are those to hand back so far; to be saved before they change again."""
        self.best = _copy(self.evaluated)
        if self.ema is not None:
            self.best_raw = self.trained.state_dict()

    def saved(self, checkpoint: Path) -> None:
        """All weights now stand in this checkpoint."""
        if self.best_raw is not None:
            self.best_raw = checkpoint / BEST_RAW

    def load(self, state: TrainingState) -> None:
        """Take over a checkpoint's weights. Raises RuntimeError where names or shapes differ."""
        weights = self.trained.state_dict()
        self.trained.load_state_dict(self.layout.divided(state.model, weights))
        if self.ema is not None:
            self.ema.load(state.ema)
        self.best = dict(self.layout.divided(state.best, weights))
        assert state.best_raw is None or isinstance(state.best_raw, Path)
        self.best_raw = state.best_raw

    def finish(self) -> dict[str, Tensor] | None:
        """Put the best evaluated weights, or the last ones where none were best, into the trained network: a whole one
        on every rank.

        Returns the raw weights behind averaged ones, on the CPU; None without an EMA.
        """
        raw = None
        if isinstance(self.best_raw, Path):
            raw = read_tensors(self.best_raw)
        elif self.ema is not None:
            raw = dict(self.layout.whole(_copy(self.trained)))
        self.trained.load_state_dict(self.best or self.evaluated.state_dict())
        self.trained = self.layout.plain(self.trained)
        return raw


def _copy(model: ATFT_GAT_FAN) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}

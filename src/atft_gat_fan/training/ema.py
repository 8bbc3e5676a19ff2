"""The EMA teacher: an exponential moving average of the weights, evaluated and exported in their place."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.ranks import Ranks

Tensors = list[Tensor] | tuple[Tensor, ...]


class EmaTeacher:
    """Averaged weights e <- d e + (1 - d) w, beginning at the weights given (Polyak and Juditsky 1992).

    d = `decay`, or with `warmup` min(decay, (1 + n) / (10 + n)) after n updates, so that a short training
    does not end near its initial weights. The average has the type of the weights (float32 in every
    precision of training) and no gradients, and is a network of its own: evaluating it swaps nothing.
    Buffers are copied, not averaged. Costs one copy of the weights, on the device of the model or, after
    `to_host`, in the memory of the host: each update then fetches the weights, and whoever evaluates the network puts
    it on a device meanwhile.
    """

    def __init__(self, model: ATFT_GAT_FAN, plan: EmaPlan, layout: Layout | None = None) -> None:
        self._plan, self._layout = plan, Layout(Ranks()) if layout is None else layout
        self._average = AveragedModel(model, multi_avg_fn=self._blend)
        # The copy it starts with is the first model averaged; otherwise the first update would replace it whole.
        self._average.n_averaged.fill_(1)
        self._average.requires_grad_(False).eval()
        self._layout.divide(self.model)
        self.on_host = False

    @property
    def model(self) -> ATFT_GAT_FAN:
        """The network with the averaged weights, in evaluation mode."""
        model = self._average.module
        assert isinstance(model, ATFT_GAT_FAN)
        return model

    @property
    def updates(self) -> int:
        return int(self._average.n_averaged) - 1

    @property
    def decay(self) -> float:
        """Share of the average that the next update keeps."""
        if not self._plan.warmup:
            return self._plan.decay
        return min(self._plan.decay, (1 + self.updates) / (10 + self.updates))

    def update(self, model: ATFT_GAT_FAN) -> None:
        """Take in the weights after an optimizer step."""
        self._average.update_parameters(model)

    def distance(self, model: ATFT_GAT_FAN) -> float:
        """|e - w| / |w| over all parameters, L2."""
        own = self._layout.own
        both = zip(self.model.parameters(), model.parameters(), strict=True)
        pairs = ((own(e), own(w.detach()).to(e.device)) for e, w in both)
        norms = [torch.stack([(e - w).norm(), w.norm()]) for e, w in pairs]
        apart, size = torch.stack(norms).norm(dim=0).unbind()
        whole = self._layout.norms({"apart": apart, "size": size})
        return float(whole["apart"]) / float(whole["size"])

    def to_host(self) -> None:
        """Keep the average in the memory of the host from now on; a part of a divided one stays where it is."""
        if self._layout.shards == 1:
            self._average.to("cpu")
            self.on_host = True

    def tensors(self) -> dict[str, Tensor]:
        """Averaged weights and the count behind them, by name: the tensors themselves, not copies."""
        return self._average.state_dict()

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Take over saved tensors. Raises RuntimeError where names or shapes differ."""
        self._average.load_state_dict(self._layout.divided(saved, self._average.state_dict()))

    def _blend(self, average: Tensors, weights: Tensors, _: Tensor | int) -> None:
        # The count is read on the host: the one handed in lies on the device, and reading it would wait for that.
        get_ema_multi_avg_fn(self.decay)(average, weights, 0)  # type: ignore[no-untyped-call]

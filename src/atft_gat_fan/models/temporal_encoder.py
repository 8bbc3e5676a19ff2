"""From windows of hidden vectors to one vector per stock and day."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.layers.frequency_adaptive_norm import FrequencyAdaptiveNorm
from atft_gat_fan.layers.gated_residual_network import GatedResidualNetwork, GatedSkip
from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.layers.temporal_attention import TemporalAttention
from atft_gat_fan.models.regions import run_region
from atft_gat_fan.types import RandomKey


class TemporalEncoder(nn.Module):
    """Frequency adaptive normalisation, frequency dropout, LSTM, attention of the last day, gated residual network.

    Each window is encoded on its own. The output is layer-normed. Lim et al. 2021 (TFT), section 4.5, for
    the one query that is needed; Ye et al. 2024 (FAN) around it, where `fan_top_k` is not 0. Frequencies are
    dropped from what FAN leaves, so that what it took out is never hidden.

    Windows come time-major, as the LSTM wants them: each step is then one contiguous matrix.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        *,
        hidden_size: int,
        window: int,
        num_heads: int,
        lstm_layers: int,
        fan_top_k: int,
        static_size: int,
        dropouts: tuple[KeyedDropout, KeyedDropout, KeyedDropout],
        freq_dropout: FreqDropout | None = None,
    ) -> None:
        """`static_size` 0: no static context. `dropouts`: after the LSTM, after the attention, in the last network."""
        super().__init__()
        self.fan = FrequencyAdaptiveNorm(window, fan_top_k, hidden_size) if fan_top_k else None
        self.freq_dropout = freq_dropout
        self.initial_state = nn.Linear(static_size, 2 * lstm_layers * hidden_size) if static_size else None
        self.lstm = nn.LSTM(hidden_size, hidden_size, lstm_layers)
        self.lstm_dropout, self.attention_dropout, self.output_dropout = dropouts
        self.lstm_skip = GatedSkip(hidden_size, hidden_size)
        self.attention = TemporalAttention(hidden_size, num_heads)
        self.attention_skip = GatedSkip(hidden_size, hidden_size)
        self.output = GatedResidualNetwork(hidden_size, hidden_size, hidden_size)
        self.fan_skip = GatedSkip(hidden_size, hidden_size) if fan_top_k else None
        _open_forget_gates(self.lstm)
        self.compiled = False
        """Whether all but the LSTM runs through torch.compile."""

    def forward(
        self,
        windows: Float[Tensor, "window days stocks hidden"],
        static: Float[Tensor, "stocks static"] | None,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """The encoded days and the attention weights. `dates` are those of the days axis."""
        _, days, stocks, size = windows.shape
        removed: Tensor | None = None
        if self.fan is not None:
            windows, removed = run_region(_take_out_frequencies, self.fan, windows, compiled=self.compiled)
        if self.freq_dropout is not None:
            windows = self.freq_dropout(windows, dates, key)
        recurrent = self._recur(windows, static)
        masks = [
            dropout.mask((days, stocks, size), dates, key, dtype=recurrent.dtype, device=recurrent.device)
            for dropout in (self.lstm_dropout, self.attention_dropout, self.output_dropout)
        ]
        encoded, attention = run_region(_attend, self, recurrent, windows, removed, *masks, compiled=self.compiled)
        return encoded, attention

    def _recur(self, windows: Tensor, static: Tensor | None) -> Tensor:
        length, days, stocks, _ = windows.shape
        state: tuple[Tensor, Tensor] | None = None
        if self.initial_state is not None:
            assert static is not None, "static context declared but not given"
            by_layer = self.initial_state(static).view(stocks, 2, self.lstm.num_layers, -1)
            by_layer = by_layer.permute(1, 2, 0, 3).repeat(1, 1, days, 1)
            state = (torch.tanh(by_layer[0]), by_layer[1])
        recurrent: Tensor = self.lstm(windows.flatten(1, 2), state)[0]
        return recurrent.view(length, days, stocks, -1)


def _take_out_frequencies(fan: FrequencyAdaptiveNorm, windows: Tensor) -> tuple[Tensor, Tensor]:
    residual, removed = fan(windows)
    return residual, removed


def _attend(
    encoder: TemporalEncoder,
    recurrent: Tensor,
    windows: Tensor,
    removed: Tensor | None,
    recurrent_mask: Tensor | None,
    attention_mask: Tensor | None,
    output_mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What follows the LSTM: its skip, the attention of the last day, the last network, and what FAN took out."""
    recurrent = encoder.lstm_skip(_masked(recurrent, recurrent_mask), windows)
    attended, attention = encoder.attention(recurrent)
    encoded = encoder.attention_skip(_masked(attended, attention_mask), recurrent[-1])
    encoded = encoder.output(encoded, dropout=partial(_masked, mask=output_mask))
    if encoder.fan_skip is not None:
        encoded = encoder.fan_skip(removed, encoded)
    return encoded, attention


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _open_forget_gates(lstm: nn.LSTM) -> None:
    """Forget-gate bias 1, so that the first gradients reach across the window. Jozefowicz et al. 2015."""
    size = lstm.hidden_size
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            getattr(lstm, f"bias_ih_l{layer}")[size : 2 * size] = 1.0
            getattr(lstm, f"bias_hh_l{layer}")[size : 2 * size] = 0.0

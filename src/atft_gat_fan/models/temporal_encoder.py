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

    def forward(
        self,
        windows: Float[Tensor, "window days stocks hidden"],
        static: Float[Tensor, "stocks static"] | None,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """The encoded days and the attention weights. `dates` are those of the days axis."""
        removed: Tensor | None = None
        if self.fan is not None:
            windows, removed = self.fan(windows)
        if self.freq_dropout is not None:
            windows = self.freq_dropout(windows, dates, key)
        recurrent = self.lstm_dropout(self._recur(windows, static), dates, key)
        recurrent = self.lstm_skip(recurrent, windows)
        attended, attention = self.attention(recurrent)
        attended = self.attention_dropout(attended, dates, key)
        encoded = self.attention_skip(attended, recurrent[-1])
        encoded = self.output(encoded, dropout=partial(self.output_dropout, dates=dates, key=key))
        if self.fan_skip is not None:
            encoded = self.fan_skip(removed, encoded)
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


def _open_forget_gates(lstm: nn.LSTM) -> None:
    """Forget-gate bias 1, so that the first gradients reach across the window. Jozefowicz et al. 2015."""
    size = lstm.hidden_size
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            getattr(lstm, f"bias_ih_l{layer}")[size : 2 * size] = 1.0
            getattr(lstm, f"bias_hh_l{layer}")[size : 2 * size] = 0.0

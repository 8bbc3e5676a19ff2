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

    Each window is encoded on its own. The output is layer-normed. Lim et al. 2021 (TFT), section 4.5, for the one query
    that is needed; Ye et al. 2024 (FAN) around it, where `fan_top_k` is not 0. Frequencies are dropped from what FAN
    leaves, so that what it took out is never hidden. Without LSTM (`lstm_layers` 0) attention reads the windows
    themselves; without attention (`num_heads` 0) the last day is read; without either, FAN and frequency dropout, only
    the last day is needed, and a window may be that day alone.

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
        forget_bias: float | None = 1.0,
    ) -> None:
        """`static_size` 0: no static context. `dropouts`: after the LSTM, after the attention, in the last network.
        `forget_bias` None: as torch draws it."""
        super().__init__()
        self.window = window
        self.fan = FrequencyAdaptiveNorm(window, fan_top_k, hidden_size) if fan_top_k else None
        self.freq_dropout = freq_dropout
        self.lstm: nn.LSTM | None = None
        self.initial_state: nn.Linear | None = None
        if lstm_layers:
            self.initial_state = nn.Linear(static_size, 2 * lstm_layers * hidden_size) if static_size else None
            self.lstm = nn.LSTM(hidden_size, hidden_size, lstm_layers)
        self.lstm_dropout, self.attention_dropout, self.output_dropout = dropouts
        self.lstm_skip = GatedSkip(hidden_size, hidden_size) if lstm_layers else None
        self.attention = TemporalAttention(hidden_size, num_heads) if num_heads else None
        self.attention_skip = GatedSkip(hidden_size, hidden_size) if num_heads else None
        self.output = GatedResidualNetwork(hidden_size, hidden_size, hidden_size)
        self.fan_skip = GatedSkip(hidden_size, hidden_size) if fan_top_k else None
        if self.lstm is not None and forget_bias is not None:
            _set_forget_bias(self.lstm, forget_bias)
        self.compiled = False
        """Whether all but the LSTM, and the attention over the days of a block, runs through torch.compile."""

    def forward(
        self,
        windows: Float[Tensor, "read days stocks hidden"],
        static: Float[Tensor, "stocks static"] | None,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """The encoded days and the attention weights. `dates` are those of the days axis.

        `windows` may be their last day alone where nothing looks at the others.
        """
        removed: Tensor | None = None
        if self.fan is not None:
            windows, removed = run_region(_take_out_frequencies, self.fan, windows, compiled=self.compiled)
        if self.freq_dropout is not None:
            windows = self.freq_dropout(windows, dates, key)
        recurrent = self._recur(windows, static)
        masks = [
            None if part is None else self._mask(dropout, recurrent, dates, key)
            for part, dropout in (
                (self.lstm, self.lstm_dropout),
                (self.attention, self.attention_dropout),
                (self.output, self.output_dropout),
            )
        ]
        encoded, *attention = run_region(_attend, self, recurrent, windows, removed, *masks, compiled=self.compiled)
        return encoded, attention[0] if attention else self._last_day_alone(encoded)

    def encode_block(
        self,
        hidden: Float[Tensor, "span stocks hidden"],
        static: Float[Tensor, "stocks static"] | None,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """Every day of the span that has a whole window, the LSTM running once over all of them.

        The first of these days is encoded as `forward` does; the later ones have seen the days before their window too.
        `dates` are those of the span.
        """
        assert self.fan is None, "frequencies are those of single windows"
        assert self.freq_dropout is None, "frequencies are those of single windows"
        last = slice(self.window - 1, None)
        recurrent = self._recur(hidden.unsqueeze(1), static).squeeze(1)
        mask = self._mask(self.lstm_dropout, recurrent, dates, key)
        (recurrent,) = run_region(_skip_recurrence, self, recurrent, hidden, mask, compiled=self.compiled)
        attended, attention, attention_mask = None, None, None
        if self.attention is not None:
            attended, attention = self.attention.over_days(recurrent, self.window)
            attention_mask = self._mask(self.attention_dropout, attended, dates[last], key)
        recurrent = recurrent[last]
        output_mask = self._mask(self.output_dropout, recurrent, dates[last], key)
        (encoded,) = run_region(
            _finish, self, recurrent, attended, None, attention_mask, output_mask, compiled=self.compiled
        )
        return encoded, self._last_day_alone(encoded) if attention is None else attention

    def _recur(self, windows: Tensor, static: Tensor | None) -> Tensor:
        if self.lstm is None:
            return windows
        length, days, stocks, _ = windows.shape
        state: tuple[Tensor, Tensor] | None = None
        if self.initial_state is not None:
            assert static is not None, "static context declared but not given"
            by_layer = self.initial_state(static).view(stocks, 2, self.lstm.num_layers, -1)
            by_layer = by_layer.permute(1, 2, 0, 3).repeat(1, 1, days, 1)
            state = (torch.tanh(by_layer[0]), by_layer[1])
        recurrent: Tensor = self.lstm(windows.flatten(1, 2), state)[0]
        return recurrent.view(length, days, stocks, -1)

    @staticmethod
    def _mask(dropout: KeyedDropout, x: Tensor, dates: Sequence[int], key: RandomKey | None) -> Tensor | None:
        """Of the last three axes of `x`: days, stocks, channels."""
        return dropout.mask((x.shape[-3], x.shape[-2], x.shape[-1]), dates, key, dtype=x.dtype, device=x.device)

    def _last_day_alone(self, encoded: Tensor) -> Float[Tensor, "days stocks window"]:
        attention = encoded.new_zeros(*encoded.shape[:-1], self.window)
        attention[..., -1] = 1.0
        return attention


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
) -> tuple[Tensor, ...]:
    """What follows the LSTM: its skip, the attention of the last day, the last network, and what FAN took out."""
    (recurrent,) = _skip_recurrence(encoder, recurrent, windows, recurrent_mask)
    if encoder.attention is None:
        return _finish(encoder, recurrent[-1], None, removed, None, output_mask)
    attended, attention = encoder.attention(recurrent)
    return *_finish(encoder, recurrent[-1], attended, removed, attention_mask, output_mask), attention


def _skip_recurrence(
    encoder: TemporalEncoder, recurrent: Tensor, windows: Tensor, mask: Tensor | None
) -> tuple[Tensor]:
    if encoder.lstm_skip is None:
        return (windows,)
    return (encoder.lstm_skip(_masked(recurrent, mask), windows),)


def _finish(
    encoder: TemporalEncoder,
    last: Tensor,
    attended: Tensor | None,
    removed: Tensor | None,
    attention_mask: Tensor | None,
    output_mask: Tensor | None,
) -> tuple[Tensor]:
    """What follows the attention of the last day, row by row."""
    if encoder.attention_skip is not None:
        assert attended is not None, "attention declared but not computed"
        last = encoder.attention_skip(_masked(attended, attention_mask), last)
    encoded = encoder.output(last, dropout=partial(_masked, mask=output_mask))
    if encoder.fan_skip is not None:
        encoded = encoder.fan_skip(removed, encoded)
    return (encoded,)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _set_forget_bias(lstm: nn.LSTM, bias: float) -> None:
    """Forget gates that start open let the first gradients reach across the window. Jozefowicz et al. 2015; for a
    memory of T days, log(T - 1): Tallec & Ollivier 2018 (chrono initialisation)."""
    size = lstm.hidden_size
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            getattr(lstm, f"bias_ih_l{layer}")[size : 2 * size] = bias
            getattr(lstm, f"bias_hh_l{layer}")[size : 2 * size] = 0.0

"""The network: variable selection, temporal encoding, graph attention, one head per horizon."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atft_gat_fan.config.plan import Group, ModelSpec
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.layers.gated_residual_network import GatedSkip
from atft_gat_fan.layers.graph_attention import GraphAttention
from atft_gat_fan.layers.horizon_heads import HorizonHeads
from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.layers.layer_scale import LayerScale
from atft_gat_fan.layers.polynomial_expansion import NUM_TERMS, polynomial_expansion
from atft_gat_fan.layers.variable_selection import VariableSelection
from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.regions import run_region
from atft_gat_fan.models.roles import ParameterRole, parameter_roles
from atft_gat_fan.models.spec import spec_from_mapping
from atft_gat_fan.models.spec_checks import require_sound, require_temperature
from atft_gat_fan.models.temporal_encoder import TemporalEncoder
from atft_gat_fan.types import NUM_EDGE_FEATURES, DayBatch, Forecast, Neighbours, RandomKey, StockPart

Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


class ATFT_GAT_FAN(nn.Module):
    """Adaptive Temporal Fusion Transformer + Graph Attention + Frequency Adaptive Normalisation.

    Variables are selected once per stock-day; windows are views of the result. A prediction depends on
    the stock's own feature rows and on those of its neighbours, on nothing else in the batch.
    """

    groups: ClassVar[Mapping[str, Group]] = {
        "static": "embedding",
        "calendar": "embedding",
        "variable_selection": "embedding",
        "temporal": "temporal",
        "day_skip": "temporal",
        "graph": "graph",
        "graph_skip": "graph",
        "heads": "head",
    }

    def __init__(self, config: Mapping[str, Any] | ModelSpec | None = None) -> None:
        """`config`: a ModelSpec, or a nested configuration whose absent keys have their defaults.

        Raises ConfigError for an unknown key or values that contradict each other.
        """
        super().__init__()
        self.spec = spec = config if isinstance(config, ModelSpec) else spec_from_mapping(config or {})
        require_sound(spec)
        size = spec.hidden_size
        # Category 0 is "unknown": a zero vector that is never trained, so a new stock of no known category is neutral.
        self.static = nn.Embedding(spec.num_categories + 1, size, padding_idx=0) if spec.num_categories else None
        self.calendar = nn.Linear(spec.num_covariates, size) if spec.num_covariates else None
        has_context = spec.num_categories or spec.num_covariates
        self.variable_selection = VariableSelection(
            spec.num_features,
            spec.variable_size,
            size,
            context_size=size if has_context else 0,
            num_terms=NUM_TERMS if spec.input_expansion == "polynomial" else 1,
        )
        self.selection_dropout = KeyedDropout(spec.dropout, layer=0)
        self.temporal = TemporalEncoder(
            hidden_size=size,
            window=spec.window,
            num_heads=spec.num_heads,
            lstm_layers=spec.lstm_layers,
            fan_top_k=spec.fan_top_k,
            static_size=size if spec.num_categories else 0,
            dropouts=(
                KeyedDropout(spec.dropout, layer=1),
                KeyedDropout(spec.dropout, layer=2),
                KeyedDropout(spec.dropout, layer=3),
            ),
            freq_dropout=_freq_dropout(spec),
            forget_bias=spec.lstm_forget_bias,
        )
        if spec.same_day_skip:
            self.day_skip = GatedSkip(size, size)
        if spec.gat_heads:
            self.graph = GraphAttention(
                size, spec.gat_heads, NUM_EDGE_FEATURES, spec.gat_chunk_size, spec.gat_temperature
            )
            self.graph_dropout = KeyedDropout(spec.dropout, layer=4)
            self.graph_skip = GatedSkip(size, size)
        num_horizons = len(spec.horizons)
        scale = LayerScale(num_horizons, spec.head_layer_scale) if spec.head_layer_scale is not None else None
        self.heads = HorizonHeads(size, num_horizons, spec.quantiles, init_std=spec.head_init_std, scale=scale)
        self._chunks = Chunks()

    @property
    def compiled(self) -> bool:
        """Whether variable selection and temporal encoding run through torch.compile; the same numbers to rounding.

        Set it before the first forward pass; `models.compiler.compiler_problem` tells whether the machine can.
        """
        return self.temporal.compiled

    @compiled.setter
    def compiled(self, value: bool) -> None:
        self.temporal.compiled = value

    @property
    def chunks(self) -> Chunks:
        """How much is computed at a time; no part of the network's weights or specification."""
        return self._chunks

    @chunks.setter
    def chunks(self, value: Chunks) -> None:
        self._chunks = value
        if self.spec.gat_heads:
            self.graph.chunk_size = self.spec.gat_chunk_size if value.queries is None else value.queries

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Layer group and weight decay of every parameter, by name, as the layers declare it."""
        return parameter_roles(self, self.groups)

    def set_gat_temperature(self, value: float) -> None:
        """Divide the logits of the graph attention by `value` from the next forward pass on.

        Without graph attention there is nothing to set. Raises ConfigError unless 0 < value < infinity.
        """
        require_temperature(value)
        if self.spec.gat_heads:
            self.graph.temperature = value

    def forward(
        self,
        features: Float[Tensor, "stocks window features"],
        neighbours: Neighbours | None = None,
        *,
        static: Int[Tensor, " stocks"] | None = None,
        calendar: Float[Tensor, "window covariates"] | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """Scores of one day's stocks: {"predictions": {"horizon_1d": [stocks], ...}}.

        `features` are normalised and finite. Without `neighbours` every stock stands alone; without
        `static` its category is unknown; without `calendar` the covariates are 0. Where quantiles are
        configured, "quantiles" holds [stocks, quantiles] by the same names. Raises ConfigError for another
        window or number of features.
        """
        span = features.transpose(0, 1)
        stocks = span.shape[1]
        if static is None:
            static = torch.zeros(stocks, dtype=torch.int64, device=features.device)
        if calendar is None:
            calendar = features.new_zeros(span.shape[0], self.spec.num_covariates)
        self._check_input(span, calendar, num_days=1)
        forecast = self._forecast(span, neighbours, static, calendar, num_days=1, dates=(0,) * len(span), key=None)
        names = [f"horizon_{horizon}d" for horizon in self.spec.horizons]
        result = {"predictions": dict(zip(names, forecast.point[0].unbind(-1), strict=True))}
        if forecast.quantiles is not None:
            result["quantiles"] = dict(zip(names, forecast.quantiles[0].unbind(-2), strict=True))
        return result

    def forecast(self, batch: DayBatch, key: RandomKey | None = None) -> Forecast:
        """Scores of a day batch. In training, dropout is drawn from `key` (None: torch's global generator).

        Raises ConfigError where the batch has another window or number of features than the network.
        """
        self._check_input(batch.features, batch.calendar, batch.num_days)
        return self._forecast(
            batch.features, batch.neighbours, batch.static, batch.calendar, batch.num_days, batch.span_dates, key
        )

    def _forecast(
        self,
        features: Float[Tensor, "span stocks features"],
        neighbours: Neighbours | None,
        static: Int[Tensor, " stocks"],
        calendar: Float[Tensor, "span covariates"],
        num_days: int,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> Forecast:
        stocks, at_once = features.shape[1], self.chunks.stocks
        if at_once is None or at_once >= stocks:
            encoded, attention, variable_weights = self._encode_stocks(features, static, calendar, num_days, dates, key)
        else:
            # Pieces of one size: a rest of two stocks is what the compiler would fix its code to.
            at_once = math.ceil(stocks / math.ceil(stocks / at_once))
            parts = [
                self._recomputed(
                    self._encode_stocks,
                    key,
                    features[:, start : start + at_once],
                    static[start : start + at_once],
                    calendar,
                    num_days,
                    dates,
                    None if key is None else replace(key, part=_part(start, at_once, stocks)),
                )
                for start in range(0, stocks, at_once)
            ]
            encoded, attention, variable_weights = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        if self.spec.gat_heads:
            neighbours = _alone(encoded) if neighbours is None else neighbours
            attended = self.graph_dropout(self.graph(encoded, neighbours), dates[-num_days:], key)
            encoded = self.graph_skip(attended, encoded)
        point, quantiles = self.heads(encoded)
        return Forecast(point, quantiles, variable_weights, attention)

    def _encode_stocks(
        self,
        features: Float[Tensor, "span stocks features"],
        static: Int[Tensor, " stocks"],
        calendar: Float[Tensor, "span covariates"],
        num_days: int,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All that is computed of each stock by itself: encoded days, attention weights, selection weights."""
        if not self.spec.reads_window:
            features, calendar, dates = features[-num_days:], calendar[-num_days:], dates[-num_days:]
        category: Tensor | None = self.static(static) if self.static is not None else None
        known: Tensor | None = self.calendar(calendar).unsqueeze(1) if self.calendar is not None else None
        hidden, variable_weights = self._select(features, category, known, dates, key)
        encoded, attention = self._encode(hidden, category, num_days, dates, key)
        if self.spec.same_day_skip:
            encoded = self.day_skip(encoded, hidden[-num_days:])
        return encoded, attention, variable_weights

    @property
    def _by_day(self) -> bool:
        """Whether stages are computed day by day, and again in the backward pass."""
        return self.spec.gradient_checkpointing or self.chunks.by_day

    def _select(
        self,
        features: Tensor,
        category: Tensor | None,
        known: Tensor | None,
        dates: Sequence[int],
        key: RandomKey | None,
    ) -> tuple[Tensor, Tensor]:
        """Hidden vector and selection weights of every stock-day; what is known in advance joins the hidden vector."""
        context = category.unsqueeze(0) if category is not None else None
        if known is not None:
            context = known if context is None else context + known
        if self._by_day:
            context = context.expand(len(features), -1, -1) if context is not None else None
            parts = [
                self._recomputed(
                    self._select_variables,
                    key,
                    features[day],
                    context[day] if context is not None else None,
                    dates[day],
                    key,
                )
                for day in (slice(position, position + 1) for position in range(len(features)))
            ]
            hidden, weights = (torch.cat(part) for part in zip(*parts, strict=True))
        else:
            hidden, weights = self._select_variables(features, context, dates, key)
        return (hidden if known is None else hidden + known), weights

    def _select_variables(
        self, features: Tensor, context: Tensor | None, dates: Sequence[int], key: RandomKey | None
    ) -> tuple[Tensor, Tensor]:
        days, stocks, _ = features.shape
        device = features.device
        mask = self.selection_dropout.mask(
            (days, stocks, self.spec.hidden_size),
            dates,
            key,
            dtype=torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else features.dtype,
            device=device,
        )
        if self.compiled and context is not None:
            context = context.expand(days, stocks, -1)
        select = _select_expanded if self.spec.input_expansion == "polynomial" else _select
        hidden, weights = run_region(select, self.variable_selection, features, context, mask, compiled=self.compiled)
        return hidden, weights

    def _encode(
        self, hidden: Tensor, category: Tensor | None, num_days: int, dates: Sequence[int], key: RandomKey | None
    ) -> tuple[Tensor, Tensor]:
        """Encoded days and attention weights, from the hidden vectors of the span, whose days are `dates`."""
        if self.spec.blockwise and num_days > 1:
            # In one piece even when it is computed again: each day by itself would have seen its window alone.
            arguments = (hidden, category, dates, key)
            block: tuple[Tensor, Tensor] = (
                self._recomputed(self.temporal.encode_block, key, *arguments)
                if self._by_day
                else self.temporal.encode_block(*arguments)
            )
            return block
        window, dates = (self.spec.window if self.spec.reads_window else 1), dates[-num_days:]
        if not self._by_day:
            windows = hidden.unfold(0, window, 1).movedim(-1, 0).contiguous()
            encoded: tuple[Tensor, Tensor] = self.temporal(windows, category, dates, key)
            return encoded
        parts = [
            self._recomputed(
                self.temporal, key, hidden[day : day + window].unsqueeze(1), category, dates[day : day + 1], key
            )
            for day in range(num_days)
        ]
        days, attention = zip(*parts, strict=True)
        return torch.cat(days), torch.cat(attention)

    @staticmethod
    def _recomputed(stage: Callable[..., Tensors], key: RandomKey | None, *inputs: Any) -> Tensors:
        """One stage of one day or of some stocks, computed once more in the backward pass, if there will be one.

        Piece by piece, because a stage over all at once would hold all its activations while it is computed.
        """
        if not torch.is_grad_enabled():
            return stage(*inputs)
        # Keyed dropout draws the same masks again; without a key the global generator has to be wound back.
        result: Tensors = checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=key is None)
        return result

    def _check_input(self, features: Tensor, calendar: Tensor, num_days: int) -> None:
        spec = self.spec
        span = spec.window + num_days - 1
        if features.shape[-1] != spec.num_features:
            raise ConfigError(
                f"expected {spec.num_features} features, got {features.shape[-1]} (last axis of the input) -> give the "
                "features the network was built for, in their order"
            )
        if features.shape[0] != span:
            raise ConfigError(
                f"expected {span} days of features for {num_days} predicted days and a window of {spec.window}, "
                f"got {features.shape[0]}"
            )
        if calendar.shape != (span, spec.num_covariates):
            raise ConfigError(
                f"expected calendar covariates of shape {(span, spec.num_covariates)}, got {tuple(calendar.shape)}"
            )


def _part(start: int, count: int, total: int) -> StockPart:
    return StockPart(start, min(start + count, total), total)


def _select(
    selection: VariableSelection, features: Tensor, context: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    hidden, weights = selection(features, context, None if mask is None else mask.mul)
    return hidden, weights


def _select_expanded(
    selection: VariableSelection, features: Tensor, context: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    return _select(selection, polynomial_expansion(features), context, mask)


def _freq_dropout(spec: ModelSpec) -> FreqDropout | None:
    if not spec.freq_dropout_p:
        return None
    return FreqDropout(
        spec.window, spec.freq_dropout_p, spec.freq_dropout_max_width, layer=5, rescale=spec.freq_dropout_rescale
    )


def _alone(encoded: Float[Tensor, "days stocks hidden"]) -> Neighbours:
    """Neighbour lists of self-loops only."""
    days, stocks, _ = encoded.shape
    index = torch.arange(stocks, device=encoded.device).expand(days, stocks).unsqueeze(-1)
    edge = encoded.new_ones(days, stocks, 1, NUM_EDGE_FEATURES)  # a stock correlates with itself and shares its sector
    return Neighbours(index, torch.ones_like(index, dtype=torch.bool), edge)

"""Keys of the network."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atft_gat_fan.config.section import Positive, PositiveFloat, Probability, Section


class InputsConfig(Section):
    """What becomes of the features inside the network."""

    expansion: Literal["none", "polynomial"] = "none"
    """`polynomial`: each feature z also bends, as 2x³ - x and 2x² - 0.7 of x = z/√3 clipped to [-1, 1]. Meant for
    `data.standardise: rank`, whose features just fill that range; z-scores are clipped at √3 in the bent terms."""


class TemporalConfig(Section):
    """The recurrent encoder."""

    encoder: Literal["windows", "blockwise", "none"] = "windows"
    """How the LSTM runs: `windows`, over the window of each stock and day by itself; `blockwise`, in training once over
    a batch's days and the window before them, so that its later days have seen up to `batch_size` - 1 days more than
    their window (the first has the window's `data.window` - 1 days as burn-in), while scores are still made of single
    windows; `none`, not at all. `blockwise` expects FAN and FreqDropout off: those work on single windows."""


class AttentionConfig(Section):
    """Attention of the last day of a window on all of its days."""

    enabled: bool = True
    """Without it, the recurrent encoder (or the day itself) is read at its last day."""


class FanConfig(Section):
    """Frequency adaptive normalisation."""

    enabled: bool = True
    """Take the strongest frequencies out of each window; without it the network has no such part."""
    top_k: Annotated[int, Field(ge=1, le=2)] = 1
    """Frequencies taken out per sample and channel."""


class GatConfig(Section):
    """Graph attention over each day's stocks."""

    enabled: bool = True
    """Score each stock with its neighbours; without it, by itself."""
    num_heads: Positive = 4
    """Heads of the graph attention; must divide hidden_size."""
    chunk_size: Positive | None = None
    """Query stocks computed at a time; null: chosen by size, so that 16 MiB of logits are in memory at once."""
    temperature_start: PositiveFloat | None = None
    """Temperature at the first step, moving linearly to `improvements.gat_temperature`; null: constant."""
    temperature_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the planned steps after which it has moved there; used with `temperature_start`."""


class HeadConfig(Section):
    """The output head."""

    layer_scale: PositiveFloat = 0.1
    """Initial learned scale of each horizon's output, with `improvements.output_head_small_init`;
    about 1e-5 would freeze the head."""


class FreqDropoutConfig(Section):
    """How `improvements.freq_dropout_p` masks."""

    max_width: Positive = 3
    """Widest band, in frequency bins; at most half of `data.window`."""
    rescale: bool = False
    """Divide what is kept by its expected share, as ordinary dropout does."""


class ModelConfig(Section):
    hidden_size: Annotated[int, Field(gt=0, le=8192)] = 64
    """Width of the network (E)."""
    variable_size: Annotated[int, Field(gt=0, le=1024)] = 8
    """Width of one variable inside the variable selection."""
    num_heads: Positive = 4
    """Heads of the temporal attention; must divide hidden_size."""
    same_day_skip: bool = False
    """Lead each day's selected variables past LSTM and attention, which then learn a gated correction of them."""
    lstm_layers: Annotated[int, Field(gt=0, le=64)] = 1
    """Layers of the LSTM."""
    lstm_forget_bias: Annotated[float, Field(allow_inf_nan=False)] | None = 1.0
    """Initial bias of the LSTM's forget gates: above 0 they start open, log(L - 1) suits a memory of L days; null:
    drawn around 0, as PyTorch does."""
    dropout: Probability = 0.1
    """Share of hidden values dropped in training."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Quantiles forecast beside the point; must contain 0.5, which then is the point."""
    inputs: InputsConfig = InputsConfig()
    temporal: TemporalConfig = TemporalConfig()
    attention: AttentionConfig = AttentionConfig()
    fan: FanConfig = FanConfig()
    gat: GatConfig = GatConfig()
    head: HeadConfig = HeadConfig()
    freq_dropout: FreqDropoutConfig = FreqDropoutConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.attention.enabled and self.hidden_size % self.num_heads:
            raise ValueError(f"expected num_heads to divide hidden_size, got {self.num_heads} and {self.hidden_size}")
        if self.gat.enabled and self.hidden_size % self.gat.num_heads:
            raise ValueError(
                f"expected gat.num_heads to divide hidden_size, got {self.gat.num_heads} and {self.hidden_size}"
            )
        if self.quantiles and (0.5 not in self.quantiles or list(self.quantiles) != sorted(set(self.quantiles))):
            raise ValueError(f"expected increasing quantiles that contain 0.5, got {list(self.quantiles)}")
        return self

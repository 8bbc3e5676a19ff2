"""Keys of the network."""

from typing import Annotated

from pydantic import Field, model_validator

from atft_gat_fan.config.blend_section import BlendConfig
from atft_gat_fan.config.section import Positive, PositiveFloat, Probability, Section


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
    lstm_layers: Annotated[int, Field(gt=0, le=64)] = 1
    """Layers of the LSTM."""
    dropout: Probability = 0.1
    """Share of hidden values dropped in training."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Quantiles forecast beside the point; must contain 0.5, which then is the point."""
    fan: FanConfig = FanConfig()
    gat: GatConfig = GatConfig()
    head: HeadConfig = HeadConfig()
    freq_dropout: FreqDropoutConfig = FreqDropoutConfig()
    blend: BlendConfig = BlendConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"expected num_heads to divide hidden_size, got {self.num_heads} and {self.hidden_size}")
        if self.gat.enabled and self.hidden_size % self.gat.num_heads:
            raise ValueError(
                f"expected gat.num_heads to divide hidden_size, got {self.gat.num_heads} and {self.hidden_size}"
            )
        if self.quantiles and (0.5 not in self.quantiles or list(self.quantiles) != sorted(set(self.quantiles))):
            raise ValueError(f"expected increasing quantiles that contain 0.5, got {list(self.quantiles)}")
        return self

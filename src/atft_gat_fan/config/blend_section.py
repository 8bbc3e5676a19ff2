"""Keys of the blend: LightGBM beside the network, as one model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atft_gat_fan.config.run_sections import LightGBMConfig
from atft_gat_fan.config.section import Section


class BlendConfig(Section):
    """LightGBM beside the network, as one model: its scores are the weighted means of both ranks within the day."""

    enabled: bool = False
    """After the network, train LightGBM on the same days and features; the model then scores the blend of both."""
    weighting: Literal["validation", "equal"] = "validation"
    """Weight of the network at each horizon: that nearest to 1/2 whose RankIC on the validation days is within one
    standard error of the best weight's; `equal`: 1/2, whatever the validation days say."""
    grid: Annotated[int, Field(ge=3, le=101)] = 11
    """Weights that are tried, evenly spaced from 0 to 1; an odd number, so that 1/2 is one of them."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """LightGBM trainings a horizon, with seeds from `seed` on, that are averaged by their ranks."""
    lightgbm: LightGBMConfig = LightGBMConfig()
    """Of the blend; those of the baseline are `evaluation.lightgbm`."""

    @model_validator(mode="after")
    def _with_a_half(self) -> "BlendConfig":
        if not self.grid % 2:
            raise ValueError(f"expected an odd grid, so that 1/2 is one of the weights, got {self.grid}")
        return self

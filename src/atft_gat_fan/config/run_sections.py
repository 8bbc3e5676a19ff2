"""Keys of a run as a whole: where it stands and computes, and how it is evaluated."""

from typing import Annotated, Literal

from pydantic import Field

from atft_gat_fan.config.section import Length, NonNegativeFloat, Positive, PositiveFloat, Section, Threads


class RunConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "atft"
    """First part of the run folder's name."""
    root: str = "runs"
    """Folder that holds the run folders."""
    dir: str | None = None
    """The run folder itself; by default `root/name-<hash of the resolved configuration>`."""
    fresh: bool = False
    """Start over, deleting what an earlier run of the same configuration left in the folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto` takes CUDA when there is one."""
    num_threads: Threads | None = None
    """CPU threads; results are bit-identical only for the same number. Default: all cores."""
    stop_after: Annotated[str, Field(pattern=r"^[1-9][0-9]*[smh]$")] | None = None
    """Save and exit with 75 after this time (`90s`, `55m`, `3h`), for a batch scheduler's limit; leave it some margin.
    The same command started again goes on."""


def seconds(duration: str) -> float:
    """Of a duration such as `90s`, `55m` or `3h`."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


class LightGBMConfig(Section):
    """The LightGBM baseline."""

    num_rounds: Length = 200
    """Trees a horizon."""
    learning_rate: PositiveFloat = 0.05
    """Share of each tree that is added."""
    num_leaves: Annotated[int, Field(ge=2, le=131_072)] = 31
    """Leaves of a tree at most."""
    min_data_in_leaf: Positive = 200
    """Rows a leaf must have."""
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the features a tree may use."""
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the rows a tree is grown on."""
    max_rows: Positive = 1_000_000
    """Training rows at most: the newest days that fit."""


class EvaluationConfig(Section):
    baselines: tuple[Literal["reversal", "momentum", "ridge", "lightgbm"], ...] = (
        "reversal",
        "momentum",
        "ridge",
        "lightgbm",
    )
    """Rankings shown beside the model's."""
    lightgbm: LightGBMConfig = LightGBMConfig()
    num_quantiles: Annotated[int, Field(ge=2, le=10_000)] = 10
    """Groups of the quantile returns and the long-short portfolio (fewer when a day has too few stocks)."""
    cost_bps: NonNegativeFloat = 10.0
    """Trading cost of one side, in basis points of the value traded."""

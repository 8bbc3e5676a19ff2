"""Keys of the data: source, features, labels, split and graph."""

from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from atft_gat_fan.config.csv_section import CsvConfig
from atft_gat_fan.config.remote_section import RemoteConfig, is_remote, require_no_credentials
from atft_gat_fan.config.section import Length, NonNegative, Positive, PositiveFloat, Section


class ColumnsConfig(Section):
    """Names of the panel's columns."""

    code: str = "Code"
    """Name of the stock."""
    date: str = "Date"
    """Trading day."""
    open: str = "Open"
    """First price of the day, in any currency."""
    high: str = "High"
    """Highest price of the day."""
    low: str = "Low"
    """Lowest price of the day."""
    close: str = "Close"
    """Last price of the day."""
    adj_close: str | None = None
    """Adjusted close; by default `AdjClose` or `AdjustmentClose` if the panel has one, else the close."""
    volume: str = "Volume"
    """Shares traded on the day."""
    vwap: str = "VWAP"
    """Volume-weighted average price of the day, which only Alpha158's VWAP0 reads."""
    static: str | None = "sector33"
    """A static category of each stock, ignored when the panel has no such column."""
    label: str = "target_{h}d"
    """Forward return of horizon h; `feat_ret_{h}d` is tried next."""
    trailing_return: str = "returns_{h}d"
    """Trailing return over h days."""
    validity: str = "is_*_valid"
    """Pattern of boolean columns; where one is false, the column it names (`is_<column>_valid`) is missing."""


FeatureSet = Literal["derived", "alpha158", "derived+alpha158"]
Relative = Literal["market", "sector"]
World = Literal["heavy_tails", "spill_over", "decoys", "periodic", "spurious_line", "regimes", "scale_drift", "full"]
MAX_WORLD_SIGNAL = 0.9


class SyntheticConfig(Section):
    """The seeded artificial market of `data.source: synthetic`."""

    num_stocks: Length = 60
    """Stocks, listed and delisted ones counted."""
    num_days: Length = 750
    """Trading days."""
    num_sectors: Length = 6
    """Sectors, each with a return of its own."""
    seed: int = 7
    """Of the market's random numbers; `seed` is that of the training."""
    signal: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Daily rank correlation of the planted signal with the next day's return (the oracle's RankIC@1d)."""
    churn: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the stocks that are listed late or delisted early."""
    world: World | None = None
    """A market made for one improvement, with features of its own; null: a reversal market of prices and volumes."""
    null_twin: bool = False
    """The same world without the part that it is named after, where the improvement should change nothing."""

    @model_validator(mode="after")
    def _twin_of_a_world(self) -> "SyntheticConfig":
        if self.null_twin and self.world is None:
            raise ValueError(
                "expected a world whose twin null_twin means, got world: null; set one, or null_twin: false"
            )
        if self.world is not None and self.signal > MAX_WORLD_SIGNAL:
            raise ValueError(f"expected a signal of at most {MAX_WORLD_SIGNAL} in a world, got {self.signal}")
        return self


class DataConfig(Section):
    source: str = "sample"
    """`sample` (embedded S&P 500 closes), `synthetic`, or a path: Parquet (file or directory), CSV, a built store; or
    the address of one, such as `s3://bucket/panel.parquet`."""
    cache: str = ".cache/atft"
    """Folder of built stores, one a source and recipe, brought up to date when the source changes, of graphs, and of
    copies of what lies at addresses."""
    start: date | None = None
    """First day to use."""
    end: date | None = None
    """Last day to use."""
    codes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Stocks to use, as names or globs; null: all. Whatever is trained on them scores them alone."""
    columns: ColumnsConfig = ColumnsConfig()
    csv: CsvConfig = CsvConfig()
    features: Literal["auto", FeatureSet] | tuple[str, ...] = "auto"
    """`derived`: about 30 price and volume factors; `alpha158`: those of Qlib; a list of names or globs: those columns;
    `auto`: derived when the panel has prices and no other numeric columns, else every other numeric column."""
    relative: tuple[Relative, ...] = ()
    """Variants beside the derived features: `market`: of prices measured in the market's (`X_mkt`); `sector`: made
    comparable within the day's stocks of one static category (`X_sec`)."""
    standardise: Literal["zscore", "rank"] = "zscore"
    """What makes derived features comparable within a day: z-scores clipped at 5, or ranks scaled to unit variance."""
    horizons: Annotated[tuple[Length, ...], Field(max_length=1000)] = (1, 2, 3, 5, 10)
    """Forecast horizons in trading days, increasing."""
    window: Annotated[int, Field(ge=2, le=2048)] = 20
    """Trading days a prediction looks back on (L)."""
    delisting_return: Annotated[float, Field(ge=-1, allow_inf_nan=False)] | None = None
    """Return assumed once a stock leaves the panel before its horizon ends; unknown by default."""
    exchange: str | None = "XNYS"
    """Exchange whose published sessions give the calendar covariates (ISO 10383); null: weekdays."""
    strict: bool = False
    """Refuse, instead of dropping by name, columns that are constant or empty on the training days."""
    num_workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Threads that prepare the next batches while one is computed."""
    synthetic: SyntheticConfig = SyntheticConfig()
    remote: RemoteConfig = RemoteConfig()

    @field_validator("source")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        require_no_credentials(value)
        return value

    @field_validator("cache")
    @classmethod
    def _mappable(cls, value: str) -> str:
        if is_remote(value):
            raise ValueError(f"expected a folder of this machine, which can be mapped into memory, got {value!r}")
        return value

    @field_validator("horizons")
    @classmethod
    def _increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value)):
            raise ValueError(f"expected increasing, distinct horizons, got {list(value)}")
        return value

    @field_validator("relative")
    @classmethod
    def _each_once(cls, value: tuple[Relative, ...]) -> tuple[Relative, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each variant once, got {list(value)}")
        return tuple(sorted(value))  # one store, whichever is named first

    @model_validator(mode="after")
    def _ordered(self) -> "DataConfig":
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"expected start before end, got {self.start} and {self.end}")
        return self


class LabelsConfig(Section):
    transform: Literal["raw", "zscore", "rank"] = "raw"
    """Within-day transform of the labels, for the loss only; metrics always use raw returns."""


class SplitConfig(Section):
    train_start: date | None = None
    """First training day; default: the first that has a whole window. Earlier days still feed features and windows."""
    train_end: date | None = None
    """Last training day; default: the first `train_fraction` of the days."""
    valid_end: date | None = None
    """Last validation day; the test days follow."""
    test_end: date | None = None
    """Last test day; default: the newest. Later days still make its labels known."""
    train_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.70
    """Share of the days to train on, where `train_end` is not given."""
    valid_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the days to validate on, where `valid_end` is not given; the rest is for the test."""
    purge: NonNegative | None = None
    """Trading days left out between splits; default and least: the longest horizon + 1."""
    embargo: NonNegative = 0
    """Further trading days left out after the purge."""

    @model_validator(mode="after")
    def _ordered(self) -> "SplitConfig":
        names = ("train_start", "train_end", "valid_end", "test_end")
        given = [(name, day) for name in names if (day := getattr(self, name)) is not None]
        for (earlier, first), (later, second) in pairwise(given):
            if first >= second:
                raise ValueError(f"expected {earlier} before {later}, got {first} and {second}")
        if self.train_fraction + self.valid_fraction >= 1:
            raise ValueError("expected train_fraction + valid_fraction < 1, so that test days remain")
        return self


class GraphConfig(Section):
    lookback: Annotated[int, Field(ge=5, le=100_000)] = 60
    """Trading days of returns behind a correlation."""
    num_neighbours: Length = 16
    """Neighbours of a stock at most, the stock itself included (K)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Least absolute shrunk correlation of an edge."""
    shrinkage: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Correlations are multiplied by 1 - shrinkage (towards the identity)."""
    halflife: PositiveFloat | None = None
    """Half-life in days of exponential weights; null: equal weights."""
    min_periods: Annotated[int, Field(ge=3)] = 40
    """Common days two stocks must have in the lookback."""
    refresh_days: Positive = 5
    """The graph is rebuilt when this many weekdays have passed (fixed grid of dates)."""
    same_sector: bool = False
    """Fill free slots with stocks of the same static category."""

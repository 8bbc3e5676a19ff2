"""The features that can be made of prices and volumes: their sets, their variants, and their values.

A set is a list of names, `derived` or `alpha158` or both. Of a feature X the variant `X_mkt` is X of prices measured
in the market's (`PricePaths`), and `X_sec` is X made comparable within the stocks of one static category instead of
all. Windows are panel days, not a stock's own rows, so that a week is the same for every stock. A value of day t
depends on the panel days t - 65 .. t alone, to the bit: not on what follows, nor on where the panel begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from atft_gat_fan.config.data_sections import FeatureSet, Relative
from atft_gat_fan.data.alpha158 import ALPHA158_FAMILIES
from atft_gat_fan.data.bars import Bars
from atft_gat_fan.data.derived_features import DERIVED_FAMILIES
from atft_gat_fan.data.feature_family import Compute, Family
from atft_gat_fan.data.standardisation import standardise_within_category, standardise_within_day

TO_MARKET, IN_SECTOR = "_mkt", "_sec"
FAMILIES: tuple[Family, ...] = (*DERIVED_FAMILIES, *ALPHA158_FAMILIES)
_FAMILY_OF: Mapping[str, int] = {name: place for place, family in enumerate(FAMILIES) for name in family.names}

DERIVED_FEATURES: tuple[str, ...] = tuple(name for family in DERIVED_FAMILIES for name in family.names)
# The shapes of the bar that both sets have are the same.
ALPHA158_FEATURES: tuple[str, ...] = (
    *("KMID", "KLEN", "KUP", "KLOW", "KSFT"),
    *(name for family in ALPHA158_FAMILIES for name in family.names),
)
FEATURE_SETS: Mapping[FeatureSet, tuple[str, ...]] = {
    "derived": DERIVED_FEATURES,
    "alpha158": ALPHA158_FEATURES,
    "derived+alpha158": tuple(dict.fromkeys((*DERIVED_FEATURES, *ALPHA158_FEATURES))),
}
EVERY_COLUMN = frozenset().union(*(family.needs for family in FAMILIES))


def set_of(features: str | tuple[str, ...]) -> FeatureSet:
    """The set that `data.features` asks for where features are derived."""
    for name in FEATURE_SETS:
        if name == features:
            return name
    return "derived"


def derivable_features(
    columns: Iterable[str], feature_set: FeatureSet = "derived", relative: Sequence[Relative] = ()
) -> tuple[str, ...]:
    """The features of a set that these canonical columns (`open high low close volume vwap`) allow, in their fixed
    order, each with its variants beside it.
    """
    present = set(columns)
    return tuple(
        variant
        for name in FEATURE_SETS[feature_set]
        if (family := FAMILIES[_FAMILY_OF[name]]).needs <= present
        for variant in (
            name,
            *([name + TO_MARKET] if "market" in relative and family.to_market else []),
            *([name + IN_SECTOR] if "sector" in relative else []),
        )
    )


def is_derivable(name: str) -> bool:
    """Whether a feature, or variant of one, bears this name."""
    family = _FAMILY_OF.get(_base(name))
    return family is not None and (not name.endswith(TO_MARKET) or FAMILIES[family].to_market is not None)


def columns_behind(names: Iterable[str]) -> tuple[str, ...]:
    """The canonical columns that these features are made of, sorted."""
    return tuple(sorted(set().union(*(FAMILIES[_FAMILY_OF[_base(name)]].needs for name in names))))


def by_family(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names in their families: those of one family, and their variants, are computed together."""
    of_families: dict[int, list[str]] = {}
    for name in names:
        of_families.setdefault(_FAMILY_OF[_base(name)], []).append(name)
    return [tuple(of_families[place]) for place in sorted(of_families)]


def derive_features(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Columns `date, code, *names` (Float32, raw, null = unknown) for the rows of a canonical panel, in its order.

    A variant within the category is the feature itself as long as it is raw.
    """
    return compute_features(Bars(frame), names)


def compute_features(bars: Bars, names: Sequence[str]) -> pl.DataFrame:
    """The same, of prices whose intermediate series other families share."""
    wanted = {name.removesuffix(IN_SECTOR) for name in names}
    columns: dict[str, pl.Series] = {}
    # Missing values are NaN here, and NaN in, NaN out is meant: no warnings for it.
    with np.errstate(invalid="ignore", divide="ignore"):
        for family in FAMILIES:
            variants: list[tuple[Compute | None, str]] = [(family.compute, ""), (family.to_market, TO_MARKET)]
            for compute, suffix in variants:
                its_names = [name + suffix for name in family.names]
                if compute is None or wanted.isdisjoint(its_names):
                    continue
                for name, flat in zip(its_names, compute(bars), strict=True):
                    if name in wanted:
                        values = bars.timelines.gather(flat).astype(np.float32)
                        columns[name] = pl.Series(name, values).fill_nan(None)
    chosen = (columns[name.removesuffix(IN_SECTOR)].alias(name) for name in names)
    return pl.DataFrame([bars.frame["date"], bars.frame["code"], *chosen])


def standardise_features(
    frame: pl.DataFrame,
    names: Sequence[str],
    method: Literal["zscore", "rank"],
    category: Int64[ndarray, " rows"] | None = None,
) -> pl.DataFrame:
    """The named columns made comparable within the day, and variants in the category within that: each row's number,
    negative = unknown, which only they need. `frame` must be sorted by `date`.
    """
    inside = [name for name in names if name.endswith(IN_SECTOR)]
    frame = standardise_within_day(frame, [name for name in names if name not in inside], method)
    if inside:
        assert category is not None, f"expected the rows' categories for {inside}"
        frame = standardise_within_category(frame, inside, method, category)
    return frame


def _base(name: str) -> str:
    return name.removesuffix(TO_MARKET).removesuffix(IN_SECTOR)

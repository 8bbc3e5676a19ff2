"""Statistics of paths against numpy window by window, and paths measured in the market's against an index."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from numpy import ndarray

from atft_gat_fan.data import price_paths
from atft_gat_fan.data.bars import MAX_GAP, Bars
from atft_gat_fan.data.features import derivable_features, derive_features
from atft_gat_fan.data.price_paths import PricePaths
from atft_gat_fan.data.rolling import min_samples
from tests.data.messy_panels import messy_panel

WINDOWS = (5, 13, 60)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars(messy_panel(seed=3))


def market_index(frame: pl.DataFrame) -> dict[object, float]:
    """An equally weighted index of the stocks with prices on a day and on the panel day before."""
    wide = frame.pivot("code", index="date", values="adj_close").sort("date")
    prices = wide.drop("date").to_numpy().astype(float)
    returns = np.nanmean(prices[1:] / prices[:-1] - 1, axis=1)
    return dict(zip(wide["date"], np.cumprod([1.0, *(1 + returns)]), strict=True))


def over_market(frame: pl.DataFrame) -> pl.DataFrame:
    """The same panel in units of the index. (Its own market does not move: PricePaths as they are do for it.)"""
    index = pl.col("date").replace_strict(market_index(frame), return_dtype=pl.Float64)
    return frame.with_columns(pl.col("open", "high", "low", "close", "adj_close") / index)


def each_window(bars: Bars, window: int, statistic: Callable[[ndarray], float], *series: ndarray) -> ndarray:
    """The statistic of the known columns, oldest first, where today and enough days of the window are known."""
    slots, found = bars.timelines.slot, np.full(bars.frame.height, np.nan)
    padded = [np.concatenate([np.full(window, np.nan), values]) for values in series]
    for row, slot in enumerate(slots):
        values = np.stack([flat[slot + 1 : slot + window + 1] for flat in padded])
        known = np.isfinite(values).all(axis=0)
        if known[-1] and known.sum() >= min_samples(window):
            ages = np.arange(window - 1, -1, -1)[known]
            found[row] = statistic(np.vstack([values[:, known], ages]))
    return found


def fitted(path: ndarray) -> tuple[float, float]:
    slope, today = np.polyfit(-path[-1], path[0] / path[0, -1], 1)
    return slope, today


def first_of_highest(path: ndarray) -> float:
    return float(path[-1, np.argmax(path[0])])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("to_market", [False, True])
def test_a_path_has_the_statistics_of_its_known_days(
    bars: Bars, window: int, to_market: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_paths, "CHUNK_SLOTS", 77)  # windows cross pieces
    paths = PricePaths(bars, to_market=to_market)
    plain = Bars(over_market(bars.frame)) if to_market else bars
    price, volume = plain.price, np.log(bars.volume)
    with np.errstate(all="ignore"):
        trend = paths.trend(bars.price, window)
        highest, lowest = paths.highest(bars.highest, window), paths.lowest(bars.lowest, window)
        upper, lower = paths.quantiles(bars.price, window, (0.8, 0.2))
        gains, losses = paths.gains_and_losses(paths.changes, window)
        found = {
            "mean": (trend.mean, lambda x: (x[0] / x[0, -1]).mean() - 1, price),
            "std": (trend.std, lambda x: (x[0] / x[0, -1]).std(ddof=1), price),
            "slope": (trend.slope, lambda x: fitted(x)[0], price),
            "rsquare": (trend.rsquare, lambda x: np.corrcoef(x[-1], x[0])[0, 1] ** 2, price),
            "residual": (trend.residual, lambda x: 1 - fitted(x)[1], price),
            "upper": (upper / bars.price, lambda x: np.quantile(x[0], 0.8) / x[0, -1], price),
            "lower": (lower / bars.price, lambda x: np.quantile(x[0], 0.2) / x[0, -1], price),
            "rank": (paths.rank(bars.price, window), lambda x: (x[0] <= x[0, -1]).mean(), price),
            "high": (highest[0] / bars.highest, lambda x: x[0].max() / x[0, -1], plain.highest),
            "high age": (highest[1], first_of_highest, plain.highest),
            "low": (lowest[0] / bars.lowest, lambda x: x[0].min() / x[0, -1], plain.lowest),
            "low age": (lowest[1], lambda x: first_of_highest(-x * [[1], [-1]]), plain.lowest),
            "correlation": (
                paths.correlation(bars.price, volume, window, of_logs=True),
                lambda x: np.corrcoef(np.log(x[0]), x[1])[0, 1],
                price,
                volume,
            ),
            "gained": (
                (gains - losses) / (gains + losses),
                lambda x: x[0].sum() / np.abs(x[0]).sum(),
                PricePaths(plain).changes,
            ),
        }
    for name, (values, statistic, *series) in found.items():
        expected = each_window(bars, window, statistic, *series)
        assert np.isfinite(expected).mean() > 0.3, name
        np.testing.assert_allclose(
            bars.timelines.gather(values), expected, rtol=1e-8, atol=1e-10, err_msg=name, equal_nan=True
        )


def test_a_change_over_a_gap_is_measured_against_the_markets_growth_over_all_of_it(bars: Bars) -> None:
    frame = bars.frame
    over = Bars(over_market(frame))
    with np.errstate(all="ignore"):
        found, expected = PricePaths(bars, to_market=True).returns, PricePaths(over).returns
    gaps = frame.sort("code", "date")
    assert (gaps["date"].rank("dense").diff() > 1).sum() > MAX_GAP  # there are some
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(found).sum() > 100


def test_growth_is_that_of_an_index_and_unknown_beyond_the_panel(bars: Bars) -> None:
    index = np.array([value for _, value in sorted(market_index(bars.frame).items())])
    growth = bars.market_growth
    for age in (0, 1, 7, 60):
        np.testing.assert_allclose(growth[age, age:-1], index[age:] / index[: len(index) - age], rtol=1e-12)
        assert np.isnan(growth[age, :age]).all()
    assert np.isnan(growth[:, -1]).all()


def test_a_move_of_the_whole_market_moves_no_path_measured_in_it(bars: Bars) -> None:
    frame = bars.frame
    fallen = pl.when(pl.col("date") >= frame["date"].unique().sort()[100]).then(0.7).otherwise(1.0)
    moved = Bars(frame.with_columns(pl.col("open", "high", "low", "close", "adj_close") * fallen))
    with np.errstate(all="ignore"):
        before, after = (PricePaths(b, to_market=True).trend(b.price, 20) for b in (bars, moved))
        as_they_are = [PricePaths(b).trend(b.price, 20).std for b in (bars, moved)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)
    assert np.nanmax(np.abs(as_they_are[0] - as_they_are[1])) > 0.05


def test_every_variant_is_the_feature_of_a_panel_priced_in_the_index(bars: Bars) -> None:
    columns = ("open", "high", "low", "close", "volume")
    names = derivable_features(columns, "derived+alpha158", ("market",))
    variants = [name for name in names if name.endswith("_mkt")]
    assert len(variants) == 115 + 11
    plain = [name.removesuffix("_mkt") for name in variants]
    found = derive_features(bars.frame, variants)
    expected = derive_features(over_market(bars.frame), plain)
    for variant, name in zip(variants, plain, strict=True):
        one, other = (f[column].fill_null(np.nan).to_numpy() for f, column in ((found, variant), (expected, name)))
        both = np.isfinite(one) & np.isfinite(other)
        assert both.mean() > 0.3, name
        assert (np.isfinite(one) <= np.isfinite(other)).all(), name
        # The default CORR_k, of a day without trades, is that of the other days.
        assert both.sum() == np.isfinite(other).sum() or name.startswith("CORR_"), name
        np.testing.assert_allclose(one[both], other[both], rtol=1e-5, atol=2e-6, err_msg=name)

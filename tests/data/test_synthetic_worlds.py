"""Every world is what it says: its best RankIC, nothing of the future, and each part where it should be."""

from typing import get_args

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.stats import kurtosis, rankdata

from atft_gat_fan.config.data_sections import World as WorldName
from atft_gat_fan.config.schema import GraphConfig, SyntheticConfig
from atft_gat_fan.data.neighbour_lists import neighbour_lists
from atft_gat_fan.data.sources.synthetic import open_synthetic, oracle_rank_ic, synthetic_oracle, synthetic_panel
from atft_gat_fan.data.sources.synthetic_bound import strength_of
from atft_gat_fan.data.sources.synthetic_features import (
    FILTER_DAYS,
    LINE_PERIOD,
    WAVE_PERIOD,
    band_forecast,
    line_days,
    planted_scores,
    spurious_scores,
)
from atft_gat_fan.data.sources.synthetic_parts import DAILY_SCALE
from atft_gat_fan.data.sources.synthetic_returns import simulate
from atft_gat_fan.data.sources.synthetic_worlds import (
    DRIFT_DOUBLING,
    LINE_STRENGTH,
    STRESS_SCALE,
    WORLDS,
    world_of,
)

COLUMNS = ["slow_1", "slow_2", "news", "coverage", "wave", "line"]
EVERY_WORLD = pytest.mark.parametrize("world", WORLDS)


def market(world: str, num_stocks: int = 60, num_days: int = 300, **more: object) -> SyntheticConfig:
    return SyntheticConfig(world=world, num_stocks=num_stocks, num_days=num_days, **{"churn": 0.0, "seed": 5, **more})


def returns_of(config: SyntheticConfig) -> np.ndarray:
    """[days - 1, stocks], in units of an ordinary day, from the panel's closes; needs churn 0."""
    close = synthetic_panel(config)["Close"].to_numpy().reshape(config.num_days, -1)
    return np.diff(np.log(close), axis=0) / DAILY_SCALE


def rank_ics(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Spearman correlation of every day."""
    a, b = rankdata(scores, axis=1), rankdata(values, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def test_the_schema_names_the_worlds() -> None:
    assert set(get_args(WorldName)) == set(WORLDS)
    for world, _ in WORLDS.values():
        assert world.slow**2 + world.spill_over**2 + world.periodic**2 == pytest.approx(1)


@EVERY_WORLD
def test_the_oracle_reaches_its_bound(world: str) -> None:
    """Within 2 %, by simulation. The same noise without the score is subtracted: its RankIC is 0 but for chance."""
    config = market(world, 200, 1000) if world != "full" else market(world, 100, 5000)
    scores = synthetic_oracle(config)["oracle_1d"].to_numpy().reshape(config.num_days, -1)[:-1]
    returns = returns_of(config)
    lasting = slice(line_days(config.num_days) if world_of(config).spurious_line else FILTER_DAYS, None)
    scores, returns = scores[lasting], returns[lasting]
    strength = strength_of(world_of(config), config.num_stocks, config.signal)
    reached = rank_ics(scores, returns) - rank_ics(scores, returns - strength * scores)
    assert reached.mean() == pytest.approx(oracle_rank_ic(config), rel=0.02)


@EVERY_WORLD
def test_the_score_is_made_of_the_panels_past_alone(world: str) -> None:
    """Recomputed from the panel's last 20 days of features, it is the same to the bit."""
    config = market(world, 30, 120, churn=0.4)
    panel, group = synthetic_panel(config), simulate(config).group
    days, codes = panel["Date"].unique().sort(), [f"S{stock:04d}" for stock in range(30)]
    for day in (0, 12, 70, 119):
        past = panel.filter(pl.col("Date").is_in(days[max(day - FILTER_DAYS + 1, 0) : day + 1].implode()))
        everyone = past.select("Date").unique().join(pl.DataFrame({"Code": codes}), how="cross")
        rows = everyone.join(past, on=["Date", "Code"], how="left").sort("Date", "Code")
        wide = {name: rows[name].fill_null(np.nan).to_numpy().reshape(-1, 30) for name in COLUMNS}
        scores = planted_scores(wide, group, world_of(config))[-1]
        expected = synthetic_oracle(config).filter(date=days[day]).sort("code")["oracle_1d"].to_numpy()
        np.testing.assert_array_equal(scores[np.isfinite(scores)], expected)


@pytest.mark.parametrize("world", [name for name, (world, _) in WORLDS.items() if not world.spurious_line])
def test_what_comes_later_changes_nothing_of_what_was(world: str) -> None:
    short, long = (synthetic_panel(market(world, 30, days)) for days in (150, 190))
    columns = ["Date", "Code", "Close", *COLUMNS]
    assert long.head(short.height).select(columns).equals(short.select(columns))


@EVERY_WORLD
def test_beside_the_score_no_column_says_anything_of_tomorrow(world: str) -> None:
    config = market(world, 60, 800)
    history = simulate(config)
    strength = strength_of(world_of(config), config.num_stocks, config.signal)
    planted = strength * history.scores
    if world_of(config).spurious_line:
        until = line_days(config.num_days)
        planted[:until] += LINE_STRENGTH * strength * spurious_scores(history.features)[:until]
    noise = returns_of(config) - planted[:-1]
    panel = synthetic_panel(config)
    for name in COLUMNS:
        daily = rank_ics(panel[name].to_numpy().reshape(800, -1)[:-1], noise)
        # Columns persist and groups move together: independent days, not stocks, make the standard error.
        assert abs(daily.mean()) < 4 * daily.std() / np.sqrt(len(daily)), name


def test_the_same_configuration_gives_the_same_bits_and_another_seed_others() -> None:
    config = market("full", 20, 80)
    first = synthetic_panel(config)
    simulate.cache_clear()
    assert synthetic_panel(market("full", 20, 80)).equals(first)
    assert not synthetic_panel(market("full", 20, 80, seed=6)).equals(first)
    sources = [market("full", 20, 80), market("decoys", 20, 80), market("full", 20, 80, null_twin=True)]
    assert len({open_synthetic(config).fingerprint for config in sources}) == 3


def test_panels_have_prices_and_six_features() -> None:
    panel = synthetic_panel(market("full", 20, 80, churn=0.3))
    assert panel.columns == ["Date", "Code", "Open", "High", "Low", "Close", "Volume", "sector33", *COLUMNS]
    low, high = pl.min_horizontal("Open", "Close"), pl.max_horizontal("Open", "Close")
    assert panel.select(((pl.col("Low") > 0) & (pl.col("Low") <= low) & (high <= pl.col("High"))).all()).item()
    assert panel.null_count().sum_horizontal().item() == 0
    assert not panel.select(pl.any_horizontal(pl.col(COLUMNS).is_nan()).any()).item()


@EVERY_WORLD
def test_a_twin_shares_the_draws_and_lacks_the_part(world: str) -> None:
    history, twin = (simulate(market(world, null_twin=null_twin)) for null_twin in (False, True))
    world, without = (world_of(market(world, null_twin=null_twin)) for null_twin in (False, True))
    assert world != without
    drifts = world.scale_drift
    np.testing.assert_array_equal(history.group, twin.group)
    if not drifts:
        np.testing.assert_array_equal(history.features["slow_1"], twin.features["slow_1"])
        assert np.array_equal(history.features["line"], twin.features["line"]) != world.spurious_line
        assert np.array_equal(history.features["wave"], twin.features["wave"]) != world.level_drift
    same_score = (world.slow, world.decoys) == (without.slow, without.decoys)
    np.testing.assert_array_equal(np.allclose(history.scores, twin.scores), same_score)


@pytest.mark.parametrize("world", ["spill_over", "decoys"])
def test_only_carriers_news_spills_over(world: str) -> None:
    config = market(world)
    history = simulate(config)
    decoys = history.features["coverage"] < 0
    other = {
        **history.features,
        "news": np.where(decoys, np.roll(history.features["news"], 1, 0), history.features["news"]),
    }
    same = np.array_equal(planted_scores(other, history.group, world_of(config)), history.scores)
    assert same == (world == "decoys")


def test_past_returns_give_the_groups_away() -> None:
    config = market("spill_over")
    returns = returns_of(config).astype(np.float32)
    lists = neighbour_lists(returns[-60:], np.zeros(60, np.int64), GraphConfig())
    rows, slots = np.nonzero(lists.index >= 0)
    found = np.zeros((60, 60), dtype=bool)
    found[rows, lists.index[rows, slots]] = True
    group = simulate(config).group
    mates = (group[:, None] == group) & ~np.eye(60, dtype=bool)
    assert (found & mates).sum() / mates.sum() > 0.8
    assert (found & mates).sum() / found.sum() > 0.8


def test_the_band_forecast_is_tomorrows_cycle_and_sees_neither_level_nor_another_cycle() -> None:
    days = np.arange(60.0)[:, None]
    cycle = np.cos(2 * np.pi * days / WAVE_PERIOD + np.array([0.3, 2.0]))
    other = np.cos(2 * np.pi * days / LINE_PERIOD)
    forecast = band_forecast(cycle + 100.0 + other, WAVE_PERIOD)
    assert np.isnan(forecast[: FILTER_DAYS - 1]).all()
    np.testing.assert_allclose(forecast[FILTER_DAYS - 1 : -1], cycle[FILTER_DAYS:], atol=1e-12)


def test_the_drifting_level_outgrows_the_wave() -> None:
    drifting, still = (
        simulate(market("periodic", num_days=800, null_twin=twin)).features["wave"] for twin in (False, True)
    )
    assert drifting[-100:].std() > 3 * still[-100:].std()


def test_the_line_foretells_returns_until_the_test_days_and_is_gone_then() -> None:
    config = market("spurious_line", 60, 1000)
    line, until = simulate(config).features["line"], line_days(1000)
    foretold = rank_ics(spurious_scores(simulate(config).features)[FILTER_DAYS:-1], returns_of(config)[FILTER_DAYS:])
    assert foretold[: until - FILTER_DAYS].mean() > config.signal
    assert abs(foretold[until - FILTER_DAYS :].mean()) < 0.05
    power = [np.abs(np.fft.rfft(part, axis=0)) ** 2 for part in (line[until - 100 : until], line[until : until + 100])]
    share = [spectrum[20:31].sum() / spectrum[1:].sum() for spectrum in power]  # 0.2 to 0.3 cycles a day
    assert share[0] > 0.8
    assert share[1] < 0.4


def test_heavy_tails_are_heavy_and_the_twins_are_not() -> None:
    own, twins = (
        returns_of(market("heavy_tails", num_days=600, signal=0.0, null_twin=twin)).ravel() for twin in (False, True)
    )
    assert kurtosis(own) > 3
    assert abs(kurtosis(twins)) < 0.3


def precision_of_huber(returns: np.ndarray, delta: float) -> float:
    """How many days of squared error one day of Huber's loss is worth, for errors of this law: Huber 1964, eq. 13.

    `returns` [days, stocks] are noise alone, z-scored within the day; the inverse asymptotic variance E[ψ']² / E[ψ²].
    """
    z = (returns - returns.mean(axis=1, keepdims=True)) / returns.std(axis=1, keepdims=True)
    return float((np.abs(z) < delta).mean() ** 2 / (np.clip(z, -delta, delta) ** 2).mean() * (z**2).mean())


def test_a_robust_loss_is_worth_more_days_where_tails_are_heavy_and_groups_do_not_move() -> None:
    def worth(world: str, twin: bool = False) -> float:
        noise = market(world, 100, 3000, signal=0.0, null_twin=twin)
        return precision_of_huber(returns_of(noise), delta=0.55)

    assert worth("heavy_tails") > 1.7
    assert worth("heavy_tails", twin=True) < 0.85  # the price of robustness, on normal errors
    assert 0.9 < worth("full") < 1.1  # where half of the noise is groups' normal moves


def test_a_quarter_of_the_days_is_stressed_in_every_stretch() -> None:
    widths = returns_of(market("regimes", 100, 481, signal=0.0)).std(axis=1)
    stressed = widths > np.sqrt(STRESS_SCALE) * np.median(widths)
    assert stressed.mean() == pytest.approx(0.25, abs=0.02)
    assert widths[stressed].mean() / widths[~stressed].mean() == pytest.approx(STRESS_SCALE, rel=0.05)


def test_features_drift_in_scale_and_the_score_does_not_mind() -> None:
    drifting, still = (
        simulate(market("scale_drift", num_days=DRIFT_DOUBLING + 1, null_twin=twin)) for twin in (False, True)
    )
    for name in COLUMNS:
        ratio = drifting.features[name] / still.features[name]
        np.testing.assert_allclose(ratio[[0, -1]], [[1.0] * 60, [2.0] * 60], rtol=1e-12)
    np.testing.assert_allclose(drifting.scores, still.scores, rtol=1e-12)


def test_a_twin_of_no_world_and_a_signal_beyond_reach_are_refused() -> None:
    with pytest.raises(ValidationError, match="null_twin"):
        SyntheticConfig(null_twin=True)
    with pytest.raises(ValidationError, match="at most"):
        SyntheticConfig(world="full", signal=0.95)


@pytest.mark.parametrize(("num_stocks", "num_days"), [(1, 1), (2, 5), (12, 25)])
def test_tiny_markets_are_markets(num_stocks: int, num_days: int) -> None:
    config = market("full", num_stocks, num_days, num_sectors=1)
    assert synthetic_panel(config).height == synthetic_oracle(config).height == num_stocks * num_days
    assert oracle_rank_ic(config) == pytest.approx(config.signal, rel=1e-4)

"""The artificial market gives away what it was told to, to who looks at the past alone."""

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.features import DERIVED_FEATURES, derive_features, standardise_within_day
from atft_gat_fan.data.sources.synthetic import HISTORY, open_synthetic, oracle_score, synthetic_oracle, synthetic_panel

SMALL = SyntheticConfig(num_stocks=30, num_days=200, churn=0.4, seed=3)


def daily_spearman(frame: pl.DataFrame, a: str, b: str) -> float:
    daily = frame.drop_nulls([a, b]).group_by("date").agg(pl.corr(a, b, method="spearman").fill_nan(None).alias("rho"))
    return float(daily["rho"].mean())


def with_returns(config: SyntheticConfig) -> pl.DataFrame:
    panel = synthetic_panel(config).rename(str.lower).sort("code", "date")
    returns = [(pl.col("close").shift(-h).over("code") / pl.col("close") - 1).alias(f"target_{h}d") for h in (1, 5)]
    return panel.with_columns(returns).join(synthetic_oracle(config), on=["date", "code"])


@pytest.mark.parametrize("signal", [0.0, 0.25, 0.6])
def test_the_oracle_reaches_the_planted_rank_correlation(signal: float) -> None:
    frame = with_returns(SyntheticConfig(num_stocks=100, num_days=1000, signal=signal, seed=11))
    assert daily_spearman(frame, "oracle_1d", "target_1d") == pytest.approx(signal, abs=0.02)


def test_longer_labels_carry_some_of_the_signal() -> None:
    frame = with_returns(SyntheticConfig(num_stocks=100, num_days=400, signal=0.25))
    assert daily_spearman(frame, "oracle_1d", "target_5d") > 0.1


def test_the_oracle_is_made_of_the_panels_past_alone() -> None:
    """Recomputed from the rows of the panel up to a day, it is the same to the bit."""
    panel, oracle = synthetic_panel(SMALL), synthetic_oracle(SMALL)
    codes = sorted(panel["Code"].unique())
    sectors = dict(panel.select("Code", "sector33").iter_rows())
    for day in (0, 5, 60, 199):
        date = panel["Date"].unique().sort()[day]
        past = panel.filter(
            pl.col("Date") <= date, pl.col("Date") >= panel["Date"].unique().sort()[max(day - HISTORY + 1, 0)]
        )
        wide = [
            past.pivot("Code", index="Date", values=value)
            .sort("Date")
            .select(pl.col(code) if code in past["Code"] else pl.lit(None, pl.Float64).alias(code) for code in codes)
            .cast(pl.Float64)
            .fill_null(np.nan)
            .to_numpy()
            for value in ("Close", "Volume")
        ]
        scores = oracle_score(*wide, np.array([int(sectors[code]) for code in codes]))
        expected = oracle.filter(date=date).sort("code")["oracle_1d"].to_numpy()
        np.testing.assert_array_equal(scores[np.isfinite(scores)], expected)


def test_part_of_the_score_is_what_the_sectors_other_stocks_did() -> None:
    rng = np.random.default_rng(0)
    close, volume = 50 + rng.normal(size=(2, HISTORY, 40)).cumsum(axis=1)
    sector = np.arange(40) % 4
    before = oracle_score(close, volume, sector)
    close[-1, 4::4] *= 1.05  # all of sector 0 but stock 0, which changes itself in nothing
    after = oracle_score(close, volume, sector)
    assert after[0] > before[0] + 0.3


def test_the_panel_does_not_hold_the_oracle() -> None:
    columns = ["Date", "Code", "Open", "High", "Low", "Close", "Volume", "sector33"]
    assert synthetic_panel(SMALL).columns == columns


def test_a_linear_combination_of_derived_features_finds_the_oracle() -> None:
    config = SyntheticConfig(num_stocks=60, num_days=400)
    panel = synthetic_panel(config).rename(str.lower).with_columns(adj_close="close").sort("date", "code")
    features = standardise_within_day(derive_features(panel, DERIVED_FEATURES), DERIVED_FEATURES, "rank")
    frame = features.join(synthetic_oracle(config), on=["date", "code"]).fill_null(0.0).sort("date", "code")
    days = frame["date"].unique().sort()
    fit, rest = frame.filter(pl.col("date") <= days[200]), frame.filter(pl.col("date") > days[200])
    weights, *_ = np.linalg.lstsq(fit.select(DERIVED_FEATURES).to_numpy(), fit["oracle_1d"].to_numpy())
    scores = rest.with_columns(score=pl.Series(rest.select(DERIVED_FEATURES).to_numpy() @ weights))
    assert daily_spearman(scores, "score", "oracle_1d") > 0.75


def test_prices_and_volumes_are_possible() -> None:
    panel = synthetic_panel(SMALL)
    low, high = pl.min_horizontal("Open", "Close"), pl.max_horizontal("Open", "Close")
    assert panel.select(((pl.col("Low") > 0) & (pl.col("Low") <= low) & (high <= pl.col("High"))).all()).item()
    assert panel["Volume"].min() > 0
    assert not panel.select(pl.struct("Date", "Code").is_duplicated().any()).item()


def test_a_share_of_the_stocks_comes_late_or_goes_early() -> None:
    panel = synthetic_panel(SMALL)
    first, last = panel["Date"].min(), panel["Date"].max()
    stays = panel.group_by("Code").agg(pl.col("Date").min().alias("from"), pl.col("Date").max().alias("to"))
    churned = stays.filter((pl.col("from") > first) | (pl.col("to") < last))
    assert churned.height == pytest.approx(0.4 * SMALL.num_stocks, abs=1)
    assert (churned["from"] > first).any()
    assert (churned["to"] < last).any()
    assert synthetic_panel(SMALL.model_copy(update={"churn": 0.0})).height == 30 * 200


def test_noise_has_heavy_tails_a_market_and_sectors() -> None:
    panel = synthetic_panel(SyntheticConfig(num_stocks=60, num_days=500, churn=0, signal=0.0))
    wide = panel.pivot("Code", index="Date", values="Close").drop("Date").to_numpy()
    returns = np.diff(np.log(wide), axis=0)
    sector = panel.unique("Code", maintain_order=True)["sector33"].to_numpy()
    correlation = np.corrcoef(returns.T)
    same = (sector[:, None] == sector) & ~np.eye(60, dtype=bool)
    assert correlation[same].mean() > correlation[sector[:, None] != sector].mean() + 0.05 > 0.2
    own = returns - returns.mean(axis=1, keepdims=True)
    kurtosis = ((own / own.std(axis=0)) ** 4).mean()
    assert kurtosis > 4


def test_the_same_configuration_gives_the_same_bits_and_another_seed_others() -> None:
    again = SyntheticConfig(**SMALL.model_dump())
    assert synthetic_panel(again).equals(synthetic_panel(SMALL))
    assert not synthetic_panel(SMALL.model_copy(update={"seed": 4})).equals(synthetic_panel(SMALL))


def test_the_default_market_stays_what_it_was() -> None:
    """Volumes to the share, prices to 9 digits (the last ones depend on the processor), and the same cached stores."""
    config = SyntheticConfig(num_stocks=30, num_days=120, churn=0.4, seed=3)
    panel, oracle = synthetic_panel(config), synthetic_oracle(config)
    assert (panel.height, panel["Volume"].sum()) == (3123, 3682830912)
    sums = [panel[name].log().sum() for name in ("Open", "High", "Low", "Close")]
    expected = [11746.299666094035, 11780.447017106768, 11712.193804795252, 11745.995784835086, 330.55069171955057]
    assert [*sums, (oracle["oracle_1d"] * np.arange(oracle.height)).sum()] == pytest.approx(expected, rel=1e-9)
    assert open_synthetic(config).fingerprint == "f027ab9ea236534f4e02b6d0cd715fae7bf0e64979e092c08a73d7730fda9414"
    default = "cbebce73d681088140180cd25d10f99edbca64112e321df5f2795341e23a4fe7"
    assert open_synthetic(SyntheticConfig()).fingerprint == default


def test_scores_are_standard_normal_within_the_day() -> None:
    scores = synthetic_oracle(SMALL).sort("date")
    last_day = scores.filter(date=scores["date"].max())["oracle_1d"].to_numpy()
    np.testing.assert_allclose(np.sort(last_day), ndtri((np.arange(len(last_day)) + 0.5) / len(last_day)), rtol=1e-12)

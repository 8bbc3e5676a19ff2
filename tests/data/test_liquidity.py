import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.liquidity import liquid_half, require_dollar_volume
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.assembly import Assembly, assemble

WEIGHTED = "loss.liquidity_weight=3"


def assembled(panel: pl.DataFrame, folder, *overrides: str) -> Assembly:
    path = folder / "panel.parquet"
    panel.write_parquet(path)
    keys = ["model=small", f"data.source={path}", f"data.cache={folder / 'cache'}", "model.gat.enabled=false"]
    return assemble(load_config([*keys, *overrides]), lambda stage, share: None)


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    from atft_gat_fan.config.schema import SyntheticConfig
    from atft_gat_fan.data.sources.synthetic import synthetic_panel

    return synthetic_panel(SyntheticConfig(num_stocks=16, num_days=200, churn=0.4))


def test_it_is_the_upper_half_of_the_present_with_the_median() -> None:
    volume = np.array([[1.0, 2, 3, 4, 100], [1, np.nan, 3, 4, 5], [np.nan] * 5, [7, 7, 7, 7, 7]])
    present = np.ones((4, 5), dtype=bool)
    present[0, 4] = False
    assert liquid_half(volume, present).tolist() == [
        [False, False, True, True, False],
        [False, False, False, True, True],
        [False] * 5,
        [True] * 5,
    ]


def test_only_its_own_day_counts() -> None:
    rng = np.random.default_rng(0)
    volume, present = rng.random((6, 9)), rng.random((6, 9)) < 0.8
    expected = liquid_half(volume, present)
    volume[3:] *= rng.random((3, 9))
    assert_array_equal(liquid_half(volume, present)[:3], expected[:3])


def test_blocks_of_a_weighted_training_carry_what_the_metrics_call_liquid(panel, tmp_path) -> None:
    weighted, plain = (assembled(panel, tmp_path, *more) for more in ([WEIGHTED], []))
    store = weighted.store
    first = int(weighted.split.train[40])
    batch = weighted.batch(first, 6)
    period = slice(first, first + 6)
    expected = liquid_half(store.column("dollar_volume", period), store.column("present", period))
    assert_array_equal(batch.liquid, expected[:, weighted.batches.data.block(first, 6, 20).stocks])
    assert 0.3 < batch.liquid[batch.present].float().mean() < 0.7
    assert plain.batch(first, 6).liquid is None
    pieces = batch.pieces(4)
    assert_array_equal(np.concatenate([piece.liquid for piece in pieces]), batch.liquid)


def test_who_is_liquid_on_a_day_does_not_depend_on_later_ones(panel, tmp_path) -> None:
    first, count = 120, 8
    until = panel["Date"].unique().sort()[first + count - 1]
    later = pl.col("Date") > until
    changed = panel.with_columns(
        Volume=pl.when(later).then(pl.col("Volume") * pl.col("Code").hash(0).mod(100)).otherwise(pl.col("Volume")),
        Close=pl.when(later).then(pl.col("Close") * 3).otherwise(pl.col("Close")),
    )
    liquid = []
    for number, one in enumerate((panel, changed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        liquid.append(assembled(one, folder, WEIGHTED, "split.train_fraction=0.8").batch(first, count).liquid)
    assert_array_equal(liquid[0], liquid[1])


def test_without_volume_a_weight_is_refused(panel, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"^loss\.liquidity_weight=3\.0 expects dollar volumes, found none"):
        assembled(panel.drop("Volume"), tmp_path, WEIGHTED)


def test_volume_known_late_in_the_training_days_is_enough(panel, tmp_path) -> None:
    late = pl.col("Date") > panel["Date"].unique().sort()[110]
    source = tmp_path / "panel.parquet"
    panel.with_columns(Volume=pl.when(late).then(pl.col("Volume"))).write_parquet(source)
    store = cached_store(load_config([f"data.source={source}", f"data.cache={tmp_path / 'cache'}"]), lambda *_: None)
    require_dollar_volume(store, np.arange(20, 160), "key")
    with pytest.raises(ConfigError, match="key expects"):
        require_dollar_volume(store, np.arange(20, 100), "key")

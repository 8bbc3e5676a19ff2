"""A trained model says how its inputs were made, so that a prediction makes them again."""

from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.train import _recipe
from tests.runs.predicting import predicted, untrained_run

VARIANTS = ("data.features=alpha158", "data.relative=[market,sector]", "data.standardise=rank")


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=12, num_days=260, num_sectors=2))


def silent(stage: str, share: float) -> None:
    pass


def test_of_a_built_store_it_is_the_stores(panel: pl.DataFrame, tmp_path: Path) -> None:
    panel.write_parquet(tmp_path / "panel.parquet")
    places = ["model=small", "data.horizons=[1,5]", f"data.cache={tmp_path / 'cache'}"]
    built = load_config([*places, *VARIANTS, f"data.source={tmp_path / 'panel.parquet'}"])
    convert(built, tmp_path / "store", silent)
    of_store = [f"data.source={tmp_path / 'store'}"]
    for others in (of_store, [*VARIANTS, f"data.source={built.data.source}"]):
        recipe = _recipe(assemble(load_config([*places, *others]), silent))
        assert (recipe.features, recipe.relative, recipe.standardise) == ("alpha158", ("market", "sector"), "rank")


@pytest.mark.slow
def test_a_day_predicted_of_the_rows_it_needs_is_that_of_the_whole_panel(panel: pl.DataFrame, tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", panel, *VARIANTS)
    whole, _ = predicted(run, panel, AskedDays(), tmp_path / "whole")
    newest, _ = predicted(run, panel, AskedDays(newest=True), tmp_path / "newest")
    assert newest.equals(whole.filter(pl.col("date") == whole["date"].max()))

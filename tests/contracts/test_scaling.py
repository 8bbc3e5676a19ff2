"""The page about a larger market says what its formulas make of what was measured."""

from pathlib import Path

import pytest

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.panel import STORE_SPAN
from atft_gat_fan.data.store_shard import Layout
from atft_gat_fan.data.store_writer import SHARD_DAYS
from benchmarks import scaling

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_the_page_is_computed_from_the_results() -> None:
    page = PAGE.read_text()
    assert scaling.with_tables(page) == page, "run `python -m benchmarks.scaling --page docs/scaling.md`"


def test_the_arithmetic_is_that_of_the_system() -> None:
    default = Config()
    assert default.data.window == scaling.WINDOW
    assert default.batch_size == scaling.BATCH
    assert len(default.data.horizons) == scaling.HORIZONS
    assert default.graph.num_neighbours == scaling.NEIGHBOURS
    assert default.graph.refresh_days == scaling.REFRESH_DAYS
    assert (SHARD_DAYS, STORE_SPAN) == (scaling.SHARD, scaling.SPAN)
    features = tuple(f"f{number}" for number in range(scaling.FEATURES))
    schema = Layout(features, default.data.horizons).schema(num_stocks=1)
    assert sum(field.type.list_size * field.type.value_type.bit_width // 8 for field in schema) == scaling.STORED


def test_ten_times_the_names_are_ten_times_everything_but_the_graph() -> None:
    value = {constant.symbol: constant.value for constant in scaling.CONSTANTS}
    jpx, ten, bars = scaling.MARKETS[:3]
    times = {what: formula(ten, value) / formula(jpx, value) for what, _, formula, _ in scaling.ROWS}
    assert times["stock-bars"] == pytest.approx(10)
    assert times["**disk**: store"] == pytest.approx(10)
    assert times["**time**: a refresh of the graph"] == pytest.approx(100)
    assert times["**memory**: online normalisation instead"] == pytest.approx(10)
    (online,) = (formula for what, _, formula, _ in scaling.ROWS if "online normalisation" in what)
    assert online(bars, value) == online(jpx, value)


def test_machines_are_as_many_as_two_processes_bring() -> None:
    value = {constant.symbol: constant.value for constant in scaling.CONSTANTS}
    (machines,) = (formula for what, _, formula, _ in scaling.ROWS if what.startswith("machines"))
    large = scaling.MARKETS[-1]
    alone = scaling.EPOCHS * scaling.epoch_seconds(large, value) / 86400
    assert machines(large, {**value, "e": 2.0}) == pytest.approx(alone)
    assert machines(large, {**value, "e": 1.0}) == pytest.approx(2 * alone)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.46, "0.46 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h"), (864000, "10 days")]
)
def test_times_are_said_in_their_unit(seconds: float, said: str) -> None:
    assert scaling.span(seconds) == said

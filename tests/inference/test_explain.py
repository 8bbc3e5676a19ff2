"""Explanations over time: sums, the scores of `predict`, and nothing of the future."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.inference.explain import GRAPH_FACTS, DayExplanation, Explanation, explain_days, rank_correlation
from atft_gat_fan.inference.predictor import predict_days
from tests.inference import examples

DAYS = np.arange(30, 36)
Explained = tuple[Explanation, DayExplanation]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DayBatches:
    return examples.batches(examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame()))


@pytest.fixture(scope="module")
def explained(data: DayBatches) -> Explained:
    return explain_days(examples.network(), data, DAYS)


def test_scores_are_those_of_predict_to_the_bit(data: DayBatches, explained: Explained) -> None:
    _, day = explained
    predicted = predict_days(examples.network(), data, DAYS).scores[-1]
    assert np.array_equal(day.scores, predicted[day.stocks])
    assert np.isnan(np.delete(predicted, day.stocks, axis=0)).all()


def test_shares_add_up(explained: Explained) -> None:
    over_time, day = explained
    assert over_time.days.tolist() == sorted(over_time.days.tolist())
    assert len(over_time.days) == len(DAYS)
    for moments in (over_time.variable_weights, over_time.attention, over_time.energy, over_time.taken):
        np.testing.assert_allclose(moments.mean.sum(axis=1), 1.0, atol=1e-6)
        assert (moments.std > 0).any()
    for values in (day.variable_weights, day.attention, day.energy, day.taken):
        assert values.shape[0] == len(day.stocks)
        np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-6)
    assert (day.removed <= day.energy + 1e-12).all()
    assert ((over_time.removed_by_channel > 0) & (over_time.removed_by_channel <= 1)).all()
    np.testing.assert_allclose(day.links.weight.sum(axis=1), 1.0, atol=1e-6)
    assert (day.links.index[:, 0] == np.arange(len(day.stocks))).all()


def test_the_last_day_is_the_last_row(explained: Explained) -> None:
    over_time, day = explained
    for name in ("variable_weights", "attention", "taken", "energy", "removed"):
        np.testing.assert_array_equal(getattr(over_time, name).mean[-1], getattr(day, name).mean(axis=0))
        np.testing.assert_array_equal(getattr(over_time, name).std[-1], getattr(day, name).std(axis=0))
    facts = dict(zip(GRAPH_FACTS, over_time.graph.mean[-1], strict=True))
    weight = day.links.weight
    assert facts["self_weight"] == pytest.approx(weight[:, 0].mean())
    assert facts["degree"] == pytest.approx(day.links.mask[:, 1:].sum(axis=1).mean())
    assert 1 <= facts["effective_neighbours"] <= facts["degree"] + 1
    others = day.links.mask[:, 1:]
    edges = pl.DataFrame({"a": weight[:, 1:][others], "b": np.abs(day.links.correlation[:, 1:][others])})
    assert facts["weight_correlation"] == pytest.approx(edges.select(pl.corr("a", "b", method="spearman")).item())


def test_what_comes_later_changes_nothing(explained: Explained, tmp_path: Path) -> None:
    """The same days of a panel whose later days are other ones, and of one that ends there."""
    rows, last = examples.frame(), int(DAYS[-1])
    day = rows["date"].unique().sort()[last]
    later = pl.col("date") > day
    other = rows.with_columns(
        pl.when(later).then(pl.col(name) * -3 + 1).otherwise(pl.col(name)).alias(name)
        for name in (*examples.FEATURES, "returns_1d", "target_1d", "target_3d")
    )
    for name, panel in (("other", other), ("ends", rows.filter(~later))):
        again = explain_days(examples.network(), examples.batches(examples.store(tmp_path / name, panel)), DAYS)
        for one, before in zip(again, explained, strict=True):
            assert_same(one, before)


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    elif one is not None:
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))


def test_parts_that_a_network_lacks_are_none(data: DayBatches) -> None:
    over_time, day = explain_days(examples.network(gat_heads=0, fan_top_k=0), data, DAYS[:2])
    assert (over_time.taken, over_time.energy, over_time.removed, over_time.removed_by_channel) == (None,) * 4
    assert (over_time.graph, day.links, day.taken) == (None,) * 3


def test_rank_correlation_of_what_does_not_vary_is_unknown() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9])
    assert rank_correlation(values, values**3) == pytest.approx(1.0)
    assert rank_correlation(values, -values) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(values, np.ones(4)))
    assert np.isnan(rank_correlation(values[:2], values[:2]))

from dataclasses import replace
from typing import Any

import pytest
import torch

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Forecast, Neighbours, RandomKey
from tests.models.specs import COVARIATES, DAYS, FEATURES, KEY, SPAN, SPEC, WINDOW

STOCKS, SLOTS = 9, 4


def network(seed: int = 0, **changes: Any) -> ATFT_GAT_FAN:
    """A small network in float64, where rounding decides no selection of a frequency, with scores of order 1."""
    torch.manual_seed(seed)
    model = ATFT_GAT_FAN(replace(SPEC, **changes)).double()
    torch.nn.init.normal_(model.heads.point.weight, std=0.3)
    return model


def batch(seed: int = 0) -> DayBatch:
    generator = torch.Generator().manual_seed(seed)
    own = torch.arange(STOCKS).expand(DAYS, STOCKS).unsqueeze(-1)
    offset = torch.rand(DAYS, STOCKS, STOCKS - 1, generator=generator).argsort(-1)[..., : SLOTS - 1] + 1
    mask = torch.rand(DAYS, STOCKS, SLOTS, generator=generator) < 0.6
    mask[..., 0] = True
    index = torch.where(mask, torch.cat([own, (own + offset) % STOCKS], dim=-1), own)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return DayBatch(
        features=normal(SPAN, STOCKS, FEATURES),
        labels=0.02 * normal(DAYS, STOCKS, 2),
        present=torch.ones(DAYS, STOCKS, dtype=torch.bool),
        calendar=normal(SPAN, COVARIATES),
        static=torch.arange(STOCKS) % 4,
        span_dates=tuple(range(19_000, 19_000 + SPAN)),
        neighbours=Neighbours(index, mask, normal(DAYS, STOCKS, SLOTS, 2)),
    )


def days_of(whole: DayBatch, first: int, count: int) -> DayBatch:
    """The batch of some of the days, as the data room would make it."""
    span, days = slice(first, first + count + WINDOW - 1), slice(first, first + count)
    graph = whole.neighbours
    return replace(
        whole,
        features=whole.features[span],
        labels=whole.labels[days],
        present=whole.present[days],
        calendar=whole.calendar[span],
        span_dates=whole.span_dates[span],
        neighbours=Neighbours(graph.index[days], graph.mask[days], graph.edge[days]),
    )


def gradients(model: ATFT_GAT_FAN, *losses: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(sum(losses), list(model.parameters())))


def assert_relative(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=tolerance)


def test_forecast_shapes_and_distributions() -> None:
    forecast = network().eval().forecast(batch())
    assert forecast.point.shape == (DAYS, STOCKS, 2)
    assert forecast.quantiles is None
    ones = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(forecast.variable_weights.sum(-1), ones.expand(SPAN, STOCKS))
    torch.testing.assert_close(forecast.attention.sum(-1), ones.expand(DAYS, STOCKS))
    assert forecast.attention.shape == (DAYS, STOCKS, WINDOW)


def test_default_size_is_at_most_300_000_parameters() -> None:
    default = ATFT_GAT_FAN(ModelSpec(num_features=30, num_categories=33, num_covariates=10))
    assert sum(parameter.numel() for parameter in default.parameters()) <= 300_000


def test_first_scores_are_smaller_than_daily_returns_but_not_constant() -> None:
    torch.manual_seed(0)
    point = ATFT_GAT_FAN(replace(SPEC, hidden_size=64)).double().eval().forecast(batch()).point
    assert point.std().item() == pytest.approx(1e-3 * 64**0.5, rel=0.5)


def test_stock_order_does_not_matter() -> None:
    model, given = network().eval(), batch()
    order = torch.randperm(STOCKS, generator=torch.Generator().manual_seed(5))
    place = order.argsort()
    graph = given.neighbours
    shuffled = replace(
        given,
        features=given.features[:, order],
        static=given.static[order],
        neighbours=Neighbours(place[graph.index[:, order]], graph.mask[:, order], graph.edge[:, order]),
    )
    torch.testing.assert_close(
        model.forecast(shuffled).point, model.forecast(given).point[:, order], rtol=0, atol=1e-12
    )


def test_a_prediction_depends_on_its_own_window_and_neighbours_alone() -> None:
    model, given = network().eval(), batch()
    day, stock = 1, 4
    graph = given.neighbours
    seen = graph.index[day, stock][graph.mask[day, stock]]
    strangers = torch.ones(STOCKS, dtype=torch.bool).scatter(0, seen, False)
    assert 2 < strangers.sum() < STOCKS - 1, "the example needs neighbours and strangers"

    features = given.features.clone()
    features[:, strangers] = 7.0
    features[:day] = 7.0
    features[day + WINDOW :] = 7.0
    base, changed = model.forecast(given), model.forecast(replace(given, features=features))
    assert torch.equal(changed.point[day, stock], base.point[day, stock])

    for touched in (int(seen[-1]), stock):
        features = given.features.clone()
        features[day, touched] += 1.0  # the oldest day of the window
        changed = model.forecast(replace(given, features=features))
        assert (changed.point[day, stock] != base.point[day, stock]).all()


def test_shared_windows_equal_each_window_by_itself() -> None:
    model, given = network().eval(), batch()
    probe = torch.randn(DAYS, STOCKS, 2, dtype=torch.float64)
    shared = model.forecast(given).point
    alone = []
    for day in range(DAYS):
        one = days_of(given, day, 1)
        scores = model(one.features.transpose(0, 1), one.neighbours, static=one.static, calendar=one.calendar)
        alone.append(torch.stack(list(scores["predictions"].values()), dim=-1))
    separate = torch.stack(alone)
    assert_relative(shared, separate, 1e-12)
    pairs = zip(gradients(model, (shared * probe).sum()), gradients(model, (separate * probe).sum()), strict=True)
    for one, other in pairs:
        assert_relative(one, other, 1e-10)


def test_shared_windows_agree_in_float32_where_no_frequency_ties() -> None:
    model, given = network().eval(), batch()
    shared = model.forecast(given).point
    category, known = model.static(given.static), model.calendar(given.calendar).unsqueeze(1)
    hidden, _ = model._select(given.features, category, known, given.span_dates, None)
    assert not model.temporal.fan.near_ties(hidden.unfold(0, WINDOW, 1).movedim(-1, 0)).any(), "choose another seed"

    single = model.float()
    given = replace(given, features=given.features.float(), calendar=given.calendar.float())
    graph = given.neighbours
    given = replace(given, neighbours=Neighbours(graph.index, graph.mask, graph.edge.float()))
    whole = single.forecast(given).point
    parts = torch.cat([single.forecast(days_of(given, day, 1)).point for day in range(DAYS)])
    assert_relative(whole, parts, 1e-6)
    assert_relative(whole.double(), shared, 1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fan_top_k": 0, "gat_heads": 0},
        {"fan_top_k": 2, "lstm_layers": 2},
        {"dropout": 0.0, "freq_dropout_p": 0.5},
    ],
)
def test_dropout_does_not_depend_on_how_days_are_split(changes: dict[str, Any]) -> None:
    model, given = network(**changes), batch()
    whole = model.forecast(given, KEY).point
    parts = torch.cat([model.forecast(days_of(given, *part), KEY).point for part in ((0, 1), (1, 3))])
    assert_relative(whole, parts, 1e-12)
    assert not torch.allclose(whole, model.forecast(given, RandomKey(seed=1, step=3)).point)
    assert not torch.allclose(whole, model.eval().forecast(given, KEY).point)


@pytest.mark.parametrize("key", [KEY, None])
def test_gradient_checkpointing_changes_memory_only(key: RandomKey | None) -> None:
    # Without a key, the masks of both forms come from the global generator in different orders: no dropout then.
    dropouts = {"dropout": SPEC.dropout, "freq_dropout_p": 0.5} if key else {"dropout": 0.0}
    plain = network(**dropouts)
    recomputed = network(**dropouts, gradient_checkpointing=True)
    saved = {}
    results = {}
    for name, model in (("plain", plain), ("recomputed", recomputed)):
        sizes: dict[int, int] = {}

        def record(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            point = model.forecast(batch(), key).point
        saved[name] = sum(sizes.values())
        results[name] = [point, *gradients(model, point.square().sum())]
    for one, other in zip(results["plain"], results["recomputed"], strict=True):
        assert_relative(one, other, 1e-11)
    assert saved["recomputed"] < saved["plain"] / 3


def test_recomputed_dropout_without_a_key_draws_its_masks_again() -> None:
    model = network(gradient_checkpointing=True, freq_dropout_p=0.5)
    torch.manual_seed(3)
    first = gradients(model, model.forecast(batch()).point.sum())
    torch.manual_seed(3)
    point = model.forecast(batch()).point.sum()
    torch.rand(5)  # moves the global generator between the forward and the backward pass
    for one, other in zip(first, gradients(model, point), strict=True):
        assert torch.equal(one, other)


def test_chunked_graph_attention_is_the_same_network() -> None:
    assert_relative(
        network(gat_chunk_size=2).eval().forecast(batch()).point, network().eval().forecast(batch()).point, 1e-12
    )


def test_switched_off_parts_have_no_parameters() -> None:
    full, plain = network(), network(fan_top_k=0, gat_heads=0, num_categories=0, num_covariates=0)
    gone = set(full.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(full.state_dict())
    assert {name.split(".")[0] for name in gone} == {
        "static",
        "calendar",
        "variable_selection",
        "temporal",
        "graph",
        "graph_skip",
    }
    assert not any(part in name for name in plain.state_dict() for part in ("fan", "graph", "context", "initial"))
    given = replace(batch(), calendar=torch.zeros(SPAN, 0, dtype=torch.float64), neighbours=None)
    assert plain.eval().forecast(given).point.shape == (DAYS, STOCKS, 2)


def test_no_parameter_or_statistic_appears_in_forward() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.forecast(batch(), KEY)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(after) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("part", ["static", "calendar", "neighbours"])
def test_every_input_counts(part: str) -> None:
    model, given = network().eval(), batch()
    other: dict[str, Any] = {
        "static": (given.static + 1) % 4,
        "calendar": given.calendar + 1,
        "neighbours": None,
    }
    changed = model.forecast(replace(given, **{part: other[part]}))
    assert (changed.point - model.forecast(given).point).abs().max() > 1e-4


def test_no_parameter_is_idle() -> None:
    model = network(quantiles=(0.1, 0.5, 0.9), lstm_layers=2, head_layer_scale=0.1, freq_dropout_p=0.1)
    forecast = model.forecast(batch(), KEY)
    gradient = gradients(model, forecast.point.square().sum(), forecast.quantiles.square().sum())
    idle = [name for (name, _), g in zip(model.named_parameters(), gradient, strict=True) if not g.abs().max() > 0]
    assert not idle


def test_unknown_category_is_neutral_and_never_trained() -> None:
    model = network()
    gradient = gradients(model, model.forecast(batch(), KEY).point.sum())
    by_name = dict(zip(dict(model.named_parameters()), gradient, strict=True))
    assert (model.static.weight[0] == 0).all()
    assert (by_name["static.weight"][0] == 0).all()
    assert (by_name["static.weight"][1:] != 0).any()


def test_forward_answers_in_the_memo_form() -> None:
    model = network(quantiles=(0.1, 0.5, 0.9)).eval()
    result = model(torch.randn(STOCKS, WINDOW, FEATURES, dtype=torch.float64))
    assert list(result) == ["predictions", "quantiles"]
    assert list(result["predictions"]) == ["horizon_1d", "horizon_5d"]
    assert result["predictions"]["horizon_5d"].shape == (STOCKS,)
    assert torch.equal(result["quantiles"]["horizon_5d"][:, 1], result["predictions"]["horizon_5d"])


def test_a_single_stock_is_a_batch() -> None:
    scores = network().eval()(torch.randn(1, WINDOW, FEATURES, dtype=torch.float64))
    assert scores["predictions"]["horizon_1d"].isfinite().all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((STOCKS, WINDOW, FEATURES + 1), f"expected {FEATURES} features, got {FEATURES + 1}"),
        ((STOCKS, WINDOW - 1, FEATURES), f"expected {WINDOW} days"),
    ],
)
def test_another_shape_is_an_error(shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network()(torch.zeros(shape, dtype=torch.float64))


def test_batch_of_another_calendar_or_window_is_an_error() -> None:
    with pytest.raises(ConfigError, match="calendar covariates"):
        network().forecast(replace(batch(), calendar=batch().calendar[:, 1:]))
    with pytest.raises(ConfigError, match=f"expected {SPAN} days"):
        network().forecast(replace(batch(), features=batch().features[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variable_size": 1}, "variable_size"),
        ({"fan_top_k": 2, "window": 3}, "top_k"),
        ({"num_heads": 3}, "num_heads"),
        ({"gat_heads": 3}, "gat_heads"),
        ({"horizons": ()}, "horizon"),
        ({"num_features": 0}, "num_features"),
        ({"gat_temperature": 0.0}, "temperature above 0"),
        ({"gat_temperature": -1.0}, "temperature above 0"),
        ({"gat_temperature": float("nan")}, "temperature above 0"),
        ({"gat_temperature": float("inf")}, "temperature above 0"),
        ({"freq_dropout_p": 1.0}, "freq_dropout_p"),
        ({"freq_dropout_p": -0.1}, "freq_dropout_p"),
        ({"freq_dropout_max_width": 0}, "freq_dropout_max_width"),
        ({"head_layer_scale": 0.0}, "head_layer_scale"),
        ({"head_init_std": 0.0}, "head_init_std"),
    ],
)
def test_specs_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ATFT_GAT_FAN(replace(SPEC, **changes))


def test_mixed_precision_gives_finite_scores_in_full_precision() -> None:
    model, given = network().float(), batch()
    graph = given.neighbours
    given = replace(
        given,
        features=given.features.float(),
        calendar=given.calendar.float(),
        neighbours=Neighbours(graph.index, graph.mask, graph.edge.float()),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast: Forecast = model.forecast(given, KEY)
    assert forecast.point.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in gradients(model, forecast.point.sum()))


def test_a_network_overfits_eight_days() -> None:
    """Noise labels of eight days are learned by heart: every part of the network passes its gradient on."""
    torch.manual_seed(0)
    model = ATFT_GAT_FAN(replace(SPEC, dropout=0.0))
    features = torch.randn(8 + WINDOW - 1, STOCKS, FEATURES)
    given = replace(
        batch(),
        features=features,
        labels=torch.randn(8, STOCKS, 2),
        present=torch.ones(8, STOCKS, dtype=torch.bool),
        calendar=torch.zeros(len(features), COVARIATES),
        span_dates=tuple(range(len(features))),
        neighbours=None,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (model.forecast(given).point - given.labels).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05

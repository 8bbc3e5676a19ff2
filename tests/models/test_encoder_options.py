"""What can be taken away from the network, or put in its place: each changes the computation it names and no other."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Neighbours
from tests.models import specs
from tests.models.specs import COVARIATES, DAYS, FEATURES, KEY, SPAN, WINDOW

STOCKS = 7
SPEC = replace(specs.SPEC, fan_top_k=0, gat_heads=0)
SAME_DAY: dict[str, Any] = {"lstm_layers": 0, "num_heads": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    "same day": SAME_DAY,
    "LSTM": {"num_heads": 0},
    "attention": {"lstm_layers": 0},
    "block-wise": {"blockwise": True},
    "block-wise LSTM": {"blockwise": True, "num_heads": 0},
    "same-day skip": {"same_day_skip": True},
    "FAN alone": {**SAME_DAY, "fan_top_k": 1},
    "bent inputs": {"input_expansion": "polynomial"},
    "recipe": {"blockwise": True, "same_day_skip": True, "input_expansion": "polynomial"},
    "all with a graph": {"same_day_skip": True, "input_expansion": "polynomial", "fan_top_k": 1, "gat_heads": 4},
}


def network(**changes: Any) -> ATFT_GAT_FAN:
    torch.manual_seed(0)
    model = ATFT_GAT_FAN(replace(SPEC, **changes)).double()
    torch.nn.init.normal_(model.heads.point.weight, std=0.3)
    return model


def batch() -> DayBatch:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    stocks = torch.arange(STOCKS)
    index = torch.stack([stocks, stocks.roll(-1), stocks.roll(2)], dim=-1).expand(DAYS, -1, -1)
    return DayBatch(
        features=normal(SPAN, STOCKS, FEATURES),
        labels=normal(DAYS, STOCKS, 2),
        present=torch.ones(DAYS, STOCKS, dtype=torch.bool),
        calendar=normal(SPAN, COVARIATES),
        static=torch.arange(STOCKS) % 4,
        span_dates=tuple(range(19_000, 19_000 + SPAN)),
        neighbours=Neighbours(index, torch.ones_like(index, dtype=torch.bool), normal(DAYS, STOCKS, 3, 2)),
    )


def gradients(model: ATFT_GAT_FAN, point: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(point.square().sum(), parameters), strict=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_scores_and_trains_all_that_it_has(name: str) -> None:
    model = network(**OPTIONS[name])
    forecast = model.forecast(batch(), KEY)
    assert forecast.point.shape == (DAYS, STOCKS, 2)
    assert forecast.attention.shape == (DAYS, STOCKS, WINDOW)
    torch.testing.assert_close(forecast.attention.sum(-1), torch.ones(DAYS, STOCKS, dtype=torch.float64))
    assert forecast.variable_weights.shape == (SPAN if model.spec.reads_window else DAYS, STOCKS, FEATURES)
    idle = [name for name, gradient in gradients(model, forecast.point).items() if not gradient.abs().max() > 0]
    assert not idle
    assert model.parameter_roles().keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_no_day_depends_on_a_later_one(name: str) -> None:
    model, given = network(**OPTIONS[name]).eval(), batch()
    plain = model.forecast(given).point
    for day in range(DAYS - 1):
        features, calendar = given.features.clone(), given.calendar.clone()
        features[day + WINDOW :] += 1.0
        calendar[day + WINDOW :] += 1.0
        changed = model.forecast(replace(given, features=features, calendar=calendar)).point
        assert torch.equal(changed[: day + 1], plain[: day + 1])
        assert (changed[day + 1 :] != plain[day + 1 :]).any()


@pytest.mark.parametrize("name", OPTIONS)
def test_no_option_leaves_a_trace_where_it_is_off(name: str) -> None:
    model, plain = network(**OPTIONS[name]), network()
    added = {key.split(".")[0] for key in model.state_dict().keys() - plain.state_dict().keys()}
    assert added <= {"day_skip", "graph", "graph_skip", "temporal"}
    assert ("day_skip" in added) == model.spec.same_day_skip
    embedding = (FEATURES, 3, 4) if model.spec.input_expansion == "polynomial" else (FEATURES, 4)
    assert model.variable_selection.embedding_weight.shape == embedding


def test_the_same_day_network_looks_at_the_day_alone() -> None:
    model, given = network(**SAME_DAY).eval(), batch()
    earlier = given.features.clone()
    earlier[: WINDOW - 1] = 7.0
    assert torch.equal(model.forecast(replace(given, features=earlier)).point, model.forecast(given).point)
    assert not any(part in key for key in model.state_dict() for part in ("lstm", "attention", "initial_state"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", [{}, {"num_heads": 0, "same_day_skip": True}])
def test_a_block_of_one_day_is_its_window_to_the_bit(changes: dict[str, Any], training: bool) -> None:
    """So evaluation and prediction, which see one day at a time, score a block-wise network by its windows."""
    windows, block = network(**changes), network(**changes, blockwise=True)
    one = batch().pieces(1)[2]
    results = [model.train(training).forecast(one, KEY) for model in (windows, block)]
    for name in ("point", "attention", "variable_weights"):
        assert torch.equal(getattr(results[0], name), getattr(results[1], name))


def test_a_longer_block_differs_by_what_its_days_have_seen_before_their_windows() -> None:
    windows, block = network().eval(), network(blockwise=True).eval()
    given = batch()
    one, other = windows.forecast(given).point, block.forecast(given).point
    torch.testing.assert_close(other[0], one[0], rtol=0, atol=1e-12)
    assert ((other - one)[1:].abs().amax((1, 2)) > 1e-9).all()
    assert (other - one).std() < 0.1 * one.std()
    whole = replace(given, labels=given.labels[-1:], present=given.present[-1:])
    without_attention = [network(blockwise=True, num_heads=0).eval(), network(window=SPAN, num_heads=0).eval()]
    torch.testing.assert_close(
        without_attention[0].forecast(given).point[-1],
        without_attention[1].forecast(whole).point[0],
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "all with a graph"])
def test_recomputing_activations_changes_no_gradient(name: str) -> None:
    plain, recomputed = (network(**OPTIONS[name], gradient_checkpointing=again) for again in (False, True))
    expected = gradients(plain, plain.forecast(batch(), KEY).point)
    found = gradients(recomputed, recomputed.forecast(batch(), KEY).point)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-9, atol=1e-12, msg=key)


def test_dropout_of_a_block_is_that_of_its_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are those of the dates, wherever in a block they stand; no two dates share one."""
    drawn: dict[int, torch.Tensor] = {}
    draw = KeyedDropout.mask

    def recorded(self: KeyedDropout, *arguments: Any, **how: Any) -> torch.Tensor | None:
        mask = draw(self, *arguments, **how)
        assert mask is not None
        drawn[self.layer] = mask
        return mask

    monkeypatch.setattr(KeyedDropout, "mask", recorded)

    def masks(given: DayBatch) -> dict[tuple[int, int], torch.Tensor]:
        """By layer and the date that its place in the block is of."""
        drawn.clear()
        model.forecast(given, KEY)
        assert {layer: len(mask) for layer, mask in drawn.items()} == {0: SPAN, 1: SPAN, 2: DAYS, 3: DAYS}
        return {
            (layer, date): day
            for layer, mask in drawn.items()
            for date, day in zip(given.span_dates[-len(mask) :], mask, strict=True)
        }

    model, given = network(blockwise=True), batch()
    first = masks(given)
    later = masks(replace(given, span_dates=tuple(date + 1 for date in given.span_dates)))
    for (layer, date), mask in first.items():
        fresh = KeyedDropout(SPEC.dropout, layer)
        alone = draw(fresh, (1, *mask.shape), (date,), KEY, dtype=mask.dtype, device=mask.device)
        assert alone is not None
        assert torch.equal(mask, alone[0])
        assert (layer, date + 1) not in first or not torch.equal(mask, first[layer, date + 1])
        assert (layer, date) not in later or torch.equal(mask, later[layer, date])
    assert len(first.keys() & later.keys()) == 2 * (SPAN - 1) + 2 * (DAYS - 1)


def test_bent_inputs_know_a_missing_value() -> None:
    model, given = network(input_expansion="polynomial", **SAME_DAY).eval(), batch()
    scores = []
    for value in (0.0, 1e-9):
        features = given.features.clone()
        features[-1, 3, 1] = value
        scores.append(model.forecast(replace(given, features=features)).point[-1, 3])
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_the_same_day_skip_passes_the_encoder_by() -> None:
    """With the correction's gate shut, a score is a function of the day alone."""
    model, given = network(same_day_skip=True).eval(), batch()
    size = model.spec.hidden_size
    with torch.no_grad():
        model.day_skip.gate.linear.bias[size:] = -1e4
    earlier = given.features.clone()
    earlier[: WINDOW - 1] = 7.0
    shut = model.forecast(given).point
    assert torch.equal(model.forecast(replace(given, features=earlier)).point, shut)
    assert shut.std() > 0.1
    with torch.no_grad():
        model.day_skip.gate.linear.bias[size:] = 0.0
    assert not torch.equal(model.forecast(replace(given, features=earlier)).point, model.forecast(given).point)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blockwise": True, "fan_top_k": 1}, "without FAN and FreqDropout to run blockwise"),
        ({"blockwise": True, "freq_dropout_p": 0.1}, "without FAN and FreqDropout to run blockwise"),
        ({"blockwise": True, "lstm_layers": 0}, "expected an LSTM"),
        ({**SAME_DAY, "same_day_skip": True}, "reads earlier days"),
        ({"lstm_forget_bias": float("inf")}, "finite lstm_forget_bias"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ATFT_GAT_FAN(replace(SPEC, **changes))

"""What each model-side improvement changes in the network, and that nothing of it is there without."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.layers.layer_scale import LayerScale
from atft_gat_fan.losses.multi_horizon import label_counts, multi_horizon_loss
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.spec import model_spec
from atft_gat_fan.types import DayBatch, Neighbours, RandomKey

DAYS, STOCKS, WINDOW, FEATURES, SLOTS = 3, 30, 8, 5, 4
SPAN = DAYS + WINDOW - 1
KEY = RandomKey(seed=1, step=2)
SPEC = ModelSpec(num_features=FEATURES, horizons=(1, 5), window=WINDOW, hidden_size=16, variable_size=4)
SWITCHES = {
    "head": {"head_init_std": 0.01, "head_layer_scale": 0.1},
    "temperature": {"gat_temperature": 0.5},
    "freq_dropout": {"freq_dropout_p": 0.5},
}


def network(seed: int = 0, **changes: Any) -> ATFT_GAT_FAN:
    torch.manual_seed(seed)
    return ATFT_GAT_FAN(replace(SPEC, **changes))


def batch(num_horizons: int = 2) -> DayBatch:
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(STOCKS).expand(DAYS, STOCKS).unsqueeze(-1)
    offset = torch.rand(DAYS, STOCKS, STOCKS - 1, generator=generator).argsort(-1)[..., : SLOTS - 1] + 1
    index = torch.cat([own, (own + offset) % STOCKS], dim=-1)
    edge = torch.rand(DAYS, STOCKS, SLOTS, 2, generator=generator)
    return DayBatch(
        features=torch.randn(SPAN, STOCKS, FEATURES, generator=generator),
        labels=0.02 * torch.randn(DAYS, STOCKS, num_horizons, generator=generator),
        present=torch.ones(DAYS, STOCKS, dtype=torch.bool),
        calendar=torch.zeros(SPAN, 0),
        static=torch.zeros(STOCKS, dtype=torch.int64),
        span_dates=tuple(range(19_000, 19_000 + SPAN)),
        neighbours=Neighbours(index, torch.ones_like(index, dtype=torch.bool), edge),
    )


def test_without_improvements_there_is_no_trace_of_them() -> None:
    plain = network()
    assert not any(isinstance(module, FreqDropout | LayerScale) for module in plain.modules())
    heads = [name for name in plain.state_dict() if name.startswith("heads.")]
    assert heads == ["heads.point.weight", "heads.point.bias"]
    idle = network(freq_dropout_max_width=2, freq_dropout_rescale=True)  # settings of an improvement that is off
    assert torch.equal(idle.forecast(batch(), KEY).point, plain.forecast(batch(), KEY).point)


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_improvement_changes_its_own_part_alone(switch: str) -> None:
    plain, changed = network(), network(**SWITCHES[switch])
    before, after = plain.state_dict(), changed.state_dict()
    assert set(after) - set(before) == ({"heads.scale.gamma"} if switch == "head" else set())
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert differing == ({"heads.point.weight"} if switch == "head" else set())

    given = batch()
    in_evaluation = torch.equal(plain.eval().forecast(given).point, changed.eval().forecast(given).point)
    assert in_evaluation == (switch == "freq_dropout"), "frequencies are dropped in training only"
    in_training = torch.equal(plain.train().forecast(given, KEY).point, changed.train().forecast(given, KEY).point)
    assert not in_training


def test_first_scores_of_the_small_head_have_the_promised_size() -> None:
    """Over many horizons, whose weights are independent: the encoded stocks are not."""
    horizons = tuple(range(1, 301))
    for gamma in (0.1, 0.5):
        model = network(horizons=horizons, hidden_size=64, head_init_std=0.01, head_layer_scale=gamma)
        with torch.no_grad():
            point = model.eval().forecast(batch(len(horizons))).point
        assert point.square().mean().sqrt().item() == pytest.approx(gamma * 0.01 * 64**0.5, rel=0.1)


@pytest.mark.parametrize("huber_loss", [False, True])
def test_the_optimizer_does_not_swallow_the_first_gradients_behind_the_small_head(huber_loss: bool) -> None:
    """Adam divides by |gradient| + eps at first, so gradients near eps hardly move their weights."""
    config = Config.model_validate({"improvements": {"output_head_small_init": True, "huber_loss": huber_loss}})
    num_horizons = len(config.data.horizons)
    torch.manual_seed(0)
    model = ATFT_GAT_FAN(
        replace(
            model_spec(config, resolve(config), num_features=FEATURES, num_categories=0, num_covariates=0),
            window=WINDOW,
        )
    )
    given = batch(num_horizons)
    deltas = torch.full((num_horizons,), config.loss.huber_delta) if huber_loss else None
    weights = torch.tensor(config.horizon_weights)
    loss, _ = multi_horizon_loss(
        model.forecast(given, KEY).point, given.labels, weights, label_counts(given.labels), deltas
    )
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    size = torch.cat([gradient.flatten() for gradient in gradients]).abs()

    def swallowed(eps: float) -> float:
        return (size <= 10 * eps).double().mean().item()

    assert swallowed(config.optimizer.eps) < 0.01
    assert swallowed(1e-8) > 0.3, "torch's own eps would not do"


def test_temperature_reaches_the_attention_and_can_be_changed_between_steps() -> None:
    given = batch()

    def point(model: ATFT_GAT_FAN) -> Tensor:
        return model.eval().forecast(given).point

    model = network()
    plain = point(model)
    model.set_gat_temperature(0.5)
    assert torch.equal(point(model), point(network(gat_temperature=0.5)))
    assert not torch.equal(point(model), plain)
    model.set_gat_temperature(1.0)
    assert torch.equal(point(model), plain)


@pytest.mark.parametrize("value", [0.0, -0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("gat_heads", [0, 4])
def test_a_temperature_that_is_none_is_refused(value: float, gat_heads: int) -> None:
    with pytest.raises(ConfigError, match=r"temperature above 0.*improvements.gat_temperature"):
        network(gat_heads=gat_heads).set_gat_temperature(value)


def test_a_network_without_graph_attention_has_no_temperature_to_set() -> None:
    model = network(gat_heads=0)
    plain = model.eval().forecast(batch()).point
    model.set_gat_temperature(0.5)
    assert torch.equal(model.forecast(batch()).point, plain)


def test_freq_dropout_alone_can_be_switched_on_in_evaluation() -> None:
    """As the training watch does, to see what it does to predictions."""
    model = network(freq_dropout_p=0.5).eval()
    plain = model.forecast(batch(), KEY).point
    dropout = model.temporal.freq_dropout
    dropout.train()
    dropped = model.forecast(batch(), KEY).point
    touched = (dropped != plain).any(-1)
    assert touched.any()
    dropout.eval()
    assert torch.equal(model.forecast(batch(), KEY).point, plain)


def test_bands_of_freq_dropout_are_drawn_apart_from_other_dropouts() -> None:
    model = network(freq_dropout_p=0.5)
    layers = [module.layer for module in model.modules() if hasattr(module, "layer")]
    assert sorted(layers) == [0, 1, 2, 3, 4, 5]


def test_freq_dropout_settings_reach_the_layer() -> None:
    dropout = network(freq_dropout_p=0.3, freq_dropout_max_width=2, freq_dropout_rescale=True).temporal.freq_dropout
    assert (dropout.p, dropout.max_width, dropout.rescale, dropout.num_bins) == (0.3, 2, True, WINDOW // 2)

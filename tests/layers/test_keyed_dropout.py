import pytest
import torch

from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.types import RandomKey

KEY = RandomKey(seed=3, step=17)
DATES = (-2, 0, 19_000, 19_001, 19_004)


def ones(days: int = len(DATES), stocks: int = 40, channels: int = 8) -> torch.Tensor:
    return torch.ones(days, stocks, channels)


def test_mask_does_not_depend_on_how_the_days_are_split() -> None:
    dropout = KeyedDropout(0.3, layer=2)
    whole = dropout(ones(), DATES, KEY)
    parts = [dropout(ones(2), DATES[:2], KEY), dropout(ones(3), DATES[2:], KEY)]
    assert torch.equal(whole, torch.cat(parts))


def test_mask_does_not_depend_on_other_draws_and_leaves_the_global_generator_alone() -> None:
    dropout = KeyedDropout(0.3, layer=2)
    before = dropout(ones(), DATES, KEY)
    torch.rand(11)
    state = torch.get_rng_state()
    assert torch.equal(dropout(ones(), DATES, KEY), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("layer", "key", "dates"),
    [
        (1, KEY, DATES),
        (2, RandomKey(seed=4, step=17), DATES),
        (2, RandomKey(seed=3, step=18), DATES),
        (2, KEY, tuple(date + 7 for date in DATES)),
    ],
    ids=["layer", "seed", "step", "day"],
)
def test_each_part_of_the_key_changes_every_day(layer: int, key: RandomKey, dates: tuple[int, ...]) -> None:
    base = KeyedDropout(0.3, layer=2)(ones(), DATES, KEY)
    other = KeyedDropout(0.3, layer=layer)(ones(), dates, key)
    assert all(not torch.equal(a, b) for a, b in zip(base, other, strict=True))


def test_days_of_one_batch_are_drawn_apart() -> None:
    masks = KeyedDropout(0.3, layer=2)(ones(), DATES, KEY)
    assert len({mask.numpy().tobytes() for mask in masks}) == len(DATES)


@pytest.mark.parametrize("key", [KEY, None])
def test_window_shares_its_mask(key: RandomKey | None) -> None:
    masks = KeyedDropout(0.3, layer=2)(torch.ones(6, 2, 10, 8), (5, 6), key)
    assert torch.equal(masks, masks[:1].expand_as(masks))
    assert (masks == 0).any()


def test_off_returns_the_very_same_tensor() -> None:
    x = ones()
    assert KeyedDropout(0.0, layer=2)(x, DATES, KEY) is x
    assert KeyedDropout(0.3, layer=2).eval()(x, DATES, KEY) is x


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_rate_and_scale(p: float, key: RandomKey | None) -> None:
    torch.manual_seed(0)
    y = KeyedDropout(p, layer=2)(ones(stocks=500, channels=64), DATES, key)
    n = y.numel()
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert torch.equal(y[y != 0].unique(), torch.tensor([1 / (1 - p)]))


def test_gradient_passes_where_the_value_did() -> None:
    x = ones().requires_grad_()
    y = KeyedDropout(0.3, layer=2)(x, DATES, KEY)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)

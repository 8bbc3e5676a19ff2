import numpy as np
import pytest
import torch
from torch import Tensor

from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.types import RandomKey

KEY = RandomKey(seed=3, step=17)
DATES = (-2, 0, 19_000, 19_001, 19_004)
STOCKS, CHANNELS = 40, 3


def windows(length: int, dtype: torch.dtype = torch.float64, days: int = len(DATES), stocks: int = STOCKS) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return (3 + torch.randn(length, days, stocks, CHANNELS, generator=generator, dtype=torch.float64)).to(dtype)


def layer(window: int, p: float = 0.6, max_width: int = 3, rescale: bool = False) -> FreqDropout:
    return FreqDropout(window, p, max_width, layer=5, rescale=rescale)


def removed_bins(x: Tensor, y: Tensor) -> Tensor:
    """[bins, days, stocks]: frequencies above the constant that every channel of x has and no channel of y."""
    before, after = (torch.fft.rfft(t, dim=0).abs()[1:] for t in (x, y))
    assert before.min() > 1e-6, "the example needs every frequency"
    gone = after < 1e-12 * len(x) * x.abs().max()
    assert (gone.all(-1) == gone.any(-1)).all(), "all channels of a sample share their band"
    return gone.all(-1)


@pytest.mark.parametrize("window", [2, 3, 5, 19, 20, 21])
def test_equals_the_fft_with_the_masked_bins_zero(window: int) -> None:
    x = windows(window)
    y = layer(window)(x, DATES, KEY)
    masked = removed_bins(x, y)
    assert masked.any(0).sum() > 50
    assert not masked.any(0).all()
    spectrum = torch.fft.rfft(x, dim=0)
    spectrum[1:][masked] = 0
    torch.testing.assert_close(y, torch.fft.irfft(spectrum, n=window, dim=0), rtol=0, atol=1e-13)


@pytest.mark.parametrize("window", [2, 3, 20, 21])
def test_mean_is_preserved_and_samples_not_drawn_are_untouched(window: int) -> None:
    x = windows(window)
    y = layer(window)(x, DATES, KEY)
    torch.testing.assert_close(y.mean(0), x.mean(0), rtol=0, atol=1e-14)
    drawn = removed_bins(x, y).any(0)
    assert torch.equal(y[:, ~drawn], x[:, ~drawn])
    assert not (y[:, drawn] == x[:, drawn]).all(0).any()


@pytest.mark.parametrize("max_width", [1, 3, 50])
def test_a_mask_is_one_circular_band_of_every_width_and_place(max_width: int) -> None:
    window, num_bins = 13, 6
    x = windows(window, stocks=400)
    masked = removed_bins(x, layer(window, max_width=max_width)(x, DATES, KEY)).flatten(1).numpy()
    starts = masked & ~np.roll(masked, 1, axis=0)
    widths = masked.sum(0)
    partly = (widths > 0) & (widths < num_bins)
    assert (starts.sum(0)[partly] == 1).all()
    assert set(widths) == set(range(min(max_width, num_bins) + 1))
    assert starts.any(1).all(), "bands begin at every frequency, and those at the highest go on at the lowest"


@pytest.mark.parametrize(("window", "max_width"), [(20, 3), (21, 3), (5, 1), (5, 9), (2, 3)])
@pytest.mark.parametrize("p", [0.1, 0.7])
def test_every_frequency_is_masked_at_the_expected_rate(window: int, max_width: int, p: float) -> None:
    x = windows(window, stocks=4_000)
    dropout = layer(window, p, max_width)
    masked = removed_bins(x, dropout(x, DATES, KEY)).flatten(1)
    width = min(max_width, window // 2)
    q = p * (width + 1) / (2 * (window // 2))
    assert dropout.mask_rate == pytest.approx(q)
    deviation = (q * (1 - q) / masked.shape[1]) ** 0.5
    for rate in masked.double().mean(1).tolist():
        assert rate == pytest.approx(q, abs=4.5 * deviation)
    drawn = masked.any(0).double().mean().item()
    assert drawn == pytest.approx(p, abs=4.5 * (p * (1 - p) / masked.shape[1]) ** 0.5)


def test_rescaled_output_is_the_input_on_average_and_keeps_the_mean() -> None:
    x = windows(9, days=1, stocks=1).expand(-1, 4, 20_000, -1)
    dropout = layer(9, rescale=True)
    y = dropout(x, DATES[:4], KEY)
    torch.testing.assert_close(y.mean(0), x.mean(0), rtol=0, atol=1e-13)
    torch.testing.assert_close(y.mean((1, 2)), x[:, 0, 0], rtol=0, atol=0.02)
    plain = layer(9)(x, DATES[:4], KEY)
    assert (plain.mean((1, 2)) - x[:, 0, 0]).abs().max() > 0.1, "the example must need rescaling"
    torch.testing.assert_close(
        (y - y.mean(0)) * (1 - dropout.mask_rate), plain - plain.mean(0), rtol=0, atol=1e-13
    )  # the same bands


@pytest.mark.parametrize("key", [KEY, None])
def test_off_returns_the_very_same_tensor(key: RandomKey | None) -> None:
    x = windows(20)
    assert layer(20, p=0.0)(x, DATES, key) is x
    assert layer(20).eval()(x, DATES, key) is x


def test_a_window_of_one_day_has_nothing_to_remove() -> None:
    x = windows(1)
    assert layer(1)(x, DATES, KEY) is x


def test_no_sample_drawn_changes_nothing() -> None:
    x = windows(20, stocks=1).requires_grad_()
    y = layer(20, p=1e-9)(x, DATES, KEY)
    assert torch.equal(y, x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


def test_input_is_not_written_to() -> None:
    x = windows(20)
    before = x.clone()
    layer(20)(x, DATES, KEY)
    assert torch.equal(x, before)


def test_bands_do_not_depend_on_how_the_days_are_split() -> None:
    dropout, x = layer(20), windows(20, torch.float32)
    whole = dropout(x, DATES, KEY)
    parts = [dropout(part, dates, KEY) for part, dates in zip(x.split([2, 3], 1), (DATES[:2], DATES[2:]), strict=True)]
    torch.testing.assert_close(whole, torch.cat(parts, dim=1), rtol=0, atol=1e-6)
    x = windows(20)
    whole_mask = removed_bins(x, dropout(x, DATES, KEY))
    days = [dropout(x[:, [day]], (date,), KEY) for day, date in enumerate(DATES)]
    assert torch.equal(whole_mask, removed_bins(x, torch.cat(days, dim=1)))


def test_generator_is_private() -> None:
    dropout, x = layer(20), windows(20)
    before = dropout(x, DATES, KEY)
    torch.rand(11)
    np.random.default_rng().random(3)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(dropout(x, DATES, KEY), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_without_a_key_bands_come_from_the_global_generator() -> None:
    dropout, x = layer(20), windows(20)
    torch.manual_seed(5)
    first, second = dropout(x, (), None), dropout(x, (), None)
    torch.manual_seed(5)
    assert torch.equal(dropout(x, (), None), first)
    assert not torch.equal(first, second)
    masked = removed_bins(x, first)
    assert not torch.equal(masked[:, 0], masked[:, 1]), "days are drawn apart"


@pytest.mark.parametrize(
    ("number", "key", "dates"),
    [
        (4, KEY, DATES),
        (5, RandomKey(seed=4, step=17), DATES),
        (5, RandomKey(seed=3, step=18), DATES),
        (5, KEY, tuple(date + 7 for date in DATES)),
    ],
    ids=["layer", "seed", "step", "day"],
)
def test_each_part_of_the_key_changes_every_day(number: int, key: RandomKey, dates: tuple[int, ...]) -> None:
    x = windows(20)
    base = layer(20)(x, DATES, KEY)
    other = FreqDropout(20, 0.6, 3, layer=number)(x, dates, key)
    assert all(not torch.equal(a, b) for a, b in zip(base.unbind(1), other.unbind(1), strict=True))


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("window", [4, 5])
def test_gradient_is_that_of_the_function(window: int, rescale: bool) -> None:
    dropout = layer(window, rescale=rescale)
    x = windows(window, stocks=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dropout(x, DATES, KEY), x)
    assert torch.autograd.gradgradcheck(lambda x: dropout(x, DATES, KEY).square(), x)


def test_only_masks_are_kept_for_the_backward_pass() -> None:
    x = windows(20).requires_grad_()
    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        layer(20)(x, DATES, KEY)
    assert 0 < sum(saved) < x.numel() / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_computed_in_float32_whatever_autocast_says(dtype: torch.dtype) -> None:
    x = windows(20, dtype).requires_grad_()
    plain = layer(20)(x, DATES, KEY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer(20)(x, DATES, KEY)
        (gradient,) = torch.autograd.grad(mixed.float().square().sum(), x)
    assert mixed.dtype == gradient.dtype == dtype
    assert torch.equal(mixed, plain)
    assert torch.equal(plain, layer(20)(x.float(), DATES, KEY).to(dtype))


def test_nothing_is_stored() -> None:
    assert not layer(20).state_dict()
    assert not list(layer(20).parameters())

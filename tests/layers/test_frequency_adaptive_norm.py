import math

import pytest
import torch

from atft_gat_fan.layers.frequency_adaptive_norm import FrequencyAdaptiveNorm

WINDOWS = [2, 3, 5, 19, 20, 21]


def series(window: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(window, 3, 40, 6, generator=torch.Generator().manual_seed(window), dtype=torch.float64).to(dtype)


def fft_main(x: torch.Tensor, top_k: int) -> torch.Tensor:
    spectrum = torch.fft.rfft(x, dim=0)
    strongest = spectrum.abs().topk(top_k, dim=0).indices
    kept = torch.zeros_like(spectrum).scatter(0, strongest, spectrum.gather(0, strongest))
    return torch.fft.irfft(kept, n=len(x), dim=0)


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("window", [w for w in WINDOWS if w > 3])
def test_main_is_the_inverse_fft_of_the_strongest_bins(window: int, top_k: int) -> None:
    x = series(window)
    fan = FrequencyAdaptiveNorm(window, top_k, hidden_size=6).double()
    assert not fan.near_ties(x, relative_gap=1e-9).any()
    main, _ = fan.decompose(x)
    torch.testing.assert_close(main, fft_main(x, top_k), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_nothing_is_lost(window: int) -> None:
    x = series(window, torch.float32)
    main, residual = FrequencyAdaptiveNorm(window, 1, hidden_size=6).decompose(x)
    torch.testing.assert_close(main + residual, x, rtol=0, atol=1e-6)
    assert (main.square().sum(0) > 0).all()


def test_a_wave_over_a_level_is_taken_out_by_channel() -> None:
    time = torch.arange(20, dtype=torch.float64)
    wave = 3 * torch.cos(2 * math.pi * 4 * time / 20 + 0.7)
    x = torch.stack([wave + 1, 0.1 * wave + 5], dim=-1)
    main, residual = FrequencyAdaptiveNorm(20, 1, hidden_size=2).decompose(x)
    torch.testing.assert_close(main, torch.stack([wave, torch.full_like(time, 5)], dim=-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(residual, torch.stack([torch.ones_like(time), 0.1 * wave], dim=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("top_k", [1, 2])
def test_gradient_is_that_of_the_fft_form(top_k: int) -> None:
    fan = FrequencyAdaptiveNorm(19, top_k, hidden_size=6).double()
    x, probe = series(19), torch.randn(19, 3, 40, 6, dtype=torch.float64)
    inputs = x.clone().requires_grad_()
    main, residual = fan.decompose(inputs)
    (actual,) = torch.autograd.grad((main * probe - residual.square()).sum(), inputs)
    main = fft_main(inputs, top_k)
    (expected,) = torch.autograd.grad((main * probe - (inputs - main).square()).sum(), inputs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_near_ties_are_the_samples_that_rounding_decides() -> None:
    time = torch.arange(20, dtype=torch.float64)
    first, second = (torch.cos(2 * math.pi * k * time / 20) for k in (3, 5))
    x = torch.stack([first + (1 - gap) * second for gap in (0.0, 0.5e-4, 2e-4, 0.5)], dim=-1)
    fan = FrequencyAdaptiveNorm(20, 1, hidden_size=4)
    assert fan.near_ties(x).tolist() == [True, True, False, False]
    assert not FrequencyAdaptiveNorm(20, 2, hidden_size=4).near_ties(x).any()


def test_selection_ignores_autocast() -> None:
    x = series(20, torch.float32)
    fan = FrequencyAdaptiveNorm(20, 1, hidden_size=6)
    plain = fan.decompose(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = fan.decompose(x)
        from_half = fan.decompose(x.bfloat16())
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))
    assert from_half[1].dtype == torch.float32


def test_what_was_removed_comes_back_through_learned_weights() -> None:
    x = series(20, torch.float32)
    fan = FrequencyAdaptiveNorm(20, 1, hidden_size=6)
    residual, removed = fan(x)
    assert removed.shape == x.shape[1:]
    torch.testing.assert_close(residual, fan.decompose(x)[1])
    summary = torch.einsum("sl,ldnc->dncs", fan.time.weight, fan.decompose(x)[0]).flatten(-2)
    torch.testing.assert_close(removed, torch.nn.functional.elu(fan.hidden(summary)))


def test_nothing_but_weights_is_stored() -> None:
    assert set(FrequencyAdaptiveNorm(20, 1, hidden_size=6).state_dict()) == {
        "time.weight",
        "hidden.weight",
        "hidden.bias",
    }


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("window", [w for w in WINDOWS if w > 3])
def test_what_is_taken_is_what_main_holds(window: int, top_k: int) -> None:
    x = series(window)
    fan = FrequencyAdaptiveNorm(window, top_k, hidden_size=6).double()
    taken, energy = fan.taken(x)
    main, _ = fan.decompose(x)
    assert taken.shape == energy.shape == (window // 2 + 1, *x.shape[1:])
    assert (taken.sum(0) == top_k).all()
    torch.testing.assert_close(energy.sum(0), x.square().sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close((energy * taken).sum(0), main.square().sum(0), rtol=1e-12, atol=0)


def test_the_frequency_of_a_planted_wave_is_the_one_taken() -> None:
    time = torch.arange(20, dtype=torch.float64)
    x = torch.stack([3 * torch.cos(2 * math.pi * k * time / 20 + 0.7) + 0.5 for k in range(1, 10)], dim=-1)
    taken, energy = FrequencyAdaptiveNorm(20, 1, hidden_size=9).taken(x)
    assert taken.long().argmax(0).tolist() == list(range(1, 10))
    # Of a wave of amplitude 3 over a level of 0.5: 9 / 2 and 1 / 4 a day.
    expected = torch.full((9,), 90 / 95, dtype=torch.float64)
    torch.testing.assert_close((energy * taken).sum(0) / energy.sum(0), expected)

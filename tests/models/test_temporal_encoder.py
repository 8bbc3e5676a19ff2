import pytest
import torch

from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.models.temporal_encoder import TemporalEncoder
from atft_gat_fan.types import RandomKey

WINDOW, DAYS, STOCKS, HIDDEN = 8, 2, 5, 12


def encoder(
    fan_top_k: int = 1, static_size: int = 0, lstm_layers: int = 1, freq_dropout: FreqDropout | None = None
) -> TemporalEncoder:
    torch.manual_seed(0)
    return TemporalEncoder(
        hidden_size=HIDDEN,
        window=WINDOW,
        num_heads=3,
        lstm_layers=lstm_layers,
        fan_top_k=fan_top_k,
        static_size=static_size,
        dropouts=(KeyedDropout(0.0, 1), KeyedDropout(0.0, 2), KeyedDropout(0.0, 3)),
        freq_dropout=freq_dropout,
    ).double()


def windows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(WINDOW, DAYS, STOCKS, HIDDEN, generator=generator, dtype=torch.float64)


def test_forget_gates_start_open() -> None:
    lstm = encoder(lstm_layers=2).lstm
    for layer in range(2):
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        assert (bias[HIDDEN : 2 * HIDDEN] == 1).all()


def test_what_the_normalisation_removed_reaches_the_output() -> None:
    """A constant added to a channel whose strongest bin is the constant is all removed, and still seen."""
    model, x = encoder(), windows() + 5
    main, residual = model.fan.decompose(x)
    shifted = x + 1
    torch.testing.assert_close(model.fan.decompose(shifted)[1], residual, rtol=0, atol=1e-12)
    assert (model(shifted, None, (), None)[0] - model(x, None, (), None)[0]).abs().max() > 1e-3
    assert (main - 5).abs().max() < 2, "the example needs the constant to be the strongest"


def test_static_context_sets_the_first_state() -> None:
    model = encoder(static_size=4)
    static = torch.zeros(STOCKS, 4, dtype=torch.float64)
    static[2] = 1
    plain, _ = model(windows(), torch.zeros_like(static), (), None)
    changed, _ = model(windows(), static, (), None)
    assert ((changed - plain).abs().amax((0, 2)) > 1e-6).tolist() == [stock == 2 for stock in range(STOCKS)]


def test_output_is_layer_normed_with_and_without_frequencies_removed() -> None:
    for top_k in (0, 1):
        encoded, _ = encoder(fan_top_k=top_k)(windows(), None, (), None)
        torch.testing.assert_close(encoded.mean(-1), torch.zeros(DAYS, STOCKS, dtype=torch.float64))
        torch.testing.assert_close(
            encoded.var(-1, correction=0), torch.ones(DAYS, STOCKS, dtype=torch.float64), rtol=1e-3, atol=0
        )


@pytest.mark.parametrize("fan_top_k", [0, 1])
def test_frequencies_are_dropped_from_what_goes_into_the_lstm_and_its_skip(fan_top_k: int) -> None:
    """The same encoding as that of windows whose residual was masked beforehand."""
    dropout, dates, key = FreqDropout(WINDOW, 0.7, 3, layer=5), (19_000, 19_001), RandomKey(1, 2)
    x = windows()
    dropped, _ = encoder(fan_top_k, freq_dropout=dropout)(x, None, dates, key)
    plain = encoder(fan_top_k)
    assert (dropped - plain(x, None, dates, key)[0]).abs().max() > 1e-3

    if plain.fan is None:
        expected, _ = plain(dropout(x, dates, key), None, dates, key)
    else:
        residual, removed = plain.fan(x)
        plain.fan.forward = lambda _: (dropout(residual, dates, key), removed)
        expected, _ = plain(x, None, dates, key)
    torch.testing.assert_close(dropped, expected, rtol=0, atol=1e-14)

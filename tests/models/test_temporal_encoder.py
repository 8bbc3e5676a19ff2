from typing import Any

import pytest
import torch

from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.layers.keyed_dropout import KeyedDropout
from atft_gat_fan.models.temporal_encoder import TemporalEncoder
from atft_gat_fan.types import RandomKey

WINDOW, DAYS, STOCKS, HIDDEN = 8, 2, 5, 12


def encoder(
    fan_top_k: int = 1,
    static_size: int = 0,
    lstm_layers: int = 1,
    freq_dropout: FreqDropout | None = None,
    num_heads: int = 3,
    forget_bias: float | None = 1.0,
) -> TemporalEncoder:
    torch.manual_seed(0)
    return TemporalEncoder(
        hidden_size=HIDDEN,
        window=WINDOW,
        num_heads=num_heads,
        lstm_layers=lstm_layers,
        fan_top_k=fan_top_k,
        static_size=static_size,
        dropouts=(KeyedDropout(0.0, 1), KeyedDropout(0.0, 2), KeyedDropout(0.0, 3)),
        freq_dropout=freq_dropout,
        forget_bias=forget_bias,
    ).double()


def windows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(WINDOW, DAYS, STOCKS, HIDDEN, generator=generator, dtype=torch.float64)


def forget_biases(**changes: Any) -> torch.Tensor:
    lstm = encoder(lstm_layers=2, **changes).lstm
    biases = [getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}") for layer in range(2)]
    return torch.cat([bias[HIDDEN : 2 * HIDDEN] for bias in biases])


def test_forget_gates_start_open() -> None:
    assert (forget_biases() == 1).all()
    assert (forget_biases(forget_bias=3.5) == 3.5).all()
    drawn = forget_biases(forget_bias=None)
    assert drawn.unique().numel() == drawn.numel()
    assert (drawn.abs() <= 2 * HIDDEN**-0.5).all()


def span(days: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(WINDOW + days - 1, STOCKS, HIDDEN, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("num_heads", [0, 3])
@pytest.mark.parametrize("lstm_layers", [1, 2])
def test_the_first_day_of_a_block_is_its_window_and_later_ones_have_seen_what_lies_before(
    num_heads: int, lstm_layers: int
) -> None:
    model = encoder(0, static_size=4, lstm_layers=lstm_layers, num_heads=num_heads)
    static, days = torch.randn(STOCKS, 4, dtype=torch.float64), 4
    x = span(days)
    block, attention = model.encode_block(x, static, range(len(x)), None)
    windows, by_window = model(x.unfold(0, WINDOW, 1).movedim(-1, 0).contiguous(), static, range(days), None)
    torch.testing.assert_close((block[0], attention[0]), (windows[0], by_window[0]), rtol=0, atol=1e-12)
    assert ((block - windows)[1:].abs().amax((1, 2)) > 1e-6).all()
    assert attention.shape == by_window.shape

    changed = x.clone()
    changed[WINDOW:] += 1.0  # the future of the first day, and the whole of no other's past
    assert torch.equal(model.encode_block(changed, static, range(len(x)), None)[0][0], block[0])
    for day in range(days):
        before = x.clone()
        before[0] += 1.0
        reached = (model.encode_block(before, static, range(len(x)), None)[0][day] != block[day]).any()
        assert reached, "the recurrence reaches back to the first day of the block"


def test_a_window_of_zeros_before_it_makes_a_block_forget_nothing() -> None:
    """The day d of a block is encoded as the last day of the window of length L + d: the same LSTM, run for longer."""
    model = encoder(0, num_heads=0)
    x = span(3)
    block, _ = model.encode_block(x, None, range(len(x)), None)
    for day in range(3):
        model.window = WINDOW + day
        alone, _ = model(x[: WINDOW + day].unsqueeze(1), None, (0,), None)
        torch.testing.assert_close(block[day], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("parts", [{"lstm_layers": 0}, {"num_heads": 0}, {"lstm_layers": 0, "num_heads": 0}], ids=str)
def test_parts_that_are_off_have_no_parameters_and_the_rest_works(parts: dict[str, int]) -> None:
    whole, model = encoder(0), encoder(0, **parts)
    gone = {name.split(".")[0] for name in whole.state_dict().keys() - model.state_dict().keys()}
    off = {"lstm_layers": {"lstm", "lstm_skip"}, "num_heads": {"attention", "attention_skip"}}
    assert gone == set().union(*(off[part] for part in parts))
    encoded, attention = model(windows(), None, (), None)
    torch.testing.assert_close(encoded.mean(-1), torch.zeros(DAYS, STOCKS, dtype=torch.float64))
    torch.testing.assert_close(attention.sum(-1), torch.ones(DAYS, STOCKS, dtype=torch.float64))
    if "num_heads" in parts:
        assert (attention[..., -1] == 1).all()
    if len(parts) == 2:
        alone, _ = model(windows()[-1:], None, (), None)
        assert torch.equal(alone, encoded)


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

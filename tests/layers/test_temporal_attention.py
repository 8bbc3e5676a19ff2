import torch

from atft_gat_fan.layers.temporal_attention import TemporalAttention

WINDOW, DAYS, STOCKS, HIDDEN, HEADS = 7, 2, 5, 12, 3


def full_form(layer: TemporalAttention, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpretable attention of every day on the days before it: equations 13-16 with a causal mask."""
    x = x.permute(1, 2, 0, 3)

    def split(heads: torch.Tensor) -> torch.Tensor:
        return heads.unflatten(-1, (HEADS, -1)).transpose(-2, -3)

    logits = split(layer.query(x)) @ split(layer.key(x)).transpose(-1, -2) * layer.head_size**-0.5
    causal = torch.ones(WINDOW, WINDOW, dtype=torch.bool).tril()
    weights = logits.masked_fill(~causal, float("-inf")).softmax(-1)
    per_head = weights @ layer.value(x).unsqueeze(-3)
    return layer.output(per_head.mean(-3)), weights.mean(-3)


def test_equals_the_last_row_of_full_causal_attention_with_gradients() -> None:
    torch.manual_seed(0)
    layer = TemporalAttention(HIDDEN, HEADS).double()
    x = torch.randn(WINDOW, DAYS, STOCKS, HIDDEN, dtype=torch.float64, requires_grad=True)
    attended, weights = layer(x)
    full, full_weights = full_form(layer, x)
    torch.testing.assert_close(attended, full[:, :, -1], rtol=0, atol=1e-13)
    torch.testing.assert_close(weights, full_weights[:, :, -1], rtol=0, atol=1e-13)

    inputs = [x, *layer.parameters()]
    actual = torch.autograd.grad(attended.square().sum(), inputs)
    expected = torch.autograd.grad(full[:, :, -1].square().sum(), inputs)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_weights_tell_which_day_was_looked_at() -> None:
    layer = TemporalAttention(HIDDEN, HEADS)
    x = torch.randn(WINDOW, DAYS, STOCKS, HIDDEN)
    with torch.no_grad():
        layer.query.weight.zero_()
        layer.query.bias.fill_(1.0)
        x[2] = 100 * layer.key.weight.sum(0)  # the direction that every head's query likes
    _, weights = layer(x)
    assert (weights.argmax(-1) == 2).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(DAYS, STOCKS))


def test_days_of_a_span_are_read_as_their_windows_by_themselves_with_gradients() -> None:
    torch.manual_seed(0)
    layer = TemporalAttention(HIDDEN, HEADS).double()
    for days in (1, 4, 9):  # more days than a window has, too
        span = torch.randn(WINDOW + days - 1, STOCKS, HIDDEN, dtype=torch.float64, requires_grad=True)
        attended, weights = layer.over_days(span, WINDOW)
        by_window = layer(span.unfold(0, WINDOW, 1).movedim(-1, 0))
        torch.testing.assert_close((attended, weights), by_window, rtol=0, atol=1e-13)
        inputs = [span, *layer.parameters()]
        losses = [(a * a.detach().cos()).sum() + w.square().sum() for a, w in ((attended, weights), by_window)]
        for one, other in zip(*(torch.autograd.grad(loss, inputs) for loss in losses), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)

"""Features standardised on the device, in one buffer: the same bits as in memory."""

import math

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from atft_gat_fan.data import online_normalization
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.online_normalization import OnlineNormalizer

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]


def normalizer_of(values: np.ndarray, kept: list[int] | None = None) -> Normalizer:
    """Of the columns of `values` [rows, inputs]; those not `kept` are dropped."""
    names = tuple(f"f{i}" for i in range(values.shape[1]))
    kept = list(range(len(names))) if kept is None else kept
    known = values[:, kept].astype(np.float64)
    return Normalizer(
        input_names=names,
        feature_names=tuple(names[i] for i in kept),
        mean=np.nanmean(known, axis=0),
        std=np.nanstd(known, axis=0),
        counts=(~np.isnan(known)).sum(axis=0),
        dropped={name: "constant" for i, name in enumerate(names) if i not in kept},
    )


def nasty(rows: int = 4000, seed: int = 0) -> np.ndarray:
    """Large means, tiny and huge scales, heavy tails, missing values."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=rows),
        rng.normal(1e4, 1, size=rows),
        rng.normal(-1e6, 3, size=rows),
        rng.normal(1e-7, 1e-8, size=rows),
        rng.standard_t(2, size=rows) * 1e9,
        (rng.random(rows) < 0.01) * 1.0,
    ]
    values = np.stack(columns, axis=1).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("values_at_a_time", [1, 40, 2**17])
@pytest.mark.parametrize("kept", [None, [0, 2, 3], [4, 1]], ids=["all", "some", "moved"])
def test_it_has_the_bits_of_the_normaliser(monkeypatch, device, values_at_a_time, kept):
    monkeypatch.setattr(online_normalization, "VALUES_AT_A_TIME", values_at_a_time)
    values = nasty(600)
    normalizer = normalizer_of(values, kept)
    raw = torch.from_numpy(values).view(6, 100, 6)
    found = OnlineNormalizer(normalizer, torch.device(device))(raw.to(device)).cpu().numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, normalizer.apply(raw.numpy()))
    assert (found[np.isnan(raw.numpy()[..., kept or range(6)])] == 0).all()


def test_infinities_are_not_hidden():
    values = nasty()
    normalizer = normalizer_of(values)
    values[3, 0] = math.inf
    assert OnlineNormalizer(normalizer, CPU)(torch.from_numpy(values))[3, 0] == math.inf


def test_the_buffer_is_used_again_and_grows_only():
    normalizer = normalizer_of(nasty())
    online = OnlineNormalizer(normalizer, CPU)
    raw = torch.from_numpy(nasty()).view(40, 100, 6)
    whole = online(raw)
    place = whole.data_ptr()
    expected = whole.clone()
    for rows in (slice(5, 8), slice(0, 40), slice(10, 11)):
        found = online(raw[rows])
        assert found.data_ptr() == place
        assert torch.equal(found, expected[rows])
    assert online(torch.from_numpy(nasty(8000))).shape == (8000, 6)


def test_a_result_made_in_inference_mode_leaves_a_buffer_that_can_be_trained_on():
    online = OnlineNormalizer(normalizer_of(nasty()), CPU)
    raw, weight = torch.from_numpy(nasty()), torch.ones(6, requires_grad=True)
    with torch.inference_mode():
        online(raw)
    (online(raw) * weight).sum().backward()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_micro_batches_one_after_the_other_have_the_gradients_of_fresh_tensors(checkpointed):
    normalizer = normalizer_of(nasty())
    online = OnlineNormalizer(normalizer, CPU)

    def gradient(features) -> torch.Tensor:
        weight = torch.linspace(-1, 1, 6).requires_grad_()
        for seed in range(3):
            inputs = features(torch.from_numpy(nasty(500, seed)))

            def forward(inputs: torch.Tensor, weight: torch.Tensor = weight) -> torch.Tensor:
                return (inputs @ weight).tanh().square().mean()

            loss = checkpoint(forward, inputs, use_reentrant=False) if checkpointed else forward(inputs)
            loss.backward()
        return weight.grad

    assert torch.equal(gradient(online), gradient(lambda raw: online(raw).clone()))


def test_a_backward_pass_over_features_that_are_gone_raises():
    online = OnlineNormalizer(normalizer_of(nasty()), CPU)
    weight = torch.ones(6, requires_grad=True)
    early = (online(torch.from_numpy(nasty())) * weight).sum()
    online(torch.from_numpy(nasty(seed=1)))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        early.backward()

import copy

import pytest
import torch

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.training.ema import EmaTeacher

PLAIN, WARM = EmaPlan(0.9, warmup=False), EmaPlan(0.9, warmup=True)


def wander(model, seed):
    """Weights after a pretended step."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def weights(model):
    return {name: parameter.detach().double() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("plan", [PLAIN, WARM], ids=["plain", "warm-up"])
def test_the_average_is_its_closed_form(make_network, plan):
    """e_n = sum over k of (1 - d_k) w_k prod_{j > k} d_j, the initial weights being w_0 with 1 - d_0 = 1."""
    model = make_network()
    ema, path = EmaTeacher(model, plan), [copy.deepcopy(weights(model))]
    for seed in range(120):
        wander(model, seed)
        ema.update(model)
        path.append(copy.deepcopy(weights(model)))
    n = torch.arange(120, dtype=torch.float64)
    decay = torch.full_like(n, 0.9) if plan is PLAIN else torch.minimum(torch.tensor(0.9), (1 + n) / (10 + n))
    kept = decay.flip(0).cumprod(0).flip(0)  # prod_{j >= k} d_j
    share = torch.cat([kept[:1], (1 - decay) * torch.cat([kept[1:], torch.ones(1)])])
    assert float(share.sum()) == pytest.approx(1, abs=1e-12)
    for name, average in weights(ema.model).items():
        expected = sum(s * w[name] for s, w in zip(share, path, strict=True))
        torch.testing.assert_close(average, expected, rtol=0, atol=1e-5)
    assert ema.updates == 120


def test_the_warm_up_follows_the_weights_at_first_and_ends_at_the_decay(make_network):
    ema = EmaTeacher(make_network(), EmaPlan(0.9))
    decays = []
    for _ in range(100):
        decays.append(ema.decay)
        ema.update(make_network())
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[79] < 0.9 == decays[80] == decays[99]


def test_before_any_update_it_is_the_weights_given(make_network):
    model = make_network()
    ema = EmaTeacher(model, PLAIN)
    assert all(torch.equal(a, b) for a, b in zip(ema.model.parameters(), model.parameters(), strict=True))
    assert ema.distance(model) == 0
    assert ema.updates == 0


def test_it_is_a_float32_copy_without_gradients_and_touches_nothing_of_the_model(make_network):
    model = make_network().train()
    ema = EmaTeacher(model, WARM)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ema.update(model)
    assert not ema.model.training
    assert {p.dtype for p in ema.model.parameters()} == {torch.float32}
    assert not any(p.requires_grad or p.grad is not None for p in ema.model.parameters())
    ours = {p.data_ptr() for p in model.parameters()}
    assert not any(p.data_ptr() in ours for p in ema.model.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_memory_is_one_copy_of_the_weights(make_network):
    model = make_network()
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    held = sum(tensor.nbytes for tensor in EmaTeacher(model, WARM).tensors().values())
    assert size <= held <= 1.05 * size


def test_buffers_are_copied(make_network):
    model = make_network()
    model.register_buffer("seen", torch.tensor(1))
    ema = EmaTeacher(model, PLAIN)
    model.seen.fill_(7)
    ema.update(model)
    assert int(ema.model.seen) == 7


def test_the_distance_is_relative(make_network):
    model = make_network()
    ema = EmaTeacher(model, PLAIN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    assert ema.distance(model) == pytest.approx(0.2, rel=1e-6)


def test_a_restored_average_goes_on_to_the_same_bits(make_network):
    model = make_network()
    ema = EmaTeacher(model, WARM)
    for seed in range(5):
        wander(model, seed)
        ema.update(model)
    other = EmaTeacher(make_network(seed=3), WARM)
    other.load({name: tensor.clone() for name, tensor in ema.tensors().items()})
    wander(model, 5)
    for each in (ema, other):
        each.update(model)
    assert other.updates == ema.updates == 6
    assert all(torch.equal(a, b) for a, b in zip(ema.model.parameters(), other.model.parameters(), strict=True))


def test_tensors_of_another_model_are_refused_by_name(make_network):
    saved = EmaTeacher(make_network(), WARM).tensors()
    with pytest.raises(RuntimeError, match="spread"):
        EmaTeacher(make_network(quantiles=(0.1, 0.5, 0.9)), WARM).load(saved)

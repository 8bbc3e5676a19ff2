import dataclasses

import pytest
import torch

from atft_gat_fan.training.optim import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_groups,
    parameter_groups_table,
    set_learning_rate,
)


def pretend_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def steps(model, optimizer, seeds):
    for seed in seeds:
        pretend_gradients(model, seed)
        optimizer.step()


def test_every_parameter_is_in_exactly_one_group(make_network, make_settings):
    model = make_network()
    named = [name for group in parameter_groups(model, make_settings()) for name in group.names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    optimizer = build_optimizer(model, make_settings())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_groups_are_the_declared_roles(make_network, make_settings):
    model = make_network()
    roles = model.parameter_roles()
    groups = parameter_groups(model, make_settings(weight_decay=0.1))
    assert {group.group for group in groups} == {"embedding", "temporal", "graph", "head"}
    for group in groups:
        assert {roles[name].group for name in group.names} == {group.group}
        assert {roles[name].decay for name in group.names} == {group.decay}
        assert group.weight_decay == (0.1 if group.decay else 0.0)
    sizes = dict(model.named_parameters())
    assert all(group.num_parameters == sum(sizes[name].numel() for name in group.names) for group in groups)
    assert [row["names"] for row in parameter_groups_table(model, make_settings())] == [g.names for g in groups]


def test_a_parameter_without_a_role_is_refused(make_network, make_settings):
    model = make_network()
    model.heads.forgotten = torch.nn.Parameter(torch.zeros(1))
    model.parameter_roles = lambda: {
        name: role for name, role in type(model).parameter_roles(model).items() if "forgotten" not in name
    }
    with pytest.raises(AssertionError, match="forgotten"):
        parameter_groups(model, make_settings())


def test_grouping_is_bit_identical_to_adamw_with_decay_on_weights_only(make_network, make_settings):
    settings = make_settings(weight_decay=0.1)
    ours, plain = make_network(), make_network()
    roles = plain.parameter_roles()
    weights = [p for name, p in plain.named_parameters() if roles[name].decay]
    others = [p for name, p in plain.named_parameters() if not roles[name].decay]
    oracle = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        foreach=False,
    )
    steps(ours, build_optimizer(ours, settings), range(3))
    steps(plain, oracle, range(3))
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b), name
    decayed = dataclasses.replace(settings, weight_decay=0.0)
    undecayed = make_network()
    steps(undecayed, build_optimizer(undecayed, decayed), range(3))
    changed = {
        n for (n, a), b in zip(ours.named_parameters(), undecayed.parameters(), strict=True) if not torch.equal(a, b)
    }
    assert changed <= {name for name, role in roles.items() if role.decay}
    assert changed


def test_state_is_allocated_before_the_first_step(make_network, make_settings):
    model = make_network()
    optimizer = build_optimizer(model, make_settings())
    before = {name: tensor.data_ptr() for name, tensor in optimizer_tensors(optimizer, model).items()}
    assert len(before) == 3 * len(list(model.parameters()))
    steps(model, optimizer, [0])
    assert {name: tensor.data_ptr() for name, tensor in optimizer_tensors(optimizer, model).items()} == before


def test_state_survives_the_round_trip_to_the_same_next_step(make_network, make_settings):
    model, resumed = make_network(), make_network(seed=1)
    optimizer = build_optimizer(model, make_settings())
    steps(model, optimizer, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer, model).items()}
    resumed.load_state_dict(model.state_dict())
    again = build_optimizer(resumed, make_settings())
    load_optimizer_tensors(again, resumed, saved)
    for each, its in ((model, optimizer), (resumed, again)):
        set_learning_rate(its, 0.003)
        steps(each, its, [7])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_state_of_another_model_is_refused(make_network, make_settings):
    model = make_network()
    optimizer = build_optimizer(model, make_settings())
    saved = dict(optimizer_tensors(optimizer, model))
    first = next(iter(saved))
    with pytest.raises(KeyError, match=first):
        load_optimizer_tensors(optimizer, model, {name: t for name, t in saved.items() if name != first})


def test_learning_rate_reaches_every_group(make_network, make_settings):
    optimizer = build_optimizer(make_network(), make_settings())
    set_learning_rate(optimizer, 0.123)
    assert {group["lr"] for group in optimizer.param_groups} == {0.123}

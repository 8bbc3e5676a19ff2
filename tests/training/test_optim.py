import dataclasses

import pytest
import torch

from atft_gat_fan.config.plan import GroupPlan, OptimizerPlan
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.optim import (
    build_optimizer,
    gradient_norms,
    learning_rates,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_groups,
    parameter_groups_table,
    schedule_learning_rates,
)
from atft_gat_fan.training.ranks import Ranks

MULTIPLIED = OptimizerPlan(embedding=GroupPlan(lr=0.5), graph=GroupPlan(weight_decay=3.0), head=GroupPlan(2.0, 0.0))


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
        schedule_learning_rates(its, 0.3)
        steps(each, its, [7])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_state_of_another_model_is_refused(make_network, make_settings):
    model = make_network()
    optimizer = build_optimizer(model, make_settings())
    saved = dict(optimizer_tensors(optimizer, model))
    first = next(iter(saved))
    with pytest.raises(KeyError, match=first):
        load_optimizer_tensors(optimizer, model, {name: t for name, t in saved.items() if name != first})


def test_the_schedule_multiplies_every_groups_own_rate(make_network, make_settings):
    optimizer = build_optimizer(make_network(), make_settings(lr=0.01, optimizer_groups=MULTIPLIED))
    for factor in (0.25, 1.0, 0.5):
        schedule_learning_rates(optimizer, factor)
        rates = {"embedding": 0.005, "temporal": 0.01, "graph": 0.01, "head": 0.02}
        assert learning_rates(optimizer) == {group: rate * factor for group, rate in rates.items()}
        assert all(group["lr"] == rates[group["group"]] * factor for group in optimizer.param_groups)


def test_multipliers_change_their_layer_type_and_nothing_else(make_network, make_settings):
    settings = make_settings(weight_decay=0.1, optimizer_groups=MULTIPLIED)
    ours, plain = make_network(), make_network()
    roles = plain.parameter_roles()
    rates = {"embedding": 0.005, "temporal": 0.01, "graph": 0.01, "head": 0.02}
    decays = {"embedding": 0.1, "temporal": 0.1, "graph": 0.3, "head": 0.0}
    oracle = torch.optim.AdamW(
        [
            {
                "params": [p],
                "lr": rates[roles[name].group],
                "weight_decay": decays[roles[name].group] if roles[name].decay else 0.0,
            }
            for name, p in plain.named_parameters()
        ],
        betas=settings.betas,
        eps=settings.eps,
        foreach=False,
    )
    steps(ours, build_optimizer(ours, settings), range(3))
    steps(plain, oracle, range(3))
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0, msg=name)
    default = make_network()
    steps(default, build_optimizer(default, make_settings(weight_decay=0.1)), range(3))
    for (name, a), b in zip(ours.named_parameters(), default.parameters(), strict=True):
        untouched = roles[name].group == "temporal" or (roles[name].group == "graph" and not roles[name].decay)
        assert torch.equal(a, b) == untouched, name


def test_the_table_holds_what_the_optimizer_uses(make_network, make_settings):
    model, settings = make_network(), make_settings(lr=0.01, weight_decay=0.1, optimizer_groups=MULTIPLIED)
    table = parameter_groups_table(model, settings)
    for row, group in zip(table, build_optimizer(model, settings).param_groups, strict=True):
        assert (row["group"], row["lr"], row["weight_decay"]) == (group["group"], group["lr"], group["weight_decay"])
        assert row["num_tensors"] == len(group["params"]) == len(row["names"])
        assert row["num_parameters"] == sum(p.numel() for p in group["params"])


def test_gradient_norms_are_those_of_each_layer_type(make_network, make_settings):
    model = make_network()
    optimizer = build_optimizer(model, make_settings())
    pretend_gradients(model, 1)
    roles = model.parameter_roles()
    norms = gradient_norms(optimizer, Layout(Ranks()))
    assert norms.keys() == {"embedding", "temporal", "graph", "head"}
    for group, norm in norms.items():
        gradients = [p.grad.flatten() for name, p in model.named_parameters() if roles[name].group == group]
        torch.testing.assert_close(norm, torch.cat(gradients).norm(), rtol=1e-6, atol=0)

"""A search space reads as Hydra's grammar has it, and what is drawn from it makes a configuration."""

import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.search_space import Choice, Numbers, read_space
from atft_gat_fan.errors import ConfigError


@pytest.mark.parametrize(
    ("argument", "parameter"),
    [
        ("model.hidden_size=32,64", Choice("model.hidden_size", ("32", "64"))),
        ("model.hidden_size=choice(32,64)", Choice("model.hidden_size", ("32", "64"))),
        ("model=default,small", Choice("model", ("default", "small"))),
        ("a=choice([1,2],[3,4])", Choice("a", ("[1,2]", "[3,4]"))),
        ("a=range(1,8,2)", Numbers("a", 1, 7, whole=True, log=False, step=2)),
        ("a=range(8)", Numbers("a", 0, 7, whole=True, log=False, step=1)),
        ("a=tag(log,range(1,8))", Numbers("a", 1, 7, whole=True, log=True)),
        ("a=range(0.0,1.0,0.25)", Numbers("a", 0, 0.75, whole=False, log=False, step=0.25)),
        ("a=interval(0.1,0.5)", Numbers("a", 0.1, 0.5, whole=False, log=False)),
        ("a=int(interval(1,5))", Numbers("a", 1, 5, whole=True, log=False)),
        ("a=tag(log,int,interval(1,512))", Numbers("a", 1, 512, whole=True, log=True)),
        ("a=tag(log,interval(1e-4,1e-2))", Numbers("a", 1e-4, 1e-2, whole=False, log=True)),
    ],
)
def test_every_sweep_of_the_grammar_is_a_parameter(argument: str, parameter: Choice | Numbers) -> None:
    space = read_space(["seed=3", argument])
    assert space.parameters == (parameter,)
    assert space.varied == (argument,)
    assert space.fixed == ("seed=3",)


def test_what_is_drawn_makes_a_configuration() -> None:
    space = read_space(
        [
            "config=atft/train/production",
            "optimizer.lr=tag(log,interval(1e-5,1e-2))",
            "batch_size=range(2,9)",
            "model=default,small",
        ]
    )
    drawn = space.arguments({"optimizer.lr": 1.25e-5, "batch_size": 4, "model": "small"})
    assert drawn == ["optimizer.lr=1.25e-05", "batch_size=4", "model=small"]
    config = load_config([*space.fixed, *drawn])
    assert (config.optimizer.lr, config.batch_size) == (1.25e-5, 4)
    assert config.model.hidden_size == load_config(["model=small"]).model.hidden_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1"], "something to search over, found none"),
        (["split.purge=11,12"], "all trials must share"),
        (["data=sample,synthetic"], "all trials must share"),
        (["data.window=10,20"], "all trials must share"),
        (["run.name=a,b"], "all trials must share"),
        (["evaluation.cost_bps=5,10"], "all trials must share"),
        (["distributed.strategy=auto,ddp"], "all trials must share"),
        (["optimizer.lr=1e-3,1e-2", "optimizer.lr=1,2"], "each key once"),
        (["optimizer.lr=tag(log,interval(0,1))"], "low < high above 0, got 0 and 1"),
        (["optimizer.lr=interval(2,1)"], "low < high, got 2 and 1"),
        (["batch_size=tag(int,interval(1.5,3))"], "whole bounds, got 1.5 and 3"),
        (["batch_size=tag(log,range(1,9,2))"], "steps of 1 on a logarithmic scale"),
        (["batch_size=range(1,2)"], "at least two values, found 1"),
        (["batch_size=shuffle(range(1,9))"], "no shuffle"),
        (["batch_size=tag(cubic,interval(1,9))"], "no other tags than log and int"),
        (["model=glob(*)"], "expected choice"),
    ],
)
def test_what_cannot_be_searched_over_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space(arguments)

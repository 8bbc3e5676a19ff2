from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment, expand_sweep, parse
from atft_gat_fan.errors import ConfigError


def test_a_sweep_is_every_combination_with_the_last_varying_fastest() -> None:
    swept = expand_sweep(["seed=1,2", "data=synthetic", "train.max_steps=range(1,4)", "~improvements"])
    assert swept == [
        [f"seed={seed}", "data=synthetic", f"train.max_steps={steps}", "~improvements"]
        for seed, steps in product((1, 2), (1, 2, 3))
    ]


def test_lists_quotes_and_files_can_be_swept() -> None:
    assert expand_sweep(["data.horizons=[1,5],[2]"]) == [["data.horizons=[1,5]"], ["data.horizons=[2]"]]
    assert expand_sweep(["data.source='/a,b.parquet'"]) == [["data.source='/a,b.parquet'"]]
    assert expand_sweep(["config=atft/config,atft/train/production"]) == [
        ["config=atft/config"],
        ["config=atft/train/production"],
    ]
    assert expand_sweep(["+seed=choice(1,2)"]) == [["+seed=1"], ["+seed=2"]]


def test_without_a_sweep_there_is_one_run() -> None:
    assert expand_sweep(["seed=1"]) == [["seed=1"]]
    assert expand_sweep([]) == [[]]


def test_the_expanded_arguments_load() -> None:
    horizons = [load_config(arguments).data.horizons for arguments in expand_sweep(["data.horizons=[1,5],[2]"])]
    assert horizons == [(1, 5), (2,)]


@pytest.mark.parametrize("argument", ["optimizer.lr=interval(0,1)", "data=glob(*)"])
def test_what_cannot_be_enumerated_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="expected values to enumerate"):
        expand_sweep([argument])


def test_a_sweep_without_multirun_says_how_to_sweep() -> None:
    with pytest.raises(ConfigError, match="seed=1,2 has several values: add -m"):
        load_config(["seed=1,2"])


@given(st.text(st.characters(exclude_characters="\r\n")))
@example("/データ/panel 1, 2 (new).parquet")
@example("it's \\'quoted\\\\'")
@example("null")
@example("1")
def test_any_text_can_be_assigned(text: str) -> None:
    assert parse(assignment("data.source", text)).value() == text

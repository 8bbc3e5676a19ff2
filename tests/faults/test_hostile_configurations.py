"""Configurations that somebody else made, to run code, to lead elsewhere or to fill the memory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.yaml_files import MOST_BYTES, MOST_LEVELS, MOST_VALUES

LIMITS: dict[str, Any] = {"memory": 3 * 2**30, "timeout": 30}
QUICK_SECONDS = 20
# Each line ten times the one before it: a hundred thousand million values in 300 bytes.
LAUGHS = "\n".join(
    ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)  # fmt: skip
CODE = "!!python/object/apply:os.mkdir [{trace}]"

FILES: dict[str, tuple[str, str]] = {
    "a tag that calls": (f"seed: {CODE}", "python/object"),
    "a tag that imports": ("seed: !!python/module:antigravity", "python/module"),
    "a target": ("model: {_target_: os.system, command: ls}", "_target_"),
    "the environment": ("run: {name: '${oc.env:HOME}'}", "references to other keys"),
    "a decoder": ("seed: ${oc.decode:'1'}", "references to other keys"),
    "hydra itself": ("hydra: {searchpath: ['pkg://antigravity']}", "hydra"),
    "hydra itself, beside": ("defaults: [setting_hydra]", "setting_hydra.yaml"),
    "aliases": (LAUGHS, str(MOST_VALUES)),
    "aliases, beside": ("defaults: [_self_, laughing]", "laughing.yaml"),
    "aliases, in a group": ("defaults: [{group: laughing}]", "laughing.yaml"),
    "an alias of itself": ("a: &a [*a]", "*a inside"),
    "levels": ("a: " + "[" * 100_000 + "]" * 100_000, str(MOST_LEVELS)),
    "length": ("a: " + "x" * MOST_BYTES, str(MOST_BYTES)),
    "digits": ("seed: " + "9" * 5_000, "evil.yaml"),
    "hexadecimal digits": ("seed: 0x" + "f" * 5_000, "digits"),
    "a file above": ("defaults: [../outside]", "../outside"),
    "a file anywhere": ("defaults: ['${oc.env:HOME}']", "by their names"),
    "a package": ("defaults: ['pkg://antigravity']", "by their names"),
    "a date that is none": ("seed: 2020-99-99", "seed"),
    "not a number": ("optimizer: {lr: .nan}", "optimizer.lr"),
    "infinity": ("optimizer: {lr: .inf}", "optimizer.lr"),
}


@pytest.mark.fault(
    "a configuration that runs code, leads elsewhere or swells", "refused (78) by name, nothing run or allocated"
)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_more_than_values_is_refused(name, commands, tmp_path, struck):
    text, word = FILES[name]
    trace, folder = tmp_path / "went off", tmp_path / "configs"
    (folder / "group").mkdir(parents=True)
    (folder / "evil.yaml").write_text(text.replace("{trace}", str(trace)))
    (folder / "setting_hydra.yaml").write_text("hydra: {searchpath: ['pkg://antigravity']}")
    (folder / "laughing.yaml").write_text(LAUGHS)
    (folder / "group" / "laughing.yaml").write_text(LAUGHS)
    (tmp_path / "outside.yaml").write_text("seed: 1")
    answer = commands.atft("train", f"config={folder / 'evil.yaml'}", f"run.dir={tmp_path / 'run'}", **LIMITS)
    answer.refused(78, word)
    assert answer.seconds < QUICK_SECONDS
    assert not trace.exists()
    assert not (tmp_path / "run").exists()
    struck(answer.err)


def test_the_tag_would_run_where_yaml_is_loaded_unsafely(commands, tmp_path):
    """Else the refusal above would be of nothing."""
    text = CODE.replace("{trace}", str(tmp_path / "went off"))
    commands.python(f"import yaml; yaml.unsafe_load({text!r})").succeeded()
    assert (tmp_path / "went off").exists()


def as_pipe(file: Path) -> None:
    os.mkfifo(file)


def as_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


@pytest.mark.fault("a configuration that is a pipe or a device", "refused (78), nothing waited for")
@pytest.mark.parametrize("make", [as_pipe, as_device])
def test_a_file_without_an_end_is_not_waited_for(make: Callable[[Path], None], commands, tmp_path, struck):
    run = tmp_path / "run"
    run.mkdir()
    make(run / "config.yaml")
    answer = commands.atft("train", f"run.dir={run}", **LIMITS)
    answer.refused(78, "config.yaml", "plain file")
    struck(answer.seconds < QUICK_SECONDS)


SIZES = (
    "model.hidden_size", "model.lstm_layers", "model.variable_size", "model.num_heads", "data.window", "batch_size",
    "data.num_workers", "data.synthetic.num_stocks", "data.synthetic.num_days", "graph.lookback",
    "graph.num_neighbours", "run.num_threads", "seed", "evaluation.num_quantiles", "evaluation.lightgbm.num_rounds",
)  # fmt: skip


@pytest.mark.fault("a configuration of absurd sizes", "refused (78), the key named")
@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", ["1000000000000", "9" * 4000], ids=["a million million", "4000 digits"])
def test_an_absurd_size_is_refused(key, value, commands, tmp_path, struck):
    answer = commands.atft("train", f"{key}={value}", f"run.dir={tmp_path / 'run'}", **LIMITS)
    answer.refused(78, key.split(".")[-1])
    assert answer.seconds < QUICK_SECONDS
    assert len(answer.err) < 5_000
    struck(answer.err)


@pytest.mark.fault("an argument nested a thousand deep", "refused (78)")
def test_an_argument_nested_too_deeply_is_refused(commands, tmp_path, struck):
    answer = commands.atft("train", f"data.horizons={'[' * 2000 + ']' * 2000}", f"run.dir={tmp_path / 'run'}", **LIMITS)
    answer.refused(78, "cannot read")
    struck(answer.seconds < QUICK_SECONDS)

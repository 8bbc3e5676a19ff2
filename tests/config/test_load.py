import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel

import atft_gat_fan
from atft_gat_fan.config.load import from_mapping, load_config, overridden, read_config, run_folder, to_yaml
from atft_gat_fan.config.names import known_keys
from atft_gat_fan.config.run_sections import seconds
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError

ROOT = Path(__file__).parents[2]
TREE = ROOT / "configs" / "atft"


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(overrides)
    assert error.value.exit_code == 78
    return str(error.value)


def leaves() -> dict[str, object]:
    """Every key of the schema that is no section, with its default as JSON has it."""
    found: dict[str, object] = {}
    for key in known_keys():
        value: object = Config()
        for part in key.split("."):
            value = getattr(value, part)
        if not isinstance(value, BaseModel):
            found[key] = json.loads(json.dumps(value, default=str))
    return found


# -- config= ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "atft/train/production",
        "atft/train/production.yaml",
        "configs/atft/train/production.yaml",
        "train/production",
        str(TREE / "train" / "production.yaml"),
    ],
)
def test_each_spelling_of_a_file_lays_it_over_the_root(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config([f"config={name}", "seed=3", "loss.huber_delta=0.5"])
    assert config.loss.multi_horizon_weights == (1.0, 0.8, 0.7, 0.5, 0.3)
    assert (config.seed, config.loss.huber_delta) == (3, 0.5)  # keys stand above the file


@pytest.mark.parametrize("name", ["atft/config", "configs/atft/config.yaml", str(TREE / "config.yaml")])
def test_the_primary_file_can_be_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_config([f"config={name}", "data=synthetic"]).data.source == "synthetic"


def test_a_group_option_without_a_package_line_stays_in_its_section() -> None:
    assert load_config(["config=atft/model/small"]) == load_config(["model=small"]) != Config()


def test_a_file_elsewhere_is_laid_over_the_root(tmp_path: Path) -> None:
    file = tmp_path / "my settings.yaml"
    file.write_text("seed: 5\nmodel:\n  dropout: 0.2\ndata:\n  start: 2012-01-01\n")
    config = load_config([f"config={file}", "data=synthetic"])
    assert (config.seed, config.model.dropout, config.data.source) == (5, 0.2, "synthetic")
    assert config.data.start == date(2012, 1, 1)


def test_a_file_elsewhere_with_a_defaults_list_is_a_configuration_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("defaults:\n  - config\n  - override model: small\n  - _self_\nseed: 5\n")
    config = load_config([f"config={file}", "data=synthetic"])
    assert (config.seed, config.model.hidden_size, config.data.source) == (5, 16, "synthetic")


def test_a_required_value_is_asked_for_even_over_a_file_that_has_one() -> None:
    for arguments in (["data=nasdaq"], ["config=atft/data/nasdaq"], ["data=parquet"]):
        assert message(*arguments) == "data.source must be given here: data.source=…"
    assert load_config(["config=atft/data/nasdaq", "data.source=x.parquet"]).data.source == "x.parquet"


def test_an_unknown_file_is_named_with_those_there_are() -> None:
    text = message("config=atft/trian/production")
    assert "config=atft/trian/production" in text
    assert "data/nasdaq" in text
    assert text.endswith("did you mean train/production?")
    assert "found 2: a, b" in message("config=a", "config=b")
    assert "config=" in message("config=")


def test_the_tree_is_looked_for_here_then_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config() == Config()
    (tmp_path / "configs/atft").mkdir(parents=True)
    (tmp_path / "configs/atft/config.yaml").write_text("seed: 9\n")
    assert load_config().seed == 9


@pytest.mark.slow
def test_the_installed_package_brings_its_own_tree(tmp_path: Path) -> None:
    package = tmp_path / "site" / "atft_gat_fan"
    shutil.copytree(Path(atft_gat_fan.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TREE, package / "configs" / "atft")  # what pyproject's force-include does
    program = (
        "from atft_gat_fan.config import load, compose; print(compose.config_tree()); print(load.load_config().seed)"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str((package / "configs" / "atft").resolve()), "42"]


# -- key=value --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_every_key_of_the_schema_can_be_set_with_or_without_a_plus(prefix: str) -> None:
    def text(value: object) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(text, value))}]"
        return f"'{value}'" if isinstance(value, str) else json.dumps(value)

    assert load_config([f"{prefix}{key}={text(value)}" for key, value in leaves().items()]) == Config()


def test_the_fixed_names_take_their_values() -> None:
    config = load_config(
        [
            "data.source=/data/panel.parquet",
            "data.start=2012-01-01",
            "data.horizons=[1,5]",
            "split.train_end=2015-12-31",
            "split.valid_end=2016-12-31",
            "model.hidden_size=32",
            "train.max_steps=5",
            "train.max_epochs=2",
            "train.checkpoint_every=10m",
            "run.dir=/tmp/x",
            "seed=1",
        ]
    )
    assert config.data.source == "/data/panel.parquet"
    assert config.data.start == date(2012, 1, 1)
    assert config.data.horizons == (1, 5)
    assert (config.split.train_end, config.split.valid_end) == (date(2015, 12, 31), date(2016, 12, 31))
    assert (config.model.hidden_size, config.train.max_steps, config.train.max_epochs) == (32, 5, 2)
    assert (config.train.checkpoint_every, config.run.dir, config.seed) == ("10m", "/tmp/x", 1)


def test_groups_sections_and_references() -> None:
    assert load_config(["+model=small"]).model.hidden_size == 16
    assert load_config(["model={hidden_size:32}"]).model.hidden_size == 32
    assert load_config(["train.max_steps=${batch_size}", "batch_size=6"]).train.max_steps == 6
    assert load_config(["model=small", "~model.hidden_size"]).model.hidden_size == Config().model.hidden_size
    assert load_config(["~train", "~seed=42", "phase=null"]) == Config()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.max_stpes=3", "unknown key train.max_stpes; did you mean train.max_steps?"),
        ("+train.max_stpes=3", "unknown key train.max_stpes; did you mean train.max_steps?"),
        ("data.columns.cod=x", "unknown key data.columns.cod; did you mean data.columns.code?"),
        (
            "~improvements.use_em",
            "~improvements.use_em: unknown key improvements.use_em; did you mean improvements.use_ema?",
        ),
        ("~seed=3", "~seed=3: expected 3 to delete, found 42"),
        ("train.max_steps=abc", 'train.max_steps: expected a valid integer, found "abc"'),
        ("train.max_steps=1.5", "train.max_steps: expected a valid integer, found 1.5"),
        ("seed=true", "seed: expected a valid integer, found true"),
        ("model.dropout=true", "model.dropout: expected a valid number, found true"),
        ("improvements.use_ema=1", "improvements.use_ema: expected a valid boolean, found 1"),
        ("improvements.gat_temperature=0", "improvements.gat_temperature: expected greater than 0, found 0"),
        ("improvements=null", "improvements: expected a section with keys of its own, found null"),
        ("loss=huber", 'loss: expected a section with keys of its own, found "huber"'),
        ("loss.type=l1", "loss.type: expected 'mse', 'huber', 'ic' or 'rank', found \"l1\""),
        ("loss.huber_delta=x", "loss.huber_delta: expected a valid number or a list or 'auto', found \"x\""),
        ("data.horizons=5", "data.horizons: expected a list, found 5"),
        ("data.horizons=[5,1]", "data.horizons: expected increasing, distinct horizons, got [5, 1]"),
        ("data.horizons=[0,1]", "data.horizons.0: expected greater than 0, found 0"),
        ("data.start=20120101", "data.start: expected a date such as 2012-01-31, found 20120101"),
        ("data.start=2012-02-31", 'data.start: expected a date such as 2012-01-31, found "2012-02-31"'),
        ("optimizer.betas=[0.9]", "optimizer.betas: expected a list of at least 2 values, found [0.9]"),
        ("run.name=7", "run.name: expected a valid string, found 7; put it in quotes: run.name='\"7\"'"),
        ("model.hidden_size=63", "model: expected num_heads to divide hidden_size, got 4 and 63"),
        (
            "data=nasdq",
            "unknown option data=nasdq; expected one of nasdaq, parquet, sample, synthetic, synthetic_decoys, "
            "synthetic_full, synthetic_heavy_tails, synthetic_periodic, synthetic_regimes, synthetic_scale_drift, "
            "synthetic_spill_over, synthetic_spurious_line; did you mean nasdaq?",
        ),
        ("train.max_steps=${nosuch}", "train.max_steps: Interpolation key 'nosuch' not found"),
        ("train.max_steps=${train.max_steps}", "train.max_steps: Recursive interpolation detected"),
    ],
)
def test_what_is_wrong_is_said_with_path_expected_and_found(override: str, expected: str) -> None:
    assert message(override) == expected


def test_all_problems_come_at_once() -> None:
    text = message("seed=x", "lr=1", "train.max_steps=0")
    assert text.splitlines()[0] == "3 problems"
    for part in ("unknown key lr", "seed: expected", "train.max_steps: expected"):
        assert part in text


def test_weights_must_match_the_horizons() -> None:
    text = "horizons 1,5 need 2 weights, got 5 (loss.multi_horizon_weights)"
    assert message("config=atft/train/production", "data.horizons=[1,5]") == text


@pytest.mark.parametrize("argument", ["a=[1", "seed", "=3", "data.source=a b'c"])
def test_arguments_outside_the_grammar_are_shown_with_the_way_out(argument: str) -> None:
    text = message(argument)
    assert repr(argument) in text or argument in text
    assert "quotes" in text or "expected" in text


# -- nothing but data -------------------------------------------------------------------------------------------------


def test_a_configuration_cannot_name_code(tmp_path: Path) -> None:
    assert message("run._target_=os.system").startswith("run._target_: a configuration names no code")
    file = tmp_path / "evil.yaml"
    file.write_text("data:\n  columns:\n    _target_: os.system\n")
    assert message(f"config={file}").startswith("data.columns._target_: ")
    file.write_text("seed: !!python/object/apply:os.getpid []\n")
    assert str(file) in message(f"config={file}")


def test_hydra_itself_cannot_be_configured(tmp_path: Path) -> None:
    for argument in ("hydra.searchpath=[pkg://os]", "hydra/launcher=basic", "+hydra.run.dir=x"):
        assert "sets Hydra itself" in message(argument)
    file = tmp_path / "evil.yaml"
    file.write_text("defaults:\n  - config\nhydra:\n  searchpath: [pkg://os]\n")
    assert "sets Hydra itself" in message(f"config={file}")


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "'${oc.env:${run.name}}'", "x${oc.decode:'1'}"])
def test_values_cannot_come_from_the_environment(value: str) -> None:
    assert "expected at most references to other keys" in message(f"data.source={value}")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    wrong = ["seed: [1\n", "- 1\n- 2\n", "seed: 1\nseed: 2\n", "seed: ${\n", "defaults:\n", "defaults: 3\n"]
    for content in wrong:
        file.write_text(content)
        assert str(file) in message(f"config={file}")
    file.write_bytes(b"\xff\xfe\x00")
    assert str(file) in message(f"config={file}")


# -- from_mapping, and back -------------------------------------------------------------------------------------------


def test_the_mapping_of_the_memo_means_defaults() -> None:
    assert from_mapping({"model": {"hidden_size": 64}, "data": {...}}) == Config()
    assert from_mapping({"model": {"hidden_size": 32}, "data": {}}).model.hidden_size == 32
    assert from_mapping({}) == Config()


def test_a_mapping_has_the_same_errors() -> None:
    with pytest.raises(ConfigError, match=r"unknown key model\.hiden_size; did you mean model\.hidden_size\?"):
        from_mapping({"model": {"hiden_size": 64}})
    with pytest.raises(ConfigError, match=r"seed: expected a valid integer, found \"1\""):
        from_mapping({"seed": "1"})
    with pytest.raises(ConfigError, match="expected numbers, text, lists and mappings"):
        from_mapping({"seed": object()})


def test_a_mapping_takes_python_values() -> None:
    assert from_mapping(OmegaConf.create({"seed": 3, "batch_size": "${seed}"})).batch_size == 3
    config = from_mapping({"data": {"start": date(2012, 1, 1), "horizons": (1, 5), "source": Path("/x")}})
    assert (config.data.start, config.data.horizons, config.data.source) == (date(2012, 1, 1), (1, 5), "/x")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["config=atft/train/production", "loss.huber_delta=[0.1,0.1,0.1,0.1,0.1]"],
        ["data=nasdaq", "data.source='/päth, with spaces/x.parquet'", "data.features=[a,b*]"],
        [
            "train.checkpoint_every=10m",
            "optimizer.eps=1e-12",
            "optimizer.clip_norm=null",
            "model.quantiles=[0.1,0.5,0.9]",
        ],
    ],
)
def test_a_resolved_configuration_reads_back_equal(arguments: list[str], tmp_path: Path) -> None:
    config = load_config(arguments)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert read_config(file) == config
    assert load_config([f"config={file}"]) == config


# -- the run's folder -------------------------------------------------------------------------------------------------


def test_the_folder_follows_from_all_that_is_computed_and_from_no_place() -> None:
    folder = run_folder(Config())
    assert folder.parent == Path("runs")
    assert folder.name.startswith("atft-")
    assert run_folder(load_config(["data.cache=/elsewhere", "run.fresh=true", "run.stop_after=55m"])) == folder
    assert run_folder(load_config(["run.root=/elsewhere"])) == Path("/elsewhere") / folder.name
    assert run_folder(load_config(["run.dir=/x/y", "seed=3"])) == Path("/x/y")
    others = [["seed=3"], ["model=small"], ["evaluation.cost_bps=5"], ["data.window=10"]]
    assert len({folder, *(run_folder(load_config(arguments)) for arguments in others)}) == 5


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("55m", 3300), ("3h", 10800)])
def test_a_time_to_stop_after_is_in_seconds_minutes_or_hours(text, expected):
    given = load_config([f"run.stop_after={text}"]).run.stop_after
    assert given is not None
    assert seconds(given) == expected


def test_keys_laid_over_a_configuration_are_those_of_the_command_line() -> None:
    keys = ["improvements.use_ema=true", "split.train_end=2015-12-31", "data.horizons=[1,5]", "run.dir=null"]
    base = ["data=synthetic", "batch_size=4"]
    assert overridden(load_config(base), keys) == load_config([*base, *keys])
    with pytest.raises(ConfigError, match="unknown key"):
        overridden(load_config(base), ["batch_sise=4"])


def test_the_order_of_variants_makes_no_other_data() -> None:
    one, other = (from_mapping({"data": {"relative": order}}) for order in (["market", "sector"], ["sector", "market"]))
    assert one.data.relative == ("market", "sector")
    assert one == other
    with pytest.raises(ConfigError, match="expected each variant once"):
        from_mapping({"data": {"relative": ["sector", "market", "sector"]}})

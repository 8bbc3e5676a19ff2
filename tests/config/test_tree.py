"""The files of configs/atft against the schema and the migration memo."""

import shutil
from pathlib import Path

import pytest
import yaml

from atft_gat_fan.config.compose import config_tree
from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import Config, ImprovementsConfig

TREE = Path(__file__).parents[2] / "configs" / "atft"
FILES = sorted(file.relative_to(TREE).as_posix() for file in TREE.rglob("*.yaml"))

IMPROVEMENTS = {
    "output_head_small_init": False,
    "gat_temperature": 1.0,
    "freq_dropout_p": 0.0,
    "use_ema": False,
    "huber_loss": False,
    "online_normalization": False,
    "enable_wandb": False,
    "auto_recover_oom": False,
}
PRODUCTION = {
    "loss": {"type": "mse", "huber_delta": 0.01, "multi_horizon_weights": [1.0, 0.8, 0.7, 0.5, 0.3]},
    "ema": {"enabled": False, "decay": 0.999},
    "grad_scaler": {"init_scale": 65536.0},
}


def content(name: str) -> dict[str, object]:
    return yaml.safe_load((TREE / name).read_text())


@pytest.mark.parametrize("file", FILES)
def test_every_file_composes_and_validates(file: str) -> None:
    needed = ["data.source=panel.parquet"] if "???" in (TREE / file).read_text() else []
    assert isinstance(load_config([f"config={file}", *needed]), Config)


def test_the_tree_as_it_stands_is_the_schema_default() -> None:
    assert load_config() == Config()


@pytest.mark.parametrize("key", ["", ".gat_temperature"])
def test_the_improvements_can_be_deleted(key: str) -> None:
    assert load_config([f"~improvements{key}"]) == Config()


def test_the_memo_block_is_literal_in_its_order() -> None:
    block = content("config.yaml")["improvements"]
    assert block == IMPROVEMENTS
    assert list(block) == list(IMPROVEMENTS) == list(ImprovementsConfig.model_fields)
    assert ImprovementsConfig().model_dump() == IMPROVEMENTS


def test_production_is_the_memo_block_and_changes_no_default() -> None:
    assert content("train/production.yaml") == PRODUCTION
    config = load_config(["config=atft/train/production"])
    assert config.horizon_weights == Config().horizon_weights == (1.0, 0.8, 0.7, 0.5, 0.3)
    default_weights = {"multi_horizon_weights": None}
    assert config.model_copy(update={"loss": config.loss.model_copy(update=default_weights)}) == Config()


def test_the_levers_of_the_memo_are_keys() -> None:
    config = load_config(["gradient_checkpointing=true", "warmup_steps=2000", "optimizer.lr=0.0008", "batch_size=4"])
    assert (config.gradient_checkpointing, config.warmup_steps, config.batch_size) == (True, 2000, 4)
    assert config.optimizer.lr == pytest.approx(0.8 * Config().optimizer.lr)
    assert Config().warmup_steps == 1500


def test_config_full_switches_everything_on_and_nothing_else() -> None:
    full = load_config(["config=atft/config_full"])
    on = {name for name, value in full.improvements.model_dump().items() if value != IMPROVEMENTS[name]}
    assert on == IMPROVEMENTS.keys()
    assert resolve(full).loggers == ("jsonl", "tensorboard", "wandb")
    assert full.model_copy(update={"improvements": ImprovementsConfig()}) == Config()


def test_config_full_has_every_line_of_the_block_in_the_memo_order() -> None:
    block = content("config_full.yaml")["improvements"]
    assert list(block) == list(IMPROVEMENTS)
    assert block["gat_temperature"] == 0.8  # of the memo's troubleshooting


def test_config_full_copied_over_config_is_the_switch_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(TREE, tmp_path / "configs" / "atft")
    full = load_config(["config=atft/config_full"])
    shutil.copy(tmp_path / "configs/atft/config_full.yaml", tmp_path / "configs/atft/config.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_config() == full
    assert load_config(["~improvements"]) == Config()


@pytest.mark.parametrize(
    ("phase", "switched"),
    [
        ("day1_2", {"output_head_small_init", "huber_loss"}),
        ("day3_4", {"output_head_small_init", "huber_loss", "use_ema", "online_normalization"}),
        ("day5_7", set(IMPROVEMENTS) - {"gat_temperature"}),
    ],
)
def test_the_phases_add_up(phase: str, switched: set[str]) -> None:
    for argument in (f"phase={phase}", f"+phase={phase}", f"config=atft/phase/{phase}"):
        config = load_config([argument])
        on = {name for name, value in config.improvements.model_dump().items() if value != IMPROVEMENTS[name]}
        assert on == switched
        assert config.model_copy(update={"improvements": ImprovementsConfig()}) == Config()


def test_the_phase_files_are_the_memo_blocks() -> None:
    blocks = [content(f"phase/{name}.yaml")["improvements"] for name in ("day1_2", "day3_4", "day5_7")]
    assert blocks == [
        {"output_head_small_init": True, "gat_temperature": 1.0, "huber_loss": True},
        {"use_ema": True, "online_normalization": True},
        {"freq_dropout_p": 0.1, "enable_wandb": True, "auto_recover_oom": True},
    ]


def test_the_nasdaq_panel_has_its_usual_split_and_needs_its_path() -> None:
    config = load_config(["data=nasdaq", "data.source=panel.parquet"])
    assert (str(config.data.start), str(config.split.train_end), str(config.split.valid_end)) == (
        "2012-01-01",
        "2015-12-31",
        "2016-12-31",
    )
    assert config.labels.transform == "rank"


def test_what_a_user_writes_into_config_yaml_beats_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(TREE, tmp_path / "configs" / "atft")
    primary = tmp_path / "configs/atft/config.yaml"
    primary.write_text(primary.read_text() + "\ndata:\n  source: mine.parquet\n")
    monkeypatch.chdir(tmp_path)
    assert load_config().data.source == "mine.parquet"
    assert load_config(["data=nasdaq"]).data.source == "mine.parquet"


def test_no_group_shadows_the_improvements_block() -> None:
    assert not (TREE / "improvements").exists()
    assert config_tree() == TREE.resolve()

"""The commands of the migration memo, verbatim, from the repository root."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODEL = """
from src.atft_gat_fan.models.architectures.atft_gat_fan import ATFT_GAT_FAN
config = {'model': {'hidden_size': 64}, 'data': {...}}
model = ATFT_GAT_FAN(config)
print('Model created successfully')
"""
SETTINGS = """
from src.utils.settings import get_settings
config = get_settings()
print('Configuration loaded:', config.__dict__.keys())
"""
ONE_CLASS = """
from src.atft_gat_fan.models.architectures.atft_gat_fan import ATFT_GAT_FAN as through_src
from atft_gat_fan.models.architectures.atft_gat_fan import ATFT_GAT_FAN as installed
print(through_src is installed)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_model_of_the_memo_is_created() -> None:
    result = python("-c", MODEL)
    assert result.stdout == "Model created successfully\n", result.stderr


def test_the_model_is_one_class_under_both_names() -> None:
    result = python("-c", ONE_CLASS)
    assert result.stdout == "True\n", result.stderr


def test_the_settings_of_the_memo_are_loaded() -> None:
    result = python("-c", SETTINGS)
    assert result.stdout.startswith("Configuration loaded: dict_keys(["), result.stderr
    for section in ("improvements", "loss", "ema", "grad_scaler", "data", "model"):
        assert f"'{section}'" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "weights"),
    [([], "multi_horizon_weights: null"), (["config=atft/train/production"], "multi_horizon_weights:\n    - 1.0\n")],
)
def test_the_trainer_of_the_memo_is_atft_train(arguments: list[str], weights: str) -> None:
    result = python("src/training/integrated_trainer.py", *arguments, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("run: runs/atft-")
    assert weights in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "arms"),
    [
        (["--config", "configs/atft/config.yaml"], "arm       use_ema"),
        pytest.param(["--full-test"], "arm       all-minus-use_ema", marks=pytest.mark.exhaustive),
    ],
)
def test_the_validation_of_the_memo_is_atft_validate(arguments: list[str], arms: str) -> None:
    result = python("scripts/validate_improvements.py", *arguments, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert arms in result.stdout
    assert "to go" in result.stdout


def test_the_validation_of_the_memo_has_the_exit_codes() -> None:
    assert python("scripts/validate_improvements.py", "--gate", "nothing").returncode == 78


def test_the_trainer_of_the_memo_has_the_exit_codes() -> None:
    result = python("src/training/integrated_trainer.py", "improvements.gat_temperature=0")
    assert result.returncode == 78
    assert result.stderr.startswith("error: improvements.gat_temperature: expected greater than 0")


@pytest.mark.slow
def test_the_smoke_test_of_the_memo_passes() -> None:
    result = python("scripts/smoke_test.py")
    assert result.returncode == 0, result.stderr
    assert "passed" in result.stdout


@pytest.mark.parametrize(
    "door",
    [
        "src/training/integrated_trainer.py",
        "src/utils/settings.py",
        "scripts/smoke_test.py",
        "scripts/validate_improvements.py",
    ],
)
def test_a_door_is_a_few_lines_and_shadows_no_module(door: str) -> None:
    path = ROOT / door
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    # `python path/to/file.py` puts the file's folder first on sys.path.
    beside = {other.stem for other in path.parent.iterdir() if other.suffix == ".py" or other.is_dir()}
    assert not beside & (set(sys.stdlib_module_names) | {"atft_gat_fan", "torch", "hydra", "typer", "rich"})

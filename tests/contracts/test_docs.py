"""What the documentation names exists: tests, keys and files."""

import ast
import re
from pathlib import Path

import pytest

from atft_gat_fan.config.names import known_keys
from atft_gat_fan.config.schema import Config, ImprovementsConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
KEY = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)(?:[:=] ?[^`]*)?`")
FORMATS = ROOT / "docs" / "file_formats.md"
"""Its keys are those of files (tests/integration/test_file_formats.py)."""
FILES = (".json", ".html")
SECTIONS = set(Config.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_a_page_names_exists(page: Path) -> None:
    for file, name in TEST.findall(page.read_text()):
        assert (ROOT / file).is_file(), file
        defined = {
            node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert name in defined, f"{file} has no {name}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != FORMATS], ids=lambda page: page.name)
def test_every_key_a_page_names_exists(page: Path) -> None:
    named = {key for key in KEY.findall(page.read_text()) if key.split(".")[0] in SECTIONS}
    assert {key for key in named if not key.endswith(FILES)} <= set(known_keys())


def test_the_improvements_page_has_every_switch_and_every_lever_of_the_memo() -> None:
    page = (ROOT / "docs" / "improvements.md").read_text()
    for name in ImprovementsConfig.model_fields:
        assert f"improvements.{name}" in page
    for lever in (
        "gradient_checkpointing", "batch_size", "warmup_steps", "optimizer.lr", "early_stopping.patience", "scheduler",
        "seed", "grad_scaler.init_scale", "accumulate_grad_batches", "amp", "data.num_workers",
    ):  # fmt: skip
        row = [line for line in page.splitlines() if line.startswith("|") and f"`{lever}" in line]
        assert row, lever
        assert all(TEST.search(line) for line in row), lever

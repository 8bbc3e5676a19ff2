"""What docs/python.md shows runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.runs.ranker import ATFTRanker
from atft_gat_fan.runs.ranker_arguments import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


@pytest.mark.slow
def test_its_code_runs(tmp_path: Path) -> None:
    synthetic_panel(SyntheticConfig(num_stocks=12, num_days=330)).write_parquet(tmp_path / "panel.parquet")
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rank_1d" in done.stdout
    assert done.stderr == ""
    assert (tmp_path / "models" / "today" / "model" / "weights.safetensors").exists()


def test_it_has_every_parameter_with_its_key() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for name in ATFTRanker().get_params():
        assert f"`{name}`" in rows, name
    for name, key in KEYS.items():
        assert name == "model" or f"`{key}`" in rows, key

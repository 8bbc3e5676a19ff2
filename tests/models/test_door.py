"""The import path of the migration memo, from the repository root and installed, leads to one class."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
from src.atft_gat_fan.models.architectures.atft_gat_fan import ATFT_GAT_FAN
from atft_gat_fan.models.architectures.atft_gat_fan import ATFT_GAT_FAN as installed
import torch
assert ATFT_GAT_FAN is installed
model = ATFT_GAT_FAN({'model': {'hidden_size': 64}, 'data': {...}})
spec = model.spec
scores = model(torch.zeros(2, spec.window, spec.num_features))
print(*scores["predictions"])
"""


def test_memo_import_works_from_the_repository_root() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "horizon_1d horizon_2d horizon_3d horizon_5d horizon_10d"

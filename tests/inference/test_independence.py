"""Inference needs a bundle and the library: neither Hydra nor the training."""

import subprocess
import sys

FOREIGN = ("hydra", "omegaconf", "lightning_fabric", "atft_gat_fan.training", "lightgbm", "sklearn", "matplotlib")


def test_predicting_imports_no_training_code() -> None:
    """What a command imports, it imports at its beginning; `tests/integration/test_prediction.py` watches it run."""
    program = (
        "import sys, atft_gat_fan.inference.bundle, atft_gat_fan.runs.predict\n"
        f"print([name for name in {FOREIGN!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

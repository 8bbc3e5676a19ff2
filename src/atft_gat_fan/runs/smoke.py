"""The smoke test: data, model, one training step, save, load, predict, in seconds; any failure is an error."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import AtftError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.bundle import load_bundle
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.run_files import BUNDLE, PREDICTIONS, REPORT, read_metrics
from atft_gat_fan.runs.train import train


def smoke(console: Console) -> None:
    """Run the whole chain once on a small synthetic market. Raises AtftError at the first thing that is not so."""
    quiet = Console(file=console.file, quiet=True)
    with tempfile.TemporaryDirectory(prefix="atft-smoke-") as folder:
        overrides = [
            "data=synthetic", "model=small", "data.synthetic.num_stocks=12", "data.synthetic.num_days=260",
            "train.max_steps=1", "evaluation.baselines=[reversal,ridge]", "split.purge=11",
            f"data.cache={folder}/cache", f"run.dir={folder}/run",
        ]  # fmt: skip
        config = load_config(overrides)
        run = Path(folder) / "run"

        assembly = assemble(config, lambda stage, share: None)
        batch = assembly.to_device(assembly.batch(*assembly.blocks(epoch=0)[0]), torch.device("cpu"))
        _check(console, "data: finite features, labels present", _finite(batch.features) and _known(batch.labels))
        untrained = build_model(assembly)
        with torch.no_grad():
            scores = untrained.forecast(batch).point
        _check(
            console, "model: finite scores of the right shape", scores.shape == batch.labels.shape and _finite(scores)
        )

        train(config, quiet)
        trained = load_bundle(run / BUNDLE).model
        moved = any(not torch.equal(a, b) for a, b in zip(untrained.parameters(), trained.parameters(), strict=True))
        _check(console, "train: one step moved the weights", moved and read_metrics(run)["train"]["steps"] == 1)
        _check(console, "evaluate: metrics and report written", (run / REPORT).stat().st_size > 0)

        out = Path(folder) / "scores.parquet"
        predict([run], "synthetic", AskedDays(), out, quiet)
        evaluated = pl.read_parquet(run / PREDICTIONS)
        again = pl.read_parquet(out).join(evaluated.select("date", "code"), on=["date", "code"], maintain_order="right")
        same = again.height == evaluated.height and np.array_equal(again["horizon_1d"], evaluated["horizon_1d"])
        _check(console, "predict: the loaded model repeats the evaluated scores bit for bit", same)


def _finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _known(labels: torch.Tensor) -> bool:
    return bool(torch.isfinite(labels).any())


def _check(console: Console, what: str, holds: bool) -> None:
    if not holds:
        raise AtftError(f"smoke test failed: expected {what}, found otherwise; run `make test` for the cause")
    console.print(f"ok  {what}", highlight=False)

"""Models and panels for the tests of predictions: random weights do, for who sees the same says the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.bundle import write_bundle
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.predict import predict


def untrained_run(folder: Path, panel: pl.DataFrame, *overrides: str) -> Path:
    """A folder with a model of random weights in it, whose inputs are made as a training on `panel` would."""
    folder.mkdir(parents=True)
    panel.write_parquet(folder / "then.parquet")
    config = load_config(
        [
            "model=small",
            f"data.source={folder / 'then.parquet'}",
            f"data.cache={folder / 'cache'}",
            "data.horizons=[1,5]",
            "run.num_threads=1",
            *overrides,
        ]
    )
    assembly = assemble(config, lambda stage, share: None)
    made = assembly.store.metadata["features"]
    features = assembly.normalizer.feature_names if made == "panel" else made
    write_bundle(
        folder / "model",
        model=build_model(assembly),
        data=config.data.model_copy(update={"features": features}),
        graph=config.graph,
        normalizer=assembly.normalizer,
        static_categories=assembly.store.static_categories,
        training={},
    )
    return folder


def predicted(
    runs: Path | Sequence[Path], panel: pl.DataFrame | Path, asked: AskedDays, folder: Path
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table that a prediction writes, with an empty cache, and what it tells."""
    folder.mkdir(parents=True, exist_ok=True)
    source = panel
    if isinstance(panel, pl.DataFrame):
        source = folder / "now.parquet"
        panel.write_parquet(source)
    runs = [runs] if isinstance(runs, Path) else runs
    out = folder / "scores.parquet"
    facts = predict(runs, str(source), asked, out, Console(quiet=True), folder / "cache")
    return pl.read_parquet(out), facts

"""Staged rows are the panel's, whatever order they came in, and are read from the source once."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import DataConfig, SyntheticConfig
from atft_gat_fan.data import panel_staging
from atft_gat_fan.data.panel import Panel, open_panel
from atft_gat_fan.data.panel_staging import STRETCH_DAYS, StagedRows, stage
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.sources.synthetic import synthetic_panel

NUM_DAYS = 200


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    monkeypatch.setattr(panel_staging, "CHUNK_ROWS", 300)
    rng = np.random.default_rng(0)
    frame = synthetic_panel(SyntheticConfig(num_stocks=9, num_days=NUM_DAYS)).sort("Code", "Date")
    frame = frame.with_columns(pl.Series(f"x{i}", rng.normal(size=frame.height)) for i in range(40))
    frame.with_columns(pl.when(pl.col("x0") > 0).then("x0").alias("x0")).write_parquet(tmp_path / "panel.parquet")
    settings = DataConfig(source=str(tmp_path / "panel.parquet"))
    return open_panel(settings, open_source(settings), lambda share: None)


def staged(panel: Panel, folder: Path, days: slice, feature_days: slice) -> tuple[StagedRows, list[float]]:
    needed = [np.zeros(NUM_DAYS, bool) for _ in range(2)]
    for marks, which in zip(needed, (days, feature_days), strict=True):
        marks[which] = True
    shares: list[float] = []
    return stage(panel, folder, *needed, shares.append), shares


def test_rows_come_back_as_they_were(panel: Panel, tmp_path: Path) -> None:
    rows, shares = staged(panel, tmp_path / "rows", slice(0, NUM_DAYS), slice(0, NUM_DAYS))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    expected = panel.rows.collect().sort("date", "code")
    assert [name for group in rows.groups for name in group] == [*panel.parts, *panel.features]
    for first, stop in ((0, NUM_DAYS), (50, 70), (STRETCH_DAYS, STRETCH_DAYS + 1)):
        within = expected.filter(pl.col("date").is_between(panel.days[first], panel.days[stop - 1]))
        for position, names in enumerate(rows.groups):
            found = rows.read(position, first, stop)
            assert [panel.codes[code] for code in found["code"]] == within["code"].to_list()
            assert found["date"].equals(within["date"])
            own = within.select(names)
            if position:
                own = own.select(pl.all().cast(pl.Float32).fill_null(float("nan")))
            assert found.select(names).equals(own)


def test_only_the_days_needed_are_staged(panel: Panel, tmp_path: Path) -> None:
    staged(panel, tmp_path / "rows", slice(60, 140), slice(130, 140))
    assert sorted(file.name for file in (tmp_path / "rows").iterdir()) == [
        "000-00000.arrow",
        "000-00001.arrow",
        "000-00002.arrow",
        "001-00002.arrow",
        "002-00002.arrow",
        "003-00002.arrow",
    ]


def test_what_is_staged_is_staged_again_only_where_more_is_needed(panel: Panel, tmp_path: Path) -> None:
    assert staged(panel, tmp_path / "rows", slice(0, 70), slice(0, 10))[1]
    assert not staged(panel, tmp_path / "rows", slice(0, 70), slice(0, 10))[1]
    assert not staged(panel, tmp_path / "rows", slice(64, 128), slice(5, 64))[1]
    assert staged(panel, tmp_path / "rows", slice(0, 70), slice(0, 70))[1]

"""A trained run is monitored on its own later days: the files it leaves, and what a scheduler sees of it."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.monitoring.result import FORMAT, MonitorResult
from atft_gat_fan.runs.evaluate import evaluate_run
from atft_gat_fan.runs.monitor import Request, monitor, monitor_config
from atft_gat_fan.runs.train import train
from tests.chromium import browser

pytestmark = pytest.mark.slow
QUICK = ("monitor.days=20", "monitor.num_resamples=100", "monitor.rank_ic_days=30")
LATER = 60
"""Days that the training did not see."""
PRICES = ("Open", "High", "Low", "Close")


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=12, num_days=330, signal=0.4))


@pytest.fixture(scope="module")
def folder(panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and beside it the panel that it was trained on and the one with later days."""
    folder = tmp_path_factory.mktemp("monitor")
    panel.write_parquet(folder / "newer.parquet")
    last = panel["Date"].unique().sort()[-LATER - 1]
    panel.filter(pl.col("Date") <= last).write_parquet(folder / "panel.parquet")
    config = load_config(
        [
            "model=small", "batch_size=16", "train.max_steps=3", "run.num_threads=1", "data.horizons=[1,2]",
            "evaluation.baselines=[reversal]", "compile=false", "train.tensorboard=false",
            f"data.source={folder / 'panel.parquet'}", f"data.cache={folder / 'cache'}", f"run.dir={folder / 'run'}",
        ]
    )  # fmt: skip
    train(config, quiet())
    return folder


def monitored(folder: Path, panel: str = "newer.parquet", **keywords) -> MonitorResult:
    request = Request(folder / "run", str(folder / panel), **{"overrides": QUICK, **keywords})
    return monitor(request, quiet())


@pytest.fixture(scope="module")
def result(folder: Path) -> MonitorResult:
    return monitored(folder, fail_on=("psi>1000", "stocks>0"))


def test_it_leaves_a_file_that_says_all_and_a_page(folder: Path, result: MonitorResult, panel: pl.DataFrame) -> None:
    written = json.loads((folder / "run" / "monitor" / "monitor.json").read_text())
    assert MonitorResult.from_json(written) == result
    assert written["format"] == FORMAT
    assert {"psi", "families", "stability", "rank_ic", "memory", "alarms", "days", "reference", "gates"} <= set(written)
    days = panel["Date"].unique().sort()
    assert result.days[-1] == str(days[-1])
    assert len(result.days) == 39
    assert result.long_days == 20
    assert set(result.families) == {"raw_features", "standardised_features", "predictions"}
    assert not any(family.unavailable for family in result.families.values())
    assert result.rank_ic["2d"].days[-1] == str(days[-3]), "the labels of the last two days have not matured"
    assert result.reference.days >= 20
    assert result.reference.last < result.days[0]
    page = (folder / "run" / "monitor" / "monitor.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_gates_are_checked(result: MonitorResult) -> None:
    assert [gate.failed for gate in result.gates] == [False, True]


def test_the_page_of_a_run_is_sound_in_a_browser(folder: Path, result: MonitorResult) -> None:
    with browser() as chromium:
        shown = chromium.open(folder / "run" / "monitor" / "monitor.html")
    assert shown.faults() == []
    assert len(shown.charts) > 10
    assert str(result.days[-1]) in shown.text


@pytest.fixture
def without_page(result: MonitorResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page was looked at once, and takes longer than the rest."""
    monkeypatch.setattr("atft_gat_fan.runs.monitor.build_dashboard", lambda result, history: "")


@pytest.mark.usefixtures("without_page")
def test_the_history_grows_by_a_run_and_not_by_days_it_had(folder: Path, result: MonitorResult) -> None:
    before = pl.read_parquet(folder / "run" / "monitor" / "history.parquet")
    again = monitored(folder)
    after = pl.read_parquet(folder / "run" / "monitor" / "history.parquet")
    assert len(again.memory.readings) == len(result.memory.readings) + 1
    assert after.filter(pl.col("day").is_not_null()).height == before.filter(pl.col("day").is_not_null()).height
    assert again.families == result.families, "the same days give the same numbers"
    assert again.memory.now.peak_bytes >= again.memory.now.post_step_min_bytes > 0


@pytest.mark.usefixtures("without_page")
def test_what_is_to_come_changes_no_day_before(folder: Path, result: MonitorResult, panel: pl.DataFrame) -> None:
    days = panel["Date"].unique().sort()
    later = pl.col("Date") > days[-11]
    panel.with_columns(pl.when(later).then(pl.col(*PRICES) * 5).otherwise(pl.col(*PRICES))).write_parquet(
        folder / "other_future.parquet"
    )
    other = monitored(folder, "other_future.parquet", out=folder / "other_future")
    assert other.days == result.days
    for family in ("raw_features", "predictions", "standardised_features"):
        one, two = ({shift.name: shift.excess for shift in each.families[family].shifts} for each in (result, other))
        assert all(one[name][:-10] == two[name][:-10] for name in one)
    changed = {shift.name: shift.excess[-1] for shift in other.families["raw_features"].shifts}
    assert changed["ROC_1"] != next(s for s in result.families["raw_features"].shifts if s.name == "ROC_1").excess[-1]
    assert other.rank_ic["1d"].daily[:10] == result.rank_ic["1d"].daily[:10]


@pytest.mark.usefixtures("without_page")
def test_a_vendor_who_changes_the_unit_of_volume_is_seen(folder: Path, panel: pl.DataFrame) -> None:
    days = panel["Date"].unique().sort()
    changed = pl.when(pl.col("Date") > days[-6]).then(pl.col("Volume") * 1000).otherwise(pl.col("Volume"))
    panel.with_columns(changed.cast(pl.Float64).alias("Volume")).write_parquet(folder / "units.parquet")
    found = monitored(folder, "units.parquet", out=folder / "units")
    raw = {shift.name: shift for shift in found.families["raw_features"].shifts}
    assert raw["VMA_20"].alarm
    assert raw["VMA_20"].since >= str(days[-5])
    assert any(alarm.name == "VMA_20" and alarm.what == "raw_features" for alarm in found.alarms)


@pytest.mark.usefixtures("without_page")
def test_a_bundle_without_a_reference_gets_one_by_evaluating(folder: Path, result: MonitorResult) -> None:
    kept = {
        name: (folder / "run" / "model" / name).read_bytes() for name in ("reference.json", "reference.safetensors")
    }
    for name in kept:
        (folder / "run" / "model" / name).unlink()
    with pytest.raises(StorageError, match="atft evaluate RUN"):
        monitored(folder)
    evaluate_run(folder / "run", "test", quiet())
    for name, content in kept.items():
        assert (folder / "run" / "model" / name).read_bytes() == content


def test_only_its_own_keys_may_be_given(folder: Path) -> None:
    assert monitor_config(folder / "run", ("monitor.days=7",)).days == 7
    assert monitor_config(folder / "nowhere", ()).days == 60
    with pytest.raises(ConfigError, match="expected keys of monitor"):
        monitor_config(folder / "run", ("seed=1",))
    with pytest.raises(ConfigError, match=r"monitor\.dayz.*monitor\.days"):
        monitor_config(folder / "run", ("monitor.dayz=7",))
    with pytest.raises(ConfigError, match="short_days <= days"):
        monitor_config(folder / "run", ("monitor.days=3",))

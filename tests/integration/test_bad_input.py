"""Bad input ends in one clear message and the right exit code: no traceback, nothing half-written."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

CLOSE = pl.col("Close")


def with_close(value: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """The panel with this close in its first row."""
    first = pl.int_range(pl.len()) == 0
    return lambda panel: panel.with_columns(pl.when(first).then(value).otherwise(CLOSE).alias("Close"))


def one_horizon(panel: pl.DataFrame) -> pl.DataFrame:
    return panel.select("Code", "Date", x="Volume", target_1d="Close")


BROKEN_PANELS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], list[str], list[str]]] = {
    "duplicates": (lambda p: pl.concat([p, p.head(2)]), [], ["duplicate", "S0"]),
    "infinite price": (with_close(float("inf")), [], ["Close", "infinite"]),
    "negative price": (with_close(-1.0), [], ["Close", "positive"]),
    "numbers as text": (lambda p: p.with_columns(CLOSE.cast(pl.String)), [], ["Close", "text"]),
    "missing column": (lambda p: p.drop("Code"), [], ["Code"]),
    "missing horizon": (one_horizon, ["data.horizons=[1,5]"], ["target_5d"]),
    "no rows": (lambda p: p.head(0), [], ["row"]),
    "empty split": (lambda p: p, ["split.train_end=2030-01-01"], ["validation", "split.train_end"]),
}


@pytest.fixture
def train(atft, small: list[str], tmp_path: Path):
    """`atft train` on a panel of the test's folder."""

    def call(source: Path, *more: str):
        places = [f"data.source={source}", f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / 'run'}"]
        return atft("train", *small, *places, *more)

    return call


def assert_refused(result, code: int, words: list[str]) -> None:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word.lower() in result.err.lower(), f"{word!r} is not in: {result.err}"


@pytest.mark.parametrize("name", BROKEN_PANELS)
def test_a_broken_panel_is_refused_by_name(train, panel: pl.DataFrame, tmp_path: Path, name: str):
    breaking, overrides, words = BROKEN_PANELS[name]
    source = tmp_path / "broken.parquet"
    breaking(panel).write_parquet(source)
    assert_refused(train(source, *overrides), 65, words)
    if name != "empty split":
        assert not any((tmp_path / "cache").glob("*")), "a store was left behind"


def test_all_problems_come_in_one_report(atft, panel: pl.DataFrame, tmp_path: Path):
    source = tmp_path / "broken.parquet"
    bad = with_close(-1.0)(panel)
    pl.concat([bad, bad.tail(1)]).write_parquet(source)
    assert_refused(atft("data", "check", str(source)), 65, ["duplicate", "positive"])


def test_a_file_that_is_no_parquet_is_refused(train, tmp_path: Path):
    source = tmp_path / "panel.parquet"
    source.write_text("Date,Code,Close\n")
    assert_refused(train(source), 65, ["panel.parquet", "Parquet"])


def test_a_missing_source_is_refused(train, tmp_path: Path):
    assert_refused(train(tmp_path / "nowhere.parquet"), 65, ["nowhere.parquet"])


def test_an_unwritable_run_folder_is_refused(train, panel: pl.DataFrame, tmp_path: Path):
    source = tmp_path / "panel.parquet"
    panel.write_parquet(source)
    (tmp_path / "file").write_text("")
    result = train(source, f"run.dir={tmp_path / 'file' / 'run'}")
    assert_refused(result, 74, [str(tmp_path / "file"), "run.dir"])


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("train.max_stpes=3", ["train.max_stpes", "train.max_steps"]),
        ("optimizer.lr=fast", ["optimizer.lr", "fast"]),
        ("data.horizons=[5,1]", ["horizons"]),
        ("data=nasdaq", ["data.source"]),
        ("recovery.rollback_lr=2", ["recovery.rollback_lr", "less than or equal to 1"]),
    ],
)
def test_a_bad_configuration_is_refused(atft, tmp_path: Path, argument: str, words: list[str]):
    assert_refused(atft("train", argument, cwd=tmp_path), 78, words)


def test_what_is_merely_odd_is_handled_and_said(train, panel: pl.DataFrame, tmp_path: Path):
    """Rows in any order, one-stock days, calendar gaps, constant and empty columns."""
    days = panel["Date"].unique().sort()
    lonely, missing = days[100], days[150:160]
    odd = (
        panel.filter(~pl.col("Date").is_in(missing.implode()))
        .filter((pl.col("Date") != lonely) | (pl.col("Code") == panel.filter(Date=lonely)["Code"][0]))
        .with_columns(
            x=pl.col("Close") / pl.col("Open") - 1,
            constant=pl.lit(1.0),
            empty=pl.lit(None, dtype=pl.Float64),
            target_1d=(pl.col("Close").shift(-1).over("Code", order_by="Date") / CLOSE - 1),
        )
        .sample(fraction=1.0, shuffle=True, seed=1)
    )
    odd.write_parquet(tmp_path / "odd.parquet")
    features = "data.features=[x,constant,empty]"
    overrides = ["data.horizons=[1]", "train.max_steps=2", "evaluation.baselines=[reversal]", features]
    result = train(tmp_path / "odd.parquet", *overrides)
    assert result.code == 0, result.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "constant (constant)" in page
    assert "empty (empty)" in page
    strict = train(tmp_path / "odd.parquet", *overrides, "data.strict=true", f"run.dir={tmp_path / 'strict'}")
    assert_refused(strict, 65, ["constant", "empty", "data.strict"])

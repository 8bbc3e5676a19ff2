"""The facade is the tool in Python: the same bits, scikit-learn's habits, and nothing left that nobody asked for."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from atft_gat_fan import ATFTRanker
from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, DataError, StorageError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.train import train
from tests.runs.tiny import TINY, quiet

HORIZONS = (1, 2)
COLUMNS = ["date", "code", "horizon_1d", "horizon_2d", "rank_1d", "rank_2d"]


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=12, num_days=330))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def make(cache: Path) -> Callable[..., ATFTRanker]:
    """A ranker of seconds."""
    keys = {key: value for key, value in TINY.items() if key not in ("data.horizons", "run.num_threads")}

    def make(**parameters: Any) -> ATFTRanker:
        return ATFTRanker(
            **{"horizons": HORIZONS, "seed": 1, "num_threads": 1, **parameters},
            overrides={**keys, "data.cache": str(cache)},
        )

    return make


@pytest.fixture(scope="module")
def fitted(make: Callable[..., ATFTRanker], panel: pl.DataFrame) -> ATFTRanker:
    return make().fit(panel)


def bits(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_it_trains_and_predicts_the_bits_of_the_tool(fitted, panel: pl.DataFrame, tmp_path: Path) -> None:
    panel.write_parquet(tmp_path / "panel.parquet")
    keys = [f"{key}={json.dumps(value)}" for key, value in TINY.items()]
    places = [f"data.source={tmp_path / 'panel.parquet'}", f"data.cache={tmp_path}", f"run.dir={tmp_path / 'run'}"]
    run = train(load_config([*keys, *places, "seed=1"]), quiet())
    predict([run], str(tmp_path / "panel.parquet"), AskedDays(), tmp_path / "scores.parquet", quiet())
    expected = pl.read_parquet(tmp_path / "scores.parquet")
    assert bits(fitted.run_) == bits(run)
    assert fitted.metrics_["test"] == json.loads((run / "metrics.json").read_text())["test"]
    assert expected.columns == COLUMNS
    assert fitted.predict(panel).equals(expected)
    assert fitted.predict(tmp_path / "panel.parquet").equals(expected)


def test_pandas_in_pandas_out(fitted, panel: pl.DataFrame) -> None:
    day = panel["Date"].unique().sort()[-10]
    scores = fitted.predict(panel.to_pandas().sample(frac=1, random_state=0).set_index(["Date", "Code"]), first=day)
    assert type(scores).__module__.startswith("pandas")
    assert pl.from_pandas(scores).with_columns(pl.col("date").cast(pl.Date)).equals(fitted.predict(panel, first=day))


def test_days_are_chosen_as_by_the_tool(fitted, panel: pl.DataFrame) -> None:
    everything = fitted.predict(panel)
    days = everything["date"].unique().sort()
    day, last = days[-30], days[-1]
    for given in (str(day), panel.filter(Date=day).to_pandas()["Date"].iloc[0]):
        assert fitted.predict(panel, given).equals(everything.filter(date=day))
    assert fitted.predict(panel, "newest").equals(everything.filter(date=last))
    within = everything.filter(pl.col("date").is_between(day, days[-20]))
    assert fitted.predict(panel, first=day, last=str(days[-20])).equals(within)
    with pytest.raises(ConfigError, match="one day or a range"):
        fitted.predict(panel, day, last=last)
    with pytest.raises(ConfigError, match="a date such as"):
        fitted.predict(panel, "11.12.2017")
    with pytest.raises(DataError, match="2100-01-01"):
        fitted.predict(panel, date(2100, 1, 1))


def test_days_to_come_change_no_score(fitted, panel: pl.DataFrame) -> None:
    day = panel["Date"].unique().sort()[-40]
    doubled = pl.when(pl.col("Date") > day).then(pl.col("Close") * 2).otherwise(pl.col("Close"))
    future = panel.with_columns(doubled.alias("Close"), High=pl.col("High") * 2)
    assert not future.equals(panel)
    past = future.with_columns(High=pl.when(pl.col("Date") > day).then(pl.col("High")).otherwise(pl.col("High") / 2))
    asked = {"first": panel["Date"].unique().sort()[-60], "last": day}
    assert fitted.predict(past, **asked).equals(fitted.predict(panel, **asked))


def test_a_panel_is_evaluated_on_what_the_model_has_not_seen(fitted, panel: pl.DataFrame) -> None:
    own = fitted.evaluate()
    assert own == fitted.metrics_["test"]
    assert fitted.evaluate(split="valid") == fitted.metrics_["valid"]
    measured = fitted.evaluate(panel)  # which is the run's own: its test days, without an embargo
    for key in ("days", "rank_ic", "rank_ic_skip1", "rank_ic_t", "icir", "portfolio"):
        assert measured[key] == own[key], key
    last_seen = json.loads((fitted.run_ / "model" / "model.json").read_text())["training"]["valid_days"][1]
    after = panel["Date"].unique().sort().filter(panel["Date"].unique().sort() > date.fromisoformat(last_seen))
    with pytest.raises(DataError, match="the last day that the model was chosen on"):
        fitted.evaluate(panel.filter(pl.col("Date") <= after[1]))  # labels of validation days reach there
    with pytest.raises(DataError, match="found none"):
        fitted.evaluate(panel.filter(pl.col("Date") < after[0]))
    with pytest.raises(ConfigError, match="a panel or a split"):
        fitted.evaluate(panel, split="valid")


@pytest.mark.slow
def test_what_is_saved_loads_predicts_and_trains_the_same(
    fitted, panel: pl.DataFrame, cache: Path, tmp_path: Path
) -> None:
    saved = fitted.save(tmp_path / "model")
    assert sorted(file.name for file in saved.iterdir()) == ["config.yaml", "metrics.json", "model"]
    loaded = ATFTRanker.load(saved)
    assert loaded.predict(panel, "newest").equals(fitted.predict(panel, "newest"))
    assert (loaded.features_, loaded.horizons_, loaded.fingerprint_) == (
        fitted.features_, fitted.horizons_, fitted.fingerprint_
    )  # fmt: skip
    assert loaded.metrics_ == fitted.metrics_
    assert loaded.evaluate() == fitted.evaluate()
    kept = sorted([*(cache / "frames").iterdir(), *cache.glob("panel-*")])
    assert bits(clone(loaded).fit(panel.clone()).run_) == bits(fitted.run_)
    assert sorted([*(cache / "frames").iterdir(), *cache.glob("panel-*")]) == kept, "the same frame, the same store"
    with pytest.raises(StorageError, match="expected nothing there"):
        fitted.save(saved)


def test_a_save_that_fails_leaves_nothing(fitted, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot save the model"):
        fitted.save(tmp_path / "file" / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_damaged_model_is_refused_by_name(fitted, tmp_path: Path) -> None:
    saved = fitted.save(tmp_path / "model")
    weights = saved / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        ATFTRanker.load(saved)
    with pytest.raises(StorageError, match="expected a trained model"):
        ATFTRanker.load(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_kept_fit_is_taken_over_and_only_of_the_same_data_and_keys(make, panel: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "panel.parquet"
    panel.write_parquet(file)
    ranker = make(run_dir=tmp_path / "run").fit(file)
    events = (tmp_path / "run" / "events.jsonl").read_bytes()
    assert make(run_dir=tmp_path / "run").fit(file).run_ == ranker.run_ == tmp_path / "run"
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == events
    with pytest.raises(ConfigError, match=r"seed: 1 there, 2 now"):
        make(run_dir=tmp_path / "run", seed=2).fit(file)
    panel.with_columns(pl.col("Close") * 1.5, pl.col("High") * 1.5).write_parquet(file)
    with pytest.raises(ConfigError, match="a finished one of other data"):
        make(run_dir=tmp_path / "run").fit(file)
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == events


def test_predicting_leaves_nothing_behind(fitted, panel: pl.DataFrame, cache: Path) -> None:
    """Each day's panel is another: a cache would fill up with them."""
    before = sorted(str(file) for file in cache.rglob("*"))
    fitted.predict(panel.with_columns(pl.col("Volume") * 2))
    assert sorted(str(file) for file in cache.rglob("*")) == before


def test_it_is_quiet_unless_told_otherwise(fitted, panel: pl.DataFrame, capfd: pytest.CaptureFixture[str]) -> None:
    fitted.predict(panel, "newest")
    assert capfd.readouterr() == ("", "")
    fitted.set_params(verbose=True).predict(panel, "newest")
    fitted.set_params(verbose=False)
    out, err = capfd.readouterr()
    assert (out, "score" in err) == ("", True)


def test_parameters_are_those_of_the_constructor() -> None:
    ranker = ATFTRanker(horizons=(1, 5), overrides={"optimizer.lr": 0.002})
    assert ranker.get_params()["horizons"] == (1, 5)
    assert ranker.set_params(seed=3).seed == 3
    copy = clone(ranker)
    assert copy is not ranker
    assert copy.get_params() == ranker.get_params()
    assert repr(ranker) == "ATFTRanker(horizons=(1, 5), overrides={'optimizer.lr': 0.002}, seed=3)"
    assert pickle.loads(pickle.dumps(ranker)).get_params() == ranker.get_params()  # noqa: S301 - as joblib does


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ATFTRanker(horizon=(1,)), "unknown parameter horizon; .* did you mean horizons?"),
        (lambda: ATFTRanker(lr=0.1), r"unknown parameter lr; .* did you mean overrides=\{'optimizer.lr': …\}"),
        (lambda: ATFTRanker().set_params(sed=1), "unknown parameter sed; .* did you mean seed?"),
        (
            lambda: ATFTRanker(overrides={"train.max_epoch": 2}).fit("sample"),
            "unknown key train.max_epoch; did you mean train.max_epochs",
        ),
        (lambda: ATFTRanker(overrides={"data.source": "x"}).fit("sample"), "the panel is what `fit` is given"),
        (lambda: ATFTRanker(overrides={"run.dir": "x"}).fit("sample"), "give run_dir"),
        (lambda: ATFTRanker(seed=1, overrides={"seed": 2}).fit("sample"), "expected seed once"),
        (lambda: ATFTRanker(overrides=["seed=2"]).fit("sample"), "expected a mapping"),
        (lambda: ATFTRanker(overrides={"seed": object()}).fit("sample"), "seed: expected a number, text"),
        (lambda: ATFTRanker(seed="one").fit("sample"), "seed: expected a valid integer"),
        (lambda: ATFTRanker(model="large").fit("sample"), "unknown option model='?large'?; expected one of"),
    ],
)
def test_what_is_unknown_or_cannot_be_is_refused_with_what_was_meant(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        act()


def test_a_panel_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="expected a polars or pandas frame or the path"):
        ATFTRanker().fit([1, 2])


@pytest.mark.parametrize("method", ["predict", "evaluate", "save"])
def test_before_fit_there_is_nothing(method: str) -> None:
    with pytest.raises(NotFittedError):
        getattr(ATFTRanker(), method)("sample")


def test_a_fitted_one_is_saved_and_not_pickled(fitted) -> None:
    with pytest.raises(TypeError, match=r"save\(path\)"):
        pickle.dumps(fitted)
    assert clone(fitted).get_params() == fitted.get_params()


def test_notebooks_show_it_in_short(fitted) -> None:
    ranker = ATFTRanker(overrides={"run.name": "<b>"})
    assert "not fitted" in ranker._repr_html_()
    assert "<b>" not in ranker._repr_html_()
    shown = fitted._repr_mimebundle_()["text/html"]
    assert f"{fitted.metrics_['test']['rank_ic']['1d']:+.4f}" in shown
    assert len(shown) < 3000


@pytest.mark.slow
def test_the_package_is_imported_without_torch_and_the_class_too() -> None:
    code = (
        "import sys, atft_gat_fan; assert 'ATFTRanker' in dir(atft_gat_fan); first = set(sys.modules)\n"
        "from atft_gat_fan import ATFTRanker; ATFTRanker(seed=1)\n"
        "print(sorted({'torch', 'polars', 'sklearn'} & first), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
    with pytest.raises(ImportError, match="ATFTranker"):
        from atft_gat_fan import ATFTranker  # noqa: F401


@pytest.mark.slow
def test_a_saved_model_predicts_without_what_trained_it_and_leaves_nothing(
    fitted, panel: pl.DataFrame, tmp_path: Path
) -> None:
    saved = fitted.save(tmp_path / "model")
    panel.write_parquet(tmp_path / "panel.parquet")
    code = (
        "import sys; from atft_gat_fan import ATFTRanker\n"
        f"ranker = ATFTRanker.load({str(saved)!r})\n"
        f"scores = ranker.predict({str(tmp_path / 'panel.parquet')!r}, 'newest')\n"
        "print(scores.height, [name for name in sys.modules if name.startswith(('hydra', 'atft_gat_fan.training'))])\n"
        "print(ranker._workspace.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, workspace = done.stdout.splitlines()
    assert told == f"{fitted.predict(panel, 'newest').height} []"
    assert not Path(workspace).exists(), "what is temporary goes with the ranker"

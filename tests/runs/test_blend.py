"""Boosters learn from the training days alone, weights from the validation days alone, and nothing is done twice."""

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import ConfigError, InterruptedRunError
from atft_gat_fan.inference.blend import LIGHTGBM, NETWORK, Blend
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs import blend as blend_module
from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.blend import require_blend, trained_blend
from atft_gat_fan.runs.validate import Request, prepare
from atft_gat_fan.signals import StopSignals
from tests.missing_lightgbm import without_lightgbm
from tests.runs import blending
from tests.runs.blending import assembly_of, guesses, market, network_that, other_labels, recalls

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True, scope="module")
def needs_lightgbm() -> None:
    try:
        require_blend(load_config(["model.blend.enabled=true"]))
    except ConfigError as error:
        pytest.skip(str(error))


def blend_of(assembly: Assembly, run: Path, model: ATFT_GAT_FAN | None = None, **signals: Any) -> Blend:
    run.mkdir(exist_ok=True)
    model = model or network_that(recalls, assembly)
    found = trained_blend(run, assembly, model, QUIET, StopSignals(**signals))
    assert found is not None
    return found


def texts(blend: Blend) -> list[str]:
    return [booster.text for seeds in blend.boosters for booster in seeds]


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return assembly_of(market(), tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def straight(assembly: Assembly, tmp_path_factory: pytest.TempPathFactory) -> Blend:
    return blend_of(assembly, tmp_path_factory.mktemp("straight") / "run")


def rank_ic(assembly: Assembly, model: ATFT_GAT_FAN, blend: Blend, days: np.ndarray) -> dict[str, float]:
    found = predict_days(model, assembly.batches, days, blend=blend)
    period = slice(int(days[0]), int(days[-1]) + 1)
    labels = assembly.store.column("labels", period)
    scores = {"blend": found.scores, **found.parts}
    return {name: float(np.nanmean(daily_rank_ic(each[..., 0], labels[..., 0]))) for name, each in scores.items()}


def test_where_each_holds_a_part_the_blend_beats_both(assembly: Assembly, straight: Blend) -> None:
    model = network_that(recalls, assembly)
    found = rank_ic(assembly, model, straight, assembly.split.test)
    assert min(found[NETWORK], found[LIGHTGBM]) > 0.2
    assert found["blend"] > max(found[NETWORK], found[LIGHTGBM]) + 0.05
    assert ((straight.network_weights >= 0.3) & (straight.network_weights <= 0.7)).all()


def test_where_the_network_is_noise_the_weight_goes_to_lightgbm(assembly: Assembly, straight: Blend, tmp_path) -> None:
    noise = network_that(guesses, assembly)
    found = blend_of(assembly, tmp_path / "run", noise)
    assert (found.network_weights <= 0.2).all()
    for weight in found.weights:
        assert weight.low <= weight.weight <= weight.high < 0.5
    of_parts = rank_ic(assembly, noise, found, assembly.split.test)
    assert of_parts["blend"] > 0.9 * of_parts[LIGHTGBM]


def test_where_lightgbm_is_noise_the_weight_goes_to_the_network(tmp_path) -> None:
    assembly = assembly_of(market(blending.Strengths(then=0.7, now=0.0)), tmp_path)
    assert (blend_of(assembly, tmp_path / "run").network_weights >= 0.8).all()


@pytest.fixture
def perturbed(assembly: Assembly, tmp_path: Path) -> Callable[[np.ndarray], Blend]:
    def of(days: np.ndarray) -> Blend:
        return blend_of(assembly_of(other_labels(market(), days), tmp_path), tmp_path / "run")

    return of


def test_labels_after_the_validation_days_change_nothing(assembly: Assembly, straight: Blend, perturbed) -> None:
    """The purge stands between the splits: all that follows the last validation day."""
    found = perturbed(np.arange(assembly.split.valid[-1] + 1, blending.NUM_DAYS))
    assert texts(found) == texts(straight)
    np.testing.assert_equal([vars(w) for w in found.weights], [vars(w) for w in straight.weights])


def test_labels_of_the_validation_days_change_no_tree(assembly: Assembly, straight: Blend, perturbed) -> None:
    found = perturbed(np.arange(assembly.split.train[-1] + 1, assembly.split.valid[-1] + 1))
    assert texts(found) == texts(straight)
    assert [weight.means.tolist() for weight in found.weights] != [weight.means.tolist() for weight in straight.weights]


def test_labels_of_the_training_days_change_the_trees(assembly: Assembly, straight: Blend, perturbed) -> None:
    """Else the two tests above could not fail."""
    found = perturbed(assembly.split.train[-5:])
    assert all(one != other for one, other in zip(texts(found), texts(straight), strict=True))


def test_features_after_the_validation_days_change_nothing(assembly: Assembly, straight: Blend, tmp_path) -> None:
    last = blending.DAYS[assembly.split.valid[-1]].astype("datetime64[D]").item()
    later = pl.col("Date") > last
    other = market().with_columns(pl.when(later).then(9.0).otherwise(pl.col(c)).alias(c) for c in ("then", "now"))
    found = blend_of(assembly_of(other, tmp_path), tmp_path / "run")
    assert texts(found) == texts(straight)
    np.testing.assert_equal([vars(w) for w in found.weights], [vars(w) for w in straight.weights])


def test_a_horizon_without_validation_labels_takes_one_half(assembly: Assembly, straight: Blend, tmp_path) -> None:
    days = blending.DAYS[assembly.split.valid].astype("datetime64[D]").tolist()
    unknown = market().with_columns(
        pl.when(pl.col("Date").is_in(days)).then(None).otherwise(pl.col("target_2d")).alias("target_2d")
    )
    one, two = blend_of(assembly_of(unknown, tmp_path), tmp_path / "run", network_that(guesses, assembly)).weights
    assert one.weight < 0.5
    assert (two.weight, two.num_days) == (0.5, 0)


def test_equal_weights_ask_no_validation_day(assembly: Assembly, straight: Blend, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(blend_module, "predict_days", lambda *a, **k: pytest.fail("scored"))
    equal = assembly_of(market(), tmp_path, "model.blend.weighting=equal")
    found = blend_of(equal, tmp_path / "run")
    assert found.weight_by_horizon == {"1d": 0.5, "2d": 0.5}
    assert texts(found) == texts(straight)


def test_without_a_blend_nothing_is_done(tmp_path) -> None:
    off = assembly_of(market(), tmp_path, "model.blend.enabled=false")
    assert trained_blend(tmp_path / "run", off, network_that(recalls, off), QUIET, StopSignals()) is None
    assert not (tmp_path / "run").exists()


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """Seeds of the boosters that are trained."""
    trained: list[int] = []
    train = blend_module.train_booster

    def counted(*arguments: Any, **options: Any) -> Any:
        booster = train(*arguments, **options)
        trained.append(options["seed"])
        return booster

    monkeypatch.setattr(blend_module, "train_booster", counted)
    return trained


def test_a_stop_between_trees_keeps_the_finished_boosters(
    assembly: Assembly, straight: Blend, trainings: list[int], tmp_path, monkeypatch
) -> None:
    class LaterSignals(StopSignals):
        """Asks for a stop once the first booster is done."""

        @property
        def received(self) -> Any:
            return signal.SIGTERM if len(trainings) == 1 else None

    (tmp_path / "run").mkdir()
    with pytest.raises(InterruptedRunError, match="LightGBM of the blend"):
        trained_blend(tmp_path / "run", assembly, network_that(recalls, assembly), QUIET, LaterSignals())
    assert trainings == [42]
    assert texts(blend_of(assembly, tmp_path / "run")) == texts(straight)
    assert trainings == [42, 42], "the first horizon's is not trained again"


def test_what_is_kept_is_of_these_data_and_settings_and_whole(
    assembly: Assembly, straight: Blend, trainings: list[int], tmp_path
) -> None:
    run = tmp_path / "run"
    assert texts(blend_of(assembly, run)) == texts(straight)
    assert len(trainings) == 2
    blend_of(assembly, run)
    assert len(trainings) == 2
    several = assembly_of(market(), tmp_path, "model.blend.seeds=2")
    more = blend_of(several, run)
    assert trainings[2:] == [43, 43], "another seed is added"
    assert texts(more)[::2] == texts(straight)
    for spoil in (lambda raw: raw.replace(b"leaf_value=", b"leaf_value=1", 1), lambda raw: b"[]"):
        file = run / "blend" / "1d_0.json"
        file.write_bytes(spoil(file.read_bytes()))
        assert texts(blend_of(assembly, run)) == texts(straight)
        assert len(trainings) == 5
        trainings.pop()
    blend_of(assembly_of(market(seed=1), tmp_path / "other"), run)
    assert len(trainings) == 6


def test_a_machine_without_lightgbm_learns_it_before_the_training(monkeypatch) -> None:
    without_lightgbm(monkeypatch)
    with pytest.raises(ConfigError, match=r"libgomp1.*model\.blend\.enabled=false"):
        require_blend(load_config(["model.blend.enabled=true"]))
    require_blend(load_config([]))


def test_a_validation_refuses_to_leave_lightgbm_out_in_silence(tmp_path) -> None:
    market().write_parquet(tmp_path / "panel.parquet")
    arguments = [*blending.KEYS, f"data.source={tmp_path / 'panel.parquet'}", f"data.cache={tmp_path / 'cache'}"]
    with pytest.raises(ConfigError, match=r"model\.blend\.enabled=false"):
        prepare(Request(arguments=arguments), QUIET)


def test_an_even_grid_has_no_half() -> None:
    with pytest.raises(ConfigError, match="odd grid"):
        load_config(["model.blend.grid=4"])

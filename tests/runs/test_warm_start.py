"""A warm start takes over weights, all of them and nothing else, and never from a run that knows the test days."""

import json
from pathlib import Path

import pytest
import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference.bundle import DESCRIPTION, write_bundle
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.run_files import BUNDLE
from atft_gat_fan.runs.warm_start import KNOWN_UNTIL, load_initial, origin_of_weights, warm_started

EARLY = ("split.train_end=2015-08-31", "split.valid_end=2015-10-15", "split.test_end=2015-12-01")
LATE = ("split.train_end=2015-10-15", "split.valid_end=2015-12-01", "seed=7")


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.mktemp("cache")

    def make(*overrides: str) -> Assembly:
        small = ["data=synthetic", "data.synthetic.num_days=330", "data.synthetic.num_stocks=8", "model=small"]
        return assemble(
            load_config([*small, "data.horizons=[1,5]", f"data.cache={cache}", *overrides]), lambda stage, share: None
        )

    return make


def export(assembly: Assembly, run: Path, **training: str) -> Path:
    """What a finished run of `assembly` would leave, its weights those it would begin with."""
    write_bundle(
        run / BUNDLE,
        model=build_model(assembly),
        data=assembly.config.data,
        graph=assembly.config.graph,
        normalizer=assembly.normalizer,
        static_categories=assembly.store.static_categories,
        training=origin_of_weights(assembly, None) | training,
    )
    return run


def test_the_network_begins_with_the_exported_weights(assembled, tmp_path: Path) -> None:
    early, late = assembled(*EARLY), assembled(*LATE)
    model = warm_started(late, load_initial(export(early, tmp_path)))
    theirs, random = build_model(early).state_dict(), build_model(late).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
    assert not all(torch.equal(tensor, random[name]) for name, tensor in model.state_dict().items())
    assert not (early.normalizer.mean == late.normalizer.mean).all(), "statistics are those of the later run's days"


def test_a_model_that_knows_labels_of_the_test_days_is_refused(assembled, tmp_path: Path) -> None:
    early, late = assembled(*EARLY), assembled(*LATE)
    first_test = str(late.store.days[late.split.test[0]])
    before = str(late.store.days[late.split.test[0] - 1])
    assert warm_started(late, load_initial(export(early, tmp_path / "ok", **{KNOWN_UNTIL: before})))
    with pytest.raises(ConfigError, match=f"no label of the test days, from {first_test} on, .* up to {first_test}"):
        warm_started(late, load_initial(export(early, tmp_path / "late", **{KNOWN_UNTIL: first_test})))
    with pytest.raises(ConfigError, match="no label of the test days"):
        warm_started(early, load_initial(export(late, tmp_path / "later")))


def test_what_a_model_knows_includes_what_it_began_from(assembled, tmp_path: Path) -> None:
    early, late = assembled(*EARLY), assembled(*LATE)
    own = origin_of_weights(early, None)
    assert own["initial_weights"] is None
    assert own[KNOWN_UNTIL] == str(early.store.days[early.split.valid[-1] + 5]), "labels of five days"
    from_late = origin_of_weights(early, load_initial(export(late, tmp_path)))
    assert from_late[KNOWN_UNTIL] == origin_of_weights(late, None)[KNOWN_UNTIL] > own[KNOWN_UNTIL]
    assert from_late["initial_weights"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("model.hidden_size=32",), "hidden_size: 16 there, 32 here"),
        (("data.features=[Close,Volume]",), "expected a model of the 2 features"),
        (("data.horizons=[1,2]",), "horizons"),
    ],
)
def test_another_network_is_refused_by_what_differs(assembled, tmp_path: Path, changes, words: str) -> None:
    initial = load_initial(export(assembled(*EARLY), tmp_path))
    with pytest.raises(ConfigError, match=words):
        warm_started(assembled(*LATE, *changes), initial)


def test_memory_levers_are_no_other_network(assembled, tmp_path: Path) -> None:
    initial = load_initial(export(assembled(*EARLY), tmp_path))
    assert warm_started(assembled(*LATE, "gradient_checkpointing=true"), initial)


def test_a_run_that_is_none_or_does_not_say_what_it_knows_is_refused(assembled, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="train first, or name a finished run"):
        load_initial(tmp_path / "none")
    run = export(assembled(*EARLY), tmp_path)
    file = run / BUNDLE / DESCRIPTION
    body = json.loads(file.read_text())
    del body["training"][KNOWN_UNTIL]
    file.write_text(json.dumps(sealed(body)))
    with pytest.raises(ConfigError, match="train it again"):
        load_initial(run)

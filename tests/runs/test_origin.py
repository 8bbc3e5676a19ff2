"""What a resumed run is told when its data are not those it was begun with."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from atft_gat_fan.data.splits import Split
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.origin import settle_data

SPLIT = Split(train=np.arange(5, 12), valid=np.arange(14, 17), test=np.arange(19, 22), purge=2, embargo=0)
STORE = {
    "fingerprint": "f",
    "feature_names": ("beta", "kmid"),
    "horizons": (1, 5),
    "static_categories": ("Energy",),
    "codes": ("A", "B", "C"),
    "days": np.datetime64("2020-01-01") + np.arange(22),
}


def store(**changes: Any) -> Any:
    return SimpleNamespace(**{**STORE, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    settle_data(tmp_path, store(), SPLIT, begun=False)
    return tmp_path


def test_the_same_data_go_on(run: Path) -> None:
    written = (run / "data.json").read_bytes()
    settle_data(run, store(), SPLIT, begun=True)
    assert (run / "data.json").read_bytes() == written


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"feature_names": ("kmid", "beta")}, "features in another order"),
        ({"feature_names": ("beta", "klow")}, "features gone: kmid; features new: klow"),
        ({"codes": tuple(f"N{i}" for i in range(7))}, "codes new: N0, N1, N2, N3, N4 and 2 more"),
        ({"horizons": (1, 5, 10)}, "horizons new: 10"),
        ({"static_categories": ()}, "categories gone: Energy"),
        (
            {"days": STORE["days"][:-1]},
            "days: 22 from 2020-01-01 to 2020-01-22 there, 21 from 2020-01-01 to 2020-01-21",
        ),
        ({"fingerprint": "g"}, "(values of the source)"),
    ],
    ids=str,
)
def test_other_data_are_refused_by_what_differs(run: Path, changes: dict[str, Any], words: str) -> None:
    split = replace(SPLIT, test=np.arange(19, 21)) if "days" in changes else SPLIT
    written = (run / "data.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        settle_data(run, store(**changes), split, begun=True)
    assert words in str(caught.value)
    assert "run.fresh=true" in str(caught.value)
    assert (run / "data.json").read_bytes() == written


def test_another_split_is_refused_with_its_days(run: Path) -> None:
    split = replace(SPLIT, valid=np.arange(14, 16))
    with pytest.raises(ConfigError, match="valid days: 3 from 2020-01-15 to 2020-01-17 there, 2 from"):
        settle_data(run, store(), split, begun=True)


def test_before_training_has_begun_the_data_may_still_be_mended(run: Path) -> None:
    settle_data(run, store(fingerprint="g"), SPLIT, begun=False)
    settle_data(run, store(fingerprint="g"), SPLIT, begun=True)


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{}", b"[" * 100_000])
def test_a_lost_record_is_written_again(run: Path, content: bytes | None) -> None:
    """The checkpoint's own fingerprint of the data still guards the run."""
    written = (run / "data.json").read_bytes()
    if content is None:
        (run / "data.json").unlink()
    else:
        (run / "data.json").write_bytes(content)
    settle_data(run, store(), SPLIT, begun=True)
    assert (run / "data.json").read_bytes() == written

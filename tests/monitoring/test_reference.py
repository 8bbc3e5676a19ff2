"""The reference comes back as it was written, and nothing else is taken for it."""

import json

import numpy as np
import pytest

from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.errors import StorageError
from atft_gat_fan.monitoring.reference import read_reference, write_reference
from tests.monitoring.healthy_days import Market


@pytest.fixture
def reference():
    return Market.healthy(0, 30, num_features=3, num_stocks=10).observed(slice(None))


@pytest.fixture
def folder(tmp_path, reference):
    (tmp_path / "model.json").write_text("{}")
    write_reference(tmp_path, reference)
    return tmp_path


def test_it_comes_back_to_the_bit(folder, reference) -> None:
    found = read_reference(folder)
    assert found.days == reference.days
    assert (found.stocks == reference.stocks).all()
    assert found.families.keys() == reference.families.keys()
    for family, histograms in reference.families.items():
        assert found.families[family].names == histograms.names
        assert (found.families[family].counts == histograms.counts).all()
        assert (found.families[family].missing == histograms.missing).all()
        assert (found.families[family].bins.edges == histograms.bins.edges).all()
        assert (found.families[family].bins.deviation == histograms.bins.deviation).all()
    for name, daily in reference.numbers.items():
        np.testing.assert_array_equal(found.numbers[name], daily)
    for name, daily in reference.rank_ic.items():
        np.testing.assert_array_equal(found.rank_ic[name], daily)
    assert found.unavailable == reference.unavailable


def test_it_is_small(folder) -> None:
    assert (folder / "reference.safetensors").stat().st_size < 40_000


@pytest.mark.parametrize("name", ["reference.json", "reference.safetensors"])
def test_an_older_bundle_is_told_how_to_get_one(folder, name) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=rf"{name}.*found none; run `atft evaluate RUN`, which writes it"):
        read_reference(folder)


def test_a_flipped_bit_is_noticed(folder) -> None:
    content = bytearray((folder / "reference.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "reference.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match=r"reference\.safetensors.*checksum"):
        read_reference(folder)


def test_that_of_another_model_is_refused(folder) -> None:
    (folder / "model.json").write_text('{"another": 1}')
    with pytest.raises(StorageError, match="of another"):
        read_reference(folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format": 99}, "found 99"),
        ({"days": []}, "reference days"),
        ({"days": ["2000-01-01"]}, "expected shape"),
        ({"families": {"raw_features": ["f0"]}}, "expected shape"),
        ({"families": {"unheard_of/../x": ["f0"]}, "numbers": ["nothing"]}, "numbers.nothing"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"numbers": "all"}, "numbers"),
    ],
)
def test_a_description_of_something_else_is_refused(folder, change, found) -> None:
    file = folder / "reference.json"
    file.write_text(json.dumps(sealed(json.loads(file.read_text()) | change)))
    with pytest.raises(StorageError, match=found):
        read_reference(folder)


def test_a_description_that_was_edited_is_noticed(folder) -> None:
    file = folder / "reference.json"
    file.write_text(file.read_text().replace("2000-01-02", "2000-01-03"))
    with pytest.raises(StorageError, match="checksum"):
        read_reference(folder)

import pytest

from atft_gat_fan.config.names import did_you_mean, known_keys, nearest, unknown_key
from atft_gat_fan.config.schema import Config


def test_every_known_key_is_an_attribute_of_the_configuration() -> None:
    config = Config()
    for key in known_keys():
        value = config
        for part in key.split("."):
            assert hasattr(value, part), key
            value = getattr(value, part)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train.max_stpes", "train.max_steps"),
        ("improvments", "improvements"),
        ("improvements.freq_dropout", "improvements.freq_dropout_p"),
        ("lr", "optimizer.lr"),  # right key, section missing
        ("train.patience", "early_stopping.patience"),  # right key, other section
        ("gat.num_heads", "model.gat.num_heads"),  # two sections have a num_heads: the longer match wins
        ("mdoel.hidden_size", "model.hidden_size"),
    ],
)
def test_the_nearest_name_is_the_one_that_was_meant(written: str, meant: str) -> None:
    assert unknown_key(written) == f"unknown key {written}; did you mean {meant}?"


def test_nothing_is_suggested_for_a_name_like_no_other() -> None:
    assert nearest("zzz", known_keys()) is None
    assert did_you_mean("train.zzz", known_keys()) == ""
    assert nearest("a", []) is None

"""What a YAML file may hold, and what of it is counted."""

import pytest

from atft_gat_fan.config.yaml_files import MOST_LEVELS, MOST_VALUES, read_yaml
from atft_gat_fan.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def call(text: str):
        (tmp_path / "file.yaml").write_text(text)
        return read_yaml(tmp_path / "file.yaml")

    return call


def test_anchors_and_aliases_are_yaml_like_any_other(read):
    assert read("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


def test_an_alias_counts_as_all_that_it_stands_for(read):
    """A list of 100 values is 101, wherever it stands: as many as may be are read, with one more it is refused."""
    values = f"a: &a [{', '.join(['1'] * 100)}]\n"
    others = 1 + 2 + 101 + 1  # the file, both keys, the list itself, and the one around its aliases
    few = (MOST_VALUES - others) // 101
    read(values + f"b: [{', '.join(['*a'] * few)}]")
    with pytest.raises(ConfigError, match=str(MOST_VALUES)):
        read(values + f"b: [{', '.join(['*a'] * (few + 1))}]")


def test_levels_are_counted(read):
    read("a: " + "[" * (MOST_LEVELS - 1) + "]" * (MOST_LEVELS - 1))
    with pytest.raises(ConfigError, match=f"{MOST_LEVELS} levels"):
        read("a: " + "[" * MOST_LEVELS + "]" * MOST_LEVELS)


def test_a_link_that_the_user_names_is_followed(read, tmp_path):
    read("a: 1")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "file.yaml")
    assert read_yaml(tmp_path / "link.yaml") == {"a": 1}

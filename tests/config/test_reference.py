"""docs/configuration.md is the schema, and every key explains itself."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from atft_gat_fan.config.load import from_mapping
from atft_gat_fan.config.names import known_keys
from atft_gat_fan.config.reference import reference
from atft_gat_fan.config.schema import Config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| (?P<kind>.+) \| `(?P<default>.+)` \| (?P<meaning>.+) \|$")


def rows() -> dict[str, re.Match[str]]:
    matches = [match for line in reference().splitlines() if (match := ROW.match(line))]
    return {match["key"]: match for match in matches}


def leaves() -> list[str]:
    keys = list(known_keys())
    return [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == reference(), "docs/configuration.md is not of this schema; run `make docs`"


def test_every_key_has_one_row_with_type_default_and_meaning() -> None:
    assert list(rows()) == sorted(leaves(), key=list(rows()).index)
    assert len(rows()) == len(leaves())
    for key, row in rows().items():
        assert len(row["meaning"]) > 10, key
        assert row["meaning"].endswith("."), key


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("optimizer.lr", "number > 0", "0.001"),
        ("improvements.freq_dropout_p", "number ≥ 0, < 1", "0.0"),
        ("loss.huber_delta", "number > 0 or list of number > 0 or `auto`", "0.01"),
        ("scheduler", "`cosine`, `linear`, `constant`", '"cosine"'),
        ("data.horizons", "list of integer > 0, ≤ 100000", "[1, 2, 3, 5, 10]"),
        ("split.train_end", "date or null", "null"),
        ("optimizer.betas", "list of 2: number ≥ 0, < 1", "[0.9, 0.98]"),
    ],
)
def test_types_and_defaults_are_written_as_a_user_writes_them(key: str, kind: str, default: str) -> None:
    assert (rows()[key]["kind"], rows()[key]["default"]) == (kind, default)


def test_the_defaults_of_the_page_are_the_configuration() -> None:
    values: dict = {}
    for key, row in rows().items():
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = json.loads(row["default"])
    assert from_mapping(values) == Config()


def test_a_heading_stands_over_every_section_of_keys() -> None:
    def sections(section: type[BaseModel], prefix: str = "") -> list[str]:
        return [key for key in known_keys(section, prefix) if key not in leaves()]

    headings = [line.split()[1] for line in reference().splitlines() if line.startswith("##")]
    assert headings == sections(Config)

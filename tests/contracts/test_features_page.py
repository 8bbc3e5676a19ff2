"""The page of the features has every name, what it is made of, and whether it has a variant to the market."""

import re

from atft_gat_fan.data.features import FAMILIES, FEATURE_SETS
from tests.contracts.documents import ROOT

PAGE = (ROOT / "docs" / "features.md").read_text()


def told(section: str, separator: str) -> dict[str, tuple[set[str], bool]]:
    """Name to the columns needed beside the close, and whether there is `_mkt`, as the section's table has it."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    features = {}
    row = re.compile(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
    for name, windows, formula, needs, market in row.findall(text):
        assert formula.strip()
        for window in windows.split() or [""]:
            features[name + separator * bool(window) + window] = set(needs.split()), market.strip() == "yes"
    return features


def made(names: tuple[str, ...]) -> dict[str, tuple[set[str], bool]]:
    family_of = {name: family for family in FAMILIES for name in family.names}
    return {name: (set(family_of[name].needs - {"close"}), family_of[name].to_market is not None) for name in names}


def test_each_set_is_told_as_it_is_made() -> None:
    assert told("derived", "_") == made(FEATURE_SETS["derived"])
    assert told("alpha158", "") == made(FEATURE_SETS["alpha158"])

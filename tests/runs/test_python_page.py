"""docs/python.md has every parameter of the facade. Its code is run with that of the other pages."""

from pathlib import Path

from atft_gat_fan.runs.ranker import ATFTRanker
from atft_gat_fan.runs.ranker_arguments import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


def test_it_has_every_parameter_with_its_key() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for name in ATFTRanker().get_params():
        assert f"`{name}`" in rows, name
    for name, key in KEYS.items():
        assert name == "model" or f"`{key}`" in rows, key

"""`atft walkforward` as it is called: what it shows before anything is trained, and how it ends if it cannot begin."""

import json
from pathlib import Path

import pytest

from atft_gat_fan.cli.main import main

TINY = [
    "data=synthetic",
    "model=small",
    "data.synthetic.num_days=260",
    "data.synthetic.num_stocks=8",
    "data.horizons=[1]",
    "model.gat.enabled=false",
    "compile=false",
    "walkforward.seeds=[1,2]",
]


def walkforward(*arguments: str, folder: Path) -> int:
    places = [f"data.cache={folder / 'cache'}", f"run.root={folder / 'runs'}"]
    with pytest.raises(SystemExit) as end:
        main(["walkforward", *TINY, *places, *arguments])
    return int(end.value.code or 0)


def test_a_dry_run_shows_the_folds_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert walkforward("--dry-run", folder=tmp_path) == 0
    text = capsys.readouterr().out
    assert text.count("; test 20") == 4
    assert "trainings  8, 1 at once" in text
    assert walkforward("--dry-run", "--json", "walkforward.test_days=2m", folder=tmp_path) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [fold["number"] for fold in plan["folds"]] == list(range(1, len(plan["folds"]) + 1))
    assert plan["folds"][0]["test"]["days"] == 43, "two months"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("argument", "code", "says"),
    [
        ("walkforward.first_train_days=5000", 65, "change walkforward.first_train_days"),
        ("walkforward.test_days=2w", 78, "walkforward.test_days: expected"),
        ("walkforward.folds=3", 78, "unknown key walkforward.folds"),
    ],
)
def test_what_cannot_begin_ends_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str, code: int, says: str
) -> None:
    assert walkforward(argument, folder=tmp_path) == code
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()

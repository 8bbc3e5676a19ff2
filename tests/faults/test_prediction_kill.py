"""Kill a prediction: the table of the morning before is whole, and nothing stays behind for long."""

import polars as pl
import pytest

KILLS = {
    "as it converts": """
from atft_gat_fan.data.store_writer import StoreWriter
StoreWriter.finish = lambda *_, **__: kill()
""",
    "as it replaces the table": """
from pathlib import Path
replace = Path.replace
Path.replace = lambda source, target: kill() if Path(target).name == "scores.parquet" else replace(source, target)
""",
}
KILL = """
import os, signal
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(
    "kill −9 of a prediction, converting or about to replace its table",
    "the table of before is whole; what it worked in is swept up by the next",
)
@pytest.mark.parametrize("where", KILLS)
def test_a_killed_prediction_leaves_the_table_of_before(where, commands, small_run, tmp_path, struck):
    out, cache = tmp_path / "scores.parquet", tmp_path / "cache"
    days = pl.read_parquet(small_run.panel)["Date"].unique().sort()

    def predict(day: object, **circumstances: str):
        arguments = ["--data", small_run.panel, "--date", day, "--out", out, "--cache", cache]
        return commands.atft("predict", small_run.folder, *arguments, **circumstances)

    predict(days[-2]).succeeded()
    before = out.read_bytes()
    killed = predict(days[-1], before=KILL + KILLS[where])
    struck(killed.code == -9)
    assert out.read_bytes() == before
    left = list((cache / "predictions").iterdir())
    assert len(left) == (where == "as it converts")
    predict("newest").succeeded()
    assert pl.read_parquet(out)["date"].unique().to_list() == [days[-1]]
    assert list((cache / "predictions").iterdir()) == []

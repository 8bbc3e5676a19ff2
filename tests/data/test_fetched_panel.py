"""The folder of a fetch: one process, one source, nobody else's files, whole or not at all."""

from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.data.fetched_panel import FetchedPanel
from atft_gat_fan.errors import StorageError

SCHEMA = pl.Schema({"Code": pl.String})


def test_what_is_remembered_is_read_back(tmp_path: Path) -> None:
    with FetchedPanel(tmp_path / "deep/panel", "here") as panel:
        assert panel.read_state() is None
        panel.write_state({"months": {"2024-01": 3}, "ratio": 0.1})
        panel.write("a", pl.DataFrame({"Code": ["x"]}))
    with FetchedPanel(tmp_path / "deep/panel", "here") as panel:
        state = panel.read_state()
        assert state is not None
        assert (state["months"], state["ratio"]) == ({"2024-01": 3}, 0.1)
        assert panel.read("a", SCHEMA)["Code"].to_list() == ["x"]
        with pytest.raises(StorageError, match=r"a\.parquet: expected a piece of the panel, found columns Code"):
            panel.read("a", pl.Schema({"Date": pl.Date}))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    held, second = FetchedPanel(tmp_path, "here"), FetchedPanel(tmp_path, "here")
    with held, pytest.raises(StorageError, match="another process"):
        second.__enter__()
    with second:
        pass


def test_a_panel_is_from_one_source(tmp_path: Path) -> None:
    with FetchedPanel(tmp_path, "here") as panel:
        panel.write_state({})
    with FetchedPanel(tmp_path, "there") as panel, pytest.raises(StorageError, match="holds a panel from here"):
        panel.read_state()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"source": "here"}', b'{"source": NaN}', b"\xff"])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fetch.json").write_bytes(content)
    with FetchedPanel(tmp_path, "here") as panel, pytest.raises(StorageError, match=r"fetch\.json: damaged"):
        panel.read_state()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"), FetchedPanel(tmp_path / "file/panel", "here"):
        pass

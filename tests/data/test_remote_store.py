"""Writing a store to an address: its files first, the manifest last, nothing twice, and nothing else replaced."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.config.remote_section import RemoteConfig
from atft_gat_fan.config.schema import Config, DataConfig, SyntheticConfig
from atft_gat_fan.data import remote_files
from atft_gat_fan.data.conversion import cached_store, convert
from atft_gat_fan.data.remote_store import convert_to_address
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.errors import DataError, StorageError
from tests.data.faulty_storage import FaultyFileSystem, faulty_storage

OUT = "faulty://bucket/store"


def silent(name: str, share: float) -> None:
    assert 0 <= share <= 1, name


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyFileSystem]]:
    monkeypatch.setattr(remote_files, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(remote_files, "WHOLE_AT_ONCE", {*remote_files.WHOLE_AT_ONCE, "faulty"})
    monkeypatch.setattr(remote_files, "CHECKSUM_ETAGS", {"faulty"})
    with faulty_storage() as faulty:
        yield faulty


@pytest.fixture(scope="module")
def panels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 days, and 590 of them: three shards, of which the first two are the same."""
    folder = tmp_path_factory.mktemp("panels")
    panel = synthetic_panel(SyntheticConfig(num_stocks=5, num_days=600, num_sectors=2, churn=0.0))
    panel.write_parquet(folder / "whole.parquet")
    days = panel["Date"].unique().sort()
    panel.filter(pl.col("Date") <= days[589]).write_parquet(folder / "shorter.parquet")
    return folder


def config(panels: Path, tmp_path: Path, name: str = "whole") -> Config:
    data = DataConfig(
        source=str(panels / f"{name}.parquet"), cache=str(tmp_path / "cache"), horizons=(1,),
        remote=RemoteConfig(retries=1),
    )  # fmt: skip
    return Config(data=data)


def reader(tmp_path: Path) -> Config:
    return Config(data=DataConfig(source=OUT, cache=str(tmp_path / "other"), horizons=(1,)))


def written(storage: type[FaultyFileSystem]) -> list[str]:
    return [request.rpartition("/")[2] for request in storage.asked if request.startswith("put")]


def names(storage: type[FaultyFileSystem]) -> set[str]:
    return {name.rpartition("/")[2] for name in storage.store}


def test_the_store_there_is_the_store_here(storage: type[FaultyFileSystem], panels: Path, tmp_path: Path) -> None:
    here = convert(config(panels, tmp_path), tmp_path / "here", silent)
    copy = convert_to_address(config(panels, tmp_path), OUT, silent)
    assert copy.fingerprint == here.fingerprint
    assert names(storage) == {file.name for file in here.path.iterdir()}
    for file in here.path.iterdir():
        assert storage.store[f"/bucket/store/{file.name}"].getvalue() == file.read_bytes()
    assert written(storage)[-1] == MANIFEST
    # Who built it has its copy; others download it.
    storage.asked.clear()
    built_here = Config(data=config(panels, tmp_path).data.model_copy(update={"source": OUT}))
    assert cached_store(built_here, silent).path == copy.path
    assert not [request for request in storage.asked if request.startswith("cat") and MANIFEST not in request]
    assert cached_store(reader(tmp_path), silent).fingerprint == here.fingerprint


def test_an_upload_that_stops_leaves_no_store_and_goes_on(
    storage: type[FaultyFileSystem], panels: Path, tmp_path: Path
) -> None:
    def stop_at_the_third(request: str, content: bytes) -> bytes:
        if len(written(storage)) > 2:
            raise PermissionError("revoked")
        return content

    storage.fault = stop_at_the_third
    with pytest.raises(StorageError, match="revoked"):
        convert_to_address(config(panels, tmp_path), OUT, silent)
    storage.fault = None
    assert names(storage)
    assert MANIFEST not in names(storage)
    with pytest.raises(DataError, match="or a store, found none"):
        cached_store(reader(tmp_path), silent)
    there = names(storage)
    storage.asked.clear()
    convert_to_address(config(panels, tmp_path), OUT, silent)
    assert there
    assert not there & set(written(storage))
    assert cached_store(reader(tmp_path), silent).codes


def test_a_store_that_gains_days_sends_those_and_the_old_files_go(
    storage: type[FaultyFileSystem], panels: Path, tmp_path: Path
) -> None:
    convert_to_address(config(panels, tmp_path, "shorter"), OUT, silent)
    before = names(storage)
    storage.asked.clear()
    convert_to_address(config(panels, tmp_path), OUT, silent)
    sent = written(storage)
    assert sent[-1] == MANIFEST
    assert len(sent) == 2
    assert len(names(storage)) == len(before)
    assert names(storage) - before == {sent[0]}
    # The old file goes after the manifest that no longer names it.
    assert storage.asked.index(f"put /bucket/store/{MANIFEST}") < next(
        number for number, request in enumerate(storage.asked) if request.startswith("rm")
    )
    storage.asked.clear()
    convert_to_address(config(panels, tmp_path), OUT, silent)
    assert written(storage) == []
    # What somebody has deleted or spoilt there is sent again.
    storage().rm(f"/bucket/store/{sent[0]}")
    convert_to_address(config(panels, tmp_path), OUT, silent)
    assert written(storage) == [sent[0], MANIFEST]


def test_something_else_there_is_not_replaced(storage: type[FaultyFileSystem], panels: Path, tmp_path: Path) -> None:
    storage().pipe_file("/bucket/store/thesis.tex", b"years of work")
    with pytest.raises(StorageError, match=r"found something else there \(thesis.tex\)"):
        convert_to_address(config(panels, tmp_path), OUT, silent)
    storage().rm("/bucket/store/thesis.tex")
    storage().pipe_file("/bucket/store", b"a file")
    with pytest.raises(StorageError, match="found a file"):
        convert_to_address(config(panels, tmp_path), OUT, silent)


def test_a_file_that_arrives_changed_is_no_upload(
    storage: type[FaultyFileSystem], panels: Path, tmp_path: Path
) -> None:
    def spoil(request: str, content: bytes) -> bytes:
        if request.startswith("info") and request.endswith(".arrow"):
            name = request.split()[1]
            if name in storage.store:
                storage.store[name].getbuffer()[0] ^= 1
        return content

    storage.fault = spoil
    with pytest.raises(StorageError, match=r"bytes that were written, found .* others"):
        convert_to_address(config(panels, tmp_path), OUT, silent)
    assert MANIFEST not in names(storage)


def test_where_files_are_not_replaced_in_one_step_they_are_renamed(panels: Path, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/mounted/store"
    store = convert_to_address(config(panels, tmp_path), address, silent)
    there = tmp_path / "mounted" / "store"
    assert {file.name for file in there.iterdir()} == {file.name for file in store.path.iterdir()}
    data = config(panels, tmp_path).data.model_copy(update={"source": address, "cache": str(tmp_path / "other")})
    assert cached_store(Config(data=data), silent).fingerprint == store.fingerprint

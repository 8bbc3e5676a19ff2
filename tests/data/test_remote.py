"""Data at an address: the same bits as from a path, downloaded once, and whole or not at all whatever happens."""

import errno
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.remote_section import RemoteConfig
from atft_gat_fan.config.schema import Config, DataConfig, SyntheticConfig
from atft_gat_fan.data import remote_copies, remote_download, remote_files
from atft_gat_fan.data.conversion import cached_store, convert, is_store
from atft_gat_fan.data.remote import local_copy
from atft_gat_fan.data.remote_copies import copies_in
from atft_gat_fan.data.remote_errors import explained
from atft_gat_fan.data.remote_listing import RemoteFile
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.errors import AtftError, ConfigError, DataError, InterruptedRunError, StorageError
from tests.data.faulty_storage import FaultyFileSystem, faulty_storage

PANEL = synthetic_panel(SyntheticConfig(num_stocks=6, num_days=90, num_sectors=2))
ROOT = "faulty://bucket"


def silent(name: str, share: float) -> None:
    assert 0 <= share <= 1, name


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyFileSystem]]:
    monkeypatch.setattr(remote_files, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(remote_files, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(remote_download, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(remote_files, "WHOLE_AT_ONCE", {*remote_files.WHOLE_AT_ONCE, "faulty"})
    monkeypatch.setattr(remote_files, "CHECKSUM_ETAGS", {"faulty"})
    with faulty_storage() as faulty:
        yield faulty


def config(tmp_path: Path, source: str, **remote: Any) -> DataConfig:
    settings = RemoteConfig(**{"retries": 2} | remote)
    return DataConfig(source=source, cache=str(tmp_path / "cache"), horizons=(1, 2), remote=settings)


def put(storage: type[FaultyFileSystem], name: str, content: bytes) -> None:
    storage().pipe_file(f"/bucket/{name}", content)


def parquet(tmp_path: Path, frame: pl.DataFrame = PANEL) -> bytes:
    frame.write_parquet(tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


def put_store(storage: type[FaultyFileSystem], tmp_path: Path) -> Store:
    (tmp_path / "panel.parquet").write_bytes(parquet(tmp_path))
    here = Config(data=DataConfig(source=str(tmp_path / "panel.parquet"), horizons=(1, 2)))
    store = convert(here, tmp_path / "built", silent, shard_days=30)
    for file in store.path.iterdir():
        put(storage, f"store/{file.name}", file.read_bytes())
    return store


def reads(storage: type[FaultyFileSystem]) -> list[str]:
    return [request.split()[1].rpartition("/")[2] for request in storage.asked if request.startswith("cat")]


def release() -> None:
    """What the end of a process does to the copies that it uses."""
    for descriptor in remote_copies._held.values():
        os.close(descriptor)
    remote_copies._held.clear()


# What comes over.


def test_a_file_a_folder_and_a_csv_give_the_bits_of_the_path(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    here = tmp_path / "here"
    for year in (2014, 2015, 2016):
        rows = PANEL.filter(pl.col("Date").dt.year() == year)
        if not rows.is_empty():
            (here / f"year={year}").mkdir(parents=True)
            (here / f"year={year}" / "part.parquet").write_bytes(parquet(tmp_path, rows))
            put(storage, f"folder/year={year}/part.parquet", parquet(tmp_path, rows))
    put(storage, "folder/_SUCCESS", b"")
    put(storage, "folder/.work/part.parquet", b"unfinished")
    csv = gzip.compress(PANEL.write_csv().encode(), mtime=0)
    (tmp_path / "panel.csv.gz").write_bytes(csv)
    put(storage, "panel.csv.gz", csv)
    for path, address in ((here, f"{ROOT}/folder/"), (tmp_path / "panel.csv.gz", f"{ROOT}/panel.csv.gz")):
        at_path = open_source(DataConfig(source=str(path)))
        at_address = open_source(config(tmp_path, address), silent)
        assert at_address.frame.collect().equals(at_path.frame.collect())
        assert at_address.fingerprint == at_path.fingerprint
        assert at_address.identity == address.rstrip("/")
        assert at_address.place(0).startswith(address.rstrip("/"))
    assert open_source(config(tmp_path, f"{ROOT}/panel.csv.gz"), silent).name == "panel"


def test_a_store_at_an_address_is_the_store(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    built = put_store(storage, tmp_path)
    put(storage, "store/days-left-over.arrow", b"of an older one")
    there = config(tmp_path, f"{ROOT}/store")
    assert is_store(there)
    store = cached_store(Config(data=there), silent)
    assert store.fingerprint == built.fingerprint
    for name in ("features", "labels", "present", "returns"):
        np.testing.assert_array_equal(store.column(name), built.column(name))
    assert "days-left-over.arrow" not in reads(storage)


def test_what_has_not_changed_is_not_downloaded_again(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    first = local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    storage.asked.clear()
    assert local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent) == first
    assert reads(storage) == []
    # The built store is found again too, and brought up to date when the panel has changed.
    built = cached_store(Config(data=config(tmp_path, f"{ROOT}/panel.parquet")), silent)
    put(storage, "panel.parquet", parquet(tmp_path, PANEL.filter(pl.col("Date") > PANEL["Date"].min())))
    again = cached_store(Config(data=config(tmp_path, f"{ROOT}/panel.parquet")), silent)
    assert again.path == built.path
    assert again.fingerprint != built.fingerprint
    assert again.days[0] == built.days[1]


def test_a_folder_that_gains_a_file_downloads_that_file(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put(storage, "daily/one.parquet", parquet(tmp_path))
    first = local_copy(config(tmp_path, f"{ROOT}/daily"), silent)
    put(storage, "daily/two.parquet", parquet(tmp_path, PANEL.head(3)))
    storage.asked.clear()
    second = local_copy(config(tmp_path, f"{ROOT}/daily"), silent)
    assert set(reads(storage)) == {"two.parquet"}
    assert sorted(file.name for file in second.iterdir()) == ["one.parquet", "two.parquet"]
    # The older version stays as long as a process uses it, and not longer.
    assert first.exists()
    release()
    put(storage, "daily/three.parquet", parquet(tmp_path, PANEL.head(5)))
    third = local_copy(config(tmp_path, f"{ROOT}/daily"), silent)
    assert copies_in(tmp_path / "cache") == [third]


# What goes wrong on the way.


def test_a_download_that_is_stopped_leaves_nothing_that_opens_and_goes_on(
    storage: type[FaultyFileSystem], tmp_path: Path
) -> None:
    names = [f"{number}.parquet" for number in range(4)]
    for number, name in enumerate(names):
        put(storage, f"daily/{name}", parquet(tmp_path, PANEL.head(40 + number)))

    def stop(name: str, share: float) -> None:
        if share > 0.6:
            raise InterruptedRunError("stopped", 130)

    with pytest.raises(InterruptedRunError):
        local_copy(config(tmp_path, f"{ROOT}/daily"), stop)
    assert copies_in(tmp_path / "cache") == []
    kept = {file.name for file in (tmp_path / "cache").rglob("*.parquet")}
    assert kept
    assert kept < set(names)
    storage.asked.clear()
    copy = local_copy(config(tmp_path, f"{ROOT}/daily"), silent)
    assert set(reads(storage)) == set(names) - kept
    for number, name in enumerate(names):
        assert pl.read_parquet(copy / name).height == 40 + number
    assert not list((tmp_path / "cache").rglob("*.part*l"))


@pytest.mark.parametrize("fault", [ConnectionResetError("reset"), TimeoutError(), OSError(errno.EBUSY, "slow down")])
def test_what_may_pass_is_tried_again(storage: type[FaultyFileSystem], tmp_path: Path, fault: Exception) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    failed: list[str] = []

    def twice(request: str, content: bytes) -> bytes:
        if len(failed) < 2 and request.startswith("cat"):
            failed.append(request)
            raise fault
        return content

    storage.fault = twice
    copy = local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    assert pl.read_parquet(copy).equals(PANEL)
    assert len(failed) == 2


def test_what_does_not_pass_ends_in_words_that_name_the_address(
    storage: type[FaultyFileSystem], tmp_path: Path
) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    tries: list[str] = []

    def always(request: str, content: bytes) -> bytes:
        if request.startswith("cat"):
            tries.append(request)
            raise ConnectionResetError("https://signed.example/x?X-Amz-Signature=0123 was reset")
        return content

    storage.fault = always
    with pytest.raises(StorageError, match=f"{ROOT}/panel.parquet: cannot read it after 3 tries: .*reset") as caught:
        local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    assert caught.value.exit_code == 74
    assert "0123" not in str(caught.value)
    assert len(tries) in (3, 4)  # the next piece may have been begun
    assert copies_in(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("fault", "error", "exit_code", "words"),
    [
        (FileNotFoundError("The specified bucket does not exist"), DataError, 65, "found nothing there"),
        (PermissionError("Forbidden"), StorageError, 74, "refuses .403..*AWS_ACCESS_KEY_ID.*data.remote.anon=true"),
        (OSError(errno.EINVAL, "wrong region"), StorageError, 74, "wrong region.*data.remote.endpoint_url"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate"), StorageError, 74, "no credentials"),
    ],
)
def test_an_answer_that_is_final_is_not_asked_for_again(
    storage: type[FaultyFileSystem],
    tmp_path: Path,
    fault: Exception,
    error: type[AtftError],
    exit_code: int,
    words: str,
) -> None:
    def refuse(request: str, content: bytes) -> bytes:
        raise fault

    storage.fault = refuse
    with pytest.raises(error, match=words) as caught:
        local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    assert f"{ROOT}/panel.parquet" in str(caught.value)
    assert caught.value.exit_code == exit_code
    assert len(storage.asked) == 1


def test_wrong_bytes_are_asked_for_again_and_then_refused(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    wrong: list[str] = []
    most = 1

    def flip(request: str, content: bytes) -> bytes:
        if request.startswith("cat") and len(wrong) < most:
            wrong.append(request)
            return bytes([content[0] ^ 1]) + content[1:]
        return content

    storage.fault = flip
    assert pl.read_parquet(local_copy(config(tmp_path / "one", f"{ROOT}/panel.parquet"), silent)).equals(PANEL)
    most = 10**6
    with pytest.raises(StorageError, match=r"found others 2 times in panel.parquet.*check_etag=false"):
        local_copy(config(tmp_path / "two", f"{ROOT}/panel.parquet"), silent)
    assert copies_in(tmp_path / "two" / "cache") == []
    # Where the ETag is none of the content, somebody has to say so.
    local_copy(config(tmp_path / "two", f"{ROOT}/panel.parquet", check_etag=False), silent)


def test_an_answer_that_is_cut_off_is_no_answer(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    storage.fault = lambda request, content: content[:-1]
    with pytest.raises(StorageError, match="expected 4096 bytes from 0 on, got 4095"):
        local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    storage.fault = lambda request, content: content + b"more"
    with pytest.raises(StorageError, match="expected a server that sends parts of a file"):
        local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)


def test_data_that_change_while_they_come_over_are_asked_for_again(
    storage: type[FaultyFileSystem], tmp_path: Path
) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    newer = parquet(tmp_path, PANEL.head(50))

    def replace_after(request: str, content: bytes) -> bytes:
        if request.startswith("cat"):
            storage.fault = None
            put(storage, "panel.parquet", newer)
        return content

    storage.fault = replace_after
    assert local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent).read_bytes() == newer


@pytest.mark.parametrize("end", ["of the file", PermissionError("revoked"), FileNotFoundError("moved")])
def test_a_file_that_came_over_in_parts_of_two_versions_is_no_file_of_either(
    storage: type[FaultyFileSystem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str | Exception
) -> None:
    """Where no checksum is known: the first version is back, and its copy must not be what was left of the mixture.

    The first file is replaced after its first part; then it is whole, or the second file fails; then the newer version
    fails too, so that nothing is finished, and no copy of it replaces the mixture.
    """
    monkeypatch.setattr(remote_files, "CHECKSUM_ETAGS", set())
    folder = tmp_path / "there"
    folder.mkdir()
    old, new = b"A" * 8192, b"B" * 8192
    (folder / "one.parquet").write_bytes(old)
    os.utime(folder / "one.parquet", ns=(1, 10**18))
    if isinstance(end, Exception):
        (folder / "two.parquet").write_bytes(old)
        os.utime(folder / "two.parquet", ns=(1, 10**18))
    there = config(tmp_path, f"file://{folder}")
    stamps: list[str] = []
    read = remote_files.RemoteFiles.read

    def replaced(remote: remote_files.RemoteFiles, file: RemoteFile, start: int, stop: int) -> bytes:
        if file.name == "two.parquet":
            assert isinstance(end, Exception)
            raise explained(end, remote.address, "read")
        stamps.append(file.stamp)
        if file.stamp != stamps[0]:
            raise StorageError("the newer version fails")
        content = read(remote, file, start, stop)
        if len(stamps) == 1:
            (folder / "one.parquet").write_bytes(new)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(remote_files.RemoteFiles, "read", replaced)
        with pytest.raises(StorageError, match="the newer version fails"):
            local_copy(there, silent)
    (folder / "one.parquet").write_bytes(old)
    os.utime(folder / "one.parquet", ns=(1, 10**18))
    assert (local_copy(there, silent) / "one.parquet").read_bytes() == old


def test_a_full_disk_is_said_before_and_during(
    storage: type[FaultyFileSystem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, "panel.parquet", parquet(tmp_path))
    usage = remote_download.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(remote_download.shutil, "disk_usage", lambda path: usage._replace(free=10))
        with pytest.raises(StorageError, match=r"expected room for .* found 10 bytes free; free space"):
            local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)

    def full(descriptor: int, content: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(remote_download.os, "pwrite", full)
        with pytest.raises(StorageError, match=r"No space left on device; free space or set data\.cache"):
            local_copy(config(tmp_path, f"{ROOT}/panel.parquet"), silent)
    assert not list((tmp_path / "cache").rglob("*.parquet*"))


# What is wrong with what is there.


def test_a_damaged_store_is_refused_by_its_address(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    built = put_store(storage, tmp_path)
    shard = sorted(file.name for file in built.path.glob("*.arrow"))[1]
    content = (built.path / shard).read_bytes()
    there = config(tmp_path, f"{ROOT}/store")
    put(storage, f"store/{shard}", content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])
    with pytest.raises(DataError, match=shard) as caught:
        cached_store(Config(data=there), silent)
    assert all(problem.where.startswith(f"{ROOT}/store") for problem in caught.value.problems)
    put(storage, f"store/{shard}", content[:-1])
    with pytest.raises(DataError, match=f"expected {len(content)} bytes, found {len(content) - 1}"):
        cached_store(Config(data=there), silent)
    storage().rm(f"/bucket/store/{shard}")
    with pytest.raises(DataError, match=f"expected {len(content)} bytes, found none"):
        cached_store(Config(data=there), silent)
    put(storage, f"store/{MANIFEST}", b"{")
    with pytest.raises(DataError, match=f"manifest is damaged.*{ROOT}/store"):
        cached_store(Config(data=there), silent)
    assert copies_in(tmp_path / "cache") == []


def test_names_that_lead_elsewhere_are_refused(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    content = parquet(tmp_path)
    put(storage, "daily/one.parquet", content)
    storage.store["/bucket/daily/../../two.parquet"] = storage.store["/bucket/daily/one.parquet"]
    with pytest.raises(DataError, match="expected the name of a file below the address"):
        local_copy(config(tmp_path, f"{ROOT}/daily"), silent)


def test_a_copy_that_was_damaged_here_is_mended(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put_store(storage, tmp_path)
    there = config(tmp_path, f"{ROOT}/store")
    copy = local_copy(there, silent)
    shards = sorted(copy.glob("*.arrow"))
    whole = [shard.read_bytes() for shard in shards]
    shards[0].write_bytes(whole[0][:-1])  # seen at once
    storage.asked.clear()
    assert local_copy(there, silent) == copy
    assert set(reads(storage)) - {MANIFEST} == {shards[0].name}
    shards[1].write_bytes(bytes([whole[1][0] ^ 1]) + whole[1][1:])  # seen when every byte is read
    storage.asked.clear()
    assert local_copy(there, silent, verify=True) == copy
    assert set(reads(storage)) - {MANIFEST} == {shards[1].name}
    assert [shard.read_bytes() for shard in shards] == whole


def test_an_address_without_a_panel_says_what_was_expected(storage: type[FaultyFileSystem], tmp_path: Path) -> None:
    put(storage, "notes/readme.txt", b"no panel")
    with pytest.raises(DataError, match=r"expected \*.parquet files below the address, or a store"):
        open_source(config(tmp_path, f"{ROOT}/notes"), silent)
    put(storage, "notes/panel.parquet", b"no Parquet either")
    with pytest.raises(DataError, match=rf"first bytes.*{ROOT}/notes"):
        open_source(config(tmp_path, f"{ROOT}/notes"), silent)


@pytest.mark.parametrize(
    ("address", "remote", "words"),
    [
        ("nowhere://bucket/panel.parquet", {}, "Protocol not known: nowhere"),
        ("simplecache::s3://bucket/panel.parquet", {}, "the address of the files themselves"),
        ("zip://panel.parquet", {}, "the address of the files themselves"),
        ("faulty://bucket/panel.parquet", {"profile": "research"}, "data.remote.profile: expected an address of s3"),
        ("faulty://bucket/panel.parquet", {"anon": True}, "data.remote.anon: expected an address of s3, gs or abfs"),
    ],
)
def test_what_cannot_be_asked_is_a_configuration_error(
    storage: type[FaultyFileSystem], tmp_path: Path, address: str, remote: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        local_copy(config(tmp_path, address, **remote), silent)


def test_a_package_that_is_not_installed_is_named(
    storage: type[FaultyFileSystem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*arguments: Any, **keywords: Any) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", absent)
    with pytest.raises(ConfigError, match=r"expected the package for s3://.*pip install 'atft-gat-fan\[s3\]'"):
        local_copy(config(tmp_path, "s3://bucket/panel.parquet"), silent)


def test_an_address_that_came_past_the_configuration_still_holds_no_credential(tmp_path: Path) -> None:
    """`--data` replaces the source of a model's recipe, which is validated no more."""
    given = DataConfig().model_copy(update={"source": "s3://AKIA:secret@bucket/panel.parquet"})
    with pytest.raises(ConfigError, match="without credentials") as caught:
        local_copy(given, silent)
    assert "AKIA" not in str(caught.value)

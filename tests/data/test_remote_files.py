"""What a filesystem is made with, and how it is asked: so long and no longer, so many at a time and no more."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem

from atft_gat_fan.config.remote_section import RemoteConfig
from atft_gat_fan.data import remote_files
from atft_gat_fan.data.remote_files import RemoteFiles
from atft_gat_fan.data.remote_listing import RemoteFile
from atft_gat_fan.errors import StorageError

FILE = RemoteFile("panel.parquet", "bucket/panel.parquet", 4, "ETag=a")
PATIENCE = 10.0
"""Seconds, on a machine that is busy with other things."""


class SlowFileSystem(AsyncFileSystem):
    """`slow://`, asked asynchronously as s3 is: each answer waits until as many are asked for as `crowd` says."""

    protocol = "slow"
    cachable = False
    crowd: ClassVar[int] = 1
    asked: ClassVar[int] = 0
    most: ClassVar[int] = 0

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **keywords: Any) -> bytes:
        cls = type(self)
        cls.asked += 1
        cls.most = max(cls.most, cls.asked)
        for _ in range(int(PATIENCE / 0.01)):
            await asyncio.sleep(0.01)  # also of a crowd that is there: one more would come now
            if cls.most >= cls.crowd:
                break
        cls.asked -= 1
        return b"\0" * ((end or 0) - (start or 0))


@pytest.fixture
def slow() -> Iterator[type[SlowFileSystem]]:
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)
    SlowFileSystem.crowd, SlowFileSystem.asked, SlowFileSystem.most = 1, 0, 0
    yield SlowFileSystem
    SlowFileSystem.crowd = 0


WAITS = {"connect_timeout": 7.0, "read_timeout": 7.0, "retries": {"total_max_attempts": 1}}
EVERY_TIME = {"use_listings_cache": False}


@pytest.mark.parametrize(
    ("protocol", "config", "made_with"),
    [
        (
            "s3",
            RemoteConfig(anon=True, profile="p", options={"requester_pays": True}, timeout=7),
            {"anon": True, "profile": "p", "requester_pays": True, "config_kwargs": WAITS},
        ),
        (
            "s3a",
            RemoteConfig(
                endpoint_url="http://localhost:9000", options={"config_kwargs": {"read_timeout": 9}}, timeout=7
            ),
            {"endpoint_url": "http://localhost:9000", "config_kwargs": {**WAITS, "read_timeout": 9}},
        ),
        ("gs", RemoteConfig(anon=True), {"token": "anon"}),
        ("abfs", RemoteConfig(anon=True, options={"account_name": "a"}), {"anon": True, "account_name": "a"}),
        ("sftp", RemoteConfig(timeout=7, connections=3), {}),
    ],
)
def test_a_filesystem_is_made_with_what_the_keys_say(
    protocol: str, config: RemoteConfig, made_with: dict[str, Any]
) -> None:
    assert remote_files._arguments(protocol, config) == EVERY_TIME | made_with


def test_the_filesystem_has_them(slow: type[SlowFileSystem]) -> None:
    made = RemoteFiles("slow://bucket/panel.parquet", RemoteConfig(options={"requester_pays": True}))
    assert made._filesystem.storage_options == EVERY_TIME | {"requester_pays": True}


def test_an_answer_that_takes_longer_than_the_time_out_is_none(slow: type[SlowFileSystem]) -> None:
    slow.crowd = 2  # never comes
    remote = RemoteFiles("slow://bucket/panel.parquet", RemoteConfig(timeout=0.1, retries=0))
    with pytest.raises(StorageError, match=r"cannot read it after 1 tries: FSTimeoutError.*data\.remote\.timeout"):
        remote.read(FILE, 0, 4)


def test_an_answer_within_the_time_out_is_taken(slow: type[SlowFileSystem]) -> None:
    remote = RemoteFiles("slow://bucket/panel.parquet", RemoteConfig(timeout=PATIENCE, retries=0))
    assert remote.read(FILE, 0, 4) == b"\0" * 4


@pytest.mark.parametrize("connections", [1, 3])
def test_as_many_requests_at_a_time_as_there_are_connections(slow: type[SlowFileSystem], connections: int) -> None:
    slow.crowd = connections
    remote = RemoteFiles("slow://bucket/panel.parquet", RemoteConfig(connections=connections, timeout=2 * PATIENCE))
    requests = [partial(remote.read, FILE, 0, 4) for _ in range(4 * connections)]
    assert dict(remote.attended(requests, lambda: None)) == dict.fromkeys(range(4 * connections), b"\0" * 4)
    assert slow.most == connections

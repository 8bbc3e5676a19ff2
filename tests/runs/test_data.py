"""`atft data` on object storage: build, check and train from there, as on a path."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import fsspec
import pytest
from rich.console import Console

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import DataError
from atft_gat_fan.runs.data import build, check
from tests.object_storage import BUCKET, object_storage

MARKET = SyntheticConfig(num_stocks=8, num_days=120, num_sectors=2)


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with object_storage() as address:
        yield address


def console() -> Console:
    return Console(file=StringIO())


@pytest.mark.slow
def test_a_panel_there_becomes_a_store_there_that_checks(storage: str, tmp_path: Path) -> None:
    synthetic_panel(MARKET).write_parquet(tmp_path / "panel.parquet")
    filesystem = fsspec.filesystem("s3", endpoint_url=storage)
    filesystem.put_file(str(tmp_path / "panel.parquet"), f"{BUCKET}/panel.parquet")
    keys = [f"data.remote.endpoint_url={storage}", "data.horizons=[1,2]", f"data.cache={tmp_path}/cache"]
    panel, store = f"s3://{BUCKET}/panel.parquet", f"s3://{BUCKET}/store"
    here = build(str(tmp_path / "panel.parquet"), str(tmp_path / "store"), keys, console())
    there = build(panel, store, keys, console())
    assert there["store"] == store
    assert {**there, "store": None} == {**here, "store": None}
    assert check(panel, keys, console())["panel"] == panel
    elsewhere = [*keys[:2], f"data.cache={tmp_path}/elsewhere"]
    assert check(store, elsewhere, console()) == {**there, "verified": True}
    # What is damaged there is found there, whatever this machine still has.
    (shard,) = [path for path in filesystem.find(f"{BUCKET}/store") if path.endswith(".arrow")]
    content = filesystem.cat_file(shard)
    filesystem.pipe_file(shard, content[:-999] + bytes([content[-999] ^ 1]) + content[-998:])
    with pytest.raises(DataError, match=store):
        check(store, elsewhere, console())

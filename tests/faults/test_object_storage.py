"""Object storage over a real HTTP line that is cut, a server that refuses, and one that is not there."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from atft_gat_fan.config.remote_section import RemoteConfig
from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.remote import local_copy
from atft_gat_fan.data.remote_copies import copies_in
from atft_gat_fan.errors import DataError, StorageError
from tests.faults.conftest import Struck
from tests.object_storage import BUCKET, CREDENTIALS, CutLine, object_storage

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with object_storage() as address:
        filesystem = fsspec.filesystem("s3", endpoint_url=address)
        filesystem.pipe_file(f"{BUCKET}/panel.parquet", CONTENT)
        yield address


def config(tmp_path: Path, endpoint: str, name: str = "panel.parquet", retries: int = 3) -> DataConfig:
    remote = RemoteConfig(endpoint_url=endpoint, retries=retries, timeout=20)
    return DataConfig(source=f"s3://{BUCKET}/{name}", cache=str(tmp_path / "cache"), remote=remote)


def silent(name: str, share: float) -> None:
    assert 0 <= share <= 1, name


@pytest.mark.slow
@pytest.mark.fault("the line to object storage is cut in the middle", "asked again; the same bytes")
def test_a_line_that_is_cut(storage: str, tmp_path: Path, struck: Struck) -> None:
    with CutLine(storage, 300_000, times=2) as line:
        assert local_copy(config(tmp_path, line.address), silent).read_bytes() == CONTENT
        for _ in range(line.cuts):
            struck("cut")


@pytest.mark.slow
@pytest.mark.fault("the line to object storage is cut every time", "74 with the address; nothing that opens")
def test_a_line_that_stays_cut(storage: str, tmp_path: Path, struck: Struck) -> None:
    with CutLine(storage, 300_000, times=10**6) as line:
        with pytest.raises(StorageError, match=f"s3://{BUCKET}/panel.parquet: cannot read it after 2 tries"):
            local_copy(config(tmp_path, line.address, retries=1), silent)
        struck(line.cuts)
    assert copies_in(tmp_path / "cache") == []


@pytest.mark.slow
@pytest.mark.fault("object storage that refuses, has nothing, or is not there", "74, 65, 74 in words")
def test_answers_that_are_none(storage: str, tmp_path: Path, struck: Struck) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            struck(self.path)
            self.send_response(403)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - as the server calls them

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(StorageError, match=r"refuses \(403\).*data.remote.profile"):
            local_copy(config(tmp_path, address), silent)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(DataError, match="found nothing there"):
        local_copy(config(tmp_path, storage, "other.parquet"), silent)
    with pytest.raises(StorageError, match=r"after 1 tries.*Could not connect"):
        local_copy(config(tmp_path, address, retries=0), silent)


@pytest.mark.slow
@pytest.mark.fault("SIGTERM while object storage does not answer", "exit 143 at once")
def test_a_storage_that_does_not_answer_holds_up_nobody(tmp_path: Path, struck: Struck) -> None:
    pytest.importorskip("s3fs", reason="needs the extra s3")
    environment = {**os.environ, **CREDENTIALS}
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        address = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        command = [sys.executable, "-m", "atft_gat_fan.cli", "data", "check", f"s3://{BUCKET}/store"]
        process = subprocess.Popen([*command, f"data.remote.endpoint_url={address}"], cwd=tmp_path, env=environment)
        silent_server.settimeout(60)
        connection, _ = silent_server.accept()
        with connection:
            struck(connection.recv(16))
            process.terminate()
            assert process.wait(timeout=20) == 143

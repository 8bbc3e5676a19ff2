"""An S3 server on this machine (moto's), and a line to it that can be cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "panels"


@contextmanager
def object_storage() -> Iterator[str]:
    """The server's address; credentials are in the environment, and its one bucket is there."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    server_module = pytest.importorskip("moto.server", reason="needs moto")
    import s3fs

    server: Any = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            address = f"http://{host}:{port}"
            with suppress(FileExistsError):  # moto's buckets are the process's
                s3fs.S3FileSystem(endpoint_url=address).mkdir(BUCKET)
            yield address
        finally:
            server.stop()


class CutLine:
    """A line to `address` that is cut in the middle of the first answers: after `nbytes` of them, `times` times."""

    def __init__(self, address: str, nbytes: int, times: int) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._server, self._nbytes, self._left, self.cuts = (host, int(port)), nbytes, times, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "CutLine":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        with closing(source), closing(target), suppress(OSError):
            while content := source.recv(16384):
                passed += len(content)
                if answers and passed > self._nbytes and self._left:
                    self._left -= 1
                    self.cuts += 1
                    for end in (source, target):
                        end.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(content)

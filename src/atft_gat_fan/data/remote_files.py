"""The files at an address, by fsspec: listed, read and written with time-outs and tries, and errors in words."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from atft_gat_fan.config.remote_section import RemoteConfig, file_name, protocol_of, require_no_credentials
from atft_gat_fan.data.attended import attended
from atft_gat_fan.data.remote_errors import MissingRemoteError, explained, may_pass, said
from atft_gat_fan.data.remote_listing import Listing, RemoteFile
from atft_gat_fan.errors import ConfigError, StorageError

T = TypeVar("T")
CHUNK_BYTES = 8 << 20
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before a request is tried again, doubled each time."""
LISTING_TIME_OUTS = 10
"""A listing is many requests in one call."""
S3 = ("s3", "s3a")
EXTRAS = dict.fromkeys(S3, "atft-gat-fan[s3]") | {"gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs"}
"""What to install for a protocol."""
ANONYMOUS: dict[str, dict[str, Any]] = {
    **{protocol: {"anon": True} for protocol in (*S3, "abfs", "abfss", "az")},
    **{protocol: {"token": "anon"} for protocol in ("gs", "gcs")},
}
WRAPPERS = {
    "asynclocal", "blockcache", "cached", "dask", "dir", "filecache", "generic", "jupyter", "libarchive", "reference",
    "simplecache", "tar", "zip",
}  # fmt: skip
"""Filesystems of other filesystems: they keep copies of their own, or are told by the data where to read."""
WHOLE_AT_ONCE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}
"""Protocols that replace a file in one step when it is written; elsewhere it is written beside and renamed."""
UPLOADING = ".uploading"
"""Ends the name of a file that is written beside."""
CHECKSUM_ETAGS = {*S3}
"""Protocols whose ETags are made of the content; a web server's may look the same, and are its own affair."""


class RemoteFiles:
    """What is at `address` and below it.

    Every method waits `timeout` seconds at most for an answer, of protocols that fsspec reaches asynchronously (s3, gs,
    abfs, http; of others as long as their package does), tries again as `config` says, and raises StorageError that
    names the address, MissingRemoteError where nothing is there. `attended` does several of them, of such protocols
    `connections` at a time, of others one.
    Raises ConfigError for an address with credentials in it, an unknown protocol, options that its filesystem does not
    take, and a package that is not installed.
    """

    def __init__(self, address: str, config: RemoteConfig) -> None:
        self.address, self._config = address.rstrip("/"), config
        self.protocol = protocol_of(address)
        try:
            require_no_credentials(address)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if "::" in address or self.protocol in WRAPPERS:
            raise ConfigError(
                f"{address}: expected the address of the files themselves, as s3://bucket/panel.parquet, found one of "
                "an archive or of a cache"
            )
        self._filesystem, self._root = _opened(self.address, self.protocol, config)
        self._cancelled = threading.Event()

    @property
    def check_etag(self) -> bool:
        """Whether an ETag is a checksum here."""
        return self._config.check_etag and self.protocol in CHECKSUM_ETAGS

    def attended(self, requests: Sequence[Callable[[], T]], tick: Callable[[], None]) -> Iterator[tuple[int, T]]:
        """As many of `requests` at a time as may be, while `tick` watches; the results as they come."""
        self._cancelled = cancelled = threading.Event()
        # The file objects and sessions of the others are not made for threads.
        threads = self._config.connections if getattr(self._filesystem, "async_impl", False) else 1
        return attended(requests, threads, tick, cancelled)

    def watched(self, request: Callable[[], T], tick: Callable[[], None]) -> T:
        """One request, while `tick` watches."""
        ((_, result),) = self.attended([request], tick)
        return result

    def listing(self) -> Listing:
        """The file at the address, or all files below it."""
        found = self._info("")
        if found["type"] == "file":
            return Listing((RemoteFile.of(file_name(self.address), found),), is_file=True)
        limit = LISTING_TIME_OUTS * self._config.timeout
        infos: Mapping[str, Mapping[str, Any]] = self._ask("list", "find", self._root, seconds=limit, detail=True)
        # An object whose name ends in / stands for a folder in the storage's web pages.
        files = {path: info for path, info in infos.items() if info["type"] == "file" and not path.endswith("/")}
        return Listing(tuple(RemoteFile.of(self._name(path), info) for path, info in sorted(files.items())), False)

    def file(self, name: str) -> RemoteFile | None:
        """One file below the address; None where there is none."""
        try:
            found = self._info(name)
        except MissingRemoteError:
            return None
        return RemoteFile.of(name, found) if found["type"] == "file" else None

    def read(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """Some of its bytes. StorageError where the server sends others."""

        def ask() -> bytes:
            content: bytes = self._call("cat_file", file.path, start=start, end=stop)
            if len(content) > stop - start:
                raise StorageError(
                    f"{self.address}: expected a server that sends parts of a file when asked (HTTP ranges), found one "
                    "that sends all of it; put the data on another, or copy them here"
                )
            if len(content) < stop - start:
                raise ConnectionError(f"expected {stop - start} bytes from {start} on, got {len(content)}")
            return content

        return self._tried("read", ask) if stop > start else b""

    def write(self, name: str, file: Path, sent: Callable[[int], None]) -> RemoteFile:
        """Put a file at a name, whole or not at all, and say what the storage then has; `sent` is told the bytes."""
        from fsspec.callbacks import Callback

        class Sent(Callback):  # type: ignore[misc]
            def call(self, *_: Any, **__: Any) -> None:
                sent(self.value)

        target = f"{self._root}/{name}"
        limit = self._config.timeout * (1 + file.stat().st_size / CHUNK_BYTES)
        beside = target if self.protocol in WHOLE_AT_ONCE else f"{self._root}/.{name}{UPLOADING}"
        if self.protocol not in WHOLE_AT_ONCE:
            self._ask("write", "makedirs", self._root, exist_ok=True)

        # Of s3fs, or it holds ten parts of 50 MiB.
        parts = {"chunksize": CHUNK_BYTES, "max_concurrency": self._config.connections} if self.protocol in S3 else {}

        def put() -> None:
            self._call("put_file", str(file), beside, seconds=limit, callback=Sent(), **parts)
            if beside != target:
                self._filesystem.mv(beside, target)

        self._tried("write", put)
        found = self.file(name)
        if found is None:
            raise StorageError(
                f"{self.address}/{name}: expected the file that was written there, found none; try again"
            )
        return found

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""
        try:
            self._ask("delete in", "rm_file", f"{self._root}/{name}")
        except MissingRemoteError:
            return

    def _info(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("look at", "info", f"{self._root}/{name}" if name else self._root)
        return found

    def _name(self, path: str) -> str:
        root = self._filesystem._strip_protocol(self._root).rstrip("/")
        return str(self._filesystem._strip_protocol(path)).removeprefix(root).removeprefix("/")

    def _ask(self, doing: str, method: str, *arguments: Any, seconds: float | None = None, **keywords: Any) -> Any:
        return self._tried(doing, lambda: self._call(method, *arguments, seconds=seconds, **keywords))

    def _call(self, method: str, *arguments: Any, seconds: float | None = None, **keywords: Any) -> Any:
        """One request, of a filesystem that can be told so no longer than `seconds` (default: the time-out)."""
        coroutine = getattr(self._filesystem, f"_{method}", None)
        if not getattr(self._filesystem, "async_impl", False) or coroutine is None:
            return getattr(self._filesystem, method)(*arguments, **keywords)
        from fsspec.asyn import sync

        limit = self._config.timeout if seconds is None else seconds
        return sync(self._filesystem.loop, coroutine, *arguments, timeout=limit, **keywords)

    def _tried(self, doing: str, request: Callable[[], T]) -> T:
        wait, tries = FIRST_WAIT, self._config.retries + 1
        for number in range(1, tries + 1):
            try:
                return request()
            except Exception as error:  # each protocol's package has errors of its own
                if not may_pass(error):
                    raise explained(error, self.address, doing) from error
                if number == tries or self._cancelled.wait(wait):
                    raise StorageError(
                        f"{self.address}: cannot {doing} it after {number} tries: {said(error)}; look at the network "
                        "and start the same command again: files that are there already are kept "
                        "(data.remote.timeout, data.remote.retries)"
                    ) from error
                wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("at least one try")


def _opened(address: str, protocol: str, config: RemoteConfig) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(address, **_arguments(protocol, config))
    except ImportError as error:
        package = EXTRAS.get(protocol)
        mend = f"pip install '{package}'" if package else f"install the package of {protocol}://"
        raise ConfigError(f"{address}: expected the package for {protocol}://, found none ({error}); {mend}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{address}: expected a protocol of fsspec, and data.remote.options that it takes: {said(error)}"
        ) from error
    except Exception as error:  # each protocol's package has errors of its own
        raise explained(error, address, "open") from error
    if protocol in S3:
        filesystem.retries = 1
    return filesystem, root


def _arguments(protocol: str, config: RemoteConfig) -> dict[str, Any]:
    """What the filesystem is made with; nothing that it was told before is taken for what is there now."""
    arguments: dict[str, Any] = {"use_listings_cache": False}
    if config.anon:
        if protocol not in ANONYMOUS:
            raise ConfigError(f"data.remote.anon: expected an address of s3, gs or abfs, found {protocol}://; unset it")
        arguments |= ANONYMOUS[protocol]
    for key in ("endpoint_url", "profile"):
        if (value := getattr(config, key)) is not None:
            if protocol not in S3:
                raise ConfigError(f"data.remote.{key}: expected an address of s3, found {protocol}://; unset it")
            arguments[key] = value
    arguments |= config.options
    if protocol in S3:
        # Tries are ours alone: those of botocore and s3fs would multiply them, and nobody know how long it takes.
        waits = {
            "connect_timeout": config.timeout,
            "read_timeout": config.timeout,
            "retries": {"total_max_attempts": 1},
        }
        given = arguments.get("config_kwargs")
        arguments["config_kwargs"] = {**waits, **(given if isinstance(given, dict) else {})}
    return arguments

"""Keys of data at an address, and what an address may hold: never a credential, because addresses are written down."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, JsonValue, field_validator

from atft_gat_fan.config.section import PositiveFloat, Section

ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*://")
SECRET = re.compile(
    r"secret|token|passw|credential|signature|^sig$|^sas|private|access_?key|account_?key|api_?key|(^|[_-])key$|customer_?key"
    r"|connection_?string",
    re.IGNORECASE,
)
"""Names of options and of parameters in an address that hold credentials."""
WHERE_FROM = (
    "configurations, logs and run folders hold none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or what the "
    "protocol's package reads), or name a profile of ~/.aws in data.remote.profile"
)


def is_remote(source: str) -> bool:
    """Whether a source is an address, such as `s3://bucket/panel.parquet`, and not a path or a name."""
    return ADDRESS.match(source) is not None


def protocol_of(address: str) -> str:
    return address.partition("://")[0].lower()


def file_name(address: str) -> str:
    """The last part of an address, without its parameters: `panel.parquet`."""
    return PurePosixPath(urlsplit(address).path.rstrip("/") or urlsplit(address).netloc).name


def require_no_credentials(source: str) -> None:
    """Raises ValueError, which does not repeat it, for an address with a credential in it; other text passes."""
    if not is_remote(source):
        return
    parts = urlsplit(source.rpartition("::")[2])
    user, at, _ = parts.netloc.rpartition("@")
    # Azure writes container@account and ftp user@host; what stands before the bucket of the others is a key.
    if ":" in user or (at and parts.scheme in ("s3", "s3a", "gs", "gcs")):
        raise ValueError(
            f"expected an address without credentials, found some before the @ of {parts.scheme}://…: {WHERE_FROM}"
        )
    if named := [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SECRET.search(name)]:
        raise ValueError(f"expected an address without credentials, found the parameter {named[0]!r}: {WHERE_FROM}")


class RemoteConfig(Section):
    """How data at an address (`s3://bucket/panel.parquet`) are reached; paths need none of it."""

    endpoint_url: str | None = None
    """Server of an S3-compatible storage such as MinIO, with its scheme; null: AWS, or what its profile says."""
    profile: str | None = None
    """Profile of `~/.aws/config` and `~/.aws/credentials`; null: what `AWS_PROFILE` says, else the default one."""
    anon: bool = False
    """Ask without credentials, as public buckets allow."""
    options: dict[str, JsonValue] = Field(default={})
    """Further arguments of the protocol's fsspec filesystem (`{requester_pays: true}` of s3fs); never credentials."""
    connections: Annotated[int, Field(gt=0, le=64)] = 8
    """Requests at the same time, of protocols that fsspec reaches asynchronously (s3, gs, abfs, http; of others one);
    each holds 8 MiB."""
    timeout: PositiveFloat = 60.0
    """Seconds to wait for 8 MiB before the request is tried again, of protocols that fsspec reaches asynchronously
    (s3, gs, abfs, http)."""
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    """Further tries of a request that failed for a reason that may pass, after 0.5, 1, 2, … 30 seconds."""
    check_etag: bool = True
    """Take an S3 ETag for the checksum that it is, unless the bucket encrypts with keys of its own (SSE-KMS, SSE-C)."""

    @field_validator("endpoint_url")
    @classmethod
    def _a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        require_no_credentials(value)
        if protocol_of(value) not in ("http", "https") or "@" in urlsplit(value).netloc:
            raise ValueError("expected the address of a server without credentials, such as https://minio.example:9000")
        return value

    @field_validator("options")
    @classmethod
    def _no_credentials(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, held in _named(value):
            if SECRET.search(name):
                raise ValueError(f"expected no credentials, found the option {name!r}: {WHERE_FROM}")
            if isinstance(held, str):
                require_no_credentials(held)
        return value


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nest, with the nearest name above it."""
    yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _named(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, name)

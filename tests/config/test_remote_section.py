"""No credential gets into a configuration, whatever it is called, and none is repeated by the refusal."""

from typing import Any

import pytest

from atft_gat_fan.config.load import from_mapping, run_folder
from atft_gat_fan.config.remote_section import file_name, is_remote
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError


@pytest.mark.parametrize(
    "data",
    [
        {"source": "s3://AKIA:hush@bucket/panel.parquet"},
        {"source": "s3://hush@bucket/panel.parquet"},
        {"source": "simplecache::s3://AKIA:hush@bucket/panel.parquet"},
        {"source": "ftp://me:hush@host/panel.parquet"},
        {"source": "https://host/panel.parquet?X-Amz-Signature=hush&X-Amz-Expires=60"},
        {"source": "https://host/panel.parquet?sig=hush"},
        {"source": "https://host/panel.parquet?apikey=hush"},
        {"remote": {"options": {"key": "hush"}}},
        {"remote": {"options": {"secret": "hush"}}},
        {"remote": {"options": {"token": "hush"}}},
        {"remote": {"options": {"account_key": "hush"}}},
        {"remote": {"options": {"client_kwargs": {"aws_secret_access_key": "hush"}}}},
        {"remote": {"options": {"storage": [{"Password": "hush"}]}}},
        {"remote": {"options": {"client_kwargs": {"proxy": "http://me:hush@host"}}}},
        {"remote": {"endpoint_url": "https://me:hush@minio.example"}},
    ],
)
def test_credentials_are_refused_and_not_repeated(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="credentials") as caught:
        from_mapping({"data": data})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {"source": "s3://bucket/a@b.parquet"},
        {"source": "abfs://container@account.dfs.core.windows.net/panel.parquet"},
        {"source": "sftp://me@host/panel.parquet"},
        {"source": "https://host/panel.parquet?version=3"},
        {"source": "C:panel.parquet"},
        {"remote": {"options": {"requester_pays": True, "s3_additional_kwargs": {"SSEKMSKeyId": "alias/panels"}}}},
        {"remote": {"endpoint_url": "http://127.0.0.1:9000", "profile": "research"}},
    ],
)
def test_what_is_no_credential_passes(data: dict[str, Any]) -> None:
    assert from_mapping({"data": data})


def test_a_cache_is_a_folder_of_this_machine() -> None:
    with pytest.raises(ConfigError, match=r"data.cache: expected a folder of this machine"):
        from_mapping({"data": {"cache": "s3://bucket/cache"}})


def test_how_data_are_reached_is_not_what_is_computed() -> None:
    other = from_mapping({"data": {"remote": {"endpoint_url": "http://127.0.0.1:9000", "retries": 1}}})
    assert run_folder(other) == run_folder(Config())


@pytest.mark.parametrize(
    ("source", "remote"),
    [("s3://bucket/x", True), ("memory://x", True), ("panel.parquet", False), ("/a/b", False), ("sample", False)],
)
def test_addresses_are_told_from_paths(source: str, remote: bool) -> None:
    assert is_remote(source) is remote


def test_the_name_of_an_address_has_no_parameters() -> None:
    assert file_name("https://host/a/panel.csv.gz?version=3") == "panel.csv.gz"
    assert file_name("s3://bucket") == "bucket"

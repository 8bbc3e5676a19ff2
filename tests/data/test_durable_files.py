"""What is written is whole, and what fails leaves the old content and nothing else."""

import json
import math
import os
from pathlib import Path

import pytest

from atft_gat_fan.data.durable_files import replace_durably, strict_json


def test_new_content_replaces_the_old(tmp_path: Path):
    for content in (b"old", b"new"):
        replace_durably(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_content_alone(tmp_path: Path):
    """The target is a folder that is not empty: the rename fails after the bytes were written."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "inside").write_text("kept")
    with pytest.raises(OSError, match="target"):
        replace_durably(tmp_path / "target", b"new")
    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target" / "inside").read_text() == "kept"


def test_json_has_no_nan(tmp_path: Path):
    value = {"a": [1.5, math.nan, {"b": -math.inf}], "c": (math.inf, 2)}
    assert json.loads(strict_json(value)) == {"a": [1.5, None, {"b": None}], "c": [None, 2]}

"""A scratch folder lives as long as its work, however that ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from atft_gat_fan.data.scratch_folder import scratch_folder
from atft_gat_fan.errors import StorageError

HOLD = """
import os, signal, sys
from pathlib import Path
from atft_gat_fan.data.scratch_folder import scratch_folder

with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").write_bytes(b"1")
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(root: Path) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def test_it_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").write_text("")
        raise KeyError

    with pytest.raises(KeyError), scratch_folder(tmp_path / "new" / "root") as folder:
        fail(folder)
    assert list((tmp_path / "new" / "root").iterdir()) == []


def test_several_are_held_at_once_and_the_one_of_a_killed_process_is_swept_up(tmp_path: Path) -> None:
    alive, of_alive = hold(tmp_path)
    killed, of_killed = hold(tmp_path)
    killed.kill()
    killed.communicate()
    assert of_killed.is_dir()
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {own, of_alive}
        assert (of_alive / "rows").exists()
    alive.communicate("")
    assert alive.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_where_none_can_be_made_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.*Not a directory"), scratch_folder(tmp_path / "file" / "root"):
        pass

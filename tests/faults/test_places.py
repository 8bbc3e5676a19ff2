"""Places that cannot be written, and a TMPDIR that is elsewhere or nowhere."""

import os
import shutil
from pathlib import Path

import pytest


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.fault("run folder or cache on a read-only disk", "74, named; nothing changed")
@pytest.mark.parametrize("place", ["run", "finished", "cache"])
def test_a_disk_that_is_read_only_is_named(place, commands, small_run, tmp_path, struck):
    inside = tmp_path / "disk"
    outside = commands.mount(inside, "24m")
    if place == "finished":
        shutil.copytree(small_run.folder, outside / "run")
    before = content(outside)
    commands.remount(inside, "ro")
    cache, run = (inside / "cache", tmp_path / "run") if place == "cache" else (tmp_path / "cache", inside / "run")
    command = (
        ["evaluate", run] if place == "finished" else ["train", *small_run.arguments, *small_run.places(cache, run)]
    )
    answer = commands.atft(*command)
    answer.refused(74, str(inside))
    struck("Read-only file system" in answer.err)
    assert content(outside) == before


@pytest.mark.fault("run folder or cache without permission to write", "74, named; nothing changed")
@pytest.mark.parametrize("place", ["run", "cache"])
def test_a_folder_that_may_not_be_written_is_named(place, commands, small_run, tmp_path, struck):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
    (tmp_path / "closed").chmod(0o555)
    places = {
        "run": tmp_path / "open" / "run",
        "cache": tmp_path / "open" / "cache",
        place: tmp_path / "closed" / place,
    }
    command = ["train", *small_run.arguments, *small_run.places(places["cache"], places["run"])]
    answer = commands.atft(*command, privileged=False)
    answer.refused(74, str(tmp_path / "closed"))
    struck("Permission denied" in answer.err)
    assert not list((tmp_path / "closed").iterdir())


@pytest.mark.slow
@pytest.mark.fault("TMPDIR on another file system", "everything works, same bits")
def test_nothing_of_ours_is_moved_from_one_file_system_to_another(commands, small_run, tmp_path, struck):
    disks = [tmp_path / name for name in ("temporary", "cache", "run")]
    views = [commands.mount(disk, "24m") for disk in disks]
    temporary, cache, run = disks
    struck(len({os.stat(view).st_dev for view in views}) == 3)
    elsewhere = {"TMPDIR": str(temporary)}
    commands.atft(
        "train", *small_run.arguments, *small_run.places(cache / "cache", run / "run"), environment=elsewhere
    ).succeeded()
    out = run / "scores.parquet"
    commands.atft("predict", run / "run", "--data", small_run.panel, "--out", out, environment=elsewhere).succeeded()
    trained = views[2] / "run" / "model" / "weights.safetensors"
    assert trained.read_bytes() == (small_run.folder / "model" / "weights.safetensors").read_bytes()


@pytest.mark.fault("TMPDIR is no folder", "training works, same bits")
def test_a_temporary_folder_that_is_not_there_is_not_missed(commands, small_run, tmp_path, struck):
    nowhere = {"TMPDIR": str(tmp_path / "nowhere"), "TEMP": "/nowhere", "TMP": "/nowhere"}
    code = "import tempfile; print(tempfile.gettempdir() == {!r})".format(nowhere["TMPDIR"])
    struck("False" in commands.python(code, environment=nowhere).out)
    run = tmp_path / "run"
    commands.atft(
        "train", *small_run.arguments, *small_run.places(tmp_path / "cache", run), environment=nowhere
    ).succeeded()
    trained = run / "model" / "weights.safetensors"
    assert trained.read_bytes() == (small_run.folder / "model" / "weights.safetensors").read_bytes()

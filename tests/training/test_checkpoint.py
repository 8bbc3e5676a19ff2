import json
import math
from dataclasses import replace

import pytest
import torch

from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.errors import NonFiniteError, StorageError
from atft_gat_fan.training import checkpoint
from atft_gat_fan.training.checkpoint import (
    BEST_RAW,
    EMA_FILES,
    FILES,
    TrainingState,
    load_newest,
    read_tensors,
    save_checkpoint,
)


def state(step=10, epoch=0, value=1.0):
    return TrainingState(
        step=step,
        epoch=epoch,
        model={"weight": torch.full((3, 2), value), "ids": torch.arange(4)},
        optimizer={"step.weight": torch.tensor(float(step)), "exp_avg.weight": torch.randn(3, 2)},
        best={"weight": torch.full((3, 2), -value)},
        progress={"loss": math.nan, "tiny": 5e-324, "third": 1 / 3, "nothing": None},
    )


def with_ema(step=10, value=1.0):
    return replace(
        state(step, value=value),
        ema={"n_averaged": torch.tensor(step), "module.weight": torch.full((3, 2), value / 3)},
        best_raw={"weight": torch.full((3, 2), value)},
    )


def refuse(message):
    raise AssertionError(f"unexpected warning: {message}")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_round_trip_is_bit_exact(tmp_path):
    saved = state()
    save_checkpoint(tmp_path, saved)
    loaded = load_newest(tmp_path, refuse)
    assert (loaded.step, loaded.epoch) == (10, 0)
    for part in ("model", "optimizer", "best"):
        before, after = getattr(saved, part), getattr(loaded, part)
        assert before.keys() == after.keys()
        assert all(
            torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
        )
    assert math.isnan(loaded.progress.pop("loss"))
    assert loaded.progress == {"tiny": 5e-324, "third": 1 / 3, "nothing": None}


def test_views_of_a_larger_tensor_are_saved_as_they_look(tmp_path):
    view = torch.arange(12.0).reshape(3, 4).T[:2]
    save_checkpoint(tmp_path, replace(state(), model={"weight": view}))
    assert torch.equal(load_newest(tmp_path, refuse).model["weight"], view)


def test_no_checkpoint_is_not_an_error(tmp_path):
    assert load_newest(tmp_path, refuse) is None
    assert load_newest(tmp_path / "missing", refuse) is None


def test_the_newest_by_step_then_epoch_is_loaded(tmp_path):
    for each in (state(9), state(100), state(100, epoch=1)):
        save_checkpoint(tmp_path, each, keep=5)
    loaded = load_newest(tmp_path, refuse)
    assert (loaded.step, loaded.epoch) == (100, 1)


def test_rotation_keeps_the_newest_and_with_them_the_best_weights(tmp_path):
    for step in (10, 20, 30, 40):
        save_checkpoint(tmp_path, replace(state(step), best=state(10).best), keep=2)
    assert names(tmp_path) == [state(30).name, state(40).name]
    assert torch.equal(load_newest(tmp_path, refuse).best["weight"], state(10).best["weight"])


def test_averaged_weights_come_back_bit_exact_and_the_raw_ones_as_a_file(tmp_path):
    saved = with_ema()
    path = save_checkpoint(tmp_path, saved)
    loaded = load_newest(tmp_path, refuse)
    assert saved.ema.keys() == loaded.ema.keys()
    assert all(torch.equal(saved.ema[name], loaded.ema[name]) for name in saved.ema)
    assert loaded.best_raw == path / BEST_RAW
    assert torch.equal(read_tensors(loaded.best_raw)["weight"], saved.best_raw["weight"])


def test_the_raw_file_is_carried_on_and_outlives_its_checkpoint(tmp_path):
    first = save_checkpoint(tmp_path, with_ema(10, value=7.0))
    for step in (20, 30, 40):
        newest = load_newest(tmp_path, refuse)
        save_checkpoint(tmp_path, replace(with_ema(step), best_raw=newest.best_raw))
    assert not first.exists()
    assert torch.equal(read_tensors(load_newest(tmp_path, refuse).best_raw)["weight"], torch.full((3, 2), 7.0))
    copies = [path / BEST_RAW for path in tmp_path.iterdir()]
    assert len({copy.stat().st_ino for copy in copies}) == len(copies) == 2, "damage to one must not reach the other"


def test_without_an_ema_there_is_no_trace_of_it(tmp_path):
    path = save_checkpoint(tmp_path, state())
    assert sorted(names(path)) == sorted([*FILES, "manifest.json"])
    loaded = load_newest(tmp_path, refuse)
    assert (loaded.ema, loaded.best_raw) == ({}, None)


@pytest.mark.parametrize("file", [*FILES, *EMA_FILES, "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_any_damage_falls_back_to_the_older_one_loudly(tmp_path, file, damage):
    save_checkpoint(tmp_path, with_ema(10))
    victim = save_checkpoint(tmp_path, with_ema(20)) / file
    if damage == "flipped":
        flip_a_byte(victim)
    elif damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    warnings = []
    assert load_newest(tmp_path, warnings.append).step == 10
    assert len(warnings) == 1
    assert str(victim) in warnings[0] or "manifest.json" in file
    assert state(10).name in warnings[0]
    assert names(tmp_path) == [f"damaged_{state(20).name}", state(10).name]


def test_a_damaged_checkpoint_can_be_written_again_and_be_damaged_again(tmp_path):
    save_checkpoint(tmp_path, state(10))
    for _ in range(2):
        flip_a_byte(save_checkpoint(tmp_path, state(20)) / "model.safetensors")
        assert load_newest(tmp_path, lambda message: None).step == 10
    save_checkpoint(tmp_path, state(20))
    assert load_newest(tmp_path, refuse).step == 20


def test_damaged_ones_do_not_push_intact_ones_out(tmp_path):
    save_checkpoint(tmp_path, state(10))
    flip_a_byte(save_checkpoint(tmp_path, state(20)) / "model.safetensors")
    load_newest(tmp_path, lambda message: None)
    save_checkpoint(tmp_path, state(15))
    flip_a_byte(tmp_path / state(15).name / "model.safetensors")
    assert load_newest(tmp_path, lambda message: None).step == 10


def test_all_damaged_is_an_error_again_and_again(tmp_path):
    for step in (10, 20):
        flip_a_byte(save_checkpoint(tmp_path, state(step)) / "optimizer.safetensors")
    for _ in range(2):
        with pytest.raises(StorageError, match=r"2 damaged.*run\.fresh=true"):
            load_newest(tmp_path, refuse)


@pytest.mark.parametrize("part", ["model", "optimizer", "ema"])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_non_finite_state_never_replaces_a_finite_one(tmp_path, part, poison):
    save_checkpoint(tmp_path, state(10))
    bad = replace(state(20), **{part: {"weight": torch.tensor([1.0, poison])}})
    with pytest.raises(NonFiniteError, match="weight at step 20"):
        save_checkpoint(tmp_path, bad)
    assert names(tmp_path) == [state(10).name]


def test_a_disk_that_lies_is_noticed_before_anything_is_deleted(tmp_path, monkeypatch):
    for step in (10, 20):
        save_checkpoint(tmp_path, state(step))
    honest = checkpoint.write_durably

    def lying(path, content):
        honest(path, content)
        if path.name == "optimizer.safetensors":
            flip_a_byte(path)

    monkeypatch.setattr(checkpoint, "write_durably", lying)
    with pytest.raises(StorageError, match=r"optimizer\.safetensors.*earlier checkpoints are untouched"):
        save_checkpoint(tmp_path, state(30), keep=2)
    assert names(tmp_path) == [state(10).name, state(20).name]


def test_what_a_killed_save_left_is_ignored_and_swept_up(tmp_path):
    save_checkpoint(tmp_path, state(10))
    half = tmp_path / f".{state(20).name}.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert load_newest(tmp_path, refuse).step == 10
    save_checkpoint(tmp_path, state(30))
    assert names(tmp_path) == [state(10).name, state(30).name]


def test_saving_the_same_moment_twice_keeps_the_first(tmp_path):
    path = save_checkpoint(tmp_path, state(10))
    inode = path.stat().st_ino
    assert save_checkpoint(tmp_path, state(10)) == path
    assert path.stat().st_ino == inode


def test_a_manifest_cannot_point_outside_its_folder(tmp_path):
    path = save_checkpoint(tmp_path, state(10))
    manifest = json.loads((path / "manifest.json").read_text())
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes((path / "model.safetensors").read_bytes())
    (path / "model.safetensors").unlink()
    manifest["files"]["../outside.safetensors"] = manifest["files"]["model.safetensors"]
    (path / "manifest.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(StorageError, match=r"model\.safetensors"):
        load_newest(tmp_path, refuse)


def test_an_unknown_format_is_named(tmp_path):
    path = save_checkpoint(tmp_path, state(10))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(StorageError, match="expected checkpoint format 2, found 99"):
        load_newest(tmp_path, refuse)


def test_a_manifest_with_another_digit_is_damaged(tmp_path):
    path = save_checkpoint(tmp_path, state(10))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "step": 11}))
    with pytest.raises(StorageError, match=r"manifest\.json: it does not match its own checksum"):
        load_newest(tmp_path, refuse)


def test_after_going_back_what_was_given_up_is_older(tmp_path):
    for each in (state(20), state(40), replace(state(20), returns=1), replace(state(30), returns=1)):
        save_checkpoint(tmp_path, each, keep=None)
    assert load_newest(tmp_path, refuse).name == "step_00000030_epoch_0000_return_0001"
    save_checkpoint(tmp_path, replace(state(35), returns=1), keep=3)
    assert names(tmp_path) == [replace(state(step), returns=1).name for step in (20, 30, 35)]


def test_the_newest_that_is_wanted_is_loaded(tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, state(step), keep=None)
    assert load_newest(tmp_path, refuse, lambda found: found.step < 30).step == 20
    assert load_newest(tmp_path, refuse, lambda found: found.step < 10) is None

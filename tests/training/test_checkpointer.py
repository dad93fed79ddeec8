"""Checkpoints of a small state: nothing here compiles a network."""

import errno
import json
import shutil

import jax
import numpy as np
import pytest
from absl import logging
from small_state import make_meta as meta
from small_state import make_state
from small_state import save_steps as save
from small_state import shapes_of as like

from armoe_jax.checkpoints.workdir import load_workdir
from armoe_jax.training.checkpointer import Checkpointer, SavePlan


def restore(workdir, state=None, **kwargs):
    with Checkpointer(workdir, SavePlan(every=1, num_steps=100)) as checkpointer:
        return checkpointer.restore(like(state or make_state()), **kwargs)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.shape == y.shape
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("fsdp", [True, False])
def test_every_bit_comes_back(tmp_path, ema, fsdp):
    state = make_state(7, seed=7, ema=ema, fsdp=fsdp)
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(state, meta(note="x"))
    restored, saved_meta = restore(tmp_path, state)
    assert_same(restored, state)
    assert saved_meta["note"] == "x"
    assert saved_meta["step"] == 7
    for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert x.sharding == y.sharding


ALONE, SPLIT = {"num_devices": 1}, {"num_devices": 8, "fsdp": True}


@pytest.mark.parametrize(("before", "after"), [(ALONE, SPLIT), (SPLIT, ALONE)], ids=str)
def test_a_state_goes_on_on_other_devices(tmp_path, before, after):
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(make_state(7, seed=7, **before), meta())
    expected = make_state(7, seed=7, **after)
    restored, _ = restore(tmp_path, expected)
    assert_same(restored, expected)
    for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert x.sharding == y.sharding


def test_saved_bits_are_those_at_the_time_of_saving(tmp_path):
    """The state is donated to the next step while it is still being written."""

    def double(state):
        params = jax.tree.map(lambda x: x * 2, state.params)
        return state.replace(step=state.step + 1, params=params)

    step = jax.jit(double, donate_argnums=0)
    state = make_state(1)
    kernel = np.asarray(state.params["a"]["kernel"])
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100, keep=10)) as checkpointer:
        for _ in range(5):
            checkpointer.save(state, meta())
            state = step(state)
    for number in range(5, 0, -1):
        restored, saved_meta = restore(tmp_path)
        assert saved_meta["step"] == number
        np.testing.assert_array_equal(restored.params["a"]["kernel"], kernel * 2.0 ** (number - 1))
        shutil.rmtree(tmp_path / "checkpoints" / str(number))


def test_without_checkpoints_there_is_nothing_to_restore(tmp_path):
    assert restore(tmp_path) is None


def test_the_plan_says_when(tmp_path):
    with Checkpointer(tmp_path, SavePlan(every=5, num_steps=12)) as checkpointer:
        assert [s for s in range(1, 13) if checkpointer.is_due(s)] == [5, 10, 12]


def test_newest_and_best_are_kept(tmp_path):
    plan = SavePlan(every=1, num_steps=100, keep=2)
    kept = save(tmp_path, 1, 2, 3, 4, 5, 6, plan=plan, psnr={2: 31.5, 4: 30.0, 5: 30.5})
    assert kept == [2, 5, 6]


def test_saving_a_step_again_leaves_its_checkpoint_alone(tmp_path):
    """A kill between deleting and writing anew would leave nothing."""
    save(tmp_path, 3)
    folder = tmp_path / "checkpoints" / "3"
    files = {path: path.stat().st_ino for path in folder.rglob("*")}
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100, keep=1)) as checkpointer:
        checkpointer.save(make_state(3, seed=3), meta(validated=False))
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == files


def test_figures_are_added_to_a_complete_checkpoint(tmp_path):
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(make_state(3, seed=3), meta(validated=False))
        checkpointer.save(make_state(4, seed=4), meta(validated=False))
        checkpointer.add_metrics(3, {"psnr_y": 31.0})
        checkpointer.add_metrics(4, {"psnr_y": 30.0})
    restored, saved_meta = restore(tmp_path)
    assert saved_meta["validated"] is True
    assert_same(restored, make_state(4, seed=4))
    _, best = load_workdir(tmp_path)
    np.testing.assert_array_equal(best["params"]["b"], make_state(3, seed=3).params["b"])


def test_without_figures_a_checkpoint_is_still_to_be_validated(tmp_path):
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(make_state(3), meta(validated=False))
    # As a kill in between leaves it.
    (tmp_path / "checkpoints" / "3" / "metrics" / "metrics").unlink()
    _, saved_meta = restore(tmp_path)
    assert saved_meta["validated"] is False


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ValueError("UNAVAILABLE: Error reading local file: Connection timed out"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("part", ["description", "arrays"])
def test_what_cannot_be_read_at_present_stays_where_it_is(tmp_path, monkeypatch, error, part):
    save(tmp_path, 3, 6)

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patched:
        if part == "description":
            patched.setattr("armoe_jax.training.checkpointer.read_meta", fail)
        else:
            patched.setattr(Checkpointer, "_read_state", fail)
        with pytest.raises(OSError, match=r"step 6 .* cannot be read at present .* same command"):
            restore(tmp_path)
    assert not (tmp_path / "damaged_checkpoints").exists()
    assert restore(tmp_path)[1]["step"] == 6


def flip_bit(folder):
    # Orbax keeps each process's files beside the merged ones; which are read is its business.
    for path in folder.glob("model/**/d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def truncate(folder):
    for path in folder.glob("training/**/d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_arrays(folder):
    shutil.rmtree(folder / "ema" / "d")


def remove_meta(folder):
    shutil.rmtree(folder / "meta")


def garble_meta(folder):
    (folder / "meta" / "metadata").write_text('{"step": 9')


def change_arrays_unnoticed_by_the_format(folder):
    """Gives one array of the description another fingerprint: as if the bits had changed."""
    path = folder / "meta" / "metadata"
    content = json.loads(path.read_text())
    content["fingerprints"]["model"][0] ^= 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        flip_bit,
        truncate,
        remove_arrays,
        remove_meta,
        garble_meta,
        change_arrays_unnoticed_by_the_format,
    ],
)
def test_a_damaged_newest_checkpoint_is_set_aside(tmp_path, damage, caplog):
    save(tmp_path, 3, 6)
    damage(tmp_path / "checkpoints" / "6")
    with caplog.at_level(logging.ERROR, logger="absl"):
        restored, saved_meta = restore(tmp_path)
    assert "the checkpoint of step 6 is damaged and is not used" in caplog.text
    assert saved_meta["step"] == 3
    assert_same(restored, make_state(3, seed=3))
    assert (tmp_path / "damaged_checkpoints" / "6").is_dir()
    assert save(tmp_path, 6) == [3, 6]


def test_if_all_are_damaged_the_error_says_so(tmp_path):
    save(tmp_path, 3)
    remove_meta(tmp_path / "checkpoints" / "3")
    with pytest.raises(ValueError, match=r"are damaged \(steps \[3\]\)"):
        restore(tmp_path)


def test_a_checkpoint_that_does_not_fit_is_not_called_damaged(tmp_path):
    save(tmp_path, 3)

    def refuse(saved_meta):
        raise ValueError(f"other network than {saved_meta['model']['embed_dim']}")

    with pytest.raises(ValueError, match="other network than 48"):
        restore(tmp_path, check=refuse)
    assert (tmp_path / "checkpoints" / "3").is_dir()


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    save(tmp_path, 3)
    half = tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "3", half)
    _, saved_meta = restore(tmp_path)
    assert saved_meta["step"] == 3
    assert not half.exists()


def test_a_folder_that_cannot_be_written_gives_a_clear_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises((OSError, ValueError)):
        save(tmp_path, 1)


@pytest.mark.parametrize("field", ["every", "keep"])
def test_plans_refuse_zero(field):
    with pytest.raises(ValueError, match=rf"checkpoint.{field} is 0"):
        SavePlan(**({"every": 1, "num_steps": 1} | {field: 0}))

"""Checkpoints: the last few of a run stay, the newest whole one is found, and nothing else in the folder is touched."""

import os
import re
import warnings
from pathlib import Path

import pytest
from parts import Holder

import minima as mi
from minima.checkpoint import CheckpointError
from minima.checkpoint.format import number_of


def names(folder):
    return sorted(os.listdir(folder))


def steps(folder):
    return [int(name[5:13]) for name in names(folder)]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(1, [50]), (2, [40, 50]), (3, [30, 40, 50]), (9, [10, 20, 30, 40, 50]), (None, [10, 20, 30, 40, 50])],
)
def test_the_last_ones_stay(keep, expected, tmp_path):
    checkpoints = mi.Checkpoints(tmp_path / "deep" / "run", keep=keep)
    for step in (10, 20, 30, 40, 50):
        path = checkpoints.save(step, holder=Holder(x=step))
        assert path == tmp_path / "deep" / "run" / f"step-{step:08d}.safetensors" and path.exists()
    assert steps(checkpoints.folder) == expected
    holder = Holder(x=0)
    assert checkpoints.load(holder=holder) == {"step": 50} and holder.state == {"x": 50}
    assert checkpoints.newest() == path
    assert checkpoints.load() == {"step": 50, "holder": {"x": 50}}


def test_an_empty_or_missing_folder_has_none_and_is_not_made_by_looking(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        checkpoints = mi.Checkpoints(folder)
        assert checkpoints.newest() is None and checkpoints.load(a=Holder()) is None and checkpoints.paths() == []
    assert names(tmp_path) == []


FOREIGN = ["step-1.safetensors", "step-0000000001.safetensors", "step-00000001.safetensors.bak", "step-00000001"]
FOREIGN += ["xstep-00000001.safetensors", "model.safetensors", "notes.txt", ".step-00000001.safetensors.tmp"]


def test_files_of_others_are_never_touched_nor_read(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).write_text("mine")
    (tmp_path / "step-99999999.safetensors").mkdir()
    checkpoints = mi.Checkpoints(tmp_path, keep=1)
    for step in (100, 200):
        checkpoints.save(step, a=1)
    assert names(tmp_path) == sorted([*FOREIGN, "step-99999999.safetensors", "step-00000200.safetensors"])
    assert all((tmp_path / name).read_text() == "mine" for name in FOREIGN)
    assert checkpoints.load() == {"a": 1, "step": 200}


def test_steps_beyond_eight_digits_are_the_newest_too(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=2)
    for step in (99_999_998, 99_999_999, 100_000_000):
        checkpoints.save(step, a=1)
    assert [path.name for path in checkpoints.paths()] == ["step-99999999.safetensors", "step-100000000.safetensors"]
    assert checkpoints.load() == {"a": 1, "step": 100_000_000}


def test_a_step_that_is_saved_again_replaces_its_file(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=2)
    for step, a in ((10, 1), (20, 2), (20, 3)):
        checkpoints.save(step, a=a)
    assert steps(tmp_path) == [10, 20] and checkpoints.load() == {"a": 3, "step": 20}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_new_one_stays_though_its_step_is_lower_than_those_that_are_there(keep, tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=None)
    for step in (100, 200, 300):
        checkpoints.save(step, a=1)
    mi.Checkpoints(tmp_path, keep=keep).save(50, a=1)
    assert steps(tmp_path) == [50, 200, 300][:1] + [200, 300][3 - keep :]


def test_a_run_taken_back_to_an_earlier_step_goes_on_with_its_own_files(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=2)
    for step in (100, 200, 300):
        checkpoints.save(step, run="first")
    for step in (110, 120):
        checkpoints.save(step, run="second")
        assert checkpoints.load() == {"run": "second", "step": step}
        assert mi.Checkpoints(tmp_path).newest().name == f"step-{step:08d}.safetensors"
    assert steps(tmp_path) == [110, 120]
    checkpoints.save(110, run="third")
    assert checkpoints.load()["run"] == "third" and [path.name[11:13] for path in checkpoints.paths()] == ["20", "10"]


def test_the_time_of_a_file_does_not_count(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path)
    for step in (30, 20, 10):
        os.utime(checkpoints.save(step, a=1), (step, step))
    assert checkpoints.load()["step"] == 10


def test_the_newest_that_is_saved_again_has_the_same_bytes(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=1)
    for step in (10, 20):
        path = checkpoints.save(step, a=1)
    before = path.read_bytes()
    assert checkpoints.save(20, a=1).read_bytes() == before


def test_files_that_are_not_numbered_are_older_than_those_that_are(tmp_path):
    """As earlier versions of minima wrote them."""
    checkpoints = mi.Checkpoints(tmp_path, keep=3)
    for step in (100, 300, 200):
        mi.save(tmp_path / f"step-{step:08d}.safetensors", step=step, run="old")
    assert checkpoints.load() == {"step": 300, "run": "old"}
    checkpoints.save(50, run="new")
    assert checkpoints.load() == {"step": 50, "run": "new"} and steps(tmp_path) == [50, 200, 300]
    checkpoints.save(60, run="new")
    assert steps(tmp_path) == [50, 60, 300]


def test_a_file_whose_number_cannot_be_read_comes_first(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=None)
    for step in (10, 20, 30):
        checkpoints.save(step, a=1)
    newest = checkpoints.paths()[2]
    newest.write_bytes(b"")
    assert [number_of(path) for path in checkpoints.paths()] == [0, 1, 2]
    assert checkpoints.load()["step"] == 20
    assert number_of(checkpoints.save(25, a=1)) == 3 and number_of(tmp_path / "missing") == 0


def damaged(path):
    content = bytearray(path.read_bytes())
    content[50] ^= 1  # in the checksum
    path.write_bytes(content)


def test_damaged_ones_are_skipped_with_a_warning(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path)
    for step in (10, 20, 30):
        checkpoints.save(step, holder=Holder(x=step))
    _, second, third = checkpoints.paths()
    damaged(third)
    holder = Holder(x=0)
    told = f"Checkpoints.load: {third} is damaged: its checksum does not fit what is in it; it is skipped"
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(told)}$") as caught:
        assert checkpoints.load(holder=holder)["step"] == 20
    assert holder.state == {"x": 20} and len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="^Checkpoints.newest: .* is damaged") as caught:
        assert checkpoints.newest() == second
    assert caught[0].filename == __file__
    for path in checkpoints.paths():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="it is cut off after 100 bytes; it is skipped") as caught:
        assert checkpoints.load(holder=holder) is None
    assert len(caught) == 3 and holder.state == {"x": 20}


def test_a_run_that_went_on_from_before_a_damaged_one_heals_it(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path, keep=2)
    for step in (10, 20):
        checkpoints.save(step, a=1)
    damaged(checkpoints.paths()[1])
    with pytest.warns(RuntimeWarning):
        assert checkpoints.load()["step"] == 10
    checkpoints.save(20, a=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.load()["step"] == 20


def test_one_that_is_whole_but_does_not_fit_is_not_skipped(tmp_path):
    checkpoints = mi.Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, holder=Holder(x=step))
    with pytest.raises(
        CheckpointError, match="step-00000020.safetensors must fit what it is loaded into: holder refuses"
    ):
        checkpoints.load(holder=Holder(y=1))
    with pytest.raises(CheckpointError, match="step-00000020.safetensors must hold ema, which was asked for"):
        checkpoints.load(ema=Holder())
    with pytest.raises(TypeError, match="^Checkpoints.load: holder must be an object with state_dict"):
        checkpoints.load(holder=1)


def test_one_that_vanishes_while_it_is_looked_for_is_passed_over(tmp_path, monkeypatch):
    checkpoints = mi.Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, a=1)
    all_paths = checkpoints.paths()
    all_paths[1].unlink()
    monkeypatch.setattr(checkpoints, "paths", lambda: all_paths)
    assert checkpoints.load()["step"] == 10


def test_a_save_that_fails_deletes_nothing(tmp_path, monkeypatch):
    checkpoints = mi.Checkpoints(tmp_path, keep=1)
    checkpoints.save(10, a=1)

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="Checkpoints.save: .* could not be written: No space left on device"):
            checkpoints.save(20, a=1)
    with pytest.raises(TypeError, match="^Checkpoints.save: a must be made of"):
        checkpoints.save(20, a=print)
    assert steps(tmp_path) == [10]


def test_one_that_cannot_be_deleted_stays_with_a_warning(tmp_path, monkeypatch):
    checkpoints = mi.Checkpoints(tmp_path, keep=1)
    checkpoints.save(10, a=1)

    def refused(path, missing_ok=False):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with pytest.warns(RuntimeWarning, match="is old and could not be deleted: Permission denied$") as caught:
            checkpoints.save(20, a=1)
    assert caught[0].filename == __file__ and steps(tmp_path) == [10, 20]
    checkpoints.save(30, a=1)
    assert steps(tmp_path) == [30]


@pytest.mark.parametrize("act", ["make", "save"])
def test_what_killed_processes_left_is_cleared_whatever_their_step(act, tmp_path):
    checkpoints = mi.Checkpoints(tmp_path)
    for step in (10, 123_456_789):
        (tmp_path / f".step-{step:08d}.safetensors.0123456789abcdef.tmp").write_bytes(b"half")
    other = tmp_path / ".model.safetensors.0123456789abcdef.tmp"
    other.write_bytes(b"half")
    if act == "make":
        mi.Checkpoints(tmp_path)
    else:
        checkpoints.save(20, a=1).unlink()
    assert names(tmp_path) == [other.name]


MISTAKES = [
    (
        lambda folder: mi.Checkpoints(folder, keep=0),
        ValueError,
        "Checkpoints: keep must be an integer of at least 1; got 0",
    ),
    (
        lambda folder: mi.Checkpoints(folder, keep=1.5),
        TypeError,
        "Checkpoints: keep must be an integer of at least 1; got 1.5",
    ),
    (
        lambda folder: setattr(mi.Checkpoints(folder), "keep", 0),
        ValueError,
        "Checkpoints: keep must be an integer of at least 1; got 0",
    ),
    (
        lambda folder: mi.Checkpoints(folder).save(-1, a=1),
        ValueError,
        "Checkpoints.save: step must be an integer of at least 0; got -1",
    ),
    (
        lambda folder: mi.Checkpoints(folder).save(1, step=2),
        ValueError,
        "Checkpoints.save: step is saved by itself and must not be given twice; got 2",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_a_mistake_gets_one_sentence(call, error, message, tmp_path):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(tmp_path)
    assert names(tmp_path) == []


def test_it_tells_what_it_is(tmp_path):
    assert repr(mi.Checkpoints(tmp_path, keep=None)) == f"Checkpoints({str(tmp_path)!r}, keep=None)"

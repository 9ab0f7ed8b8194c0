"""A mistake gets one sentence, and a load that fails leaves everything as it was."""

import contextlib
import os
import pickle
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from parts import Careless, Holder, network, optimizer_state, same

import minima as mi
from minima import nn
from minima.checkpoint import CheckpointError
from minima.data import DataLoader
from minima.random import generator, get_state

ALLOWED = "must be made of numbers, strings, None, lists, tuples, dicts, NumPy arrays and Tensors; got "
SMALL = " must hold numbers of at most 8 bytes, and real ones; got "
UNSAVED = [
    ({"a": {1, 2}}, TypeError, "a " + ALLOWED + "{1, 2}"),
    ({"a": {"b": [0, 1j]}}, TypeError, "a / b / 1 " + ALLOWED + "1j"),
    ({"a": b"x"}, TypeError, "a " + ALLOWED + "b'x'"),
    ({"a": np.array(["x"])}, TypeError, "a" + SMALL + "dtype('<U1')"),
    ({"a": np.zeros(1, complex)}, TypeError, "a" + SMALL + "dtype('complex128')"),
    ({"a": np.array([None])}, TypeError, "a" + SMALL + "dtype('O')"),
    ({"a": np.zeros(1, np.longdouble)}, TypeError, "a" + SMALL + repr(np.dtype(np.longdouble))),
    ({"a": np.longdouble(1)}, TypeError, "a " + ALLOWED + repr(np.longdouble(1))),
    ({"a": {(1, b"x"): 1}}, TypeError, "a / a key / 1 " + ALLOWED + "b'x'"),
    ({"a": nn.Linear}, TypeError, "a " + ALLOWED + repr(nn.Linear)),
    ({"m": Holder(f=print)}, TypeError, "m / f " + ALLOWED + "<built-in function print>"),
    ({}, ValueError, "at least one object or value must be given, as in model=model"),
]


@pytest.mark.parametrize(("contents", "error", "message"), UNSAVED)
def test_what_cannot_be_saved_is_named_and_the_file_stays_as_it_was(contents, error, message, tmp_path):
    path = tmp_path / "x"
    mi.save(path, step=1)
    before = path.read_bytes()
    with pytest.raises(error, match=f"^{re.escape('save: ' + message)}$"):
        mi.save(path, **contents)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x"]


def test_what_contains_itself_or_is_too_deep_or_too_much_is_refused(tmp_path, monkeypatch):
    endless = []
    endless.append(endless)
    deep = 1
    for _ in range(5000):
        deep = [deep]
    for value in (endless, {"a": endless}, deep):
        with pytest.raises(
            ValueError, match="^save: a must not contain itself, nor be nested hundreds of levels deep$"
        ):
            mi.save(tmp_path / "x", a=value)
    monkeypatch.setattr("minima.checkpoint.format._LARGEST_HEADER", 1000)
    with pytest.raises(
        ValueError, match="^save: data other than arrays must fit into a header of 100 million bytes; got "
    ):
        mi.save(tmp_path / "x", a=[0.5] * 500)
    assert not os.listdir(tmp_path)


# Loading -------------------------------------------------------------------------------------------------------------


def refuses(message, error=CheckpointError):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path):
    path = tmp_path / "x"
    with refuses(f"[Errno 2] load: there is no file {path}", FileNotFoundError):
        mi.load(path, model=network())
    with refuses(
        f"[Errno 21] load: {tmp_path} cannot be read: Is a directory; "
        "Checkpoints(folder).load loads the newest one in a folder",
        IsADirectoryError,
    ):
        mi.load(tmp_path)


@contextlib.contextmanager
def nobody():
    """Act as somebody who may not do everything, which root may."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are those of POSIX")
def test_a_file_that_may_not_be_read_and_a_folder_that_may_not_be_written_are_named():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        mi.save(path, step=1)
        path.chmod(0)
        os.chmod(folder, 0o555)
        with nobody():
            with refuses(f"[Errno 13] load: {path} cannot be read: Permission denied", PermissionError):
                mi.load(path)
            with refuses(f"[Errno 13] save: {path} could not be written: Permission denied", PermissionError):
                mi.save(path, step=2)
            inner = Path(folder) / "y"
            with refuses(f"[Errno 13] Checkpoints.save: {inner} could not be made: Permission denied", PermissionError):
                mi.Checkpoints(inner).save(1, a=1)
        os.chmod(folder, 0o755)


class Trap:
    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def pickled():
    return pickle.dumps({"model": Trap()})


def zipped():
    return b"PK\x03\x04" + bytes(200)


def foreign():
    safetensors = pytest.importorskip("safetensors.numpy")
    return safetensors.save({"weight": np.ones(3, "float32")}, {"format": "pt"})


FOREIGN = {
    "pickle": pickled,
    "torch.save": zipped,
    "empty": bytes,
    "text": lambda: b"step 100\n" * 9,
    "short": lambda: b"x",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_checkpoint_is_refused_and_nothing_in_it_runs(kind, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(FOREIGN[kind]())
    with refuses(f"load: {path} is not a checkpoint that minima.save wrote"):
        mi.load(path, model=network())
    assert not Trap.sprung


def test_a_file_of_safetensors_by_others_is_refused_with_a_hint(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(foreign())
    with refuses(f"load: {path} is not a checkpoint that minima.save wrote; safetensors.numpy.load_file reads others"):
        mi.load(path)


# All or nothing ------------------------------------------------------------------------------------------------------


class Run:
    """Objects of every kind, what is in them, and the place of the generator."""

    def __init__(self, hidden=4, **others):
        self.objects = {
            "model": nn.Sequential(nn.Linear(5, hidden), nn.Dropout(0.5), nn.Linear(hidden, 3)),
            "optimizer": Holder(**optimizer_state(network())),
            "loader": DataLoader(range(10), batch_size=3, shuffle=True),
            **others,
        }

    def seen(self):
        states = {name: each.state_dict() for name, each in self.objects.items()}
        return pickle.loads(pickle.dumps((states, get_state())))


def saved(path):
    run = Run()
    iterator = iter(run.objects["loader"])
    next(iterator)
    mi.save(path, step=5, **run.objects)
    del iterator
    return run


REFUSALS = {
    "the first": (lambda: Run(hidden=6), "model", "Sequential.load_state_dict: state_dict must fit the module"),
    "the second": (lambda: Run(optimizer=Holder(other=1)), "optimizer", "Holder: the state must have ['other']"),
    "the last": (
        lambda: Run(loader=DataLoader(range(10), batch_size=4, shuffle=True)),
        "loader",
        "batch_size 3, not 4",
    ),
}


@pytest.mark.parametrize("which", REFUSALS)
def test_when_an_object_refuses_its_state_all_stay_as_they_were(which, tmp_path):
    path = tmp_path / "x"
    saved(path)
    make, name, reason = REFUSALS[which]
    run = make()
    generator().random(3)
    before = run.seen()
    with pytest.raises(CheckpointError) as caught:
        mi.load(path, **run.objects)
    assert same(run.seen(), before)
    text = str(caught.value)
    assert text.startswith(f"load: {path} must fit what it is loaded into: {name} refuses its state (")
    assert reason in text and text.endswith("; nothing was loaded") and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("error", [KeyError, MemoryError, KeyboardInterrupt])
def test_an_object_that_took_a_part_before_it_failed_is_put_back_too(error, tmp_path):
    class Failing(Careless):
        fail = True

        def load_state_dict(self, state_dict):
            self.state["first"] = state_dict["first"]
            generator().random()
            if self.fail:
                self.fail = False
                raise error("second")
            super().load_state_dict(state_dict)

    path = tmp_path / "x"
    mi.save(path, a=Holder(x=np.zeros(2)), b=Holder(first=1, second=2))
    run = Run(a=Holder(x=np.ones(2)), b=Failing(first=10, second=20))
    objects = {name: run.objects[name] for name in "ab"}
    before = run.seen()
    with pytest.raises(CheckpointError if error is KeyError else error):
        mi.load(path, **objects)
    assert same(run.seen(), before)


def test_an_object_that_cannot_be_put_back_is_named(tmp_path):
    path = tmp_path / "x"
    mi.save(path, a=Holder(first=1, second=2), b=Holder(x=1))
    broken = Careless(first=10)
    with pytest.raises(CheckpointError, match="and a also refuses the state that it had before"):
        mi.load(path, a=broken, b=Holder(y=1))


MISFITS = [
    ({"ema": Holder()}, CheckpointError, "{} must hold ema, which was asked for; it holds {}; nothing was loaded"),
    ({"step": Holder()}, CheckpointError, "{} must hold step, which was asked for; it holds {}; nothing was loaded"),
    (
        {"model": 3},
        TypeError,
        "model must be an object with state_dict() and load_state_dict(); got 3; plain values are in what is returned",
    ),
    (
        {"model": Holder},
        TypeError,
        f"model must be an object with state_dict() and load_state_dict(); got {Holder!r}; "
        "plain values are in what is returned",
    ),
]


@pytest.mark.parametrize(("asked", "error", "message"), MISFITS)
def test_what_is_asked_for_and_cannot_be_had_is_named(asked, error, message, tmp_path):
    path = tmp_path / "x"
    saved(path)
    run = Run()
    before = run.seen()
    with refuses("load: " + message.format(path, "model, optimizer, loader, step (a plain value)"), error):
        mi.load(path, **{**run.objects, **asked})
    assert same(run.seen(), before)


WRONG_PATHS = [
    ("save: path must be a string or a pathlib.Path; got 3", lambda: mi.save(3, step=1)),
    ("load: path must be a string or a pathlib.Path; got None", lambda: mi.load(None)),
    ("Checkpoints: folder must be a string or a pathlib.Path; got 7", lambda: mi.Checkpoints(7)),
]


@pytest.mark.parametrize(("words", "call"), WRONG_PATHS, ids=[words for words, _ in WRONG_PATHS])
def test_what_is_no_path_is_refused_in_one_sentence(words, call):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == words

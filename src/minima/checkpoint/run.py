"""save and load: the state of everything that a training run consists of, to a file and back."""

import _thread
import copy
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from minima import random
from minima.checkpoint.files import path_of, write
from minima.checkpoint.format import CHECKSUM, CheckpointError, Reader, header, numbers
from minima.checkpoint.tree import Packed, unpack
from minima.errors import sentence
from minima.loading import halves, state_views

__all__ = ["Stateful", "check_objects", "load", "restore", "save", "write_state"]

_FORMAT = 1
_KEY = "minima"


@runtime_checkable
class Stateful(Protocol):
    """Whatever can tell its state and take it back: a model, an optimizer, a loader."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any, /) -> Any: ...


def save(path: str | os.PathLike[str], /, **contents: Any) -> None:
    """Write the state of a training run to a file, atomically.

    Args:
        path: The file; an existing file is replaced at the very end. By convention, the name ends in ``.safetensors``.
        contents: What to save, each under a name of your choice: objects with ``state_dict()`` and
            ``load_state_dict()`` (a model, an optimizer, a `DataLoader`), and plain values: numbers, strings, None,
            lists, tuples, dicts, NumPy arrays, `Tensor`s. The state of minima's random generator is always saved too.

    Raises:
        TypeError: An object is neither of the two.
        ValueError: There is nothing to save, or data other than arrays take more than 100 million bytes.
        OSError: The file cannot be written, for example on a full disk; the previous file does not change.

    The file is in the safetensors format: tensors named ``model/0.weight`` and ``optimizer/0.weight/exp_avg``, and
    JSON. Unlike a pickle, reading it runs no code. The same contents always give the same bytes.

    >>> import os, tempfile
    >>> import minima as mi
    >>> from minima import nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "run.safetensors")
    >>> model = nn.Linear(3, 2)
    >>> mi.save(path, model=model, step=100, losses=[0.5, 0.25])
    >>> other = nn.Linear(3, 2)
    >>> mi.load(path, model=other)
    {'step': 100, 'losses': [0.5, 0.25]}
    >>> bool((other.weight == model.weight).all())
    True
    >>> folder.cleanup()
    """
    write_state("save", path_of("save", "path", path), contents)


def load(path: str | os.PathLike[str], /, **objects: Stateful) -> dict[str, Any]:
    """Load states that `save` has written into objects, all of them or, in case of an error, none.

    Args:
        path: The file.
        objects: The objects to load into, with the names that they were saved under. Other objects in the file are
            ignored: inference needs only the model.

    Returns:
        The plain values in the file, by name. Without ``objects``, the whole content of the file, with objects as their
        state dicts; then nothing is loaded, and the random generator does not change.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be read.
        CheckpointError: It is not a checkpoint, is damaged, comes from a later version of minima, lacks one of the
            objects, or contains a state that an object rejects. It is a `ValueError`.
        TypeError: An object has no ``state_dict()`` and ``load_state_dict()``.

    If all objects in the file are loaded, a run is resumed, and the state of minima's random generator is restored too.
    If only some are loaded, as for inference or a new training, it does not change.
    """
    check_objects("load", objects)
    place = path_of("load", "path", path)
    with Reader("load", place) as file:
        return restore("load", place, file, objects)


def write_state(who: str, path: Path, contents: Mapping[str, Any], number: int | None = None) -> None:
    """`save`, for whoever complains; maybe with a number in the file, which `number_of` reads."""
    if not contents:
        raise ValueError(sentence(who, "at least one object or value must be given, as in model=model"))
    packed = Packed(who)
    objects: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, content in contents.items():
        if isinstance(content, Stateful) and not isinstance(content, type):
            objects[name] = packed.pack(name, state_views(content))
        else:
            values[name] = packed.pack(name, content)
    state = {"format": _FORMAT, "objects": objects, "values": values, "random": random.get_state()}
    text = json.dumps(state, separators=(",", ":"), allow_nan=False)
    counted = {} if number is None else {"saved": str(number)}  # the first after the checksum, to be found at once
    head = header(who, packed.arrays, packed.bits, counted | {_KEY: text})
    write(who, path, head, CHECKSUM, numbers(packed.arrays))


def restore(who: str, path: Path, file: Reader, objects: Mapping[str, Stateful]) -> dict[str, Any]:
    """`load`, from a file that is open and whole."""
    saved, values, generator = _contents(who, path, file)
    missing = [name for name in objects if name not in saved]
    if missing:
        held = ", ".join([*saved, *(f"{name} (a plain value)" for name in values)])
        rule = f"{path} must hold {', '.join(missing)}, which was asked for; it holds {held}"
        raise CheckpointError(sentence(who, rule, hint="nothing was loaded"))
    ours = {name: prepare for name, each in objects.items() if (prepare := halves(each)) is not None}
    try:
        plain = {name: unpack(value, file.array) for name, value in values.items()}
        states = {name: unpack(saved[name], file.array) for name in objects or saved if name not in ours}
        states |= {name: unpack(saved[name], file.view) for name in ours}
    except CheckpointError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise _foreign(who, path) from None
    if not objects:
        return plain | states
    _give(who, path, objects, ours, states, generator if len(objects) == len(saved) else random.get_state())
    return plain


def check_objects(who: str, objects: Mapping[str, Any]) -> None:
    """Raise an error unless all of them can be loaded into."""
    for name, each in objects.items():
        if not isinstance(each, Stateful) or isinstance(each, type):
            rule = f"{name} must be an object with state_dict() and load_state_dict()"
            raise TypeError(sentence(who, rule, got=each, hint="plain values are in what is returned"))


def _give(
    who: str,
    path: Path,
    objects: Mapping[str, Stateful],
    ours: Mapping[str, Callable[[Any], Callable[[], object]]],
    states: Mapping[str, Any],
    generator: dict[str, Any],
) -> None:
    """Load every state and place the generator; if anything refuses, put back what was there.

    What loads in two halves need not be kept to be put back: it is checked first, and written when all have agreed.
    """
    others = {name: each for name, each in objects.items() if name not in ours}
    before = {name: copy.deepcopy(each.state_dict()) for name, each in others.items()}
    stood = random.get_state()
    touched: list[str] = []
    asked = ""
    try:
        writes: list[Callable[[], object]] = []
        for asked, prepare in ours.items():
            writes.append(prepare(states[asked]))
        for asked, each in others.items():
            touched.append(asked)
            each.load_state_dict(states[asked])
        random.set_state(generator)
        stopped = _uninterrupted(writes)
    except BaseException as error:
        hint = "nothing was loaded"
        for name in reversed(touched):
            try:
                others[name].load_state_dict(before[name])
            except Exception:
                hint = f"and {name} also refuses the state that it had before, so that part of the file may be in it"
        random.set_state(stood)
        if not isinstance(error, ValueError | TypeError | LookupError):
            raise
        rule = f"{path} must fit what it is loaded into: {asked} refuses its state ({error})"
        raise CheckpointError(sentence(who, rule, hint=hint)) from error
    if stopped is not None:
        raise stopped


def _uninterrupted(writes: Sequence[Callable[[], object]]) -> BaseException | None:
    """Call all of them, whatever signal arrives, and give the error that is then to be raised.

    Signals interrupt the main thread alone, so another one does the work.
    """
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            for write in writes:
                write()
        except BaseException as error:
            errors.append(error)
        done.set()

    # Not a Thread, which an interrupt leaves neither started nor not, and whose join() then takes it for dead.
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # none can be started, as while the interpreter shuts down
        run()
    except BaseException as error:
        errors.append(error)
    while not done.is_set():
        try:
            done.wait()
        except BaseException as error:
            errors.append(error)
    return errors[0] if errors else None


def _contents(who: str, path: Path, file: Reader) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The states of the objects, the plain values, and the state of the generator, still packed."""
    try:
        state = json.loads(file.metadata[_KEY])
        version = state["format"]
        if version == _FORMAT:
            return dict(state["objects"]), dict(state["values"]), dict(state["random"])
    except (LookupError, TypeError, ValueError, RecursionError):
        raise _foreign(who, path) from None
    rule = f"{path} must have format {_FORMAT}, which this version of minima reads"
    raise CheckpointError(sentence(who, rule, got=version, hint="update minima"))


def _foreign(who: str, path: Path) -> CheckpointError:
    return CheckpointError(sentence(who, f"{path} is not a checkpoint that minima.save wrote"))

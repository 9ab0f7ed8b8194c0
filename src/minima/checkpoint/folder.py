"""A folder of checkpoints: the last few of a run, the newest of them found again."""

import os
import re
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from minima.checkpoint.files import clear, path_of
from minima.checkpoint.format import CheckpointError, Reader, number_of
from minima.checkpoint.run import Stateful, check_objects, restore, write_state
from minima.checks import checked, integer, or_none
from minima.errors import sentence

__all__ = ["Checkpoints"]

_NAME = r"step-(\d{8,})\.safetensors"


class Checkpoints:
    """The last checkpoints of a run, in files ``step-00000100.safetensors`` of one folder.

    Args:
        folder: Where they are; it is made when the first one is saved. Other files in it are never touched.
        keep: How many of them stay, at least 1; None for all.

    Raises:
        TypeError, ValueError: ``folder`` is no path, or ``keep`` neither None nor an integer of at least 1.

    Each is written as `minima.save` writes, whole or not at all; older ones are deleted only afterwards. What processes
    leave that are killed while they write is cleared away. The newest is the one that was saved last, which a number
    in the file tells: a run that was taken back to an earlier step goes on with files of its own.

    >>> import tempfile
    >>> import minima as mi
    >>> from minima import nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> model = nn.Linear(3, 2)
    >>> checkpoints = mi.Checkpoints(folder.name, keep=2)
    >>> checkpoints.load(model=model) is None
    True
    >>> for step in (100, 200, 300):
    ...     path = checkpoints.save(step, model=model, loss=1 / step)
    >>> [path.name for path in checkpoints.paths()]
    ['step-00000200.safetensors', 'step-00000300.safetensors']
    >>> checkpoints.load(model=model)["step"]
    300
    >>> folder.cleanup()
    """

    keep: int | None = checked(or_none(partial(integer, low=1)))

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = 3) -> None:
        self.folder = path_of("Checkpoints", "folder", folder)
        self.keep = keep
        clear(self.folder, _NAME)

    def save(self, step: int, /, **contents: Any) -> Path:
        """Write the checkpoint of a step, and then delete the oldest ones beyond ``keep``.

        Args:
            step: The number of steps done, at least 0; it is saved as the plain value ``step``.
            contents: What `minima.save` takes.

        Returns:
            The new file.

        Raises:
            TypeError, ValueError, OSError: As `minima.save`; or the step is no integer of at least 0.

        A file of the same step is replaced. One that cannot be deleted stays, with a warning.
        """
        who = "Checkpoints.save"
        step = integer(who, "step", step)
        if "step" in contents:
            raise ValueError(sentence(who, "step is saved by itself and must not be given twice", got=contents["step"]))
        path = self.folder / f"step-{step:08d}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, sentence(who, f"{self.folder} could not be made: {error.strerror}")) from error
        clear(self.folder, _NAME)
        others = [number_of(other) for other in self.paths() if other != path]
        number = max(number_of(path), 1 + max(others, default=0))  # saved again, the newest has the same bytes
        write_state(who, path, {**contents, "step": step}, number)
        self._delete_old(path)
        return path

    def load(self, **objects: Stateful) -> dict[str, Any] | None:
        """Load the newest checkpoint that is whole, as `minima.load` does; None if there is none.

        Args:
            objects: The objects to load into, under the names that they were saved under.

        Returns:
            The plain values, ``step`` among them; or None, and then nothing has changed.

        Raises:
            TypeError, OSError, CheckpointError: As `minima.load`; but damaged files are skipped, with a warning.
        """
        check_objects("Checkpoints.load", objects)
        for path, file in self._whole("Checkpoints.load"):
            return restore("Checkpoints.load", path, file, objects)
        return None

    def newest(self) -> Path | None:
        """Find the newest checkpoint that is whole, skipping damaged ones with a warning; None if there is none."""
        for path, _ in self._whole("Checkpoints.newest"):
            return path
        return None

    def paths(self) -> list[Path]:
        """List the files of all checkpoints, damaged ones too, from the oldest to the newest.

        They are in the order in which they were saved. Files of versions of minima that did not number them come
        first, by rising step.
        """
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        steps = {name: int(match[1]) for name in names if (match := re.fullmatch(_NAME, name))}
        own = {name for name, step in steps.items() if name == f"step-{step:08d}.safetensors"}
        paths = [self.folder / name for name in own if (self.folder / name).is_file()]
        return sorted(paths, key=lambda path: (number_of(path), steps[path.name]))

    def _whole(self, who: str) -> Iterator[tuple[Path, Reader]]:
        """The files that are whole, open, from the newest on."""
        for path in reversed(self.paths()):
            try:
                file = Reader(who, path)
            except FileNotFoundError:  # another process deletes old ones
                continue
            except CheckpointError as error:
                warnings.warn(f"{error}; it is skipped", RuntimeWarning, stacklevel=3)
                continue
            with file:
                yield path, file

    def _delete_old(self, new: Path) -> None:
        if self.keep is None:
            return
        others = [path for path in self.paths() if path != new]
        for path in others[: max(0, len(others) - self.keep + 1)]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                rule = f"{path} is old and could not be deleted: {error.strerror}"
                warnings.warn(sentence("Checkpoints.save", rule), RuntimeWarning, stacklevel=3)

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r}, keep={self.keep})"

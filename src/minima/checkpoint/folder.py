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
        folder: The folder; it is created with the first checkpoint. Other files in it are never changed.
        keep: Number of checkpoints to keep, at least 1; None keeps all.

    Raises:
        TypeError, ValueError: ``folder`` is not a path, or ``keep`` is neither None nor an integer of at least 1.

    Each file is written atomically, as by `minima.save`; older files are deleted only afterwards. Temporary files of
    killed processes are removed. The newest checkpoint is the one saved last, according to a serial number in the file:
    a run that went back to an earlier step continues with its own new files.

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
            contents: The same as for `minima.save`.

        Returns:
            The new file.

        Raises:
            TypeError, ValueError, OSError: As `minima.save`; or the step is not an integer of at least 0.

        A file of the same step is replaced. If a file cannot be deleted, there is a warning.
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
        """Load the newest intact checkpoint, as `minima.load` does; return None if there is none.

        Args:
            objects: The objects to load into, with the names that they were saved under.

        Returns:
            The plain values, including ``step``; or None, and then nothing was changed.

        Raises:
            TypeError, OSError, CheckpointError: As `minima.load`; but damaged files are skipped, with a warning.
        """
        check_objects("Checkpoints.load", objects)
        for path, file in self._whole("Checkpoints.load"):
            return restore("Checkpoints.load", path, file, objects)
        return None

    def newest(self) -> Path | None:
        """Find the newest intact checkpoint, skipping damaged ones with a warning; None if there is none."""
        for path, _ in self._whole("Checkpoints.newest"):
            return path
        return None

    def paths(self) -> list[Path]:
        """List the files of all checkpoints, damaged ones too, from the oldest to the newest.

        They are in the order of saving. Files of earlier versions of minima, without a serial number, come first, by
        step.
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

"""Files that are there whole or not at all, whatever stops the program that writes them.

A file is written under another name beside its place, forced to the disk, and renamed, which a file system does wholly
or not at all; then the folder is forced to the disk, so that the new name outlives a power cut. What a killed process
leaves is a file under such a name. Its writer holds a lock on it, which the system takes back when the process dies: so
the next one can tell an orphan from the work of a living process, and clears it away.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from minima.checkpoint.stream import pour, put
from minima.errors import sentence

try:
    import fcntl
except ImportError:  # Windows, which lets nobody delete a file that another process has open
    fcntl = None

__all__ = ["ZEROS", "clear", "path_of", "write"]

ZEROS = b"0" * 64
"""What stands in the place of a checksum while it is computed: that of SHA-256 has as many hexadecimal digits."""


def path_of(who: str, name: str, path: object) -> Path:
    """A path as a user gave it: a string or whatever else names a file."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(sentence(who, f"{name} must be a string or a pathlib.Path", got=path))
    return Path(cast(str | os.PathLike[str], path))


def write(who: str, path: Path, head: bytes, checksum: int, parts: Iterable[memoryview]) -> None:
    """Put a file with these bytes in the place of whatever is there, or leave everything as it is.

    Args:
        who: The public function that complains.
        path: The file; a link is followed.
        head: The first bytes.
        checksum: Where `ZEROS` is in them, which gives way to the SHA-256 of the whole.
        parts: The other bytes.

    Raises:
        OSError: The bytes could not be written, and the file that was there before is still there; or, with the new
            file in its place, the folder could not be forced to the disk.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.is_dir():
            raise IsADirectoryError(21, "a folder has this name")
        clear(place.parent, re.escape(place.name))
        descriptor, temporary = _create(place)
        try:
            try:
                digest = hashlib.sha256(head)
                os.lseek(descriptor, len(head), os.SEEK_SET)
                pour(descriptor, parts, digest.update)
                os.lseek(descriptor, 0, os.SEEK_SET)
                sealed = head[:checksum] + digest.hexdigest().encode("ascii") + head[checksum + len(ZEROS) :]
                put(descriptor, memoryview(sealed))
                os.fsync(descriptor)
                if fcntl is None:
                    os.close(descriptor)
                    descriptor = -1
                os.replace(temporary, place)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(place.parent)
    except OSError as error:
        rule = f"{path} could not be written: {error.strerror}"
        raise OSError(error.errno, sentence(who, rule)) from error  # Python makes it the subclass for this number


def clear(folder: Path, pattern: str) -> None:
    """Delete the temporary files of killed processes in a folder.

    Args:
        folder: Where to look; it need not exist.
        pattern: A regular expression for the names of the files that were to be written.
    """
    temporary = re.compile(rf"\.{pattern}\.[0-9a-f]{{16}}\.tmp")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if temporary.fullmatch(name):
                _clear(folder / name)


def _clear(path: Path) -> None:
    with contextlib.suppress(OSError):  # it has gone, it is not ours, its writer lives, or locks are unknown here
        if fcntl is None:
            path.unlink()
            return
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _create(place: Path) -> tuple[int, Path]:
    """A new file beside ``place`` under a name that `clear` knows; its lock is ours where locks are known."""
    while True:
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(8)}.tmp")
        binary = getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not os.fstat(descriptor).st_nlink:  # another process took it for an orphan before we had the lock
                os.close(descriptor)
                continue
        return descriptor, temporary


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

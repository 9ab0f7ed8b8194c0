"""The file: tensors and text in the safetensors format, with a checksum over every byte.

A safetensors file is the length of a header in 8 bytes, the header, and the numbers of the tensors, one after the
other. The header is JSON, and says of each tensor its name, type, shape and place; a reader runs nothing. The format is
written and read here, in full: the library of the same name writes metadata in an order that changes from run to run,
needs a copy of all tensors in memory, and tells a full disk from other mistakes only by its text. The tests hold the
two to each other.

The checksum is the first of the metadata, so that it has a fixed place: the SHA-256, in hexadecimal digits, of the
whole file with 64 zeros in that place. Formats to come keep it there.
"""

import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from minima.checkpoint.files import ZEROS
from minima.checkpoint.tree import Array
from minima.errors import sentence

__all__ = ["CHECKSUM", "CheckpointError", "Reader", "header", "number_of", "numbers"]

_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_DTYPES = {code: np.dtype(name) for name, code in _CODES.items()} | {"BF16": np.dtype("uint16")}
_LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the format."""
_OPENING = b'{"__metadata__":{"sha256":"'
CHECKSUM = 8 + len(_OPENING)
"""Where in the file the checksum is."""
_NUMBER = re.compile(rb'[^"]*","saved":"(\d{1,18})"')
_PIECE = 1 << 20


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or does not fit what it is loaded into."""


def header(who: str, arrays: Mapping[str, Array], bits: set[str], metadata: Mapping[str, str]) -> bytes:
    """The bytes in front of the numbers, with zeros in the place of the checksum.

    Args:
        who: The public function that complains.
        arrays: The tensors by name.
        bits: The names of those that are the bits of bfloat16 numbers.
        metadata: The text that goes into the header beside the checksum.

    Raises:
        ValueError: The header is larger than the format allows.
    """
    header: dict[str, Any] = {"__metadata__": {"sha256": ZEROS.decode(), **metadata}}
    end = 0
    for name in _ordered(arrays):
        array = arrays[name]
        start, end = end, end + array.nbytes
        code = "BF16" if name in bits else _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > _LARGEST_HEADER:
        rule = "all that is no array must fit into a header of 100 million bytes"
        raise ValueError(sentence(who, rule, got=len(text), hint="make arrays of long lists"))
    return len(text).to_bytes(8, "little") + text


def numbers(arrays: Mapping[str, Array]) -> Iterator[memoryview]:
    """The numbers of tensors as bytes, one tensor after the other; never many of them are copied at once."""
    for name in _ordered(arrays):
        yield from _bytes(np.asarray(arrays[name]))


def _ordered(arrays: Mapping[str, Array]) -> list[str]:
    """The largest items first, so that each lies at a multiple of its size, where readers that map files want it."""
    return sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))


def _bytes(array: Array) -> Iterator[memoryview]:
    little = array.dtype.newbyteorder("<")
    lies_so = array.flags.c_contiguous and array.dtype == little
    if lies_so or array.nbytes <= _PIECE:
        yield np.asarray(array, dtype=little, order="C").reshape(-1).view(np.uint8).data
        return
    rows = len(array) * _PIECE // array.nbytes
    for start in range(0, len(array), max(rows, 1)):
        yield from _bytes(array[start : start + rows] if rows > 1 else array[start])


def number_of(path: Path) -> int:
    """The number, at least 1, under which a folder has counted a file; 0 where there is none to be read."""
    try:
        with path.open("rb", buffering=0) as file:
            start = file.read(256)
    except OSError:
        return 0
    match = _NUMBER.match(start, CHECKSUM) if start[8:CHECKSUM] == _OPENING else None
    return int(match[1]) if match else 0


class Reader:
    """An open checkpoint, found whole and unaltered.

    Args:
        who: The public function that complains.
        path: The file.

    Attributes:
        metadata: The text in the header, by key.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be read.
        CheckpointError: It is no checkpoint, or it is damaged.
    """

    def __init__(self, who: str, path: Path) -> None:
        self._who, self._path = who, path
        self._map: Array | None = None
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            self.metadata = self._read_header()
            self._verify()
        except OSError as error:
            self.close()
            raise self._unreadable(error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def array(self, name: str) -> Array:
        """The numbers of a tensor, in memory of their own; those in bfloat16 as bits in uint16."""
        _, _, start, end = self._tensors[name]
        numbers = np.empty(end - start, np.uint8)
        self._file.seek(self._start + start)
        self._fill(numbers.data)
        return self._typed(name, numbers)

    def view(self, name: str) -> Array:
        """The same numbers where the system maps the file, read-only: for whoever copies them and lets go of them."""
        _, _, start, end = self._tensors[name]
        if self._map is None:
            self._map = self._mapped()
        return self._typed(name, self._map[self._start + start : self._start + end])

    def _typed(self, name: str, numbers: Array) -> Array:
        dtype, shape, _, _ = self._tensors[name]
        return numbers.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)

    def _mapped(self) -> Array:
        if os.fstat(self._file.fileno()).st_size < self._size:  # to read a map beyond the end of the file is deadly
            raise self._damaged("it was cut off while it was read")
        return np.frombuffer(mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ), np.uint8)

    def _read_header(self) -> dict[str, str]:
        size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(CHECKSUM)
        length = int.from_bytes(start[:8], "little")
        if start[8:] != _OPENING[: len(start) - 8] or len(start) < 9 or length > _LARGEST_HEADER:
            rule = f"{self._path} is not a checkpoint that minima.save wrote"
            hint = "safetensors.numpy.load_file reads others" if start[8:9] == b"{" else ""
            raise CheckpointError(sentence(self._who, rule, hint=hint))
        if size < 8 + length:
            raise self._damaged(f"it is cut off after {size} bytes")
        self._file.seek(0)
        self._head = memoryview(bytearray(8 + length))
        self._fill(self._head)
        self._start = 8 + length
        try:
            header = json.loads(bytes(self._head[8:]))
            metadata = header.pop("__metadata__")
            self._tensors = _places(cast(dict[str, Any], header))
            self._checksum = metadata.pop("sha256")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._damaged("its header cannot be read") from None
        needed = self._start + max((end for _, _, _, end in self._tensors.values()), default=0)
        if size != needed:
            raise self._damaged(f"it has {size} bytes where its header says {needed}")
        self._size = size
        return cast(dict[str, str], metadata)

    def _verify(self) -> None:
        digest = hashlib.sha256(self._head[:CHECKSUM])
        digest.update(ZEROS)
        digest.update(self._head[CHECKSUM + len(ZEROS) :])
        # Not by way of a map: a disk that cannot read would kill the process there, and is an OSError here.
        piece = memoryview(bytearray(_PIECE))
        while count := self._file.readinto(piece):
            digest.update(piece[:count])
        if digest.hexdigest() != self._checksum:
            raise self._damaged("its checksum does not fit what is in it")

    def _fill(self, memory: memoryview) -> None:
        while len(memory):
            count = self._file.readinto(memory)
            if not count:
                raise self._damaged("it was cut off while it was read")
            memory = memory[count:]

    def _damaged(self, how: str) -> CheckpointError:
        return CheckpointError(sentence(self._who, f"{self._path} is damaged: {how}"))

    def _unreadable(self, error: OSError) -> OSError:
        rule = f"{self._path} cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            rule = f"there is no file {self._path}"
        elif isinstance(error, IsADirectoryError):
            rule += "; Checkpoints(folder).load loads the newest one in a folder"
        return OSError(error.errno, sentence(self._who, rule))  # Python makes it the subclass for this number


def _places(header: dict[str, Any]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]:
    """Type, shape, start and end of each tensor, which must follow one another without a gap."""
    found = {
        name: (_DTYPES[each["dtype"]], tuple(each["shape"]), *each["data_offsets"]) for name, each in header.items()
    }
    last = 0
    for dtype, shape, start, end in sorted(found.values(), key=lambda place: place[2:]):
        if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError
        if start != last or end - start != dtype.itemsize * math.prod(shape):
            raise ValueError
        last = end
    return found

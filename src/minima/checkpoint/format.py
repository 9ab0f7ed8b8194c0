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
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from minima.checkpoint.tree import Array
from minima.errors import sentence

__all__ = ["CheckpointError", "Reader", "parts"]

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
_PLACE = 8 + len(_OPENING)
_ZEROS = b"0" * 64
_CHUNK = 1 << 20


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or does not fit what it is loaded into."""


def parts(who: str, arrays: Mapping[str, Array], bits: set[str], metadata: Mapping[str, str]) -> list[memoryview]:
    """The bytes of a file, piece by piece; the numbers are not copied, except where they lie apart in memory.

    Args:
        who: The public function that complains.
        arrays: The tensors by name.
        bits: The names of those that are the bits of bfloat16 numbers.
        metadata: The text that goes into the header beside the checksum.

    Raises:
        ValueError: The header is larger than the format allows.
    """
    # The largest items come first, so that each lies at a multiple of its size, where readers that map files want it.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"sha256": _ZEROS.decode(), **metadata}}
    end = 0
    for name in names:
        array = arrays[name]
        start, end = end, end + array.nbytes
        code = "BF16" if name in bits else _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > _LARGEST_HEADER:
        rule = "all that is no array must fit into a header of 100 million bytes"
        raise ValueError(sentence(who, rule, got=len(text), hint="make arrays of long lists"))
    head = len(text).to_bytes(8, "little") + text
    numbers = [_numbers(arrays[name]) for name in names]
    digest = hashlib.sha256(head)
    for each in numbers:
        digest.update(each)
    sealed = head[:_PLACE] + digest.hexdigest().encode("ascii") + head[_PLACE + len(_ZEROS) :]
    return [memoryview(sealed), *numbers]


def _numbers(array: Array) -> memoryview:
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return little.reshape(-1).view(np.uint8).data


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
        dtype, shape, start, end = self._tensors[name]
        numbers = np.empty(end - start, np.uint8)
        self._file.seek(self._start + start)
        self._fill(numbers.data)
        return numbers.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)

    def _read_header(self) -> dict[str, str]:
        size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(_PLACE)
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
        return cast(dict[str, str], metadata)

    def _verify(self) -> None:
        digest = hashlib.sha256(self._head[:_PLACE])
        digest.update(_ZEROS)
        digest.update(self._head[_PLACE + len(_ZEROS) :])
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
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

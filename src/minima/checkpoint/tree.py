"""Nested plain values with arrays in them, taken apart into JSON and named arrays, and put together again.

What JSON has stands for itself. The rest is an object of one key that starts with ``$``:

==================================  ===============================================================================
``{"$array": name}``                a NumPy array, which is the tensor ``name`` of the file
``{"$tensor": name}``               the same for a `minima.Tensor`
``{"$tuple": [...]}``               a tuple
``{"$float": "nan"}``               a float that JSON lacks: ``nan``, ``inf``, ``-inf``
``{"$dict": [[key, value], ...]}``  a dict with a key that is not a string, or that starts with ``$``
==================================  ===============================================================================
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from minima.autograd import Tensor
from minima.errors import sentence

__all__ = ["BITS", "Array", "Packed", "unpack"]

Array = np.ndarray[Any, Any]

BITS = "bfloat16"
"""What a ``state_dtype`` says where uint16 arrays hold the bits of bfloat16 numbers, for which NumPy has no type."""
_KINDS = "fiub"
_ALLOWED = "numbers, strings, None, lists, tuples, dicts, NumPy arrays and Tensors"


class Packed:
    """Collects the arrays of the values that it packs, each under a name of its own.

    Args:
        who: The public function that complains.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self.arrays: dict[str, Array] = {}
        self.bits: set[str] = set()
        """The names of those that hold the bits of bfloat16 numbers."""

    def pack(self, name: str, value: Any) -> Any:
        """``value`` as JSON; its arrays are kept under ``name`` and the keys that lead to them.

        Raises:
            TypeError: Something in it is neither plain nor an array.
            ValueError: It contains itself, or is nested deeper than any reader goes.
        """
        try:
            return self._pack((name,), value, bits=False)
        except RecursionError:
            rule = f"{name} must not contain itself, nor be nested hundreds of levels deep"
            raise ValueError(sentence(self._who, rule)) from None

    def _pack(self, path: tuple[str, ...], value: Any, bits: bool) -> Any:
        if isinstance(value, np.generic):
            value = cast(Any, value.item())
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, Tensor):
            return {"$tensor": self._keep(path, value.detach().numpy(), bits)}
        if isinstance(value, np.ndarray):
            return {"$array": self._keep(path, cast(Array, value), bits)}
        if isinstance(value, list | tuple):
            items = [self._pack((*path, str(i)), item, bits) for i, item in enumerate(cast(list[Any], value))]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Mapping):
            return self._dict(path, cast(Mapping[Any, Any], value), bits)
        raise TypeError(sentence(self._who, f"{' / '.join(path)} must be made of {_ALLOWED}", got=cast(object, value)))

    def _dict(self, path: tuple[str, ...], value: Mapping[Any, Any], bits: bool) -> Any:
        kept = value.get("state_dtype")
        bits = bits or (isinstance(kept, str) and kept == BITS)
        pairs = [(key, self._pack((*path, str(key)), item, bits)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": [[self._pack((*path, "a key"), key, bits=False), item] for key, item in pairs]}

    def _keep(self, path: tuple[str, ...], array: Array, bits: bool) -> str:
        if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
            rule = f"{' / '.join(path)} must hold numbers of at most 8 bytes, and real ones"
            raise TypeError(sentence(self._who, rule, got=array.dtype))
        # The key "state" says nothing: optimizer/0.weight/exp_avg is what a reader from elsewhere looks for. As the
        # name of a parameter it says something.
        name = "/".join(path[:1] + path[2:] if path[1:2] == ("state",) and len(path) > 2 else path)
        while name in self.arrays or name == "__metadata__":
            name += "'"
        self.arrays[name] = array
        if bits and array.dtype == np.uint16:
            self.bits.add(name)
        return name


def unpack(value: Any, array: Callable[[str], Array]) -> Any:
    """What `Packed.pack` made ``value`` from; ``array`` gives the array of a name."""
    if isinstance(value, list):
        return [unpack(item, array) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    inside = cast(dict[str, Any], value)
    kind: str = next(iter(inside), "")
    content: Any = inside.get(kind)
    match kind:
        case "$array":
            return array(content)
        case "$tensor":
            return Tensor.from_numpy(array(content))
        case "$tuple":
            return tuple(unpack(item, array) for item in content)
        case "$float":
            return float(content)
        case "$dict":
            return {unpack(key, array): unpack(item, array) for key, item in content}
        case _:
            return {key: unpack(item, array) for key, item in inside.items()}

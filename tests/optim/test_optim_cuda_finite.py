"""The kernel that looks for what is not finite: it sees every element, and takes no finite one for another."""

import numpy as np
import pytest
from ptx import Kernel, Memory
from test_optim_cuda import checked

from minima.optim.engines.cuda.finite import ARGUMENTS, PIECE, finite_ptx
from minima.optim.engines.cuda.grid import WARP

BITS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}
SIZES = (0, 1, 7, 8, 33, 0, PIECE, PIECE + 1, 5, 2 * PIECE + 40, 0, 4600)


def floats(bits, kind):
    """The numbers with some bits; those of bfloat16 are the upper halves of wider ones."""
    return (bits.astype(np.uint32) << 16).view(np.float32) if kind == "bfloat16" else bits.view(kind)


def is_found(kernel, tensors):
    memory, counts = Memory(), np.array([x.size for x in tensors])
    pieces, found = -(-counts // PIECE), np.zeros(1, np.float32)
    tables = dict(places=np.array(list(map(memory.allow, tensors))), counts=counts, firsts=pieces.cumsum() - pieces)
    given = {name: memory.allow(array) for name, array in {**tables, "found": found}.items()} | {"many": len(counts)}
    kernel.launch(int(pieces.sum()), WARP, [given[name] for name in ARGUMENTS], memory)
    assert found[0] in (0.0, 1.0)
    return bool(found[0])


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("kind", BITS)
def test_what_is_not_finite_is_found_wherever_it_is(kind, shift):
    checked(finite_ptx(kind))
    kernel, draw = Kernel(finite_ptx(kind)), np.random.default_rng(0)
    rooms = [draw.integers(0, 2 ** (8 * BITS[kind]().nbytes), size + shift, BITS[kind]) for size in SIZES]
    for room in rooms:
        room[~np.isfinite(floats(room, kind))] = 0
        room[::3] |= room.dtype.type(1)
    tensors = [room[shift:] for room in rooms]  # of which some begin between two groups
    assert all(np.isfinite(floats(room, kind)).all() for room in rooms) and not is_found(kernel, tensors)
    exponent = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF << 52}[kind]
    sign = 1 << (8 * BITS[kind]().nbytes - 1)
    for tensor in filter(len, tensors):
        for place in {0, 1, len(tensor) // 2, len(tensor) - 2, len(tensor) - 1} & {*range(len(tensor))}:
            kept = tensor[place]
            tensor[place] = exponent | int(draw.choice([0, sign])) | int(draw.choice([0, 1, 3]))
            assert not np.isfinite(floats(tensor, kind)).all() and is_found(kernel, tensors)
            tensor[place] = kept
    for tensor in filter(len, tensors):
        tensor[0] = exponent
    assert is_found(kernel, tensors)  # by many blocks at a time

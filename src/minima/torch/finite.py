"""Whether gradients on GPUs are finite: a kernel for each device and dtype looks, and the answer stays there."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minima.torch.addresses import Addresses
from minima.torch.grid import current
from minima.torch.memory import is_dense
from minima.torch.private import raw_stream
from minima.torch.soundness import is_freed
from minima.torch.tables import Noter, Sender

__all__ = ["Finite"]

_KINDS = {
    **{kind: str(kind).removeprefix("torch.") for kind in (torch.float16, torch.bfloat16, torch.float32)},
    **{torch.float64: "float64", torch.complex32: "float16", torch.complex64: "float32", torch.complex128: "float64"},
}
"""What their elements are to a kernel; of a complex number there are two."""


class Finite:
    """Looks for what is not finite in some tensors, and remembers how they lay in memory."""

    def __init__(self) -> None:
        self._addresses: Addresses | None = None
        self._known: tuple[int, bool] | None = None
        """How many tensors there were, and whether a graph may have recorded it."""
        self._looks: list[_Look] = []
        self._senders: dict[tuple[torch.device, str, bool], Sender | Noter] = {}
        """Of each kind on each GPU: the number of gradients may change with every step."""

    def __call__(
        self, tensors: list[Any], devices: Sequence[torch.device], *, is_recorded: bool
    ) -> list[torch.Tensor] | None:
        """Float32 numbers on the GPUs of the tensors; where one is not 0, a tensor there is not finite.

        None stands for tensors of which kernels cannot tell: not dense, of other kinds, or elsewhere.

        Args:
            tensors: The tensors.
            devices: The GPUs, which run kernels.
            is_recorded: Whether a CUDA graph may record what this does.
        """
        if not tensors:
            return []
        if (len(tensors), is_recorded) != self._known or self._addresses is None or not self._addresses(tensors):
            self._known = None
            if not all(_is_known(tensor) and tensor.device in devices for tensor in tensors):
                return None
            self._prepare(tensors, is_recorded)
            if self._addresses is None or not self._addresses(tensors):
                return None
            self._known = len(tensors), is_recorded
        return [look.found() for look in self._looks]

    def _prepare(self, tensors: Sequence[torch.Tensor], is_recorded: bool) -> None:
        from minima.optim.engines.cuda.finite import PIECE  # loads LLVM

        kinds: dict[tuple[torch.device, str], list[int]] = {}
        for number, tensor in enumerate(tensors):
            kinds.setdefault((tensor.device, _KINDS[tensor.dtype]), []).append(number)
        table = np.zeros(3 * len(tensors) + len(kinds), np.int64)
        places, first = np.zeros(len(tensors), np.int64), 0
        self._looks.clear()
        for (device, kind), members in kinds.items():
            many = len(members)
            mine = table[first : first + 3 * many + 1]
            counts = [tensors[i].numel() * (1 + tensors[i].is_complex()) for i in members]
            pieces = -(-np.array(counts, np.int64) // PIECE)
            mine[many : 2 * many], mine[2 * many : 3 * many] = counts, np.cumsum(pieces) - pieces
            places[members] = np.arange(first, first + many)
            with current(device):
                key = device, kind, is_recorded
                if key not in self._senders:
                    self._senders[key] = (Noter if is_recorded else Sender)(device)
                self._looks.append(_look(device, kind, mine, int(pieces.sum()), self._senders[key]))
            first += len(mine)
        self._addresses = Addresses(tensors, table, places.tolist())


class _Look(NamedTuple):
    """A launch over the tensors of one kind on one GPU."""

    device: torch.device
    table: NDArray[np.int64]
    """Their addresses, how many elements they have, and their first pieces; and a 0, which is where the result goes."""
    pieces: int
    sender: Sender | Noter
    launch: Any

    def found(self) -> torch.Tensor:
        from minima.optim.engines.cuda.grid import WARP

        last = len(self.table) - 1
        with current(self.device):
            stream = raw_stream(self.device)
            there = self.sender.send(stream, self.table)
            first, step = there.data_ptr(), 8 * (last // 3)
            if self.pieces:
                words = first, first + step, first + 2 * step, last // 3, first + 3 * step
                self.launch(self.pieces, WARP, stream, words)
        return there.view(torch.float32)[2 * last]


def _look(device: torch.device, kind: str, table: NDArray[np.int64], pieces: int, sender: Sender | Noter) -> _Look:
    from minima.optim.engines.cuda import driver, finite  # these load LLVM

    index: Any = device.index
    launch = driver.Launcher(finite.finite_ptx(kind), finite.finite_name(kind), len(finite.ARGUMENTS), index)
    return _Look(device, table, pieces, sender, launch)


def _is_known(tensor: torch.Tensor) -> bool:
    """Whether kernels can tell of a tensor."""
    return tensor.layout == torch.strided and tensor.dtype in _KINDS and is_dense(tensor) and not is_freed(tensor)

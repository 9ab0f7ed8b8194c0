"""Several GPUs for PyTorch's optimizers, in the memory of this process: kernels are run by the interpreter of PTX.

Each GPU has a piece of memory, which kernels launched there may not leave, and what lies in it is on that GPU, as far
as PyTorch's functions say and know. They refuse tensors of two devices, as they do on GPUs, and note what would wait.
"""

from types import SimpleNamespace

import numpy as np
import torch
from interpreted import Event, Interpreted
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from minima.optim.engines.cuda import driver
from minima.torch import addresses, choice, finite, grid, model, totals

_CPU = torch.device("cpu")
_T = torch.Tensor
_DEVICE, _IS_CUDA, _GRAD = _T.device.__get__, _T.is_cuda.__get__, _T.grad.__get__
_READS = {_T.item, _T.tolist, _T.numpy, _T.__bool__, _T.__float__, _T.__int__, _T.__index__, _T.nonzero}
"""What gives Python a number."""
_MOVES = {_T.to, _T.cpu, _T.copy_}
"""What takes tensors of two devices."""
_AWARE = {_T.data.__set__, _T.grad.__set__, _T.untyped_storage, _T.is_set_to, _T.backward}
"""What makes no tensors, whatever devices there are."""


class Gpus(TorchFunctionMode):
    """GPUs, from 0 on, for the code within; ``waits`` are the names of what has waited for one of them."""

    def __init__(self, many=2, size=2**24):
        super().__init__()
        self._rooms = [np.zeros(size, np.uint8) for _ in range(many)]
        self._used = [0] * many
        self.current, self.streams, self.waits, self.launched = 0, [1] * many, [], [0] * many

    def at(self, tensor):
        """The device of a tensor."""
        address = tensor.untyped_storage().data_ptr()
        for number, room in enumerate(self._rooms):
            if room.ctypes.data <= address < room.ctypes.data + room.nbytes:
                return torch.device("cuda", number)
        return tensor.device

    def put(self, tensor, device):
        """A copy of a tensor on a device, with the same strides."""
        device = torch.device(device)
        with torch._C.DisableTorchFunction():
            return tensor.clone() if device.type == "cpu" else self._room(tensor, device).copy_(tensor)

    def _room(self, tensor, device):
        """Memory for a tensor on a GPU."""
        number = self.current if device.index is None else device.index
        steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        nbytes = max(1, steps + 1 if tensor.numel() else 0) * tensor.element_size()
        first, room = self._used[number], self._rooms[number]
        self._used[number] += -(-nbytes // 512) * 512
        assert self._used[number] <= len(room), "the memory of a pretended GPU is full"
        own = torch.from_numpy(room[first : first + nbytes]).view(tensor.dtype)
        return own.as_strided(tensor.shape, tensor.stride())

    def leaf(self, tensor, device):
        """A parameter on a device."""
        with torch.no_grad():
            return self.put(tensor, device).detach().requires_grad_()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func == _DEVICE:
            return self.at(args[0])
        if func == _IS_CUDA:
            return self.at(args[0]).type == "cuda"
        if func == _GRAD:
            return self._gradient(args[0])
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, _T)]
        devices = list(dict.fromkeys(map(self.at, tensors)))
        if func == _T.__deepcopy__:  # which remembers others
            devices = [self.at(args[0])]
        if func in _AWARE:
            return func(*args, **kwargs)
        if func in _READS and devices != [_CPU]:
            self.waits.append(func.__name__)
        if func not in _MOVES and len(devices) > 1:
            rest = {self.at(x) for x in tensors if x.dim() or self.at(x) != _CPU}  # numbers may be on the CPU
            assert len(rest) == 1, f"{func.__name__}: expected all tensors to be on the same device, got {devices}"
            devices = list(rest)
        target, args = self._target(func, args, kwargs, devices)
        if func in _MOVES:
            kinds = {x.type for x in (*devices, target)}
            if len(kinds) > 1 and not kwargs.get("non_blocking"):
                self.waits.append(func.__name__)
        result = func(*args, **kwargs)
        return tree_map(lambda x: self._placed(x, target), result)

    def _gradient(self, tensor):
        """A gradient, on the device of its tensor, where autograd has made it."""
        if tensor.grad is not None and self.at(tensor.grad) != self.at(tensor):
            tensor.grad = self.put(tensor.grad, self.at(tensor))
        return tensor.grad

    def _target(self, func, args, kwargs, devices):
        """On which device results are, and the arguments without it."""
        asked = kwargs.get("device")
        if "device" in kwargs:
            kwargs["device"] = None if func == _T.to else _CPU
        if func == _T.to:
            kwargs.pop("device", None)
            found = [x for x in args[1:] if isinstance(x, torch.device | str)]
            asked = found[0] if found else asked
            others = [x for x in args[1:] if not isinstance(x, torch.device | str)]
            if others and isinstance(others[0], _T):
                asked, others = self.at(others[0]), [others[0].dtype, *others[1:]]
            args = (args[0], *others) if others or kwargs.keys() - {"non_blocking"} else (args[0], args[0].dtype)
        if func == _T.cpu:
            asked = _CPU
        if func == _T.copy_:
            return self.at(args[0]), args
        if asked is not None:
            return torch.device(asked), args
        return (devices or [_CPU])[0], args

    def _placed(self, result, target):
        if not isinstance(result, _T) or self.at(result) == target:
            return result
        if not result.is_leaf or result.requires_grad is False:
            return self.put(result, target)
        return self.leaf(result, target)


def pretend_gpus(monkeypatch, many=2):
    """Let there be so many GPUs, for whoever enters what is given."""
    gpus = Gpus(many)
    Event.waiting = Event.most = Event.waited = 0

    class Launched(Interpreted):
        """A launch on the GPU that it is for, which is the current one, on one of its streams, in its memory."""

        def __init__(self, text, name, arguments, device):
            assert device == gpus.current
            super().__init__(text, name, arguments, device)
            begin, size = gpus._rooms[device].ctypes.data, gpus._rooms[device].nbytes
            self._device, self.storages = device, SimpleNamespace(ranges=lambda: [(begin, begin + size)])

        def __call__(self, blocks, threads, stream, arguments):
            assert (self._device, stream // 1000) == (gpus.current, gpus.current)
            gpus.launched[self._device] += 1
            super().__call__(blocks, threads, stream, arguments)

    class Current:
        def __init__(self, device):
            self._next = torch.device(device).index

        def __enter__(self):
            self._before, gpus.current = gpus.current, self._next

        def __exit__(self, *error):
            gpus.current = self._before

    def stream(device):
        return 1000 * device.index + gpus.streams[device.index]

    def used(tensor, stream):
        assert gpus.at(tensor) == torch.device("cuda", stream.device), "a tensor of another GPU"

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(driver, "Launcher", Launched)
    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: gpus.current)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(device=gpus.current))
    monkeypatch.setattr(torch.Tensor, "record_stream", used)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    for module in (finite, grid, model, totals):
        monkeypatch.setattr(module, "raw_stream", stream)
    monkeypatch.setattr(choice, "_obstacle", lambda device: "")
    monkeypatch.setattr(addresses, "_code", lambda: None)  # which does not ask Python where tensors are
    return gpus

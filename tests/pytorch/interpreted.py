"""A GPU for PyTorch's optimizers, on the memory of CPU tensors: kernels are run by the interpreter of PTX."""

import contextlib
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from minima.optim.engines.cuda import driver
from minima.torch import addresses, capture, counting, finite, fused, grid, holdings, host, loss, model, totals
from minima.torch.batched import BatchedProducts
from minima.torch.tables import Noter

sys.path.append(str(Path(__file__).parents[1] / "optim"))
from ptx import Kernel, Memory  # noqa: E402


class Storages:
    """The storages whose address someone has asked for: kernels may go there, for as long as they live."""

    def __init__(self):
        self._known = {}

    def note(self, tensor):
        """Take note of the storage of a tensor."""
        if type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            begin = storage.data_ptr()
            if begin:
                self._known[begin, storage._cdata] = begin + storage.nbytes(), StorageWeakRef(storage)

    def ranges(self):
        """From where to where each that still lives is."""
        self._known = {key: known for key, known in self._known.items() if not known[1].expired()}
        return [(begin, end) for (begin, _), (end, _) in self._known.items()]

    def watch(self, monkeypatch):
        """Take note of all whose address is asked for in Python, or by compiled code."""
        address, inspect, collect = torch.Tensor.data_ptr, addresses.Addresses.__call__, addresses.Collector.__call__

        def data_ptr(tensor):
            self.note(tensor)
            return address(tensor)

        def inspected(mine, tensors):
            list(map(self.note, tensors))
            return inspect(mine, tensors)

        def collected(mine):
            fits = collect(mine)
            for tensor in (*mine._params, *mine.grads, *(state.get(x) for state in mine._states for x in mine._names)):
                self.note(tensor)
            return fits

        monkeypatch.setattr(torch.Tensor, "data_ptr", data_ptr)
        monkeypatch.setattr(addresses.Addresses, "__call__", inspected)
        monkeypatch.setattr(addresses.Collector, "__call__", collected)


class Interpreted:
    """Takes the place of what launches a kernel."""

    launched = 0
    apart = None
    fault, faults = ("", ""), 0
    storages = Storages()
    graph = None
    """What is recorded, while a graph is: launches, which are not run, and tables of the graph's memory."""

    def __init__(self, text, name, arguments, device):
        wrong, count = re.subn(*self.fault, text) if self.fault[0] else (text, 0)
        Interpreted.faults += count
        self._kernel, self._memory = Kernel(wrong, name), Memory()
        self._kernel.apart = Interpreted.apart
        assert text.count(f"{name}_param_") >= arguments and f"{name}_param_{arguments}" not in text

    def __call__(self, blocks, threads, stream, arguments):
        assert blocks > 0  # which the driver refuses
        if Interpreted.graph is not None:
            Interpreted.graph.launches.append(partial(self, blocks, threads, stream, list(arguments)))
            return
        self._memory.allow_only(self.storages.ranges())
        self._kernel.launch(blocks, threads, arguments, self._memory)
        Interpreted.launched += 1


class Graph:
    """A CUDA graph: within it launches are recorded, and products of matrices."""

    def __init__(self):
        self.launches, self.tables = [], []

    def __enter__(self):
        Interpreted.graph = self
        return self

    def __exit__(self, *error):
        Interpreted.graph = None

    def replay(self):
        for launch in self.launches:
            launch()


class Event:
    """Has passed when someone has waited for it."""

    waiting, most, waited = 0, 0, 0

    def record(self):
        Event.waiting += 1
        Event.most = max(Event.most, Event.waiting)

    def synchronize(self):
        Event.waiting -= 1
        Event.waited += 1


def pretend(monkeypatch):
    """Let CPU tensors be stepped as those of a GPU are; gives the current stream and the streams that tables saw."""
    streams = SimpleNamespace(current=1, recorded=[])
    Event.waiting = Event.most = Event.waited = 0
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(driver, "Launcher", Interpreted)
    monkeypatch.setattr(Interpreted, "storages", Storages())
    Interpreted.storages.watch(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams.current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: streams.recorded.append(stream))
    for module in (finite, grid, model, totals):
        monkeypatch.setattr(module, "raw_stream", lambda device: streams.current)

    def pinned(tensor):
        assert Interpreted.graph is None, "a graph would read the host's memory again"
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    return streams


def pretend_counting(monkeypatch):
    """As `pretend`; and the GPU can count steps, and graphs can record them."""
    streams = pretend(monkeypatch)
    monkeypatch.setattr(counting, "is_there", lambda tensor: True)
    monkeypatch.setattr(holdings.Holdings, "is_on_cuda", True)
    for module in (capture, fused, holdings, host, loss, model):
        monkeypatch.setattr(module, "is_capturing", lambda: Interpreted.graph is not None)
    for cls, taking in ((Noter, "send"), (BatchedProducts, "room")):  # memory that is the graph's
        monkeypatch.setattr(cls, taking, kept(getattr(cls, taking)))
    multiply = BatchedProducts.__call__

    def multiplied(*given):
        if Interpreted.graph is None:
            return multiply(*given)
        Interpreted.graph.launches.append(partial(multiply, *given))

    monkeypatch.setattr(BatchedProducts, "__call__", multiplied)
    return streams


def kept(taking):
    """A method that takes memory, which stays while the graph is there that records it."""

    def taken(*given):
        found = taking(*given)
        if Interpreted.graph is not None:
            Interpreted.graph.tables.append(found)
        return found

    return taken

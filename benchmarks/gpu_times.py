"""Times on a GPU of steps of whole models, beside PyTorch's own optimizers and a copy of the same bytes."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gpu_checking import DEVICE, found, speed
from gpu_matrices import MOVED, TARGETS, racers, verdict

import minima.torch as mt
from minima import optim
from minima.bench.workloads import WORKLOADS

__all__ = ["check_time"]

TIMED = {
    "AdamW": (2, lambda params, **more: mt.AdamW(params, **more), torch.optim.AdamW, {}),
    "RMSprop": (1, lambda params, **more: mt.RMSprop(params, **more), torch.optim.RMSprop, {}),
    "SGD": (
        1,
        lambda params, **more: mt.SGD(params, 0.01, 0.9, **more),
        torch.optim.SGD,
        {"lr": 0.01, "momentum": 0.9},
    ),
    "Lion": (1, lambda params, **more: mt.Lion(params, **more), None, {}),
}
"""The arrays of its state, how ours is made, PyTorch's class and what that is given."""
FURTHER = {
    "LAMB": (40, lambda params, **more: mt.LAMB(params, **more)),
    "Adafactor": (24, lambda params, **more: mt.adapt(optim.Adafactor)(params, **more)),
    "Prodigy": (40, lambda params, **more: mt.Prodigy(params, **more)),
    "AdamW that clips and averages": (
        40,
        lambda params, **more: mt.AdamW(params, max_norm=1.0, ema_decay=0.999, **more),
    ),
}
"""The bytes that all passes move for every parameter in float32, and how ours is made."""
CELLS = [(model, rule) for model in ("gpt2", "resnet50") for rule in TIMED] + [("many", "AdamW"), ("small", "AdamW")]
CELLS += [("gpt2", rule) for rule in FURTHER] + [("many", "LAMB")] + [("matrices", rule) for rule in TARGETS]


def contenders(rule: str) -> Iterator[tuple[str, Callable[..., Any], torch.dtype, int]]:
    """Name, how to make it, the dtype of parameters, bytes of one entry of the state."""
    if rule in TARGETS:
        for name, make in racers(rule):
            yield name, make, torch.float32, 4
        return
    if rule in FURTHER:
        _, ours = FURTHER[rule]
        yield "minima, PyTorch's operations", lambda ps: ours(ps, engine="torch"), torch.float32, 4
        yield "minima", lambda ps: ours(ps, engine="fused"), torch.float32, 4
        if rule == "AdamW that clips and averages":
            yield "PyTorch, one by one", OneByOne, torch.float32, 4
        return
    _, make, other, options = TIMED[rule]
    if other is not None:
        if rule in ("AdamW", "SGD"):
            yield "PyTorch fused", lambda ps: other(ps, fused=True, **options), torch.float32, 4
        yield "PyTorch foreach", lambda ps: other(ps, foreach=True, **options), torch.float32, 4
    yield "minima, PyTorch's operations", lambda ps: make(ps, engine="torch"), torch.float32, 4
    yield "minima", lambda ps: make(ps), torch.float32, 4
    yield "  state in bfloat16", lambda ps: make(ps, state_dtype="bfloat16"), torch.float32, 2
    yield "  state in 8 bits", lambda ps: make(ps, state_dtype="int8"), torch.float32, 1
    yield "  all in bfloat16", lambda ps: make(ps), torch.bfloat16, 2
    if rule == "AdamW":
        yield "PyTorch fused, bfloat16", lambda ps: torch.optim.AdamW(ps, fused=True), torch.bfloat16, 2


class OneByOne:
    """Clipping, PyTorch's fused AdamW and a moving average, as in most training loops."""

    def __init__(self, params: list[torch.Tensor]) -> None:
        self._params, self._optimizer = params, torch.optim.AdamW(params, fused=True)
        self._averages = [param.detach().clone() for param in params]

    @torch.no_grad()
    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._params, 1.0)
        self._optimizer.step()
        torch._foreach_lerp_(self._averages, self._params, 0.001)


class Contender:
    """Something that is done again and again on the GPU, and its times."""

    def __init__(self, name: str, step: Callable[[], object], moved: int) -> None:
        """Do ``step``, which has to move so many bytes."""
        self.name, self.step, self.moved = name, step, moved
        self._gpu, self._host = list[float](), list[float]()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        self.first = time.perf_counter() - begin
        self.memory = torch.cuda.max_memory_allocated() - before
        begin = time.perf_counter()
        for _ in range(3):
            step()
        self._cycles = int((time.perf_counter() - begin) / 3 * 4 * 1.5 * 2e9) + 2_000_000
        torch.cuda.synchronize()

    def turn(self) -> None:
        """Four steps, enqueued while the GPU is busy; one before them brings code and data into the host's caches."""
        self.step()
        torch.cuda.synchronize()
        torch.cuda._sleep(self._cycles)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        clock = time.perf_counter()
        for _ in range(4):
            self.step()
        self._host.append((time.perf_counter() - clock) / 4)
        end.record()
        torch.cuda.synchronize()
        self._gpu.append(begin.elapsed_time(end) / 4)

    @property
    def gpu(self) -> float:
        """Milliseconds on the GPU."""
        return statistics.median(self._gpu)

    @property
    def host(self) -> float:
        """Microseconds on the host."""
        return statistics.median(self._host) * 1e6

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.moved / (self.gpu * 1e-3)


def copying() -> Contender:
    """A copy within the GPU, of a gigabyte that is read and written."""
    source, target = (torch.empty(2**30, dtype=torch.uint8, device=DEVICE) for _ in range(2))
    return Contender("a copy", lambda: target.copy_(source), 2 * 2**30)


def stepping(name: str, make: Callable[..., Any], dtype: torch.dtype, width: int, rule: str, model: str) -> Contender:
    params = [torch.randn(shape, device=DEVICE, dtype=dtype).requires_grad_() for shape in WORKLOADS[model].shapes]
    for param in params:
        param.grad = torch.randn_like(param) * 1e-2
    return Contender(name, make(params).step, WORKLOADS[model].size * bytes_of(rule, dtype, width))


def bytes_of(rule: str, dtype: torch.dtype, width: int) -> int:
    """What has to be moved for every parameter."""
    if rule in TARGETS:
        return MOVED
    return FURTHER[rule][0] if rule in FURTHER else 3 * dtype.itemsize + 2 * width * TIMED[rule][0]


def check_time(rounds: int, rules: Sequence[str] | None) -> None:
    found.setdefault("time", [])
    for model, rule in CELLS:
        if rules and rule not in rules:
            continue
        copy = copying()
        race = [stepping(*each, rule, model) for each in contenders(rule)]
        for _ in range(rounds):
            for contender in (copy, *race):
                contender.turn()
        print(f"\n{rule}, {WORKLOADS[model]}, {torch.cuda.get_device_name()}: a copy moves {copy.rate / 1e9:.0f} GB/s")
        print(f"  {'':30}{'GPU ms':>9}{'of copy':>9}{'host us':>9}{'first ms':>10}{'memory MiB':>12}")
        for x in race:
            share = x.rate / copy.rate
            numbers = f"{x.gpu:9.3f}{share:9.2f}{x.host:9.0f}{x.first * 1e3:10.0f}{x.memory / 2**20:12.1f}"
            print(f"  {x.name:30}{numbers}", flush=True)
            if (model, rule) == ("gpt2", "AdamW") and x.name in ("minima", "PyTorch fused"):
                speed[x.name] = f"{x.gpu:.2f} ms, {share:.2f} of a copy"
        if rule in TARGETS:
            print(f"  {verdict(rule, {x.name: x.gpu for x in race})}", flush=True)
        del copy, race, contender
        gc.collect()
        torch.cuda.empty_cache()

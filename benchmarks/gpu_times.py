"""Times on a GPU of steps of whole models, beside PyTorch's own optimizers and a copy of the same bytes."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from gpu_matrices import MOVED, racers
from gpu_matrices import TARGETS as MUONS
from gpu_samples import DEVICE

import minima.torch as mt
from minima import optim
from minima.bench.workloads import WORKLOADS

__all__ = ["CELLS", "check_time", "speed"]

speed: dict[str, str] = {}
"""What the table says of times."""


class Rule(NamedTuple):
    """How a rule is raced."""

    moved: int
    """The bytes that all passes move for every parameter, if all of it is in float32."""
    make: Callable[..., Any]
    """Makes ours of parameters, and of further options."""
    peer: Callable[..., Any] | None = None
    """Makes PyTorch's."""
    ways: Sequence[str] = ()
    """The forms that PyTorch has of it."""
    states: int | None = None
    """The arrays of its state, where narrow ones race too."""
    options: Mapping[str, Any] = {"engine": "fused"}
    """What the race is about."""


RULES = {
    "AdamW": Rule(28, mt.AdamW, torch.optim.AdamW, ("fused", "foreach"), 2, {}),
    "RMSprop": Rule(20, mt.RMSprop, torch.optim.RMSprop, ("foreach",), 1, {}),
    "SGD": Rule(
        20,
        lambda params, **more: mt.SGD(params, 0.01, 0.9, **more),
        lambda params, **more: torch.optim.SGD(params, 0.01, 0.9, **more),
        ("fused", "foreach"),
        1,
        {},
    ),
    "Lion": Rule(20, mt.Lion, states=1, options={}),
    "AdaBelief": Rule(28, mt.AdaBelief, options={}),
    "NAdam": Rule(28, mt.NAdam, torch.optim.NAdam, ("foreach",)),
    "AdamW, amsgrad": Rule(
        36,
        lambda params, **more: mt.AdamW(params, amsgrad=True, **more),
        lambda params, **more: torch.optim.AdamW(params, amsgrad=True, **more),
        ("fused", "foreach"),
        options={},
    ),
    "Adadelta": Rule(28, mt.Adadelta, torch.optim.Adadelta, ("foreach",), options={}),
    "Adagrad": Rule(20, mt.Adagrad, torch.optim.Adagrad, ("foreach",), options={}),
    "Adamax": Rule(28, mt.Adamax, torch.optim.Adamax, ("foreach",), options={}),
    "Rprop": Rule(28, mt.Rprop, torch.optim.Rprop, ("foreach",), options={}),
    "ASGD": Rule(20, mt.ASGD, torch.optim.ASGD, ("foreach",)),
    "PyTorch's Adafactor": Rule(24, mt.Adafactor, torch.optim.Adafactor, ("foreach",)),
    "Adafactor": Rule(24, mt.adapt(optim.Adafactor)),
    "CAME": Rule(32, mt.CAME),
    "SM3": Rule(20, mt.SM3),
    "LAMB": Rule(40, mt.LAMB),
    "NovoGrad": Rule(24, mt.NovoGrad),
    "StableAdamW": Rule(36, mt.StableAdamW),
    "Prodigy": Rule(40, mt.Prodigy),
    "AdamW that clips and averages": Rule(
        40, lambda params, **more: mt.AdamW(params, max_norm=1.0, ema_decay=0.999, **more)
    ),
}
_CELLS = [("gpt2", rule) for rule in RULES] + [("resnet50", rule) for rule in ("AdamW", "RMSprop", "SGD", "Lion")]
_CELLS += [("many", rule) for rule in ("AdamW", "NAdam", "PyTorch's Adafactor", "LAMB")] + [("small", "AdamW")]
_CELLS += [("matrices", rule) for rule in MUONS]

COPY, OURS, FUSED, FOREACH, ONE_BY_ONE = "a copy", "minima", "PyTorch fused", "PyTorch foreach", "PyTorch, one by one"
EIGHT = "  state in 8 bits"


class Target(NamedTuple):
    """What is wanted of a race: a share, of someone, in what is measured, that is at least or at most so much."""

    of: str
    what: str
    bound: float
    who: str = OURS

    def judged(self, race: Mapping[str, "Contender"]) -> tuple[bool, str]:
        """Whether it was met, and what is to be said of it."""
        share = getattr(race[self.who], self.what) / getattr(race[self.of], self.what)
        is_met = share >= self.bound if self.what == "rate" else share <= self.bound
        measured = {"rate": "speed", "gpu": "time", "host": "time on the host", "memory": "peak memory"}[self.what]
        wanted = f"at {'least' if self.what == 'rate' else 'most'} {self.bound}"
        return is_met, f"{share:.2f} of the {measured} of {self.of.strip()}, {wanted} wanted: {self.who.strip()}"


TARGETS: dict[tuple[str, str], Sequence[Target]] = {
    ("gpt2", "AdamW"): (Target(COPY, "rate", 0.95), Target(FUSED, "memory", 1.001), Target(OURS, "gpu", 1.0, EIGHT)),
    **{("gpt2", rule): (Target(COPY, "rate", 0.95),) for rule in ("RMSprop", "Lion", "NAdam", "AdaBelief", "SGD")},
    ("gpt2", "LAMB"): (Target(COPY, "rate", 0.92),),
    ("gpt2", "Adafactor"): (Target(COPY, "rate", 0.6),),
    ("gpt2", "AdamW that clips and averages"): (Target(ONE_BY_ONE, "gpu", 0.75),),
    ("many", "AdamW"): (Target(FUSED, "host", 0.4),),
    **{("matrices", rule): (Target(other, "gpu", most),) for rule, (other, most) in MUONS.items()},
}
"""By the model and the rule of a race."""
CELLS = sorted(_CELLS, key=lambda cell: cell not in TARGETS)
"""All races, those with targets first."""


def contenders(rule: str) -> Iterator[tuple[str, Callable[..., Any], torch.dtype, int]]:
    """Name, how to make it, the dtype of parameters, and the bytes that it has to move for every parameter."""
    single = torch.float32
    if rule in MUONS:
        yield from ((name, make, single, MOVED) for name, make in racers(rule))
        return
    moved, make, peer, ways, states, options = RULES[rule]
    for way in ways if peer is not None else ():
        yield f"PyTorch {way}", partial(peer, **{way: True}), single, moved
    yield "minima, PyTorch's operations", partial(make, engine="torch"), single, moved
    yield OURS, partial(make, **options), single, moved
    if states is not None:
        yield "  state in bfloat16", partial(make, state_dtype="bfloat16"), single, 12 + 4 * states
        yield EIGHT, partial(make, state_dtype="int8"), single, 12 + 2 * states
        yield "  all in bfloat16", make, torch.bfloat16, 6 + 4 * states
    if rule == "AdamW":
        yield "PyTorch fused, bfloat16", partial(peer or make, fused=True), torch.bfloat16, 14
    if rule == "AdamW that clips and averages":
        yield ONE_BY_ONE, OneByOne, single, moved


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
        before = torch.cuda.memory_stats()["requested_bytes.all.current"]
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        self.first = time.perf_counter() - begin
        # What was asked for: what the allocator gives besides depends on what it has given before.
        self.memory = torch.cuda.memory_stats()["requested_bytes.all.peak"] - before
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


def stepping(name: str, make: Callable[..., Any], dtype: torch.dtype, moved: int, model: str) -> Contender:
    params = [torch.randn(shape, device=DEVICE, dtype=dtype).requires_grad_() for shape in WORKLOADS[model].shapes]
    for param in params:
        param.grad = torch.randn_like(param) * 1e-2
    return Contender(name, make(params).step, WORKLOADS[model].size * moved)


def check_time(cells: Sequence[tuple[str, str]], rounds: int) -> None:
    """Race in cells, each a model and a rule, and say which targets were met."""
    met: list[bool] = []
    for model, rule in cells:
        copy = copying()
        race = [stepping(*each, model) for each in contenders(rule)]
        for _ in range(rounds):
            for contender in (copy, *race):
                contender.turn()
        print(f"\n{rule}, {WORKLOADS[model]}, {torch.cuda.get_device_name()}: a copy moves {copy.rate / 1e9:.0f} GB/s")
        print(f"  {'':30}{'GPU ms':>9}{'of copy':>9}{'host us':>9}{'first ms':>10}{'memory MiB':>12}")
        for x in race:
            share = x.rate / copy.rate
            numbers = f"{x.gpu:9.3f}{share:9.2f}{x.host:9.0f}{x.first * 1e3:10.0f}{x.memory / 2**20:12.1f}"
            print(f"  {x.name:30}{numbers}", flush=True)
            if (model, rule) == ("gpt2", "AdamW") and x.name in (OURS, FUSED):
                speed[x.name] = f"{x.gpu:.2f} ms, {share:.2f} of a copy"
        for target in TARGETS.get((model, rule), ()):
            is_met, said = target.judged({x.name: x for x in (copy, *race)})
            met.append(is_met)
            print(f"  TARGET {'met' if is_met else 'missed'}: {said}", flush=True)
        del copy, race, contender
        gc.collect()
        torch.cuda.empty_cache()
    speed["targets"] = f"{sum(met)} of {len(met)}"
    print(f"\n{speed['targets']} targets met")

"""What checks on a GPU share: rules, kinds, tensors that are the same on the CPU and the GPU, a GPU that is busy."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

import minima.torch as mt
from minima import optim
from minima.optim import Optimizer, hyper

DEVICE = "cuda"


class Smooth(Optimizer):
    """A user's rule with every function that is the library's own."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, size, *, lr):
        size = 0.9 * size + optim.log(1 + abs(grad)) ** 0.7
        return param - lr * optim.cbrt(grad) * optim.exp(-size) / (1 + size**1.5), size


class Averaged(Optimizer):
    """A user's rule."""

    lr: float = hyper(0.1, low=0)
    keep: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, trend, peak=0.25, *, lr, keep, t):
        trend = keep * trend + (1 - keep) * grad
        peak = optim.maximum(peak, abs(grad))
        return param - lr / t * optim.where(peak > 1, trend / peak, trend), trend, peak


RULES: dict[str, Callable[..., Any]] = {
    "SGD": lambda params, **more: mt.SGD(params, lr=0.01, momentum=0.9, **more),
    "Adagrad": lambda params, **more: mt.Adagrad(params, lr=0.01, initial_accumulator_value=0.1, **more),
    "RMSprop": lambda params, **more: mt.RMSprop(params, lr=0.001, centered=True, momentum=0.5, **more),
    "Adam": lambda params, **more: mt.Adam(params, lr=0.001, weight_decay=0.01, amsgrad=True, **more),
    "AdamW": lambda params, **more: mt.AdamW(params, lr=0.001, **more),
    "Lion": lambda params, **more: mt.Lion(params, lr=1e-4, weight_decay=0.1, **more),
    "user's": lambda params, **more: mt.adapt(Averaged)(params, weight_decay=0.1, **more),
    "user's functions": lambda params, **more: mt.adapt(Smooth)(params, **more),
}
PASSES: dict[str, Callable[..., Any]] = {
    "LAMB": lambda params, **more: mt.LAMB(params, lr=0.01, **more),
    "NovoGrad": lambda params, **more: mt.NovoGrad(params, lr=0.01, **more),
    "StableAdamW, cautious": lambda params, **more: mt.StableAdamW(params, lr=0.01, cautious=True, **more),
    "Adafactor": lambda params, **more: mt.adapt(optim.Adafactor)(params, lr=0.01, **more),
    "CAME": lambda params, **more: mt.CAME(params, lr=0.01, **more),
    "SM3": lambda params, **more: mt.SM3(params, lr=0.01, **more),
    "NAdam": lambda params, **more: mt.NAdam(params, lr=0.01, **more),
    "Prodigy": lambda params, **more: mt.Prodigy(params, d0=1e-3, **more),
    "AdamW that clips and averages": lambda params, **more: mt.AdamW(params, max_norm=0.5, ema_decay=0.9, **more),
}
"""Rules of several passes, or with a state that all parameters share."""
LOSSES: dict[str, Callable[..., Any]] = {
    "PolyakSGD": lambda params, **more: mt.PolyakSGD(params, **more),
    "MoMo": lambda params, **more: mt.MoMo(params, **more),
    "MoMoAdam": lambda params, **more: mt.MoMoAdam(params, lr=0.01, **more),
}
"""Rules that compute with the loss."""
MAKERS = {**RULES, **PASSES, **LOSSES}
BY_ROWS = {"Adafactor", "CAME", "SM3"}
"""Rules that tell rows and columns apart: for real tensors whose memory is row after row, and no state in 8 bits."""
KINDS: list[tuple[torch.dtype, dict[str, Any]]] = [
    (torch.float32, {}),
    (torch.float64, {}),
    (torch.complex64, {}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.float16, {}),
    (torch.float16, {"rounding": "stochastic"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
    (torch.float32, {"state_dtype": "int8"}),
    (torch.float64, {"state_dtype": "int8"}),
    (torch.bfloat16, {"state_dtype": "int8"}),
]


def kinds(rule: str) -> Iterator[tuple[torch.dtype, dict[str, Any]]]:
    """The kinds of parameters and state that a rule takes."""
    for dtype, options in KINDS:
        if rule not in BY_ROWS or not (dtype.is_complex or options.get("state_dtype") == "int8"):
            yield dtype, options


def busy_seconds(step: Callable[[int], object], many: int = 5) -> float:
    """The seconds that the host takes for some steps while all GPUs are busy, in which nothing may wait for them."""
    devices = range(torch.cuda.device_count())
    for device in devices:
        torch.cuda.synchronize(device)
    for device in devices:
        with torch.cuda.device(device):
            torch.cuda._sleep(1_000_000_000)  # about half a second
    begin = time.perf_counter()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(many):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    taken = time.perf_counter() - begin
    for device in devices:
        torch.cuda.synchronize(device)
    return taken


def waits(step: Callable[[int], object], many: int = 5) -> Iterator[str]:
    """A fault, if the host takes long over some steps while all GPUs are busy; a step is given its number."""
    taken = busy_seconds(step, many)
    print(f"     {taken * 1e3:.2f} ms on the host")
    if taken > 0.1:
        yield f"{taken * 1e3:.2f} ms on the host"


# Tensors -------------------------------------------------------------------------------------------------------------

Side = tuple[list[torch.Tensor], Any]
"""Parameters, and their optimizer."""


def drawn(shape: Sequence[int], dtype: torch.dtype, draw: torch.Generator) -> torch.Tensor:
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(tuple(shape), generator=draw, dtype=wide, device="cpu").to(dtype)


def samples(dtype: torch.dtype, draw: torch.Generator) -> Iterator[torch.Tensor]:
    """Parameters of many sizes and layouts; some are views from odd addresses, one has gaps."""
    for shape in [(), (1,), (3,), (0, 4), (255,), (256,), (257,), (64, 33), (4096,), (5000,), (129, 1031), (300_007,)]:
        yield drawn(shape, dtype, draw)
    yield drawn((70, 50), dtype, draw).t()
    yield drawn((8, 6, 5, 7), dtype, draw).contiguous(memory_format=torch.channels_last)
    for shift in (1, 2, 3):
        yield drawn((20_000,), dtype, draw)[shift : shift + 17_003]
    yield drawn((60, 40), dtype, draw)[:, ::2]


def twin(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A leaf on a device, with the same strides, as far from an aligned address."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size)
    room = torch.empty(tensor.storage_offset() + steps + 64, dtype=tensor.dtype, device=device)
    made = room.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    return made.copy_(tensor).detach().requires_grad_()


def side(make: Callable[..., Any], given: Sequence[torch.Tensor], *devices: str, **options: Any) -> Side:
    """Twins of some tensors, by turns on some devices, and their optimizer."""
    params = [twin(x, devices[i % len(devices)]) for i, x in enumerate(given)]
    return params, make(params, **options)


def pair(rule: str, dtype: torch.dtype, **options: Any) -> tuple[Any, ...]:
    """The generator, and parameters with their optimizer on the CPU and on the GPU."""
    draw = torch.Generator().manual_seed(0)
    given = [x for x in samples(dtype, draw) if rule not in BY_ROWS or x.is_contiguous()]
    (cpu, ours), (gpu, theirs) = (
        side(MAKERS[rule], given, device, engine="fused", **options) for device in ("cpu", DEVICE)
    )
    return draw, cpu, gpu, ours, theirs


def give(
    draw: torch.Generator,
    *sides: Sequence[torch.Tensor],
    scale: float = 0.01,
    wild: bool = False,
    without: int | None = None,
    in_place: bool = False,
) -> None:
    """The same gradients on all sides, in other memory than before or ``in_place``.

    ``wild`` puts special values among them; every fourth parameter gets none, from the one ``without`` on.
    """
    for number, twins in enumerate(zip(*sides, strict=True)):
        grad = (drawn(twins[0].shape, twins[0].dtype, draw) * scale).to(twins[0].dtype)
        if wild and grad.dim() == 1 and grad.numel() > 100:
            top = torch.finfo(grad.dtype)
            special = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), top.tiny / 4, top.max, -top.tiny]
            grad[7:15] = torch.tensor(special, dtype=torch.float64, device="cpu").to(grad.dtype)
        for param in twins:
            if without is not None and number % 4 == without:
                param.grad = None
            elif in_place and param.grad is not None:
                param.grad.copy_(grad)
            else:
                param.grad = torch.empty_like(param).copy_(grad)


def different(mine: torch.Tensor, other: torch.Tensor) -> int:
    """How many entries differ in any bit; NaN is NaN."""
    mine, other = (x.detach().cpu().contiguous() for x in (mine, other))
    if mine.is_complex():
        mine, other = torch.view_as_real(mine), torch.view_as_real(other)
    if mine.shape != other.shape or mine.dtype != other.dtype:
        return -1
    if not mine.is_floating_point():
        return int((mine != other).sum())
    word = {2: torch.int16, 4: torch.int32, 8: torch.int64}[mine.element_size()]
    return int(((mine.view(word) != other.view(word)) & ~(mine.isnan() & other.isnan())).sum())


def differences(cpu: Sequence[Any], gpu: Sequence[Any], ours: Any, theirs: Any) -> Iterator[str]:
    for i, (param, other) in enumerate(zip(cpu, gpu, strict=True)):
        kept, its = ours.state.get(param, {}), theirs.state.get(other, {})
        pairs = {"param": (param, other), **{name: (kept[name], its[name]) for name in kept}}
        for name, (x, y) in pairs.items():
            if many := different(x, y):
                yield f"{name} of {i} {tuple(param.shape)}: {many} of {x.numel()}"


def miscounted(ours: Any, theirs: Any) -> Iterator[str]:
    """A fault, if two optimizers have not counted the same steps."""
    mine, its = ((each.t, each.skipped, list(each.steps)) for each in (ours, theirs))
    if mine != its:
        yield f"counted {its}, and not {mine}"

"""Those who step the same parameters: minima, alone, in PyTorch and JAX; PyTorch, libraries for it, optax, NumPy, C."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.autograd import Tensor
from minima.bench.algorithms import ALGORITHMS, Algorithm
from minima.bench.loop import CLoop, compiler
from minima.bench.machine import library
from minima.bench.workloads import START, Workload, gradients

__all__ = [
    "PEERS",
    "Peer",
    "Stepper",
    "build",
    "minima_parameters",
    "optax_stepper",
    "optax_update",
    "sample",
    "scale_all",
    "torch_parameters",
    "torch_stepper",
    "wrong",
]

Array = NDArray[Any]

CHECKED = (1.0, -4.0, 0.5)
"""The steps of every peer before its first turn, which must be the textbook's: each with the gradient times this.
(While the gradient stays the same, Adam takes the same steps whatever its betas are.)"""


@dataclass
class Stepper:
    """A peer, ready to step."""

    step: Callable[[], object]
    values: Callable[[], Sequence[Array]]
    """Its parameters as they are now."""
    scale: Callable[[float], None]
    """Multiplies its gradients, which it may share with others."""
    close: float = 1e-4
    """How far it may be from where the textbook gets, as a share of the way; infinite if it computes something else."""


Builder = Callable[[Algorithm, list[Array]], Stepper | None]


@dataclass(frozen=True)
class Peer:
    """A way to step."""

    title: str
    build: Builder
    """Takes the algorithm and the gradients; None where this peer has no such algorithm."""
    needs: tuple[str, ...] = ()
    """The libraries without which it is left out."""
    copies: float = 1.0
    """What it holds at its peak, in parameters and states of float32."""
    largest: int | None = None
    """The number of parameters up to which it takes part unless it is asked for by name."""

    def is_for(self, algorithm: Algorithm) -> bool:
        """Whether what it needs is needed for an algorithm: libraries besides PyTorch and optax know some only."""
        return not self.of_others or self.of_others in algorithm.others

    @property
    def of_others(self) -> str:
        """The library, if it is one of those."""
        return next((name for name in self.needs if name not in ("torch", "jax", "optax")), "")


def _minima(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper | None:
    kind, settings = algorithm.minima
    if "state_dtype" in options and (algorithm.title != "Adam" or "state_dtype" not in signature(kind).parameters):
        return None
    params = minima_parameters(grads)
    optimizer = kind(params, **settings, **options)
    # Eight bits hold a moment to a hundredth of the largest in its block; and the checked steps nearly cancel.
    close = {"bfloat16": 0.1, "int8": 0.3}.get(options.get("state_dtype", ""), 1e-4)
    return Stepper(
        optimizer.step, lambda: [param.detach().numpy() for param in params], partial(scale_all, grads), close
    )


def minima_parameters(grads: list[Array]) -> list[Tensor]:
    """Parameters that have these gradients, and share their memory."""
    params = [Tensor.from_numpy(np.multiply(grad, np.float32(START))) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.requires_grad = True
        param.grad = Tensor.from_numpy(grad)
    return params


def _minima_torch(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper:
    """With the import changed and nothing else, where PyTorch has the algorithm."""
    ours: Any = import_module("minima.torch")
    rule, settings = algorithm.minima
    kind, close = ours.adapt(rule), 1e-4
    if algorithm.torch is not None and algorithm.torch[0] in ours.__all__:
        name, settings = algorithm.torch
        kind, close = getattr(ours, name), algorithm.torch_close
    params = torch_parameters(grads)
    return torch_stepper(kind(params, **settings, **options).step, params, close)


def _torch(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper | None:
    if algorithm.torch is None:
        return None
    torch: Any = library("torch")
    name, settings = algorithm.torch
    params = torch_parameters(grads)
    try:
        optimizer = getattr(torch.optim, name)(params, **settings, **options)
    except (TypeError, RuntimeError):  # not fused: no such argument, or not for this kind of tensor
        return None
    return torch_stepper(optimizer.step, params, algorithm.torch_close)


def _other(library_name: str, algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    if library_name not in algorithm.others:
        return None
    other = algorithm.others[library_name]
    params = torch_parameters(grads, shared=False)  # some write into gradients
    optimizer = getattr(library(library_name), other.name)(params, **other.settings)
    return torch_stepper(optimizer.step, params, inf if other.close is None else other.close)


def _torch_one_by_one(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """Clipping, AdamW and a moving average, each as PyTorch has it."""
    _, given = algorithm.minima
    if not {"max_norm", "ema_decay"} <= given.keys():
        return None
    torch: Any = library("torch")
    swa: Any = import_module("torch.optim.swa_utils")
    params = torch_parameters(grads, shared=False)  # which are clipped in place
    model = torch.nn.ParameterList(params)
    settings = dict(given)
    max_norm, decay = settings.pop("max_norm"), settings.pop("ema_decay")
    optimizer = torch.optim.AdamW(params, fused=True, **settings)
    average = swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(decay))
    whole = 1.0

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, max_norm)
        optimizer.step()
        average.update_parameters(model)

    def scale(factor: float) -> None:
        nonlocal whole
        whole *= factor
        for param, grad in zip(params, grads, strict=True):
            torch.mul(torch.from_numpy(grad), whole, out=param.grad)

    return Stepper(step, lambda: [param.detach().numpy() for param in params], scale)


def _torch_by_hand(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """What somebody writes in PyTorch whose rule is not in torch.optim, with the fewest passes over memory."""
    if algorithm.title != "Lion":
        return None
    torch: Any = library("torch")
    params = torch_parameters(grads)
    averages = [torch.zeros_like(param) for param in params]

    @torch.no_grad()
    def step() -> None:
        for param, exp_avg in zip(params, averages, strict=True):
            param.add_(exp_avg.lerp(param.grad, 0.1).sign_(), alpha=-1e-3)
            exp_avg.lerp_(param.grad, 0.01)

    return torch_stepper(step, params)


def torch_stepper(step: Callable[[], object], params: list[Any], close: float = 1e-4) -> Stepper:
    """A stepper of PyTorch's parameters."""
    own = [param.grad for param in params]
    return Stepper(step, lambda: [param.detach().numpy() for param in params], partial(scale_all, own), close)


def torch_parameters(grads: list[Array], shared: bool = True) -> list[Any]:
    """Parameters in PyTorch's own memory; so are their gradients, unless they are too large to have them twice."""
    torch: Any = library("torch")
    shared = shared and sum(grad.size for grad in grads) >= 10_000_000
    params: list[Any] = []
    for grad in map(torch.from_numpy, grads):
        param = torch.nn.Parameter(grad * START)
        param.grad = grad if shared else grad.clone()
        params.append(param)
    return params


def _optax(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    if algorithm.optax is None:
        return None
    name, settings = algorithm.optax
    return optax_stepper(getattr(library("optax"), name)(**settings), grads)


def _minima_jax(algorithm: Algorithm, grads: list[Array]) -> Stepper:
    rule, settings = algorithm.minima
    return optax_stepper(import_module("minima.jax").adapt(rule)(**settings), grads)


def optax_stepper(transformation: Any, grads: list[Array]) -> Stepper:
    """A transformation as optax has them under ``jax.jit``, which may write into the memory of parameters and state."""
    jax: Any = library("jax")
    own = [jax.numpy.asarray(grad) for grad in grads]
    params = [grad * START for grad in own]
    state = jax.jit(transformation.init)(params)  # under jit, no two of its arrays share memory

    update = optax_update(transformation)

    def step() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(update(params, state, own))

    def scale(factor: float) -> None:
        own[:] = [factor * grad for grad in own]

    return Stepper(step, lambda: list(map(np.asarray, params)), scale)


def optax_update(transformation: Any) -> Any:
    """The step of such a transformation: takes parameters, state and gradients, gives the new of the first two."""
    jax: Any = library("jax")
    optax: Any = library("optax")

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return update


def _c_loop(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    if compiler() is None or not CLoop.knows(algorithm):
        return None
    params = [np.multiply(grad, np.float32(START)) for grad in grads]
    return Stepper(CLoop(algorithm, params, grads).step, lambda: params, partial(scale_all, grads))


def _textbook(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    if algorithm.looks_at == "model":
        return None  # which is no list of arrays there
    params = [START * grad for grad in grads]
    states: list[list[Any]] = [list(algorithm.start) for _ in grads]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for number, grad in enumerate(grads):
            params[number], *states[number] = algorithm.textbook(params[number], grad, *states[number], t)

    return Stepper(step, lambda: params, partial(scale_all, grads))


def _adam(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """minima's Adam: what a step costs with a rule that does not look at tensors."""
    stepper = _minima(ALGORITHMS["adam"], grads) if algorithm.looks_at == "tensor" else None
    if stepper is not None:
        stepper.close = inf
    return stepper


def scale_all(grads: Sequence[Any], factor: float) -> None:
    """Multiply gradients in place."""
    for grad in grads:
        grad *= factor


PEERS = {
    "minima": Peer("minima", _minima),
    "minima-torch": Peer("minima.torch", _minima_torch, ("torch",)),
    "minima-jax": Peer("minima.jax under jax.jit", _minima_jax, ("jax", "optax"), copies=2.0),
    "bfloat16": Peer("minima, bfloat16 state", partial(_minima, state_dtype="bfloat16")),
    "int8": Peer("minima, int8 state", partial(_minima, state_dtype="int8")),
    "adam": Peer("minima, Adam", _adam),
    "c": Peer("C loop, by hand", _c_loop),
    "torch-fused": Peer("PyTorch, fused=True", partial(_torch, fused=True), ("torch",)),
    "torch": Peer("PyTorch, default", _torch, ("torch",)),
    "torch-hand": Peer("PyTorch, by hand", _torch_by_hand, ("torch",)),
    # On a CPU this is the default.
    "torch-loop": Peer("PyTorch, foreach=False", partial(_torch, foreach=False), ("torch",), largest=1_000_000),
    "torch-foreach": Peer("PyTorch, foreach=True", partial(_torch, foreach=True), ("torch",), copies=2.0),
    "torch-one-by-one": Peer("PyTorch, one by one", _torch_one_by_one, ("torch",), copies=1.5),
    "pytorch-optimizer": Peer(
        "pytorch_optimizer", partial(_other, "pytorch_optimizer"), ("torch", "pytorch_optimizer"), copies=1.5
    ),
    "prodigyopt": Peer("prodigyopt", partial(_other, "prodigyopt"), ("torch", "prodigyopt"), copies=1.5),
    "optax": Peer("optax under jax.jit", _optax, ("jax", "optax"), copies=2.0),
    "numpy": Peer("NumPy, as in textbooks", _textbook, copies=1.5),
}
"""By their names on the command line, the most wanted first."""


def sample(algorithm: Algorithm) -> list[Array]:
    """Gradients of a few small tensors, to check a rule with that looks further than one element."""
    shapes = ((24, 30), (24,), (40, 16), (32, 32), (1000,))
    shapes = tuple(shape for shape in shapes if algorithm.looks_at != "matrix" or len(shape) == 2)
    return gradients(Workload("sample", shapes, 0))


def wrong(stepper: Stepper, algorithm: Algorithm, grads: list[Array]) -> str:
    """Take a few steps, and compare with the textbook's lines in float64: what is wrong, or nothing.

    Of rules that look at single elements, some elements of each tensor, the first and the last among them, tell of the
    others. The gradients are in the end what they were: all factors are powers of two.
    """
    if stepper.close == inf:
        return ""
    last = 1.0
    for factor in CHECKED:
        stepper.scale(factor / last)
        stepper.step()
        last = factor
    stepper.scale(1 / last)
    pairs = list(zip(map(np.asarray, stepper.values()), grads, strict=True))
    by_element = algorithm.looks_at == "element"
    if by_element:
        pairs = [_some(got, grad, max(16, 4096 // len(grads))) for got, grad in pairs]
    elif algorithm.looks_at == "model":
        ours, theirs = (np.concatenate([array.ravel() for array in many]) for many in zip(*pairs, strict=True))
        pairs = [(ours, theirs)]
    worst = 0.0
    for got, grad in pairs:
        g = grad.astype(np.float64)
        start = START * g
        param, *state = (start, *algorithm.start)
        for t, factor in enumerate(CHECKED, 1):
            param, *state = algorithm.textbook(param, factor * g, *state, t)
        rounding = 1e-7 * len(CHECKED) * np.abs(start)
        way = np.abs(param - start) if by_element else np.max(np.abs(param - start))
        with np.errstate(invalid="ignore"):
            off = (np.abs(got - param) - rounding) / way
        worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
    return f"after {len(CHECKED)} steps it is off by {worst:.1%} of the way" if worst > stepper.close else ""


def _some(got: Array, grad: Array, count: int) -> tuple[Array, Array]:
    places = np.linspace(0, grad.size - 1, min(count, grad.size)).astype(int)
    return got.ravel()[places], grad.ravel()[places]


def build(peer: Peer, algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """The peer, ready to step; None where it has no such algorithm, or not yet."""
    with suppress(NotImplementedError):
        return peer.build(algorithm, grads)
    return None

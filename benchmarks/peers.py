"""Those who step the same parameters: minima, alone and inside PyTorch; PyTorch, optax, plain NumPy, a loop in C."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
from algorithms import Algorithm
from loop import CLoop, compiler
from machine import library
from numpy.typing import NDArray
from workloads import START

from minima.autograd import Tensor

__all__ = ["PEERS", "Peer", "Stepper", "build", "wrong"]

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
    """How far it may be from where the textbook gets, as a share of the way."""


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


def _minima(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper | None:
    kind, settings = algorithm.minima
    if "state_dtype" in options and (algorithm.title != "Adam" or "state_dtype" not in signature(kind).parameters):
        return None
    params = [Tensor.from_numpy(np.multiply(grad, np.float32(START))) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.requires_grad = True
        param.grad = Tensor.from_numpy(grad)
    optimizer = kind(params, **settings, **options)
    # Eight bits hold a moment to a hundredth of the largest in its block; and the checked steps nearly cancel.
    close = {"bfloat16": 0.1, "int8": 0.3}.get(options.get("state_dtype", ""), 1e-4)
    return Stepper(optimizer.step, lambda: [param.detach().numpy() for param in params], partial(_scale, grads), close)


def _minima_torch(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper:
    """With the import changed and nothing else, where PyTorch has the algorithm."""
    ours: Any = import_module("minima.torch")
    rule, settings = algorithm.minima
    kind = ours.adapt(rule)
    if algorithm.torch is not None:
        name, settings = algorithm.torch
        kind = getattr(ours, name)
    params = _torch_parameters(grads)
    return _torch_stepper(kind(params, **settings, **options).step, params)


def _torch(algorithm: Algorithm, grads: list[Array], **options: Any) -> Stepper | None:
    if algorithm.torch is None:
        return None
    torch: Any = library("torch")
    name, settings = algorithm.torch
    params = _torch_parameters(grads)
    try:
        optimizer = getattr(torch.optim, name)(params, **settings, **options)
    except (TypeError, RuntimeError):  # not fused: no such argument, or not for this kind of tensor
        return None
    return _torch_stepper(optimizer.step, params)


def _torch_by_hand(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """What somebody writes in PyTorch whose rule is not in torch.optim, with the fewest passes over memory."""
    if algorithm.torch is not None:
        return None
    torch: Any = library("torch")
    params = _torch_parameters(grads)
    averages = [torch.zeros_like(param) for param in params]

    @torch.no_grad()
    def step() -> None:
        for param, exp_avg in zip(params, averages, strict=True):
            param.add_(exp_avg.lerp(param.grad, 0.1).sign_(), alpha=-1e-3)
            exp_avg.lerp_(param.grad, 0.01)

    return _torch_stepper(step, params)


def _torch_stepper(step: Callable[[], object], params: list[Any]) -> Stepper:
    gradients = [param.grad for param in params]
    return Stepper(step, lambda: [param.detach().numpy() for param in params], partial(_scale, gradients))


def _torch_parameters(grads: list[Array]) -> list[Any]:
    """Parameters in PyTorch's own memory; so are their gradients, unless they are too large to have them twice."""
    torch: Any = library("torch")
    shared = sum(grad.size for grad in grads) >= 10_000_000
    params: list[Any] = []
    for grad in map(torch.from_numpy, grads):
        param = torch.nn.Parameter(grad * START)
        param.grad = grad if shared else grad.clone()
        params.append(param)
    return params


def _optax(algorithm: Algorithm, grads: list[Array]) -> Stepper:
    jax: Any = library("jax")
    optax: Any = library("optax")
    name, settings = algorithm.optax
    transformation = getattr(optax, name)(**settings)
    own = [jax.numpy.asarray(grad) for grad in grads]
    params = [grad * START for grad in own]
    state = jax.jit(transformation.init)(params)  # under jit, no two of its arrays share memory

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def step() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(update(params, state, own))

    def scale(factor: float) -> None:
        own[:] = [factor * grad for grad in own]

    return Stepper(step, lambda: list(map(np.asarray, params)), scale)


def _c_loop(algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    if compiler() is None or not CLoop.knows(algorithm):
        return None
    params = [np.multiply(grad, np.float32(START)) for grad in grads]
    return Stepper(CLoop(algorithm, params, grads).step, lambda: params, partial(_scale, grads))


def _textbook(algorithm: Algorithm, grads: list[Array]) -> Stepper:
    params = [START * grad for grad in grads]
    states = [(np.zeros_like(grad),) * algorithm.states for grad in grads]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for number, grad in enumerate(grads):
            params[number], *states[number] = algorithm.textbook(params[number], grad, *states[number], t)

    return Stepper(step, lambda: params, partial(_scale, grads))


def _scale(grads: Sequence[Any], factor: float) -> None:
    for grad in grads:
        grad *= factor


PEERS = {
    "minima": Peer("minima", _minima),
    "minima-torch": Peer("minima.torch", _minima_torch, ("torch",)),
    "bfloat16": Peer("minima, bfloat16 state", partial(_minima, state_dtype="bfloat16")),
    "int8": Peer("minima, int8 state", partial(_minima, state_dtype="int8")),
    "c": Peer("C loop, by hand", _c_loop),
    "torch-fused": Peer("PyTorch, fused=True", partial(_torch, fused=True), ("torch",)),
    "torch": Peer("PyTorch, default", _torch, ("torch",)),
    "torch-hand": Peer("PyTorch, by hand", _torch_by_hand, ("torch",)),
    # On a CPU this is the default.
    "torch-loop": Peer("PyTorch, foreach=False", partial(_torch, foreach=False), ("torch",), largest=1_000_000),
    "torch-foreach": Peer("PyTorch, foreach=True", partial(_torch, foreach=True), ("torch",), copies=2.0),
    "optax": Peer("optax under jax.jit", _optax, ("jax", "optax"), copies=2.0),
    "numpy": Peer("NumPy, as in textbooks", _textbook, copies=1.5),
}
"""By their names on the command line, the most wanted first."""


def wrong(stepper: Stepper, algorithm: Algorithm, grads: list[Array]) -> str:
    """Take a few steps, and compare with the textbook's lines in float64: what is wrong, or nothing.

    All rules work on single elements, and so some elements of each tensor, the first and the last among them, tell of
    the others. The gradients are in the end what they were: all factors are powers of two.
    """
    last = 1.0
    for factor in CHECKED:
        stepper.scale(factor / last)
        stepper.step()
        last = factor
    stepper.scale(1 / last)
    count = max(16, 4096 // len(grads))
    worst = 0.0
    for values, grad in zip(stepper.values(), grads, strict=True):
        places = np.linspace(0, grad.size - 1, min(count, grad.size)).astype(int)
        g = grad.ravel()[places].astype(np.float64)
        start = START * g
        param, *state = (start, *[np.zeros_like(g)] * algorithm.states)
        for t, factor in enumerate(CHECKED, 1):
            param, *state = algorithm.textbook(param, factor * g, *state, t)
        got = np.asarray(values).ravel()[places]
        rounding = 1e-7 * len(CHECKED) * np.abs(start)
        with np.errstate(invalid="ignore"):
            off = (np.abs(got - param) - rounding) / np.abs(param - start)
        worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
    return f"after {len(CHECKED)} steps it is off by {worst:.1%} of the way" if worst > stepper.close else ""


def build(peer: Peer, algorithm: Algorithm, grads: list[Array]) -> Stepper | None:
    """The peer, ready to step; None where it has no such algorithm, or not yet."""
    with suppress(NotImplementedError):
        return peer.build(algorithm, grads)
    return None

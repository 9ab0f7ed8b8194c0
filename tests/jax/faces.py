"""The same run in the three faces of minima, on parameters with names, and what moves it from one to another."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import torch

import jax
import minima as mi
import minima.torch as mt
from minima import Tensor

SHAPES = {"head.weight": (3, 6), "layers.0.bias": (6,), "layers.0.weight": (6, 4)}
"""In the order in which JAX goes through them."""
TORCH_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def start():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def gradients(step, params):
    """The gradients of a bowl, with noise that is the same in every face."""
    rng = np.random.default_rng(step + 1)
    return {name: value - 1 + rng.normal(size=value.shape) for name, value in params.items()}


class Face:
    """A run in one of the faces; it begins at ``params``, arrays by name."""

    is_half = False

    def values(self):
        """The parameters as arrays in float64, by name."""
        raise NotImplementedError

    def step(self, grads):
        raise NotImplementedError

    def state_dict(self):
        raise NotImplementedError

    def load(self, state_dict):
        raise NotImplementedError

    def go(self, first, count):
        """Steps by gradients at the parameters; of those in half precision, which jump, at the start."""
        for number in range(first, first + count):
            self.step(gradients(number, start() if self.is_half else self.values()))
        return self


class NumPy(Face):
    def __init__(self, make, params, dtype="float64"):
        self.params = {name: Tensor(x, dtype=dtype, requires_grad=True) for name, x in params.items()}
        self.dtype, self.is_half = dtype, dtype == "float16"
        self.optimizer = make(list(self.params.items()))

    def values(self):
        return {name: param.detach().numpy().astype("float64") for name, param in self.params.items()}

    def step(self, grads):
        for name, param in self.params.items():
            param.grad = Tensor(grads[name], dtype=self.dtype)
        self.optimizer.step()

    def state_dict(self):
        return self.optimizer.state_dict()

    def load(self, state_dict):
        self.optimizer.load_state_dict(state_dict)


class Torch(Face):
    def __init__(self, make, params, dtype="float64"):
        dtype, self.is_half = TORCH_DTYPES[dtype], "16" in dtype
        pairs = ((name, torch.tensor(x, dtype=dtype, requires_grad=True)) for name, x in reversed(params.items()))
        self.params = dict(pairs)
        self.optimizer = make(list(self.params.items()))

    def values(self):
        return {name: param.detach().double().numpy() for name, param in sorted(self.params.items())}

    def step(self, grads):
        for name, param in self.params.items():
            param.grad = torch.tensor(grads[name], dtype=param.dtype)
        self.optimizer.step()

    def state_dict(self):
        return mt.portable_state_dict(self.optimizer)

    def load(self, state_dict):
        mt.load_portable_state_dict(self.optimizer, state_dict)


@cache
def compiled(make):
    """The step of a factory, compiled once for all of its runs."""
    return jax.jit(make().step)


class JAX(Face):
    def __init__(self, make, params, dtype="float64"):
        self.params = nested({name: jnp.asarray(x, dtype) for name, x in params.items()})
        self.tx, self.is_half = make(), "16" in dtype
        self.state, self.jitted = self.tx.init(self.params), compiled(make)

    def values(self):
        return {name: np.asarray(x, "float64") for name, x in zip(SHAPES, jax.tree.leaves(self.params), strict=True)}

    def step(self, grads):
        like = nested({name: jnp.asarray(x) for name, x in grads.items()})
        grads = jax.tree.map(lambda grad, param: grad.astype(param.dtype), like, self.params)
        self.params, self.state = self.jitted(grads, self.state, self.params)

    def state_dict(self):
        return self.tx.state_dict(self.state, self.params)

    def load(self, state_dict):
        self.state = self.tx.from_state_dict(state_dict, self.params)


FACES = {"NumPy": NumPy, "PyTorch": Torch, "JAX": JAX}


def nested(flat):
    layer = {"weight": flat["layers.0.weight"], "bias": flat["layers.0.bias"]}
    return {"head": {"weight": flat["head.weight"]}, "layers": [layer]}


def moved(faces, makes, file, count=50, dtype="float64", change=lambda state_dict: state_dict):
    """The parameters behind runs of ``count`` steps in each of the faces, a file between any two."""
    params, taken, kept, run = start(), 0, None, None
    for face in faces:
        run = FACES[face](makes[face], params, dtype)
        if kept is not None:
            run.load(change(kept))
        run.go(taken, count)
        taken += count
        mi.save(file, params=run.values(), optimizer=run.state_dict())
        told = mi.load(file)
        params, kept = told["params"], told["optimizer"]
    return run


def alone(face, makes, count=150, dtype="float64"):
    """The same steps in one face."""
    return FACES[face](makes[face], start(), dtype).go(0, count)

"""minima: optimizers for deep learning. Write the update once, as the paper does; run it everywhere."""

from minima.lazy import loaders as _loaders

_PLACES = {
    "Checkpoints": "minima.checkpoint",
    "Tensor": "minima.autograd",
    "autograd": "minima.autograd",
    "cpu": "minima.autograd",
    "data": "minima.data",
    "enable_grad": "minima.autograd",
    "init": "minima.init",
    "load": "minima.checkpoint",
    "manual_seed": "minima.random",
    "nn": "minima.nn",
    "no_grad": "minima.autograd",
    "optim": "minima.optim",
    "save": "minima.checkpoint",
}

__all__ = list(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them

__version__ = "0.1.0"

__getattr__, __dir__ = _loaders(__name__, _PLACES)

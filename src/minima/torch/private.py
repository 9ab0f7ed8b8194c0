"""What PyTorch has under private names, and what does where a version has it no longer."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.optim.optimizer as base
from torch.autograd import profiler

__all__ = ["compiled_never", "dlpack_table", "foreach", "is_watched", "loading_hooks"]

_F = TypeVar("_F", bound=Callable[..., Any])
_torch: Any = torch
_base: Any = base
_profiler: Any = profiler
_CAPSULE = b"dlpack_exchange_api"

Hooks = Mapping[int, Callable[..., Any]]
"""Hooks by their number, in the order in which they are called."""


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether someone has to hear of a step: a hook, or the profiler, of which we assume it if we cannot know."""
    return bool(
        _hooks(optimizer, "_optimizer_step_pre_hooks", "register_step_pre_hook")
        or _hooks(optimizer, "_optimizer_step_post_hooks", "register_step_post_hook")
        or _hooks(_base, "_global_optimizer_pre_hooks", "register_optimizer_step_pre_hook")
        or _hooks(_base, "_global_optimizer_post_hooks", "register_optimizer_step_post_hook")
        or getattr(_profiler, "_is_profiler_enabled", True)
    )


def loading_hooks(optimizer: torch.optim.Optimizer) -> tuple[Hooks, Hooks]:
    """The hooks to call before and after a state dict is loaded."""
    return (
        _hooks(optimizer, "_optimizer_load_state_dict_pre_hooks", "register_load_state_dict_pre_hook"),
        _hooks(optimizer, "_optimizer_load_state_dict_post_hooks", "register_load_state_dict_post_hook"),
    )


def _hooks(owner: Any, name: str, register: str) -> Hooks:
    """Hooks under their private name, else those that a handle of a hook, registered for the purpose, refers to."""
    found: Hooks | None = getattr(owner, name, None)
    if found is None:
        handle = getattr(owner, register)(print)
        found = handle.hooks_dict_ref()
        handle.remove()
    assert found is not None
    return found


def foreach(name: str) -> Callable[..., Any] | None:
    """An operation on many tensors at a time, if PyTorch has it."""
    return getattr(torch, f"_foreach_{name}", None)


def compiled_never(function: _F) -> _F:
    """A function that ``torch.compile`` leaves alone; the public way to say so loads the compiler at once."""
    disable: Any = getattr(_torch, "_disable_dynamo", None) or _torch.compiler.disable
    return disable(function)


def dlpack_table() -> int | None:
    """The address of the table of C functions by which compiled code reads tensors; PyTorch has it from 2.10 on."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer(capsule, _CAPSULE)

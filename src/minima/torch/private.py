"""What PyTorch has under private names, and what does where a version has it no longer."""

import ctypes
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.optim.optimizer as base
from torch.autograd import profiler

__all__ = [
    "Layout",
    "compiled_never",
    "dlpack_table",
    "first_indices",
    "foreach",
    "gather_anew",
    "hooked",
    "is_flattened",
    "is_forked",
    "is_made_by_zero",
    "is_watched",
    "loading_hooks",
    "raw_stream",
    "storage_layout",
    "watched",
]

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


def watched(step: _F) -> _F:
    """A step of which hooks, and the profiler, hear."""
    return cast(Any, torch.optim.Optimizer.profile_hook_step)(step)


def hooked(step: _F) -> _F:
    """A step that PyTorch leaves as it is: it sees to hooks itself."""
    cast(Any, step).hooked = True
    return step


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


def is_made_by_zero() -> bool:
    """Whether a ZeroRedundancyOptimizer is making an optimizer, of the parameters that one of its processes steps."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    if module is None:
        return False
    frame = inspect.currentframe()
    while frame is not None:
        owner: Any = frame.f_locals.get("self")
        if isinstance(owner, module.ZeroRedundancyOptimizer):
            return owner.world_size > 1
        frame = frame.f_back
    return False


def is_flattened(param: torch.Tensor) -> bool:
    """Whether a parameter is a part of what FullyShardedDataParallel has made flat, and spread over processes."""
    return getattr(param, "_fsdp_flattened", False)


def first_indices(param: torch.Tensor) -> tuple[int, ...]:
    """Where in a sharded tensor the shard of this process begins, along each axis; at 0 if we cannot know."""
    from torch.distributed.tensor import _utils

    distributed: Any = param
    find: Any = getattr(_utils, "compute_local_shape_and_global_offset", None)
    if find is None:
        return (0,) * param.dim()
    return tuple(find(distributed.shape, distributed.device_mesh, distributed.placements)[1])


def gather_anew(param: torch.Tensor) -> None:
    """Let ``fully_shard`` gather a parameter anew that was written to, before its module is called again.

    It goes on with what a call without gradients has gathered, until there is a backward pass.
    """
    module = sys.modules.get("torch.distributed._composable_state")
    known: Mapping[Any, Callable[[], Any]] = getattr(module, "_module_state_mapping", {})
    for state in [reference() for reference in known.values()]:
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in groups:
            if group is None or getattr(group, "is_sharded", True):
                continue
            if any(each.sharded_param is param for each in group.fsdp_params):
                group.reshard()


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


class Layout(NamedTuple):
    """Where compiled code finds the storage of a tensor: offsets in bytes."""

    tensor: int
    """In Python's object, of the address of PyTorch's."""
    storage: int
    """In PyTorch's tensor, of the address of its storage."""
    data: int
    """In the storage, of the address of its first byte."""
    size: int
    """In the storage, of the number of its bytes."""


def storage_layout() -> Layout | None:
    """The layout, found by what some tensors are known to hold; None where this PyTorch has it otherwise."""
    own = torch.zeros(1237, dtype=torch.uint8, device="cpu")
    samples: list[Any] = [
        own,
        own.clone()[5:],
        _torch.from_numpy(np.zeros(311)),
        torch.nn.Parameter(torch.zeros(7, 3, device="cpu")),
    ]
    samples[1].untyped_storage().resize_(2477)
    storages = [sample.untyped_storage() for sample in samples]
    sizes = [storage.nbytes() for storage in storages]
    objects = [*map(id, samples)]
    try:
        inner, kept = [x._cdata for x in samples], [x._cdata for x in storages]
    except AttributeError:
        return None
    last = torch.Tensor.__basicsize__
    found = (
        _offset(objects, inner, range(object.__basicsize__, last, 8)),
        _offset(inner, kept, _FIELDS),
        _offset(kept, [x.data_ptr() for x in storages], _FIELDS),
        _offset(kept, sizes, _FIELDS),
    )
    return None if None in found else Layout(*cast(tuple[int, int, int, int], found))


_FIELDS = range(0, 72, 8)
"""Where to look in PyTorch's objects, which are larger."""


def _offset(addresses: Sequence[int], values: Sequence[int], offsets: Sequence[int]) -> int | None:
    """The only offset at which each of some objects has its value; None if there is none, or are several."""
    found = [
        offset
        for offset in offsets
        if all(
            ctypes.c_int64.from_address(address + offset).value == value
            for address, value in zip(addresses, values, strict=True)
        )
    ]
    return found[0] if len(found) == 1 else None


def is_forked() -> bool:
    """Whether this process was forked from one that had initialised CUDA, which then is of no use here."""
    ask = getattr(torch.cuda, "_is_in_bad_fork", None)
    return ask is not None and ask()


def raw_stream(device: torch.device) -> int:
    """What CUDA calls PyTorch's current stream on a GPU; to ask for it in public takes five times as long."""
    ask = getattr(_torch._C, "_cuda_getCurrentRawStream", None)
    return torch.cuda.current_stream(device).cuda_stream if ask is None else ask(device.index)

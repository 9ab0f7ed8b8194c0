"""Which engine steps a parameter, and why: the one that was asked for, or the fastest that works where it is."""

from dataclasses import dataclass
from functools import cache

import torch

from minima.errors import sentence
from minima.optim.engines.choice import llvm_is_installed, require_llvm
from minima.optim.engines.cuda.words import unprinted
from minima.optim.engines.passes import obstacle
from minima.optim.language.program import Program
from minima.optim.language.ranks import ELEMENT
from minima.torch.memory import dense, is_sharded, local

__all__ = ["Choice", "Wish", "choose"]

_FAST = "compiled code, in one pass over memory"
_FEW = "compiled code, in as few passes over memory as can be"
_AS_PAIRS = "make the parameter torch.view_as_real(param.detach()), which the model reads by torch.view_as_complex"
_OLDEST = (7, 0)
"""The compute capability from which on kernels run: that of Volta."""


@dataclass(frozen=True)
class Wish:
    """What a parameter is to be stepped by, and what for."""

    engine: str | None
    state_dtype: str | None
    program: Program
    has_tensors: bool
    """Whether hyperparameters are tensors that are not on the CPU."""
    is_batched: bool = False
    """Whether the parameter is many matrices, of its last two axes."""

    @property
    def has_rows(self) -> bool:
        """Whether the rule knows of rows and columns."""
        return self.program.by_rows or bool(self.program.shape)

    @property
    def kinds(self) -> list[str]:
        """The kinds of state in 8 bits that there are."""
        is_whole = any(self.program.rank(name) == ELEMENT for name in self.program.kept)
        return ["int8"] if is_whole and self.state_dtype == "int8" else []


@dataclass(frozen=True)
class Choice:
    """The name of an engine, and why it is this one."""

    engine: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine}: {self.reason}"


def choose(who: str, which: str, param: torch.Tensor, wish: Wish) -> Choice:
    """The engine for a parameter; ``who`` and ``which`` are what a message calls the optimizer and the parameter.

    Raises:
        ImportError: The fused engine was asked for, and llvmlite is missing.
        ValueError: What was asked for is not to be had for this parameter.
    """
    if wish.has_rows and param.is_complex():
        rule = f"{wish.program.name} tells rows and columns apart, and is for real parameters; {which} is complex"
        raise ValueError(sentence(who, rule, hint=_AS_PAIRS))
    if wish.state_dtype in ("bfloat16", "int8") and param.is_complex():  # no complex number has as few bits
        rule = f"state_dtype {wish.state_dtype!r} is for real parameters; {which} is complex"
        raise ValueError(sentence(who, rule, hint=f"leave state_dtype out, or {_AS_PAIRS}"))
    choice = _chosen(who, which, param, wish)
    if wish.state_dtype == "int8":
        if choice.engine == "torch":
            rule = f"state_dtype 'int8' is for the fused and the reference engine; {which} gets 'torch'"
            raise ValueError(sentence(who, rule, got=choice.reason, hint="use 'bfloat16'"))
        if is_sharded(param):
            rule = f"state_dtype 'int8' is for parameters that one process holds whole; {which} is sharded"
            raise ValueError(sentence(who, rule, hint="use 'bfloat16'"))
    return choice


def _chosen(who: str, which: str, param: torch.Tensor, wish: Wish) -> Choice:
    device, asked = param.device, wish.engine
    if asked == "torch":
        return Choice("torch", "as asked")
    if asked == "reference" and device.type != "cpu":
        rule = f"engine 'reference' is for the CPU; {which} is on {device}"
        raise ValueError(sentence(who, rule, hint="leave engine out"))
    if device.type not in ("cpu", "cuda"):
        if asked == "fused":
            rule = f"engine 'fused' is for the CPU and NVIDIA GPUs; {which} is on {device}"
            raise ValueError(sentence(who, rule, hint="leave engine out"))
        return Choice("torch", "compiled code is for the CPU and NVIDIA GPUs")
    if asked == "fused":
        require_llvm(who)
    if asked != "reference" and not llvm_is_installed():
        return Choice("torch", "llvmlite is not installed")
    found = _shard_obstacle(param, wish) or _order_obstacle(param, wish)
    if device.type == "cuda":
        found = _obstacle(device) or _unprintable(wish) or found
    elif not found and asked != "reference":
        found = obstacle(wish.program, wish.kinds)
        if found and asked is None and wish.state_dtype == "int8":  # which PyTorch's operations cannot read
            return Choice("reference", found)
    # That the rule itself can be stepped as asked has been seen before a step measures.
    if found and asked is not None and not wish.program.reports:
        where = which if device.type == "cpu" else f"{which} on {device}"
        rule = f"engine {asked!r} cannot step {where}: {found}"
        raise ValueError(sentence(who, rule, hint="leave engine out"))
    if device.type == "cuda" and wish.has_tensors and asked is None:
        found = "a hyperparameter is a tensor on a device, which compiled code would have to wait for"
    if found:
        return Choice("torch", found)
    return (
        Choice("reference", "as asked")
        if asked == "reference"
        else Choice("fused", _FAST if wish.program.is_plain else _FEW)
    )


def _shard_obstacle(param: torch.Tensor, wish: Wish) -> str:
    """Why only PyTorch's own operations step a sharded parameter, if so."""
    if wish.program.is_plain or not is_sharded(param):
        return ""
    return "it is sharded, and what is one number for the whole of it takes all processes"


def _order_obstacle(param: torch.Tensor, wish: Wish) -> str:
    """Why compiled code and NumPy find no rows in the memory of a parameter, if so."""
    if wish.is_batched:
        return "it has more than two axes, and compiled code and NumPy see one matrix in it, and not many"
    if not wish.program.by_rows or dense(local(param)).is_contiguous():
        return ""
    return "its memory is not row after row"


@cache
def _obstacle(device: torch.device) -> str:
    """Why no kernel runs on a GPU, if none does."""
    from minima.optim.engines.cuda.driver import driver_is_there

    if torch.version.hip is not None:
        return "compiled code is for NVIDIA GPUs, and this is ROCm"
    if not (torch.cuda.is_available() and driver_is_there()):
        return "NVIDIA's driver is not there"
    capability = torch.cuda.get_device_capability(device)
    if capability < _OLDEST:
        return (
            f"compiled code is for GPUs from Volta on, and this has compute capability {'.'.join(map(str, capability))}"
        )
    return ""


def _unprintable(wish: Wish) -> str:
    """Why no kernel can be made of a program, if none can."""
    program = wish.program
    if missing := unprinted(program):
        return f"{program.name} uses {' and '.join(missing)}, which compiled code for GPUs does not have"
    return obstacle(program, wish.kinds)

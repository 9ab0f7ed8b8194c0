"""minima's own Tensors, as the core needs them: their gradients, their memory, and the state that is kept of them."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from types import NoneType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from minima.autograd import Tensor
from minima.autograd.tensor import mark_written
from minima.errors import sentence
from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Member, Sources, facts_of
from minima.optim.core.values import begun
from minima.optim.core.variants import MASTER, Variants
from minima.optim.engines import Array, Arrays, Kernel, Stored, allocate, choose, precision
from minima.optim.engines.passes import obstacle
from minima.optim.language.program import Program
from minima.optim.language.ranks import ELEMENT, MATRIX, TENSOR, state_shape
from minima.optim.language.rule import PARAM, WEIGHTS, Weights
from minima.optim.language.symbols import form_of
from minima.optim.language.trace import EMA, Variant

__all__ = ["Slot", "TensorHost", "copied", "write"]

# A step of a small network spends its time on asking tensors for arrays: this asks in one call.
_buffer = attrgetter("buffer")
_gradient = attrgetter("node.array")


class Slot(Member):
    """A Tensor of an optimizer, what it was like when it was given, and its state."""

    __slots__ = ("dtype", "shape", "state")

    tensor: Tensor

    def __init__(self, tensor: Tensor, name: str | None, place: int) -> None:
        super().__init__(tensor, name, place, place)
        self.shape = tensor.shape
        self.dtype = tensor.dtype
        self.state: dict[str, Stored] = {}


class TensorHost:
    """The host of minima's own Tensors."""

    def __init__(self, variants: Variants, options: dict[str, Any]) -> None:
        """Step by a rule; ``options`` are those of the optimizer, as they are at any time."""
        self.who = variants.declaration.who
        self.action = "step"
        self.variants = variants
        self._options = options
        self.shared_state: dict[str, NDArray[np.float64]] = {}
        """The state that all parameters share, each an array without axes."""
        self._obstacles: dict[int, str] = {}
        """Why passes over memory cannot step some parameters, by their places."""

    # Tensors -------------------------------------------------------------------------------------------------------

    def planning(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def are_idle(self, tensors: Sequence[Tensor]) -> bool:
        return all(tensor.grad is None for tensor in tensors)

    def checked(self, member: Slot) -> Array | None:
        grad = member.tensor.grad
        if grad is None:
            return None
        who, array = f"{self.who}.{self.action}", grad.buffer
        if array.shape != member.shape:
            rule = f"gradient of {member} has shape {array.shape}, the parameter has {member.shape}"
            raise ValueError(sentence(who, rule, hint="nothing was changed"))
        if not np.issubdtype(array.dtype, np.floating):
            rule = f"gradient of {member} must be floating"
            raise TypeError(sentence(who, rule, got=str(array.dtype), hint="nothing was changed"))
        self._check_memory(member)
        dtype = np.dtype(member.dtype.name)  # this very object, not one that equals it: copies of arrays have such
        with np.errstate(over="ignore"):
            return np.require(array, dtype, ["C", "A"]).view(dtype)

    def average(self, who: str, member: Slot) -> Array | None:
        stored = member.state.get(EMA)
        return None if stored is None else stored.read()

    def weights(self, who: str, member: Slot, weights: Weights) -> Array | None:
        if member.is_new or not all(name in member.state for name in weights.state):
            return None
        self._check_memory(member, who)
        wide, settings = precision(member.dtype), member.values.settings
        param, hypers = member.tensor.buffer.astype(wide), dict(settings.variant) | dict(settings.numbers)
        if MASTER in member.state:  # what the parameter was rounded from is what is trained
            master = member.state[MASTER].read()
            if weights is self.variants.rule.weights.get(WEIGHTS[True]):
                return master
            np.copyto(master, param, where=master.astype(member.dtype) != member.tensor.buffer)
            param = master
        state = [member.state[name].read() for name in weights.state]
        with np.errstate(all="ignore"):
            return weights.compute(param, *state, **{name: hypers[name] for name in weights.hypers})

    def copied(self, tensor: Tensor) -> Array:
        return copied(tensor)

    def write(self, tensor: Tensor, values: Array) -> None:
        write(tensor, values)

    written = staticmethod(mark_written)

    def unfit(self, members: Sequence[Slot]) -> NoReturn:
        for member in members:
            self._check_memory(member)
        rule = "a parameter or its state changed while the step was prepared"
        raise RuntimeError(sentence(f"{self.who}.{self.action}", rule, hint="nothing was changed"))

    def _check_memory(self, member: Slot, who: str = "") -> None:
        """A ValueError if the memory of a parameter, or of its state, is not what it was."""
        buffer, who = member.tensor.buffer, who or f"{self.who}.{self.action}"
        if buffer.shape != member.shape or buffer.dtype != member.dtype:
            rule = f"{member} was {member.dtype} of shape {member.shape} when it was given, and must stay that"
            hint = f"it is now {buffer.dtype} of shape {buffer.shape}; nothing was changed"
            raise ValueError(sentence(who, rule, hint=hint))
        if not buffer.flags.writeable:
            rule = f"{member} is read-only, and a step writes into it"
            raise ValueError(sentence(who, rule, hint="nothing was changed"))
        for name, stored in member.state.items():
            if not stored.is_intact:
                rule = f"the state {name} of {member} has been reshaped, resized or made read-only"
                raise ValueError(sentence(who, rule, hint="nothing was changed"))

    # Programs and kernels --------------------------------------------------------------------------------------------

    def program(self, member: Slot, variant: Variant, t: int | None = None) -> Program:
        facts = facts_of(member.values.settings, member.tensor, member.shape)
        facts |= {} if t is None else {"t": t, "first": member.is_new}
        return self.variants.program(variant, self._rounding(member) == "master", form_of(member.shape), facts)

    def takes_turns(self, member: Slot, variant: Variant) -> bool:
        return self.variants.asks(variant, form_of(member.shape))

    def settle(self, member: Slot, program: Program) -> bool:
        self._note_obstacle(member, program)
        for name in self.variants.rule.shared:
            self._begin_shared(name, member)
        bounded, replaces = self.variants.bounded(program), (EMA in member.state) is not (EMA in program.state)
        found, is_new = dict(member.state), member.is_new  # memory may run out: then nothing has changed
        if EMA not in program.state:  # it would be of the past when it is asked for again
            found.pop(EMA, None)
        for name, number in zip(program.state, program.numbers, strict=True):
            if name not in program.kept:
                continue
            stored = found.get(name)
            if stored is None:
                found[name] = self.made(member, name, signed=name not in bounded)
            elif stored.kind == "uint8" and name not in bounded:  # in the variant of before it was never negative
                found[name] = self.made(member, name, signed=True)
                found[name].write(stored.read(), 0)
                replaces = True
            else:
                continue
            is_new = is_new or stored is None and number >= 0
        member.state, member.is_new = found, is_new
        return replaces

    def made(self, member: Slot, name: str, *, signed: bool) -> Stored:
        """Some state of a parameter, as it is at first."""
        rule, wide = self.variants.rule, precision(member.dtype)
        known = rule.state
        if name not in known:  # the copy that a parameter in half precision is computed from
            copy = member.tensor.buffer.astype(wide, order="C")  # as all state lies
            return Stored(wide.name, -1, member.shape, wide, (copy,))
        kept, number, first = self._options["state_dtype"], list(known).index(name), known[name]
        begins_as_param = first == PARAM
        value = 0.0 if begins_as_param else begun(first, member.values.settings)
        rank = rule.ranks[name]
        shape, dtype = state_shape(rank, member.shape), np.dtype(np.float64) if rank <= TENSOR else wide
        kept = kept if rank == ELEMENT and name not in rule.exact else None
        is_matrix = rank >= MATRIX
        stored = allocate(kept, number, shape, dtype, 0.0 if is_matrix else value, signed=signed)
        if is_matrix and value:
            np.fill_diagonal(stored.arrays[0], value)
        if begins_as_param:
            stored.write(member.tensor.buffer, 0)
        return stored

    # What all parameters share ---------------------------------------------------------------------------------------

    def numbers(self, clock: Clock, batches: Sequence[Batch], sources: Sources) -> None:
        return None

    def shared(self) -> dict[str, float]:
        return {name: float(array) for name, array in self.shared_state.items()}

    def share(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.shared_state[name][...] = value

    def _begin_shared(self, name: str, member: Slot) -> None:
        if name not in self.shared_state:
            first = begun(self.variants.rule.state[name], member.values.settings)
            self.shared_state[name] = np.array(first, np.float64)

    def kind(self, member: Slot, program: Program) -> Hashable:
        states = tuple(member.state[name].kind for name in program.kept)
        return self.engine, self._param_kind(member), member.dtype, states

    def kernel(self, program: Program, members: Sequence[Slot]) -> Kernel:
        tensors = [member.tensor for member in members]
        arrays = Arrays(partial(_buffers, tensors), partial(_gradients, tensors), partial(_both, tensors))
        states = [tuple(member.state[name] for name in program.kept) for member in members]
        engine = choose(self.who, self.engine)
        return engine.prepare(program, self._param_kind(members[0]), arrays, states)

    @property
    def engine(self) -> str:
        """What steps the parameters: the engine that was asked for, or the fastest that can run all programs."""
        name, asked = self._options["engine"]
        return "reference" if name == "fused" and not asked and self._obstacles else name

    def _note_obstacle(self, member: Slot, program: Program) -> None:
        """Take notice of whether passes over memory can do a program; a ValueError if they are asked to and cannot."""
        name, asked = self._options["engine"]
        in_blocks = self._options["state_dtype"] == "int8"
        rule = self.variants.rule  # an average of the parameter is kept as computed
        coded = [name for name in program.kept if rule.ranks.get(name) == ELEMENT and name not in rule.exact]
        kinds = ["int8" for _ in coded if in_blocks]
        found = next(filter(None, (obstacle(each, kinds) for each in self.variants.turns(program))), "")
        if found and name == "fused" and asked:
            rule = f"engine 'fused' cannot step {member}: {found}"
            hint = "leave engine out, or take 'reference'; nothing was changed"
            raise ValueError(sentence(self.who, rule, hint=hint))
        if found:
            self._obstacles[member.place] = found
        else:
            self._obstacles.pop(member.place, None)

    def _rounding(self, member: Slot) -> str:
        return "nearest" if member.dtype != np.float16 else self._options["rounding"] or "nearest"

    def _param_kind(self, member: Slot) -> str:
        return "float16_stochastic" if self._rounding(member) == "stochastic" else member.dtype.name


def copied(tensor: Tensor) -> Array:
    """A copy of the values of a Tensor."""
    return tensor.buffer.copy()


def write(tensor: Tensor, values: Array) -> None:
    """Copy an array into the memory of a Tensor."""
    with np.errstate(over="ignore"):
        np.copyto(tensor.buffer, values, casting="same_kind")
    mark_written([tensor])


def _buffers(tensors: Sequence[Tensor]) -> list[Array]:
    return list(map(_buffer, tensors))


def _both(tensors: Sequence[Tensor]) -> list[Any] | None:
    """All parameters, then all gradients, of which one may be None: whoever asks looks at each array anyway."""
    try:
        return [*map(_buffer, tensors), *map(_gradient, tensors)]
    except AttributeError:
        return None


def _gradients(tensors: Sequence[Tensor]) -> list[Array] | None:
    try:
        grads = list(map(_gradient, tensors))
    except AttributeError:  # of None: a parameter without a place on the tape
        return None
    return None if NoneType in map(type, grads) else grads  # asking for each would take three times as long

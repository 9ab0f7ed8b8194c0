"""Parameters as an optimizer holds them: read from what the user gave, one slot each, in groups."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol, cast, overload

import numpy as np

from minima.autograd import Tensor
from minima.errors import sentence
from minima.optim.core.clock import Clock
from minima.optim.core.values import Values, begun
from minima.optim.engines import Array, precision
from minima.optim.host import Slot
from minima.optim.language.declaration import Declaration
from minima.optim.language.ranks import MATRIX, MODEL, TENSOR, state_shape
from minima.optim.language.rule import PARAM

__all__ = ["ParamGroup", "Params", "StateView", "read_group", "read_groups", "read_params"]


class Named(Protocol):
    """A module of any origin: optim knows no nn."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...


Params = Named | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]
"""What an optimizer takes: a module, Tensors, pairs of name and Tensor, or one mapping for each group."""


class StateView(Sequence[Tensor]):
    """One state of a rule, indexed by the position of the parameter.

    An entry is a Tensor of the parameter's shape, or of that which an annotation asks for: ``()`` for one number a
    parameter, ``(rows, 1)``, ``(1, columns)``. It is the state itself, in its own memory, where it is kept as it is
    computed; a widened copy where it is kept in fewer bits. State that all parameters share is the same at every
    position. Where the rule keeps no such state for a parameter (SGD without momentum), it reads as what it would begin
    with.
    """

    def __init__(
        self, slots: Sequence[Slot], name: str, first: float | str, rank: int, shared: Mapping[str, Array]
    ) -> None:
        """View a state of this name, which begins so; ``shared`` is where state stands that all parameters share."""
        self._slots = slots
        self._name = name
        self._first = first
        self._rank = rank
        self._shared = shared

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        slot = self._slots[index]
        if self._rank == MODEL:
            return Tensor.from_numpy(self._shared[self._name])
        stored = slot.state.get(self._name)
        if stored is None and self._first == PARAM:
            return Tensor.from_numpy(slot.tensor.buffer.astype(precision(slot.dtype)))
        if stored is None:
            first, dtype = begun(self._first, slot.values.settings), precision(slot.dtype)
            shape = state_shape(self._rank, slot.shape)
            if self._rank >= MATRIX:
                return Tensor.from_numpy(np.diag(np.full(shape[0], first, dtype)))
            return Tensor.from_numpy(np.full(shape, first, np.float64 if self._rank == TENSOR else dtype))
        return Tensor.from_numpy(stored.read())

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        return repr(list(self))


class ParamGroup(Mapping[str, Any]):
    """Parameters that share hyperparameters: a mapping with ``params`` and the current value of each hyperparameter.

    A group inherits the hyperparameters that it does not set, so ``optimizer.lr = 0.1`` changes every group without its
    own ``lr``. An assignment to ``group["lr"]`` is checked, and gives the group its own value. If an optimizer has a
    single group, the group and the optimizer share their values.
    """

    def __init__(
        self, declaration: Declaration, defaults: dict[str, Any], own: dict[str, Any], clock: Clock, slots: list[Slot]
    ) -> None:
        """Take the parameters; what ``own`` lacks is in ``defaults``, and the clock says which step it is."""
        self.params = tuple(slot.tensor for slot in slots)
        self.slots = slots
        self.own = own
        self._declaration = declaration
        self._defaults = defaults
        self._clock = clock
        self._names = tuple(declaration.entries)
        self._get: Any = itemgetter(*self._names) if self._names else tuple
        self.watched = Values(declaration, self._entries)
        """What the step sees of the group."""
        for slot in slots:
            slot.values = self.watched

    def _entries(self) -> tuple[Any, ...]:
        """The hyperparameters as they stand here, functions as such."""
        own, defaults = self.own, self._defaults
        if own is defaults:
            return self._get(own)
        return tuple([own[name] if name in own else defaults[name] for name in self._names])

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self.params
        try:
            return self.value(self._declaration.spelled(name))
        except TypeError as error:  # a mapping says of a name that it does not know what mappings say
            raise KeyError(str(error)) from None

    def value(self, name: str) -> Any:
        """Today's value of a hyperparameter under its declared name."""
        own = self.own
        value = own[name] if name in own else self._defaults[name]
        if not callable(value):
            return value
        return self._declaration.entries[name].at(self._declaration.who, value, self._clock.t)

    def shown(self, name: str) -> Any:
        """Today's value, or the function that gives none: what it raises is for the step that needs the value."""
        try:
            return self.value(name)
        except Exception:
            return self._entries()[self._names.index(name)]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            rule = "the params of a group cannot be replaced"
            raise TypeError(sentence(self._declaration.who, rule, hint="add more with add_param_group"))
        self.own |= self._declaration.values(self._declaration.who, {name: value})

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "own" and "watched" in self.__dict__:  # it is made
            hint = f"write group[{name!r}] = {value!r}"
            raise AttributeError(sentence(self._declaration.who, "what a group has are its entries", hint=hint))
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(["params", *self._names])

    def __len__(self) -> int:
        return 1 + len(self._names)

    def __repr__(self) -> str:
        values = "".join(f", {name}={self.shown(name)!r}" for name in self._declaration.hypers)
        many = len(self.params)
        return f"ParamGroup({many} parameter{'s' * (many != 1)}{values})"


def read_groups(who: str, params: Any) -> list[dict[str, Any]]:
    """What the user gave as ``params``, as one dict for each group, whose ``params`` is a list."""
    rule = "params must be an iterable of Tensors"
    if isinstance(params, Tensor):
        raise TypeError(sentence(who, rule, hint=f"got one Tensor of shape {params.shape}; put it into a list"))
    if isinstance(params, type):
        raise TypeError(sentence(who, rule, got=params, hint="make an object of the class, and pass that"))
    if callable(getattr(params, "named_parameters", None)):  # a module of any origin: optim knows no nn
        params = params.named_parameters()
    if not isinstance(params, Iterable) or isinstance(params, str | bytes | np.ndarray | Mapping):
        hint = "pass a module, its parameters(), or for groups a list of dicts"
        raise TypeError(sentence(who, rule, got=cast(object, params), hint=hint))
    entries: list[Any] = list(cast(Iterable[Any], params))
    if not entries:
        raise ValueError(sentence(who, "params is empty", hint="pass at least one Tensor (is a generator used up?)"))
    grouped = [isinstance(entry, Mapping) for entry in entries]
    if not any(grouped):
        return [{"params": entries}]
    if not all(grouped):
        raise TypeError(sentence(who, f"{rule}, or of groups (dicts), not of both"))
    return [read_group(who, number, entry) for number, entry in enumerate(entries)]


def read_group(who: str, number: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One group as the user gave it, whose ``params`` is made a list."""
    if "params" not in entry:
        raise ValueError(sentence(who, f"group {number} must have 'params'", got=list(entry)))
    inner = f"{who} (group {number})"
    params = entry["params"]
    if callable(getattr(params, "named_parameters", None)) and not isinstance(params, type):
        params = params.named_parameters()
    if isinstance(params, Tensor):  # as PyTorch allows in a group
        params = [params]
    if isinstance(params, Iterable):
        params = list(cast(Iterable[Any], params))
        if any(isinstance(each, Mapping) for each in params):
            raise TypeError(sentence(inner, "groups do not nest"))
    (only,) = read_groups(inner, params)
    return {**entry, "params": only["params"]}


def read_params(who: str, entries: Iterable[Any], known: Mapping[int, Slot], names: Mapping[str, Slot]) -> list[Slot]:
    """A slot for every entry, a Tensor or a pair of name and Tensor, with places after those that are known already.

    Args:
        who: The public name that complains.
        entries: What the user gave.
        known: The slots that there are, by the ``id`` of their Tensor.
        names: The same by their keys.
    """
    first = len(known)
    seen, keys = dict[int, Slot](), dict[str, Slot]()
    slots: list[Slot] = []
    for entry in entries:
        pair = cast(tuple[Any, ...], entry) if isinstance(entry, tuple) else (None, entry)
        name, tensor = pair if len(pair) == 2 else (None, pair)
        if name is not None and not isinstance(name, str):
            raise TypeError(sentence(who, f"the name of parameter {first + len(slots)} must be a string", got=name))
        if not isinstance(tensor, Tensor):
            what = f"parameter {first + len(slots)} must be a Tensor"
            raise TypeError(sentence(who, what, got=tensor, hint=_instead(tensor)))
        slot = Slot(tensor, name, first + len(slots))
        if not np.issubdtype(tensor.dtype, np.floating):
            raise TypeError(sentence(who, f"{slot} must be floating", got=str(tensor.dtype)))
        if not tensor.buffer.flags.writeable:
            raise ValueError(sentence(who, f"{slot} is read-only", hint="pass a copy of it"))
        if not tensor.is_leaf:
            hint = "pass the Tensors that it was computed from, or its detach()"
            raise ValueError(sentence(who, f"{slot} is the result of an operation", hint=hint))
        if (same := known.get(id(tensor)) or seen.get(id(tensor))) is not None:
            raise ValueError(sentence(who, f"{slot} is {same} again", hint="pass every Tensor once"))
        if (same := names.get(slot.key) or keys.get(slot.key)) is not None:
            raise ValueError(sentence(who, f"{slot} has the name of {same}", hint="names must differ"))
        seen[id(tensor)] = keys[slot.key] = slot
        slots.append(slot)
    return slots


def _instead(value: Any) -> str:
    """What to do with something that is no Tensor of minima."""
    if "torch" in {base.__module__.partition(".")[0] for base in type(value).__mro__}:
        return "the optimizers of minima.torch step tensors of PyTorch"
    if callable(getattr(value, "parameters", None)):  # optim knows no nn, but modules of any origin
        return "pass its parameters()"
    return "wrap it: Tensor(data, requires_grad=True)"

"""Modules that hold others in an order: Sequential, ModuleList, ModuleDict, and ParameterList for parameters."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex, cast, overload

import numpy as np

from minima.autograd import Tensor, TensorLike
from minima.errors import sentence
from minima.nn.activations import ReLU
from minima.nn.layers import Linear, perceptron
from minima.nn.module import Module, check_name
from minima.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterList", "Sequential"]


_FORWARDS = Linear.forward, ReLU.forward


class _Ordered(Module):
    """What the two share: the modules inside are the attributes, in the order of their assignment."""

    def append(self, module: Module) -> Self:
        """Add a module at the end, named after its position; give the container back."""
        _add(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in _entries(self))

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in _entries(self))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "_Ordered": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Module | _Ordered":
        """The module at a position, or a container of the same kind with those of a slice (the modules are shared)."""
        if not isinstance(index, slice):
            return getattr(self, self._name(index))
        part = self._empty()
        for module in list(self)[index]:
            part.append(module)
        return part

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        """Replace the module at a position."""
        name = self._name(index)
        setattr(self, name, _checked(self, module))

    def _empty(self) -> "_Ordered":
        """A container of this kind; not ``type(self)()``, because a subclass may take arguments of its own."""
        raise NotImplementedError

    def _name(self, index: SupportsIndex) -> str:
        return _at(self, index, [name for name, _ in _entries(self)])


class Sequential(_Ordered):
    """Modules applied one after another; the output of each is the input of the next.

    Args:
        modules: The modules in order, named ``"0"``, ``"1"``, ...; or a single dict of names to modules.

    Raises:
        TypeError: Something in it is not a `Module`.
        ValueError: A name of the dict is not a string, is empty, has a dot in it, or is that of an attribute.

    Indexing, slicing, ``append`` and ``len`` work as for a list. Unlike in PyTorch, the names in a slice are always the
    new positions.

    >>> from minima import nn
    >>> model = nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 2))
    >>> model[:2]
    Sequential(
      (0): Linear(in_features=30, out_features=24, bias=True)
      (1): ReLU()
    )
    >>> model[-1].weight.shape
    (2, 24)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                _add(self, name, module)
            return
        for position, module in enumerate(modules):
            _add(self, str(position), module)

    def forward(self, x: Any) -> Any:
        """Apply the modules in order; the arguments go to the first module, and the result is that of the last.

        `Linear` layers that follow each other, and `ReLU` behind them, are one operation, unless a hook looks between,
        or somebody has given one of the classes another ``forward``.
        """
        joins = (Linear.forward, ReLU.forward) == _FORWARDS
        layers: list[Linear] = []  # still to be applied
        relus: list[bool] = []
        for module in vars(self).values():  # as in _entries
            kind: type = module.__class__
            if joins and kind is Linear and module.is_plain and module.bias is not None:
                layers.append(module)
                relus.append(False)
            elif kind is ReLU and layers and module.is_plain:
                relus[-1] = True
            elif isinstance(module, Module):
                if layers:
                    x = perceptron(x, layers, relus)
                    layers, relus = [], []
                x = module(x)
        return perceptron(x, layers, relus) if layers else x

    def _empty(self) -> "Sequential":
        return Sequential()


class ModuleList(_Ordered):
    """A list of modules that is registered with its parent module; it has no ``forward``.

    Args:
        modules: An iterable of modules.

    Raises:
        TypeError: Something in it is not a `Module`.

    >>> from minima import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), [name for name, _ in layers.named_parameters()][:2]
    (3, ['0.weight', '0.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; return the list."""
        if not isinstance(modules, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(type(self).__name__, "modules must be an iterable of Modules", got=modules))
        for module in modules:
            self.append(module)
        return self

    def _empty(self) -> "ModuleList":
        return ModuleList()


class ModuleDict(Module):
    """A dict of modules that is registered with its parent module; it has no ``forward``.

    Args:
        modules: A mapping of names to modules, or pairs. The names are used for attributes and in `state_dict`.

    Raises:
        TypeError: Something in it is not a `Module`.
        ValueError: A name is not a string, is empty, has a dot in it, or is that of a method or another attribute.

    Reading, assigning, ``del``, ``in``, ``len``, iterating over the names, ``keys``, ``values``, ``items``, ``update``
    and ``pop`` work as on a dict.

    >>> from minima import nn
    >>> heads = nn.ModuleDict({"left": nn.Linear(4, 2), "right": nn.Linear(4, 3)})
    >>> heads["right"].weight.shape, [name for name, _ in heads.named_parameters()][:2]
    ((3, 4), ['left.weight', 'left.bias'])
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add the modules of a mapping or of pairs; existing names are replaced in place."""
        try:
            pairs = dict(modules)
        except (TypeError, ValueError):
            rule = "modules must be a mapping of names to Modules, or pairs of both"
            raise TypeError(sentence(type(self).__name__, rule, got=modules)) from None
        for name, module in pairs.items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        """Set the module of a name."""
        if name in self:
            setattr(self, name, _checked(self, module))
        else:
            _add(self, name, module)

    def __getitem__(self, name: str) -> Module:
        """The module of a name."""
        return self._found(name)

    def __delitem__(self, name: str) -> None:
        """Take a module out."""
        self._found(name)
        delattr(self, name)

    def pop(self, name: str) -> Module:
        """Remove a module and return it."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        for name in self.keys():
            del self[name]

    def __len__(self) -> int:
        return sum(1 for _ in _entries(self))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return any(name == held for held, _ in _entries(self))

    def keys(self) -> list[str]:
        """The names, in order."""
        return [name for name, _ in _entries(self)]

    def values(self) -> list[Module]:
        """The modules, in order."""
        return [module for _, module in _entries(self)]

    def items(self) -> list[tuple[str, Module]]:
        """Name and module, in order."""
        return list(_entries(self))

    def _found(self, name: str) -> Module:
        if name not in self:
            rule = f"name must be one of {', '.join(map(repr, self.keys())) or 'none'}"
            raise KeyError(sentence(type(self).__name__, rule, got=name))
        return getattr(self, name)


class ParameterList(Module):
    """A list of parameters, named ``"0"``, ``"1"``, ... in `Module.parameters` and `Module.state_dict`.

    Args:
        values: An iterable of parameters, or of floating-point tensors and arrays, which become parameters.

    Raises:
        TypeError: A value cannot be a `Parameter`.

    >>> from minima import init, nn
    >>> scales = nn.ParameterList(init.ones(3) for _ in range(2))
    >>> len(scales), list(scales.state_dict())
    (2, ['0', '1'])
    """

    def __init__(self, values: Iterable[TensorLike] = ()) -> None:
        self.extend(values)

    def append(self, value: TensorLike) -> Self:
        """Add a parameter at the end; return the list."""
        setattr(self, str(len(self)), _parameter(self, value))
        return self

    def extend(self, values: Iterable[TensorLike]) -> Self:
        """Add parameters at the end; return the list."""
        if not isinstance(values, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(type(self).__name__, "values must be an iterable of parameters", got=values))
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return sum(isinstance(value, Parameter) for value in vars(self).values())

    def __iter__(self) -> Iterator[Parameter]:
        return (value for value in vars(self).values() if isinstance(value, Parameter))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> "ParameterList": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Parameter | ParameterList":
        """The parameter at a position, or a list of those of a slice (the parameters are shared)."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return getattr(self, _at(self, index, list(map(str, range(len(self))))))

    def __setitem__(self, index: SupportsIndex, value: TensorLike) -> None:
        """Replace the parameter at a position."""
        setattr(self, _at(self, index, list(map(str, range(len(self))))), _parameter(self, value))

    def extra_repr(self) -> str:
        """The shapes."""
        return ", ".join(str(value.shape) for value in self)


def _entries(container: Module) -> Iterator[tuple[str, Module]]:
    """The modules that are attributes: what a container holds, unlike those in a list that a subclass has besides."""
    return ((name, value) for name, value in vars(container).items() if isinstance(value, Module))


def _at(container: Module, index: SupportsIndex, names: list[str]) -> str:
    try:
        return names[operator.index(index)]
    except IndexError:
        rule = f"index must lie in [{-len(names)}, {len(names)})"
        raise IndexError(sentence(type(container).__name__, rule, got=index)) from None
    except TypeError:
        raise TypeError(sentence(type(container).__name__, "index must be an integer", got=index)) from None


def _parameter(container: Module, value: object) -> Parameter:
    if isinstance(value, Parameter):
        return value
    given = cast(Any, value)
    if not isinstance(value, Tensor | np.ndarray) or given.dtype.kind != "f":
        rule = "takes parameters, or tensors and arrays of a floating dtype"
        raise TypeError(sentence(type(container).__name__, rule, got=given))
    return Parameter(given, dtype=given.dtype)


def _add(container: Module, name: str, module: object) -> None:
    check_name(type(container).__name__, container, name)
    setattr(container, name, _checked(container, module))


def _checked(container: Module, module: object) -> Module:
    if not isinstance(module, Module):
        raise TypeError(sentence(type(container).__name__, "takes instances of Module", got=module))
    return module

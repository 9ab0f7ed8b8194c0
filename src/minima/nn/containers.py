"""Sequential and ModuleList: modules that hold modules in an order, under the names "0", "1", ..."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex, overload

from minima.errors import sentence
from minima.nn.module import Module, check_name

__all__ = ["ModuleList", "Sequential"]


class _Ordered(Module):
    """What the two share: the modules inside are the attributes, in the order of their assignment."""

    def append(self, module: Module) -> Self:
        """Add a module at the end, named after its position; give the container back."""
        _add(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self._own_modules())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._own_modules())

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
        names = [name for name, _ in self._own_modules()]
        try:
            return names[operator.index(index)]
        except IndexError:
            rule = f"index must lie in [{-len(names)}, {len(names)})"
            raise IndexError(sentence(type(self).__name__, rule, got=index)) from None


class Sequential(_Ordered):
    """Modules applied one after another, the output of each being the input of the next.

    Args:
        modules: The modules in order, named ``"0"``, ``"1"``, ...; or one dict of name to module.

    Raises:
        TypeError: Something in it is not a `Module`.
        ValueError: A name of the dict is not a string, is empty, has a dot in it, or is that of an attribute.

    Indexing, slicing, ``append`` and ``len`` work as on a list. Unlike PyTorch's, the names in a slice are always the
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
        """Apply the modules in order; whatever the first takes is taken, whatever the last gives is given."""
        for module in vars(self).values():
            if isinstance(module, Module):
                x = module(x)
        return x

    def _empty(self) -> "Sequential":
        return Sequential()


class ModuleList(_Ordered):
    """A list whose modules are found by `Module.parameters` and the rest; it has no ``forward``.

    Args:
        modules: The modules in order, from any iterable.

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
        """Add modules at the end; give the list back."""
        if not isinstance(modules, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(type(self).__name__, "modules must be an iterable of Modules", got=modules))
        for module in modules:
            self.append(module)
        return self

    def _empty(self) -> "ModuleList":
        return ModuleList()


def _add(container: Module, name: str, module: object) -> None:
    check_name(type(container).__name__, container, name)
    setattr(container, name, _checked(container, module))


def _checked(container: Module, module: object) -> Module:
    if not isinstance(module, Module):
        raise TypeError(sentence(type(container).__name__, "takes instances of Module", got=module))
    return module

"""The parts of a module by their dotted paths: the way back from the names that a module gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from minima.autograd import Tensor
from minima.errors import sentence
from minima.nn.parameter import Parameter

if TYPE_CHECKING:
    from minima.nn.module import Module

__all__ = ["Reachable"]

_Part = TypeVar("_Part")


class Reachable:
    """The methods, in terms of what a module supplies: its own parts and their names."""

    @abstractmethod
    def _own_modules(self) -> Iterator[tuple[str, Module]]:
        """Name and module, for those directly inside."""

    @abstractmethod
    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Name and parameter, without those of modules inside."""

    @abstractmethod
    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Name and buffer, likewise."""

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted path, as `named_modules` gives it; of an empty one this module.

        Raises:
            AttributeError: There is none.

        >>> from minima import nn
        >>> nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())).get_submodule("1.0")
        ReLU()
        """
        module = self._at(target)
        if module is None:
            rule = "target must be the path of a module"
            raise AttributeError(sentence(f"{type(self).__name__}.get_submodule", rule, got=target))
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted path, as `named_parameters` gives it.

        Raises:
            AttributeError: There is none.
        """
        return self._held("get_parameter", "parameter", target, lambda module: module._own_parameters())

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted path, as `named_buffers` gives it.

        Raises:
            AttributeError: There is none.
        """
        return self._held("get_buffer", "buffer", target, lambda module: module._own_buffers())

    def _at(self, path: str) -> Module | None:
        """The module of a path; of the paths to a shared one each will do."""
        if not path:
            return self  # pyright: ignore[reportReturnType]  # every one is a Module
        for name, module in self._own_modules():
            if path == name or path.startswith(f"{name}."):
                found = module._at(path[len(name) + 1 :])
                if found is not None:
                    return found
        return None

    def _held(
        self, method: str, kind: str, target: str, parts: Callable[[Reachable], Iterator[tuple[str, _Part]]]
    ) -> _Part:
        names = target.split(".")
        for cut in range(len(names)):  # the longest path of a module first
            module = self._at(".".join(names[: len(names) - 1 - cut]))
            found = None if module is None else dict(parts(module)).get(".".join(names[len(names) - 1 - cut :]))
            if found is not None:
                return found
        rule = f"target must be the path of a {kind}"
        raise AttributeError(sentence(f"{type(self).__name__}.{method}", rule, got=target))

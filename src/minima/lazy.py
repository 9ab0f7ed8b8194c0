"""Packages whose names are loaded when they are first asked for, so that importing them costs next to nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["loaders"]


def loaders(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: Its name.
        places: For every name that it offers the module where that stands, or the name's own module. Type checkers and
            editors read the same in the stub beside the package, which ``tools/stubs.py`` writes.
    """
    module = sys.modules[package]

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
        place = import_module(places[name])
        value = place if places[name] == f"{package}.{name}" else getattr(place, name)
        setattr(module, name, value)
        return value

    return load, lambda: sorted({*vars(module), *places})

#!/usr/bin/env python
"""Write the stubs of the packages that load their names lazily, for type checkers and editors to see them.

    python tools/stubs.py            # write them
    python tools/stubs.py --check    # only say which are not as they would be written

A stub is made by a function of WRITERS; what needs one of another kind adds a function.
"""

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1] / "src"


def lazy(package: str) -> str:
    """The stub of a package with ``loaders``: an import for every name, and ``__all__``."""
    module = importlib.import_module(package)
    lines: dict[str, set[str]] = {}
    for name, place in module._PLACES.items():
        home = place.rpartition(".")[0] if place == f"{package}.{name}" else place
        lines.setdefault(home, set()).add(name)
    imports = [
        f"from {home} import {name} as {name}"
        for home, names in sorted(lines.items())
        for name in sorted(names, key=_naturally)
    ]
    version = ["", "__version__: str"] if hasattr(module, "__version__") else []
    listed = [f"    {name!r},".replace("'", '"') for name in module.__all__]
    return "\n".join(["# Written by tools/stubs.py.", "", *imports, "", "__all__ = [", *listed, "]", *version, ""])


def _naturally(name: str) -> list[str | int]:
    """A key that puts log2 before log10, as the linter does."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def pytorch() -> str:
    """The stub of minima.torch: a class with its constructor for every optimizer."""
    module = importlib.import_module("minima.torch")
    blocks: list[str] = []
    for name in module._NAMES:
        made = getattr(module, name)
        first = inspect.getdoc(made).partition("\n\n")[0]
        lines = [f"class {name}(Optimizer):", f'    """{first}"""', "", "    def __init__("]
        kinds = None
        for parameter in inspect.signature(made.__init__).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY is not kinds:
                lines.append("        *,")
            kinds = parameter.kind
            kind = "" if parameter.annotation is parameter.empty else f": {_written(parameter.annotation)}"
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
            lines.append(f"        {parameter.name}{kind}{default},")
            if parameter.name == "decay":  # its other spelling, which signatures do not show
                lines.append("        decay_mode: str | None = None,")
        blocks.append("\n".join([*lines, "    ) -> None: ..."]))
    listed = [f'    "{name}",' for name in module.__all__]
    head = [
        "# Written by tools/stubs.py.",
        "",
        "from collections.abc import Callable, Mapping",
        "from typing import Any",
        "",
        "import torch",
        "",
        "from minima.torch.adaptation import adapt as adapt",
        "from minima.torch.exchange import load_portable_state_dict as load_portable_state_dict",
        "from minima.torch.exchange import portable_state_dict as portable_state_dict",
        "from minima.torch.lbfgs import LBFGS as LBFGS",
        "from minima.torch.loops import SAM as SAM",
        "from minima.torch.loops import Lookahead as Lookahead",
        "from minima.torch.optimizer import Optimizer as Optimizer",
        "from minima.torch.signature import Params",
        "",
        "__all__ = [",
        *listed,
        "]",
        "",
        "_Number = float | torch.Tensor | Callable[[int], float]",
        "",
        "def names() -> tuple[str, ...]: ...",
        "def by_name(name: str) -> type[torch.optim.Optimizer]: ...",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(blocks) + "\n"


def jax() -> str:
    """The stub of minima.jax: a function for every factory."""
    module = importlib.import_module("minima.jax")
    blocks: list[str] = []
    for name in module._NAMES:
        made = getattr(module, name)
        first = inspect.getdoc(made).partition("\n\n")[0]
        kinds = {entry.name: _kind(entry, made.dialect.rule) for entry in made.dialect.table} | OPTIONS
        lines, starred = [f"def {name}("], False
        for parameter in inspect.signature(made).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and not starred:
                lines.append("    *,")
                starred = True
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
            lines.append(f"    {parameter.name}: {kinds[parameter.name]}{default},")
        blocks.append("\n".join([*lines, ") -> Transformation:", f'    """{first}"""']))
    head = [
        "# Written by tools/stubs.py.",
        "",
        "from collections.abc import Callable, Mapping, Sequence",
        "from typing import Any",
        "",
        "from jax import Array",
        "from minima.jax.adaptation import adapt as adapt",
        "from minima.jax.optax_state import from_optax as from_optax",
        "from minima.jax.optax_state import to_optax as to_optax",
        "from minima.jax.sharpness import sharpness_aware as sharpness_aware",
        "from minima.jax.state import State as State",
        "from minima.jax.transformation import Transformation as Transformation",
        "",
        "__all__ = [",
        *(f'    "{name}",' for name in module.__all__),
        "]",
        "",
        "_Number = float | Array | Callable[[Any], Any]",
        "",
        "def names() -> tuple[str, ...]: ...",
        "def by_name(name: str) -> Callable[..., Transformation]: ...",
    ]
    return "\n".join(head) + "\n" + "\n\n".join(blocks) + "\n"


OPTIONS = {
    "groups": "Mapping[str, Mapping[str, Any]] | None",
    "decay_mode": "str",
    "maximize": "bool",
    "cautious": "bool",
    "max_norm": "_Number | None",
    "ema_decay": "_Number | None",
    "rounding": "str | None",
    "state_dtype": "str | None",
    "seed": "int | Array",
    "adjustable": "Sequence[str]",
    "exact": "bool",
}
"""The types of the keywords that every factory of minima.jax takes."""


def _kind(entry: Any, rule: Any) -> str:
    """The type of an argument of a factory."""
    if not entry.to:
        values = entry.only or (entry.default,)
        return "Any" if entry.name.endswith("mask") else " | ".join(sorted({_type(value) for value in values}))
    declared = rule.hyperparameters[entry.to]
    chosen = " | ".join(sorted({type(value).__name__ for value in declared.choices}))
    kind = "bool" if declared.is_flag else chosen or "_Number"
    kind = {str: "str", tuple: "tuple[str, float]"}.get(type(entry.default), kind)
    return f"{kind} | None" if None in (entry.default, declared.default) else kind


def _type(value: Any) -> str:
    return "None" if value is None else "float" if type(value) is int else type(value).__name__


def _written(annotation: Any) -> str:
    """The type of an argument, in few words."""
    types = importlib.import_module("minima.torch.signature")
    text = "Params" if annotation == types.Params else str(annotation)
    for long, short in (
        (str(types.NUMBER), "_Number"),
        ("collections.abc.", ""),
        ("typing.", ""),
        ("<class '", ""),
        ("'>", ""),
    ):
        text = text.replace(long, short)
    return text


WRITERS: dict[str, Callable[[], str]] = {
    "minima/__init__.pyi": lambda: lazy("minima"),
    "minima/optim/__init__.pyi": lambda: lazy("minima.optim"),
    **({"minima/torch/__init__.pyi": pytorch} if find_spec("torch") else {}),
    **({"minima/jax/__init__.pyi": jax} if find_spec("jax") else {}),
}
"""The stubs, by their paths in the sources, each with what gives its text; of faces whose library is installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the stubs; 1 if some were to be checked, and are not as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say which are not as they would be written")
    check = parser.parse_args(arguments).check
    stale = [path for path, write in WRITERS.items() if not _is(ROOT / path, write())]
    for path in stale:
        print(f"{path} is not what tools/stubs.py writes" if check else f"wrote {path}")
        if not check:
            (ROOT / path).write_text(WRITERS[path](), encoding="utf-8")
    return 1 if check and stale else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())

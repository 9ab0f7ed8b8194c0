"""The factories of `minima.jax`: the reference of each, and what of Optax is there in the rules' own words."""

import inspect
import re
from pathlib import Path

from beside import plain
from reference import call

import minima.jax
from minima import optim
from minima.jax.core import OPTIONS
from minima.jax.dialect import Dialect
from minima.jax.dialects import _OTHERS, DIALECTS, INSTEAD


def write(generated: Path) -> None:
    """The pieces that pages include."""
    (generated / "jax-algorithms.md").write_text(reference())
    (generated / "jax-optax.md").write_text(optax())
    (generated / "jax-instead.md").write_text(instead())
    (generated / "jax-others.md").write_text(others())


def reference() -> str:
    """The reference of the factories, which are made from tables and stand in no file."""
    return "\n\n".join(map(_entry, minima.jax.names())) + "\n"


def _entry(name: str) -> str:
    made = getattr(minima.jax, name)
    parameters = [it for it in inspect.signature(made).parameters.values() if it.name not in _common(made.dialect)]
    lead = (inspect.getdoc(_rule(made.dialect)) or "").partition("\n\n")[0]
    whose = "This is Optax's algorithm; its rule is" if name in DIALECTS else "Its rule is"
    return (
        f"### `{name}` {{ #minima.jax.{name} }}\n\n{call(name, parameters)}\n\n"
        f"{lead} {whose} {_linked(_rule(made.dialect), '../')}."
    )


def _rule(dialect: Dialect) -> type[optim.Optimizer]:
    """The rule that a factory is without further arguments."""
    ahead = any(it.name == "nesterov" and it.default is True for it in dialect.table)
    return dialect.otherwise.rule if ahead and dialect.otherwise else dialect.rule


def _common(dialect: Dialect) -> set[str]:
    """The keywords that a factory takes because all do."""
    return {*OPTIONS} - {*dialect.options} - {entry.name for entry in dialect.table}


def optax() -> str:
    """What Optax has and is the same here: the rule that it is, and of its arguments those that are not free."""
    rows = ["| Name in Optax and `minima.jax` | Rule | Arguments with one allowed value |", "| --- | --- | --- |"]
    for name, dialect in sorted(DIALECTS.items()):
        only = ", ".join(f"`{it.name}={plain(it.only[0])}`" for it in dialect.table if len({*it.only}) == 1)
        rule = _settled(dialect)
        if dialect.otherwise is not None:
            ahead = _settled(dialect.otherwise)
            rule = ahead if _rule(dialect) is dialect.otherwise.rule else f"{rule}; with `nesterov=True` {ahead}"
        rows.append(f"| [`{name}`](api/jax.md#minima.jax.{name}) | {rule} | {only} |")
    return "\n".join(rows) + "\n"


def _settled(dialect: Dialect) -> str:
    """The rule, with what of it is settled."""
    fixed = ", ".join(f"`{name}={plain(value)}`" for name, value in dialect.fixed.items() if name != "weight_decay")
    return f"{_linked(dialect.rule)}{', ' if fixed else ''}{fixed}"


def instead() -> str:
    """What Optax has and is left out, with what to do instead."""
    rows = [f"| `{name}` | {_coded(text)} |" for name, text in sorted(INSTEAD.items())]
    return "\n".join(["| Name in Optax | Why it is missing, and what to use |", "| --- | --- |", *rows]) + "\n"


def _coded(text: str) -> str:
    """A sentence with its calls in code."""
    return re.sub(r"[\w.]+\([^()]*\)|\w+_\w+", r"`\g<0>`", text)


def others() -> str:
    """What Optax lacks."""
    found = [f"[`{name}`](api/jax.md#minima.jax.{name})" for name in sorted({*_OTHERS} - {*DIALECTS})]
    return f"{', '.join(found[:-1])} and {found[-1]}.\n"


def _linked(rule: type[optim.Optimizer], up: str = "") -> str:
    return f"[`minima.optim.{rule.__name__}`]({up}optimizers/{rule.__name__.lower()}.md)"

"""An optimizer in a notebook: its equations, and the hyperparameters of each of its groups."""

from typing import TYPE_CHECKING

from minima.explain.page import Code, Page, Section, Table

if TYPE_CHECKING:
    from minima.optim import Optimizer

__all__ = ["summary"]


def summary(optimizer: "Optimizer") -> Page:
    """What an optimizer does to its parameters now.

    The equations are those of the first group, in the variant that its hyperparameters choose.
    """
    groups, kind = optimizer.param_groups, type(optimizer)
    numbers = sum(param.size for param in optimizer.params)
    tensors = _counted(len(optimizer.params), "parameter")
    took = f"{tensors}, {_counted(numbers, 'number')} in all; {_counted(optimizer.t, 'step')} taken."
    sections: list[Section] = []
    if optimizer.rule is not None:
        values = {name: groups[0].shown(name) for name in groups[0] if name != "params"}
        formula = kind.formula(**{name: value for name, value in values.items() if not callable(value)})
        sections.append(Section("Equations", [Code(formula.text, latex=formula.typeset)]))
    names = ["value"] if len(groups) == 1 else [f"group {number}" for number in range(len(groups))]
    rows = [("parameters", *(str(len(group.params)) for group in groups))]
    rows += [(f"`{name}`", *(f"`{group.shown(name)!r}`" for group in groups)) for name in kind.hyperparameters]
    sections.append(Section("Hyperparameters", [Table(("", *names), rows, range(1, 1 + len(groups)))]))
    return Page(kind.__name__, took, sections)


def _counted(many: int, what: str) -> str:
    return f"{many:,} {what}{'s' * (many != 1)}"

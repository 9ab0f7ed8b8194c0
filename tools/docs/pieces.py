"""The pieces of the pages that come out of the code: equations, hyperparameters, the comparison of the optimizers."""

import inspect
from pathlib import Path

from griffe import Docstring, DocstringSectionParameters

from minima import optim
from minima.optim.language.formula import letter as letter  # the table and the equations must write a name alike

OPTIMIZERS = ["SGD", "AdaGrad", "RMSProp", "Adam"]
VARIANTS = {"sgd-nesterov": optim.SGD.formula(nesterov=True)}


def write(folder: Path) -> None:
    """Write NAME-equations.md and NAME-hyperparameters.md for each optimizer, and one table that compares them."""
    comparison = ["| Optimizer | State it keeps | Hyperparameters |", "| --- | --- | --- |"]
    for name in OPTIMIZERS:
        cls = getattr(optim, name)
        _equations(folder, name.lower(), cls.formula())
        (folder / f"{name.lower()}-hyperparameters.md").write_text(table(cls))
        state = ", ".join(f"`{entry}`" for entry in cls.rule.state) or "nothing"
        settings = ", ".join(f"`{key}={default(hyper)}`" for key, hyper in cls.hyperparameters.items())
        comparison.append(f"| [{name}]({name.lower()}.md) | {state} | {settings} |")
    for name, formula in VARIANTS.items():
        _equations(folder, name, formula)
    (folder / "comparison.md").write_text("\n".join(comparison) + "\n")


def _equations(folder: Path, name: str, formula: optim.Formula) -> None:
    (folder / f"{name}-equations.md").write_text(f"```math\n{formula.latex}\n```\n")


def table(cls: type[optim.Optimizer]) -> str:
    """Name, symbol, meaning, range and default of each hyperparameter; the meaning is what the docstring says."""
    said = meanings(cls)
    rows = ["| Name | Symbol | Meaning | Range | Default |", "| --- | :---: | --- | --- | --- |"]
    for name, hyper in cls.hyperparameters.items():
        if name not in said:
            raise SystemExit(f"docs: the docstring of {cls.__name__} does not say what {name} means")
        symbol = "" if hyper.is_flag else f"${letter(name)}$"
        rows.append(f"| `{name}` | {symbol} | {said[name]} | {hyper.range} | `{default(hyper)}` |")
    return "\n".join(rows) + "\n"


def meanings(cls: type) -> dict[str, str]:
    """What the Args section of the docstring says, by name, each on one line."""
    sections = Docstring(inspect.getdoc(cls) or "", parser="google").parse(warnings=False)
    return {
        argument.name: " ".join(argument.description.split())
        for section in sections
        if isinstance(section, DocstringSectionParameters)
        for argument in section.value
    }


def default(hyper: optim.Hyper) -> str:
    return f"{hyper.default:g}" if isinstance(hyper.default, float) else str(hyper.default)

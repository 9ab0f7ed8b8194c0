"""The pages of the optimizers: what a class says of itself, and what a person adds in docs/optimizers/NAME.md."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import beside
import cards
import libraries
from griffe import Docstring, DocstringSection, DocstringSectionParameters, DocstringSectionText
from published import linked
from reference import call, constructor
from source import folded

import minima.torch
from minima import optim
from minima.optim.language.declaration import OPTIONS
from minima.optim.language.latex import indexed, letter  # the table and the equations must write a name alike
from minima.optim.rules import RULES
from minima.torch.dialects import DIALECTS

OPTIMIZERS: list[type[optim.Optimizer]] = [getattr(optim, name) for name in RULES]
SECTIONS = [
    "Intuition",
    "Equations",
    "Options",
    "Hyperparameters",
    "State",
    "Report card",
    "Inside PyTorch",
    "In other libraries",
    "Source",
    "Where it differs",
    "Example",
]
"""The headings of a page in their order. What a person adds under one of them comes after what is generated there."""


def write(docs: Path, generated: Path, results: cards.Results) -> None:
    """Write a page for each optimizer, around what the person's page says, and the tables that compare them."""
    rows = ["| Optimizer | What it does | State it keeps |", "| --- | --- | --- |"]
    for cls in OPTIMIZERS:
        path = docs / page(cls)
        path.write_text(written(cls, added(path), results))
        usual = cls.explain().state
        state = [", ".join(f"`{name}`" for name in usual) or "nothing"]
        for form, options in kept(cls).items():
            if more := [f"`{name}`" for name in cls.explain(**options).state if name not in usual]:
                state.append(f"{', '.join(more)} {form}")
        rows.append(f"| [{cls.__name__}]({path.name}) | {Said(cls).lead} | {'; '.join(state)} |")
    (generated / "comparison.md").write_text("\n".join(rows) + "\n")
    (generated / "lbfgs-card.md").write_text(cards.card(optim.LBFGS, results) + "\n")  # its page is a person's
    (generated / "cards.md").write_text(cards.overview([cls.__name__ for cls in OPTIMIZERS], results))
    (generated / "torch-algorithms.md").write_text(classes())
    (generated / "conformance.md").write_text(libraries.written() + "\n")


def page(cls: type[optim.Optimizer]) -> str:
    return f"optimizers/{cls.__name__.lower()}.md"


def added(path: Path) -> dict[str, str]:
    """What a person's page says, by heading; nothing where there is no such page."""
    if not path.exists():
        return {}
    before, *parts = re.split(r"^## (.+)\n", path.read_text(), flags=re.MULTILINE)
    said = dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
    strange = [heading for heading in said if heading not in SECTIONS]
    if before.strip() or strange:
        where = f"under {strange[0]!r}" if strange else "above its first heading"
        raise SystemExit(f"docs: {path.name} has text {where}; its headings are {', '.join(SECTIONS)}")
    return said


def written(cls: type[optim.Optimizer], person: Mapping[str, str], results: cards.Results) -> str:
    """The whole page."""
    said, name, variants = Said(cls), cls.__name__, list(_variants(cls))
    parts = {
        "Intuition": "",
        "Equations": "\n\n".join(filter(None, [_math(_lines(cls)), _starts(cls), *said.remarks])),
        "Options": "\n\n".join(["Each option changes only the lines that are shown.", *variants] if variants else []),
        "Hyperparameters": f"{constructor(cls, said.meanings['params'])}\n\n{table(cls, said)}",
        "State": f"{said.keeps}\n\n{_bytes(cls)}",
        "Report card": cards.card(cls, results),
        "Inside PyTorch": beside.pytorch(cls),
        "In other libraries": libraries.others(name),
        "Source": said.source,
        "Where it differs": "\n\n".join(said.differs),
        "Example": said.example,
    }
    lines = [f"# {name}", f"{said.lead}\n{{ .lead }}"]
    for heading in SECTIONS:
        text = "\n\n".join(filter(None, [parts[heading], person.get(heading)]))
        lines += [f"## {heading}", text] if text else []
        lines += (
            [cards.picture(f"Path of {name} through a curved valley", name.lower())] if heading == "Intuition" else []
        )
    return "\n\n".join(lines) + "\n"


class Said:
    """What the docstring of an optimizer says, in its parts."""

    def __init__(self, cls: type[optim.Optimizer]) -> None:
        self._name = cls.__name__
        self.meanings: dict[str, str] = {}
        texts: list[list[str]] = [[]]
        for section in Docstring(inspect.getdoc(cls) or "", parser="google").parse(warnings=False):
            if isinstance(section, DocstringSectionParameters):
                self.meanings = {entry.name: " ".join(entry.description.split()) for entry in section.value}
                texts.append([])
            elif isinstance(section, DocstringSectionText):
                texts[-1] += section.value.split("\n\n")
        (self.lead, *before), *after = texts
        self.remarks = [text for text in before if text != "::" and not text.startswith("    ")]
        self._after = [text for part in after for text in part]
        self.example = "\n\n".join(f"```pycon\n{folded(text)}\n```" for text in self._found("^>>> "))
        self.keeps = "\n\n".join(self._found("^Keeps "))
        self.source = linked("\n\n".join(text.removeprefix("Source: ") for text in self._found("^Source: ")))
        self.differs = [re.sub(r"(Differs from [^:]+:)", r"**\1**", text) for text in self._found("Differs from ")]
        if self._after:
            raise SystemExit(f"docs: the docstring of {self._name} has a paragraph without a place: {self._after[0]}")

    def _found(self, marked: str) -> list[str]:
        """The paragraphs that are marked so, which thereby have their place."""
        found = [text for text in self._after if re.search(marked, text)]
        if not found:
            raise SystemExit(f"docs: the docstring of {self._name} has no paragraph with {marked.strip('^ ')!r}")
        self._after = [text for text in self._after if text not in found]
        return found


# Equations and hyperparameters ----------------------------------------------------------------------------------------


def _lines(cls: type[optim.Optimizer], **flags: bool | float | str) -> list[str]:
    latex = cls.formula(**flags).latex
    return latex.removeprefix(r"\begin{aligned}").removesuffix(r"\end{aligned}").split(r" \\ ")


def _math(lines: list[str]) -> str:
    return "```math\n\\begin{aligned}" + r" \\ ".join(lines) + "\\end{aligned}\n```"


def _options(cls: type[optim.Optimizer]) -> dict[str, bool | float | str]:
    """Each flag with the value that it has not by default; each switch and optional number with one that matters."""
    chosen: dict[str, bool | float | str] = {}
    for name, hyper in cls.hyperparameters.items():
        if hyper.is_flag:
            chosen[name] = not hyper.default
        elif any(isinstance(value, str) for value in hyper.choices):
            chosen[name] = next(value for value in hyper.choices if value != hyper.default)
        elif hyper.default is None or hyper.switch:
            chosen[name] = next(x for x in (0.5, 1.0, 2.0, hyper.high, hyper.low) if hyper.allows(x))
    return chosen


def _given(name: str, value: bool | float | str) -> str:
    return f"`{name}={value!r}`" if isinstance(value, bool | str) else f"`{name}`"


def _variants(cls: type[optim.Optimizer]) -> Iterator[str]:
    """The equations that each option changes."""
    usual = _lines(cls)
    options = _options(cls)
    for name, value in options.items():
        if changed := [line for line in _lines(cls, **{name: value}) if line not in usual]:
            yield f"With {_given(name, value)}:\n\n{_math(changed)}"
            continue
        for other, given in options.items():  # an option of an option
            before = [*usual, *_lines(cls, **{other: given})]
            if changed := [line for line in _lines(cls, **{other: given, name: value}) if line not in before]:
                yield f"With {_given(other, given)} and {_given(name, value)}:\n\n{_math(changed)}"
                break


def _starts(cls: type[optim.Optimizer]) -> str:
    """The state that begins at a hyperparameter, as a sentence; of a rule that has some."""
    assert cls.rule is not None
    starts = [
        f"${indexed(letter(state), '0')} = {letter(start)}$"
        for state, start in cls.rule.state.items()
        if isinstance(start, str) and start in cls.hyperparameters
    ]
    return f"Initially, {' and '.join(starts)}." if starts else ""


def table(cls: type[optim.Optimizer], said: Said) -> str:
    """Name, symbol, meaning, range and default of each hyperparameter; the meaning is what the docstring says."""
    rows = ["| Name | Symbol | Meaning | Range | Default |", "| --- | :---: | --- | --- | --- |"]
    for name, hyper in cls.hyperparameters.items():
        if name not in said.meanings:
            raise SystemExit(f"docs: the docstring of {cls.__name__} does not say what {name} means")
        symbol = "" if hyper.is_flag else f"${letter(name)}$"
        rows.append(
            f"| `{name}` | {symbol} | {said.meanings[name]} | {hyper.range} | `{beside.plain(hyper.default)}` |"
        )
    return "\n".join(rows)


def kept(cls: type[optim.Optimizer]) -> dict[str, dict[str, bool | float | str]]:
    """The forms of an optimizer that keep something else: what names them, and its options."""
    usual = set(cls.explain().state)
    forms: dict[str, dict[str, bool | float | str]] = {"": {}}
    for name, value in _options(cls).items():
        if set(cls.explain(**{name: value}).state) != usual:
            forms[f"with {_given(name, value)}"] = {name: value}
    return forms


def _bytes(cls: type[optim.Optimizer]) -> str:
    """What the state takes and a step moves, in each form of the optimizer."""
    rows = ["| | float32 | bfloat16 | int8 | Step |", "| --- | ---: | ---: | ---: | ---: |"]
    for form, options in kept(cls).items():
        explained = [cls.explain(state_dtype=name, **options) for name in (None, "bfloat16", "int8")]
        sizes = [f"{sum(it.state.values()):.3g}" for it in explained]
        rows.append(f"| {form or 'by default'} | {' | '.join(sizes)} | {explained[0].bytes_moved:g} |")
    return (
        "Bytes per parameter in float32: the size of the state for each `state_dtype`, and in the last column the "
        "bytes that a step reads and writes with the state in float32.\n\n" + "\n".join(rows)
    )


def classes() -> str:
    """The reference of the classes of `minima.torch`, which are made from tables and stand in no file."""
    parts: list[str] = []
    for name in minima.torch.__all__:
        made = getattr(minima.torch, name)
        if name not in minima.torch._NAMES:  # it stands in a file
            continue
        told = Docstring(inspect.getdoc(made) or "", parser="google").parse(warnings=False)
        meant = {entry.name for part in told if isinstance(part, DocstringSectionParameters) for entry in part.value}
        own = [it for it in inspect.signature(made).parameters.values() if it.name in meant or it.name not in OPTIONS]
        text = "\n\n".join(_listed(part) for part in told)
        if name not in DIALECTS:
            more = text.rpartition("\n\n")[2]  # what the keywords are
            text = f"{Said(made.rule).lead} See [its page](../../{page(made.rule)}) for the arguments. {more}"
        text = re.sub(r"`minima\.torch\.Optimizer`", r"[\g<0>](optimizer.md#minima.torch.Optimizer)", text)
        parts.append(f"## `{name}` {{ #minima.torch.{name} }}\n\n{call(name, own)}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def _listed(part: DocstringSection) -> str:
    """A part of a docstring, its parameters as a list."""
    if isinstance(part, DocstringSectionParameters):
        return "\n".join(f"- `{entry.name}`: {' '.join(entry.description.split())}" for entry in part.value)
    assert isinstance(part, DocstringSectionText)
    return part.value

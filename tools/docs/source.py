"""How the reference reads the source, where Griffe alone would not see what a reader should: Griffe extensions."""

import re
from importlib import import_module
from typing import Any

from griffe import Alias, Attribute, Class, Extension, Function, Module, Object, Parameter, ParameterKind, Parameters

WIDTH = 80
"""Columns of code that a page shows without scrolling."""
PARTED = ("autograd.tensor.Tensor", "optim.optimizer.Optimizer", "torch.optimizer.Optimizer")
"""The classes that are put together from parts."""
_LITERAL = re.compile(r"^(.*):: *$", re.MULTILINE)
_ENTRIES = re.compile(r"(?:^ {4}\w+: .*\n(?: {8}.*\n)*)+", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+): ", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*\n(?:.*\S.*\n?)*", re.MULTILINE)


class Docstrings(Extension):
    """Makes Markdown of what Python's docstrings have of their own.

    That is: doctests, `::` before an indented block, and indented entries, `name: meaning`, outside of a section.
    """

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = listed(obj.docstring.value)
            text = _LITERAL.sub(lambda m: f"{m[1]}:" if m[1].strip() else "", text)
            obj.docstring.value = _DOCTEST.sub(lambda m: f"```pycon\n{folded(m[0].rstrip())}\n```\n", text)


def folded(text: str) -> str:
    """A doctest whose printed tuples of tensors stand below each other where they are wider than a page."""
    lines = text.split("\n")
    return "\n".join(line.replace("), Tensor(", "),\n Tensor(") if len(line) > WIDTH else line for line in lines)


def listed(text: str) -> str:
    """The text, with the indented entries of each paragraph that holds nothing else as a Markdown list."""
    paragraphs = re.split(r"(\n\n+)", text)
    for i, paragraph in enumerate(paragraphs):
        if _ENTRIES.fullmatch(paragraph.rstrip("\n") + "\n"):
            paragraphs[i] = _ENTRY.sub(r"- `\1`: ", paragraph).replace("\n        ", "\n  ")
    return "".join(paragraphs)


class Hyperparameters(Extension):
    """Gives each optimizer the constructor that it has once Python runs it, with what its bases declare."""

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        declares = any(isinstance(x, Attribute) and str(x.value).startswith("hyper(") for x in cls.members.values())
        if declares and "__init__" not in cls.members:
            declared = getattr(import_module(cls.module.path), cls.name).hyperparameters
            named = ParameterKind.positional_or_keyword
            first = [Parameter("self", kind=named), Parameter("params", kind=named, annotation="Params")]
            parameters = Parameters(*first, *(_parameter(name, hyper) for name, hyper in declared.items()))
            cls.set_member("__init__", Function("__init__", parameters=parameters, parent=cls))


class Parts(Extension):
    """Shows what a class has from its parts, which no page shows, as its own, behind what stands in it."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        for place in PARTED if pkg.name == "minima" else ():
            cls = pkg[place]
            for part in cls.mro():
                for name, member in part.members.items():
                    if name not in cls.members:
                        cls.set_member(name, Alias(name, member, parent=cls))


def _parameter(name: str, hyper: Any) -> Parameter:
    kind = ParameterKind.keyword_only if hyper.kw_only else ParameterKind.positional_or_keyword
    kinds = "bool" if hyper.is_flag else "float | None" if hyper.default is None else "float"
    return Parameter(name, kind=kind, default=repr(hyper.default), annotation=kinds)

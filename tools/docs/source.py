"""How the reference reads the source, where Griffe alone would not see what a reader should: two Griffe extensions."""

import re
from importlib import import_module
from typing import Any

from griffe import Attribute, Class, Extension, Function, Object, Parameter, ParameterKind, Parameters

_LITERAL = re.compile(r"^(.*):: *$", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*\n(?:.*\S.*\n?)*", re.MULTILINE)


class Docstrings(Extension):
    """Makes Markdown of what Python's docstrings have of their own: doctests, and `::` before an indented block."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = _LITERAL.sub(lambda m: f"{m[1]}:" if m[1].strip() else "", obj.docstring.value)
            obj.docstring.value = _DOCTEST.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", text)


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


def _parameter(name: str, hyper: Any) -> Parameter:
    kind = ParameterKind.keyword_only if hyper.kw_only else ParameterKind.positional_or_keyword
    kinds = "bool" if hyper.is_flag else "float | None" if hyper.default is None else "float"
    return Parameter(name, kind=kind, default=repr(hyper.default), annotation=kinds)

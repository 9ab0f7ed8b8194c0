"""How the reference reads the source, where Griffe alone would not see what a reader should: two Griffe extensions."""

import re
from typing import Any

from griffe import (
    Attribute,
    Class,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
)

_LITERAL = re.compile(r"^(.*):: *$", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*\n(?:.*\S.*\n?)*", re.MULTILINE)


class Docstrings(Extension):
    """Makes Markdown of what Python's docstrings have of their own: doctests, and `::` before an indented block."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = _LITERAL.sub(lambda m: f"{m[1]}:" if m[1].strip() else "", obj.docstring.value)
            obj.docstring.value = _DOCTEST.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", text)


class Hyperparameters(Extension):
    """Gives each class that declares hyperparameters the constructor that it has once Python runs it."""

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        parameters = [
            _parameter(name, member)
            for name, member in cls.members.items()
            if isinstance(member, Attribute)
            and isinstance(member.value, ExprCall)
            and str(member.value.function) == "hyper"
        ]
        if parameters and "__init__" not in cls.members:
            named = ParameterKind.positional_or_keyword
            first = [Parameter("self", kind=named), Parameter("params", kind=named, annotation="Params")]
            cls.set_member("__init__", Function("__init__", parameters=Parameters(*first, *parameters), parent=cls))


def _parameter(name: str, declared: Attribute) -> Parameter:
    assert isinstance(declared.value, ExprCall)
    options = {option.name: option.value for option in declared.value.arguments if isinstance(option, ExprKeyword)}
    default = options.get("default", declared.value.arguments[0])
    kind = ParameterKind.keyword_only if "kw_only" in options else ParameterKind.positional_or_keyword
    return Parameter(name, kind=kind, default=default, annotation=declared.annotation)

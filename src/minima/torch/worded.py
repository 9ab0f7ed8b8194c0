"""A rule in the words of a dialect, as an optimizer of `minima.optim`: what formulas and explanations are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from inspect import Parameter, Signature
from typing import Annotated, Any

from minima import optim
from minima.optim.language.declaration import CHOICES
from minima.optim.language.rule import ESTIMATE
from minima.torch.dialect import COEFFICIENT, DECAY, FLAG, Dialect

__all__ = ["told", "worded"]


@cache
def worded(dialect: Dialect) -> type[optim.Optimizer]:
    """The class that the rule would be if it had been written in the words, and with the defaults, of the dialect."""
    rule = dialect.rule.rule
    assert rule is not None
    called = {entry.means[0]: entry.name for entry in dialect.table if len(entry.means) == 1}
    words = {entry.means[0]: entry.words for entry in dialect.table if entry.words}

    def spoken(
        function: Callable[..., Any], inputs: Sequence[str], state: Sequence[str], keywords: Sequence[str]
    ) -> Any:
        """A function of the rule, in the words of the dialect."""

        def made(*args: Any, **given: Any) -> Any:
            own = {name: given[called.get(name, name)] for name in keywords if name not in dialect.fixed}
            own |= {
                x: words[x].get(own[x], own[x])
                for x in words.keys() & own.keys()
                if isinstance(own[x], float | str | None)
            }
            return function(*args, **own, **{x: value for x, value in dialect.fixed.items() if x in keywords})

        places = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in inputs]
        for name in state:
            first = rule.state[name]
            first = called.get(first, first) if isinstance(first, str) else first
            kept, size = dialect.state.get(name, name), Annotated[Any, rule.ranks[name]]
            places.append(Parameter(kept, Parameter.POSITIONAL_OR_KEYWORD, default=first, annotation=size))
        places += [Parameter(called.get(x, x), Parameter.KEYWORD_ONLY) for x in keywords if x not in dialect.fixed]
        result: Any = made
        result.__signature__, result.__wrapped__ = Signature(places), function
        return staticmethod(result)

    body: dict[str, Any] = {"__doc__": dialect.rule.__doc__}
    body["update"] = spoken(rule.update, ("param", "grad"), list(rule.state), rule.keywords)
    if rule.estimate:
        function = getattr(dialect.rule, ESTIMATE)
        body[ESTIMATE] = spoken(function, ("grad",), rule.estimated, rule.estimate.keywords)
    for entry in dialect.table:
        defaults = entry.default if len(entry.means) > 1 else (entry.default,)
        for meant, default in zip(entry.means, defaults, strict=False):
            if meant in CHOICES:
                continue
            hyper = dialect.declaration.hypers[meant]
            default = float(default) if type(default) is int and not hyper.choices else default
            default = hyper.default if default is None and entry.derived else default
            switch = hyper.switch or bool(entry.words) and not hyper.choices
            body[called.get(meant, meant)] = replace(hyper, default=default, switch=switch)
    return type(dialect.name, (optim.Optimizer,), body)


def told(dialect: Dialect, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What ``formula`` and ``explain`` of that class are to be told, for arguments in the words of the dialect."""
    given = dialect.translated(flags, strict=True)
    defaults = {entry.name: entry.default for entry in dialect.table if entry.name in (DECAY, FLAG)}
    result: dict[str, Any] = {DECAY: dialect.way(defaults | given)}
    result |= {} if COEFFICIENT in dialect.entries else {"wd": 0}  # which the rule would have all the same
    for name, value in given.items():
        if name not in (DECAY, FLAG):
            means = dialect.entries[name].means if name in dialect.entries else (name,)
            result |= dict(zip(means, value, strict=True)) if len(means) > 1 else {name: value}
    return result

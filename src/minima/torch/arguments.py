"""The arguments of an optimizer of PyTorch: read, checked, and put under the names that the rule declares."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, cast

import numpy as np
import torch

from minima import optim
from minima.errors import sentence
from minima.optim.core.variants import MASTER
from minima.optim.language.declaration import Declaration
from minima.torch.group import Group, betas
from minima.torch.state import STEP
from minima.torch.values import check, misspelt

__all__ = ["bound", "declaration_of", "loss_number", "refuse_attribute", "translated"]


def declaration_of(rule: type[optim.Optimizer]) -> Declaration:
    """What an optimizer of `minima.optim` declares; a TypeError if PyTorch cannot have one of that kind."""
    if not (isinstance(rule, type) and issubclass(rule, optim.Optimizer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(sentence("adapt", "a rule must be a subclass of minima.optim.Optimizer", got=rule))
    if rule.rule is None:
        hint = "write an update; one that overrides step() works on Tensors of minima"
        raise TypeError(sentence("adapt", f"{rule.__name__} has no rule", hint=hint))
    taken = {STEP, MASTER, "params", "param_names"} & {*rule.rule.state, *rule.hyperparameters}
    if taken:
        rule_text = f"{rule.__name__} must not have a state or hyperparameter {', '.join(taken)}"
        raise TypeError(sentence("adapt", rule_text, hint="PyTorch has another of that name"))
    declaration: Declaration = cast(Any, rule)._declaration
    return declaration


def translated(declaration: Declaration, group: Mapping[str, Any]) -> Group:
    """A group as a user gave it, its hyperparameters checked and under their declared names; other entries stay."""
    who, result = declaration.who, Group()
    for written, value in group.items():
        if written == "betas" and "beta2" in declaration.hypers:
            result |= {name: check(who, declaration, name, beta) for name, beta in betas(who, value).items()}
            continue
        name = declaration.coefficient if written == declaration.alias else written
        if name in result:
            raise TypeError(sentence(who, f"{name} is given twice", hint="wd and weight_decay are one thing"))
        result[name] = check(who, declaration, name, value) if name in declaration.entries else value
        if name == written and name not in declaration.entries and (meant := misspelt(declaration, name)):
            raise TypeError(sentence(who, f"a group has no hyperparameter {name!r}", hint=f"did you mean {meant}?"))
    return result


def bound(declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Group:
    """Every hyperparameter's value for a call of a constructor; tensors stay tensors, ``betas`` become two."""
    places = [name for name, hyper in declaration.hypers.items() if not hyper.kw_only]
    if "betas" in kwargs and "beta2" in declaration.hypers:  # what a script that trains with PyTorch's has
        pair = betas(declaration.who, kwargs["betas"])
        twice = [name for name in pair if name in kwargs or name in places[: len(args)]]
        if twice:
            raise TypeError(sentence(declaration.who, f"{twice[0]} is given twice", hint="betas are beta1 and beta2"))
        kwargs = {name: value for name, value in kwargs.items() if name != "betas"} | pair
    given = {**dict(zip(places, args, strict=False)), **kwargs}
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor) or callable(value)}
    plain = [declaration.hypers[p].default if p in tensors else x for p, x in zip(places, args, strict=False)]
    plain += args[len(places) :]
    defaults = Group(declaration.bind(plain, {k: v for k, v in kwargs.items() if k not in tensors}))
    for written, value in tensors.items():
        name = declaration.spelled(written)
        defaults[name] = check(declaration.who, declaration, name, value)
    return defaults


def refuse_attribute(declaration: Declaration, name: str) -> None:
    """An AttributeError where a name that is about to become an attribute was probably meant to say something."""
    pair = "betas" if "beta2" in declaration.hypers else ""
    if name in (*declaration.hypers, declaration.alias, pair):
        rule = f"{name} is an entry of the groups, and no attribute"
        hint = f"write optimizer.param_groups[0][{name!r}]"
    elif meant := misspelt(declaration, name):
        rule, hint = f"there is no hyperparameter {name!r}", f"did you mean {meant}?"
    else:
        return
    raise AttributeError(sentence(declaration.who, rule, hint=hint))


def loss_number(who: str, loss: Any) -> float:
    """What a loss is as a number."""
    one: Any = loss
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        one = loss.item()
    elif isinstance(loss, np.ndarray) and cast(Any, loss).size == 1:
        one = cast(Any, loss).item()
    if not isinstance(one, Real):
        rule = "loss must be a number, or a tensor of one, for on_nonfinite to look at"
        raise TypeError(sentence(who, rule, got=cast(object, loss), hint="nothing was changed"))
    return float(one)

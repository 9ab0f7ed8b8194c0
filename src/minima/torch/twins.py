"""Which algorithms of ``torch.optim`` are rules of minima under other names, and how the names translate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from minima import optim
from minima.errors import sentence
from minima.torch.group import betas

__all__ = ["STATES", "TWINS", "Twin", "twin_of"]

_TECHNICAL = ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay", "params", "param_names")
"""Entries of their groups that do not change what is computed, or are asked for elsewhere."""


@dataclass(frozen=True)
class Twin:
    """An algorithm of PyTorch, and the rule that is the same with the right options."""

    name: str
    rule: type[optim.Optimizer]
    hypers: Mapping[str, tuple[str, ...]]
    """Their hyperparameters, with what ours are called."""
    state: Mapping[str, str]
    """Their state, with what ours is called."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What our hyperparameters must be besides."""
    lacking: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What they can do and we cannot, with the value at which they do not."""
    decay: str = "l2"
    """How their weight decay works."""

    def ours(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters as we call them; a ValueError if they ask for what we lack. Other entries are kept."""
        result: dict[str, Any] = {}
        for name, value in group.items():
            if name in self.lacking:
                if value != self.lacking[name]:
                    rule = f"{name} must be {self.lacking[name]!r}"
                    hint = f"with another, it is no {self.rule.__name__} of minima"
                    raise ValueError(sentence(f"torch.optim.{self.name}", rule, got=value, hint=hint))
            elif name not in self.hypers:
                result |= {} if name in _TECHNICAL and name not in ("params", "param_names") else {name: value}
            elif name == "betas":
                result |= betas(f"torch.optim.{self.name}", value)
            else:
                result[self.hypers[name][0]] = value
        if result.get("momentum") == 0 and "dampening" in result:
            result["dampening"] = 0.0  # without momentum they do not dampen
        return result

    def theirs(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters as they call them, and what they ask of groups besides."""
        values: dict[str, Any] = {
            name: group[mine[0]] if len(mine) == 1 else tuple(group[each] for each in mine)
            for name, mine in self.hypers.items()
        }
        if "dampening" in values and values["dampening"] is None:
            values["dampening"] = values["momentum"]
        technical = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}
        return (
            {name: 0.0 if value is None else value for name, value in values.items()} | dict(self.lacking) | technical
        )

    def called(self, params: Any, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What our constructor is to be given for ``params``, with groups in their words, and their hyperparameters."""
        if not isinstance(params, torch.Tensor):  # one tensor is for the constructor to refuse
            entries: Iterable[Any] = params
            params = [self._asked(cast(dict[str, Any], x)) if isinstance(x, dict) else x for x in entries]
        return params, self._asked(given) | dict(self.options) | {"decay": self.decay}

    def _asked(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters as we call them, of a call, which may ask for more than a state dict does."""
        for name in ("capturable", "differentiable"):
            if group.get(name):
                hint = "steps are taken by code that no graph sees"
                raise ValueError(
                    sentence(f"torch.optim.{self.name}", f"{name} must be False", got=group[name], hint=hint)
                )
        return self.ours(group)


_ADAM: dict[str, tuple[str, ...]] = {
    "lr": ("lr",),
    "betas": ("beta1", "beta2"),
    "eps": ("eps",),
    "weight_decay": ("weight_decay",),
}
_MOMENTS = {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}

TWINS = {
    "Adam": Twin("Adam", optim.Adam, _ADAM, _MOMENTS, lacking={"amsgrad": False, "maximize": False}),
    "AdamW": Twin(
        "AdamW", optim.Adam, _ADAM, _MOMENTS, lacking={"amsgrad": False, "maximize": False}, decay="decoupled"
    ),
    "SGD": Twin(
        "SGD",
        optim.SGD,
        {
            "lr": ("lr",),
            "momentum": ("momentum",),
            "dampening": ("dampening",),
            "weight_decay": ("wd",),
            "nesterov": ("nesterov",),
        },
        {"momentum_buffer": "u"},
        options={"dampen_first": False},
        lacking={"maximize": False},
    ),
    "Adagrad": Twin(
        "Adagrad",
        optim.AdaGrad,
        {
            "lr": ("lr",),
            "lr_decay": ("lr_decay",),
            "eps": ("eps",),
            "weight_decay": ("wd",),
            "initial_accumulator_value": ("initial",),
        },
        {"sum": "cache"},
        options={"eps_inside": False},
        lacking={"maximize": False},
    ),
    "RMSprop": Twin(
        "RMSprop",
        optim.RMSProp,
        {"lr": ("lr",), "alpha": ("rho",), "eps": ("eps",), "weight_decay": ("wd",)},
        {"square_avg": "cache"},
        options={"eps_inside": False},
        lacking={"momentum": 0, "centered": False, "maximize": False},
    ),
}
"""The algorithms of PyTorch that minima has too, by their names there."""

STATES = {name for twin in TWINS.values() for pair in twin.state.items() for name in pair}
"""What their states are called, and ours."""


def twin_of(who: str, group: Mapping[str, Any]) -> Twin:
    """The algorithm that a group of a state dict of ``torch.optim`` belongs to, by what stands in it."""
    marks = {"Adam": "amsgrad", "Adagrad": "initial_accumulator_value", "RMSprop": "alpha", "SGD": "dampening"}
    found = [name for name, mark in marks.items() if mark in group and "momentum_decay" not in group]
    if not found:
        rule = f"state_dict must be that of {', '.join(TWINS)} of torch.optim"
        raise ValueError(sentence(who, rule, hint=f"its groups have {', '.join(group)}"))
    return TWINS["AdamW" if found[0] == "Adam" and group.get("decoupled_weight_decay") else found[0]]

"""State of torch.optim's optimizers as state of ours, and back, where the algorithms are the same."""

from collections.abc import Mapping
from typing import Any

from minima.errors import sentence
from minima.torch.checkpoint import groups_of
from minima.torch.optimizer import Optimizer
from minima.torch.state import STEP
from minima.torch.twins import TWINS, Twin, twin_of

__all__ = ["load_torch_state_dict", "torch_state_dict"]


def load_torch_state_dict(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Let an optimizer go on where one of ``torch.optim`` stopped: its hyperparameters, state and counts of steps.

    Args:
        optimizer: An `Adam`, `SGD`, `AdaGrad` or `RMSProp`, with the same parameters and groups, as `like_torch` makes
            it.
        state_dict: What ``state_dict()`` of ``torch.optim.Adam``, ``AdamW``, ``SGD``, ``Adagrad`` or ``RMSprop`` gave.

    Raises:
        ValueError: It is of another algorithm, or does what ours cannot (``amsgrad``, ``centered``, ``maximize``,
            momentum of RMSprop), or weight decay works differently; nothing was changed.

    >>> import torch
    >>> from minima.torch import Adam, load_torch_state_dict
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> theirs = torch.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> theirs.step()
    >>> ours = Adam.like_torch([w])
    >>> load_torch_state_dict(ours, theirs.state_dict())
    >>> ours.param_groups[0]["lr"], ours.state[w]["exp_avg"]
    (0.1, tensor([ 0.2000, -0.4000]))
    """
    who = "load_torch_state_dict"
    _check_optimizer(who, optimizer)
    groups: list[dict[str, Any]] = []
    twin = TWINS["Adam"]
    for number, group in enumerate(groups_of(who, state_dict)):
        twin = twin_of(who, group)
        if not issubclass(optimizer.rule, twin.rule):
            rule = f"the state of torch.optim.{twin.name} must go to {twin.rule.__name__}"
            raise ValueError(sentence(who, rule, got=type(optimizer).__name__))
        if group["weight_decay"] and optimizer.decay != twin.decay:
            hint = f"make the optimizer with decay={twin.decay!r}, or by like_torch"
            rule = f"weight decay of group {number} must work as in torch.optim.{twin.name}"
            raise ValueError(sentence(who, rule, got=optimizer.decay, hint=hint))
        groups.append({**twin.ours(group), **twin.options})
    state = {key: _taken(twin, kept) for key, kept in state_dict["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def torch_state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """What an optimizer knows, for ``load_state_dict`` of the same algorithm in ``torch.optim``.

    Args:
        optimizer: An `Adam` (for ``torch.optim.Adam`` with ``decay="l2"``, else for ``AdamW``), or an `SGD`, `AdaGrad`
            or `RMSProp`, as `like_torch` makes it.

    Raises:
        ValueError: PyTorch has no such algorithm: ``eps`` stands under the root, weight decay works differently, state
            is kept in fewer bits, the first gradient is dampened.
    """
    who = "torch_state_dict"
    _check_optimizer(who, optimizer)
    if optimizer.state_dtype is not None:
        raise ValueError(sentence(who, "state_dtype must be None", got=optimizer.state_dtype))
    twins = [twin for twin in TWINS.values() if issubclass(optimizer.rule, twin.rule)]
    if not twins:
        raise ValueError(
            sentence(who, f"torch.optim must have the algorithm, as it has {', '.join(TWINS)}", got=optimizer.rule)
        )
    twin = next((twin for twin in twins if twin.decay == optimizer.decay), twins[-1])
    for number, group in enumerate(optimizer.param_groups):
        _check(who, f"group {number}", twin, optimizer, group)
    state_dict = optimizer.state_dict()
    groups = [
        {
            **{name: value for name, value in group.items() if name not in optimizer.rule.hyperparameters},
            **twin.theirs(group),
            **({"decoupled_weight_decay": twin.name == "AdamW"} if "betas" in twin.hypers else {}),
        }
        for group in state_dict["param_groups"]
    ]
    state = {key: _given(twin, kept) for key, kept in state_dict["state"].items() if kept}
    return {"state": state, "param_groups": groups}


def _check_optimizer(who: str, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(sentence(who, "optimizer must be one of minima.torch", got=optimizer))


def _taken(twin: Twin, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one parameter under our names."""
    found = {twin.state.get(name, name): value for name, value in kept.items() if value is not None}
    if not found:
        return {}
    return {STEP: 1.0, **found}  # their SGD does not count; ours asks only whether there was a step


def _given(twin: Twin, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one parameter under their names, in memory of its own: they take over what they are given."""
    names = {mine: theirs for theirs, mine in twin.state.items()} | ({} if twin.name == "SGD" else {STEP: STEP})
    return {names[name]: value.clone() for name, value in kept.items() if name in names}


def _check(who: str, which: str, twin: Twin, optimizer: Optimizer, group: Mapping[str, Any]) -> None:
    """A ValueError unless the algorithm of a group is the twin's."""

    def refuse(name: str, value: Any, got: Any) -> None:
        rule = f"{name} of {which} must be {value!r} to be torch.optim.{twin.name}"
        raise ValueError(sentence(who, rule, got=got))

    for name, off in twin.lacking.items():
        if group.get(name) not in (off, None):
            refuse(name, off, group[name])
    if group.get("eps_hat") and group["eps"]:
        refuse("eps_hat", False, True)
    decay = optimizer.rule.hyperparameters.keys() & {"wd", "weight_decay"}
    if optimizer.decay != twin.decay and any(group[name] for name in decay):
        refuse("decay", twin.decay, optimizer.decay)
    if group.get("eps_inside") and group["eps"]:
        refuse("eps_inside", False, True)
    if twin.name != "SGD":
        return
    dampening = group["momentum"] if group["dampening"] is None else group["dampening"]
    if dampening and group["nesterov"]:
        refuse("dampening", 0, dampening)
    is_new = any(not optimizer.state.get(param) for param in group["params"])
    if dampening and group["dampen_first"] and is_new:
        refuse("dampen_first", False, True)

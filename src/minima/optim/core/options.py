"""Options: what an optimizer is told besides hyperparameters, checked when it is made and when it is assigned."""

from collections.abc import Callable
from typing import Any

from minima.checks import integer, one_of
from minima.errors import sentence

__all__ = ["Option", "check_rounding", "on_nonfinite", "rounding", "seed", "state_dtype"]


class Option:
    """An attribute of an optimizer that is checked, and takes effect with the next step.

    It lives in the dict ``_options`` of the optimizer, whose ``_replan()`` is called when it has changed. Of an
    optimizer without a rule it is any attribute of its own.
    """

    def __init__(
        self,
        default: Any,
        check: Callable[[str, Any], Any],
        *,
        fixed: str = "",
        for_rules: bool = True,
        show: Callable[[Any, Any], Any] = lambda optimizer, kept: kept,
    ) -> None:
        """Declare it.

        Args:
            default: What the class gives.
            check: Takes who complains, and the value; gives what is kept.
            fixed: Why it cannot change, if it cannot.
            for_rules: Whether only optimizers with a rule have it.
            show: What the attribute reads as; takes the optimizer, and what is kept.
        """
        self.default = default
        self._check = check
        self._fixed = fixed
        self._for_rules = for_rules
        self._show = show

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self.default
        if self._for_rules and optimizer.rule is None:
            return optimizer.__dict__.get(self.name, self.default)
        return self._show(optimizer, optimizer.__dict__["_options"][self.name])

    def __set__(self, optimizer: Any, value: Any) -> None:
        if self._for_rules and optimizer.rule is None:
            optimizer.__dict__[self.name] = value
            return
        who, options = type(optimizer).__name__, optimizer.__dict__.get("_options")
        if options is None:
            rule = f"{self.name} is an option of every optimizer, and there once the constructor was called"
            raise AttributeError(sentence(who, rule, hint="call super().__init__ first"))
        value = self._check(who, value)
        if self._fixed and self.name in options and value != options[self.name]:
            rule = f"{self.name} cannot change once the optimizer is made: {self._fixed}"
            raise AttributeError(sentence(who, rule, got=value, hint="make another optimizer"))
        before = {name: options[name] for name in options if name == self.name}
        options[self.name] = value
        try:
            optimizer._replan()
        except BaseException:
            del options[self.name]
            options |= before
            raise


def check_rounding(who: str, value: Any) -> Any:
    """A way to round, or None."""
    return None if value is None else one_of(who, "rounding", value, ("stochastic", "nearest", "master"))


def state_dtype(*allowed: str) -> Any:
    """How state is kept."""

    words = ", ".join(["None", *map(repr, allowed[:-1])]) + f" or {allowed[-1]!r}"

    def check(who: str, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and value in allowed):
            raise ValueError(sentence(who, f"state_dtype must be {words}", got=value))
        return value

    return Option(None, check, fixed="the state is kept in it")


def rounding() -> Any:
    """How results are written to parameters in half precision."""
    return Option(None, check_rounding)


def seed() -> Any:
    """What the random numbers of stochastic rounding depend on, besides the step and the element."""
    return Option(0, lambda who, value: integer(who, "seed", value))


def on_nonfinite() -> Any:
    """What to do about gradients that are not finite."""
    return Option("propagate", lambda who, value: one_of(who, "on_nonfinite", value, ("propagate", "raise", "skip")))

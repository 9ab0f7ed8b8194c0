"""What optimizers of every face have in common that take estimates into their state."""

from typing import Any

from minima.errors import sentence
from minima.optim.core.variants import Variants
from minima.optim.language.rule import Rule

__all__ = ["name_estimates", "require_estimate"]


def name_estimates(cls: Any, rule: Rule | None, variants: Variants | None) -> None:
    """Give ``update_estimate`` of a class the name of each state that it changes; one sentence where it cannot be."""
    if rule is None or variants is None or rule.estimate is None:
        return
    for variant in variants.declaration.variants():
        variants.estimate(variant)
    for name in rule.estimated:
        if not hasattr(cls, f"update_{name}"):
            setattr(cls, f"update_{name}", cls.update_estimate)


def require_estimate(who: str, rule: Rule | None) -> None:
    """A TypeError unless there is something to estimate."""
    if rule is None or rule.estimate is None:
        raise TypeError(sentence(who, "the rule takes no estimates", hint="they are for rules that have an estimate()"))

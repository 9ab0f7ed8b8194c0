"""The attributes of an optimizer: its keywords, which are checked when they are assigned, and what is not replaced."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from minima.autograd import Tensor
from minima.errors import sentence
from minima.optim.core import options
from minima.optim.engines import choose
from minima.optim.groups import Params
from minima.optim.host import TensorHost
from minima.optim.language.declaration import CHOICES, Declaration
from minima.optim.language.hyper import Common, Hyper, hyper
from minima.optim.language.rule import Rule

__all__ = ["Attributes"]

_FIXED = {
    "params": "add more with add_param_group, or make another optimizer",
    "param_groups": "add more with add_param_group, or make another optimizer",
    "defaults": "assign to its entries, or to the attributes of their names",
    "groups": "assign to the entries of a group, as in param_groups[0]['lr'] = 0.1",
    "steps": "call set_steps",
    "measures": "call step(measure=True)",
}
"""What no step would notice that it is replaced, with what to do instead. (State is the same.)"""


def _given(*, converter: Callable[[Params], tuple[Tensor, ...]]) -> Any:
    """Declares ``params``, the first argument of every constructor, to type checkers."""


def _option(*, default: Any, kw_only: bool, by: Any = None) -> Any:
    """Declares a keyword of every constructor to type checkers; it is the attribute ``by``."""
    return by


def _checked_engine(who: str, name: Any) -> tuple[str, bool]:
    """The engine of this name, or the one that is taken without one; and whether it was asked for."""
    return choose(who, name).name, name is not None


def _shown_engine(optimizer: Any, kept: tuple[str, bool]) -> str:
    host: TensorHost | None = optimizer._host
    return kept[0] if host is None else host.engine


def _listed(params: Params) -> tuple[Tensor, ...]: ...  # what becomes of params, as type checkers see it


@dataclass_transform(field_specifiers=(hyper, _given, _option))
class _Declared:
    """Tells type checkers that annotated fields, in their order, are the arguments of the constructor."""


class Attributes(_Declared):
    """The keywords of every constructor, and how attributes are assigned."""

    params: tuple[Tensor, ...] = _given(converter=_listed)
    engine: str | None = _option(
        default=None, kw_only=True, by=options.Option(None, _checked_engine, for_rules=False, show=_shown_engine)
    )
    state_dtype: str | None = _option(default=None, kw_only=True, by=options.state_dtype("bfloat16", "int8"))
    groups: Mapping[str, Mapping[str, Any]] | None = _option(default=None, kw_only=True)
    decay: str = _option(default="decoupled", kw_only=True, by=Common(CHOICES["decay"]))
    if TYPE_CHECKING:
        decay_mode: str = _option(default="decoupled", kw_only=True)  # its other spelling
    maximize: bool = _option(default=False, kw_only=True, by=Common(CHOICES["maximize"]))
    cautious: bool = _option(default=False, kw_only=True, by=Common(CHOICES["cautious"]))
    max_norm: Hyper | None = _option(default=None, kw_only=True, by=Common(CHOICES["max_norm"]))
    ema_decay: Hyper | None = _option(default=None, kw_only=True, by=Common(CHOICES["ema_decay"]))
    rounding: str | None = _option(default=None, kw_only=True, by=options.rounding())
    seed: int = _option(default=0, kw_only=True, by=options.seed())
    on_nonfinite: str = _option(default="propagate", kw_only=True, by=options.on_nonfinite())
    rule: ClassVar[Rule | None]
    _declaration: ClassVar[Declaration]

    def __setattr__(self, name: str, value: Any) -> None:
        is_made = name in self.__dict__ or name in ("groups", "steps", "measures")
        if is_made and self.rule is not None and (name in _FIXED or name in self.rule.state):
            hint = _FIXED.get(name, "write into its entries in place, or use load_state_dict")
            raise AttributeError(sentence(type(self).__name__, f"{name} cannot be replaced", hint=hint))
        if not (name in self.__dict__ or name.startswith("_") or hasattr(type(self), name)):
            if meant := self._declaration.meant(name):
                hint = f"did you mean {meant}?"
                raise AttributeError(sentence(type(self).__name__, f"there is no hyperparameter {name!r}", hint=hint))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        own = name in self.__dict__ and not (self.rule is not None and (name in _FIXED or name in self.rule.state))
        if not own and (name in self.__dict__ or hasattr(type(self), name)):
            raise AttributeError(
                sentence(type(self).__name__, f"{name} cannot be deleted", hint="assign to it instead")
            )
        super().__delattr__(name)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the state of a rule, and both spellings of weight decay

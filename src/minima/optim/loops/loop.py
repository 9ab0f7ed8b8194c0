"""What all loops around an optimizer have in common, in every face: they look like the optimizer inside."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from minima.checks import flag
from minima.errors import sentence
from minima.loading import state_views
from minima.optim.core.stepper import Stepper
from minima.optim.loops.face import Face, TensorFace
from minima.optim.optimizer import Optimizer
from minima.optim.state_dict import LOOPS, loops_of

__all__ = ["Loop"]

_HALVES = ("first_step", "second_step")
"""Steps of an inner loop that would go past the outer one."""


class Loop(ABC):
    """An algorithm around the step of any optimizer.

    What it does not have itself, it has of the optimizer inside: parameters, groups, hyperparameters, counts, state,
    equations. What is assigned to it goes there too.
    """

    _face: ClassVar[Face] = TensorFace()
    _inner: Any

    def _take(self, optimizer: Any) -> None:
        """Let this be the optimizer inside, if it is one."""
        who, face = type(self).__name__, self._face
        if isinstance(optimizer, type):
            rule, hint = "optimizer must be an optimizer, and not its class", f"write {who}({optimizer.__name__}(...))"
            raise TypeError(sentence(who, rule, got=cast(object, optimizer), hint=hint))
        if isinstance(optimizer, face.solver):
            rule = "LBFGS cannot be wrapped: it takes many steps in each call, and computes the loss between them"
            raise TypeError(sentence(who, rule, hint=f"call its step(closure) without {who}"))
        if not isinstance(optimizer, face.optimizer) and not (isinstance(optimizer, Loop) and optimizer._face is face):
            got: object = optimizer
            raise TypeError(sentence(who, f"optimizer must be one of {face.home}, or a loop around one", got=got))
        self._inner = optimizer

    @property
    def optimizer(self) -> Any:
        """The optimizer inside."""
        return self._inner

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradient of every parameter, as the optimizer inside does."""
        self._inner.zero_grad(set_to_none)

    def add_param_group(self, param_group: Any) -> None:
        """Add parameters to the optimizer inside, from the next step on."""
        self._inner.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer inside gives, and an entry ``loops``: what every loop knows, the outermost first."""
        return self._with_own(self._inner.state_dict(), copies=True)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Take over what another such loop, around another such optimizer, knew: all of it or nothing.

        Args:
            state_dict: What `state_dict` gave.
            strict: Where the optimizer inside has such an argument, whether parameters must be the same.

        Returns:
            What the optimizer inside returns.

        Raises:
            TypeError: ``state_dict`` is not what `state_dict` gives.
            ValueError: It is that of another loop, or of another optimizer inside, or does not fit.
        """
        return self._prepare_load(state_dict, strict)()

    def _state_views(self) -> dict[str, Any]:
        return self._with_own(state_views(self._inner), copies=False)

    def _with_own(self, inside: Mapping[str, Any], *, copies: bool) -> dict[str, Any]:
        own = {"loop": type(self).__name__, **self._own(copies=copies)}
        return {**inside, LOOPS: [own, *inside.get(LOOPS, ())]}

    def _prepare_load(self, state_dict: Mapping[str, Any], strict: bool = True) -> Callable[[], Any]:
        name = type(self).__name__
        who = f"{name}.load_state_dict"
        flag(who, "strict", strict)
        given = cast(object, state_dict)
        if not isinstance(given, Mapping):
            raise TypeError(sentence(who, f"state_dict must be what {name}.state_dict() gave", got=given))
        own, *others = loops_of(state_dict) or [dict[str, Any]()]
        if own.get("loop") != name:
            got = own.get("loop", state_dict.get("algorithm", "that of an optimizer without a loop"))
            raise ValueError(sentence(who, f"state_dict must be that of {name}", got=got, hint="nothing was loaded"))
        inside = {**state_dict, LOOPS: others}
        try:
            write_own = self._prepare_own(who, own, inside, strict=strict)
        except KeyError as missing:
            rule = f"the entry of {name} in {LOOPS!r} must have {missing}"
            raise TypeError(sentence(who, rule, got=list(own), hint="nothing was loaded")) from None
        write_inside = self._face.preparing(self._inner, inside, strict=strict)

        def take_over() -> Any:
            report = write_inside()
            write_own()
            return report

        return take_over

    @abstractmethod
    def _own(self, *, copies: bool) -> dict[str, Any]:
        """What the loop itself knows, as plain data."""

    @abstractmethod
    def _prepare_own(
        self, who: str, given: Mapping[str, Any], state_dict: Mapping[str, Any], *, strict: bool
    ) -> Callable[[], None]:
        """Check what `_own` gave, and give what takes it over, which cannot fail."""

    @property
    def _innermost(self) -> Any:
        """The optimizer itself, inside of all loops."""
        optimizer = self._inner
        while isinstance(optimizer, Loop):
            optimizer = optimizer._inner
        return optimizer

    def _stepper(self) -> Stepper:
        return self._face.stepper(self._innermost)

    def _given(self, loss: Any, measure: Any) -> dict[str, Any]:
        """The keywords of a step that were given: one in the imperative style knows none."""
        return {**({} if loss is None else {"loss": loss}), **({} if measure is False else {"measure": measure})}

    def __repr__(self) -> str:
        own = "".join(f", {name}={value!r}" for name, value in self._own_hypers().items())
        return f"{type(self).__name__}({self._inner!r}{own})"

    def _repr_markdown_(self) -> str:  # notebooks show this
        own = ", ".join(f"`{name}={value!r}`" for name, value in self._own_hypers().items())
        is_ours = isinstance(self._inner, (Optimizer, Loop))  # those of PyTorch have text alone
        inside = self._inner._repr_markdown_() if is_ours else f"```text\n{self._inner!r}\n```"
        return f"## {type(self).__name__}\n\n{own}, around:\n\n{inside}"

    @abstractmethod
    def _own_hypers(self) -> dict[str, Any]:
        """The hyperparameters of the loop itself."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            setattr(self._inner, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(self._inner, name)

    def __getstate__(self) -> dict[str, Any]:
        own = self._own_hypers()  # what others have put on top of methods, as schedulers do with step, stays behind
        return {name: value for name, value in self.__dict__.items() if name.startswith("_") or name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # all that the optimizer inside has
    else:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or "_inner" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            if name in _HALVES and isinstance(self._inner, Loop):
                rule = f"there is no {name}, as it would go past {type(self).__name__}"
                hint = "call step(closure), or put SAM around the other loop"
                raise AttributeError(sentence(type(self).__name__, rule, hint=hint), name=name, obj=self)
            return getattr(self._inner, name)

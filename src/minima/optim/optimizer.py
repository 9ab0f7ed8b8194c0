"""The optimizer: one interface for every algorithm, and all that algorithms have in common."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import numpy as np

from minima.autograd import Tensor
from minima.errors import sentence
from minima.optim.declaration import Declaration, declare
from minima.optim.engines import Array, allocate, choose, precision
from minima.optim.explain import Explanation
from minima.optim.formula import Formula
from minima.optim.groups import ParamGroup, Params, Slot, StateView, read_group, read_groups, read_params
from minima.optim.hyper import Hyper, hyper
from minima.optim.lowering import lower
from minima.optim.plan import Plan
from minima.optim.ranges import never_negative
from minima.optim.rule import Rule
from minima.optim.trace import Trace, trace

__all__ = ["Optimizer"]


def _given(*, converter: Callable[[Params], list[Tensor]]) -> Any:
    """Declares ``params``, the first argument of every constructor, to type checkers."""


def _option(*, default: None, kw_only: bool) -> Any:
    """Declares a keyword of every constructor to type checkers."""


def _listed(params: Params) -> list[Tensor]: ...  # what becomes of params, as type checkers see it


@dataclass_transform(field_specifiers=(hyper, _given, _option))
class _Declared:
    """Tells type checkers that annotated fields, in their order, are the arguments of the constructor."""


class Optimizer(_Declared):
    """The interface of all optimizers: ``step()`` updates the parameters, ``zero_grad()`` clears their gradients.

    Args:
        params: The parameters to optimize: an iterable of floating Tensors, of ``(name, Tensor)`` pairs, or of groups,
            dicts with ``params`` and any hyperparameter that is to differ from the optimizer's.

    An algorithm is a subclass. Either it declares hyperparameters and a pure ``update``, a *rule*, and gets everything
    else from here: weight decay ``param <- (1 - lr * wd) * param`` in front of the update, groups, checks, a formula,
    and every engine. Or, in the imperative style, it overrides ``step()`` and writes to ``p.data``.

    Every constructor also takes two keywords, which are attributes too:

        engine: What computes the steps: ``"fused"``, compiled code in one pass over memory; ``"reference"``, NumPy, one
            operation after another. By default that of the environment variable ``MINIMA_ENGINE``, else the fused
            engine where llvmlite is installed. Both give the same bits (to rounding where a rule uses ``exp``, ``log``
            or powers).
        state_dtype: How the state is kept: None, as it is computed; ``"bfloat16"``, 2 bytes an entry; ``"int8"``, 1
            byte an entry and 4 for every 256. It is always computed in the precision of the parameter.

    Attributes:
        params: All parameters, in the order given; the state of a rule is indexed alike.
        param_groups: The groups, each a mapping of ``params`` and the hyperparameters.
        t: The number of steps that the optimizer has taken.

    A step is all or nothing: gradients are checked before anything changes. It writes into the parameters' own
    buffers. A parameter whose ``grad`` is None is skipped, and neither its state nor its own count of steps moves.
    Half-precision parameters are updated in float32, and so is their state kept.

    Raises:
        TypeError: ``params`` is no iterable of floating Tensors, or a hyperparameter is unknown or no number.
        ValueError: ``params`` is empty or holds a Tensor twice, or a hyperparameter is out of its range.

    >>> from minima import Tensor
    >>> from minima.optim import Optimizer, hyper, sign
    >>> class SignDescent(Optimizer):
    ...     lr: float = hyper(default=0.01, low=0)
    ...     @staticmethod
    ...     def update(param, grad, *, lr):
    ...         return param - lr * sign(grad)
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SignDescent([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.5, -1.5], requires_grad=True)
    """

    params: list[Tensor] = _given(converter=_listed)
    engine: str | None = _option(default=None, kw_only=True)
    state_dtype: str | None = _option(default=None, kw_only=True)
    hyperparameters: ClassVar[Mapping[str, Hyper]] = {}
    """The declared hyperparameters by name, in the order of the constructor."""
    rule: ClassVar[Rule | None] = None
    """The rule that ``update`` declares; None for an optimizer in the imperative style."""
    _declaration: ClassVar[Declaration] = Declaration("Optimizer", {}, decays=False)
    __signature__ = _declaration.signature()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declare(cls, Optimizer)

    def __init__(
        self, params: Params, *args: Any, engine: str | None = None, state_dtype: str | None = None, **kwargs: Any
    ) -> None:
        who = type(self).__name__
        if state_dtype not in (None, "bfloat16", "int8"):
            raise ValueError(sentence(who, "state_dtype must be None, 'bfloat16' or 'int8'", got=state_dtype))
        self.defaults = self._declaration.bind(args, kwargs)
        self.engine = choose(who, engine).name
        self.state_dtype = state_dtype
        self.params = []
        self.param_groups: list[ParamGroup] = []
        self.t = 0
        self._slots: list[Slot] = []
        self._plan: Plan | None = None
        groups = read_groups(who, params)
        for group in groups:
            self._add(group)
        if len(groups) == 1:  # the only group is the optimizer itself
            self.defaults.update(self.param_groups[0].own)
            self.param_groups[0].own = self.defaults
        for number, name in enumerate(self.rule.state if self.rule else ()):
            setattr(self, name, StateView(self._slots, number))

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises:
            TypeError: A gradient is not floating. Nothing was changed.
            ValueError: A gradient has another shape than its parameter. Nothing was changed.
        """
        if self.rule is None:
            hint = "use SGD, AdaGrad, RMSProp or Adam, or override step()"
            raise NotImplementedError(sentence(type(self).__name__, "step() is left to subclasses", hint=hint))
        flags = [group.value(name) for group in self.param_groups for name in self._declaration.flags]
        if self._plan is None or not self._plan.repeat(self.engine, flags):
            self._step_anew(flags)
        self.t += 1

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for slot in self._slots:
            slot.tensor.grad = None

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters: a dict with ``params`` and any hyperparameter that is to differ from the optimizer's."""
        who = type(self).__name__
        if not isinstance(group, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(who, "a group must be a dict with 'params'", got=group))
        entry = read_group(who, len(self.param_groups), group)
        self._add(entry)
        self._plan = None
        if self.param_groups[0].own is self.defaults:  # it is the only group no longer
            self.param_groups[0].own = {}

    @classmethod
    def formula(cls, **flags: Any) -> Formula:
        """The equations of the update, made from the rule itself: as plain ``text``, and, with SymPy, as ``latex``.

        Args:
            flags: Values of flags and of optional hyperparameters, for a form of the rule other than the default one:
                ``SGD.formula(nesterov=True)``.

        >>> from minima.optim import Optimizer, hyper, sign
        >>> class SignDescent(Optimizer):
        ...     lr: float = hyper(default=0.01, low=0)
        ...     @staticmethod
        ...     def update(param, grad, *, lr):
        ...         return param - lr * sign(grad)
        >>> print(SignDescent.formula().text)
        param = (1 - lr*wd)*param
        param = param - lr*sign(grad)
        """
        return Formula(cls._trace(cls._declaration.bind((), flags)))

    @classmethod
    def explain(
        cls,
        *,
        dtype: str = "float32",
        state_dtype: str | None = None,
        parameters: int | None = None,
        **flags: Any,
    ) -> Explanation:
        """What the optimizer computes, keeps, costs and is compiled to, to be printed.

        Args:
            dtype: The dtype of the parameters: ``"float32"``, ``"float64"`` or ``"float16"``.
            state_dtype: How the state is kept, as in the constructor.
            parameters: A number of parameters whose step is to be timed too, besides four usual ones.
            flags: As for ``formula``.

        >>> from minima.optim import SGD
        >>> explanation = SGD.explain()
        >>> explanation.bytes_moved, explanation.operations
        (20.0, {'mul': 4, 'add/sub': 2})
        """
        traced = cls._trace(cls._declaration.bind((), flags))
        return Explanation(cls, Optimizer, traced, flags, dtype=dtype, state_dtype=state_dtype, parameters=parameters)

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of steps that each parameter has taken: what ``t`` is in its update."""
        return tuple(slot.t for slot in self._slots)

    def __repr__(self) -> str:
        values = "".join(f", {name}={value!r}" for name, value in self.defaults.items())
        return f"{type(self).__name__}({len(self.params)} parameters{values})"

    def _add(self, entry: Mapping[str, Any]) -> None:
        who = type(self).__name__
        own = self._declaration.values(who, {name: value for name, value in entry.items() if name != "params"})
        group = ParamGroup(self._declaration, self.defaults, own)
        slots = read_params(who, entry["params"], self._slots, group)
        group.params += [slot.tensor for slot in slots]
        self.params += group.params
        self.param_groups.append(group)
        self._slots += slots
        if self.rule is not None:
            bounded = never_negative(lower(self._trace(group)), self.hyperparameters, self.rule.state)
            for slot in slots:
                dtype = precision(slot.dtype)
                slot.state = tuple(
                    allocate(self.state_dtype, number, slot.shape, dtype, first, signed=name not in bounded)
                    for number, (name, first) in enumerate(self.rule.state.items())
                )

    def _step_anew(self, flags: list[Any]) -> None:
        """A step of whatever parameters have a gradient now; the plan for them is kept."""
        moving = [(slot, slot.tensor.grad) for slot in self._slots]
        grads = [self._checked(slot, grad.buffer) for slot, grad in moving if grad is not None]
        slots = [slot for slot, grad in moving if grad is not None]
        if not slots:
            return
        plan = self._plan
        if plan is None or plan.slots != slots or not plan.serves(self.engine, flags):
            for slot in slots:
                self._check_buffer(slot)
            idle = [slot for slot, grad in moving if grad is None]
            programs = {id(group): lower(self._trace(group)) for group in self.param_groups}
            plan = Plan(choose(type(self).__name__, self.engine), slots, idle, flags, programs)
        if not plan.run(grads):
            raise AssertionError("a checked gradient was not taken")
        self._plan = plan

    def _checked(self, slot: Slot, grad: Array) -> Array:
        """A gradient in its parameter's dtype, laid out plainly."""
        who = f"{type(self).__name__}.step"
        if grad.shape != slot.shape:
            rule = f"gradient of {slot} has shape {grad.shape}, the parameter has {slot.shape}"
            raise ValueError(sentence(who, rule, hint="nothing was changed"))
        if not np.issubdtype(grad.dtype, np.floating):
            rule = f"gradient of {slot} must be floating"
            raise TypeError(sentence(who, rule, got=str(grad.dtype), hint="nothing was changed"))
        dtype = np.dtype(slot.dtype.name)  # this very object, not one that equals it: copies of arrays have such
        with np.errstate(over="ignore"):
            return np.require(grad, dtype, ["C", "A"]).view(dtype)

    def _check_buffer(self, slot: Slot) -> None:
        buffer = slot.tensor.buffer
        if buffer.shape != slot.shape or buffer.dtype != slot.dtype:
            rule = f"{slot} was {slot.dtype} of shape {slot.shape} when it was given, and must stay that"
            hint = f"it is now {buffer.dtype} of shape {buffer.shape}; nothing was changed"
            raise ValueError(sentence(type(self).__name__, rule, hint=hint))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": None}  # machine code is not copied: it is made again

    @classmethod
    def _trace(cls, values: Mapping[str, Any]) -> Trace:
        """The rule, traced for these hyperparameters: of them, only flags make a difference."""
        if cls.rule is None:
            raise TypeError(sentence(cls.__name__, "an optimizer that overrides step() has no rule to read"))
        given = ((name, values[name]) for name in cls._declaration.flags)
        fixed = tuple((name, value) for name, value in given if value is None or isinstance(value, bool))
        return trace(cls.rule, cls._declaration.decay, fixed)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the state of a rule, and both spellings of weight decay

"""The optimizer: one interface for every algorithm, and all that algorithms have in common."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import numpy as np

from minima.autograd import Tensor
from minima.checks import one_of
from minima.errors import sentence
from minima.loading import LoadReport
from minima.optim import patterns
from minima.optim import state_dict as state
from minima.optim.engines import Array, allocate, choose, precision
from minima.optim.groups import Clock, ParamGroup, Params, Slot, StateView, read_group, read_groups, read_params
from minima.optim.language.declaration import DECAYS, Declaration, declare
from minima.optim.language.formula import Formula
from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.lowering import lower
from minima.optim.language.ranges import never_negative
from minima.optim.language.rule import Rule
from minima.optim.language.trace import Trace, trace
from minima.optim.measures import Measures
from minima.optim.plan import Interrupted, NotFinite, Plan

if TYPE_CHECKING:
    from minima.explain import Explanation

__all__ = ["Optimizer"]


def _given(*, converter: Callable[[Params], list[Tensor]]) -> Any:
    """Declares ``params``, the first argument of every constructor, to type checkers."""


def _option(*, default: str | None, kw_only: bool) -> Any:
    """Declares a keyword of every constructor to type checkers."""


def _listed(params: Params) -> list[Tensor]: ...  # what becomes of params, as type checkers see it


@dataclass_transform(field_specifiers=(hyper, _given, _option))
class _Declared:
    """Tells type checkers that annotated fields, in their order, are the arguments of the constructor."""


class Optimizer(_Declared):
    """The interface of all optimizers: ``step()`` updates the parameters, ``zero_grad()`` clears their gradients.

    Args:
        params: The parameters to optimize: a module, or an iterable of floating Tensors, of ``(name, Tensor)`` pairs,
            or of groups, dicts with ``params`` and any hyperparameter that is to differ from the optimizer's.

    An algorithm is a subclass. Either it declares hyperparameters and a pure ``update``, a *rule*, and gets everything
    else from here: weight decay ``param <- (1 - lr * wd) * param`` in front of the update, groups, checks, a formula,
    and every engine. Or, in the imperative style, it overrides ``step()`` and writes to ``p.data``.

    Any hyperparameter but a flag may be given as a function of the step: it is called with ``t``, the steps taken so
    far, and gives the value for the next. `minima.optim.schedules` has the usual ones.

    Every constructor also takes these keywords, which are attributes too (``groups`` apart); an optimizer in the
    imperative style does by itself what ``state_dtype``, ``decay`` and ``on_nonfinite`` are for, and refuses them:

        engine: What computes the steps: ``"fused"``, compiled code in one pass over memory; ``"reference"``, NumPy, one
            operation after another. By default that of the environment variable ``MINIMA_ENGINE``, else the fused
            engine where llvmlite is installed. Both give the same bits (to rounding where a rule uses ``exp``, ``log``
            or powers).
        state_dtype: How the state is kept: None, as it is computed; ``"bfloat16"``, 2 bytes an entry; ``"int8"``, 1
            byte an entry and 4 for every 256. It is always computed in the precision of the parameter.
        groups: Hyperparameters by patterns of names, ``{"*.bias": {"weight_decay": 0}, "head.*": {"lr": 1e-2}}``: a
            parameter gets those of the first pattern that matches its name.
        decay: How weight decay works: ``"decoupled"``, ``param <- (1 - lr * wd) * param`` before the update;
            ``"independent"`` of the learning rate, ``param <- (1 - wd) * param``; ``"l2"``, as the gradient of a
            penalty, ``grad <- grad + wd * param``.
        on_nonfinite: What to do about a gradient with an infinity or NaN: ``"propagate"`` it into the parameters;
            ``"raise"``; ``"skip"`` the step for all parameters, and count it in ``skipped``.

    Attributes:
        params: All parameters, in the order given; the state of a rule is indexed alike.
        param_groups: The groups, each a mapping of ``params`` and the hyperparameters.
        t: The number of steps that the optimizer has taken.
        skipped: The number of steps that it has not taken, for gradients that were not finite.

    A step is all or nothing: gradients are checked before anything changes. It writes into the parameters' own
    buffers. A parameter whose ``grad`` is None is skipped, and neither its state nor its own count of steps moves.
    Half-precision parameters are updated in float32, and so is their state kept.

    Raises:
        TypeError: ``params`` is no iterable of floating Tensors, a hyperparameter is unknown or no number, or a keyword
            is for rules.
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
    groups: Mapping[str, Mapping[str, Any]] | None = _option(default=None, kw_only=True)
    decay: str = _option(default="decoupled", kw_only=True)
    on_nonfinite: str = _option(default="propagate", kw_only=True)
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
        self,
        params: Params,
        *args: Any,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str = "decoupled",
        on_nonfinite: str = "propagate",
        **kwargs: Any,
    ) -> None:
        who = type(self).__name__
        if state_dtype not in (None, "bfloat16", "int8"):
            raise ValueError(sentence(who, "state_dtype must be None, 'bfloat16' or 'int8'", got=state_dtype))
        self.defaults = self._declaration.bind(args, kwargs)
        self.engine = choose(who, engine).name
        self.state_dtype = state_dtype
        self.decay = one_of(who, "decay", decay, DECAYS)
        self.on_nonfinite = one_of(who, "on_nonfinite", on_nonfinite, ("propagate", "raise", "skip"))
        if self.rule is None and (state_dtype, decay, on_nonfinite) != (None, "decoupled", "propagate"):
            rule, hint = "state_dtype, decay and on_nonfinite are for rules", "do it in step()"
            raise TypeError(sentence(who, rule, hint=hint))
        self.params = []
        self.param_groups: list[ParamGroup] = []
        self.skipped = 0
        self._clock = Clock(0)
        self._slots: list[Slot] = []
        self._plan: Plan | None = None
        by_name = patterns.read(who, {} if groups is None else groups)
        for entry in read_groups(who, params):
            self._add(entry, by_name)
        patterns.check(who, self._slots, by_name)
        if len(self.param_groups) == 1:  # the only group is the optimizer itself
            self.defaults.update(self.param_groups[0].own)
            self.param_groups[0].own = self.defaults
        for number, name in enumerate(self.rule.state if self.rule else ()):
            setattr(self, name, StateView(self._slots, number))

    @property
    def t(self) -> int:
        """The number of steps that the optimizer has taken."""
        return self._clock.t

    @t.setter
    def t(self, t: int) -> None:
        self._clock.t = t

    def step(self, *, measure: bool = False) -> Measures | None:
        """Update every parameter that has a gradient, in place.

        Args:
            measure: Whether to measure on the way, in the same pass over memory, how large the gradient, the update and
                the value of each parameter are.

        Returns:
            The measures by name of the parameter, if asked for and if the step was taken; else None.

        Raises:
            TypeError: A gradient is not floating. Nothing was changed.
            ValueError: A gradient has another shape than its parameter. Nothing was changed.
            FloatingPointError: A gradient is not finite, and ``on_nonfinite`` is ``"raise"``. Nothing was changed.
        """
        if self.rule is None:
            hint = "use SGD, AdaGrad, RMSProp or Adam, or override step()"
            raise NotImplementedError(sentence(type(self).__name__, "step() is left to subclasses", hint=hint))
        form = self._form()
        guard = "" if self.on_nonfinite == "propagate" else f"{type(self).__name__}.step"
        try:
            if self._plan is None or not self._plan.repeat(self.engine, form, guard, measured=measure):
                self._step_anew(form, guard, measured=measure)
        except NotFinite:
            if self.on_nonfinite != "skip":
                raise
            self.skipped += 1
            return None
        except Interrupted:
            self.t += 1
            raise
        self.t += 1
        return Measures(self._plan.measures if self._plan else ()) if measure else None

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for slot in self._slots:
            slot.tensor.grad = None

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters: a dict with ``params`` and any hyperparameter that is to differ from the optimizer's."""
        who = type(self).__name__
        if not isinstance(group, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(who, "a group must be a dict with 'params'", got=group))
        self._add(read_group(who, len(self.param_groups), group), {})
        self._plan = None
        if self.param_groups[0].own is self.defaults:  # it is the only group no longer
            self.param_groups[0].own = {}

    def current(self, name: str) -> Any:
        """Today's value of a hyperparameter, as the next step uses it; a group's is ``param_groups[0][name]``."""
        return getattr(self, self._declaration.spelled(name))

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer knows, as plain data: names, arrays, numbers; a snapshot, which training does not change.

        Its entries are ``algorithm``, ``state_dtype``, ``decay``, ``t``, ``skipped``, ``defaults`` (hyperparameters by
        name), ``groups``, ``steps`` and ``state`` (by the name of the parameter, or its position where it has none).
        What an optimizer in the imperative style keeps in attributes of its own is not in it: extend both methods.

        >>> from minima import Tensor
        >>> from minima.optim import RMSProp
        >>> optimizer = RMSProp([("w", Tensor([1.0, 2.0], requires_grad=True))])
        >>> optimizer.state_dict()["state"]
        {'w': {'cache': array([0., 0.], dtype=float32)}}
        """
        return state.dump(self, self._declaration, self._slots)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Take over what another optimizer of the same class knew: its hyperparameters, state and counts of steps.

        All of it, or nothing where anything does not fit. Parameters are found by name, in whatever order.

        Args:
            state_dict: What `state_dict` gave.
            strict: Whether parameters and groups must be the same. If not, those without counterpart stay as they are.

        Returns:
            The entries of the state that were missing, and those that were unexpected.

        Raises:
            TypeError: ``state_dict`` is not what an optimizer's `state_dict` gives.
            ValueError: It is that of another algorithm, or names, shapes or dtypes do not fit; all misfits are listed.
        """
        report = state.load(self, self._declaration, self._slots, state_dict, strict=strict)
        self._plan = None
        return report

    @classmethod
    def formula(cls, *, decay: str = "decoupled", **flags: Any) -> Formula:
        """The equations of the update, made from the rule itself: as plain ``text``, and, with SymPy, as ``latex``.

        Args:
            decay: How weight decay works, as in the constructor.
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
        return Formula(cls._trace(cls._declaration.bind((), flags), decay))

    @classmethod
    def explain(
        cls,
        *,
        dtype: str = "float32",
        state_dtype: str | None = None,
        parameters: int | None = None,
        decay: str = "decoupled",
        **flags: Any,
    ) -> "Explanation":
        """What the optimizer computes, keeps, costs and is compiled to, to be printed.

        Args:
            dtype: The dtype of the parameters: ``"float32"``, ``"float64"`` or ``"float16"``.
            state_dtype: How the state is kept, as in the constructor.
            parameters: A number of parameters whose step is to be timed too, besides four usual ones.
            decay: How weight decay works, as in the constructor.
            flags: As for ``formula``.

        >>> from minima.optim import SGD
        >>> explanation = SGD.explain()
        >>> explanation.bytes_moved, explanation.operations
        (20.0, {'mul': 4, 'add/sub': 2})
        """
        from minima.explain import Explanation  # it looks at everything, optimizers too

        traced = cls._trace(cls._declaration.bind((), flags), decay)
        return Explanation(
            cls, Optimizer, traced, flags, dtype=dtype, state_dtype=state_dtype, decay=decay, parameters=parameters
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of steps that each parameter has taken: what ``t`` is in its update."""
        return tuple(slot.t for slot in self._slots)

    def __repr__(self) -> str:
        values = "".join(f", {name}={value!r}" for name, value in self.defaults.items())
        return f"{type(self).__name__}({len(self.params)} parameters{values})"

    def _add(self, entry: Mapping[str, Any], by_name: patterns.Patterns) -> None:
        """Add the parameters of one group, further divided by patterns of their names."""
        who = type(self).__name__
        given = {name: value for name, value in entry.items() if name != "params"}
        own = self._declaration.values(who, given)
        slots = read_params(who, entry["params"], self._slots)
        for pattern, more, members in patterns.sort(slots, by_name):
            special = self._declaration.values(f"{who}, groups[{pattern!r}]", more)
            self.param_groups.append(ParamGroup(self._declaration, self.defaults, own | special, self._clock, members))
        self.params += [slot.tensor for slot in slots]
        self._slots += slots
        if self.rule is None:
            return
        bounds = {
            id(group): never_negative(lower(self._trace(group, self.decay)), self.hyperparameters, self.rule.state)
            for group in self.param_groups
        }
        for slot in slots:
            dtype, bounded = precision(slot.dtype), bounds[id(slot.group)]
            slot.state = tuple(
                allocate(self.state_dtype, number, slot.shape, dtype, first, signed=name not in bounded)
                for number, (name, first) in enumerate(self.rule.state.items())
            )

    def _form(self) -> tuple[Any, ...]:
        """What decides which programs a step runs."""
        if not self._declaration.flags:
            return (self.decay,)
        return (self.decay, *(self._declaration.form(group.value) for group in self.param_groups))

    def _step_anew(self, form: tuple[Any, ...], guard: str, *, measured: bool) -> None:
        """A step of whatever parameters have a gradient now; the plan for them is kept."""
        moving = [(slot, slot.tensor.grad) for slot in self._slots]
        grads = [self._checked(slot, grad.buffer) for slot, grad in moving if grad is not None]
        slots = [slot for slot, grad in moving if grad is not None]
        if not slots:
            self._plan = None
            return
        for slot in slots:
            self._check_buffer(slot)
        plan = self._plan
        if plan is None or plan.slots != slots or not plan.serves(self.engine, form):
            idle = [slot for slot, grad in moving if grad is None]
            programs = {id(group): lower(self._trace(group, self.decay)) for group in self.param_groups}
            plan = Plan(choose(type(self).__name__, self.engine), slots, idle, form, programs)
        if not plan.run(grads, guard, measured=measured):
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
        if not buffer.flags.writeable:
            rule = f"{slot} is read-only, and a step writes into it"
            raise ValueError(sentence(f"{type(self).__name__}.step", rule, hint="nothing was changed"))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": None}  # machine code is not copied: it is made again

    @classmethod
    def _trace(cls, values: Mapping[str, Any], decay: str = "decoupled") -> Trace:
        """The rule, traced for these hyperparameters (of them, only flags make a difference) and this way of decay."""
        if cls.rule is None:
            raise TypeError(sentence(cls.__name__, "an optimizer that overrides step() has no rule to read"))
        declaration = cls._declaration
        decay = one_of(cls.__name__, "decay", decay, DECAYS)
        return trace(cls.rule, declaration.coefficient, decay, declaration.form(values.__getitem__))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the state of a rule, and both spellings of weight decay

"""The optimizer: one interface for every algorithm, and all that algorithms have in common."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from numbers import Real
from typing import Any, ClassVar

from minima.autograd import Tensor
from minima.autograd.modes import enable_grad
from minima.autograd.tensor import drop_gradients
from minima.checks import dropped, integer
from minima.errors import sentence, speak_as
from minima.loading import LoadReport
from minima.optim import patterns
from minima.optim import state_dict as plain
from minima.optim.attributes import Attributes
from minima.optim.core.clock import MOST
from minima.optim.core.estimates import name_estimates, require_estimate
from minima.optim.core.stepped import Stepped
from minima.optim.core.stepper import Stepper
from minima.optim.core.variants import Variants
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.groups import ParamGroup, Params, StateView, read_group, read_groups, read_params
from minima.optim.host import Slot, TensorHost
from minima.optim.language.declaration import CHOICES, OPTIONS, Declaration, declare
from minima.optim.language.hyper import Hyper
from minima.optim.language.rule import Rule
from minima.optim.readable import Readable

__all__ = ["Optimizer"]

_FOR_RULES = ("state_dtype", *CHOICES, "rounding", "seed", "on_nonfinite")
"""The options that an optimizer in the imperative style does not have: its ``step()`` is its own."""


class Optimizer(Attributes, Stepped[Tensor], Readable):
    """The interface of all optimizers: ``step()`` updates the parameters, ``zero_grad()`` clears their gradients.

    Args:
        params: The parameters to optimize: a module, or an iterable of floating-point Tensors, of ``(name, Tensor)``
            pairs, or of groups: dicts with ``params`` and the hyperparameters that differ from the optimizer's.

    An algorithm is a subclass. Usually it declares hyperparameters and a pure function ``update``, the *rule*; this
    class adds weight decay ``param <- (1 - lr * wd) * param`` before the update, groups, checks, a formula, and all
    engines. Or, in the imperative style, it overrides ``step()`` and writes to ``p.data``.

    Any hyperparameter except a flag may be a function of the step: it is called with ``t``, the number of steps so far,
    and returns the value for the next step. `minima.optim.schedules` has the usual ones.

    Every constructor also takes these keywords. All except ``groups`` are attributes too: assignments are checked, and
    take effect in the next step; only ``state_dtype`` cannot change. An optimizer in the imperative style takes only
    ``engine`` and ``groups``:

        engine: The code that computes the steps: ``"fused"``, compiled code with the fewest possible passes over
            memory; ``"reference"``, NumPy, one operation after another. The default is the environment variable
            ``MINIMA_ENGINE``, or else the fused engine if llvmlite is installed and supports the rule. Both are
            bit-identical.
        state_dtype: Precision of the state: None, that of the computation; ``"bfloat16"``, 2 bytes per entry;
            ``"int8"``, 1 byte per entry and 4 more for every 256. The update is always computed in the precision of the
            parameter.
        groups: Hyperparameters by patterns of names, ``{"*.bias": {"weight_decay": 0}, "head.*": {"lr": 1e-2}}``. The
            first pattern that matches the name of a parameter applies.
        decay: Form of weight decay: ``"decoupled"``, ``param <- (1 - lr * wd) * param`` before the update;
            ``"independent"`` of the learning rate, ``param <- (1 - wd) * param``; ``"l2"``, the gradient of a penalty,
            ``grad <- grad + wd * param``. A group may have its own form. A rule with its own definition of decay
            accepts no other. Also accepted as ``decay_mode``, the name in `minima.jax`.
        maximize: Whether to ascend: to step with the negated gradient. A group may have its own value.
        cautious: Whether to mask the entries of a step whose sign disagrees with the current gradient, and to divide
            the other entries by their share, as in Liang et al., *Cautious Optimizers*, 2024, Algorithm 1. For rules
            that mark their direction. A group may have its own value.
        max_norm: Scale all gradients by one factor, so that their common norm is at most this; None means no clipping.
            This is `clip_grad_norm` within the step; it does not change the gradients themselves.
        ema_decay: Keep a moving average of each parameter, ``ema <- ema_decay * ema + (1 - ema_decay) * param``, in the
            state, at least in float32; `averaged` puts it into the parameters. It starts as the parameter. None means
            no average.
        rounding: Rounding of parameters in float16: ``"nearest"``, the default, which loses updates of less than half a
            unit in the last place; ``"stochastic"``, up or down at random, so that the expectation is exact;
            ``"master"``, to nearest, with a float32 copy in the state. If other code writes to a parameter, the copy
            follows.
        seed: Seed of the random numbers for stochastic rounding and low-precision state, which also depend on the step
            and on the position in the tensor; an integer, at least 0.
        on_nonfinite: What to do if a gradient or a loss contains an infinity or NaN: ``"propagate"`` it into the
            parameters; ``"raise"`` an error; ``"skip"`` the step for all parameters, and count it in ``skipped``.

    Attributes:
        params: All parameters, in the given order; the state of a rule has the same indices.
        param_groups: The groups, each a mapping of ``params`` and the hyperparameters.
        t: The number of steps that the optimizer has taken. steps: The number of steps that each parameter has taken,
            which is ``t`` in its update; see `set_steps`.
        skipped: The number of steps that were skipped because of nonfinite gradients.
        measures: The measurements of the last ``step(measure=True)``.

    Gradients are checked before anything changes, so an error leaves all parameters unchanged. A step updates the
    parameters in place. A parameter whose ``grad`` is None is skipped; its state and its step count do not change.
    Half-precision parameters are updated in float32, and their state is in float32. State that a rule does not use,
    such as an average without momentum, is not kept, and reads as its initial value.

    Raises:
        TypeError: ``params`` is not an iterable of floating-point Tensors, a hyperparameter is unknown or not a number,
            or a keyword is only for rules.
        ValueError: ``params`` is empty or contains a Tensor twice, or a hyperparameter is out of its range.

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

    hyperparameters: ClassVar[Mapping[str, Hyper]] = {}
    """The declared hyperparameters by name, in the order of the constructor."""
    rule: ClassVar[Rule | None] = None
    """The rule that ``update`` declares; None for an optimizer in the imperative style."""
    _declaration: ClassVar[Declaration] = Declaration("Optimizer", {}, decays=False)
    _variants: ClassVar[Variants | None] = None
    __signature__ = _declaration.signature()

    _tensor_type = Tensor
    _said: frozenset[str] = frozenset()
    """The hyperparameters of whose defaults nobody is to be warned: they were given, or somebody was."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declare(cls, Optimizer)
        cls._variants = Variants(cls.rule, cls._declaration) if cls.rule else None
        name_estimates(cls, cls.rule, cls._variants)

    def __init__(
        self,
        params: Params = None,  # pyright: ignore[reportArgumentType] - left out, the subclass asks for it by its own name
        *args: Any,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        who = type(self).__name__
        chosen = {name: kwargs[name] for name in CHOICES if name in kwargs}
        given = {name: kwargs.pop(name, default) for name, default in OPTIONS.items() if name != "groups"}
        if self.rule is None and any(given[name] != OPTIONS[name] for name in _FOR_RULES):
            rule, hint = f"{', '.join(_FOR_RULES)} are for rules", "do it in step()"
            raise TypeError(sentence(who, rule, hint=hint))
        given = {name: value for name, value in given.items() if name not in CHOICES}
        thread_count()  # complains of the environment now, and not in the first step
        self.defaults = self._declaration.bind(args, kwargs | chosen if self.rule else kwargs)
        self._options: dict[str, Any] = {}
        self._host = TensorHost(self._variants, self._options) if self._variants else None
        self._stepper = Stepper(self._host)
        for name, value in given.items():
            if self.rule is not None or name not in _FOR_RULES:
                setattr(self, name, value)
        self.params = ()
        self.param_groups: tuple[ParamGroup, ...] = ()
        self._slots: list[Slot] = []
        self._by_id: dict[int, Slot] = {}
        self._by_key: dict[str, Slot] = {}
        by_name = patterns.read(who, {} if groups is None else groups)
        self._said = frozenset(map(self._declaration.spelled, kwargs) if self.rule else ())
        for entry in read_groups(who, params):
            self._add(entry, by_name)
        patterns.check(who, self._slots, by_name)
        if len(self.param_groups) == 1:  # the only group is the optimizer itself
            self.defaults.update(self.param_groups[0].own)
            self.param_groups[0].own = self.defaults
        if self.rule is not None and self._host is not None:
            for name, first in self.rule.state.items():
                self.__dict__[name] = StateView(
                    self._slots, name, first, self.rule.ranks[name], self._host.shared_state
                )

    @property
    def t(self) -> int:
        """The number of steps that the optimizer has taken. An assignment changes this count, which schedules use.

        The counts of the parameters, which are ``t`` in their updates, are set by `set_steps`.
        """
        return self._stepper.clock.t

    @t.setter
    def t(self, t: int) -> None:
        self._stepper.clock.t = integer(type(self).__name__, "t", t, high=MOST)

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False) -> Any:
        """Update every parameter that has a gradient, in place.

        Args:
            closure: A function that computes the gradients and returns the loss; called once, before the update.
            loss: The loss of this step, a number or a Tensor with one element: of the batch that the gradients come
                from, before the step. Some rules, such as `MoMo`, need it. For ``on_nonfinite``, a nonfinite loss
                counts like a nonfinite gradient. The return value of ``closure`` replaces it.
            measure: Whether to compute the norms of the gradient, the update and the value of each parameter, in the
                same pass over memory, for ``measures``.

        Returns:
            The return value of ``closure``, or else ``loss``.

        Raises:
            TypeError: A gradient is not floating-point, ``closure``, ``loss`` or ``measure`` has the wrong type, or the
                rule needs the loss and there is none. Nothing was changed.
            ValueError: A gradient and its parameter differ in shape, the memory of a parameter has changed, or a
                function of the step returns a value out of range. Nothing was changed.
            FloatingPointError: A gradient is not finite, and ``on_nonfinite`` is ``"raise"``. Nothing was changed.
            RuntimeError: Another thread is stepping the optimizer, or the parameters do not hold the weights to train.
                Nothing was changed.
        """
        if self.rule is None:
            hint = "use one of minima.optim's, such as Adam, or override step()"
            raise NotImplementedError(sentence(type(self).__name__, "step() is left to subclasses", hint=hint))
        if closure is not None:
            if not callable(closure):  # what users pass is not typed
                rule = "closure must be a function that returns the loss"
                raise TypeError(
                    sentence(f"{type(self).__name__}.step", rule, got=closure, hint="write step(loss=loss)")
                )
            self._stepper.require_own()
            with enable_grad():
                loss = closure()
        known = self._options
        guard = known["on_nonfinite"]
        number = None
        if loss is not None and (guard != "propagate" or self.rule.needs_loss):
            number = self._number(loss)
        self._stepper.begin()
        try:
            self._stepper.step(guard, known["seed"], measure, number)
        finally:
            self._stepper.end()
        return loss

    def update_estimate(self) -> None:
        """Update an estimate in the state, such as a curvature, from the current gradients; no step is taken.

        For rules with a function ``estimate``, such as `SophiaG`: call it as often as the rule requires, with gradients
            that were computed for it, and clear them before computing those of the next step. A parameter whose
            ``grad`` is None is skipped. Parameters and step counts do not change. ``on_nonfinite`` applies to estimates
            too. Each state that changes gives a second name to the method: ``update_hessian`` for ``hessian``.

        Raises:
            TypeError: The rule has no estimates, or a gradient is not floating-point. Nothing was changed.
            ValueError: A gradient has another shape than its parameter. Nothing was changed.
            FloatingPointError: A gradient is not finite, and ``on_nonfinite`` is ``"raise"``. Nothing was changed.
            RuntimeError: Another thread is stepping the optimizer, or the parameters do not hold the weights to train.
                Nothing was changed.
        """
        who = f"{type(self).__name__}.update_estimate"
        require_estimate(who, self.rule)
        self._stepper.begin(who)
        try:
            self._stepper.estimate("update_estimate", self._options["on_nonfinite"], self._options["seed"])
        finally:
            self._stepper.end()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradient of every parameter to None.

        Args:
            set_to_none: True, PyTorch's default, is the only allowed value.

        Raises:
            TypeError: ``set_to_none`` has another value.
        """
        dropped(f"{type(self).__name__}.zero_grad", set_to_none)
        drop_gradients(self.params)

    def averaged(self) -> AbstractContextManager[None]:
        """Within ``with optimizer.averaged():`` the parameters hold their moving averages; then they are restored.

        The averages are those of ``ema_decay``; a parameter without an average does not change. If ``ema_decay`` is
        switched on again after steps without it, the average starts again. Without ``ema_decay``, rules with weights to
        evaluate (see `eval`) or with their own average, such as `ASGD`, use these.

        Raises:
            TypeError: The class overrides ``step()``, and has no rule.
            ValueError: No group has an ``ema_decay``.
            RuntimeError: Another thread is stepping the optimizer.

        >>> from minima import Tensor
        >>> from minima.optim import SGD
        >>> w = Tensor([0.0], requires_grad=True)
        >>> optimizer = SGD([w], lr=1.0, ema_decay=0.75)
        >>> w.grad = Tensor([-1.0])
        >>> optimizer.step()
        >>> with optimizer.averaged():
        ...     w
        Tensor([0.25], requires_grad=True)
        >>> w
        Tensor([1.], requires_grad=True)
        """
        who = f"{type(self).__name__}.averaged"
        if self.rule is None:
            rule, hint = "an optimizer that overrides step() keeps no averages", "use minima.optim.EMA"
            raise TypeError(sentence(who, rule, hint=hint))
        return self._stepper.averaged(who)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group of parameters, from the next step on.

        Args:
            group: A dict with ``params`` and the hyperparameters that differ from the optimizer's.

        Raises:
            TypeError: It is not a dict, its ``params`` are not floating-point Tensors, or it has an entry that is not a
                hyperparameter. Nothing was changed.
            ValueError: It has no ``params``, one of them is in a group already, or a hyperparameter is out of its
                range. Nothing was changed.
        """
        who = type(self).__name__
        if not isinstance(group, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(who, "a group must be a dict with 'params'", got=group))
        self._add(read_group(who, len(self.param_groups), group), {})
        if self.param_groups[0].own is self.defaults:  # it is the only group no longer
            self.param_groups[0].own = {}

    def current(self, name: str) -> Any:
        """The current value of a hyperparameter, for the next step; that of a group is ``param_groups[0][name]``.

        Raises:
            TypeError: There is no hyperparameter of this name.
        """
        return getattr(self, self._declaration.spelled(name))

    def state_dict(self) -> dict[str, Any]:
        """The whole state as plain data: names, arrays and numbers; a snapshot, which training does not change.

        Its entries are ``algorithm``, ``state_dtype``, ``t``, ``skipped``, ``defaults`` (all entries of a group by
        name), ``rounding``, ``seed``, ``groups``, ``steps`` and ``state`` (by the name of the parameter, or its
        position if it has no name), ``new`` (parameters whose state no step has used) and, if they exist, ``shared``
        (state that all parameters share) and ``train_mode`` (whether the parameters held the training weights).
        Attributes of an optimizer in the imperative style are not included: extend both methods.

        >>> from minima import Tensor
        >>> from minima.optim import RMSProp
        >>> optimizer = RMSProp([("w", Tensor([1.0, 2.0], requires_grad=True))])
        >>> optimizer.state_dict()["state"]
        {'w': {'cache': array([0., 0.], dtype=float32)}}
        """
        return plain.dump(self, self._declaration, self._slots, self._stepper)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Load the hyperparameters, the state and the step counts of another optimizer of the same class.

        If any part does not fit, nothing is loaded. Parameters are found by name, in any order.

        Args:
            state_dict: The result of `state_dict`.
            strict: Whether parameters and groups must be the same. If not, those without a counterpart do not change.

        Returns:
            The missing and the unexpected entries of the state.

        Raises:
            TypeError: ``state_dict`` is not the state dict of an optimizer.
            ValueError: It belongs to another algorithm, or names, shapes or dtypes do not fit; all mismatches are
                listed.
        """
        return self._prepare_load(state_dict, strict)()

    def _state_views(self) -> dict[str, Any]:
        return plain.dump(self, self._declaration, self._slots, self._stepper, copies=False)

    def _prepare_load(self, state_dict: Mapping[str, Any], strict: bool = True) -> Callable[[], LoadReport]:
        write = plain.prepare(self, self._declaration, self._slots, state_dict, self._stepper, strict=strict)

        def take_over() -> LoadReport:
            report = write()
            self._replan()
            return report

        return take_over

    def _number(self, loss: Any) -> float:
        """What a loss is as a number."""
        one: Any = loss.item() if getattr(loss, "size", 0) == 1 else loss
        if not isinstance(one, Real):
            rule = "loss must be a number, or a Tensor of one"
            raise TypeError(sentence(f"{type(self).__name__}.step", rule, got=loss, hint="nothing was changed"))
        return float(one)

    def _add(self, entry: Mapping[str, Any], by_name: patterns.Patterns) -> None:
        """Add the parameters of one group, further divided by patterns of their names."""
        who = type(self).__name__
        given = {name: value for name, value in entry.items() if name != "params"}
        own = self._declaration.values(who, given)
        slots = read_params(who, entry["params"], self._known, self._by_key)
        clock, groups = self._stepper.clock, list[ParamGroup]()
        for pattern, more, members in patterns.sort(slots, by_name):
            special = self._declaration.values(f"{who}, groups[{pattern!r}]", more)
            said = self._said | own.keys() | special.keys()
            if self.rule is not None and patterns.warn(who, self._declaration.hypers, said, members, 4):
                self._said |= self._declaration.hypers.keys()
            groups.append(ParamGroup(self._declaration, self.defaults, own | special, clock, members))
        if self._host is not None:
            for slot in slots:
                self._host.settle(slot, self._host.program(slot, slot.values.look(clock.t).variant))
        self.__dict__.update(
            params=(*self.params, *(slot.tensor for slot in slots)), param_groups=(*self.param_groups, *groups)
        )
        self._slots += slots
        self._by_id.update((id(slot.tensor), slot) for slot in slots)
        self._by_key.update((slot.key, slot) for slot in slots)
        self._stepper.add(slots, [group.watched for group in groups])

    @property
    def _known(self) -> dict[int, Slot]:
        """Every slot by the id of its Tensor."""
        if len(self._by_id) < len(self._slots):  # this is a copy, whose Tensors have other ids
            self._by_id = {id(slot.tensor): slot for slot in self._slots}
        return self._by_id

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_by_id": {}}

    def _replan(self) -> None:
        """Prepare the next step anew: something that it depends on has changed."""
        self._stepper.forget()

    def _held_stepper(self) -> Stepper:
        return self._stepper

    def _renewed_stepper(self) -> Stepper:
        return self._stepper

    def _read_counts(self) -> None:
        pass  # there are no other counts than the stepper's

    def _tell_counts(self) -> None:
        pass

    def _switch_weights(self, who: str, *, train_mode: bool) -> None:
        if self.rule is not None:
            self._stepper.switch(who, train_mode=train_mode)


speak_as(Optimizer)

"""The optimizer of PyTorch that a rule of minima makes: PyTorch's habits, minima's update."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import torch

from minima import optim
from minima.errors import sentence, speak_as
from minima.optim import patterns
from minima.optim.core.estimates import name_estimates, require_estimate
from minima.optim.core.variants import Variants
from minima.optim.engines.cpu.threads import thread_count
from minima.torch.capture import refuse
from minima.torch.counting import check, estimate, take, takes_scaled
from minima.torch.dialect import DECAY, FLAG, Dialect
from minima.torch.holdings import Holdings
from minima.torch.loss import loss_number
from minima.torch.naming import divided, listed
from minima.torch.private import compiled_never, hooked, is_beginning, is_made_by_zero, is_watched, watched
from minima.torch.readable import Readable
from minima.torch.sharding import Shards
from minima.torch.signature import OPTIONS, Params, constructor, described
from minima.torch.stateful import Stateful
from minima.torch.values import GroupValues

__all__ = ["Optimizer"]


class Optimizer(Stateful, Readable):
    """The base class of all optimizers of `minima.torch`: a rule of `minima.optim` with PyTorch's interface.

    Args:
        params: An iterable of the tensors to optimize; or of pairs of name and tensor, as ``named_parameters()``
            returns them; or a model, which is short for its ``named_parameters()``; or groups: dicts with ``params``
            and the hyperparameters that differ from the optimizer's.

    Every constructor also takes these keywords. All except ``groups`` are attributes too:

        engine: The code that computes the steps. ``"fused"``, compiled code with the fewest possible passes over
            memory, between which PyTorch multiplies matrices, is the default on the CPU and on NVIDIA GPUs (Volta and
            later). ``"torch"``, PyTorch's operations, is the default on other devices; ``"reference"`` is NumPy. On
            the CPU, ``"torch"`` is also the default for rules with rows, columns and matrices if a tensor is not
            contiguous or is a batch of matrices to PyTorch, and for matrix products together with totals over all
            parameters, as in Muon with ``max_norm``; on a GPU also for rules that are not elementwise, for
            measurements, and, without ``capturable``, for groups with a hyperparameter that is a tensor on the GPU.
            ``engines`` shows the choice and the reason.
        state_dtype: Precision of the state. None, the default: bfloat16 for parameters in bfloat16, otherwise that of
            the computation. ``"float32"``: that of the computation, at least float32. For real parameters also
            ``"bfloat16"``, and ``"int8"`` with the engines ``"fused"`` and ``"reference"``.
        groups: Hyperparameters by patterns of names, ``{"*.bias": {"weight_decay": 0}, "head.*": {"lr": 1e-2}}``: the
            first pattern that matches the name of a parameter applies. ``params`` must have names.
        decay: Form of weight decay: ``"decoupled"``, ``param <- (1 - lr * weight_decay) * param`` before the update;
            ``"independent"`` of the learning rate, ``param <- (1 - weight_decay) * param``; ``"l2"``, the gradient of a
            penalty, ``grad <- grad + weight_decay * param``. The default is PyTorch's form for PyTorch's algorithms,
            and decoupled for all others. A group may have its own form. A rule with its own definition of decay accepts
            no other. Also accepted as ``decay_mode``, the name in `minima.jax`.
        maximize: Whether to ascend: to step with the negated gradient. A group may have its own value.
        cautious: Whether to mask the entries of a step whose sign disagrees with the gradient, and to divide the other
            entries by their share. A group may have its own value.
        max_norm: Scale all gradients by one factor, so that their common norm is at most this, like
            ``clip_grad_norm_``, but within the step: the gradients themselves do not change, and nothing is added to
            the norm (there 1e-6, which matters for a tiny norm). The same in all groups.
        ema_decay: Keep a moving average of each parameter, ``ema <- ema_decay * ema + (1 - ema_decay) * param``, in the
            state, at least in float32; `averaged` puts it into the parameters. It starts as the parameter. A group may
            have its own value.
        rounding: Rounding of parameters in half precision, after a computation in float32: ``"stochastic"``, up or down
            at random, so that the expectation is exact, the default for bfloat16; ``"nearest"``, the default for
            float16; ``"master"``, to nearest, with a float32 copy in the state. Rounding to nearest loses updates of
            less than half a unit in the last place.
        seed: Seed of the random numbers for stochastic rounding, which also depend on the step and on the position in
            the tensor.
        on_nonfinite: What to do if a gradient or a loss contains an infinity or NaN: ``"propagate"`` it into the
            parameters; ``"raise"`` an error, for which each step waits for a GPU; ``"skip"`` the step for all
            parameters, on all devices and in all processes that hold shards of them, and count it in ``skipped``.
        capturable: Whether a CUDA graph may record steps. This needs compiled code for all parameters, on one NVIDIA
            GPU. The step counts are then kept there; hyperparameters that are tensors are read in each replay, and
            numbers are those of the recording. Take one step of the same kind before you record. No hyperparameter may
            be a function of the step, and ``on_nonfinite`` not ``"raise"``. On the CPU it has no effect. An entry of
            groups for the algorithms that have it there in PyTorch.

    Any hyperparameter except a flag may also be a function of the step: it is called with ``t``, the number of steps of
    the optimizer, and returns the value for the next step. `minima.optim.schedules` has the usual ones. The group shows
    the current number; a number that you or a scheduler write to the group replaces the function. All hyperparameters
    except ``max_norm`` and ``ema_decay`` may also be tensors with one element.

    Changes between two steps take effect: hyperparameters and parameters in groups, groups, entries of the state, step
    counts changed in place, memory that moved. A parameter whose gradient is None does not change, and neither do its
    state and its step count.

    Attributes:
        t: The number of steps that the optimizer has taken; that of a parameter is ``state[param]["step"]``.
        skipped: The number of steps that ``on_nonfinite="skip"`` skipped.
        measures: The measurements of the last ``step(measure=True)``.
        engines: For every device, the code that updates the parameters there, and the reason.

    Hyperparameters are attributes too, if all groups have the same value: ``optimizer.lr = 0.1`` sets it in all groups.
    The keywords except ``state_dtype`` may be assigned at any time; ``decay``, ``maximize`` and ``cautious`` then apply
    to all groups.

    Raises:
        TypeError: A parameter is not a floating-point or complex tensor, or a hyperparameter is unknown or not a
            number.
        ValueError: ``params`` is empty, or a hyperparameter is out of its range.
    """

    rule: ClassVar[type[optim.Optimizer]]
    """The optimizer of `minima.optim` whose rule this one runs."""
    _said: frozenset[str] = frozenset()
    """The hyperparameters of whose defaults nobody is to be warned: they were given, or somebody was."""

    def __init_subclass__(cls, dialect: Dialect | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if dialect is None:  # a subclass of one that has a rule
            return
        assert dialect.rule.rule is not None
        cls.rule, cls._dialect = dialect.rule, dialect
        cls._variants = Variants(dialect.rule.rule, dialect.declaration)
        name_estimates(cls, dialect.rule.rule, cls._variants)
        cls.__init__ = constructor(cls, dialect)
        cls.__doc__ = described(dialect)

    def __init__(self, params: Params, *args: Any, **kwargs: Any) -> None:
        self._concrete()

    def _make(
        self, params: Any = None, *args: Any, groups: Mapping[str, Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        """What every constructor does."""
        who, dialect = type(self).__name__, self._dialect
        own = [name for name in OPTIONS if name not in dialect.entries]
        given = {name: kwargs.pop(name) for name in own if name in kwargs}
        if DECAY not in dialect.entries:  # None stands for what PyTorch has
            kwargs = {name: x for name, x in kwargs.items() if x is not None or dialect.spelled(name) != DECAY}
        thread_count()  # complains of the environment now, and not in the first step
        self._options: dict[str, Any] = {"is_partial": is_made_by_zero()}
        self._held = Holdings(self._variants, dialect, self._options)
        self._said = frozenset(kwargs)
        for name in own:
            setattr(self, name, given.get(name, getattr(Optimizer, name)))
        params = listed(who, params)
        if groups is not None:
            params = divided(who, params, groups)
            for special in groups.values():
                dialect.translated(special, strict=True)
        super().__init__(params, dialect.bind(args, kwargs))
        check(self._held)
        self._is_made = True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: a dict with ``params`` and the hyperparameters that differ from the optimizer's."""
        said = self._said
        if isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            if "params" not in param_group:
                hint = f"it has {', '.join(map(str, param_group)) or 'nothing'}"
                raise ValueError(sentence(type(self).__name__, "a group must have 'params'", hint=hint))
            said |= param_group.keys()
            given, param_group = param_group, self._dialect.translated(param_group, defaults=self.defaults)
            param_group["params"] = listed(type(self).__name__, given["params"])
            if (
                DECAY in self.defaults
                and DECAY not in param_group
                and {DECAY, FLAG} & {*map(self._dialect.spelled, given)}
            ):
                param_group[DECAY] = self._dialect.way(param_group)
                param_group |= {FLAG: None} if FLAG in self.defaults else {}
        # PyTorch goes through all groups for each new one. The first tells it whether there are names; `enlist` finds a
        # parameter that is here already.
        first: Any = SimpleNamespace(defaults=self.defaults, param_groups=self.param_groups[:1])
        torch.optim.Optimizer.add_param_group(first, param_group)
        group = first.param_groups[-1]
        held = self._current() if self._is_made else self._held  # which would go through all groups too
        held.enlist(GroupValues(self._dialect, group), self.state)
        self.param_groups.append(group)
        hypers, added = self._dialect.declaration.hypers, held.slots[len(held.slots) - len(group["params"]) :]
        if patterns.warn(type(self).__name__, hypers, said | self._dialect.fixed.keys(), added, 6):
            self._said |= hypers.keys()

    @hooked
    def step(  # pyright: ignore[reportIncompatibleMethodOverride] - with keywords that PyTorch's have not
        self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False
    ) -> Any:
        """Update every parameter that has a gradient, in place.

        Args:
            closure: A function that computes the gradients and returns the loss; called once, before the update.
            loss: The loss of this step, a number or a tensor with one element: of the batch that the gradients come
                from, before the step, and not scaled by a ``GradScaler``. Some rules, such as `MoMo`, need it, and wait
                for the device that computes it, unless compiled code there reads it. For ``on_nonfinite``, a nonfinite
                loss counts like a nonfinite gradient. The return value of ``closure`` replaces it.
            measure: Whether to compute the norms of the gradient, the update and the value of each parameter, for
                ``measures``.

        Returns:
            The return value of ``closure``, or else ``loss``.

        Raises:
            TypeError: A gradient is sparse, or has the wrong dtype; or the rule needs the loss and there is none.
                Nothing was changed.
            ValueError: A gradient has another shape, or is elsewhere, or state does not fit. Nothing was changed.
            FloatingPointError: A gradient is not finite, and ``on_nonfinite`` is ``"raise"``. Nothing was changed.
            RuntimeError: The memory of a parameter was freed, another thread is stepping the optimizer, the parameters
                do not hold the weights to train, or a CUDA graph is being captured that cannot record the step. Nothing
                was changed.
        """
        if torch.compiler.is_compiling():
            return self._uncompiled_step(closure, loss, measure)
        if closure is None and not self.state and self._only_begins():
            return loss
        if self._is_watched():
            # Hooks are shown the arguments that were given, and no others.
            given: tuple[Any, ...] = () if closure is None else (closure,)
            more: dict[str, Any] = {"loss": loss, "measure": measure} if measure or loss is not None else {}
            return self._watched_step(*given, **more)
        return self._step(closure, loss=loss, measure=measure)

    @compiled_never
    def _uncompiled_step(self, closure: Callable[[], Any] | None, loss: Any, measure: bool) -> Any:
        """A step out of a function that is being compiled: machine code is there already."""
        return self.step(closure, loss=loss, measure=measure)

    @compiled_never
    def update_estimate(self) -> None:
        """Update an estimate in the state, such as a curvature, from the current gradients; no step is taken.

        For rules with a function ``estimate``, such as `SophiaG`: call it as often as the rule requires, with gradients
            that were computed for it, and clear them before computing those of the next step. A parameter whose
            ``grad`` is None is skipped. Parameters and step counts do not change, and hooks are not called.
            ``on_nonfinite`` applies to estimates too. Each state that changes gives a second name to the method:
            ``update_hessian`` for ``hessian``.

        Raises:
            TypeError: The rule has no estimates, or a gradient is sparse or has the wrong dtype. Nothing was changed.
            ValueError: A gradient has another shape, or is elsewhere, or state does not fit. Nothing was changed.
            FloatingPointError: A gradient is not finite, and ``on_nonfinite`` is ``"raise"``. Nothing was changed.
            RuntimeError: Another thread is stepping the optimizer, the parameters do not hold the weights to train, or
                a CUDA graph is being captured. Nothing was changed.
        """
        who = f"{type(self).__name__}.update_estimate"
        require_estimate(who, self._variants.rule)
        refuse(who, self._held, is_step=False)
        stepper = self._held.stepper
        stepper.begin(who)
        try:
            held = self._current()
            estimate(held, self._options["on_nonfinite"], self._options["seed"])
            held.remember(self.state)
        finally:
            stepper.end()

    @contextmanager
    def averaged(self) -> Generator[None]:
        """Within ``with optimizer.averaged():`` the parameters hold their moving averages; then they are restored.

        The averages are those of ``ema_decay``; a parameter without an average does not change. If ``ema_decay`` is
        switched on again after steps without it, the average starts again. Without ``ema_decay``, rules with weights to
        evaluate (see `eval`) or with their own average, such as `ASGD`, use these.

        Raises:
            ValueError: No group has an ``ema_decay``, or an average in the state does not fit its parameter.
            RuntimeError: Another thread is stepping the optimizer.

        >>> import torch
        >>> from minima.torch import SGD
        >>> w = torch.zeros(1, requires_grad=True)
        >>> optimizer = SGD([w], lr=1.0, ema_decay=0.75)
        >>> w.grad = torch.tensor([-1.0])
        >>> optimizer.step()
        >>> with optimizer.averaged():
        ...     w
        tensor([0.2500], requires_grad=True)
        >>> w
        tensor([1.], requires_grad=True)
        """
        who = f"{type(self).__name__}.averaged"
        with ExitStack() as block:
            with self._held.stepper.alone(who):  # what is held may be renewed
                held = self._current()
                held.read()
                block.enter_context(held.stepper.averaged(who))
            yield

    # How a step goes -------------------------------------------------------------------------------------------------

    def _is_watched(self) -> bool:
        """Whether someone has to hear of a step: a hook, or the profiler."""
        if type(self).step is not Optimizer.step:  # PyTorch has seen to the hooks of a step that a subclass overrides
            return False
        return is_watched(self)

    def _only_begins(self) -> bool:
        """Make the state and take no step, if a step is only called for to have the state, by zeros with lr 0."""
        lr = self.param_groups[0].get("lr", 0.0)
        if not isinstance(lr, torch.Tensor) and lr != 0 or not is_beginning():
            return False
        with self._held.stepper.alone(f"{type(self).__name__}.step"):
            held = self._current()
            held.host.begin([slot for slot in held.slots if slot.tensor.grad is not None])
        return True

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """What ``GradScaler`` asks for by this name: it then says in two attributes how many times too large gradients
        are, and whether to leave the step out."""
        return takes_scaled(self._current())

    def _step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False) -> Any:
        refuse(f"{type(self).__name__}.step", self._held, is_step=True, measure=measure)
        if closure is not None:
            if not callable(closure):
                rule, hint = "closure must be a function that computes the loss", "a loss is given as step(loss=loss)"
                raise TypeError(sentence(f"{type(self).__name__}.step", rule, got=cast(object, closure), hint=hint))
            self._held.stepper.require_own()
            with torch.enable_grad():
                loss = closure()
        stepper = self._held.stepper
        stepper.begin()
        try:
            held, known = self._current(), self._options
            guard = known["on_nonfinite"]
            told = self.__dict__.get("found_inf"), self.__dict__.get("grad_scale")
            if take(held, guard, known["seed"], measure, loss, told):
                held.remember(self.state)
                return loss
            is_asked_for = guard != "propagate" or self._variants.rule.needs_loss
            number = loss_number(f"{type(self).__name__}.step", loss) if is_asked_for and loss is not None else None
            if number is not None and (sharded := held.host.sharded()) is not None:
                shards = Shards(sharded)
                number = shards.mean(number) if self._variants.rule.needs_loss else shards.agreed(number)
            held.stepper.step(guard, known["seed"], measure, number)
            held.remember(self.state)
            held.show()
            return loss
        finally:
            stepper.end()

    _watched_step = watched(_step)


speak_as(Optimizer)

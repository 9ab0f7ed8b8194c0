"""The optimizer of PyTorch that a rule of minima makes: PyTorch's habits, minima's update."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from copy import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from minima import optim
from minima.checks import flag, integer, one_of
from minima.errors import sentence
from minima.optim import patterns
from minima.optim.core import options
from minima.optim.core.clock import MOST
from minima.optim.core.estimates import name_estimates, require_estimate
from minima.optim.core.measures import Measures
from minima.optim.core.variants import Variants
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.language.declaration import CHOICES
from minima.optim.language.formula import Formula
from minima.torch.capture import refuse
from minima.torch.checkpoint import Loaded, load, saved, with_counts_of_its_own
from minima.torch.counting import check, estimate, take, takes_scaled
from minima.torch.dialect import CAPTURABLE, DECAY, FLAG, Dialect
from minima.torch.holdings import Holdings
from minima.torch.host import ENGINES
from minima.torch.loss import loss_number
from minima.torch.naming import divided, listed
from minima.torch.portable import dump, prepare
from minima.torch.private import compiled_never, hooked, is_made_by_zero, is_watched, loading_hooks, watched
from minima.torch.sharding import Shards
from minima.torch.signature import OPTIONS, Params, constructor, described
from minima.torch.values import GroupValues
from minima.torch.worded import told, worded

if TYPE_CHECKING:
    from minima.explain import Explanation

__all__ = ["Optimizer"]


class Optimizer(torch.optim.Optimizer):
    """The base class of all optimizers of `minima.torch`: a rule of `minima.optim` with PyTorch's interface.

    Args:
        params: An iterable of the tensors to optimize; or of pairs of name and tensor, as ``named_parameters()``
            returns them; or a model, which is short for its ``named_parameters()``; or groups: dicts with ``params``
            and the hyperparameters that differ from the optimizer's.

    Every constructor also takes these keywords. All except ``groups`` are attributes too:

        engine: The code that computes the steps. ``"fused"``, compiled code with the fewest possible passes over
            memory, is the default on the CPU and on NVIDIA GPUs (Volta and later). ``"torch"``, PyTorch's operations,
            is the default on other devices; ``"reference"`` is NumPy. On the CPU, ``"torch"`` is also the default for
            rules with rows, columns and matrices if a tensor is not contiguous or is a batch of matrices to PyTorch,
            and for matrix products together with totals over all parameters, as in Muon with ``max_norm``; on a GPU
            also for rules that are not elementwise, for measurements, and, without ``capturable``, for groups with a
            hyperparameter that is a tensor on the GPU. ``engines`` shows the choice and the reason.
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
            parameters; ``"raise"`` an error; ``"skip"`` the step for all parameters, on all devices and in all
            processes that hold shards of them, and count it in ``skipped``.
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
    _dialect: ClassVar[Dialect]
    _variants: ClassVar[Variants]
    _said: frozenset[str] = frozenset()
    """The hyperparameters of whose defaults nobody is to be warned: they were given, or somebody was."""
    _is_made = False
    """Whether the constructor is done."""

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

    @property
    def t(self) -> int:
        """The number of steps that the optimizer has taken. An assignment changes this count, which schedules use.

        The counts of the parameters, in ``state[param]["step"]``, are set by `set_steps`. If a GPU counts, as with
        ``capturable=True``, reading this waits for the GPU.
        """
        self._held.read()
        return self._held.stepper.clock.t

    @t.setter
    def t(self, t: int) -> None:
        t, held = integer(type(self).__name__, "t", t, high=MOST), self._current()
        held.read()
        held.stepper.clock.t = t
        held.tell()
        held.show()

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of steps that each parameter has taken, which is ``t`` in its update."""
        held = self._current()
        held.read()
        return tuple(held.stepper.clock.counts.tolist())

    def set_steps(self, steps: int, params: torch.Tensor | Iterable[torch.Tensor] | None = None) -> None:
        """Set the step counts of parameters; ``t`` in their updates continues from there.

        Args:
            steps: The number of steps, at least 0 and below 2**62.
            params: The parameters, or a single one; by default all.

        Raises:
            TypeError: ``steps`` is not an integer.
            ValueError: It is out of its range, or one of ``params`` is not a parameter of the optimizer. Nothing was
                changed.
        """
        who = f"{type(self).__name__}.set_steps"
        steps = integer(who, "steps", steps, high=MOST)
        held = self._current()
        places = {slot.tensor: slot.place for slot in held.slots}
        given: Any = places if params is None else params
        given = cast(Any, [given]) if isinstance(given, torch.Tensor) else given
        wanted = list(cast(Iterable[Any], given)) if isinstance(given, Iterable) else [given]
        if not all(isinstance(param, torch.Tensor) and param in places for param in wanted):
            raise ValueError(sentence(who, "params must be parameters of this optimizer", hint="nothing was changed"))
        held.stepper.clock.set([places[param] for param in wanted], steps)

    @property
    def engines(self) -> dict[str, str]:
        """For every device, the code that updates the parameters there, and the reason.

        >>> import torch
        >>> from minima.torch import Adam
        >>> Adam([torch.zeros(2, requires_grad=True)]).engines
        {'cpu': 'fused: compiled code, in one pass over memory'}
        """
        return self._held.engines()

    @property
    def skipped(self) -> int:
        """The number of steps that were skipped because of nonfinite gradients."""
        self._held.read()
        return self._held.stepper.skipped

    @skipped.setter
    def skipped(self, skipped: int) -> None:
        skipped = integer(type(self).__name__, "skipped", skipped)
        self._held.read()
        self._held.stepper.skipped = skipped
        self._held.tell()

    @property
    def measures(self) -> Measures | None:
        """The measurements of the last ``step(measure=True)``; None if there was none."""
        return self._held.stepper.measures

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

    def train(self) -> None:
        """Put the training weights into the parameters, where they are from the start; see `eval`.

        Raises:
            RuntimeError: Another thread is stepping the optimizer, or the parameters hold their averages.
        """
        self._switch(f"{type(self).__name__}.train", train_mode=True)

    def eval(self) -> None:
        """Put the weights to evaluate into the parameters, until `train` is called; `step` raises an error meanwhile.

        This has an effect only for rules whose training weights differ from the weights to evaluate, such as
        `ScheduleFreeAdamW`. A state dict records which weights the parameters hold. No copy is kept, so `train`
        restores the training weights up to rounding; `averaged` restores them bit for bit.

        Raises:
            ValueError: A parameter, or its state, does not fit. Nothing was changed.
            RuntimeError: Another thread is stepping the optimizer, or the parameters hold their averages.
        """
        self._switch(f"{type(self).__name__}.eval", train_mode=False)

    def _switch(self, who: str, *, train_mode: bool) -> None:
        with self._held.stepper.alone(who):  # what is held may be renewed
            held = self._current()
            held.read()
            held.stepper.switch(who, train_mode=train_mode)

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

    def state_dict(self) -> dict[str, Any]:
        """The state in PyTorch's form: ``state`` by number of the parameter, and ``param_groups``.

        For an algorithm of ``torch.optim``, names and numbers are PyTorch's, and PyTorch can load it. If
        hyperparameters are functions of the step, their group has an entry ``functions`` with these and the optimizer's
        ``t``. For a rule with weights to evaluate, every group has an entry ``train_mode``: whether the parameters held
        the training weights.
        """
        held = self._current()
        state_dict = with_counts_of_its_own(super().state_dict())
        train_mode = held.stepper.train_mode if self._variants.rule.weights else None
        in_blocks = self._options["state_dtype"] == "int8"
        return saved(self._dialect, state_dict, held.groups, self.t, in_blocks=in_blocks, train_mode=train_mode)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the state of another optimizer of the same algorithm, all of it or nothing; its tensors are copied.

        It may be an optimizer of ``torch.optim``. If ``state_dict`` and this optimizer have unique names (from
        ``named_parameters()``), parameters are found by name, in any order; otherwise by position.

        Raises:
            ValueError: It belongs to another algorithm, requires an option that does not exist, or names, shapes, or
                entries of the state do not fit. Nothing was changed.
        """
        who = f"{type(self).__name__}.load_state_dict"
        state_dict = cast(dict[str, Any], copy(state_dict))
        before, after = loading_hooks(self)
        for hook in before.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        held = self._current()
        loaded = load(who, held.groups, held.host, state_dict)
        self._take(loaded)
        clock = self._held.stepper.clock
        if loaded.t is None and not clock.t:  # as PyTorch's state dicts say it
            clock.t = int(clock.counts.max(initial=0))
        for hook in after.values():
            hook(self)

    def _take(self, loaded: Loaded) -> None:
        """Take over what a state dict says."""
        held = self._held
        self.state.clear()
        self.state.update(loaded.state)
        for each, group, functions in zip(held.groups, loaded.groups, loaded.functions, strict=True):
            each.group.clear()
            each.group.update(group)
            each.functions = functions
        if loaded.t is not None:
            held.read()
            held.stepper.clock.t = loaded.t
            held.tell()
        if loaded.train_mode is not None:
            held.stepper.train_mode = loaded.train_mode
        self._held = held.renewed(self.param_groups, self.state)

    def _state_views(self) -> dict[str, Any]:
        """The state by the names of parameters, for `minima.save`."""
        return dump(f"{type(self).__name__}.state_dict", self._current(), copies=False)

    def _prepare_load(self, state_dict: Any, who: str = "") -> Callable[[], None]:
        """Check such state, for `minima.load`, and give what takes it over."""
        run, loaded = prepare(who or f"{type(self).__name__}.load_state_dict", self._current(), state_dict)

        def write() -> None:
            self._take(loaded)
            self._options |= {name: x for name, x in run.options.items() if x is not None}
            stepper, slots = self._held.stepper, self._held.slots
            stepper.clock.t, stepper.skipped = run.t, run.skipped
            for slot, name in zip(slots, run.steps, strict=True):
                slot.is_new = name in run.new
            self._held.show()

        return write

    def __getstate__(self) -> dict[str, Any]:
        functions = [each.active for each in self._current().groups]
        kept = {"t": self.t, "skipped": self.skipped, "measures": self.measures, "functions": functions}
        kept |= {"train_mode": self._held.stepper.train_mode}
        state = with_counts_of_its_own(super().__getstate__())  # who shares a tensor with a process moves its memory
        return state | {"_minima": {**self._options, **kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = dict(state.get("_minima", {}))
        self._options = {}
        self._held = Holdings(self._variants, self._dialect, self._options)
        super().__setstate__({name: value for name, value in state.items() if name != "_minima"})
        self.state = defaultdict(dict, self.state)
        for group in self.param_groups:  # pickles of earlier versions lack what was not there yet
            for name in CHOICES.keys() & self._dialect.entries.keys():
                group.setdefault(name, self._dialect.entries[name].default)
        functions, t, skipped = kept.pop("functions", ()), kept.pop("t", 0), kept.pop("skipped", 0)
        for name in OPTIONS:
            if name not in self._dialect.entries:
                setattr(self, name, kept.get(name, getattr(Optimizer, name)))
        self._held.stepper.clock.t, self._held.stepper.skipped = t, skipped
        self._held.stepper.measures = kept.get("measures")
        self._held.stepper.train_mode = kept.get("train_mode", True)
        self._held = self._held.renewed(self.param_groups, self.state)
        for each, own in zip(self._held.groups, functions, strict=False):
            each.functions = {name: (function, each.group[name]) for name, function in own.items()}
        self._is_made = True

    def __getattr__(self, name: str) -> Any:
        dialect: Dialect | None = getattr(type(self), "_dialect", None)
        entry = name if dialect is None else dialect.spelled(name)
        if (
            dialect is None
            or not (entry in dialect.entries or entry in dialect.open)
            or "param_groups" not in self.__dict__
        ):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._agreed(entry)

    def __setattr__(self, name: str, value: Any) -> None:
        dialect = self._dialect
        is_own = name in self.__dict__ or "_held" not in self.__dict__  # a subclass may call its own what it likes
        name = name if is_own else dialect.spelled(name)
        if not is_own and (name in dialect.entries or name in dialect.open):
            value = dialect.check(type(self).__name__, name, value)
            if name not in CHOICES:
                self._agreed(name)
            for group in (self.defaults, *self.param_groups):
                if name == DECAY:
                    dialect.set_way(group, value)
                elif name in dialect.open and value == CHOICES[name].default:
                    group.pop(name, None)
                else:
                    group[name] = value
            return
        if not is_own and type(self).__name__ == dialect.name and not hasattr(type(self), name):
            if name == "groups":
                hint = "write to the entries of param_groups"
                raise AttributeError(sentence(dialect.name, "groups is for the constructor alone", hint=hint))
            if meant := dialect.misspelt(name):
                rule, hint = f"there is no hyperparameter {name!r}", f"did you mean {meant}?"
                raise AttributeError(sentence(type(self).__name__, rule, hint=hint))
        if name in _KINDS and not isinstance(value, _KINDS[name][0]):
            raise TypeError(sentence(type(self).__name__, f"{name} must be a {_KINDS[name][1]}", got=value))
        super().__setattr__(name, value)

    def _agreed(self, name: str) -> Any:
        """What all groups say; an AttributeError if they differ."""
        groups: list[dict[str, Any]] = self.param_groups or [self.defaults]
        values: list[Any] = [self._dialect.chosen(group, name) for group in groups]
        if others := [i for i, value in enumerate(values) if not _equal(value, values[0])]:
            rule = f"{name} differs between groups: 0 has {values[0]!r}, {others[0]} has {values[others[0]]!r}"
            key = FLAG if name == DECAY and FLAG in groups[others[0]] else name
            hint = f"write optimizer.param_groups[{others[0]}][{key!r}]"
            raise AttributeError(sentence(type(self).__name__, rule, hint=hint))
        return values[0]

    @classmethod
    def formula(cls, **flags: Any) -> Formula:
        """The equations of the update, derived from the rule: as plain ``text`` and, with SymPy, as ``latex``.

        Args:
            flags: Arguments of the constructor that select a variant, as in ``Adam.formula(amsgrad=True)``;
                hyperparameters whose default 0 switches a term off; ``decay``, ``maximize`` and ``cautious``.

        >>> from minima.torch import RMSprop
        >>> print(RMSprop.formula(centered=True).text)
        grad = grad + weight_decay*param
        square_avg = alpha*square_avg + (1 - alpha)*grad**2
        grad_avg = alpha*grad_avg + (1 - alpha)*grad
        spread = maximum(square_avg - grad_avg**2, 0)
        param = param - lr/(sqrt(spread) + eps)*grad
        """
        dialect = cls._concrete()
        off = {entry.name: entry.default for entry in dialect.table if entry.words and entry.name != FLAG}
        return worded(dialect).formula(**off | told(dialect, flags))

    @classmethod
    def explain(
        cls,
        *,
        dtype: str = "float32",
        state_dtype: str | None = None,
        parameters: int | None = None,
        **flags: Any,
    ) -> "Explanation":
        """A description of the optimizer to print, as by `minima.optim.Optimizer.explain`.

        Args:
            dtype: The dtype of the parameters: ``"float32"``, ``"float64"`` or ``"float16"``.
            state_dtype: How the state is kept, as in the constructor.
            parameters: An additional number of parameters for which a step is timed.
            flags: As for ``formula``.
        """
        dialect = cls._concrete()
        given = told(dialect, flags)
        return worded(dialect).explain(dtype=dtype, state_dtype=state_dtype, parameters=parameters, **given)

    @classmethod
    def _concrete(cls) -> Dialect:
        """The words of the class; a TypeError where it is the one that all have in common."""
        if cls is Optimizer:
            rule, hint = "it is abstract", "use one of minima.torch's, such as Adam, or adapt() a rule"
            raise TypeError(sentence("minima.torch.Optimizer", rule, hint=hint))
        return cls._dialect

    # How a step goes -------------------------------------------------------------------------------------------------

    def _replan(self) -> None:
        """Prepare the next step anew: something that it depends on has changed."""
        self._held.stepper.forget()
        for slot in self._held.slots:
            self._held.host.choice(slot)  # complains where nothing can step it
        check(self._held)

    def _current(self) -> Holdings:
        """What the optimizer holds, with all that others have changed."""
        held = self._held
        if held.is_recorded and not held.is_ready(self.param_groups, self.state):
            held.host.refuse_plan()
        if self.state is not held.host.state or not held.has_groups(self.param_groups):
            held = self._held = held.renewed(self.param_groups, self.state)
        held.listen(self.state)
        return held

    def _is_watched(self) -> bool:
        """Whether someone has to hear of a step: a hook, or the profiler."""
        if type(self).step is not Optimizer.step:  # PyTorch has seen to the hooks of a step that a subclass overrides
            return False
        return is_watched(self)

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


_KINDS: dict[str, tuple[type, str]] = {"param_groups": (list, "list of groups"), "state": (MutableMapping, "dict")}
"""What may be assigned to the attributes that PyTorch's optimizers have."""


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, torch.Tensor) or isinstance(other, torch.Tensor):
        return value is other or bool(value == other)
    return type(value) is type(other) and value == other or not isinstance(value, bool) and value == other


def _engine(who: str, engine: Any) -> Any:
    return None if engine is None else one_of(who, "engine", engine, tuple(ENGINES))


class _Capturable(options.Option):
    """The option, where it is no entry of groups."""

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is not None and CAPTURABLE in optimizer._dialect.entries:
            return optimizer._agreed(CAPTURABLE)
        return super().__get__(optimizer, owner)


for _name, _option in {
    "engine": options.Option(None, _engine),
    "state_dtype": options.state_dtype("float32", "bfloat16", "int8"),
    "rounding": options.rounding(),
    "seed": options.seed(),
    "on_nonfinite": options.on_nonfinite(),
    CAPTURABLE: _Capturable(False, lambda who, value: flag(who, CAPTURABLE, value)),
}.items():
    setattr(Optimizer, _name, _option)
    _option.__set_name__(Optimizer, _name)

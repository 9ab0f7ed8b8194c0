"""The optimizer of PyTorch that a rule of minima makes: PyTorch's habits, minima's update."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import InitVar
from typing import Any, ClassVar, cast, dataclass_transform

import torch

from minima import optim
from minima.checks import integer, one_of
from minima.errors import sentence
from minima.optim.language.declaration import DECAYS, Declaration
from minima.optim.language.lowering import lower
from minima.optim.language.program import Program
from minima.optim.language.ranges import never_negative
from minima.optim.language.rule import Rule
from minima.optim.language.trace import Form, trace
from minima.torch.checkpoint import load, with_counts_of_its_own
from minima.torch.choice import ENGINES, choose
from minima.torch.declared import OPTIONS, describe, keyword, read_fields, signature
from minima.torch.group import Group, betas
from minima.torch.master import with_master
from minima.torch.memory import dense, here, is_spread, laid_out, spread_alike
from minima.torch.naming import divided
from minima.torch.plan import Member, Plan
from minima.torch.private import compiled_never, is_watched, loading_hooks
from minima.torch.soundness import check_memory, is_freed
from minima.torch.state import MASTER, STEP, Keeping
from minima.torch.twins import STATES
from minima.torch.values import Values, check

__all__ = ["Optimizer", "Params"]

Params = Iterable[torch.Tensor] | Iterable[tuple[str, torch.Tensor]] | Iterable[dict[str, Any]]
"""What an optimizer takes: tensors, pairs of name and tensor, or one dict for each group."""
_HALF = (torch.float16, torch.bfloat16)


def _given(*, default: Any = None, kw_only: bool = False) -> Any:
    """Declares an argument of every constructor that is no attribute to type checkers."""


@dataclass_transform(field_specifiers=(keyword, _given))
class _Declared:
    """Tells type checkers that annotated fields, in their order, are the arguments of the constructor."""


class Optimizer(_Declared, torch.optim.Optimizer):
    """What all optimizers of `minima.torch` have in common: a rule of `minima.optim`, with the habits of PyTorch.

    Args:
        params: The tensors to optimize, as an iterable; or pairs of name and tensor, as ``named_parameters()`` gives
            them; or groups, dicts with ``params`` and any hyperparameter that is to differ from the optimizer's.

    Every constructor also takes these keywords, which are attributes too (``groups`` apart):

        engine: What computes the steps. By default ``"fused"``, compiled code in one pass over memory, for tensors on
            the CPU, and ``"torch"``, PyTorch's own operations, for others; ``"reference"`` is NumPy.
        state_dtype: How state is kept: None, as it is computed; ``"bfloat16"`` or ``"int8"`` (on the CPU).
        groups: Hyperparameters by patterns of names, ``{"*.bias": {"weight_decay": 0}, "head.*": {"lr": 1e-2}}``: a
            parameter gets those of the first pattern that matches its name. ``params`` must have names.
        decay: How weight decay works: ``"decoupled"``, ``param <- (1 - lr * wd) * param`` before the update;
            ``"independent"`` of the learning rate, ``param <- (1 - wd) * param``; ``"l2"``, as the gradient of a
            penalty, ``grad <- grad + wd * param``.
        rounding: How results, which are computed in float32, are written to parameters in half precision:
            ``"stochastic"``, up with the probability that keeps the expectation, the default for bfloat16;
            ``"nearest"``, the default for float16; ``"master"``, to the nearest, with a copy in float32 in the state.
            Updates of less than half a unit in the last place are lost by rounding to the nearest.
        seed: What the random numbers of stochastic rounding depend on, besides the step and the place in the tensor.

    The gradient of a parameter may be None: then neither it nor its state nor its count of steps moves.

    Raises:
        TypeError: A parameter is no floating or complex tensor, or a hyperparameter is unknown or no number.
        ValueError: ``params`` is empty, or a hyperparameter is out of its range.
    """

    params: InitVar[Params] = _given()
    engine: str | None = keyword(default=None, kw_only=True)
    state_dtype: str | None = keyword(default=None, kw_only=True)
    groups: InitVar[Mapping[str, Mapping[str, Any]] | None] = _given(default=None, kw_only=True)
    decay: str = keyword(default="decoupled", kw_only=True)
    rounding: str | None = keyword(default=None, kw_only=True)
    seed: int = keyword(default=0, kw_only=True)
    rule: ClassVar[type[optim.Optimizer]]
    """The optimizer of `minima.optim` whose rule this one runs."""
    _declaration: ClassVar[Declaration]

    def __init_subclass__(cls, rule: type[optim.Optimizer] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rule is None:  # a subclass of one that has a rule
            return
        cls.rule = rule
        cls._declaration = declaration_of(rule)
        read_fields(cls, cls._declaration)
        cls.__signature__ = signature(cls._declaration)
        cls.__doc__ = describe(vars(cls).get("__doc__"), rule)

    def __init__(
        self, params: Params, *args: Any, groups: Mapping[str, Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        who = type(self).__name__
        options = {name: kwargs.pop(name, default) for name, default in OPTIONS.items()}
        self.engine = options["engine"]
        if self.engine is not None:
            one_of(who, "engine", self.engine, ENGINES)
        self.state_dtype = options["state_dtype"]
        if self.state_dtype not in (None, "bfloat16", "int8"):
            raise ValueError(sentence(who, "state_dtype must be None, 'bfloat16' or 'int8'", got=self.state_dtype))
        self.decay = one_of(who, "decay", options["decay"], DECAYS)
        self.rounding = options["rounding"]
        if self.rounding is not None:
            one_of(who, "rounding", self.rounding, ("stochastic", "nearest", "master"))
        self.seed = integer(who, "seed", options["seed"])
        self._plan: Plan | None = None
        if groups is not None:
            params = divided(who, params, groups)
            for written in (name for special in groups.values() for name in special):
                self._declaration.spelled(written)
        super().__init__(params, _bound(self._declaration, args, kwargs))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters: a dict with ``params`` and any hyperparameter that is to differ from the optimizer's."""
        if isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            param_group = _translated(self._declaration, param_group)
        super().add_param_group(param_group)
        self._plan = None
        try:
            self._check_params(self._named(self.param_groups[-1]))
        except Exception:
            del self.param_groups[-1]
            raise

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        """Update every parameter that has a gradient, in place.

        Args:
            closure: Computes the loss, and gradients, anew; called once, before the update.

        Returns:
            What ``closure`` returned.

        Raises:
            TypeError: A gradient is sparse, or not of the parameter's kind. Nothing was changed.
            ValueError: A gradient has another shape, or is elsewhere, or state does not fit. Nothing was changed.
        """
        if torch.compiler.is_compiling():
            return self._uncompiled_step(closure)
        if self._is_watched():
            return self._watched_step() if closure is None else self._watched_step(closure)
        return self._step(closure)

    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess] - so PyTorch knows that hooks are seen to

    @compiled_never
    def _uncompiled_step(self, closure: Callable[[], float] | None) -> float | None:
        """A step out of a function that is being compiled: machine code is there already."""
        return self.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """What PyTorch's own optimizers give: ``state`` by number of the parameter, and ``param_groups``."""
        return with_counts_of_its_own(super().state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what another optimizer of the same class knew, all of it or nothing; its tensors are copied.

        Parameters are found by name, in whatever order, where ``state_dict`` and this optimizer have names (made from
        ``named_parameters()``); else by their position.

        Raises:
            ValueError: Names, shapes, or what the state consists of do not fit; nothing was changed.
        """
        who = f"{type(self).__name__}.load_state_dict"
        state_dict = cast(dict[str, Any], copy(state_dict))
        before, after = loading_hooks(self)
        for hook in before.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        keepings = [self._keeping(Values(who, self._declaration, group).form) for group in self.param_groups]
        masters = {p: self._rounding(p) == "master" for group in self.param_groups for p in group["params"]}
        state, groups = load(who, self.param_groups, keepings, masters, state_dict, STATES)
        for group in groups:
            Values(who, self._declaration, group)
        self.state.clear()
        self.state.update(state)
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.clear()
            group.update(loaded)
        self._plan = None
        for hook in after.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {name: getattr(self, name) for name in OPTIONS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._plan = None
        super().__setstate__(state)

    # How a step goes -------------------------------------------------------------------------------------------------

    def _is_watched(self) -> bool:
        """Whether someone has to hear of a step: a hook, or the profiler."""
        if type(self).step is not Optimizer.step:  # PyTorch has seen to the hooks of a step that a subclass overrides
            return False
        return is_watched(self)

    def _step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._plan is None or not self._plan.repeat(self.param_groups, self.state):
            last, self._plan = self._plan, None  # which holds the gradients that it took, also where an error comes
            with torch.no_grad():
                self._plan = self._step_anew(last)
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _step_anew(self, last: Plan | None) -> Plan | None:
        """A step of whatever parameters have a gradient now; the plan for them, or ``last`` if that serves."""
        who = f"{type(self).__name__}.step"
        groups = [Values(type(self).__name__, self._declaration, group) for group in self.param_groups]
        named = [(values, which, param) for values in groups for which, param in self._named(values.group)]
        moving = [entry for entry in named if entry[2].grad is not None]
        grads = [_fitting(who, which, param, param.grad) for _, which, param in moving]
        if not moving:
            return last
        if last is not None and last.moves([param for _, _, param in moving]):
            if last.serves(self.param_groups, self.state) and last.run(grads):
                return last
        members = [self._member(values, which, param) for values, which, param in moving]
        idle = [param for _, _, param in named if param.grad is None]
        plan = Plan(members, idle, groups, self.state, self.seed)
        if not plan.run(grads):
            raise AssertionError("a checked gradient was not taken")
        return plan

    def _check_params(self, named: Sequence[tuple[str, torch.Tensor]]) -> None:
        who, seen = type(self).__name__, dict[torch.Tensor, str]()
        for which, param in named:
            if not (param.is_floating_point() or param.is_complex()):
                raise TypeError(sentence(who, f"{which} must be floating or complex", got=str(param.dtype)))
            if param in seen:
                raise ValueError(sentence(who, f"{which} is {seen[param]} again", hint="pass every tensor once"))
            seen[param] = which
            self._engine_of(which, param)

    def _member(self, values: Values, which: str, param: torch.Tensor) -> Member:
        rounding = self._rounding(param)
        keeping, program = self._keeping(values.form), self._program(values.form)
        kept = self.state[param]
        keeping.settle(which, param, kept, master=rounding == "master")
        if rounding == "master":
            program = with_master(program)
        return Member(param, values, kept, program, keeping, rounding, self._engine_of(which, param))

    def _rounding(self, param: torch.Tensor) -> str:
        if param.dtype not in _HALF:
            return "nearest"
        return self.rounding or ("stochastic" if param.dtype == torch.bfloat16 else "nearest")

    def _engine_of(self, which: str, param: torch.Tensor) -> str:
        who = type(self).__name__
        engine = choose(who, self.engine, which, param)
        if engine == "torch" and self.state_dtype is not None:
            raise ValueError(sentence(who, "state_dtype is for the fused and the reference engine, on the CPU"))
        if self.state_dtype == "int8" and is_spread(param):
            rule = f"state_dtype 'int8' is for parameters that one process holds whole; {which} is distributed"
            raise ValueError(sentence(who, rule, hint="use 'bfloat16'"))
        return engine

    def _program(self, form: Form) -> Program:
        rule: Rule | None = self.rule.rule
        assert rule is not None
        return lower(trace(rule, self._declaration.coefficient, self.decay, form))

    def _keeping(self, form: Form) -> Keeping:
        rule: Rule | None = self.rule.rule
        assert rule is not None
        bounded = never_negative(self._program(form), self._declaration.hypers, rule.state)
        return Keeping(type(self).__name__, rule.state, self.state_dtype, bounded)

    @staticmethod
    def _named(group: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """Every parameter of a group, with what a message calls it."""
        names = group.get("param_names") or [""] * len(group["params"])
        pairs = enumerate(zip(names, group["params"], strict=True))
        return [(f"parameter {i}" + (f" ({name!r})" if name else ""), param) for i, (name, param) in pairs]


for _name in ("params", "groups", *OPTIONS):
    delattr(Optimizer, _name)  # declared for type checkers; what an optimizer has of them, its constructor gives it


def declaration_of(rule: type[optim.Optimizer]) -> Declaration:
    """What an optimizer of `minima.optim` declares; a TypeError if PyTorch cannot have one of that kind."""
    if not (isinstance(rule, type) and issubclass(rule, optim.Optimizer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(sentence("adapt", "a rule must be a subclass of minima.optim.Optimizer", got=rule))
    if rule.rule is None:
        hint = "write an update; one that overrides step() works on Tensors of minima"
        raise TypeError(sentence("adapt", f"{rule.__name__} has no rule", hint=hint))
    taken = {STEP, MASTER, "params", "param_names"} & {*rule.rule.state, *rule.hyperparameters}
    if taken:
        rule_text = f"{rule.__name__} must not have a state or hyperparameter {', '.join(taken)}"
        raise TypeError(sentence("adapt", rule_text, hint="PyTorch has another of that name"))
    declaration: Declaration = cast(Any, rule)._declaration
    return declaration


def _translated(declaration: Declaration, group: Mapping[str, Any]) -> Group:
    """A group as a user gave it, its hyperparameters checked and under their declared names; other entries stay."""
    who, result = declaration.who, Group()
    for written, value in group.items():
        if written == "betas" and "beta2" in declaration.hypers:
            result |= {name: check(who, declaration, name, beta) for name, beta in betas(who, value).items()}
            continue
        name = declaration.coefficient if written == declaration.alias else written
        if name in result:
            raise TypeError(sentence(who, f"{name} is given twice", hint="wd and weight_decay are one thing"))
        result[name] = check(who, declaration, name, value) if name in declaration.hypers else value
    return result


def _bound(declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Group:
    """Every hyperparameter's value for a call of a constructor; tensors stay tensors, ``betas`` become two."""
    places = [name for name, hyper in declaration.hypers.items() if not hyper.kw_only]
    if "betas" in kwargs and "beta2" in declaration.hypers:  # what a script that trains with PyTorch's has
        pair = betas(declaration.who, kwargs["betas"])
        twice = [name for name in pair if name in kwargs or name in places[: len(args)]]
        if twice:
            raise TypeError(sentence(declaration.who, f"{twice[0]} is given twice", hint="betas are beta1 and beta2"))
        kwargs = {name: value for name, value in kwargs.items() if name != "betas"} | pair
    given = {**dict(zip(places, args, strict=False)), **kwargs}
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor) or callable(value)}
    plain = [declaration.hypers[p].default if p in tensors else x for p, x in zip(places, args, strict=False)]
    plain += args[len(places) :]
    defaults = Group(declaration.bind(plain, {k: v for k, v in kwargs.items() if k not in tensors}))
    for written, value in tensors.items():
        name = declaration.spelled(written)
        defaults[name] = check(declaration.who, declaration, name, value)
    return defaults


def _fitting(who: str, which: str, param: torch.Tensor, grad: Any) -> torch.Tensor:
    """A gradient as engines take it: in the dtype and the layout of its parameter."""
    if grad.layout != torch.strided:
        hint = "make the layer without sparse=True, or give its parameters to torch.optim.SparseAdam"
        raise TypeError(sentence(who, f"gradient of {which} must not be sparse", got=str(grad.layout), hint=hint))
    if grad.shape != param.shape:
        rule = f"gradient of {which} has shape {tuple(grad.shape)}, the parameter has {tuple(param.shape)}"
        raise ValueError(sentence(who, rule, hint="nothing was changed"))
    check_memory(who, which, param)
    if is_freed(grad):
        rule = f"gradient of {which} must have memory"
        raise ValueError(sentence(who, rule, hint="its storage was freed; nothing was changed"))
    if grad.device != param.device:
        rule = f"gradient of {which} is on {grad.device}, the parameter on {param.device}"
        raise ValueError(sentence(who, rule, hint="nothing was changed"))
    if grad.is_complex() != param.is_complex() or not (grad.is_floating_point() or grad.is_complex()):
        raise TypeError(sentence(who, f"gradient of {which} must be {param.dtype}", got=str(grad.dtype)))
    if is_spread(grad) != is_spread(param):
        rule = f"gradient of {which} must be distributed as the parameter is"
        raise TypeError(sentence(who, rule, got=type(grad).__name__, hint="nothing was changed"))
    if not spread_alike(grad, param):  # such as one whose parts are still to be added
        grad = grad.redistribute(cast(Any, param).device_mesh, cast(Any, param).placements)
    grad = grad.detach()
    plain = not (grad.is_neg() or grad.is_conj()) and grad.dtype == param.dtype
    if plain and laid_out(here(grad), dense(here(param))) and grad.data_ptr():
        return grad
    return torch.empty_like(param.detach()).copy_(grad)

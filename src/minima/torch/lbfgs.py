"""L-BFGS of PyTorch: its arguments, its state, its numbers, on the loop of `minima.optim`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import copy, deepcopy
from typing import Any, NoReturn, cast

import torch

from minima.checks import checked, integer
from minima.errors import sentence
from minima.optim.loops import lbfgs
from minima.optim.loops.quasi_newton import Closure, Limits, Memory, Move, Pair, guard, minimise
from minima.torch.capture import refuse_solver
from minima.torch.memory import is_sharded, is_steppable
from minima.torch.naming import listed
from minima.torch.private import is_beginning, is_flattened, loading_hooks
from minima.torch.signature import Params
from minima.torch.vector import VectorSpace, divided

__all__ = ["LBFGS"]

_HYPERS = lbfgs.LBFGS.hyperparameters
_LISTS = ("old_dirs", "old_stps", "ro")
_TAUGHT = ("d", "t", "prev_flat_grad", "prev_loss", "H_diag", *_LISTS)
"""What PyTorch calls what steps have taught: either all of it is there, or nothing."""


class LBFGS(torch.optim.Optimizer):
    """Takes quasi-Newton steps, with the curvature estimated from the last steps; each call takes many steps.

    This is ``torch.optim.LBFGS``, with its arguments, its numbers up to rounding, its group entries and its state
    names; each loads the state dicts of the other. `minima.optim.LBFGS` has the equations, and explains when to use it.

    Args:
        params: The tensors to optimize, pairs of name and tensor, a model, or a single group: all of them form one
            vector. They may have several dtypes, as in PyTorch, and be on several devices. Half precision is computed
            in float32. Complex numbers are treated as pairs of real numbers.
        lr: Length of a step, as a multiple of the direction, a number or a tensor with one element, in [0, inf).
        max_iter: Maximum number of steps in one call, an integer in [0, inf).
        max_eval: Maximum number of evaluations in one call, an integer in [0, inf); a line search may take one more.
            None means ``max_iter * 5 // 4``.
        tolerance_grad: A call stops when no entry of the gradient is larger.
        tolerance_change: A call stops after a step in which no parameter, or not the loss, changes by more, or if the
            loss would fall by less along the direction.
        history_size: Maximum number of pairs of vectors that are kept, an integer in [1, inf).
        line_search_fn: ``"strong_wolfe"``, or None for no line search.
        on_nonfinite: What to do if a loss or a gradient is not finite. ``"skip"``: a line search shortens the step;
            without a line search, the step is undone, the pairs are discarded, and the call ends. If the first loss or
            gradient is not finite, nothing changes, and ``skipped`` counts it. ``"raise"`` does the same, but raises an
            error unless a line search can shorten the step. ``"propagate"`` does not check, like PyTorch.

    How far a step goes is decided on the host, so every evaluation waits for a GPU.

    Attributes:
        skipped: The number of calls without a step, because the loss or the gradient was not finite.

    The hyperparameters are attributes, and entries of the single group, where PyTorch's schedulers write the learning
    rate. The memory is in the state of the first parameter. There ``t`` is 0 if the last call stopped before it moved;
    PyTorch then stores the length of the intended step. If the closure raises an error, the parameters have the values
    of the last finished step.

    Raises:
        TypeError: A parameter is not a floating-point or complex tensor, or is sharded over processes; or a
            hyperparameter has the wrong type.
        ValueError: There is more than one group, or a hyperparameter is out of its range.

    >>> import torch
    >>> from minima.torch import LBFGS
    >>> w = torch.tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 * torch.tensor([1.0, 100.0])).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    1609.0
    >>> (w.abs() < 1e-4).all().item(), optimizer.func_evals < 10
    (True, True)
    """

    on_nonfinite: str = checked(guard)

    def __init__(
        self,
        params: Params,
        lr: float | torch.Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        on_nonfinite: str = "skip",
    ) -> None:
        who = type(self).__name__
        self.on_nonfinite, self.skipped = on_nonfinite, 0
        given = (lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search_fn)
        settings = dict(zip(_HYPERS, given, strict=True))
        _checked(who, settings)
        if max_eval is None:
            settings["max_eval"] = max_iter * 5 // 4
        super().__init__(listed(who, params), settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add the single group; a second one raises a ValueError, because all parameters form one vector."""
        who = type(self).__name__
        if self.param_groups:
            rule, hint = "all parameters are one vector, and must be one group", "make another optimizer"
            raise ValueError(sentence(who, rule, hint=hint))
        _checked(who, {name: value for name, value in param_group.items() if name in _HYPERS})
        super().add_param_group(param_group)
        for number, param in enumerate(self.param_groups[0]["params"]):
            which, wrong = f"parameter {number}", ""
            if not is_steppable(param):
                wrong = f"{which} must be floating or complex, of 16 bits or more"
            elif is_sharded(param) or is_flattened(param):
                wrong = f"{which} must not be sharded over processes: the vector of all parameters must be whole"
            if wrong:
                raise TypeError(sentence(who, wrong, got=str(param.dtype)))

    @property
    def func_evals(self) -> int:
        """The number of calls of a closure."""
        return self._memory().evaluations

    @property
    def n_iter(self) -> int:
        """The number of steps, over all calls, since the pairs were last discarded."""
        return self._memory().iterations

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - it cannot do without
        """Take up to ``max_iter`` steps.

        Args:
            closure: A function that clears the gradients, computes the loss and the gradients, and returns the loss;
                called as often as needed.

        Returns:
            The result of the first call of ``closure``: the loss before the call.

        Raises:
            TypeError: ``closure`` is missing, or does not return a loss. In this and in the next cases, the parameters
                have the values of the last finished step.
            ValueError: No parameter has a gradient, or a hyperparameter in the group is out of its range.
            FloatingPointError: The loss or a gradient is not finite, and ``on_nonfinite`` is ``"raise"``.
            RuntimeError: A CUDA graph is being captured.
        """
        if closure is None and not self.state and is_beginning():
            self._keep(Memory())
            return None
        who = f"{type(self).__name__}.step"
        refuse_solver(who, self.param_groups[0]["params"])
        evaluate = Closure(who, closure, torch.enable_grad)
        limits = Limits.of(_checked(who, {name: self.param_groups[0][name] for name in _HYPERS}), self.on_nonfinite)
        space, memory = VectorSpace(who, self.param_groups[0]["params"]), self._memory()
        try:
            if not minimise(who, space, memory, evaluate, limits):
                self.skipped += 1
        finally:
            self._keep(memory)
        return evaluate.first

    def _memory(self) -> Memory:
        """What the state says."""
        kept: dict[str, Any] = self.state.get(self.param_groups[0]["params"][0], {})
        memory = Memory(kept.get("func_evals", 0), kept.get("n_iter", 0))
        if kept.get("d") is not None:
            memory.last = Move(kept["d"], float(kept["t"]), kept["prev_flat_grad"], float(kept["prev_loss"]))
            triples = zip(kept["old_stps"], kept["old_dirs"], map(float, kept["ro"]), strict=True)
            memory.pairs = [Pair(*each) for each in triples]
            memory.scale = float(kept["H_diag"])
        return memory

    def _keep(self, memory: Memory) -> None:
        """Let the state say it."""
        self.state[self.param_groups[0]["params"][0]] = _as_state(memory)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the state of another L-BFGS, PyTorch's or this one, all of it or nothing; its tensors are copied.

        If ``state_dict`` and this optimizer have names (from ``named_parameters()``), parameters are found by name, in
        any order; otherwise by position.

        Raises:
            TypeError: A hyperparameter has the wrong type. Nothing was changed.
            ValueError: It belongs to another algorithm, or parameters or vectors do not fit. Nothing was changed.
        """
        who = f"{type(self).__name__}.load_state_dict"
        state_dict = cast(dict[str, Any], copy(state_dict))
        before, after = loading_hooks(self)
        for hook in before.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        try:
            (saved,) = state_dict["param_groups"]
            states: dict[Any, Any] = dict(state_dict["state"])
            settings = {name: saved[name] for name in _HYPERS}
            many = len(saved["params"])
        except (KeyError, TypeError, ValueError):
            self._refuse(who, "state_dict must be that of an L-BFGS, with one group")
        _checked(who, settings)
        group = self.param_groups[0]
        if many != len(group["params"]):
            self._refuse(who, f"state_dict must have {len(group['params'])} parameters", got=many)
        order = list(range(many))
        if "param_names" in saved and "param_names" in group:
            theirs, own = saved["param_names"], group["param_names"]
            if sorted(theirs) != sorted(own):
                self._refuse(who, f"the parameters of state_dict must be named {', '.join(own)}", got=theirs)
            order = [theirs.index(name) for name in own]
        kept = states.pop(saved["params"][0], {})
        if states:
            self._refuse(who, "only the first parameter of an L-BFGS has state", got=sorted(states))
        memory = self._read(who, kept, order)
        for name, value in saved.items():
            if name not in ("params", "param_names"):
                group[name] = deepcopy(value)
        self.state.clear()
        if kept:
            self._keep(memory)
        for hook in after.values():
            hook(self)

    def _read(self, who: str, kept: Mapping[str, Any], order: list[int]) -> Memory:
        """What the state in a state dict says, with vectors whose parts stand in another order."""
        space = VectorSpace(who, self.param_groups[0]["params"])
        if not kept:
            return Memory()
        if not {"func_evals", "n_iter"} <= kept.keys() or kept.get("d") is not None and not {*_TAUGHT} <= kept.keys():
            self._refuse(who, "the state must be that of an L-BFGS", got=list(kept))
        memory = Memory(integer(who, "func_evals", kept["func_evals"]), integer(who, "n_iter", kept["n_iter"]))
        if kept.get("d") is None:
            return memory
        sizes = [0] * len(order)
        for place, size in zip(order, space.sizes, strict=True):
            sizes[place] = size

        def vector(name: str, value: Any) -> torch.Tensor:
            found = space.vector(value)
            if found is None:
                got = tuple(value.shape) if isinstance(value, torch.Tensor) else value
                self._refuse(who, f"{name!r} must be of vectors of length {space.size}", got=got)
            parts = divided(found, sizes)
            return found if order == sorted(order) else torch.cat([parts[place] for place in order])

        numbers = [float(kept[name]) for name in ("t", "prev_loss", "H_diag")]
        memory.last = Move(
            vector("d", kept["d"]), numbers[0], vector("prev_flat_grad", kept["prev_flat_grad"]), numbers[1]
        )
        if len({len(kept[name]) for name in _LISTS}) > 1:
            self._refuse(who, f"{', '.join(_LISTS)} must be of one length", got=[len(kept[name]) for name in _LISTS])
        for move, change, weight in zip(kept["old_stps"], kept["old_dirs"], kept["ro"], strict=True):
            memory.pairs.append(Pair(vector("old_stps", move), vector("old_dirs", change), float(weight)))
        memory.scale = numbers[2]
        return memory

    def _refuse(self, who: str, rule: str, **more: Any) -> NoReturn:
        raise ValueError(sentence(who, rule, **more, hint="nothing was loaded"))

    def train(self) -> None:
        """No effect: the training weights are also the weights to evaluate."""

    def eval(self) -> None:
        """No effect: the weights to evaluate are the training weights."""

    def averaged(self) -> AbstractContextManager[None]:
        """Not supported: there are no averages.

        Raises:
            TypeError: Always.
        """
        rule, hint = "an optimizer without a rule keeps no averages", "use torch.optim.swa_utils.AveragedModel"
        raise TypeError(sentence(f"{type(self).__name__}.averaged", rule, hint=hint))

    @classmethod
    def formula(cls) -> NoReturn:
        """Not supported: the algorithm has no rule.

        Raises:
            TypeError: Always.
        """
        rule, hint = "it is a loop around steps, and has no rule to read", "help(minima.optim.LBFGS) has the equations"
        raise TypeError(sentence(cls.__name__, rule, hint=hint))

    @classmethod
    def explain(cls) -> NoReturn:
        """Not supported: the algorithm has no rule.

        Raises:
            TypeError: Always.
        """
        cls.formula()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"on_nonfinite": self.on_nonfinite, "skipped": self.skipped}

    def __getattr__(self, name: str) -> Any:
        if name in _HYPERS and "param_groups" in self.__dict__:
            return self.param_groups[0][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HYPERS:
            super().__setattr__(name, value)
            return
        _checked(type(self).__name__, {name: value})
        self.defaults[name] = self.param_groups[0][name] = value


def _as_state(memory: Memory) -> dict[str, Any]:
    """PyTorch's entries."""
    kept: dict[str, Any] = {"func_evals": memory.evaluations, "n_iter": memory.iterations}
    if (last := memory.last) is None:
        return kept
    moves, changes, weights = ([pair[i] for pair in memory.pairs] for i in range(3))
    kept |= {"d": last.direction, "t": last.step, "old_dirs": changes, "old_stps": moves, "ro": weights}
    return kept | {"H_diag": memory.scale, "prev_flat_grad": last.grad, "prev_loss": last.loss}


def _checked(who: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as numbers; a TypeError or ValueError in one sentence if one is not allowed."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if callable(value):
            hint = "a scheduler of PyTorch may write to the group"
            raise TypeError(
                sentence(who, f"{name} must be a number, and no function of the step", got=value, hint=hint)
            )
        found[name] = _HYPERS[name].check(who, value)
    return found

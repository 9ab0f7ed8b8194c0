"""L-BFGS: a whole problem solved by a few hundred gradients."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from minima.autograd.modes import enable_grad
from minima.checks import checked, integer, number
from minima.errors import sentence
from minima.loading import LoadReport
from minima.optim.engines import Array
from minima.optim.groups import Params
from minima.optim.language.hyper import Hyper, hyper
from minima.optim.loops.quasi_newton import Closure, Limits, Memory, Move, Pair, guard, minimise
from minima.optim.loops.vector import TensorSpace
from minima.optim.optimizer import Optimizer

__all__ = ["LBFGS"]

_VECTORS = ("d", "prev_flat_grad")
_LISTS = ("old_dirs", "old_stps")


class LBFGS(Optimizer):
    """Takes quasi-Newton steps, with the curvature estimated from the last steps; each call takes many steps.

    ::

        y = grad - last_grad
        s = last_step*last_direction
        pairs = pairs + (s, y) if dot(y, s) > 1e-10          the last history_size of them
        q = -grad
        for s, y in pairs, from the newest on:
            a = dot(s, q)/dot(y, s)
            q = q - a*y
        direction = dot(y, s)/dot(y, y)*q                    of the newest pair
        for s, y, a in pairs, from the oldest on:
            direction = direction + (a - dot(y, direction)/dot(y, s))*s
        param = param + step*direction

    All parameters form one vector. ``step(closure)`` repeats this until convergence or until a limit is reached, and
    calls the closure for each loss and gradient. ``step`` is ``lr``, or the result of the line search: a length with a
    sufficient decrease of the loss and of the slope (the strong Wolfe conditions). The very first direction is
    ``-grad``, with ``step = lr*minimum(1, 1/sum(abs(grad)))``.

    Use L-BFGS if every gradient is computed from all data, as in regression, style transfer, curve fitting or solving
    an equation: a hundred evaluations are then as good as thousands of steps of other optimizers. Do not use it with a
    new batch for each gradient: it would take differences between batches for curvature.

    Args:
        params: An iterable of the Tensors to optimize, or a single group, since all have the same hyperparameters.
        lr: Length of a step, as a multiple of the direction, at least 0. Near a solution 1 is right. With a line search
            it is the first length to try; without one, smaller values are safer.
        max_iter: Maximum number of steps in one call, an integer, at least 0.
        max_eval: Maximum number of evaluations in one call, an integer, at least 0; a line search may take one more.
            None means ``max_iter * 5 // 4``.
        tolerance_grad: A call stops when no entry of the gradient is larger; any number.
        tolerance_change: A call stops after a step in which no parameter, or not the loss, changes by more, or if the
            loss would fall by less along the direction; any number. A negative value has no effect.
        history_size: Maximum number of pairs that are kept, an integer, at least 1. 10 is often as good as 100.
        line_search_fn: ``"strong_wolfe"``, which is safe if the loss is deterministic; or None, for no line search.
        on_nonfinite: What to do if a loss or a gradient is not finite. ``"skip"``: a line search shortens the step;
            without a line search, the step is undone, the pairs are discarded, and the call ends. If the first loss or
            gradient is not finite, nothing changes, and ``skipped`` counts it. ``"raise"`` does the same, but raises an
            error unless a line search can shorten the step. ``"propagate"`` does not check.

    Keeps up to ``2 * history_size`` vectors with the length of all parameters, and two more, in the precision of the
    most precise parameter, at least float32.

    Source: Liu and Nocedal, *On the Limited Memory BFGS Method for Large Scale Optimization*, 1989; Nocedal and Wright,
    *Numerical Optimization*, 2006, Algorithms 7.4 and 7.5, with the line search of Algorithms 3.5 and 3.6.

    The same as ``torch.optim.LBFGS`` up to rounding if all numbers are finite; PyTorch does not undo a step with a
    nonfinite loss. Differs from Optax: there a call is one step, the line search is another, 10 pairs are kept, and the
    first step is scaled by the 2-norm.

    A parameter without a gradient is treated as if its gradient were zeros. There is no weight decay: add a penalty to
    the loss. If the closure raises an error, the parameters have the values of the last finished step.

    Raises:
        TypeError: As for `Optimizer`.
        ValueError: As for `Optimizer`, or there is more than one group.

    >>> from minima import Tensor
    >>> from minima.optim import LBFGS
    >>> w = Tensor([-1.2, 1.0], dtype="float64", requires_grad=True)
    >>> optimizer = LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2  # Rosenbrock's valley, whose lowest point is [1, 1]
    ...     loss.backward()
    ...     return loss
    >>> round(optimizer.step(closure).item(), 1), optimizer.n_iter, optimizer.func_evals
    (24.2, 35, 43)
    >>> w.detach().numpy().round(3)
    array([1., 1.])
    """

    lr: float = hyper(default=1.0, low=0)
    max_iter: int = hyper(default=20, low=0, whole=True)
    max_eval: int | None = hyper(default=None, low=0, whole=True)
    tolerance_grad: float = hyper(default=1e-7)
    tolerance_change: float = hyper(default=1e-9)
    history_size: int = hyper(default=100, low=1, whole=True)
    line_search_fn: str | None = hyper(default=None, choices=(None, "strong_wolfe"))
    on_nonfinite: str = checked(guard)

    def __init__(
        self,
        params: Params,
        lr: Hyper | float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        on_nonfinite: str = "skip",
    ) -> None:
        given = (lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search_fn)
        super().__init__(params, *given)
        self.on_nonfinite = on_nonfinite
        self._memory = Memory()
        if len(self.param_groups) > 1:
            rule = "all parameters are one vector, and must be one group"
            raise ValueError(sentence(type(self).__name__, rule, got=len(self.param_groups)))

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Not supported: all parameters form one vector, in a single group.

        Raises:
            ValueError: Always.
        """
        rule, hint = "all parameters are one vector, and no group can be added", "make another optimizer"
        raise ValueError(sentence(type(self).__name__, rule, hint=hint))

    @property
    def func_evals(self) -> int:
        """The number of calls of a closure."""
        return self._memory.evaluations

    @property
    def n_iter(self) -> int:
        """The number of steps, over all calls, since the pairs were last discarded."""
        return self._memory.iterations

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the loss of one evaluation would be of no use
        """Take up to ``max_iter`` steps.

        Args:
            closure: A function that clears the gradients, computes the loss and the gradients, and returns the loss;
                called as often as needed.

        Returns:
            The result of the first call of ``closure``: the loss before the call.

        Raises:
            TypeError: ``closure`` is missing, or does not return a loss. In this and in the next cases, the parameters
                have the values of the last finished step.
            ValueError: No parameter has a gradient, or a gradient and its parameter differ in shape.
            FloatingPointError: The loss or a gradient is not finite, and ``on_nonfinite`` is ``"raise"``.
        """
        who = f"{type(self).__name__}.step"
        evaluate, space = Closure(who, closure, enable_grad), TensorSpace(who, self._slots)
        space.check()
        if not minimise(who, space, self._memory, evaluate, Limits.of(self.param_groups[0], self.on_nonfinite)):
            self.skipped += 1
        return evaluate.first

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as in `Optimizer.state_dict`, and additionally ``on_nonfinite`` and ``memory``.

        ``memory`` contains ``func_evals`` and ``n_iter``; ``parameters``, pairs of names and shapes in the order of the
        vectors; and, after the first step, vectors and numbers under PyTorch's names: ``d``, the last direction, and
        ``t``, the step along it; ``prev_flat_grad`` and ``prev_loss`` at its start; ``old_dirs``, changes of the
        gradient, ``old_stps``, the corresponding steps, and ``ro``, the reciprocals of their inner products; and
        ``H_diag``, the first factor of the inverse Hessian.
        """
        return self._state_views(copies=True)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Load the state of another optimizer of the class, as `Optimizer.load_state_dict` does.

        Parameters are found by name, in any order. The memory belongs to all of them together, so all must be present,
        also with ``strict=False``.
        """
        return self._prepare_load(state_dict, strict)()

    def _state_views(self, *, copies: bool = False) -> dict[str, Any]:
        memory = self._memory
        kept: dict[str, Any] = {
            "func_evals": memory.evaluations,
            "n_iter": memory.iterations,
            "parameters": [[slot.key, list(slot.shape)] for slot in self._slots],
        }
        if memory.last is not None:
            last = memory.last
            kept |= {"d": last.direction, "t": last.step, "prev_flat_grad": last.grad, "prev_loss": last.loss}
            kept |= {"old_dirs": [pair.change for pair in memory.pairs]}
            kept |= {"old_stps": [pair.move for pair in memory.pairs]}
            kept |= {"ro": [pair.weight for pair in memory.pairs], "H_diag": memory.scale}
        if copies:
            kept |= {name: kept[name].copy() for name in _VECTORS if name in kept}
            kept |= {name: [each.copy() for each in kept[name]] for name in _LISTS if name in kept}
        return super().state_dict() | {"on_nonfinite": self.on_nonfinite, "memory": kept}

    def _prepare_load(self, state_dict: Mapping[str, Any], strict: bool = True) -> Callable[[], LoadReport]:
        who = f"{type(self).__name__}.load_state_dict"
        write = super()._prepare_load(state_dict, strict)
        on_nonfinite = guard(who, "on_nonfinite", state_dict.get("on_nonfinite"))
        memory = self._read(who, state_dict.get("memory"))

        def take_over() -> LoadReport:
            report = write()
            self.on_nonfinite, self._memory = on_nonfinite, memory
            return report

        return take_over

    def _read(self, who: str, kept: Any) -> Memory:
        """The memory out of a state dict, its vectors in the order of the parameters here."""
        if not isinstance(kept, Mapping):
            raise TypeError(sentence(who, "state_dict must have a dict 'memory'", got=kept, hint="nothing was loaded"))
        kept = cast(Mapping[str, Any], kept)
        space = TensorSpace(who, self._slots)
        try:
            shapes = {key: tuple(shape) for key, shape in kept["parameters"]}
            memory = Memory(integer(who, "func_evals", kept["func_evals"]), integer(who, "n_iter", kept["n_iter"]))
        except (KeyError, TypeError, ValueError) as error:
            rule = "'memory' must have 'func_evals', 'n_iter' and 'parameters'"
            raise TypeError(sentence(who, rule, got=list(kept), hint="nothing was loaded")) from error
        if shapes != {slot.key: slot.shape for slot in self._slots}:
            rule = "the parameters of 'memory' must be those of the optimizer, in names and shapes"
            raise ValueError(sentence(who, rule, got=shapes, hint="nothing was loaded"))
        if "d" not in kept:
            return memory
        ends = dict(zip(shapes, np.cumsum([space.sizes[key] for key in shapes]).tolist(), strict=True))
        parts = [slice(ends[slot.key] - space.sizes[slot.key], ends[slot.key]) for slot in self._slots]

        def vector(value: Any) -> Array:
            array: Array = np.asarray(value)
            if array.shape != (space.size,) or array.dtype != space.dtype:
                rule = f"a vector of 'memory' must be {space.dtype}, of length {space.size}"
                raise ValueError(sentence(who, rule, got=(array.dtype.name, array.shape), hint="nothing was loaded"))
            return np.concatenate([array[part] for part in parts])

        try:
            numbers = [number(who, name, kept[name], low=-np.inf) for name in ("t", "prev_loss", "H_diag")]
            memory.last = Move(vector(kept["d"]), numbers[0], vector(kept["prev_flat_grad"]), numbers[1])
            triples = zip(kept["old_stps"], kept["old_dirs"], kept["ro"], strict=True)
            memory.pairs = [Pair(vector(s), vector(y), number(who, "ro", weight)) for s, y, weight in triples]
            memory.scale = numbers[2]
        except KeyError as error:
            rule = f"'memory' must have {error} where it has 'd'"
            raise ValueError(sentence(who, rule, hint="nothing was loaded")) from None
        return memory

"""A rule as a gradient transformation: a pair of pure functions as Optax has them, and a step that rounds once."""

from collections.abc import Mapping
from typing import Any

from minima.jax.core import Core
from minima.jax.exchange import dump, restored
from minima.jax.pair import PAIR
from minima.jax.state import State

__all__ = ["Transformation"]


class Transformation(PAIR):
    """The result of a factory of `minima.jax`: ``init`` and ``update`` as in Optax, and more methods.

    It is a pair that unpacks into ``init, update``, and works like Optax's transformations::

        state = tx.init(params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)

    or, with one rounding instead of two::

        params, state = tx.step(grads, state, params)

    All methods are pure functions, which you may call inside or outside ``jax.jit``. The state contains the
    ``adjustable`` hyperparameters, by default the learning rate: to change it, use `adjusted`, or create a new state.
    """

    _core: Core

    def __new__(cls, core: Core) -> "Transformation":
        self: Any = super().__new__(cls, core.init, core.update)  # pyright: ignore - Optax may be missing
        self._core = core
        return self  # pyright: ignore

    def step(self, grads: Any, state: State, params: Any, *, loss: Any = None) -> tuple[Any, State]:
        """Take a step.

        Args:
            grads: The gradients, in the structure of ``params``; None where there is none.
            state: The result of `init` or of the last step. params: The parameters. loss: The loss of this step, a
                number, which some rules need; ``update`` takes it as ``value``.

        Returns:
            The new parameters, and the new state.

        Raises:
            TypeError: The rule needs the loss, and there is none.
            ValueError: Structures or shapes do not fit.
        """
        return self._core.step(grads, state, params, loss)

    def estimated(self, estimates: Any, state: State, params: Any) -> State:
        """Update an estimate in the state, for rules such as `SophiaG`; no step is counted.

        Args:
            estimates: The estimates, in the structure of the gradients; None where there is none.
            state: What `init`, or the last step, gave.
            params: The parameters.

        Raises:
            TypeError: The rule has no estimates.
            ValueError: Structures or shapes do not fit.
        """
        return self._core.estimated(estimates, state, params)

    def adjusted(self, state: State, group: str = "", /, **values: Any) -> State:
        """Set ``adjustable`` hyperparameters in the state, without recompiling.

        Args:
            state: The state.
            group: The pattern of a group, to set its own hyperparameters; by default those outside the groups.
            values: The new values, checked like those of the factory.

        Raises:
            TypeError: There is no hyperparameter of this name, or a value is not a number.
            ValueError: A hyperparameter is not adjustable or out of its range, or there is no such group.
        """
        return self._core.adjusted(state, group, values)

    def averaged(self, state: State, params: Any) -> Any:
        """The weights to evaluate: the moving averages of ``ema_decay``, or those of the rule.

        Raises:
            ValueError: There are neither.
        """
        return self._core.averaged(state, params)

    def state_dict(self, state: State, params: Any) -> dict[str, Any]:
        """The state as plain data, by the names of the parameters, in the form of `minima.optim.Optimizer.state_dict`.

        `minima.save` can write it, and the run can continue in NumPy or PyTorch.
        """
        self._core.taken(params, state)  # it is one that began here
        return dump(self._core, params, state)

    def from_state_dict(self, state_dict: Mapping[str, Any], params: Any) -> State:
        """The state for these parameters, on their devices, from a state dict of NumPy, PyTorch or JAX.

        Raises:
            TypeError: ``state_dict`` is not a state dict.
            ValueError: It belongs to another algorithm, or names or shapes do not fit.
        """
        return restored(self._core, params, state_dict)

    def __repr__(self) -> str:
        return repr(self._core)

"""The leaves of a tree of parameters: what they are called, which of them are stepped, and in which precision."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from minima.errors import sentence
from minima.jax.xla import Array, jax, jnp, traced

__all__ = ["Tree", "alike", "is_parameter", "kept_like", "precision", "real"]


def is_parameter(leaf: Any) -> bool:
    """Whether a leaf is stepped: a floating array. Integers, keys of random numbers and functions pass through."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and hasattr(leaf, "shape") and jnp.issubdtype(dtype, jnp.inexact)


def precision(dtype: Any) -> Any:
    """The precision in which a parameter of this dtype is updated: its own, float32 at least."""
    return jnp.dtype(jnp.float32) if dtype in (jnp.bfloat16, jnp.float16) else jnp.dtype(dtype)


def real(dtype: Any) -> Any:
    """The precision of the numbers that an array of this dtype is computed with: its own, or that of its parts."""
    wide = precision(dtype)
    return jnp.finfo(wide).dtype if jnp.issubdtype(wide, jnp.complexfloating) else wide


def alike(value: Any, leaf: Any) -> Any:
    """An array on the devices that a leaf of the same shape is on.

    While ``jit`` traces, it is computed from the leaf, which is not read for that: else XLA puts it where it likes.
    """
    return jnp.where(leaf == leaf, value, value) if traced(leaf) else value


def kept_like(leaf: Any, first: Any, dtype: Any) -> Any:
    """A new array of a leaf's shape, filled with a number, on the devices that the leaf is on."""
    return alike(jnp.asarray(first, dtype), leaf) if traced(leaf) else jnp.full_like(leaf, first, dtype=dtype)


class Tree:
    """A tree of parameters, taken apart."""

    def __init__(self, who: str, params: Any, what: str = "params") -> None:
        """Take parameters apart; ``what`` is what the user calls them."""
        self.what = what
        paths, self.structure = jax.tree_util.tree_flatten_with_path(params)
        self.given: list[Any] = [leaf for _, leaf in paths]
        """The leaves as they came."""
        self.leaves = [_as_array(leaf) for leaf in self.given]
        """The same, in which Python's floats and NumPy's arrays are arrays of JAX."""
        self.names = [name or "0" for name in _names([path for path, _ in paths], self.structure)]
        """What each leaf is called: ``layers.0.weight``, as a state dict of PyTorch calls it."""
        self.moving = [i for i, leaf in enumerate(self.leaves) if is_parameter(leaf)]
        """The places of those that are stepped."""
        self._who = who
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            rule = f"two leaves of {what} are called {twice!r}"
            raise ValueError(sentence(who, rule, hint="state is kept by the names of leaves: rename a key"))

    def flat(self, what: str, tree: Any) -> list[Any]:
        """The leaves of another tree of the same structure; one sentence where it has another."""
        try:
            return self.structure.flatten_up_to(tree)
        except (ValueError, TypeError) as error:
            raise self._unlike(what, tree, error) from None

    def truths(self, what: str, given: Any) -> list[bool]:
        """Of each leaf whether something holds.

        Args:
            what: The argument that says so.
            given: A tree of truths, in which one may stand for all leaves below it; or a function from the parameters
                to one.
        """
        params = self.made(self.given)
        tree = given(params) if callable(given) else given
        try:
            flat = self.flat(what, jax.tree.broadcast(tree, params))
        except (ValueError, TypeError) as error:
            raise self._unlike(what, tree, error) from None
        for name, truth in zip(self.names, flat, strict=True):
            if traced(truth) or not isinstance(truth, bool | np.bool_ | int | Array | np.ndarray) or np.ndim(truth):
                raise TypeError(sentence(self._who, f"{what} of {name!r} must be True or False", got=truth))
        return [bool(truth) for truth in flat]

    def grads(self, given: Any) -> list[Any]:
        """The gradient of each leaf; None where there is none, or the leaf is not stepped."""
        found: list[Any] = [None] * len(self.leaves)
        flat = self.flat("grads", given)
        for i in self.moving:
            grad, leaf = flat[i], self.leaves[i]
            if grad is None or getattr(grad, "dtype", None) == jax.dtypes.float0:
                continue
            found[i] = self._gradient(f"the gradient of {self.names[i]!r}", grad, leaf)
        return found

    def _gradient(self, which: str, grad: Any, leaf: Any) -> Any:
        dtype = np.result_type(grad) if isinstance(grad, int | float | complex) else getattr(grad, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.number):
            raise TypeError(sentence(self._who, f"{which} must be an array of numbers", got=grad))
        if np.shape(grad) != leaf.shape:
            raise ValueError(sentence(self._who, f"{which} must have the shape {leaf.shape}", got=np.shape(grad)))
        if jnp.issubdtype(dtype, jnp.complexfloating) and not jnp.iscomplexobj(leaf):
            raise TypeError(sentence(self._who, f"{which} must be real, as the parameter is", got=str(dtype)))
        return jnp.asarray(grad)

    def made(self, leaves: Sequence[Any]) -> Any:
        """A tree of this structure."""
        return self.structure.unflatten(leaves)

    def _unlike(self, what: str, tree: Any, error: Exception) -> ValueError:
        """The complaint of a tree of another structure, which names the leaves that differ."""
        paths, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_none)
        names = _names([path for path, _ in paths], structure)
        lacking = [mine for mine in self.names if not any(_is_within(mine, other) for other in names)]
        extra = [other for other in names if not any(_is_within(mine, other) for mine in self.names)]
        parts = [f"it lacks {_listed(lacking)}"] * bool(lacking) + [f"{self.what} have no {_listed(extra)}"] * bool(
            extra
        )
        hint = " and ".join(parts) or str(error).partition("\n")[0]
        return ValueError(sentence(self._who, f"{what} must have the structure of {self.what}", hint=hint))


def _as_array(leaf: Any) -> Any:
    """A leaf as ``jax.grad`` sees it, which differentiates by Python's floats too."""
    if isinstance(leaf, float | complex):
        return jnp.asarray(leaf)
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) and is_parameter(leaf) else cast(Any, leaf)


def _is_none(node: Any) -> bool:
    return node is None


def _names(paths: Sequence[tuple[Any, ...]], structure: Any) -> list[str]:
    """The names of leaves; Flax's variables and boxes hold an array as ``value``, which is no part of its name."""
    value = jax.tree_util.GetAttrKey("value")
    if any(path[-1:] == (value,) for path in paths):
        pairs = zip(paths, _holders(structure, object), strict=True)
        paths = [path[:-1] if path[-1:] == (value,) and _is_flax(holder) else path for path, holder in pairs]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


def _holders(structure: Any, holder: type) -> Iterator[type]:
    """The type of the node that holds each leaf."""
    node: tuple[type, Any] | None = structure.node_data()
    if node is None and structure.num_leaves:
        yield holder
    for child in structure.children():
        yield from _holders(child, node[0] if node else holder)


def _is_flax(holder: type) -> bool:
    return any(base.__module__.partition(".")[0] == "flax" for base in holder.__mro__)


def _is_within(name: str, place: str) -> bool:
    return not place or name == place or name.startswith(f"{place}.")


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more

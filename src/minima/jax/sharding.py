"""Where arrays are: state beside its parameters, and steps in which XLA divides the work among the devices of a mesh.

The axes of a mesh are automatic or explicit. Under explicit axes the sharding of an array is a part of its type, and
products of sharded matrices, or arrays that are reshaped, have none that is clear. So a step takes them as automatic,
and its results have the shardings of what they replace: types stay what they are, in `jax.lax.scan` too.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from minima.jax.xla import Array, jax, jnp, traced

__all__ = ["automatic", "beside", "explicit_mesh", "gathered"]


def explicit_mesh(leaves: Iterable[Any]) -> Any:
    """The mesh whose explicit axes stand in the types of these leaves; None where there is none."""
    for leaf in leaves:
        if isinstance(leaf, Array) and AxisType.Explicit in (mesh := jax.typeof(leaf).sharding.mesh).axis_types:
            return mesh
    return None


def beside(tree: Any, leaves: Iterable[Any]) -> Any:
    """Arrays that are not sharded, on all devices of the mesh that these leaves are on.

    What ``jit`` traces under automatic axes is for XLA to place, and what is on one device stays there.
    """
    found = [leaf for leaf in leaves if isinstance(leaf, Array)]
    known = [leaf.sharding for leaf in found if not traced(leaf)]
    mesh = next((sharding.mesh for sharding in known if isinstance(sharding, NamedSharding)), None)

    def placed(x: Any) -> Any:
        return jax.device_put(x, _whole(mesh, x))

    def computed(x: Any) -> Any:  # from a leaf, which is not read for that: so the devices are known
        number = jnp.sum(found[0])
        return jnp.where(number == number, x, x)

    if any(map(traced, found)):
        return tree if explicit_mesh(found[:1]) is None else jax.tree.map(computed, tree)
    return tree if mesh is None else jax.tree.map(placed, tree)


def _whole(mesh: Any, x: Any) -> Any:
    return NamedSharding(mesh, PartitionSpec(*[None] * x.ndim))


def automatic(function: Callable[[Any], Any], given: Any, mesh: Any, like: Any) -> Any:
    """Call a function of a tree with all axes of a mesh automatic.

    Args:
        function: Takes the tree, gives another.
        given: The tree; what is no array in it stays as it is.
        mesh: What `explicit_mesh` found; under None the function is just called.
        like: Arrays in the structure of what the function gives: its arrays get their shardings.
    """
    if mesh is None:
        return function(given)
    leaves, structure = jax.tree.flatten(given)
    arrays = {i: x for i, x in enumerate(leaves) if isinstance(x, Array)}

    def called(arrays: dict[int, Any]) -> Any:
        return function(structure.unflatten([arrays.get(i, x) for i, x in enumerate(leaves)]))

    def kept(x: Any) -> Any:
        sharding = jax.typeof(x).sharding
        return NamedSharding(mesh, sharding.spec) if sharding.mesh.axis_types else _whole(mesh, x)

    return jax.sharding.auto_axes(called, out_sharding=jax.tree.map(kept, like))(arrays)


def gathered(x: Any) -> np.ndarray:
    """An array as NumPy has it, and whole: processes that hold parts of it must all ask for it."""
    if isinstance(x, Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        x = import_module("jax.experimental.multihost_utils").process_allgather(x, tiled=True)
    return np.asarray(x)

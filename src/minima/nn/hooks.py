"""Hooks of modules: functions of a user's own, called before and after ``forward``, and as gradients pass."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from minima.autograd import RemovableHandle, Tensor
from minima.autograd.hooks import each
from minima.errors import sentence

__all__ = ["Hooked"]


class _Registered(NamedTuple):
    hook: Callable[..., Any]
    with_kwargs: bool


class _Hooks:
    """The hooks of one module."""

    def __init__(self) -> None:
        self.before: dict[int, _Registered] = {}
        self.after: dict[int, _Registered] = {}
        self.backward: dict[int, Callable[..., Any]] = {}


class Hooked:
    """What a module is to its hooks. A module without any pays one comparison a call."""

    _hooks: _Hooks | None = None
    is_plain: bool = True
    """Whether a call is the ``forward`` of its class, and nothing else."""

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; what calling the module runs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._call(self._hooks, args, kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before every ``forward``; unless it gives ``None``, that is ``args``.

        Args:
            hook: The function. It gives a tuple, or one value for a tuple of one.
            prepend: Whether it is called before the hooks that are there already.
            with_kwargs: Whether it is called as ``hook(module, args, kwargs)``, and gives both or ``None``.

        Returns:
            A handle, whose ``remove()`` takes the hook away.
        """
        return RemovableHandle(self._own_hooks().before, _registered(self, hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every ``forward``; unless it gives ``None``, that is the output.

        Args:
            hook: The function.
            prepend: Whether it is called before the hooks that are there already.
            with_kwargs: Whether it is called as ``hook(module, args, kwargs, output)``.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        >>> from minima import nn
        >>> from minima.autograd import Tensor
        >>> layer, shapes = nn.Linear(3, 2), []
        >>> handle = layer.register_forward_hook(lambda module, args, output: shapes.append(output.shape))
        >>> _ = layer(Tensor([[1.0, 2.0, 3.0]]))
        >>> handle.remove()
        >>> shapes
        [(1, 2)]
        """
        return RemovableHandle(self._own_hooks().after, _registered(self, hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` in every backward pass, when both are known.

        They are tuples: the gradients of the positional arguments, and of the outputs, with ``None`` for what is no
        tensor or gets none. Unless the hook gives ``None``, a tuple like ``grad_input`` goes on in its place.

        Args:
            hook: The function. It must not change gradients in place.
            prepend: Whether it is called before the hooks that are there already.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        Inputs and outputs that are changed in place meanwhile are refused, as views are.
        """
        return RemovableHandle(self._own_hooks().backward, _registered(self, hook, False).hook, prepend)

    def _own_hooks(self) -> _Hooks:
        if self._hooks is None:
            self._hooks = _Hooks()
            self.is_plain = False
        return self._hooks

    def _call(self, hooks: _Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in each(hooks.before):
            given: Any = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if given is None:
                continue
            if not with_kwargs:
                args = _tupled(given)
                continue
            if len(_tupled(given)) != 2:
                rule = "a hook with_kwargs must give None or the pair (args, kwargs)"
                raise TypeError(sentence(f"{type(self).__name__}.register_forward_pre_hook", rule, got=given))
            args, kwargs = cast("tuple[tuple[Any, ...], dict[str, Any]]", given)
        watch = _Watch(self, hooks.backward) if hooks.backward else None
        if watch is not None:
            args = watch.enter(args)
        output = self.forward(*args, **kwargs)
        for hook, with_kwargs in each(hooks.after):
            given = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            output = output if given is None else given
        return output if watch is None else watch.leave(output)


def _registered(module: Hooked, hook: Callable[..., Any], with_kwargs: bool) -> _Registered:
    if not callable(hook):
        raise TypeError(sentence(f"{type(module).__name__}", "the hook must be a function", got=hook))
    return _Registered(hook, with_kwargs)


class _Watch:
    """The gradients of one call of a module, on their way back.

    Every tensor goes through two views that change nothing. A backward pass takes the nodes in the reverse order of
    their creation, so that it comes by all inner views of the inputs before the first outer one: there all gradients
    are known, the hooks are called, and the outer views pass on what they gave.
    """

    def __init__(self, module: Hooked, hooks: dict[int, Callable[..., Any]]) -> None:
        self.module = module
        self.hooks = hooks
        self.inputs: list[Tensor | None] = []
        self.outputs: list[Tensor | None] = []
        self.watched = False  # whether an input requires a gradient
        self.done = True

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, seen through views."""
        self.inputs = [None] * len(args)
        args = _through(args, lambda place, tensor: tensor.register_hook(lambda g: self._pass(place)))
        self.watched = any(isinstance(each, Tensor) and each.requires_grad for each in args)
        return _through(args, lambda place, tensor: tensor.register_hook(lambda g: self._note(self.inputs, place, g)))

    def leave(self, output: Any) -> Any:
        """The output, seen through views."""
        outputs = tuple(cast("list[Any]", output)) if isinstance(output, list) else _tupled(output)
        self.outputs = [None] * len(outputs)
        outputs = _through(outputs, lambda place, tensor: tensor.register_hook(self._arrive))
        outputs = _through(
            outputs, lambda place, tensor: tensor.register_hook(lambda g: self._note(self.outputs, place, g))
        )
        return _like(cast(object, output), outputs)

    def _note(self, where: list[Tensor | None], place: int, g: Tensor) -> None:
        if where is self.outputs and self.done:  # a new pass begins
            self.done = False
            self.inputs[:] = [None] * len(self.inputs)
            self.outputs[:] = [None] * len(self.outputs)
        where[place] = g

    def _arrive(self, g: Tensor) -> None:
        if not self.watched and not self.done:
            self._run()

    def _pass(self, place: int) -> Tensor | None:
        if not self.done:
            self._run()
        return self.inputs[place]

    def _run(self) -> None:
        self.done = True
        for hook in each(self.hooks):
            given = hook(self.module, tuple(self.inputs), tuple(self.outputs))
            if given is None:
                continue
            replaced = _tupled(given)
            if len(replaced) != len(self.inputs):
                rule = f"the hook must give None or a tuple of {len(self.inputs)} gradients"
                raise ValueError(
                    sentence(f"{type(self.module).__name__}.register_full_backward_hook", rule, got=len(replaced))
                )
            self.inputs[:] = replaced


def _like(model: object, values: tuple[Any, ...]) -> Any:
    """The values as ``model`` holds its own: alone, in a list, a tuple or a named one."""
    if isinstance(model, list):
        return list(values)
    if not isinstance(model, tuple):
        return values[0]
    kind: Any = cast(object, model).__class__
    return values if kind is tuple else kind(*values)


def _tupled(value: Any) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)


def _through(values: tuple[Any, ...], register: Callable[[int, Tensor], object]) -> tuple[Any, ...]:
    """The values, with a view in the place of each tensor that requires a gradient, which is registered."""
    seen = [
        value.reshape(value.shape) if isinstance(value, Tensor) and value.requires_grad else value for value in values
    ]
    for place, (value, view) in enumerate(zip(values, seen, strict=True)):
        if view is not value and view.requires_grad:
            register(place, view)
    return tuple(seen)

"""Module: a piece of a network that knows its parameters, its buffers and the modules inside it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar, cast

from minima.autograd import Tensor
from minima.checks import dropped, flag
from minima.errors import sentence
from minima.loading import LoadReport, fitting
from minima.nn.casting import Castable
from minima.nn.hooks import Hooked
from minima.nn.parameter import Parameter
from minima.nn.paths import Reachable

__all__ = ["Module"]

_Part = TypeVar("_Part")


class Module(Hooked, Castable, Reachable):
    """Base class of all modules: subclass it, assign the parts in ``__init__``, and define ``forward``.

    An attribute that is a `Parameter` or a `Module` is registered under its name, until it is deleted or replaced.
    Declare a tensor that is state but is not trained with `register_buffer`. Names and orders are PyTorch's.

    Parts in plain lists, tuples and dicts, also nested ones, are registered too, under the names that they would have
    in `ModuleList` and `ModuleDict`: ``layers.0``, ``heads.left``. (PyTorch silently ignores them.) A part that is also
    an attribute has only the attribute's name.

    `parameters`, `modules` and similar methods return a new list in each call, which has a length and can be iterated
    repeatedly. (PyTorch returns iterators, which are exhausted after one loop.)

    Attributes:
        training: Whether layers such as `Dropout` and `BatchNorm1d` behave as in training.

    Differences from PyTorch: ``super().__init__()`` is optional, and `state_dict` returns copies, not aliases.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> class Scale(nn.Module):
    ...     def __init__(self, factor):
    ...         self.factor = nn.Parameter(factor)
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale([2.0, 3.0])
    >>> scale(Tensor([1.0, 1.0])).tolist()
    [2.0, 3.0]
    >>> [name for name, _ in scale.named_parameters()]
    ['factor']
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; a call of the module calls this."""
        raise NotImplementedError(sentence(type(self).__name__, "a subclass of Module must define forward"))

    def extra_repr(self) -> str:
        """The text between the parentheses of ``repr``, before the submodules."""
        return ""

    # The parts are the instance's ordinary attributes, found by walking ``vars(self)``: reading ``self.weight`` in
    # ``forward`` then costs what any attribute costs. Only assignment is watched.

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        if isinstance(held, Parameter) and not (value is None or isinstance(value, Parameter)):
            rule = f"attribute {name!r} is a parameter and takes a Parameter or None"
            raise TypeError(sentence(type(self).__name__, rule, got=value, hint="wrap it in nn.Parameter"))
        if name in self._buffer_names() and not _may_be_buffer(value):
            rule = f"attribute {name!r} is a buffer and takes a Tensor that is no Parameter, or None"
            raise TypeError(sentence(type(self).__name__, rule, got=value))
        if name == "forward":
            self.is_plain = False
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._buffer_names().pop(name, None)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Declare a tensor that is part of the module's state but is not trained, such as a running mean.

        Args:
            name: The attribute that holds it. tensor: The first value, or ``None`` for a buffer that is not in use.
            persistent: Whether `state_dict` includes it.

        Raises:
            TypeError: ``tensor`` is neither ``None`` nor a `Tensor`, or it is a `Parameter`.
            ValueError: ``name`` is empty, has a dot in it, or is taken.
        """
        who = f"{type(self).__name__}.register_buffer"
        if not _may_be_buffer(tensor):
            raise TypeError(sentence(who, "tensor must be a Tensor that is no Parameter, or None", got=tensor))
        check_name(who, self, name)
        vars(self).setdefault("_buffers", {})[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set a parameter as an attribute, or ``None`` for an unused one; for computed names.

        Args:
            name: The attribute that holds it.
            param: The parameter.

        Raises:
            TypeError: ``param`` is neither ``None`` nor a `Parameter`.
            ValueError: ``name`` is empty, has a dot in it, or is taken.
        """
        who = f"{type(self).__name__}.register_parameter"
        if not (param is None or isinstance(cast(object, param), Parameter)):
            raise TypeError(sentence(who, "param must be a Parameter or None", got=param))
        check_name(who, self, name)
        setattr(self, name, param)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Set a module, or ``None``, as an attribute; for computed names.

        Args:
            name: The attribute that holds it.
            module: The module.

        Raises:
            TypeError: ``module`` is neither ``None`` nor a `Module`.
            ValueError: ``name`` is empty, has a dot in it, or is taken.
        """
        who = f"{type(self).__name__}.add_module"
        if not (module is None or isinstance(cast(object, module), Module)):
            raise TypeError(sentence(who, "module must be a Module or None", got=module))
        check_name(who, self, name)
        setattr(self, name, module)

    register_module = add_module

    def children(self) -> "list[Module]":
        """The direct submodules, each once."""
        return [module for _, module in self.named_children()]

    def named_children(self) -> "list[tuple[str, Module]]":
        """Name and module of each direct submodule, each module once."""
        return _once(self._own_modules())

    def modules(self) -> "list[Module]":
        """This module and all submodules, each once, parents before children."""
        return [module for _, module in self.named_modules()]

    def named_modules(self, prefix: str = "") -> "list[tuple[str, Module]]":
        """Dotted path and module of this module and of all submodules, each once.

        Args:
            prefix: The path of this module itself.
        """
        found: dict[int, tuple[str, Module]] = {}
        self._collect(prefix, found)
        return list(found.values())

    def parameters(self, recurse: bool = True) -> list[Parameter]:
        """The parameters, each once, also if it is used in several places (tied weights).

        Args:
            recurse: Whether those of the modules inside count too.

        >>> from minima import nn
        >>> parameters = nn.Linear(2, 3).parameters()
        >>> len(parameters), parameters[0].shape
        (2, (3, 2))
        """
        return [parameter for _, parameter in self.named_parameters(recurse=recurse)]

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> list[tuple[str, Parameter]]:
        """Dotted path and parameter, each parameter once, under the first of its paths.

        Args:
            prefix: The path of this module itself.
            recurse: Whether those of the modules inside count too.

        >>> from minima import nn
        >>> [name for name, _ in nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).named_parameters()]
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        owners = self.named_modules(prefix) if recurse else [(prefix, self)]
        return _once((_join(path, name), value) for path, owner in owners for name, value in owner._own_parameters())

    def buffers(self, recurse: bool = True) -> list[Tensor]:
        """The buffers, each once.

        Args:
            recurse: Whether those of the modules inside count too.
        """
        return [buffer for _, buffer in self.named_buffers(recurse=recurse)]

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> list[tuple[str, Tensor]]:
        """Dotted path and buffer, each buffer once.

        Args:
            prefix: The path of this module itself.
            recurse: Whether those of the modules inside count too.
        """
        owners = self.named_modules(prefix) if recurse else [(prefix, self)]
        return _once((_join(path, name), value) for path, owner in owners for name, value in owner._own_buffers())

    def state_dict(self) -> dict[str, Tensor]:
        """Copy all parameters and persistent buffers into a flat dict with PyTorch's names.

        The result is a snapshot: further training does not change it, so ``best = model.state_dict()`` keeps the best
            weights. (PyTorch returns aliases, which do change.) A tied parameter appears under each of its names.

        >>> from minima import nn
        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: value.detach().clone() for name, value in self._state("")}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Copy values into the parameters and buffers; if any value does not fit, nothing is copied.

        Arrays are changed in place, so optimizers and views see the new values; each array keeps its dtype.

        Args:
            state_dict: A mapping of names to `Tensor`, NumPy array, torch tensor, or other values that `numpy.asarray`
                accepts.
            strict: Whether the names must be exactly those of `state_dict`. Shapes must always fit.

        Returns:
            The missing and the unexpected names, which can exist only with ``strict=False``.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: A name or a shape does not fit; the message lists all mismatches.
        """
        return self._prepare_load(state_dict, strict)()

    def _state_views(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self._state("")}

    def _prepare_load(self, state_dict: Mapping[str, Any], strict: bool = True) -> Callable[[], LoadReport]:
        own = dict(self._state(""))
        who = f"{type(self).__name__}.load_state_dict"
        flag(who, "strict", strict)
        plain = state_dict
        if isinstance(cast(object, state_dict), Mapping):
            plain = {n: value.detach() if isinstance(value, Tensor) else value for n, value in state_dict.items()}
        arrays = {name: tensor.buffer for name, tensor in own.items()}
        report, values = fitting(who, "the module", arrays, plain, strict=strict)

        def write() -> LoadReport:
            for name, value in values.items():
                own[name].data = value
            return report

        return write

    def train(self, mode: bool = True) -> Self:
        """Set ``training`` on this module and all submodules; return the module.

        Args:
            mode: ``True`` for training, ``False`` for evaluation.
        """
        flag(f"{type(self).__name__}.train", "mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set ``training`` to ``False`` on this module and all submodules; return the module."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradient of every parameter to ``None``.

        Args:
            set_to_none: True, PyTorch's default, is the only allowed value.

        Raises:
            TypeError: ``set_to_none`` has another value.
        """
        dropped(f"{type(self).__name__}.zero_grad", set_to_none)
        for module in self.modules():
            for _, parameter in module._own_parameters():
                parameter.grad = None

    def apply(self, fn: Callable[["Module"], object]) -> Self:
        """Call ``fn`` on all submodules and then on this module, children first; return the module.

        >>> from minima import nn
        >>> _ = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).apply(lambda module: print(type(module).__name__))
        Linear
        ReLU
        Sequential
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def __repr__(self) -> str:
        inside = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._own_modules()]
        extra = self.extra_repr()
        if not inside:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([extra, *inside] if extra else inside) + "\n)"

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, value) for name, value in self._own_parts() if isinstance(value, Parameter))

    def _own_modules(self) -> Iterator[tuple[str, "Module"]]:
        return ((name, value) for name, value in self._own_parts() if isinstance(value, Module))

    def _own_parts(self) -> "Iterator[tuple[str, Parameter | Module]]":
        """The parameters and modules among the attributes, and those in plain lists and dicts among them."""
        attributes = vars(self)
        for name, value in attributes.items():
            if isinstance(value, Parameter | Module):
                yield name, value
            elif isinstance(value, _HOLDERS) and value:
                direct = {id(other) for other in attributes.values() if isinstance(other, Parameter | Module)}
                for path, part in held_parts(type(self).__name__, name, value):
                    if id(part) not in direct:
                        yield path, part

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        held = ((name, vars(self)[name]) for name in self._buffer_names())
        return ((name, value) for name, value in held if value is not None)

    def _buffer_names(self) -> dict[str, bool]:
        """Names of the buffers, and whether each is persistent."""
        return vars(self).get("_buffers", {})

    def _collect(self, path: str, found: "dict[int, tuple[str, Module]]") -> None:
        """Note this module and those inside it under their ``id``, with the first path to each."""
        if id(self) not in found:
            found[id(self)] = path, self
            for name, module in self._own_modules():
                module._collect(_join(path, name), found)

    def _state(self, path: str) -> Iterator[tuple[str, Tensor]]:
        """Everything that `state_dict` holds, the parts that are in several places under each of their names."""
        for name, parameter in self._own_parameters():
            yield _join(path, name), parameter
        for name, buffer in self._own_buffers():
            if self._buffer_names()[name]:
                yield _join(path, name), buffer
        for name, module in self._own_modules():
            yield from module._state(_join(path, name))


def check_name(who: str, module: Module, name: str) -> None:
    """Raise an error unless ``name`` can be the name of a new part of ``module``."""
    if not isinstance(cast(object, name), str) or not name or "." in name:
        raise ValueError(sentence(who, "name must be a string, not empty and without dots", got=name))
    if name in vars(module) or name in dir(type(module)):
        raise ValueError(sentence(who, "name must not be taken by another attribute", got=name))


_HOLDERS = (list, tuple, dict, set, frozenset, deque)


def held_parts(
    who: str, path: str, holder: Any, around: tuple[int, ...] = ()
) -> "Iterator[tuple[str, Parameter | Module]]":
    """Dotted path and part for the parameters and modules in a plain list, tuple or dict, and in those inside it."""
    if id(holder) in around:  # it holds itself
        return
    kind = holder.__class__
    named = issubclass(kind, dict)
    entries: Any = holder.items() if named else enumerate(holder)
    for key, value in entries:
        inner = isinstance(value, _HOLDERS)
        if not (inner or isinstance(value, Parameter | Module)):
            continue
        place = f"{path}.{key}"
        parts = held_parts(who, place, value, (*around, id(holder))) if inner else ((place, value),)
        for part in parts:
            if not issubclass(kind, list | tuple | dict):
                rule = f"attribute {path!r} holds parameters or modules in a {kind.__name__}"
                raise TypeError(sentence(who, rule, hint="use a list or a dict, which give them names"))
            if named and (not isinstance(key, str) or not key or "." in key):
                rule = f"attribute {path!r} holds parameters or modules under a key that is no name"
                raise ValueError(sentence(who, rule, got=key, hint="use strings, not empty and without dots"))
            yield part


def _may_be_buffer(value: object) -> bool:
    return value is None or (isinstance(value, Tensor) and not isinstance(value, Parameter))


def _once(named: Iterable[tuple[str, _Part]]) -> list[tuple[str, _Part]]:
    first: dict[int, tuple[str, _Part]] = {}
    for name, part in named:
        first.setdefault(id(part), (name, part))
    return list(first.values())


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

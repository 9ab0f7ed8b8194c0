"""Parameter: a Tensor that a Module counts among what is trained."""

from minima.autograd import Tensor
from minima.autograd.arrays import DTypeLike

__all__ = ["Parameter"]


class Parameter(Tensor):
    """A `Tensor` that, assigned to an attribute of a `Module`, is one of its parameters.

    Args:
        data: A number, nested sequences, an array or a tensor of a floating dtype; copied.
        dtype: A floating dtype. By default a tensor keeps its own, and all else becomes float32.
        requires_grad: Whether ``backward`` accumulates a gradient; ``False`` freezes the parameter.

    Raises:
        TypeError: The data are not floating and require a gradient.

    PyTorch's Parameter shares the memory of the tensor that it is made from; this one has memory of its own.

    >>> from minima.nn import Parameter
    >>> Parameter([1.0, 2.0])
    Parameter([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: object, dtype: DTypeLike | None = None, requires_grad: bool = True) -> None:
        super().__init__(data, dtype=dtype, requires_grad=requires_grad)

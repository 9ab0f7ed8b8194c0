"""What is to be read of an optimizer of PyTorch: its equations, and an explanation."""

from typing import TYPE_CHECKING, Any, ClassVar

from minima.errors import sentence
from minima.optim.language.formula import Formula
from minima.torch.dialect import FLAG, Dialect
from minima.torch.worded import told, worded

if TYPE_CHECKING:
    from minima.explain import Explanation

__all__ = ["Readable"]


class Readable:
    """The methods, in terms of a dialect."""

    _dialect: ClassVar[Dialect]

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
        if not hasattr(cls, "_dialect"):
            rule, hint = "it is abstract", "use one of minima.torch's, such as Adam, or adapt() a rule"
            raise TypeError(sentence("minima.torch.Optimizer", rule, hint=hint))
        return cls._dialect

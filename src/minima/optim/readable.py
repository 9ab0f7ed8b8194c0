"""What is to be read of an optimizer: its equations, an explanation, and what it is printed as."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from minima.checks import integer
from minima.errors import sentence
from minima.optim.language.declaration import CHOICES, DECAY_MODE, DECAYS, Declaration
from minima.optim.language.formula import Formula
from minima.optim.language.rule import Rule
from minima.optim.language.trace import Trace, trace

if TYPE_CHECKING:
    from minima.explain import Explanation

__all__ = ["Readable"]


class Readable:
    """The methods, in terms of a rule and what its class declares."""

    rule: ClassVar[Rule | None]
    _declaration: ClassVar[Declaration]
    params: tuple[Any, ...]
    defaults: dict[str, Any]

    @classmethod
    def formula(cls, *, decay: str = "decoupled", ndim: int = 2, **flags: Any) -> Formula:
        """The equations of the update, derived from the rule: as plain ``text`` and, with SymPy, as ``latex``.

        Args:
            decay: How weight decay works, as in the constructor. ndim: For a rule that asks for ``param.ndim`` or
                compares rows with columns, how many axes the parameter has: by default it is a matrix, and has fewer
                rows than columns; 1 shows what the rule does to vectors.
            flags: Values that select another variant of the rule: flags and optional hyperparameters, as in
                ``SGD.formula(nesterov=True)``; hyperparameters whose default 0 switches a term off; and ``maximize``,
                ``cautious``, ``max_norm`` and ``ema_decay``.

        Raises:
            TypeError: One of ``flags`` is not a hyperparameter, or the class overrides ``step()`` and has no rule.
            ValueError: A value is out of its range, there is no such ``decay``, or ``ndim`` is negative.

        >>> from minima.optim import AdaGrad
        >>> print(AdaGrad.formula().text)
        param = (1 - lr*wd)*param
        cache = cache + grad**2
        param = param - lr/sqrt(cache + eps)*grad
        """
        decay = cls._way(decay, flags)
        return Formula(cls._trace(flags, decay, ndim))

    @classmethod
    def explain(
        cls,
        *,
        dtype: str = "float32",
        state_dtype: str | None = None,
        parameters: int | None = None,
        decay: str = "decoupled",
        ndim: int = 2,
        **flags: Any,
    ) -> "Explanation":
        """A description of the optimizer to print: its equations, its state, the cost of a step, and its loops.

        Args:
            dtype: The dtype of the parameters: ``"float32"``, ``"float64"`` or ``"float16"``.
            state_dtype: How the state is kept, as in the constructor.
            parameters: An additional number of parameters for which a step is timed.
            decay: How weight decay works, as in the constructor.
            ndim: As for ``formula``.
            flags: As for ``formula``.

        Raises:
            TypeError: As for ``formula``.
            ValueError: A value is out of its range, or not among those that are allowed.

        >>> from minima.optim import SGD
        >>> explanation = SGD.explain()
        >>> explanation.bytes_moved, explanation.operations
        (12.0, {'mul': 1, 'add/sub': 1})
        """
        from minima.explain import Explanation  # it looks at everything, optimizers too

        decay = cls._way(decay, flags)
        flags = {cls._declaration.spelled(name): value for name, value in flags.items()}
        traced = cls._trace(cls._declaration.bind((), flags), decay, ndim)
        return Explanation(cls, traced, flags, dtype=dtype, state_dtype=state_dtype, decay=decay, parameters=parameters)

    def __repr__(self) -> str:
        shown = {
            name: value
            for name, value in self.defaults.items()
            if name not in CHOICES or value != CHOICES[name].default
        }
        values = "".join(f", {name}={value!r}" for name, value in shown.items())
        many = len(self.params)
        return f"{type(self).__name__}({many} parameter{'s' * (many != 1)}{values})"

    def _repr_markdown_(self) -> str:  # notebooks show this
        from minima.explain.summary import summary

        own: Any = self
        return summary(own).markdown()

    @classmethod
    def _way(cls, decay: str, flags: dict[str, Any]) -> str:
        """How weight decay works, by either name: the other one is taken out of the flags."""
        if DECAY_MODE not in flags or DECAY_MODE not in cls._declaration.aliases:
            return decay
        if decay != DECAYS[0]:
            hint = f"decay and {DECAY_MODE} are the same argument"
            raise TypeError(sentence(cls.__name__, "decay is given twice", hint=hint))
        return flags.pop(DECAY_MODE)

    @classmethod
    def _trace(cls, given: Mapping[str, Any], decay: str = "decoupled", ndim: int = 2) -> Trace:
        """The rule, traced in the variant that these hyperparameters choose, with all terms that they leave open."""
        if cls.rule is None:
            raise TypeError(sentence(cls.__name__, "an optimizer that overrides step() has no rule to read"))
        decay = cls._declaration.entries["decay"].check(cls.__name__, decay)
        integer(cls.__name__, "ndim", ndim)
        variant = cls._declaration.complete(given, decay)
        traced = trace(cls.rule, cls._declaration.coefficient, variant)
        return trace(cls.rule, cls._declaration.coefficient, variant, "wide") if traced.asked and ndim > 1 else traced

"""What a rule may not say, and what to write instead, in one sentence when its class is made."""

from abc import ABC, abstractmethod
from typing import Any, NoReturn, cast

__all__ = ["Refusing"]

_WORDS = "sqrt, cbrt, exp, log, abs, sign, maximum, minimum, clip, where, sum, mean, max, norm, total"
REDUCING = {"sum": "sum", "mean": "mean", "max": "max", "amax": "max", "norm": "norm", "vector_norm": "norm"}
"""The words for what makes one number of many, by their names elsewhere."""
_INSTEAD = {
    **{word: f"{word}(x), with {word} of minima.optim" for word in ("sqrt", "cbrt", "exp", "log", "abs", "sign")},
    **{word: f"{word}(x, y), with {word} of minima.optim" for word in ("maximum", "minimum")},
    **{name: f"{word}(x), with {word} of minima.optim" for name, word in REDUCING.items()},
    **dict.fromkeys(("min", "amin"), "-max(-x), with max of minima.optim"),
    **dict.fromkeys(("var", "std"), "mean((x - mean(x))**2), with mean of minima.optim"),
    "where": "where(condition, x, y), with where of minima.optim",
    **dict.fromkeys(("fabs", "absolute"), "abs(x), with abs of minima.optim"),
    **dict.fromkeys(("sgn",), "sign(x), with sign of minima.optim"),
    **dict.fromkeys(("fmax",), "maximum(x, y), with maximum of minima.optim"),
    **dict.fromkeys(("fmin",), "minimum(x, y), with minimum of minima.optim"),
    **dict.fromkeys(("clip", "clamp"), "clip(x, low, high), with clip of minima.optim"),
    **dict.fromkeys(("add",), "x + y"),
    **dict.fromkeys(("sub", "subtract"), "x - y"),
    **dict.fromkeys(("mul", "multiply"), "x * y"),
    **dict.fromkeys(("div", "divide", "true_divide"), "x / y"),
    **dict.fromkeys(("matmul", "mm", "dot"), "x @ y for the product of matrices, x * y for that of elements"),
    **dict.fromkeys(("transpose", "t", "mT", "swapaxes"), "x.T"),
    **dict.fromkeys(("size", "numel"), "rows * columns, of rows, columns = param.shape"),
    **dict.fromkeys(("reshape", "view", "flatten", "ravel"), "x itself, of which sum, mean, max and norm see all"),
    **dict.fromkeys(("pow", "power", "float_power"), "x**y"),
    **dict.fromkeys(("square",), "x**2"),
    **dict.fromkeys(("rsqrt",), "1 / sqrt(x), with sqrt of minima.optim"),
    **dict.fromkeys(("reciprocal",), "1 / x"),
    **dict.fromkeys(("neg", "negative"), "-x"),
    **dict.fromkeys(("lerp",), "x + weight * (y - x)"),
    **dict.fromkeys(("addcmul",), "x + value * y * z"),
    **dict.fromkeys(("addcdiv",), "x + value * y / z"),
    **dict.fromkeys(("zeros_like",), "0.0"),
    **dict.fromkeys(("ones_like",), "1.0"),
    **dict.fromkeys(("isnan",), "x != x"),
    **dict.fromkeys(
        ("item", "clone", "copy", "detach", "data", "to", "float", "astype", "numpy", "tolist"), "x itself"
    ),
}
"""How a rule writes what has another name elsewhere."""
_SHORT = 30
"""Characters of a value that a hint repeats."""
_ONE = "update sees a value that stands for arrays of any kind"
_EACH = f"write what happens to each element, with operators and {_WORDS} of minima.optim"


class Refusing(ABC):
    """A value that Python, NumPy, PyTorch and JAX can do nothing with by themselves."""

    @abstractmethod
    def refuse(self, rule: str, hint: str) -> NoReturn:
        """Complain of what the rule under trace does."""
        raise NotImplementedError

    @abstractmethod
    def refuse_value(self, value: Any) -> NoReturn:
        """Complain of what the rule under trace computes with."""
        raise NotImplementedError

    @abstractmethod
    def text(self) -> str:
        """The value as the rule writes it."""
        raise NotImplementedError

    def refuse_function(self, library: str, name: str) -> NoReturn:
        """Complain of a function of somebody else's library."""
        if instead := _INSTEAD.get(name.removeprefix("linalg_").removesuffix("_")):
            hint = f"write {instead}"
        else:
            hint = _EACH
        self.refuse(f"update must not call {library}'s {name}: a rule runs on arrays of any kind", hint)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which protocols ask for, to find out what something is
            raise AttributeError(name)
        if word := REDUCING.get(name):
            rule = f"update must not use .{name}: a rule runs on arrays of any kind"
            it = text if len(text := self.text()) <= _SHORT else "x"
            self.refuse(rule, f"write {word}({it}) or {word}({it}, axis=0), with {word} of minima.optim")
        if instead := _INSTEAD.get(name.removesuffix("_")):
            self.refuse(f"update must not use .{name}: a rule runs on arrays of any kind", f"write {instead}")
        self.refuse(f"{_ONE}, which has no .{name}", _EACH)

    # Its parts -------------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> NoReturn:
        self.refuse(f"{_ONE}, which cannot be indexed", "write where(condition, x, y) to choose by value")

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        self.refuse(f"{_ONE}, which cannot be assigned to by index", "write x = where(condition, new, x)")

    def __len__(self) -> NoReturn:
        self.refuse(f"{_ONE}, which has no length", "write rows, columns = param.shape for how many there are")

    def __iter__(self) -> NoReturn:
        hint = "write what happens to each element, and sum(x) or max(x), of minima.optim, for all of them"
        self.refuse(f"{_ONE}, which cannot be iterated over", hint)

    def __contains__(self, item: Any) -> NoReturn:
        self.refuse(f"{_ONE}, which contains nothing", "compare with ==")

    # Operators that rules have not -----------------------------------------------------------------------------------

    def _in_place(self, other: Any) -> NoReturn:
        self.refuse(
            "update must not change a value in place (+=, -=, *=, /=, @=), which may be the caller's array",
            "write x = x + y",
        )

    __iadd__ = __isub__ = __imul__ = __imatmul__ = __itruediv__ = __ipow__ = __iand__ = __ior__ = _in_place

    def _unknown(self, other: Any) -> NoReturn:
        self.refuse("update must not use //, ^, << and >>", "use +, -, *, /, ** and comparisons")

    __floordiv__ = __rfloordiv__ = __ifloordiv__ = __imod__ = __divmod__ = __rdivmod__ = _unknown
    __xor__ = __rxor__ = __ixor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _unknown

    # What turns it into something else -------------------------------------------------------------------------------

    def _number(self, *args: Any) -> NoReturn:
        self.refuse(
            "update must not turn a value into a Python number, as functions of math do",
            "use sqrt, cbrt, exp, log, abs, sign of minima.optim",
        )

    __float__ = __int__ = __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = _number

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.refuse(
            "update must not make an array of a value, as functions of NumPy do",
            f"use operators and {_WORDS} of minima.optim",
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        self.refuse_function("NumPy", function.__name__)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        values: list[Any] = [*args, *(kwargs or {}).values()]
        values += [inner for value in values if isinstance(value, list | tuple) for inner in cast(Any, value)]
        mine = next(value for value in values if isinstance(value, cls))
        for value in values:
            if isinstance(value, types) and not isinstance(value, cls):
                mine.refuse_value(value)
        mine.refuse_function("PyTorch", function.__name__)

    @property
    def __jax_array__(self) -> NoReturn:  # JAX asks whether there is one, and would word it otherwise if it called it
        rule = "update must not call functions of JAX: a rule runs on arrays of any kind"
        self.refuse(rule, f"use operators and {_WORDS} of minima.optim")

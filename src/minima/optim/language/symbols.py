"""Symbols: what a rule computes with while it is traced, and the graph of shared expressions that they make up."""

import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, cast

import numpy as np

from minima.errors import sentence
from minima.optim.language.frames import Frames
from minima.optim.language.infix import ATOM, Written, literal, written
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.operators import Operators
from minima.optim.language.ranks import MODEL, NUMBER, TENSOR, Axes, axes_of, matrix_shape, rank_of, shape_in_words
from minima.optim.language.refusals import Refusing
from minima.optim.language.rule import GIVEN

__all__ = ["FORMS", "Graph", "Symbol", "form_of", "reachable"]

FORMS = ("vector", "wide", "square", "tall")
"""What a rule may know of the shape of a parameter while it is traced: no matrix; one of fewer rows than columns, of as
many, of more."""
_MASKED = 1e-3
"""What the share of entries that a cautious step keeps counts as, at least."""

_OPERATORS = {"power": "pow"} | {row.numpy.__name__: name for name, row in OPERATIONS.items() if row.python}
"""What NumPy calls Python's operators."""


class Symbol(Refusing, Operators):
    """A value of a rule under trace: an input, a literal, or an operation on other symbols."""

    __slots__ = ("args", "axes", "graph", "is_truth", "operation", "rank", "value")

    def __init__(
        self,
        graph: "Graph",
        operation: str,
        args: "tuple[Symbol, ...]",
        value: str | float = "",
        rank: int = NUMBER,
        axes: Axes = ("1", "1"),
    ) -> None:
        self.graph = graph
        self.operation = operation
        """``"array"``, ``"number"`` (an input that is named by ``value``), ``"size"`` (the number of ``"rows"`` or of
        ``"columns"``), ``"literal"``, or what a line of a program may do."""
        self.args = args
        self.value = value
        self.rank = rank
        """How many there are of it."""
        self.axes = axes
        """What its rows and columns are."""
        chooses = operation == "where" and all(arg.is_truth for arg in args)
        self.is_truth = chooses or operation in OPERATIONS and OPERATIONS[operation].is_truth

    @property
    def on_host(self) -> bool:
        """Whether it depends on hyperparameters and ``t`` alone."""
        return self.rank == NUMBER

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        graph, symbols = self.graph, tuple(map(self.graph.symbol, args))
        if name in REDUCTIONS:
            return graph.reduced(name, *symbols)
        if name == "total":
            return graph.total(*symbols)
        if name == "direction":
            return graph.directed(*symbols)
        if name in ("eigh", "qr"):
            return graph.decomposed(name, *symbols)
        if name == "sort_columns":
            return graph.sorted(*symbols)
        if name in _SIGNS and all(symbol.operation == "size" for symbol in symbols):
            return graph.compared(name, *symbols)
        if graph.off is not None:
            left = graph.left_out(name, symbols)
            if left is not None:
                return left
            if name == "mul" and symbols[0].operation == "literal" and symbols[0].value == 1:  # what is left of 1 - wd
                return symbols[1]
        if name in ("and", "or", "not") and not all(symbol.is_truth for symbol in symbols):
            self.graph.refuse("update must use &, | and ~ between comparisons only", "write (x > 0) & (y > 0)")
        if name == "where" and symbols[0].operation == "literal":
            return symbols[1] if symbols[0].value else symbols[2]
        if name == "where" and not symbols[0].is_truth:
            self.graph.refuse("where must be given a comparison as its condition", "write where(x != 0, ...)")
        return self.graph.node(name, symbols)

    def __matmul__(self, other: Any) -> "Symbol":
        return self.graph.product(self, self.graph.symbol(other))

    def __rmatmul__(self, other: Any) -> "Symbol":
        return self.graph.product(self.graph.symbol(other), self)

    @property
    def T(self) -> "Symbol":  # noqa: N802 - as arrays of all libraries have it
        """What is rows and columns here, the other way round."""
        if self.operation == "transpose":
            return self.args[0]
        if self.axes == ("1", "1"):
            return self
        if self.graph.is_zero(self):
            return self.graph.zero((self.axes[1], self.axes[0]))
        return self.graph.node("transpose", (self,))

    @property
    def ndim(self) -> int:
        """How many axes: 2 of a matrix, which a parameter of more axes counts as; 1 of what is none."""
        if self.axes == ("1", "1"):
            return 0
        self.graph.asked = True
        return 1 if self.graph.form == "vector" else 2

    @property
    def shape(self) -> "tuple[Any, Any]":
        """The numbers of rows and of columns; of what is no matrix, each element is a row."""
        size = {axis: self.graph.node("size", (), name) for axis, name in (("r", "rows"), ("c", "columns"))}
        return (size.get(self.axes[0], 1), size.get(self.axes[1], 1))

    def __mod__(self, other: Any) -> "Symbol":
        return self.graph.remainder(self, self.graph.symbol(other))

    def __rmod__(self, other: Any) -> "Symbol":
        return self.graph.remainder(self.graph.symbol(other), self)

    def __bool__(self) -> bool:
        if self in self.graph.switches:  # those that are off are plain numbers
            return True
        if self is self.graph.off:
            return False
        if self.is_truth and self.graph.is_known(self):
            return self.graph.answered(self)
        if any(arg.operation == "size" for arg in (self, *self.args)):
            rule = "update must not branch on a number of rows or columns"
            self.refuse(rule, "compare it with another number, as in rows > 1000, or use where(condition, x, y)")
        hint = "use where(condition, x, y), minimum(x, y) or maximum(x, y)"
        if self.operation == "number":
            hint += f"; if 0 is to switch a term off, declare {self.value} with hyper(..., switch=True)"
        self.refuse("update must not branch on a value ('if', 'and', 'or', 'min', 'max')", hint)

    def text(self) -> str:
        return _written(self)[0]

    def __repr__(self) -> str:  # in complaints
        return self.text()

    def refuse(self, rule: str, hint: str) -> NoReturn:
        self.graph.refuse(rule, hint)

    def refuse_value(self, value: Any) -> NoReturn:
        self.graph.refuse_value(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> "Symbol":
        if ufunc.__name__ in _OPERATORS and method == "__call__" and not kwargs:  # a number of NumPy's stood first
            return self.call(_OPERATORS[ufunc.__name__], args)
        for value in args:
            if isinstance(value, np.ndarray):  # of several entries, which no rule may compute with
                self.refuse_value(value)
        self.refuse_function("NumPy", ufunc.__name__)


class Graph:
    """The nodes of one trace, each there once."""

    def __init__(self, who: str, form: str = FORMS[0], answers: Sequence[bool] = ()) -> None:
        self.who = who
        self.answers = answers
        """What is answered to the first questions of the rule; to all others it is no."""
        self.questions: dict[Symbol, bool] = {}
        """The conditions that it has asked for, and the answers."""
        self.form = form
        """What is known of the shape of the parameter."""
        self.asked = False
        """Whether the rule asked for it."""
        self.off: Symbol | None = None
        """The coefficient of weight decay that a rule places itself, where it is 0: its terms are left out."""
        self.cautious: Symbol | None = None
        """The gradient with which steps must agree, where they must."""
        self.marks = False
        """Whether the rule said which value is its direction."""
        self._nodes: dict[tuple[Any, ...], Symbol] = {}
        self._zeros: set[Symbol] = set()
        """The terms that are left out."""
        self.switches: set[Symbol] = set()
        """Hyperparameters that are known not to be 0."""
        self.refusal: TypeError | None = None
        """The last complaint."""
        self.frames = Frames()
        """Those of the rule."""
        self.earlier: dict[Symbol, str] = {}
        """What variables of the rule held while it ran; not all do at its end."""

    def node(self, operation: str, args: tuple[Symbol, ...], value: str | float = "") -> Symbol:
        """The node of this description: the one that is there already, or a new one."""
        key = (operation, *map(id, args), repr(value))  # repr: 0.0 and -0.0 are equal, and not the same
        if key not in self._nodes:
            axes, bits = self._axes(operation, args), NUMBER
            for arg in args:
                bits |= arg.rank
            rank = {"total": MODEL, "narrow": TENSOR, "size": TENSOR}.get(operation)
            if rank is None:
                rank = rank_of(axes, TENSOR if operation in REDUCTIONS else bits)
            self._nodes[key] = Symbol(self, operation, args, value, rank, axes)
            for name, held in self.frames.variables():
                if isinstance(held, Symbol) and held.args:
                    self.earlier.setdefault(held, name)
        return self._nodes[key]

    def array(self, name: str, rank: int) -> Symbol:
        """An input of the program."""
        node = self._nodes["array", name] = Symbol(self, "array", (), name, rank, axes_of(rank))
        return node

    def _axes(self, operation: str, args: tuple[Symbol, ...]) -> Axes:
        """The axes of a result; a complaint if operands do not fit together."""
        if operation in REDUCTIONS:
            rows, columns = args[0].axes
            return {"0": ("1", columns), "1": (rows, "1")}.get(operation[-1], ("1", "1"))
        if operation == "transpose":
            rows, columns = args[0].axes
            return columns, rows
        if operation == "matmul":
            return args[0].axes[0], args[1].axes[1]
        if operation == "item0" and args[0].operation == "eigh":
            return "1", args[0].axes[1]
        if operation == "sort_columns":
            return args[0].axes
        found = ["1", "1"]
        for arg in args:
            for place, axis in enumerate(arg.axes):
                if axis != "1" and found[place] not in ("1", axis):
                    shapes = " and ".join(
                        dict.fromkeys(shape_in_words(arg.axes) for arg in args if arg.axes != ("1", "1"))
                    )
                    self.refuse(f"update must not combine arrays of {shapes}", "look for a .T too many or too few")
                found[place] = axis if axis != "1" else found[place]
        return found[0], found[1]

    def product(self, x: Symbol, y: Symbol) -> Symbol:
        """The product of two matrices."""
        if ("1", "1") in (x.axes, y.axes):
            self.refuse("update must not use @ with a number", "write x * y")
        if x.axes[1] != y.axes[0]:
            rule = f"update must not multiply arrays of {shape_in_words(x.axes)} and {shape_in_words(y.axes)} by @"
            self.refuse(rule, "write x @ x.T, or x * y for the product of elements")
        if x in self._zeros or y in self._zeros:
            return self.zero(self._axes("matmul", (x, y)))
        return self.node("matmul", (x, y))

    def reduced(self, name: str, x: Symbol) -> Symbol:
        """A sum, mean, maximum or norm, of all of a value or along an axis."""
        word, axis = (name[:-1], int(name[-1])) if name[-1] in "01" else (name, None)
        if x in self._zeros:
            return self.zero(self._axes(name, (x,)))
        if x.axes == ("1", "1") or axis is not None and x.axes[axis] == "1":  # there is one of it
            return self.node("abs", (x,)) if word == "norm" else x
        if axis is not None and x.axes[1 - axis] == "1":  # one is left
            name = word
        return self.node(name, (x,))

    def decomposed(self, name: str, x: Symbol) -> tuple[Symbol, Symbol]:
        """The two matrices that a square one is taken apart into."""
        if x.axes == ("1", "1") or x.axes[0] != x.axes[1] or x in self._zeros:
            got = "one number" if x.axes == ("1", "1") else f"an array of {shape_in_words(x.axes)}"
            self.refuse(f"update must give {name} a square matrix, and gives it {got}", f"write {name}(x @ x.T)")
        both = self.node(name, (x,))
        return self.node("item0", (both,)), self.node("item1", (both,))

    def sorted(self, x: Symbol, by: Symbol) -> Symbol:
        """The columns of a matrix in the order of one number of each."""
        if x.axes[1] == "1" or by.axes != ("1", x.axes[1]):
            of, got = shape_in_words(x.axes), shape_in_words(by.axes)
            rule = f"update must sort the columns of {of} by one number of each, and does it by {got}"
            self.refuse(rule, "write sort_columns(x, sum(x, axis=0)), or x.T for its rows")
        return x if x in self._zeros else self.node("sort_columns", (x, by))

    def total(self, x: Symbol) -> Symbol:
        """A sum over all parameters."""
        if x in self._zeros:
            return x
        if x.rank in (NUMBER, MODEL):
            self.refuse("update must give total something that each parameter has", "write total(norm(grad)**2)")
        each = x if x.rank == TENSOR else self.node("sum", (x,))
        return self.node("total", (each,), self.frames.place())

    def directed(self, x: Symbol) -> Symbol:
        """The direction of a step; where steps must be cautious, without the entries that go against the gradient."""
        self.marks = True
        if x.on_host:
            self.refuse_direction()
        if self.cautious is None or x is self.cautious:  # which never goes against itself
            return x
        mask = self.node("where", (x * self.cautious > 0, self.symbol(1.0), self.symbol(0.0)))
        self.earlier[mask] = "mask"
        return x * (mask / self.node("maximum", (self.reduced("mean", mask), self.symbol(_MASKED))))

    def compared(self, name: str, x: Symbol, y: Symbol) -> bool:
        """How rows compare with columns, which a form knows."""
        self.asked = True
        known = {"wide": -1, "square": 0}.get(self.form, 1)
        sign = 0 if x is y else known if x.value == "rows" else -known
        return bool(_SIGNS[name](sign, 0))

    def is_known(self, condition: Symbol) -> bool:
        """Whether a condition is of the step or of the shape, and known before a step."""
        leaves = [node for node in reachable([condition]) if not node.args and node.operation != "literal"]
        of_these = [leaf for leaf in leaves if leaf.operation == "size" or leaf.value in GIVEN]
        return bool(of_these) and all(leaf.operation in ("number", "size") for leaf in leaves)

    def answered(self, condition: Symbol) -> bool:
        """The answer to a question, which is the same wherever it is asked."""
        if condition not in self.questions:
            place = len(self.questions)
            self.questions[condition] = place < len(self.answers) and self.answers[place]
        return self.questions[condition]

    def remainder(self, x: Symbol, y: Symbol) -> Symbol:
        """What is left of a division, of numbers that are known before a step."""
        if max(x.rank, y.rank) > TENSOR or any(node.operation == "array" for node in reachable([x, y])):
            self.refuse("update must not use % on what differs between elements", "use it of t, as in if t % 10 == 0")
        return self.node("mod", (x, y))

    def left_out(self, name: str, args: tuple[Symbol, ...]) -> Symbol | None:
        """An operation without its terms that are switched off; None where it has none, or does not become simpler."""
        x, y = args[0], args[-1]
        if name in _KEEP_ZERO and x in self._zeros:
            return x
        if name == "pow" and x in self._zeros and y.operation == "literal" and float(y.value) > 0:
            return x
        if name == "mul" and (x in self._zeros or y in self._zeros) or name == "div" and x in self._zeros:
            return self.zero(self._axes(name, args))
        if name in ("add", "sub") and y in self._zeros:
            return x
        if name in ("add", "sub") and x in self._zeros:
            return y if name == "add" else -y
        return None

    def zero(self, axes: Axes = ("1", "1")) -> Symbol:
        """A term that is switched off, of the size that it would have."""
        key = ("zero", axes)
        if key not in self._nodes:
            rank = rank_of(axes, NUMBER)
            self._nodes[key] = Symbol(self, "literal", (), 0.0, rank, axes)
            self._zeros.add(self._nodes[key])
        return self._nodes[key]

    def is_zero(self, x: Symbol) -> bool:
        """Whether a term is switched off."""
        return x in self._zeros

    def symbol(self, value: Any) -> Symbol:
        """A value as a node: itself, or a literal."""
        if isinstance(value, Symbol):
            if value.graph is not self:
                rule = "update must not use a value that was kept from an earlier call"
                self.refuse(rule, "what one step hands to the next is state: name it after grad in the signature")
            return value
        if isinstance(value, numbers.Real):
            try:
                return self.node("literal", (), float(value))
            except OverflowError:
                self.refuse("update must not compute with an integer beyond all floats", "write math.inf")
        self.refuse_value(value)

    def refuse_value(self, value: Any) -> NoReturn:
        """Complain of what is no node and no number."""
        self.refusal = TypeError(
            sentence(self.who, "update may compute with its arguments and with numbers only", got=value)
        )
        raise self.refusal

    def refuse_direction(self) -> NoReturn:
        """Complain of a direction that is one number for all elements."""
        self.refuse("direction must be given an array, and is given a number", "write param - lr * direction(step)")

    def refuse(self, rule: str, hint: str) -> NoReturn:
        """Complain of what the rule under trace does."""
        self.refusal = TypeError(sentence(self.who, rule, hint=hint))
        raise self.refusal


def reachable(results: Iterable[Symbol]) -> Iterator[Symbol]:
    """The nodes that the results depend on and the results themselves, each after those that it depends on."""
    seen: set[Symbol] = set()
    stack = [(node, False) for node in reversed(list(results))]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args))


def form_of(shape: Sequence[int]) -> str:
    """Which of FORMS a parameter has.

    >>> form_of((3, 2, 2)), form_of((5,))
    ('wide', 'vector')
    """
    if len(shape) < 2:
        return "vector"
    rows, columns = matrix_shape(shape)
    return "wide" if rows < columns else "tall" if rows > columns else "square"


def _written(node: Symbol) -> Written:
    """A value as the rule writes it, as far as is known."""
    if node.operation == "literal":
        return literal(float(node.value))
    if not node.args:
        return str(node.value), ATOM
    return written(node.operation, [_written(arg) for arg in node.args])


_SIGNS = {name: cast(Any, OPERATIONS[name].python) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
"""The comparisons."""
_KEEP_ZERO = ("neg", "abs", "sqrt", "cbrt", "sign")
"""What makes nothing else of a term that is switched off."""

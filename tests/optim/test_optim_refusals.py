"""What a rule may not say: each is answered when the class is made, in one sentence that says what to write instead."""

import builtins
import math

import numpy as np
import pytest
from rules import BUILT_IN, WHOLE

from minima import Tensor
from minima.optim import (
    Exact,
    Optimizer,
    PerColumn,
    PerRow,
    PerTensor,
    Shared,
    hyper,
    max,
    maximum,
    mean,
    norm,
    sqrt,
    sum,
    total,
    where,
)
from minima.optim.language.ranks import COLUMNS_BY_COLUMNS, ROWS_BY_ROWS

WORDS = "sqrt, cbrt, exp, log, abs, sign, maximum, minimum, clip, where, sum, mean, max, norm, total of minima.optim"
EACH = f"write what happens to each element, with operators and {WORDS}"
KIND = "a rule runs on arrays of any kind"
NUMBER = (
    "update must not turn a value into a Python number, as functions of math do; "
    "use sqrt, cbrt, exp, log, abs, sign of minima.optim"
)
PLACE = "update must not change a value in place (+=, -=, *=, /=, @=), which may be the caller's array; write x = x + y"
OTHER = "update must not use //, ^, << and >>; use +, -, *, /, ** and comparisons"
REMAINDER = "update must use % in the condition of an if alone; write if t % 10 == 0: ..."
JAX = f"update must not call functions of JAX: {KIND}; use operators and {WORDS}"
ONE = "update sees a value that stands for arrays of any kind, which"
LOOP = "write what happens to each element, and sum(x) or max(x), of minima.optim, for all of them"
BRANCH = (
    "update must not branch on a value ('if', 'and', 'or', 'min', 'max'); "
    "use where(condition, x, y), minimum(x, y) or maximum(x, y)"
)


ONLY = "update may compute with its arguments and with numbers only"
TOTAL = "update must give total something that each parameter has; write total(norm(grad)**2)"


def instead(what, hint):
    return f"update must not {what}: {KIND}; write {hint}"


def adds_in_place(param, grad, *, lr):
    grad += lr * param
    return param - grad


def scales_a_number_in_place(param, grad, *, lr):
    lr *= 2
    return param - lr * grad


def loops(param, grad, *, lr):
    for each in grad:
        param = param - lr * each
    return param


def assigns(param, grad, *, lr):
    grad[0] = lr
    return param - grad


REFUSED = [
    (
        lambda param, grad, *, lr: param - lr * np.sqrt(grad),
        instead("call NumPy's sqrt", "sqrt(x), with sqrt of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: np.where(grad > 0, param, lr),
        instead("call NumPy's where", "where(condition, x, y), with where of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: np.clip(grad, -1, lr),
        instead("call NumPy's clip", "clip(x, low, high), with clip of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: param - np.sum(grad),
        instead("call NumPy's sum", "sum(x), with sum of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: param - np.linalg.norm(grad),
        instead("call NumPy's norm", "norm(x), with norm of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: np.matmul(grad, grad),
        instead("call NumPy's matmul", "x @ y for the product of matrices, x * y for that of elements"),
    ),
    (lambda param, grad, *, lr: np.ones(2) @ grad, f"{ONLY}; got array([1., 1.])"),
    (lambda param, grad, *, lr: np.ones(2) * grad, f"{ONLY}; got array([1., 1.])"),
    (
        lambda param, grad, *, lr: np.asarray(grad),
        f"update must not make an array of a value, as functions of NumPy do; use operators and {WORDS}",
    ),
    (lambda param, grad, *, lr: param - math.sqrt(grad), NUMBER),
    (lambda param, grad, *, lr: param - math.floor(grad), NUMBER),
    (lambda param, grad, *, lr: param - round(grad), NUMBER),
    (lambda param, grad, *, lr: param * int(lr), NUMBER),
    (lambda param, grad, *, lr: [param][lr], NUMBER),
    (
        lambda param, grad, *, lr: param - grad.norm(),
        instead("use .norm", "norm(grad) or norm(grad, axis=0), with norm of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: (param**2).sum(),
        instead("use .sum", "sum(param**2) or sum(param**2, axis=0), with sum of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: ((param - lr * grad) * (param + lr * grad)).mean(axis=0),
        instead("use .mean", "mean(x) or mean(x, axis=0), with mean of minima.optim"),
    ),
    (lambda param, grad, *, lr: param - grad.min(), instead("use .min", "-max(-x), with max of minima.optim")),
    (
        lambda param, grad, *, lr: param - grad.var(),
        instead("use .var", "mean((x - mean(x))**2), with mean of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: param.reshape(-1),
        instead("use .reshape", "x itself, of which sum, mean, max and norm see all"),
    ),
    (lambda param, grad, *, lr: param - grad.cumsum(), f"{ONE} has no .cumsum; {EACH}"),
    (
        lambda param, grad, *, lr: param / grad.size,
        instead("use .size", "rows * columns, of rows, columns = param.shape"),
    ),
    (lambda param, grad, *, lr: param - lr * grad.item(), instead("use .item", "x itself")),
    (lambda param, grad, *, lr: param - lr * grad.sqrt(), instead("use .sqrt", "sqrt(x), with sqrt of minima.optim")),
    (lambda param, grad, *, lr: param.mul_(lr), instead("use .mul_", "x * y")),
    (
        lambda param, grad, *, lr: param - lr * grad[0],
        f"{ONE} cannot be indexed; write where(condition, x, y) to choose by value",
    ),
    (assigns, f"{ONE} cannot be assigned to by index; write x = where(condition, new, x)"),
    (
        lambda param, grad, *, lr: param / len(grad),
        f"{ONE} has no length; write rows, columns = param.shape for how many there are",
    ),
    (loops, f"{ONE} cannot be iterated over; {LOOP}"),
    (lambda param, grad, *, lr: param - builtins.sum(grad), f"{ONE} cannot be iterated over; {LOOP}"),
    (lambda param, grad, *, lr: param - builtins.max(grad), f"{ONE} cannot be iterated over; {LOOP}"),
    (lambda param, grad, *, lr: param * (0 in grad), f"{ONE} contains nothing; compare with =="),
    (
        lambda param, grad, *, lr: param @ grad,
        "update must not multiply arrays of rows x columns and rows x columns by @; "
        "write x @ x.T, or x * y for the product of elements",
    ),
    (lambda param, grad, *, lr: param - grad @ lr, "update must not use @ with a number; write x * y"),
    (lambda param, grad, *, lr: param - 2 @ grad, "update must not use @ with a number; write x * y"),
    (lambda param, grad, *, lr: param - norm(grad) @ grad, "update must not use @ with a number; write x * y"),
    (
        lambda param, grad, *, lr: param + grad.T,
        "update must not combine arrays of rows x columns and columns x rows; look for a .T too many or too few",
    ),
    (
        lambda param, grad, *, lr: param * (grad @ grad.T),
        "update must not combine arrays of rows x columns and rows x rows; look for a .T too many or too few",
    ),
    (
        lambda param, grad, *, lr: (param - lr * grad).T,
        "param must be one number for each element, as the signature says, and is an array of columns x rows; "
        "look for a .T too many or too few",
    ),
    (lambda param, grad, *, lr: param * total(lr), f"{TOTAL}"),
    (lambda param, grad, *, lr: param * total(total(grad)), f"{TOTAL}"),
    (lambda param, grad, *, lr: param - grad if norm(grad) > 1 else param, BRANCH),
    (lambda param, grad, *, lr: param - grad if total(grad) > 1 else param, BRANCH),
    (
        lambda param, grad, *, lr: param if param.shape[0] else grad,
        "update must not branch on a number of rows or columns; "
        "compare it with another number, as in rows > 1000, or use where(condition, x, y)",
    ),
    (lambda param, grad, *, lr, t: param if t % 3 else grad, BRANCH),
    (lambda param, grad, *, lr, t: param - t % 3 * grad, REMAINDER),
    (lambda param, grad, *, lr: param - [grad for _ in range(param.shape[0])][0], NUMBER),
    (adds_in_place, PLACE),
    (scales_a_number_in_place, PLACE),
    (lambda param, grad, *, lr: param // lr, OTHER),
    (
        lambda param, grad, *, lr: param - 5 % grad,
        "update must not use % on what differs between elements; use it of t, as in if t % 10 == 0",
    ),
    (lambda param, grad, *, lr: param - (grad ^ 1), OTHER),
    (lambda param, grad, *, lr: divmod(param, lr)[0], OTHER),
    (
        lambda param, grad, *, lr: param if lr else grad,
        f"{BRANCH}; if 0 is to switch a term off, declare lr with hyper(..., switch=True)",
    ),
    (lambda param, grad, *, lr: param if lr > 0 else grad, BRANCH),
]


def refuse(update, kind=TypeError):
    """The words in which a class with this update is refused."""
    with pytest.raises(kind) as caught:
        type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})
    return str(caught.value)


@pytest.mark.parametrize(("update", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_a_rule_cannot_say_is_answered_by_what_to_write_instead(update, words):
    assert refuse(update) == f"Mine.update: {words}"


def test_functions_of_pytorch_are_refused_in_one_sentence():
    torch = pytest.importorskip("torch")
    root = instead("call PyTorch's sqrt", "sqrt(x), with sqrt of minima.optim")
    assert refuse(lambda param, grad, *, lr: param - lr * torch.sqrt(grad)) == f"Mine.update: {root}"
    length = instead("call PyTorch's {}", "norm(x), with norm of minima.optim")
    assert refuse(lambda param, grad, *, lr: param - torch.norm(grad)) == f"Mine.update: {length.format('norm')}"
    named = length.format("linalg_vector_norm")
    assert refuse(lambda param, grad, *, lr: param - torch.linalg.vector_norm(grad)) == f"Mine.update: {named}"
    words = f"Mine.update: update must not call PyTorch's stack: {KIND}; {EACH}"
    assert refuse(lambda param, grad, *, lr: torch.stack([param, grad])) == words
    only = "Mine.update: update may compute with its arguments and with numbers only; got tensor([1.])"
    assert refuse(lambda param, grad, *, lr: param - grad * torch.ones(1)) == only
    assert refuse(lambda param, grad, *, lr: param - torch.ones(1) * grad) == only


def test_functions_of_jax_are_refused_in_one_sentence():
    numpy = pytest.importorskip("jax").numpy
    for update in (
        lambda param, grad, *, lr: param - lr * numpy.sqrt(grad),
        lambda param, grad, *, lr: numpy.where(grad > 0, param, lr),
        lambda param, grad, *, lr: param - numpy.linalg.norm(grad),
    ):
        assert refuse(update) == f"Mine.update: {JAX}"


@pytest.mark.parametrize("word", [sum, mean, max, norm, total, sqrt, maximum, where])
@pytest.mark.parametrize("value", [None, "grad", [{}]])
def test_words_run_by_hand_take_numbers_and_arrays_of_them(word, value):
    given = (value,) * {maximum: 2, where: 3}.get(word, 1)
    name = "sum" if word is total else word.__name__
    with pytest.raises(TypeError) as caught:
        word(*given)
    assert str(caught.value) == f"{name}: takes numbers, and arrays of numbers; got {value!r}"


# The sizes of results and of state ---------------------------------------------------------------------------------

FITTED = {
    PerTensor: "write sum(x), mean(x), max(x) or norm(x), or annotate it otherwise",
    PerRow: "write mean(x, axis=1) or the like, or annotate it otherwise",
    PerColumn: "write mean(x, axis=0) or the like, or annotate it otherwise",
    Shared: "write total(x) for a sum over all parameters",
}
SIZES = {
    PerTensor: "one number for each parameter",
    PerRow: "one number for each row",
    PerColumn: "one number for each column",
    Shared: "one number for all parameters",
}
RESULTS = {
    "one number for all parameters": lambda grad: total(grad),
    "one number for each parameter": lambda grad: norm(grad),
    "one number for each row": lambda grad: mean(grad, axis=1),
    "one number for each column": lambda grad: mean(grad, axis=0),
    "one number for each element": lambda grad: grad**2,
    "an array of rows x rows": lambda grad: grad @ grad.T,
}
FITS = {
    PerTensor: {"one number for all parameters", "one number for each parameter"},
    PerRow: {"one number for all parameters", "one number for each parameter", "one number for each row"},
    PerColumn: {"one number for all parameters", "one number for each parameter", "one number for each column"},
    Shared: {"one number for all parameters"},
}


@pytest.mark.parametrize("size", SIZES, ids=SIZES.values())
@pytest.mark.parametrize("came", RESULTS)
def test_state_becomes_what_has_its_size_or_a_smaller_one_that_is_spread(size, came):
    def update(param, grad, kept: size, *, lr):
        return param - lr * grad, RESULTS[came](grad)

    if came in FITS[size]:
        type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})
        return
    hint = "look for a .T too many or too few" if came.endswith("rows x rows") else FITTED[size]
    words = f"Mine.update: kept must be {SIZES[size]}, as the signature says, and is {came}; {hint}"
    assert refuse(update) == words


def test_a_size_written_in_another_place_than_behind_the_name_of_a_state_is_answered():
    def by_default(param, grad, rows=PerRow, *, lr):
        return param - lr * grad, rows

    def of_the_gradient(param, grad: PerRow, *, lr):
        return param - lr * grad

    def of_a_hyperparameter(param, grad, *, lr: Shared):
        return param - lr * grad

    def beginning_as_the_parameter(param, grad, start: PerRow = "param", *, lr):
        return param - lr * grad, start

    started = f"state rows must start as a number; got {PerRow!r}; write rows: PerRow, with a colon"
    alone = "is no state, and cannot be of a size of its own; leave the annotation out"
    whole = "state start starts as the parameter, and must have its size; leave the annotation out"
    assert refuse(by_default) == f"Mine.update: {started}"
    assert refuse(of_the_gradient) == f"Mine.update: grad {alone}"
    assert refuse(of_a_hyperparameter) == f"Mine.update: lr {alone}"
    assert refuse(beginning_as_the_parameter) == f"Mine.update: {whole}"


@pytest.mark.parametrize(("word", "axis", "shown"), [(mean, 2, "2"), (norm, -1, "-1"), (sum, True, "True")])
def test_there_are_two_axes(word, axis, shown):
    words = f"{word.__name__}: axis must be 0, over the rows, or 1, over the columns, or left out; got {shown}"
    assert refuse(lambda param, grad, *, lr: param - word(grad, axis=axis), ValueError) == words


def test_the_largest_of_one_is_not_the_larger_of_two():
    words = "max: takes one value, and the axis by its name; got 2; write maximum(x, y) for the larger of two"
    words += ", or axis=0"
    assert refuse(lambda param, grad, *, lr: param - max(grad, lr * param), TypeError) == words
    assert refuse(lambda param, grad, *, lr: param - max(grad, 0.5), TypeError) == words


def annotated(annotation, first=0.0):
    def update(param, grad, v=first, *, lr):
        return param - lr * v, v + grad

    update.__annotations__["v"] = annotation
    return update


@pytest.mark.parametrize("annotation", ["PerRows", "perrow", "Optional[PerRow]", PerRow | None])
def test_an_annotation_that_nearly_says_a_size_is_no_other(annotation):
    words = f"Mine.update: the annotation of state v says no size; got {annotation!r}; write PerRow"
    assert refuse(annotated(annotation)) == words


@pytest.mark.parametrize("annotation", ["exact", "Optional[Exact]", Exact | None])
def test_an_annotation_that_nearly_says_how_state_is_kept_is_no_other(annotation):
    words = f"Mine.update: the annotation of state v says nothing; got {annotation!r}; write Exact"
    assert refuse(annotated(annotation)) == words


@pytest.mark.parametrize("annotation", [np.ndarray, "np.ndarray", "Array", float, "Any", "shape"])
def test_other_annotations_say_nothing_of_the_size(annotation):
    type("Mine", (Optimizer,), {"update": staticmethod(annotated(annotation)), "lr": hyper(0.1, low=0)})


def test_state_that_cannot_begin_as_asked_is_told_what_was_meant():
    words = "Mine.update: state v must start as a number; got 'PerRow'; write v: PerRow, with a colon"
    assert refuse(annotated("Any", "PerRow")) == words
    words = (
        "Mine.update: state v cannot start as the gradient; take first after the *, and write where(first, grad, ...)"
    )
    assert refuse(annotated("Any", "grad")) == words


WORDED = "choices must be two or more words, or whole numbers in a row"


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"choices": 5}, TypeError, f"{WORDED}; got 5"),
        ({"choices": "ab"}, TypeError, f"{WORDED}; got 'ab'"),
        ({"choices": ("a", "a")}, TypeError, f"{WORDED}; got ['a', 'a']; write choices=range(1, 10)"),
        ({"choices": ([], {})}, TypeError, f"{WORDED}; got [[], {{}}]; write choices=range(1, 10)"),
        ({"doubted": "("}, ValueError, "doubted must be a regular expression; got '('"),
        ({"doubted": 3}, ValueError, "doubted must be a regular expression; got 3"),
    ],
)
def test_what_cannot_be_declared_is_said_at_once(given, kind, words):
    with pytest.raises(kind) as caught:
        hyper(True, **given)
    assert str(caught.value) == f"hyper: {words}"


def test_only_a_flag_can_be_doubted():
    with pytest.raises(TypeError) as caught:
        hyper(2.0, doubted="embed")
    assert str(caught.value) == "hyper: only a flag can be doubted; got 2.0; leave doubted out"


def test_norms_taken_by_hand_are_of_the_precision_that_can_hold_them():
    assert norm(np.array([[1, 2], [3, 4]]), axis=1).tolist() == [[math.sqrt(5)], [5.0]]
    assert norm(np.array([[3, 4]], "float32"), axis=1).dtype == np.float32


# Weight decay that a rule places itself ----------------------------------------------------------------------------


class Ridge(Optimizer):
    """A rule that says itself what weight decay does."""

    lr: float = hyper(0.1, low=0)
    wd: float = hyper(0.0, low=0)

    @staticmethod
    def update(param, grad, *, lr, wd):
        return param - lr * (grad + wd * param)


def test_a_rule_must_declare_the_weight_decay_that_it_takes():
    words = "Mine.update: must not take wd, which is not declared; leave it out, as decay is put in front of every rule"
    assert refuse(lambda param, grad, *, lr, wd: param - lr * (grad + wd * param)) == (
        f"{words}; or declare wd to place it yourself"
    )


def test_how_decay_works_cannot_be_chosen_where_the_rule_says_it():
    words = "Ridge: decay must be 'decoupled'; got 'l2'; the rule places weight decay itself"
    w = Tensor([1.0], requires_grad=True)
    optimizer = Ridge([w], decay="decoupled")

    def assign():
        optimizer.decay = "l2"

    for wrong in (
        lambda: Ridge([w], decay="l2"),
        assign,
        lambda: Ridge.formula(decay="l2"),
        lambda: Ridge.explain(decay="l2"),
    ):
        with pytest.raises(ValueError) as caught:
            wrong()
        assert str(caught.value) == words
    assert optimizer.decay == "decoupled"


# The order of results ------------------------------------------------------------------------------------------------


def moments(param, grad, m, v):
    m = 0.9 * m + 0.1 * grad
    v = 0.99 * v + 0.01 * grad**2
    return param - m / sqrt(v), m, v


def test_results_in_each_other_s_place_are_refused():
    def crossed(param, grad, m, v, *, lr):
        param, m, v = moments(param, grad, m, v)
        return param, v, m

    def first_last(param, grad, m, v, *, lr):
        param, m, v = moments(param, grad, m, v)
        return m, v, param

    order = "the order is param, m, v, as in the signature"
    assert refuse(crossed) == f"Mine.update: returns v in the place of m; {order}"
    assert refuse(first_last) == f"Mine.update: returns m in the place of param; {order}"


def lagging(param, grad, last, before, *, lr):
    last = 0.5 * last + grad
    return param - lr * before, grad, last


def exchanging(param, grad, a=1.0, b=2.0, *, lr):
    return param - lr * a, b, a


def one_for_all(param, grad, a, b, *, lr):
    a = b = 0.5 * b + grad
    return param - lr * a, b, a


def own_names(param, grad, m, v, *, lr):
    new_m, new_v = 0.9 * m + grad, 0.9 * v + grad**2
    return param - lr * new_m, maximum(new_v, new_m), where(new_v > 0, new_m, 0)


def remembering(param, grad, before, *, lr):
    return param - lr * (grad + before), param


def becomes_state(param, grad, z, *, lr):
    z = z - lr * grad
    return z, z


@pytest.mark.parametrize("update", [lagging, exchanging, one_for_all, own_names, remembering, becomes_state])
def test_what_may_be_meant_so_is_taken(update):
    type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})


def test_the_rules_of_minima_change_no_value_in_place():
    grad, state = np.ones(3), np.zeros(3)
    for cls in BUILT_IN:
        hypers = {name: declared.default for name, declared in cls.hyperparameters.items()}
        hypers |= {"t": 1, "first": True, "loss": 1.0, **WHOLE.get(cls, {})}
        square = {ROWS_BY_ROWS: np.eye(3), COLUMNS_BY_COLUMNS: np.eye(1)}
        shared = dict.fromkeys(cls.rule.shared, 1.0)
        states = [square.get(cls.rule.ranks[name], shared.get(name, state)) for name in cls.rule.state]
        with np.errstate(invalid="ignore"):  # of a step of length 0, where the length is state
            cls.update(np.ones(3), grad, *states, **{name: hypers[name] for name in cls.rule.keywords})
        assert (grad == 1).all() and (state == 0).all()

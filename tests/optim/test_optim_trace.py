"""From a rule to its program: what is computed once per step, what for each element, and in which precision."""

import math

import numpy as np
import pytest
from rules import CASES, ENGINES, GRADIENTS, ORACLES, STARTS, Everything, bits, firsts, give, numbers

from minima import Tensor
from minima.optim import (
    SGD,
    AdaGrad,
    Adam,
    Optimizer,
    RMSProp,
    cbrt,
    clip,
    exp,
    hyper,
    log,
    maximum,
    minimum,
    sign,
    sqrt,
    where,
)
from minima.optim import abs as magnitude
from minima.optim.language import vocabulary
from minima.optim.language.lowering import lower
from minima.optim.language.program import compile_lines
from minima.optim.language.trace import trace


class Truths(Optimizer):
    """Computes with truths as with numbers."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, up, *, lr):
        known = where(param > 0, grad > 0, 0.3) * 0.7 + where(grad > 1, 0.3, param < 0)
        return param - lr * known, (grad > 0) * 0.3


VARIANTS = [(cls, {}) for cls in (*ORACLES, Truths) if not numbers(cls)]  # those of arrays alone
VARIANTS += [(SGD, {"nesterov": True}), (SGD, {"dampening": 0.0}), (Everything, {"rough": True, "floor": 1.0})]

each_variant = pytest.mark.parametrize(
    ("cls", "flags"), VARIANTS, ids=lambda value: getattr(value, "__name__", str(value))
)


def program(cls, **flags):
    """The program of the variant with all terms, but for those that are given as 0."""
    return lower(trace(cls.rule, cls._declaration.coefficient, cls._declaration.complete(flags)))


def made(update, **hypers):
    """An optimizer class of this update."""
    return type("Mine", (Optimizer,), {"update": staticmethod(update), **(hypers or {"lr": hyper(0.1, low=0)})})


def lines(part):
    return [str(line).partition(" = ")[2] for line in part]


def stepped(cls, engine, dtype="float32", start=(1.0, 2.0, -3.0), grads=((0.5, -1.5, 2.0),), **hypers):
    """The optimizer after these gradients."""
    w = Tensor(start, dtype=dtype, requires_grad=True)
    optimizer = cls([w], **hypers, **engine)
    for row in grads:
        give([w], [row])
        optimizer.step()
    return optimizer


# The split into host and body ----------------------------------------------------------------------------------------


def test_the_program_of_sgd_reads_like_this():
    assert str(program(SGD)) == "\n".join(
        [
            "SGD: param, grad, u; lr, momentum, wd",
            "once per step, in float64:",
            "    h0 = lr * wd",
            "    h1 = 1.0 - h0",
            "    h2 = 1.0 - momentum",
            "for each element, in the precision of the parameter:",
            "    decayed = h1 * param",
            "    x1 = momentum * u",
            "    x2 = h2 * grad",
            "    new_u = x1 + x2",
            "    x4 = lr * new_u",
            "    new_param = decayed - x4",
            "stored:",
            "    param <- new_param",
            "    u <- new_u",
        ]
    )


@each_variant
def test_whatever_depends_on_hyperparameters_alone_is_computed_once_per_step(cls, flags):
    traced = program(cls, **flags)
    arrays, known = set(traced.inputs), set(traced.hypers)
    for line in traced.host:
        names = {operand for operand in line.operands if isinstance(operand, str)}
        assert names <= known
        known.add(line.target)
    assert set(traced.scalars) <= known
    varying = set(arrays)
    for line in traced.body:
        names = {operand for operand in line.operands if isinstance(operand, str)}
        crossing = line.operation == "ne" and line.target.endswith("_holds")  # a truth of the host, made one again
        assert names & varying or crossing, line
        assert names <= varying | set(traced.scalars), line
        varying.add(line.target)
    assert not arrays & known


def test_the_bias_corrections_of_adam_are_computed_once_per_step():
    host, body = lines(program(Adam).host), lines(program(Adam).body)
    assert {"beta1 ** t", "beta2 ** t", "1.0 - beta1", "1.0 - beta2"} <= set(host)
    assert not any("**" in line or "t" in line.split() for line in body)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_minus_beta2_reaches_a_float32_loop_from_float64(dtype, engine):
    exact = np.float32(1 - 0.999)
    assert exact != np.float32(1) - np.float32(0.999)
    for t in (1, 2, 3):
        optimizer = stepped(Adam, engine, dtype, grads=[(1.0, 1.0, 1.0)] * t, lr=0.25, eps=0.0)
        if t == 1:
            assert optimizer.exp_avg_sq[0].numpy().tolist() == [exact] * 3
        # With gradients of 1, both corrected averages are 1: each step has the length of lr, to float32's rounding.
        wanted = np.array([1.0, 2.0, -3.0]) - 0.25 * t
        assert np.abs(optimizer.params[0].detach().numpy() - wanted).max() <= 2e-6


def test_the_host_part_is_computed_in_float64():
    traced = program(Adam)
    values = dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, t=7.0, weight_decay=0.1)
    scalars = compile_lines("host", traced.hypers, traced.host, traced.scalars)(
        *(np.float64(values[name]) for name in traced.hypers)
    )
    assert all(np.asarray(value).dtype == np.float64 for value in scalars)
    found = set(map(float, scalars))
    for wanted in (1 - 0.001 * 0.1, 1 - 0.9, 1 - 0.999, 1 / (1 - 0.9**7), 1 / (1 - 0.999**7), 1e-3):
        assert min(abs(value - wanted) / wanted for value in found) < 1e-15


@each_variant
def test_equal_expressions_are_computed_once(cls, flags):
    traced = program(cls, **flags)
    assert len(set(lines(traced.host))) == len(traced.host)
    assert len(set(lines(traced.body))) == len(traced.body)


def test_an_expression_that_a_rule_repeats_is_shared_and_one_that_it_does_not_use_is_left_out():
    def update(param, grad, u, *, lr):
        unused = exp(param) + lr**3
        assert unused is not None
        return param - lr * sqrt(grad**2 + 1) + sqrt(grad * grad + 1), u + (grad**2 + 1)

    body = lines(program(made(update)).body)
    assert [line.split("(")[0] for line in body if "(" in line] == ["sqrt"]
    assert body.count("grad * grad") == 1 and not any("exp" in line for line in body)


def test_zero_and_minus_zero_are_two_literals(engine):
    def update(param, grad, first, second):
        return param - grad, first + 0.0, second * 1.0 + -0.0

    w = Tensor([1.0], requires_grad=True)
    give([w], [[1.0]])
    optimizer = type("Mine", (Optimizer,), {"update": staticmethod(update)})([w], **engine)
    optimizer.first[0].data, optimizer.second[0].data = Tensor([-0.0]), Tensor([-0.0])
    optimizer.step()
    assert [math.copysign(1, entry[0].item()) for entry in (optimizer.first, optimizer.second)] == [1, -1]


# Lowering ------------------------------------------------------------------------------------------------------------

CHEAP = {
    "a square is one multiplication": (lambda param, grad, *, lr: grad**2, ["grad * grad"]),
    "a power of one half is a root": (lambda param, grad, *, lr: grad**0.5, ["sqrt(grad)"]),
    "a power of minus one is a division": (lambda param, grad, *, lr: grad**-1, ["1.0 / grad"]),
    "other powers stay": (lambda param, grad, *, lr: grad**3, ["grad ** 3.0"]),
    "a negative power is written in brackets": (lambda param, grad, *, lr: grad**-2, ["grad ** (-2.0)"]),
    "what a number is raised to stays": (lambda param, grad, *, lr: 2**grad, ["2.0 ** grad"]),
    "a division by a number is a multiplication": (lambda param, grad, *, lr: grad / lr, ["grad * h2"]),
    "a division of a number stays": (lambda param, grad, *, lr: lr / grad, ["lr / grad"]),
    "literals are written as numbers": (lambda param, grad, *, lr: 0.5 * grad + 0, ["0.5 * grad", "x1 + 0.0"]),
    "a plus sign is nothing": (lambda param, grad, *, lr: +grad - 1, ["grad - 1.0"]),
    "a difference keeps its order": (lambda param, grad, *, lr: 1 - grad, ["1.0 - grad"]),
    "abs may be Python's": (lambda param, grad, *, lr: abs(grad), ["abs(grad)"]),
    "a minus sign is one operation": (lambda param, grad, *, lr: -grad, ["-grad"]),
}


@pytest.mark.parametrize("name", CHEAP)
def test_each_operation_has_the_cheapest_form_of_its_meaning(name):
    update, wanted = CHEAP[name]
    traced = program(made(lambda param, grad, u, *, lr: (param, update(param, grad, lr=lr))))
    assert [line for line in lines(traced.body) if line != "h1 * param"] == wanted


@each_variant
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_literal_and_no_hyperparameter_promotes_the_loop(cls, flags, dtype):
    traced = program(cls, **flags)
    arrays = [np.linspace(0.1, 1, 4).astype(dtype) for _ in traced.inputs]
    names = (*traced.inputs, *traced.scalars, *traced.wide)
    body = compile_lines("body", names, traced.body, traced.outputs, np.dtype(dtype))
    results = body(*arrays, *(np.array(0.5, dtype) for _ in traced.scalars), *(np.float64(0.5) for _ in traced.wide))
    assert [np.asarray(result).dtype for result in results] == [dtype] * len(traced.outputs)


def test_flags_and_numbers_left_out_or_switched_off_give_programs_of_their_own():
    plain, ahead, sums = program(SGD), program(SGD, nesterov=True), program(SGD, dampening=0.5)
    assert len({plain, ahead, sums, program(SGD, momentum=0), program(SGD, wd=0)}) == 5
    assert "dampening" in sums.hypers and "dampening" not in plain.hypers
    assert program(SGD, dampening=0.1) is sums and program(SGD, lr=0.5) is plain


def test_programs_that_say_the_same_are_equal():
    first, second = (made(lambda param, grad, *, lr: param - lr * grad) for _ in range(2))
    other = made(lambda param, grad, *, lr: param - grad * lr)
    assert program(first) == program(second) and hash(program(first)) == hash(program(second))
    assert program(first) != program(other)


# Rules at the edge of what Python and the engines allow --------------------------------------------------------------


def named_like_a_word(param, grad, *, lr):
    sqrt = (1 + grad * grad) ** 0.5
    return param - lr * grad / sqrt


def named_like_the_tracer_s_own(param, grad, h0, x1, *, lr):
    x2 = h0 + grad
    decayed = 2 * grad
    h1 = lr * 3
    new_param = param - h1 * decayed
    return new_param, x2, x1 + decayed


def with_infinity(param, grad, best=math.inf, *, lr):
    best = minimum(best, magnitude(grad))
    return param - lr * where(grad > -math.inf, grad, 0), minimum(best, math.inf)


def untouched(param, grad, *, lr):
    return param + 0 * lr * grad


def without_param(param, grad, u, *, lr):
    return lr, grad


def constant(param, grad, u, *, lr):
    return 0.5, 1


def swapped(param, grad, a=1.0, b=2.0, *, lr):
    return param - lr * a, b, a


def scaled_truth(param, grad, *, lr):
    return param - lr * ((grad > 0) * grad + (grad < 0) * 0.3)


def named_like_a_truth_of_the_host(param, grad, h_holds=2.0, *, lr, t):
    h = t > 0
    return where(h & (grad > -9), param - lr * h_holds * grad, param), h_holds


def known_choice(param, grad, *, lr):
    return where(2 > 1, param - lr * where(2 < 1, 5, grad), 7 * param)


def choice_of_truths(param, grad, *, lr):
    return where(where(param > 0, grad > 0, grad < 0) & (grad != 0), param - lr, param + lr)


def host_truths(param, grad, *, lr, t):
    return where(((t > 1) | (lr > 5)) & (grad < 1), param - lr * where(t > 1, 2.0, 1.0) * grad, param)


def reused_truth(param, grad, seen, *, lr, t):
    late = t > 1
    return where(late, param - lr * grad, param), where(late & (grad > 0), 1, seen)


def kept_truth(param, grad, up, *, lr):
    return param - lr * grad, grad > 0


def deep(param, grad, *, lr):
    x = grad
    for _ in range(60):
        x = 0.5 * x + 0.1
    return param - lr * x


def thirds(param, grad, *, lr):
    return param - grad / 3 + lr / 7 * grad


def by_numpy_numbers(param, grad, *, lr):
    return param - lr * grad * np.float64(0.3) + np.float32(0.5)


def numpy_number_first(param, grad, *, lr):
    return param - np.float64(0.3) * grad + 0 * lr


def word_of_a_number_first(param, grad, *, lr):
    return param - sqrt(4.0) * where(2.0 > 1.0, 0.5, 0.25) * lr * grad


EDGES = {
    "a variable is called as a word of the vocabulary": (
        named_like_a_word,
        lambda p, g: (p - 0.1 * g / math.hypot(1, g),),
    ),
    "variables are called as the tracer calls its own": (
        named_like_the_tracer_s_own,
        lambda p, g: (p - 0.3 * 2 * g, g, 2 * g),
    ),
    "a literal is infinite": (with_infinity, lambda p, g: (p - 0.1 * g, abs(g))),
    "the parameter stays": (untouched, lambda p, g: (p,)),
    "the parameter becomes a hyperparameter, and the state the gradient": (without_param, lambda p, g: (0.1, g)),
    "the results are literals": (constant, lambda p, g: (0.5, 1)),
    "two states change places": (swapped, lambda p, g: (p - 0.1, 2.0, 1.0)),
    "a truth is multiplied": (scaled_truth, lambda p, g: (p - 0.1 * (g if g > 0 else 0.3),)),
    "state is called as a truth of the host is in the body": (
        named_like_a_truth_of_the_host,
        lambda p, g: (p - 0.2 * g, 2.0),
    ),
    "a choice is known beforehand": (known_choice, lambda p, g: (p - 0.1 * g,)),
    "a choice between truths is a truth": (choice_of_truths, lambda p, g: (p + (-0.1 if (g > 0) == (p > 0) else 0.1),)),
    "a truth of the host decides for each element": (host_truths, lambda p, g: (p,)),
    "a truth of the host is used twice": (reused_truth, lambda p, g: (p, 0)),
    "a truth becomes state": (kept_truth, lambda p, g: (p - 0.1 * g, float(g > 0))),
    "an expression is deep": (deep, lambda p, g: (p - 0.1 * (g * 0.5**60 + 0.2 * (1 - 0.5**60)),)),
    "a quotient of literals": (thirds, lambda p, g: (p - g / 3 + 0.1 / 7 * g,)),
    "a literal is NumPy's": (by_numpy_numbers, lambda p, g: (p - 0.1 * g * 0.3 + 0.5,)),
    "a literal is NumPy's and stands first": (numpy_number_first, lambda p, g: (p - 0.3 * g,)),
    "a word is used on numbers": (word_of_a_number_first, lambda p, g: (p - 0.1 * g,)),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_rule_works_on_every_engine_when(name, engine, dtype):
    update, wanted = EDGES[name]
    optimizer = stepped(made(update), engine, dtype)
    found = [optimizer.params[0], *(getattr(optimizer, entry)[0] for entry in optimizer.rule.state)]
    starts, grads = (1.0, 2.0, -3.0), (0.5, -1.5, 2.0)
    for values, answers in zip(found, zip(*map(wanted, starts, grads), strict=True), strict=True):
        assert values.tolist() == pytest.approx(answers, rel=2e-3 if dtype == "float16" else 1e-6)


def test_truths_of_the_host_change_with_t(engine):
    optimizer = stepped(made(host_truths), engine, grads=[(0.5, -1.5, 2.0)] * 2)
    assert optimizer.params[0].tolist() == pytest.approx([1 - 0.2 * 0.5, 2 + 0.2 * 1.5, -3.0])
    optimizer = stepped(made(reused_truth), engine, grads=[(0.5, -1.5, 2.0)] * 2)
    assert optimizer.params[0].tolist() == pytest.approx([0.95, 2.15, -3.2]) and optimizer.seen[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("update", "wanted"),
    [
        (lambda param, grad, *, lr: lr * (param - ((grad > 0) + (grad > 1))), lambda p, g: p - (g > 0) - (g > 1)),
        (lambda param, grad, *, lr: lr * (param - ((grad > 0) - (grad < 0))), lambda p, g: p - np.sign(g)),
        (lambda param, grad, *, lr: lr * (param - -(grad > 0)), lambda p, g: p + (g > 0)),
        (lambda param, grad, *, lr: lr * (param - sqrt(grad > 0) / 3), lambda p, g: p - (g > 0) / 3),
    ],
    ids=["sum", "difference", "minus", "root"],
)
def test_a_truth_in_arithmetic_is_0_or_1_on_every_engine(update, wanted, engine):
    starts, grads = (1.0, 2.0, -3.0, 4.0), (0.5, -1.5, 2.0, 0.0)
    optimizer = stepped(made(update, lr=hyper(1.0, low=0)), engine, start=starts, grads=[grads])
    assert optimizer.params[0].tolist() == pytest.approx(list(map(wanted, starts, grads)))


def test_engines_agree_to_the_bit_on_choices_between_literals(dtype):
    rng = np.random.default_rng(6)
    starts, grads = rng.normal(size=200), rng.normal(size=(3, 200))
    found = [stepped(Truths, engine, dtype, start=starts, grads=grads, wd=0.1) for engine in ENGINES.values()]
    assert all(bits(optimizer) == bits(found[0]) for optimizer in found)


# The same source on other arrays -------------------------------------------------------------------------------------

WORDS = {
    "sqrt": (vocabulary.sqrt, [(0.25,), (2.0,)], math.sqrt),
    "cbrt": (vocabulary.cbrt, [(0.125,), (-2.0,), (0.0,)], lambda x: math.copysign(abs(x) ** (1 / 3), x)),
    "exp": (vocabulary.exp, [(0.5,), (-2.0,)], math.exp),
    "log": (vocabulary.log, [(0.5,), (2.0,)], math.log),
    "abs": (vocabulary.abs, [(0.5,), (-2.0,)], abs),
    "sign": (vocabulary.sign, [(0.5,), (-2.0,), (0.0,)], lambda x: float((x > 0) - (x < 0))),
    "maximum": (vocabulary.maximum, [(0.5, 2.0), (2.0, 0.5), (-1.0, -2.0)], max),
    "minimum": (vocabulary.minimum, [(0.5, 2.0), (2.0, 0.5), (-1.0, -2.0)], min),
}


def of_numpy():
    return np.float64, float


def of_arrays():
    return (lambda x: np.array([x], np.float32)), lambda x: x.item()


def of_torch():
    torch = pytest.importorskip("torch")
    return (lambda x: torch.tensor([x], dtype=torch.float64)), lambda x: x.item()


def of_jax():
    jax = pytest.importorskip("jax")
    return (lambda x: jax.numpy.array([x])), lambda x: x.item()


def of_sympy():
    sympy = pytest.importorskip("sympy")
    return sympy.Float, float


LIBRARIES = {"number": lambda: (float, float), "numpy": of_numpy, "array": of_arrays, "torch": of_torch}
LIBRARIES |= {"jax": of_jax, "sympy": of_sympy}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("word", WORDS)
def test_a_word_means_the_same_for_every_kind_of_value(word, library):
    make, unmake = LIBRARIES[library]()
    call, rows, wanted = WORDS[word]
    for row in rows:
        assert unmake(call(*map(make, row))) == pytest.approx(wanted(*row), rel=1e-6)
        if len(row) == 2:  # and with a plain number on either side
            assert unmake(call(make(row[0]), row[1])) == unmake(call(row[0], make(row[1]))) == wanted(*row)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "result", [sqrt(4.0), magnitude(-2), maximum(1, 2), where(True, 2.0, 1.0)], ids=["sqrt", "abs", "maximum", "where"]
)
def test_what_a_word_makes_of_plain_numbers_can_be_multiplied_with_every_kind_of_value(result, library):
    make, unmake = LIBRARIES[library]()
    assert unmake(result * make(0.5)) == unmake(make(0.5) * result) == 1.0


@pytest.mark.parametrize("library", LIBRARIES)
def test_where_chooses_for_every_kind_of_value(library):
    make, unmake = LIBRARIES[library]()
    for x, wanted in ((2.0, 2.0), (-2.0, 0.5)):
        value = make(x)
        assert unmake(where(value > 0, value, 0.5)) == wanted
        assert unmake(where(value > 0, make(2.0), make(0.5))) == wanted
        assert unmake(where(value <= 0, 0.5, 2.0)) == wanted


REDUCED = {
    "sum": (vocabulary.sum, np.sum),
    "mean": (vocabulary.mean, np.mean),
    "max": (vocabulary.max, np.max),
    "norm": (vocabulary.norm, lambda x, **where: np.sqrt(np.sum(x * x, **where))),
    "total": (vocabulary.total, np.sum),
}
LIFTED = {"numpy": lambda x: x, "torch": lambda x: pytest.importorskip("torch").tensor(x)}
LIFTED |= {"jax": lambda x: pytest.importorskip("jax").numpy.array(x)}


@pytest.mark.parametrize("library", LIFTED)
@pytest.mark.parametrize("word", REDUCED)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2)], ids=str)
def test_a_word_for_many_elements_means_the_same_in_every_library(shape, word, library):
    call, wanted = REDUCED[word]
    values = np.random.default_rng(2).normal(size=shape)
    array = LIFTED[library](values)
    assert np.asarray(call(array)) == pytest.approx(wanted(values), rel=1e-6)
    if word == "total":
        return
    columns = np.asarray(call(array, axis=0))
    rows = np.asarray(call(array, axis=1))
    if not shape:
        assert columns == rows == pytest.approx(wanted(values), rel=1e-6)
        return
    np.testing.assert_allclose(columns, wanted(values, axis=0, keepdims=True), rtol=1e-6)
    others = tuple(range(1, len(shape)))  # of an array of one axis each element is a row
    np.testing.assert_allclose(rows, wanted(values, axis=others, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("word", [vocabulary.sum, vocabulary.mean, vocabulary.max, vocabulary.norm, vocabulary.total])
def test_of_a_number_there_is_one(word):
    assert word(2.5) == 2.5 and type(word(2.5)) is float
    assert word is not vocabulary.norm or word(-2.5) == 2.5
    body = lines(program(made(lambda param, grad, *, lr: param - word(0.5) * grad), wd=0).body)
    assert body == ["0.5 * grad", "param - x0"]


def iterated(case, lift):
    """The rule's own source, run on arrays of some library behind weight decay as it is written in the contract."""
    hypers = {name: declared.default for name, declared in case.cls.hyperparameters.items()} | case.hypers
    wd = case.hypers.get("wd", case.hypers.get("weight_decay", case.cls.wd.default))
    decay = hypers.pop("decay", "decoupled")
    rate = hypers["lr"] if "lr" in case.cls.rule.keywords else 1.0
    shrink = {"decoupled": 1 - rate * wd, "independent": 1 - wd, "l2": 1.0}[decay]
    pull = wd if decay == "l2" else 0.0
    param, state = lift(STARTS), [lift(np.full(STARTS.shape, first)) for first in firsts(case.cls, case.hypers)]
    for t, grad in enumerate(GRADIENTS, start=1):
        now = hypers | {"t": t, "first": t == 1}
        asked = {name: now[name] for name in case.cls.rule.keywords}
        result = case.cls.update(shrink * param, lift(grad) + pull * param if pull else lift(grad), *state, **asked)
        param, *state = result if isinstance(result, tuple) else (result,)
    return [param, *state]


def defined(case):
    """What the reference engine makes of the same."""
    w = Tensor(STARTS, dtype="float64", requires_grad=True)
    optimizer = case.cls([w], **case.hypers, **ENGINES["reference"])
    for row in GRADIENTS:
        give([w], [row])
        optimizer.step()
    return [w.detach().numpy(), *(getattr(optimizer, name)[0].numpy() for name in case.cls.rule.state)]


def assert_same(found, wanted):
    for values, answers in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(values), answers, rtol=1e-10, atol=1e-12)


each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
def test_a_rule_runs_on_arrays_of_numpy_as_on_the_reference_engine(case):
    with np.errstate(all="ignore"):
        assert_same(iterated(case, np.array), defined(case))


@each_case
def test_a_rule_runs_on_tensors_of_pytorch_as_on_the_reference_engine(case):
    torch = pytest.importorskip("torch")
    with np.errstate(all="ignore"):
        assert_same(iterated(case, torch.tensor), defined(case))


@pytest.mark.parametrize("case", [case for case in CASES if "wd" in case.hypers or "rough" in case.hypers], ids=str)
def test_a_rule_runs_on_arrays_of_jax_as_on_the_reference_engine(case):
    jax, xla = pytest.importorskip("jax"), pytest.importorskip("minima.jax.xla")
    with xla.enable_x64(True), np.errstate(all="ignore"):
        assert_same(iterated(case, jax.numpy.asarray), defined(case))


@pytest.mark.parametrize("cls", [SGD, AdaGrad, RMSProp, Adam])
def test_a_rule_runs_inside_jit_with_traced_hyperparameters(cls):
    jax = pytest.importorskip("jax")
    defaults = {name: declared.default for name, declared in cls.hyperparameters.items()}
    fixed = {name: value for name, value in defaults.items() if value is None or isinstance(value, bool)}
    fixed |= {"momentum": 0.5} if cls is SGD else {}  # whether it is 0 decides what is compiled
    fixed |= {name: True for name in ("first",) if name in cls.rule.keywords}
    names = [name for name in cls.rule.keywords if name not in fixed]

    def update(param, grad, state, values):
        return cls.update(param, grad, *state, **dict(zip(names, values, strict=True)), **fixed)

    values = [2.0 if name == "t" else 0.5 for name in names]
    state = [np.float32(0.25)] * len(cls.rule.state)
    found = jax.jit(update)(np.float32(1.0), np.float32(2.0), state, values)
    wanted = update(1.0, 2.0, [0.25] * len(state), values)
    assert np.array(found) == pytest.approx(np.array(wanted), rel=1e-6)


@pytest.mark.parametrize("cls", [cls for cls in ORACLES if cls is not Everything])  # SymPy's == is identity
def test_a_rule_runs_on_symbols_of_sympy_and_its_expressions_have_its_values(cls):
    sympy = pytest.importorskip("sympy")
    hypers = {name: declared.default for name, declared in cls.hyperparameters.items()} | {"t": 2, "first": False}
    asked = {name: hypers[name] for name in cls.rule.keywords}
    names = ("param", "grad", *cls.rule.state)
    values = [2.0, -0.75, 0.5, 0.25, 0.125][: len(names)]
    symbols = sympy.symbols(names, real=True)
    expressions = cls.update(*symbols, **asked)
    wanted = cls.update(*values, **asked)
    for expression, value in zip(expressions, wanted, strict=True):
        exact = sympy.sympify(expression).subs(dict(zip(symbols, values, strict=True)))
        assert float(exact) == pytest.approx(float(value), rel=1e-9)


# The tracer's own words ----------------------------------------------------------------------------------------------

OPERATORS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "<": lambda x, y: where(x < y, x, 2 * y),
    "<=": lambda x, y: where(x <= y, x, 2 * y),
    ">": lambda x, y: where(x > y, x, 2 * y),
    ">=": lambda x, y: where(x >= y, x, 2 * y),
    "==": lambda x, y: where(x == y, x, 2 * y),
    "!=": lambda x, y: where(x != y, x, 2 * y),
    "&": lambda x, y: where((x > 1) & (y > 1), x, 2 * y),
    "|": lambda x, y: where((x > 1) | (y > 1), x, 2 * y),
    "~": lambda x, y: where(~(x > y), x, 2 * y),
    "-x": lambda x, y: -x + 0 * y,
    "abs": lambda x, y: magnitude(x) - abs(y),
    "sqrt": lambda x, y: sqrt(x) - sqrt(y),
    "exp": lambda x, y: exp(x) - exp(y),
    "log": lambda x, y: log(x) - log(y),
    "sign": lambda x, y: sign(x - y),
    "cbrt": lambda x, y: cbrt(x) - cbrt(-y),
    "clip": lambda x, y: clip(x, y / 2, y) - clip(y, -1, 1),
    "maximum": maximum,
    "minimum": minimum,
}
PAIRS = ((0.5, 2.0), (2.0, 0.5), (1.5, 1.5), (3.0, 2.0))


SIDES = ("arrays", "array and number", "number and array", "hyperparameters")
BETWEEN_TRUTHS = "&|"  # of which none is a comparison of two numbers


@pytest.mark.parametrize(
    ("operator", "sides"), [(o, s) for o in OPERATORS for s in SIDES if not (o in BETWEEN_TRUTHS and "number" in s)]
)
def test_every_operator_means_on_every_engine_what_it_means_in_python(operator, sides, engine):
    call = OPERATORS[operator]
    for x, y in PAIRS if "number" not in sides else PAIRS[:2]:
        update = {
            "arrays": lambda param, grad, u, *, a, b: (param + 0 * (a + b), call(grad, u)),
            "array and number": lambda param, grad, u, *, a, b, y=y: (param, call(grad, y) + 0 * (a + b)),
            "number and array": lambda param, grad, u, *, a, b, x=x: (param, call(x, u) + 0 * (a + b)),
            "hyperparameters": lambda param, grad, u, *, a, b: (param, call(a, b) + 0 * grad),
        }[sides]
        cls = made(bare(update), a=hyper(x), b=hyper(y))
        w = Tensor([1.0], dtype="float64", requires_grad=True)
        optimizer = cls([w], **engine)
        optimizer.u[0].data = Tensor([y], dtype="float64")
        give([w], [[x]])
        optimizer.step()
        assert optimizer.u[0].item() == pytest.approx(float(call(np.float64(x), np.float64(y))), rel=1e-14), (x, y)


def bare(update):
    """The update with nothing but its own arguments in the signature."""

    def inner(param, grad, u, *, a, b):
        return update(param, grad, u, a=a, b=b)

    return inner

"""The equations that are printed from a rule: their exact text, and that they say what the engine does."""

import inspect
import math
import sys

import numpy as np
import pytest
from papers import PAPERS, Averaged, Clipped, Distant, Factored, Layerwise, Trusting, Upright
from rules import BUILT_IN, ENGINES, ORACLES, Everything, Lion, firsts, give

from minima import Tensor
from minima.optim import SGD, AdaBelief, AdaGrad, Adam, AdaMax, AdEMAMix, Formula, Optimizer, RAdam, RMSProp, hyper
from minima.optim.language import vocabulary

pytest.importorskip("sympy")

TEXTS = [
    (
        SGD,
        {},
        """
        param = (1 - lr*wd)*param
        u = momentum*u + (1 - momentum)*grad
        param = param - lr*u
        """,
    ),
    (
        SGD,
        {"nesterov": True, "dampening": 0},
        """
        param = (1 - lr*wd)*param
        u = momentum*u + (1 - dampening)*grad
        step = momentum*u + (1 - dampening)*grad
        param = param - lr*step
        """,
    ),
    (
        AdaGrad,
        {},
        """
        param = (1 - lr*wd)*param
        cache = cache + grad**2
        param = param - lr/sqrt(cache + eps)*grad
        """,
    ),
    (
        RMSProp,
        {},
        """
        param = (1 - lr*wd)*param
        cache = rho*cache + (1 - rho)*grad**2
        param = param - lr/sqrt(cache + eps)*grad
        """,
    ),
    (
        Adam,
        {},
        """
        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)
        """,
    ),
    (
        Lion,
        {},
        """
        param = (1 - lr*weight_decay)*param
        step = sign(beta1*exp_avg + (1 - beta1)*grad)
        param = param - lr*step
        exp_avg = beta2*exp_avg + (1 - beta2)*grad
        """,
    ),
]


@pytest.mark.parametrize(("cls", "flags", "text"), TEXTS, ids=[f"{cls.__name__}{flags}" for cls, flags, _ in TEXTS])
def test_the_formula_reads_as_the_rule_does(cls, flags, text):
    formula = cls.formula(**flags)
    assert isinstance(formula, Formula)
    assert formula.text == str(formula) == inspect.cleandoc(text)


@pytest.mark.parametrize("cls", BUILT_IN)
def test_the_docstring_of_an_algorithm_holds_its_formula(cls):
    block = "\n".join(f"    {line}" for line in cls.formula().text.splitlines())
    assert f"::\n\n{block}\n\n" in inspect.cleandoc(cls.__doc__)


PIECES = {
    SGD: [
        r"\left(1 - \eta \lambda\right) \theta_{t-1}",
        r"u_t &= \mu u_{t-1} + \left(1 - \mu\right) g_{t}",
        r"\eta u_{t}",
    ],
    AdaGrad: [
        r"\mathrm{cache}_t &= \mathrm{cache}_{t-1} + g_{t}^{2}",
        r"\frac{\eta}{\sqrt{\mathrm{cache}_t + \epsilon}} g_{t}",
    ],
    RMSProp: [
        r"\rho \mathrm{cache}_{t-1} + \left(1 - \rho\right) g_{t}^{2}",
        r"\frac{\eta}{\sqrt{\mathrm{cache}_t + \epsilon}}",
    ],
    Adam: [
        r"m_t &= \beta_{1} m_{t-1} + \left(1 - \beta_{1}\right) g_{t}",
        r"\hat{m}_t &= \frac{m_{t}}{1 - \beta_{1}^{t}}",
        r"v_t &= \beta_{2} v_{t-1} + \left(1 - \beta_{2}\right) g_{t}^{2}",
        r"\hat{v}_t &= \frac{v_{t}}{1 - \beta_{2}^{t}}",
        r"\theta_t &= \tilde{\theta}_{t-1} - \frac{\eta \hat{m}_t}{\sqrt{\hat{v}_t} + \epsilon}",
    ],
    Lion: [r"\mathrm{step}_t &= \operatorname{sign}"],
    Everything: [r"\mathrm{size}_t &= \left|{g_{t}}\right|", r"\begin{cases}", r"\max\left(", r"\mathrm{soft}_t"],
}


@pytest.mark.parametrize("cls", PIECES)
def test_the_latex_is_written_in_the_letters_of_the_field(cls):
    latex = cls.formula().latex
    assert latex.startswith(r"\begin{aligned}") and latex.endswith(r"\end{aligned}")
    for piece in PIECES[cls]:
        assert piece in latex
    assert latex.count("&=") == len(cls.formula().text.splitlines())
    assert cls.formula()._repr_latex_() == f"$${latex}$$"


# The text, computed --------------------------------------------------------------------------------------------------

WORDS = {
    "abs": abs,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "sign": np.sign,
    "maximum": max,
    "minimum": min,
    "where": lambda condition, x, y: x if condition else y,
}


class Lagging(Optimizer):
    """State becomes what another state was, and the gradient."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, last, before_last, *, lr):
        return param - lr * before_last, grad, last


class Trailing(Optimizer):
    """State is computed from the parameter as it was before its step."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, average, *, lr):
        return param - lr * grad, 0.5 * average + 0.5 * param


class Remembering(Optimizer):
    """State becomes the parameter as it was before its step."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, before, *, lr):
        return param - lr * (grad + before), param


class Crossing(Optimizer):
    """Each state is computed from the other as it was."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, a=1.0, b=2.0, *, lr):
        return param - lr * a * b, 0.5 * b + grad, 0.25 * a - grad


class Twice(Optimizer):
    """Two states become the same, a third a number."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, a, b, c, *, lr):
        a = 0.5 * a + grad
        return param - lr * a, a, a, 3.0


class Renaming(Optimizer):
    """A hyperparameter and an argument are given new values."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, u, *, lr, t):
        lr = lr / t
        grad = grad + u
        return param - lr * grad, grad * grad


SPOKEN = [(cls, {}) for cls in ORACLES]
SPOKEN += [(SGD, {"nesterov": True}), (SGD, {"nesterov": True, "dampening": 0.25})]
SPOKEN += [(SGD, {"nesterov": True, "dampening": 0.25, "dampen_first": False})]
SPOKEN += [(AdaGrad, {"initial": 0.5}), (RMSProp, {"momentum": 0.5, "eps_inside": False})]
SPOKEN += [(RMSProp, {"centered": True}), (RMSProp, {"centered": True, "momentum": 0.5})]
SPOKEN += [(Adam, {"amsgrad": True}), (Adam, {"eps_hat": True}), (Adam, {"amsgrad": True, "eps_hat": True})]
SPOKEN += [
    (Adam, {"amsgrad": True, "max_hat": True}),
    (Adam, {"eps_root": 0.5}),
    (Adam, {"eps_hat": True, "eps_root": 0.5}),
]
SPOKEN += [(AdEMAMix, {"warmup": 2.5})]
SPOKEN += [(AdaMax, {"eps_inside": False})]
SPOKEN += [(RAdam, {"eps_hat": False}), (AdaBelief, {"amsgrad": True}), (AdaBelief, {"rectify": True})]
SPOKEN += [(Everything, {"rough": True, "floor": 2.0})]
SPOKEN += [(cls, {}) for cls in (Lagging, Trailing, Remembering, Crossing, Twice, Renaming)]


@pytest.mark.parametrize(("cls", "hypers"), SPOKEN, ids=[f"{cls.__name__}{hypers}" for cls, hypers in SPOKEN])
def test_the_lines_of_the_text_in_their_order_are_what_the_engine_computes(cls, hypers):
    w = Tensor([2.0], dtype="float64", requires_grad=True)
    optimizer = cls(
        [w], lr=0.25, wd=0.5, **(hypers | ({"momentum": 0.9} if cls is SGD else {})), **ENGINES["reference"]
    )
    lines = cls.formula(**hypers).text.splitlines()
    names = tuple(optimizer.rule.state)
    values = {"param": 2.0, **dict(zip(names, firsts(cls, {"lr": 0.25, **hypers}), strict=True))}
    for t, grad in enumerate((0.5, -3.0, 1.25), start=1):
        give([w], [[grad]])
        optimizer.step()
        values = (
            WORDS
            | {name: np.float64(value) if type(value) is float else value for name, value in optimizer.defaults.items()}
            | {"t": t, "first": t == 1, "grad": np.float64(grad)}
            | {name: np.float64(values[name]) for name in ("param", *names)}
        )
        for line in lines:
            exec(line, values)
        for name in names:
            stored = values.get(f"new_{name}", values[name])
            assert stored == pytest.approx(getattr(optimizer, name)[0].item(), rel=1e-12), name
            values[name] = stored
        values["param"] = values.get("new_param", values["param"])
        assert values["param"] == pytest.approx(w.item(), rel=1e-12)


def test_latex_without_sympy_says_what_to_install_and_text_does_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    assert "m_hat" in Adam.formula().text
    with pytest.raises(ImportError) as caught:
        Adam.formula().latex  # noqa: B018 - made when it is asked for
    assert str(caught.value) == "Adam.formula: LaTeX needs SymPy; pip install sympy"


# Rules that look beyond one element ----------------------------------------------------------------------------------

PAPER_TEXTS = [
    (
        Trusting,
        {},
        """
        size = norm(param)
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        step = m_hat/(sqrt(v_hat) + 1e-06) + weight_decay*param
        length = norm(step)
        trust = where((size > 0) & (length > 0), size/length, 1)
        param = param - lr*trust*step
        """,
    ),
    (
        Layerwise,
        {"wd": 0},
        """
        now = norm(grad)**2
        size = where(t == 1, now, beta2*size + (1 - beta2)*now)
        exp_avg = beta1*exp_avg + grad/(sqrt(size) + eps)
        param = param - lr*exp_avg
        """,
    ),
    (
        Layerwise,
        {"wd": 0, "cautious": True},
        """
        now = norm(grad)**2
        size = where(t == 1, now, beta2*size + (1 - beta2)*now)
        exp_avg = beta1*exp_avg + grad/(sqrt(size) + eps)
        mask = where(exp_avg*grad > 0, 1, 0)
        param = param - lr*(exp_avg*(mask/maximum(mean(mask), 0.001)))
        """,
    ),
    (
        Factored,
        {"wd": 0},
        """
        beta2 = 1 - t**(-decay_rate)
        square = grad**2 + eps1
        rows = beta2*rows + (1 - beta2)*mean(square, axis=1)
        columns = beta2*columns + (1 - beta2)*mean(square, axis=0)
        step = grad/sqrt(rows*columns/mean(rows))
        step = step/maximum(1, sqrt(mean(step**2))/threshold)
        param = param - lr*step
        """,
    ),
    (
        Factored,
        {"wd": 0, "ndim": 1},
        """
        beta2 = 1 - t**(-decay_rate)
        square = grad**2 + eps1
        v = beta2*v + (1 - beta2)*square
        step = grad/sqrt(v)
        step = step/maximum(1, sqrt(mean(step**2))/threshold)
        param = param - lr*step
        """,
    ),
    (
        Distant,
        {"wd": 0},
        """
        beta3 = sqrt(beta1)
        r = beta3*r + (1 - beta3)*d*total(grad*(start - param))
        s = beta3*s + (1 - beta3)*d*grad
        d = maximum(d, r/total(abs(s)))
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        param = param - lr*d*exp_avg
        """,
    ),
    (
        Upright,
        {"wd": 0},
        """
        u = momentum*u + grad
        x = u/(norm(u) + 1e-07)
        for _ in range(2):
            gram = x@x.T
            x = 1.5*x - 0.5*gram@x
        gram = x@x.T
        step = 1.5*x - 0.5*gram@x
        param = param - lr*sqrt(maximum(1, param.shape[0]/param.shape[1]))*step
        """,
    ),
    (Upright, {"wd": 0, "ndim": 1}, "u = momentum*u + grad\nparam = param - lr*u"),
    (
        Clipped,
        {"wd": 0},
        """
        grad = grad*minimum(1, limit/sqrt(total(grad**2)))
        param = param - lr*grad
        """,
    ),
]


@pytest.mark.parametrize(
    ("cls", "given", "text"), PAPER_TEXTS, ids=[f"{cls.__name__}{given}" for cls, given, _ in PAPER_TEXTS]
)
def test_norms_rows_totals_and_matrices_read_as_in_the_rule(cls, given, text):
    assert cls.formula(**given).text == inspect.cleandoc(text)


def test_what_is_composed_around_a_rule_stands_in_its_formula():
    text = inspect.cleandoc("""
        total_norm = sqrt(total(norm(grad)**2))
        grad = where(total_norm <= max_norm, 1, max_norm/total_norm)*grad
        cache = cache + grad**2
        param = param - lr/sqrt(cache + eps)*grad
        ema = ema + (1 - ema_decay)*(param - ema)
    """)
    formula = AdaGrad.formula(wd=0, max_norm=1.0, ema_decay=0.9)
    assert formula.text == text
    assert r"\mathrm{ema}_0 &= \theta_0" in formula.latex


PAPER_PIECES = {
    Trusting: [
        r"\mathrm{size}_t &= \left\lVert \theta_{t-1} \right\rVert \\ ",
        r"\eta \mathrm{trust}_t \mathrm{step}_t",
    ],
    Layerwise: [r"\mathrm{now}_t &= \left\lVert g_{t} \right\rVert^{2}", r"\beta_{2} \mathrm{size}_{t-1}"],
    Factored: [
        r"\beta_{2,t} &= 1 - t^{- \mathrm{decay\ rate}}",
        r"\left(1 - \beta_{2,t}\right) \operatorname{mean}_{j}\left(\mathrm{square}_t\right)",
        r"\left(1 - \beta_{2,t}\right) \operatorname{mean}_{i}\left(\mathrm{square}_t\right)",
        r"\operatorname{mean}\left(\left(\mathrm{step}^{(1)}_t\right)^{2}\right)",
        r"\theta_t &= \theta_{t-1} - \eta \mathrm{step}_t",
    ],
    Distant: [
        r"\beta_{3} &= \sqrt{\beta_{1}}",
        r"d_{t-1} \sum_{\mathrm{all}\ \theta}\left(g_{t} \left(\theta_{0} - \theta_{t-1}\right)\right)",
        r"d_t &= \max\left(d_{t-1}, \frac{r_{t}}{\sum_{\mathrm{all}\ \theta}\left(\left|{s_{t}}\right|\right)}\right)",
    ],
    Upright: [
        r"\mathrm{gram}_t &\leftarrow x_{t} x_{t}^{\top} \\ ",
        r"x_t &\leftarrow 1.5 x_{t} - 0.5 \mathrm{gram}_t x_{t} \qquad \text{(these 2 lines 2 times)}",
        r"\eta \sqrt{\max\left(1, \frac{\mathrm{rows}}{\mathrm{columns}}\right)} \mathrm{step}_t",
    ],
    Clipped: [r"g^{(1)}_t &= g_{t} \min\left(1, \frac{\mathrm{limit}}", r"\theta_t &= \theta_{t-1} - \eta g^{(1)}_t"],
    Averaged: [r"z_0 &= \theta_0 \\ ", r"\max\left(\operatorname{norm}_{j}\left(g_{t}\right)\right)", r"\sqrt[3]{"],
}


@pytest.mark.parametrize("cls", PAPERS)
def test_the_latex_of_norms_rows_totals_and_matrices(cls):
    latex = cls.formula(wd=0).latex
    for piece in PAPER_PIECES[cls]:
        assert piece in latex
    math_core = pytest.importorskip("math_core")
    for ndim in (1, 2):  # which stops where something is no LaTeX
        math_core.LatexToMathML().convert_with_local_state(cls.formula(ndim=ndim).latex, displaystyle=True)


def test_products_of_matrices_keep_their_order_and_differ_from_those_of_elements():
    class Mixed(Optimizer):
        lr: float = hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, *, lr):
            b = grad @ param.T
            a = (b + b.T) @ (grad * param) - (b @ grad) ** 2
            return param - lr * a

    assert [line.replace(r"\left", "").replace(r"\right", "") for line in lines_of(Mixed.formula(wd=0).latex)] == [
        r"b_t &= g_{t} \theta_{t-1}^{\top}",
        r"a_t &= (b_{t} + b_{t}^{\top}) (g_{t} \odot \theta_{t-1}) - (b_{t} g_{t})^{2}",
        r"\theta_t &= \theta_{t-1} - \eta a_{t}",
    ]


def lines_of(latex):
    return latex.removeprefix(r"\begin{aligned}").removesuffix(r"\end{aligned}").split(r" \\ ")


SHAPES = {"matrix": (2, 3), "vector": (4,)}


# An array of one axis has no second one, along which a rule that is run by hand could sum.
SHAPED = [(cls, shape) for cls in PAPERS for shape in SHAPES if (cls, shape) != (Averaged, "vector")]


@pytest.mark.parametrize(("cls", "shape"), SHAPED, ids=[f"{cls.__name__}-{shape}" for cls, shape in SHAPED])
def test_the_lines_of_a_text_with_norms_and_matrices_are_what_the_engine_computes(cls, shape):
    rng = np.random.default_rng(3)
    start = rng.standard_normal(SHAPES[shape])
    w = Tensor(start, dtype="float64", requires_grad=True)
    optimizer = cls([w], lr=0.25, wd=0.5, **ENGINES["reference"])
    text = cls.formula(ndim=len(SHAPES[shape])).text
    values = {"param": start}
    for name, first in optimizer.rule.state.items():
        values[name] = start if first == "param" else np.float64(optimizer.defaults.get(first, first))
    for t in (1, 2, 3):
        grad = rng.standard_normal(start.shape)
        w.grad = Tensor(grad, dtype="float64")
        optimizer.step()
        own = {name: np.float64(value) for name, value in optimizer.defaults.items() if isinstance(value, float)}
        scope = {word: getattr(vocabulary, word) for word in vocabulary.__all__} | values | own | {"t": t, "grad": grad}
        exec(text, scope)
        values = {name: scope.get(f"new_{name}", scope[name]) for name in values}
        np.testing.assert_allclose(w.detach().numpy(), values["param"], rtol=1e-12)
        for name in optimizer.rule.state:
            if isinstance(values[name], np.ndarray) and values[name].ndim:
                entry = getattr(optimizer, name)[0]
                np.testing.assert_allclose(entry.numpy(), values[name], rtol=1e-10, err_msg=name)


def test_a_rule_that_does_not_ask_has_one_formula_for_all_shapes():
    assert Trusting.formula(ndim=1).text == Trusting.formula(ndim=4).text == Trusting.formula().text
    with pytest.raises(ValueError) as caught:
        Trusting.formula(ndim=-1)
    assert str(caught.value) == "Trusting: ndim must be an integer of at least 0; got -1"

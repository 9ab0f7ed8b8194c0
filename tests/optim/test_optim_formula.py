"""The equations that are printed from a rule: their exact text, and that they say what the engine does."""

import inspect
import math
import sys

import numpy as np
import pytest
from rules import BUILT_IN, ENGINES, ORACLES, Everything, Lion, firsts, give

from minima import Tensor
from minima.optim import SGD, AdaGrad, Adam, Formula, Optimizer, RMSProp, hyper

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
        direction = sign(beta1*exp_avg + (1 - beta1)*grad)
        param = param - lr*direction
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
    Lion: [r"\mathrm{direction}_t &= \operatorname{sign}"],
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
    values = {"param": 2.0, **dict(zip(names, firsts(cls, hypers), strict=True))}
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

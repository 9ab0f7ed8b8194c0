"""What optimizers and schedules are in a notebook: equations that are set, tables, curves."""

import re
import sys

import numpy as np
import pytest

from minima import Tensor
from minima.optim import LBFGS, SAM, SGD, Adam, AdamW, Lookahead, Optimizer
from minima.optim.schedules import cosine, step

sympy = pytest.importorskip("sympy")


def parameter(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


def test_an_optimizer_shows_the_equations_of_its_variant_and_a_column_for_each_group():
    w, b = parameter(3, 2), parameter(3)
    optimizer = Adam([{"params": [w]}, {"params": [b], "lr": 0.5}], lr=0.25, amsgrad=True)
    shown = optimizer._repr_markdown_()
    assert shown.startswith("## Adam\n\n2 parameters, 9 numbers in all; 0 steps taken.")
    assert f"$${Adam.formula(amsgrad=True, weight_decay=0).latex}$$" in shown
    assert "|  | group 0 | group 1 |" in shown and "| `lr` | `0.25` | `0.5` |" in shown
    assert "| parameters | 1 | 1 |" in shown


def test_an_optimizer_shows_what_it_is_now():
    w = parameter(2)
    optimizer = AdamW([w], lr=cosine(0.5, steps=2))
    w.grad = Tensor(np.ones(2))
    optimizer.step()
    shown = optimizer._repr_markdown_()
    assert "1 step taken" in shown and "| `lr` | `0.25` |" in shown


class Plain(Optimizer):
    def step(self) -> None:
        pass


@pytest.mark.parametrize("kind", [LBFGS, Plain])
def test_an_optimizer_without_a_rule_shows_no_equations(kind):
    shown = kind([parameter(2)])._repr_markdown_()
    assert shown.startswith(f"## {kind.__name__}\n\n1 parameter, 2 numbers") and "$$" not in shown


@pytest.mark.parametrize("loop", [Lookahead, SAM])
def test_a_loop_shows_itself_around_the_optimizer_inside(loop):
    inner = SGD([parameter(2)], lr=0.5)
    shown = loop(inner)._repr_markdown_()
    assert shown.startswith(f"## {loop.__name__}\n\n`") and shown.endswith(f", around:\n\n{inner._repr_markdown_()}")
    assert set(re.findall(r"`(\w+)=", shown)) >= {"Lookahead": {"k", "alpha"}, "SAM": {"rho"}}[loop.__name__]


def test_a_hyperparameter_that_fails_today_is_shown_as_the_function_that_it_is():
    def fails(step):
        return 0.5 if step == 0 else 1 / 0

    w = parameter(2)
    optimizer = SGD([w], lr=fails)
    w.grad = Tensor(np.ones(2))
    optimizer.step()
    shown = optimizer._repr_markdown_()
    assert "$$" in shown and "fails at" in shown


def test_an_explanation_sets_its_equations_too():
    shown = Adam.explain()._repr_markdown_()
    assert f"$${Adam.formula(weight_decay=0).latex}$$" in shown


def test_without_sympy_equations_are_lines_of_code(monkeypatch):
    monkeypatch.setattr("minima.optim.language.formula.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "sympy", None)
    formula = Adam.formula(weight_decay=0)
    assert formula._repr_latex_() is None and formula.typeset == ""
    assert f"```python\n{formula.text}\n```" in Adam([parameter(2)])._repr_markdown_()


def test_a_schedule_is_a_curve_with_its_name_and_a_staircase_has_steps():
    pytest.importorskip("matplotlib")
    drawn = step(0.5, every=10)._repr_svg_()
    assert (
        drawn is not None and drawn.startswith("<?xml") and "step(0.5, every=10)" in re.sub(r"\s*<!--|-->", "", drawn)
    )
    line = max(re.findall(r'<path d="(M [^"]*)" clip-path', drawn), key=len).split()
    places = list(zip(line[1::3], line[2::3], strict=True))
    for (x, y), (next_x, next_y) in zip(places, places[1:], strict=False):
        assert x == next_x or y == next_y  # no slope


def test_without_matplotlib_a_notebook_falls_back_to_the_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cosine(0.5, steps=2)._repr_svg_() is None

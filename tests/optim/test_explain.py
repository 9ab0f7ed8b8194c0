"""What ``explain`` says: facts of the program, costs counted by hand, and the same words wherever it is printed."""

import inspect
import math
import re
import sys
from importlib.util import find_spec
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from papers import PAPERS, Clipped, Distant, Factored, Layerwise, Upright

from minima import Tensor, optim
from minima.cli import main
from minima.explain import explanation as module
from minima.explain import stopwatch
from minima.explain.listing import listing
from minima.optim import (
    CAME,
    LAMB,
    LARS,
    MADGRAD,
    MARS,
    SGD,
    SM3,
    Adafactor,
    AdaGrad,
    Adam,
    Lion,
    NovoGrad,
    Optimizer,
    Prodigy,
    RMSProp,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    SophiaG,
    StableAdamW,
    exp,
    hyper,
    maximum,
    sign,
    where,
)
from minima.optim.catalog import LOOPS
from minima.optim.engines.cpu import kernel
from minima.optim.language import vocabulary
from minima.optim.language.ranks import ELEMENT
from minima.optim.rules import RULES

ALL = [SGD, AdaGrad, RMSProp, Adam]


class Wild(Optimizer):
    """Uses what the others do not.

    This paragraph is not part of the summary.
    """

    lr: float = hyper(1e-3, low=0)
    rho: float = hyper(0.5, low=0, below=1)
    sharp: bool = hyper(False)

    @staticmethod
    def update(param, grad, trust=1.0, *, lr, rho, sharp, t):
        trust = rho * trust + (1 - rho) * exp(-abs(grad))
        step = where((grad > trust) | (grad < -trust), sign(grad), grad / trust)
        if sharp:
            step = step * abs(step)
        return param - lr * (step - (param - 1)) / (t**0.5), maximum(trust, 0.1)


class Imperative(Optimizer):
    def step(self):
        """Does as it likes."""


@pytest.fixture
def stopped(monkeypatch):
    """A stopwatch that measures nothing: 10 µs for every call, 1 ms for a large step of the adder, 2 of the rule."""
    monkeypatch.setattr(module, "stepper", lambda *_: lambda: None)
    monkeypatch.setattr(module, "fastest", lambda *steps: [1e-5] if len(steps) == 1 else [1e-3, 2e-3])


# Figures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "operations"),
    [
        # Each does (1 - lr*wd) * param, and a subtraction from it.
        (SGD, {"mul": 4, "add/sub": 2}),  # momentum*u + (1-momentum)*g; lr*u
        (AdaGrad, {"mul": 3, "add/sub": 3, "div": 1, "sqrt": 1}),  # cache + g*g; lr / sqrt(cache + eps) * g
        (RMSProp, {"mul": 5, "add/sub": 3, "div": 1, "sqrt": 1}),  # rho*cache + (1-rho)*(g*g); as AdaGrad
        (Adam, {"mul": 9, "add/sub": 4, "div": 1, "sqrt": 1}),  # two averages; two corrections; lr*m_hat; + eps
    ],
)
def test_operations_are_those_counted_by_hand(optimizer, operations):
    flags = {"momentum": 0.9} if optimizer is SGD else {}
    assert optimizer.explain(**flags, wd=0.1).operations == operations
    undecayed = operations | {"mul": operations["mul"] - 1}
    assert optimizer.explain(**flags).operations == undecayed


def test_what_is_switched_off_by_default_is_neither_computed_nor_kept(stopped):
    plain = SGD.explain()
    assert plain.operations == {"mul": 1, "add/sub": 1} and plain.state == {} and plain.bytes_moved == 12
    text = str(plain)
    assert "param = param - lr*grad" in text and "It keeps no state." in text
    assert "While momentum and wd are 0, their terms are omitted." in " ".join(text.split())
    assert "omitted" not in str(SGD.explain(momentum=0.9, wd=0.1))
    assert "While weight_decay is 0, its term is omitted." in " ".join(str(Adam.explain()).split())


@pytest.mark.parametrize(
    ("optimizer", "options", "state", "moved"),
    [
        (SGD, {}, 0, 12),
        (SGD, {"momentum": 0.9}, 4, 20),
        (AdaGrad, {}, 4, 20),
        (RMSProp, {}, 4, 20),
        (Adam, {}, 8, 28),
        (Adam, {"dtype": "float64"}, 16, 56),
        (Adam, {"dtype": "float16"}, 8, 22),  # the state of half precision is kept in float32
        (Adam, {"state_dtype": "bfloat16"}, 4, 20),
        (Adam, {"state_dtype": "int8"}, 2 + 8 / 256, 12 + 4 + 16 / 256),  # a scale of 4 bytes for 256 codes of 1
        (Adam, {"dtype": "float64", "state_dtype": "int8"}, 2 + 16 / 256, 24 + 4 + 32 / 256),
        (SophiaG, {}, 8, 24),  # steps read the estimate, and leave it alone
        (SophiaG, {"state_dtype": "bfloat16"}, 4, 18),
        (SophiaG, {"state_dtype": "int8"}, 2 + 8 / 256, 12 + 3 + 12 / 256),
        (SGD, {"momentum": 0.9, "state_dtype": "int8"}, 1 + 4 / 256, 12 + 2 + 8 / 256),
        (MADGRAD, {}, 12, 32),  # where a parameter began is read only
    ],
)
def test_bytes_are_those_counted_by_hand(optimizer, options, state, moved):
    explanation = optimizer.explain(**options)
    assert sum(explanation.state.values()) == state
    assert explanation.bytes_moved == moved


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
def test_the_kinds_of_state_are_those_that_an_optimizer_keeps(state_dtype):
    explanation = Adam.explain(state_dtype=state_dtype)
    kept = Adam([Tensor([1.0] * 256, requires_grad=True)], state_dtype=state_dtype)._slots[0].state
    assert [(name, explanation.kinds[name]) for name in kept] == [(name, stored.kind) for name, stored in kept.items()]
    assert [256 * size for size in explanation.state.values()] == [stored.nbytes for stored in kept.values()]


def test_a_flag_explains_the_form_of_the_rule_that_it_chooses(stopped):
    plain, nesterov = SGD.explain(momentum=0.9), SGD.explain(momentum=0.9, nesterov=True)
    assert nesterov.operations["mul"] == plain.operations["mul"] + 1
    assert str(nesterov).startswith("SGD, momentum=0.9, nesterov=True\n")


@pytest.fixture
def compiled(monkeypatch):
    """The modules that LLVM is given from now on."""
    sources, inner = [], kernel.compiled
    monkeypatch.setattr(kernel, "compiled", lambda source, *rest: sources.append(source) or inner(source, *rest))
    monkeypatch.setattr(kernel.compile_kernel, "kept", {})
    return sources


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"dtype": "float16", "state_dtype": "int8"}], ids=str)
@pytest.mark.parametrize(
    ("optimizer", "flags"), [(SGD, {}), (SGD, {"momentum": 0.9, "nesterov": True}), (Adam, {}), (Wild, {"sharp": True})]
)
def test_the_source_is_what_is_compiled(optimizer, flags, options, compiled):
    explanation = optimizer.explain(**flags, **options)
    kept = dict(options)
    w = Tensor(np.ones(3), dtype=kept.pop("dtype", "float32"), requires_grad=True)
    w.grad = Tensor(np.ones(3), dtype=w.dtype)
    optimizer([w], engine="fused", **flags, **kept).step()
    assert [source.strip() for source in compiled] == [explanation.module]


@pytest.mark.parametrize("optimizer", [*ALL, Wild])
def test_the_source_is_the_function_that_does_the_work(optimizer):
    explanation = optimizer.explain()
    assert explanation.source.startswith('define internal void @"update"')
    assert explanation.source.endswith("\n}") and explanation.source.count("\n}") == 1
    assert explanation.module.count("\ndefine ") == 2
    for name in explanation.program.inputs:
        assert name in explanation.source


# The loop ------------------------------------------------------------------------------------------------------------

VARIANTS = [*((kind, {"wd": 0.1} | ({"momentum": 0.9} if kind is SGD else {})) for kind in ALL)]
VARIANTS += [
    (SGD, {"momentum": 0.9, "nesterov": True, "wd": 0.1}),
    (SGD, {"momentum": 0.9, "dampening": 0.5, "wd": 0.1}),
]
VARIANTS += [(Wild, {"sharp": True})]


@pytest.mark.parametrize(("optimizer", "flags"), VARIANTS)
def test_every_line_of_the_program_is_there_in_its_order(optimizer, flags, stopped):
    explanation = optimizer.explain(**flags)
    lines = [line.split("#")[0].strip() for line in str(explanation).splitlines()]
    program = [str(line) for line in (*explanation.program.host, *explanation.program.body)]
    assert [line for line in lines if line in program] == program


@pytest.mark.parametrize(("optimizer", "flags"), VARIANTS)
def test_a_remark_says_what_its_line_computes(optimizer, flags):
    program = optimizer.explain(**flags).program
    words = {"sqrt": math.sqrt, "exp": math.exp, "abs": abs, "maximum": max, "sign": lambda x: math.copysign(1, x)}
    words["where"] = lambda condition, x, y: x if condition else y
    values = {name: 0.3 + 0.05 * number for number, name in enumerate((*program.inputs, *program.hypers))}
    remarks = 0
    for line in listing(program, "float32").splitlines():
        code, _, remark = line.partition("#")
        target, _, right = code.strip().partition(" = ")
        if not target.isidentifier() or right.startswith("read"):
            continue
        values[target] = eval(right, words, values)
        if remark:
            remarks += 1
            assert eval(remark, words, values) == pytest.approx(values[target], rel=1e-12)
    assert remarks >= 3


def test_remarks_are_written_in_the_words_of_the_rule():
    text = listing(Adam.explain().program, "float32")
    remarks = re.findall("# (.*)", text)
    assert "new_exp_avg/(1 - beta1**t)" in remarks
    assert "beta2*exp_avg_sq + (1 - beta2)*grad**2" in remarks
    assert not any(re.search(r"\b[hx]\d", remark) for remark in remarks)


# Rules that look beyond one element ----------------------------------------------------------------------------------

MOVED = [
    # Bytes of each pass for each element. LAMB reads p g m v and writes m v, then reads p m v and writes p. In fewer
    # bits the new m v are no longer what was computed: then it reads p g m v twice.
    (LAMB, {}, [24, 16]),
    (LAMB, {"state_dtype": "bfloat16"}, [12, 20]),
    (NovoGrad, {}, [4, 20]),
    (LARS, {}, [8, 20]),
    (StableAdamW, {}, [20, 16]),
    (MARS, {}, [8, 36]),
    (Lion, {"cautious": True}, [8, 20]),
    (Adafactor, {}, [8, 4, 12]),
    (Adafactor, {"ndim": 1}, [16, 16]),
    (SM3, {}, [20]),
    (SM3, {"momentum": 0.0}, [12]),
    (CAME, {}, [4, 4, 12, 12]),
    (CAME, {"ndim": 1}, [12, 24]),
    (Prodigy, {}, [40]),
    (ScheduleFreeSGD, {}, [20]),
    (ScheduleFreeAdamW, {}, [28]),
    (Clipped, {}, [4, 12]),
    (Distant, {}, [28, 12]),
    (SGD, {"max_norm": 1.0}, [4, 12]),
]


@pytest.mark.parametrize(("optimizer", "options", "moved"), MOVED, ids=str)
def test_the_bytes_of_each_pass_are_those_counted_by_hand(optimizer, options, moved, stopped):
    explanation = optimizer.explain(**options)
    assert [sum(sum(side.values()) for side in both) for both in explanation.cut.traffic] == moved
    assert explanation.bytes_moved == sum(moved)
    text = " ".join(str(explanation).split())
    assert f"A step moves {sum(moved)} bytes" in text
    if len(moved) > 1:
        which = f"{', '.join(map(str, moved[:-1]))} and {moved[-1]}"
        assert f"A step takes {len(moved)} passes, which move {which} bytes per parameter." in text
    else:
        assert "one pass is enough" in text


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_state_of_each_size_is_told_as_it_is_kept(state_dtype, stopped):
    for optimizer in (Layerwise, Factored, Distant):
        explanation = optimizer.explain(state_dtype=state_dtype)
        w = Tensor(np.ones((3, 4)), requires_grad=True)
        made = optimizer([w], state_dtype=state_dtype)
        w.grad = Tensor(np.ones((3, 4)))
        made.step()
        kept = {name: stored.kind for name, stored in made._slots[0].state.items()}
        assert {name: explanation.kinds[name] for name in kept} == kept
        small = [name for name, entry in explanation.state.items() if not entry]
        assert small == [name for name in explanation.state if optimizer.rule.ranks[name] != ELEMENT]
    rows = [re.split(" {2,}", line.strip()) for line in str(Layerwise.explain()).splitlines()]
    assert ["size", "float64 per tensor", "0"] in rows
    rows = [re.split(" {2,}", line.strip()) for line in str(Factored.explain()).splitlines()]
    assert ["rows", "float32 per row", "0"] in rows and ["columns", "float32 per column", "0"] in rows
    rows = [re.split(" {2,}", line.strip()) for line in str(Distant.explain()).splitlines()]
    assert ["d", "float64 for all", "0.001"] in rows and ["start", "float32", "param", "4"] in rows


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("optimizer", PAPERS)
def test_every_line_of_a_program_with_passes_is_there(optimizer, ndim, stopped):
    explanation = optimizer.explain(ndim=ndim)
    lines = [line.split("#")[0].strip() for line in str(explanation).splitlines()]
    assert {str(line) for line in (*explanation.program.host, *explanation.program.body)} <= {*lines}


@pytest.mark.parametrize("optimizer", [x for x in PAPERS if x is not Upright])
def test_the_loops_of_a_listing_compute_what_a_step_does(optimizer):
    """The listing, run as Python on the numbers of one parameter of one element."""
    explanation = optimizer.explain()
    lines = listing(explanation.program, "float64", explanation.cut).replace("for i in range(n):", "if True:")
    names = explanation.program.inputs
    w = Tensor(np.full((1, 1), 0.75), dtype="float64", requires_grad=True)
    made = optimizer([w], engine="reference")
    values = {name: 0.75 if first == "param" else first for name, first in explanation.first.items()} | {"param": 0.75}
    for t, grad in enumerate((0.5, -1.25), start=1):
        w.grad = Tensor(np.full((1, 1), grad), dtype="float64")
        made.step()
        arrays = {name: {0: values.get(name, grad)} for name in names}

        def read(text):  # from the array of which a value is the old or the new one
            return ", ".join(f"arrays[{name.strip().removeprefix('new_')!r}][0]" for name in text.split(","))

        code = re.sub(r"^( *)(.*) = read\(i\)$", lambda m: f"{m[1]}{m[2]} = {read(m[2])}", lines, flags=re.M)
        code = re.sub(r"^( +)(\w+)\[i\] = ", r"\1arrays['\2'][0] = ", code, flags=re.M)
        scope = {word: getattr(vocabulary, word) for word in vocabulary.__all__} | made.defaults | values
        scope |= {"narrow": float, "arrays": arrays, "t": t, "grad": grad}
        exec(code, scope)
        for name in values:
            changed = explanation.program.rank(name) == ELEMENT
            values[name] = float(arrays[name][0] if changed else scope[name])
        assert values["param"] == pytest.approx(w.item(), rel=1e-12)
        for name in explanation.first:
            assert values[name] == pytest.approx(np.asarray(getattr(made, name)[0]).item(), rel=1e-12), name


def test_an_average_of_parameters_is_kept_as_they_are(stopped):
    explanation = SGD.explain(ema_decay=0.9, state_dtype="int8")
    assert explanation.kinds["ema"] == "float32" and explanation.first == {"ema": "param"}
    assert explanation.bytes_moved == 20


def test_what_the_fused_engine_cannot_run_says_why(stopped):
    explanation = Adafactor.explain(momentum=0.9, state_dtype="int8")
    text = " ".join(str(explanation).split())
    why = "it tells rows and columns apart, and blocks of 8-bit state run across rows"
    assert explanation.engine == "reference" and explanation.cut is None
    assert f"The fused engine cannot run it: {why}." in text and f"the fused one cannot run it: {why}." in text
    assert "LLVM" not in text
    with pytest.raises(NotImplementedError) as caught:
        explanation.source  # noqa: B018 - made when it is asked for
    words = f"Adafactor.explain: there is no source, for the fused engine cannot run this: {why}"
    assert str(caught.value) == words
    assert words in " ".join(explanation.page("update").plain().split())
    assert Adafactor.explain(momentum=0.9, state_dtype="int8", ndim=1).cut is not None


def test_products_of_matrices_stand_between_the_passes(stopped):
    explanation = Upright.explain()
    text = str(explanation)
    assert explanation.engine == "fused" and "In addition there are 6 matrix products." in " ".join(text.split())
    before, products = text.split("# products of matrices, one parameter after another, in float32")
    assert before.count("for i in range(n):") == 1 and products.count("for i in range(n):") == 1
    assert products.index(" @ ") < products.index("for i in range(n):")


def test_rules_of_matrices_are_timed_on_matrices(monkeypatch):
    shapes = []
    monkeypatch.setattr(module, "stepper", lambda *args: shapes.append(args[-1]))
    monkeypatch.setattr(module, "fastest", lambda *steps: [1e-3] * len(steps))
    assert [timing.bound for timing in Upright.explain(parameters=4_000_000).timings] == ["the call"] * 2 + [
        "products of matrices"
    ] * 3
    assert shapes == [(64, 156), (1, 1), (512, 1953)]
    assert Upright.explain(parameters=4_000_000).timings[2].seconds == pytest.approx(8e-3)


@pytest.mark.parametrize("optimizer", [LAMB, Adafactor, Clipped])
def test_the_source_of_a_rule_with_passes_is_a_function_for_each(optimizer):
    explanation = optimizer.explain()
    count = len(explanation.cut.traffic)
    assert explanation.source.count("define internal void") == explanation.source.count("\n}") == count
    assert explanation.source.startswith('define internal void @"pass_0"')


# The text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [*ALL, Wild])
def test_the_text_tells_what_the_class_declares(optimizer, stopped):
    flags = {"wd": 0.1} | ({"momentum": 0.9} if optimizer is SGD else {})
    explanation = optimizer.explain(**flags)
    text = str(explanation)
    assert " ".join(optimizer.__doc__.split("\n\n")[0].split()) in " ".join(text.split())
    assert "not part of the summary" not in text
    for equation in optimizer.formula().text.splitlines():
        assert f"  {equation}\n" in text
    for name, declared in optimizer.hyperparameters.items():
        assert re.search(rf"^  {name} +{declared.default or 0:g} +{re.escape(declared.range)}$", text, re.M) or (
            declared.default is None or declared.is_flag
        )
    assert f"moves {explanation.bytes_moved:g} bytes" in text


@pytest.mark.parametrize(
    ("parameters", "row"),
    [  # by hand: 8 bytes of state and 28 that move for each; a call of 10 µs, and 2 ms for 2**23 parameters
        (1, ["1", "8 B", "28 B", "10 µs", "measured", "the call"]),
        (999, ["999", "7.99 kB", "28 kB", "10 µs", "measured", "the call"]),
        (1234, ["1,234", "9.87 kB", "34.6 kB", "10 µs", "measured", "the call"]),
        (77_000, ["77 thousand", "616 kB", "2.16 MB", "10 µs", "measured", "the call"]),
        (1_500_000, ["1.5 million", "12 MB", "42 MB", "368 µs", "expected", "arithmetic"]),
        (123_456_789, ["123,456,789", "988 MB", "3.46 GB", "29.4 ms", "expected", "arithmetic"]),
        (2_000_000_000, ["2 billion", "16 GB", "56 GB", "477 ms", "expected", "arithmetic"]),
        (200_000_000_000, ["200 billion", "1,600 GB", "5,600 GB", "47.7 s", "expected", "arithmetic"]),
    ],
)
def test_sizes_and_times_have_three_digits_and_a_unit(parameters, row, stopped):
    lines = str(Adam.explain(parameters=parameters)).splitlines()
    assert row in [re.split(" {2,}", line.strip()) for line in lines]


@pytest.mark.parametrize(
    ("optimizer", "options", "is_told"),
    [
        (Adam, {"state_dtype": "int8"}, True),
        (RMSProp, {"state_dtype": "int8"}, True),  # whose only state is never negative
        (SGD, {"state_dtype": "int8", "momentum": 0.9}, True),  # whose only state has a sign
        (SGD, {"state_dtype": "int8"}, False),  # it keeps none
        (Adam, {"state_dtype": "bfloat16"}, False),
        (Adam, {}, False),
    ],
)
def test_what_8_bits_are_is_told_where_state_is_kept_in_them(optimizer, options, is_told, stopped):
    text = " ".join(str(optimizer.explain(**options)).split())
    assert ("8 bits are codes in blocks of 256, with one scale for each block." in text) == is_told


def test_the_text_fits_80_columns_and_has_no_colours(stopped):
    for optimizer in [*ALL, Wild]:
        text = str(optimizer.explain(state_dtype="int8", parameters=123_456_789))
        equations = optimizer.formula().text  # one line each, however long
        assert max(len(line) for line in text.splitlines() if line.strip() not in equations) <= 80
        assert "\x1b" not in text


def test_the_source_is_shown_on_request(stopped):
    explanation = RMSProp.explain()
    assert "define" not in str(explanation)
    assert "LLVM" in str(explanation)
    update, whole = explanation.page("update").plain(), explanation.page("module").plain()
    assert update.count("define") == 1
    assert whole.count("define") == 2


def test_rich_prints_the_same_words(stopped):
    console = pytest.importorskip("rich.console")
    explanation = Adam.explain()
    for width in (80, 120):
        coloured = console.Console(file=StringIO(), width=width, force_terminal=True, color_system="truecolor")
        coloured.print(explanation)
        printed = coloured.file.getvalue()
        assert "\x1b[" in printed
        words = re.sub(r"\x1b\[[0-9;]*m", "", printed).split()
        assert words == str(explanation).split()


def test_rich_sets_tables_as_plain_text_does(stopped):
    console = pytest.importorskip("rich.console")
    explanation = Adam.explain()
    wide = console.Console(file=StringIO(), width=120)
    wide.print(explanation)
    lines = [line.rstrip() for line in wide.file.getvalue().splitlines()]
    for first, last in (
        ("  name  ", "  weight_decay  "),
        ("  array  ", "  exp_avg_sq  "),
        ("   parameters  ", "124 m"),
    ):
        plain = str(explanation).splitlines()
        begin, end = (next(place for place, line in enumerate(plain) if text in line) for text in (first, last))
        assert end > begin and all(line in lines for line in plain[begin : end + 1])


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("has_rich", [True, False])
def test_colours_are_for_terminals_where_rich_is_installed(is_terminal, has_rich, stopped, monkeypatch, capsys):
    if has_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    SGD.explain().show()
    printed = capsys.readouterr().out
    assert ("\x1b[" in printed) == (is_terminal and has_rich)
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed).split() == str(SGD.explain()).split()


def test_a_notebook_gets_tables_and_code(stopped):
    text = Adam.explain()._repr_markdown_()
    assert text.startswith("## Adam\n")
    assert "| beta1 | 0.9 | [0, 1) |" in text
    is_set = find_spec("sympy") is not None  # the equations
    assert (text.count("```python"), text.count("$$")) == ((1, 2) if is_set else (2, 0))


# Times ---------------------------------------------------------------------------------------------------------------


def test_a_step_is_timed_and_larger_ones_take_longer():
    explanation = SGD.explain(parameters=2_000_000_000)
    sizes = [timing.parameters for timing in explanation.timings]
    assert sizes == [10_000, 1_000_000, 30_000_000, 124_000_000, 2_000_000_000]
    times = [timing.seconds for timing in explanation.timings]
    assert times == sorted(times)
    assert 0 < explanation.call < 0.1
    assert [timing.measured for timing in explanation.timings] == [True, True, False, False, False]
    assert 1e8 < explanation.speed <= explanation.bandwidth < 1e13
    expected = explanation.call + 30_000_000 * 12 / explanation.speed
    assert times[2] == pytest.approx(expected)


@pytest.mark.parametrize(("share", "rounds"), [(1e-4, 50), (5e-4, 21), (0.0035, 4), (0.1, 3)])
def test_steps_take_turns_for_a_tenth_of_a_second_and_the_shortest_time_of_each_counts(share, rounds, monkeypatch):
    """The third time takes two shares for one and three for the other, all else twice that."""
    now, taken = 1000.0, []
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: now))

    def act(name, shares):
        nonlocal now
        taken.append(name)
        now += share * shares * (1 if taken.count(name) == 3 else 2)

    found = stopwatch.fastest(lambda: act("a", 2), lambda: act("b", 3))
    assert found == pytest.approx([2 * share, 3 * share]) and taken == ["a", "b"] * rounds


@pytest.mark.parametrize(
    ("optimizer", "options", "size", "moved", "own"),
    [  # the bytes that a step of the adder moves for each parameter, and a step of the rule
        (SGD, {}, 2**24, 12, 12),
        (SGD, {"momentum": 0.9, "dtype": "float64"}, 2**27 // 24, 40, 40),
        (Adam, {}, 2**23, 28, 28),
        (Adam, {"dtype": "float16"}, 2**24, 22, 22),
        (Adam, {"state_dtype": "int8"}, 2**23, 28, 12 + 4 + 16 / 256),
    ],
)
def test_memory_is_as_fast_as_the_faster_of_a_step_that_only_adds_and_one_of_the_rule(
    optimizer, options, size, moved, own, monkeypatch
):
    sizes = []
    monkeypatch.setattr(module, "stepper", lambda kind, options, dtype, shape: sizes.append(*shape))
    for adding, ruling in ((1e-3, 2e-3), (4e-3, 1e-3)):
        monkeypatch.setattr(module, "fastest", lambda *_, times=(adding, ruling): list(times))
        explanation = optimizer.explain(**options)
        assert explanation.speed == pytest.approx(own * size / ruling, rel=1e-12)
        assert explanation.bandwidth == pytest.approx(max(moved * size / adding, own * size / ruling), rel=1e-12)
    assert sizes == [size] * 4


def test_what_decides_is_told_from_the_times(stopped, monkeypatch):
    timings = Adam.explain().timings  # a step of 1 takes as long as any, and the adder half as long as the rule
    assert [timing.bound for timing in timings] == ["the call", "the call", "arithmetic", "arithmetic"]
    monkeypatch.setattr(module, "fastest", lambda *steps: [1e-5] if len(steps) == 1 else [2e-3, 2e-3])
    assert [timing.bound for timing in Adam.explain().timings][2:] == ["memory", "memory"]


def test_the_reference_engine_is_named(monkeypatch, stopped):
    monkeypatch.setenv("MINIMA_ENGINE", "reference")
    assert "llvmlite" in str(Adam.explain())


def test_a_class_with_a_constructor_of_its_own_is_timed():
    class Own(SGD):
        def __init__(self, model, rate):
            super().__init__(model.parameters(), lr=rate)

    assert Own.explain().call > 0


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "Imperative: an optimizer that overrides step() has no rule to read", Imperative.explain),
        (
            ValueError,
            "Adam.explain: dtype must be 'float32', 'float64' or 'float16'; got 'int8'",
            lambda: Adam.explain(dtype="int8"),
        ),
        (
            ValueError,
            "Adam.explain: state_dtype must be None, 'bfloat16' or 'int8'; got 'int4'",
            lambda: Adam.explain(state_dtype="int4"),
        ),
        (
            ValueError,
            "SGD.explain: parameters must be a whole number, at least 1; got 0",
            lambda: SGD.explain(parameters=0),
        ),
        (
            TypeError,
            "SGD.explain: parameters must be a whole number, at least 1; got 'x'",
            lambda: SGD.explain(parameters="x"),
        ),
        (
            TypeError,
            "SGD.explain: parameters must be a whole number, at least 1; got 1.5",
            lambda: SGD.explain(parameters=1.5),
        ),
        (
            ValueError,
            "SGD.explain: state_dtype must be None, 'bfloat16' or 'int8'; got array(['int8', 'int8'], dtype='<U4')",
            lambda: SGD.explain(state_dtype=np.array(["int8", "int8"])),
        ),
        (
            TypeError,
            "SGD: there is no hyperparameter 'nestorov'; did you mean nesterov? "
            "there are lr, momentum, wd, dampening, nesterov, dampen_first (also as weight_decay)"
            "; and for every rule decay, maximize, cautious, max_norm, ema_decay",
            lambda: SGD.explain(nestorov=True),
        ),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == words


def test_one_operation_on_the_host_depends_and_several_depend(stopped):
    def words(**flags):
        return " ".join(str(SGD.explain(**flags)).split())

    assert "1 of them depends only on hyperparameters and t: it is computed once per step" in words(momentum=0.9)
    told = words(momentum=0, wd=0.1)
    assert "2 of them depend only on hyperparameters and t: they are computed once per step" in told


# The command ---------------------------------------------------------------------------------------------------------

LION = '''
from __future__ import annotations
from dataclasses import dataclass
from minima.optim import Optimizer, hyper, sign

@dataclass
class Note:
    text: str

class Lion(Optimizer):
    """Steps by the sign of an average."""
    lr: float = hyper(1e-4, low=0)
    beta: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, beta):
        exp_avg = beta * exp_avg + (1 - beta) * grad
        return param - lr * sign(exp_avg), exp_avg

class Old(Optimizer):
    def step(self):
        pass
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A directory with files of a user's own, as the working directory."""
    (tmp_path / "rules_of_mine.py").write_text(LION)
    (tmp_path / "broken.py").write_text("import not_a_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("rules_of_mine", None)


def test_the_command_prints_plain_text_into_a_pipe(capsys, stopped):
    assert main(["explain", "adam", "--state-dtype", "int8", "--parameters", "77"]) == 0
    printed = capsys.readouterr().out
    assert printed == str(Adam.explain(state_dtype="int8", parameters=77)) + "\n"


def test_the_command_explains_the_form_that_values_choose(capsys, stopped):
    assert main(["explain", "SGD", "momentum=0.9", "nesterov=True", "dampening=None", "decay=l2", "wd=1"]) == 0
    wanted = SGD.explain(momentum=0.9, nesterov=True, dampening=None, decay="l2", wd=1)
    assert capsys.readouterr().out == f"{wanted}\n"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("momentum=2", "SGD: momentum must lie in [0, 1); got 2.0"),
        ("momentum=much", "SGD: momentum must be a number in [0, 1); got 'much'"),
        ("speed=2", "SGD: there is no hyperparameter 'speed'; there are lr"),
        ("momentum", "minima explain: NAME=VALUE is how a value is written, as in momentum=0.9; got 'momentum'"),
    ],
)
def test_the_command_answers_a_wrong_value_in_one_sentence(value, words, capsys):
    try:
        assert main(["explain", "SGD", value]) == 2
    except SystemExit as error:  # argparse leaves by itself
        assert error.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("option", "functions"), [("--source", 1), ("--module", 2)])
def test_the_command_shows_the_source(option, functions, capsys, stopped):
    assert main(["explain", "SGD", option, "--dtype", "float64"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("define ") == functions
    assert "double" in printed


@pytest.mark.parametrize("name", ["rules_of_mine:Lion", "rules_of_mine.py:Lion", "./rules_of_mine.py:lion"])
def test_the_command_explains_a_rule_of_ones_own(name, mine, capsys, stopped):
    assert main(["explain", name]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Lion\nSteps by the sign of an average.\n")
    assert "direction" not in printed
    assert "5 mul" not in printed


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("lbfgs", "direction = direction + (a - dot(y, direction)/dot(y, s))*s"),
        ("Lookahead", "slow = slow + alpha*(param - slow)"),
        ("sam", "perturbed = param + rho*scale**2*grad/n"),
        ("minima.optim:SAM", "perturbed = param + rho*scale**2*grad/n"),
    ],
)
def test_the_command_shows_the_algorithm_of_what_is_no_rule(name, line, capsys):
    cls = getattr(optim, {each.lower(): each for each in LOOPS}[name.rpartition(":")[2].lower()])
    assert main(["explain", name]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(cls.__name__ + "\n") and line in map(str.strip, printed.splitlines())
    assert f"help(minima.optim.{cls.__name__}) says all" in " ".join(printed.split())
    for argument, declared in list(inspect.signature(cls).parameters.items())[1:]:
        assert f"{argument} {declared.default!r}" in " ".join(printed.split())
    for asked in (["lr=1"], ["--dtype", "float64"], ["--source"], ["--parameters", "7"], ["--state-dtype", "int8"]):
        assert main(["explain", name, *asked]) == 2
        words = f"minima explain: {cls.__name__} is a loop around steps, and no rule that has variants and a program; "
        assert capsys.readouterr().err == words + "give its name alone\n"


def test_the_command_finds_what_a_module_loads_only_when_it_is_asked_for(capsys, stopped):
    assert main(["explain", "minima.optim:adam"]) == 0
    assert capsys.readouterr().out.startswith("Adam\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "Adum",
            "minima explain: there is no optimizer 'Adum'; did you mean Adam? there are "
            f"{', '.join(RULES)}, LBFGS, Lookahead, SAM; "
            "for one of your own write module:Class or path/to/file.py:Class",
        ),
        (
            "rules_of_mine.py:Leon",
            "minima explain: there is no optimizer 'Leon' in rules_of_mine.py; did you mean Lion? there are Lion, Old",
        ),
        ("rules_of_mine.py:Old", "Old: an optimizer that overrides step() has no rule to read"),
        ("nowhere.py:Lion", "minima explain: there is no file nowhere.py"),
        (
            "nowhere:Lion",
            "minima explain: cannot import nowhere; ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            "broken.py:Lion",
            "minima explain: cannot import broken.py; ModuleNotFoundError: No module named 'not_a_module'",
        ),
    ],
)
def test_the_command_answers_a_mistake_in_one_sentence(name, words, mine, capsys):
    assert main(["explain", name]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == words + "\n"

"""The step itself: plans that are kept, steps that fail or are interrupted, threads, copies, and work that grows."""

import copy
import itertools
import math
import pickle
import signal
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from rules import BUILT_IN, GRADIENTS, able, bits, drive, give, parameters, split

from minima import Tensor, optim
from minima.optim import SGD, Adam, Muon, Optimizer, Prodigy, hyper, sqrt, total, where
from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Member
from minima.optim.core.plan import Plan
from minima.optim.core.scalars import host_part
from minima.optim.core.values import Settings
from minima.optim.engines import Stored
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program, compile_lines

SOURCE = str(Path(optim.__file__).parents[1])


def tensor(values=(1.0, 2.0), dtype="float32"):
    return Tensor(np.asarray(values), dtype=dtype, requires_grad=True)


@pytest.fixture
def made(monkeypatch):
    """Counts of the plans and of the kernels that are made."""
    counts = {Plan: 0, Batch: 0}
    for kind in counts:
        begin = kind.__init__

        def counted(self, *args, kind=kind, begin=begin, **kwargs):
            counts[kind] += 1
            begin(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", counted)
    return counts


# Plans that are kept -------------------------------------------------------------------------------------------------


def test_sets_of_parameters_that_take_turns_are_planned_once_and_stepped_like_optimizers_of_their_own(made, engine):
    sets = [(0, 1), (2, 3), (0, 4), (1, 2, 3)]
    together, alone = parameters("float32"), [parameters("float32") for _ in range(5)]
    optimizer = Adam(together, lr=0.1, **engine)
    others = [Adam([params[place]], lr=0.1, **engine) for place, params in enumerate(alone)]
    for number, row in enumerate([*GRADIENTS, *GRADIENTS]):
        parts, moving = split(row), sets[number % len(sets)]
        give(together, [part if place in moving else None for place, part in enumerate(parts)])
        optimizer.step()
        for place in moving:
            give(others[place].params, [parts[place]])
            others[place].step()
    assert optimizer.steps == tuple(other.steps[0] for other in others)
    for place, other in enumerate(others):
        assert together[place].detach().numpy().tobytes() == other.params[0].detach().numpy().tobytes()
        assert optimizer.exp_avg_sq[place].tolist() == other.exp_avg_sq[0].tolist()
    assert made == {Plan: len(sets) + len(others), Batch: len(sets) + len(others)}


def test_a_plan_is_kept_whatever_numbers_and_gradients_change(made, engine):
    params = [tensor(), tensor(np.ones((2, 3)))]
    optimizer = Adam(params, lr=0.1, wd=0.5, **engine)
    for step in range(8):
        optimizer.lr, optimizer.beta1, optimizer.eps = 0.1 + step, step / 10, lambda t: 0.1 * t
        grads = [
            np.ones(2, ("f4", "f8")[step % 2]),
            np.ones((3, 2), "f4").T if step % 3 else np.ones((2, 3), "i4") * 1.0,
        ]
        for param, grad in zip(params, grads, strict=True):
            param.grad = Tensor.from_numpy(grad)
        optimizer.step()
        params[0].buffer = params[0].buffer.copy()
    assert made == {Plan: 1, Batch: 1}


MOVES = {
    "every other": lambda values: np.stack([values, values], -1)[..., 0],
    "transposed": lambda values: values.T.copy().T,
    "reversed": lambda values: values[::-1].copy()[::-1],
    "not aligned": lambda values: np.concatenate([[0], values.ravel().view("u1")]).astype("u1")[1:].view(values.dtype),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_parameter_that_moves_to_memory_of_another_layout_is_stepped_where_it_now_lies(move, place, engine):
    """On a plan of two batches, of which the one or the other does not find what it knows."""
    start = np.arange(6.0).reshape(2, 3)
    params = [tensor(start), tensor(start, "float64")]
    optimizer = SGD(params, lr=0.5, momentum=0.5, dampening=0.0, **engine)
    for moved in (0.5, 1.25, 2.125, 3.0625):  # of half of 1, 1.5, 1.75 and 1.875
        before = params[place].buffer
        params[place].buffer = (move if moved in (1.25, 3.0625) else np.ascontiguousarray)(before).reshape(2, 3)
        held = before.copy()
        give(params, [np.ones((2, 3))] * 2)
        optimizer.step()
        assert [param.tolist() for param in params] == [(start - moved).tolist()] * 2
        assert np.shares_memory(before, params[place].buffer) or (before == held).all()
    assert optimizer.steps == (4, 4) == (optimizer.t,) * 2


def test_more_sets_than_are_kept_are_planned_again_and_right(made, engine):
    params = [tensor() for _ in range(20)]
    optimizer = SGD(params, lr=0.5, momentum=0.5, **engine)
    for _ in range(2):
        for place in range(20):
            give(params, [[1.0, 1.0] if place == other else None for other in range(20)])
            optimizer.step()
    assert all(param.tolist() == [1 - 0.25 - 0.375, 2 - 0.25 - 0.375] for param in params)
    assert optimizer.steps == (2,) * 20 and made[Plan] == 40


def test_a_group_that_is_added_in_the_middle_of_a_run_is_stepped_from_then_on(dtype, engine):
    a, b = tensor((1.0, 2.0), dtype), tensor((3.0,), dtype)
    optimizer = Adam([a], lr=0.1, **engine)
    alone = [Adam([tensor((1.0, 2.0), dtype)], lr=0.1, **engine), Adam([tensor((3.0,), dtype)], lr=0.5, **engine)]
    for step in range(6):
        if step == 3:
            optimizer.add_param_group({"params": [("late", b)], "lr": 0.5})
        give([a, b], [[0.5, -1.0 - step], [1.0]])
        optimizer.step()
        for each in alone[: 1 + (step >= 3)]:
            give(each.params, [[0.5, -1.0 - step] if each is alone[0] else [1.0]])
            each.step()
    assert (optimizer.t, optimizer.steps) == (6, (6, 3))
    assert [p.tolist() for p in (a, b)] == [each.params[0].tolist() for each in alone]


def test_set_steps_moves_the_counts_of_parameters_and_t_that_of_the_optimizer(engine):
    params = [tensor(), tensor(), tensor()]
    optimizer = Adam(params, lr=lambda step: 0.1 * step, **engine)
    give(params, [[1.0, 1.0]] * 3)
    optimizer.step()
    optimizer.set_steps(10, iter(params[1:2]))
    optimizer.t = 5
    assert (optimizer.t, optimizer.steps, optimizer.lr) == (5, (1, 10, 1), 0.5)
    optimizer.step()
    assert (optimizer.t, optimizer.steps) == (6, (2, 11, 2))
    optimizer.set_steps(2**62 - 1, params[2])
    optimizer.step()
    assert optimizer.steps == (3, 12, 2**62)
    optimizer.set_steps(3)
    assert (optimizer.t, optimizer.steps) == (7, (3, 3, 3))
    before = bits(optimizer)
    for bad, error in ((-1, ValueError), (2**62, ValueError), (0.5, TypeError), (True, TypeError)):
        with pytest.raises(
            error, match=r"^Adam\.set_steps: steps must be an integer in \[0, 4611686018427387904\); got"
        ):
            optimizer.set_steps(bad)
    with pytest.raises(ValueError, match=r"^Adam\.set_steps: params must be parameters of this optimizer"):
        optimizer.set_steps(1, [params[0], tensor()])
    assert bits(optimizer) == before


def test_state_may_be_new_in_one_of_two_parameters_that_count_alike(engine):
    class Delayed(Optimizer):
        lr: float = hyper(1.0, low=0)

        @staticmethod
        def update(param, grad, before=0.0, *, lr, first):
            return param - lr * where(first, 2 * grad, before), grad + 0.0

    params = [tensor((0.0,)), tensor((0.0,))]
    optimizer = Delayed(params, **engine)
    give(params, [[1.0], None])
    optimizer.step()
    optimizer.set_steps(1)
    give(params, [[4.0], [4.0]])
    optimizer.step()
    assert [p.item() for p in params] == [-2.0 - 1.0, -8.0]
    optimizer.step()
    assert [p.item() for p in params] == [-3.0 - 4.0, -8.0 - 4.0]


def test_a_parameter_s_count_decides_its_bias_correction(engine):
    w, fresh = tensor(), tensor()
    for optimizer, steps in ((Adam([w], lr=0.1, **engine), 1), (Adam([fresh], lr=0.1, **engine), 0)):
        optimizer.set_steps(steps)
        give(optimizer.params, [[1.0, 1.0]])
        optimizer.step()
    m, v = 0.1 / (1 - 0.9**2), 0.001 / (1 - 0.999**2)
    assert w.tolist() == pytest.approx([1 - 0.1 * m / v**0.5, 2 - 0.1 * m / v**0.5])
    assert fresh.tolist() == pytest.approx([0.9, 1.9])


# Copies in the middle of a run ---------------------------------------------------------------------------------------

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer))}


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("cls", BUILT_IN)
def test_a_copy_goes_on_by_itself_with_the_same_bits(cls, way, engine):
    names = "abcde"
    own = "wd" if "d0" in cls.hyperparameters else "lr"  # estimates take one learning rate for all parameters
    optimizer = cls(
        zip(names, parameters("float32"), strict=True), lr=0.1, groups={"[ab]": {own: 0.2}}, **able(cls, engine)
    )
    drive(optimizer, optimizer.params, GRADIENTS[:4])
    other = way(optimizer)
    assert bits(other) == bits(optimizer) and not {*map(id, other.params)} & {*map(id, optimizer.params)}
    drive(optimizer, optimizer.params, GRADIENTS[4:])
    assert other.t == 4
    drive(other, other.params, GRADIENTS[4:])
    assert bits(other) == bits(optimizer)
    before = optimizer.param_groups[0][own]
    other.param_groups[0][own] = 0.5
    assert optimizer.param_groups[0][own] == before != 0.5
    other.set_steps(7, [other.params[0]])
    assert other.steps[:2] == (7, 9) and optimizer.steps[:2] == (9, 9)
    with pytest.raises(ValueError, match="parameter 5 is parameter 0"):
        other.add_param_group({"params": [other.params[0]]})
    other.add_param_group({"params": [("f", tensor())]})
    assert len(other.params) == 6 and len(optimizer.params) == 5


# Steps that fail -----------------------------------------------------------------------------------------------------


def kernels(optimizer):
    """What steps the batches of the plan that there is."""
    return [batch.kernel for batch in optimizer._stepper._plan._batches]


def out_of_memory(*args):
    raise MemoryError


def test_of_a_step_that_fails_half_way_the_part_that_was_done_is_counted(monkeypatch, engine):
    first, second = tensor((1.0, 1.0)), tensor((1.0, 1.0), "float64")
    optimizer = SGD([first, second], lr=0.5, momentum=0.5, **engine)
    give([first, second], [[1.0, 1.0]] * 2)
    optimizer.step()
    with monkeypatch.context() as patch:
        patch.setattr(kernels(optimizer)[1], "run", out_of_memory)
        with pytest.raises(MemoryError):
            optimizer.step()
    assert (first.tolist(), second.tolist()) == ([0.375] * 2, [0.75] * 2)
    assert (optimizer.t, optimizer.steps) == (2, (2, 1))
    assert [entry.tolist() for entry in optimizer.u] == [[0.75] * 2, [0.5] * 2]
    optimizer.step()
    assert (optimizer.t, optimizer.steps) == (3, (3, 2)) and second.tolist() == [0.375] * 2


def test_a_step_that_fails_before_anything_is_done_is_not_counted(monkeypatch, engine):
    w = tensor((1.0, 1.0))
    optimizer = Adam([w], lr=0.5, **engine)
    give([w], [[1.0, 1.0]])
    optimizer.step()
    before = bits(optimizer)
    with monkeypatch.context() as patch:
        patch.setattr(kernels(optimizer)[0], "run", out_of_memory)
        with pytest.raises(MemoryError):
            optimizer.step()
    assert bits(optimizer) == before
    optimizer.step()
    assert optimizer.t == 2


def once(method):
    """A method that can be called once, and then runs out of memory."""
    calls = []

    def limited(*args):
        if calls:
            raise MemoryError
        calls.append(args)
        return method(*args)

    return limited


def test_a_step_with_totals_that_fails_before_anything_is_written_is_not_counted(monkeypatch, engine):
    first, second = tensor((1.0, 1.0)), tensor((1.0, 1.0), "float64")
    optimizer = SGD([first, second], lr=0.5, momentum=0.5, max_norm=1.0, **engine)
    give([first, second], [[3.0, 4.0]] * 2)
    optimizer.step()
    before = bits(optimizer)
    for name in ("run", "proceed"):
        with monkeypatch.context() as patch:
            patch.setattr(kernels(optimizer)[0], name, out_of_memory)
            with pytest.raises(MemoryError):
                optimizer.step()
        assert bits(optimizer) == before and (optimizer.t, optimizer.steps) == (1, (1, 1))
    optimizer.step()
    assert (optimizer.t, optimizer.steps) == (2, (2, 2))


def test_of_a_step_with_totals_that_fails_half_way_the_part_that_was_done_is_counted(monkeypatch, engine):
    first, second = tensor((1.0, 1.0)), tensor((1.0, 1.0), "float64")
    optimizer = SGD([first, second], lr=0.5, momentum=0.0, max_norm=1.0, **engine)
    give([first, second], [[3.0, 4.0]] * 2)
    optimizer.step()
    before = first.tolist(), second.tolist()
    loss = (first * first).sum()
    with monkeypatch.context() as patch:
        patch.setattr(kernels(optimizer)[1], "run", once(kernels(optimizer)[1].run))
        with pytest.raises(MemoryError):
            optimizer.step()
    assert first.tolist() != before[0] and second.tolist() == before[1]
    assert (optimizer.t, optimizer.steps) == (2, (2, 1))
    with pytest.raises(RuntimeError, match="overwritten in place"):  # what backward needs is no longer what it was
        loss.backward()
    optimizer.step()
    assert (optimizer.t, optimizer.steps) == (3, (3, 2))


class Gathering(Optimizer):
    """Compiled, it writes its state in the first stage, since the second one can read it back."""

    @staticmethod
    def update(param, grad, seen):
        seen = seen + grad
        return param - seen / sqrt(total(seen**2)), seen


def test_what_an_early_stage_has_written_is_counted_and_else_nothing(monkeypatch, engine):
    w = tensor((1.0, 1.0))
    optimizer = Gathering([w], **engine)
    give([w], [[3.0, 4.0]])
    optimizer.step()
    with monkeypatch.context() as patch:
        patch.setattr(kernels(optimizer)[0], "proceed", out_of_memory)
        with pytest.raises(MemoryError):
            optimizer.step()
    many = {"reference": 1, "fused": 2}[engine["engine"]]
    assert optimizer.seen[0].tolist() == [3.0 * many, 4.0 * many]
    assert (optimizer.t, optimizer.steps) == (many, (many,))


def test_a_step_that_fails_behind_its_last_stage_is_counted(monkeypatch, engine):
    w = tensor((1.0, 1.0))
    optimizer = Prodigy([w], d0=0.1, **engine)
    give([w], [[3.0, 4.0]])
    optimizer.step()
    before = w.tolist()
    with monkeypatch.context() as patch:
        patch.setattr(optimizer._host, "share", out_of_memory)
        with pytest.raises(MemoryError):
            optimizer.step()
    assert w.tolist() != before and (optimizer.t, optimizer.steps) == (2, (2,))


def test_of_matrices_of_which_one_cannot_be_multiplied_the_step_is_counted_if_another_was_written(monkeypatch, engine):
    params = [tensor(np.eye(3) * scale) for scale in (1.0, 2.0)]
    optimizer = Muon(params, lr=0.5, **engine)
    for param in params:
        param.grad = Tensor(np.arange(9.0).reshape(3, 3), dtype="float32")
    optimizer.step()
    before = bits(optimizer)
    with monkeypatch.context() as patch:
        if engine["engine"] == "fused":
            passes = kernels(optimizer)[0]._launch._passes
            patch.setattr(passes, "multiply", once(passes.multiply))
        else:
            patch.setattr(Stored, "put", once(Stored.put))
        with pytest.raises(MemoryError):
            optimizer.step()
    assert bits(optimizer) != before and (optimizer.t, optimizer.steps) == (2, (2, 2))


# Scalars -------------------------------------------------------------------------------------------------------------

EDGES = (0.0, -0.0, 0.5, -1.0, 2.0, 3.0, 1e-300, 1e300, -1e300, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("word", [word for word in OPERATIONS if word != "nearest"])
def test_a_scalar_is_what_numpy_computes_of_the_same_numbers(word):
    operands = OPERATIONS[word].text.count("{}")
    truths = {"and": 2, "or": 2, "not": 1, "where": 1}.get(word, 0)
    names = ["a", "b", "c"][:operands]
    tests = [Instruction(f"is_{name}", "gt", (name, 0.25)) for name in names[:truths]]
    args = tuple(f"is_{name}" for name in names[:truths]) + tuple(names[truths:])
    host = (*tests, Instruction("x", word, args), Instruction("number", "where", ("x", 1.0, 0.0)))
    result = "number" if word in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not") else "x"
    program = Program("Mine", ("param", "grad"), tuple(names), host, (result,), (), ("param",), ())
    for values in itertools.product(EDGES, repeat=operands):
        with np.errstate(all="ignore"):
            (wanted,) = compile_lines("host", program.hypers, program.host, program.scalars)(*map(np.float64, values))
        (found,) = host_part(program)(dict(zip(names, values, strict=True)), 1, False, math.nan)
        assert struct.pack("d", found) == struct.pack("d", wanted) or np.isnan(found) and np.isnan(wanted), values


class Elsewhere:
    """A number that lives where nobody wants to wait for it, and which others write to."""

    def __init__(self, number):
        self.number = number

    def __float__(self):
        return self.number


class Group:
    """The hyperparameters of a group, as a batch sees them."""

    def __init__(self, **numbers):
        self.settings = Settings((), numbers, any(not isinstance(number, float) for number in numbers.values()))


class Rows:
    """A kernel that is only told which row each parameter has."""

    functions = ()

    def __init__(self, host_part=None):
        self.host_part = host_part

    def arrange(self, rows):
        self.rows = list(rows)


def batch_of(program, groups, kernel=None):
    """A batch of one new parameter of each group, at the beginning."""
    clock, members = Clock(), []
    clock.add(len(groups))
    for place, group in enumerate(groups):
        members.append(Member(None, None, place, place))
        members[-1].values = group
    made = Batch(program, members, list(range(len(groups))), kernel or Rows())
    made.arrange(clock)
    return made


TIMED = (Instruction("h0", "mul", ("lr", "t")),)
PROGRAMS = {  # of one scalar, which is lr or, in the step t, lr * t
    "steady": Program("Mine", ("param", "grad"), ("lr",), (), ("lr",), (), ("param",), ()),
    "timed": Program("Mine", ("param", "grad"), ("lr", "t"), TIMED, ("h0",), (), ("param",), ()),
}


@pytest.mark.parametrize("rest", [[], [0.5], [0.5, 0.125]], ids=len)
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_what_is_written_to_a_number_elsewhere_is_heard_in_every_row(kind, place, rest):
    rate, numbers = Elsewhere(2.0), [*rest]
    numbers.insert(place % (len(rest) + 1), rate)
    batch = batch_of(PROGRAMS[kind], [Group(lr=number) for number in numbers])
    for t, written in ((1, 2.0), (2, 4.0), (3, 1.0)):
        rate.number = written
        factor = t if kind == "timed" else 1
        found = batch.scalars(math.nan)
        assert [found[row] for row in batch.kernel.rows] == [(float(number) * factor,) for number in numbers]
        batch.tick()


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_kernel_that_computes_with_numbers_elsewhere_is_given_them_as_they_are(kind):
    seen = []

    def host_part(numbers, t, first, loss):
        seen.append((numbers["lr"], t, first))
        return ["its own"]

    rate = Elsewhere(2.0)
    batch = batch_of(PROGRAMS[kind], [Group(lr=rate), Group(lr=0.5)], Rows(host_part))
    for t in (1, 2):
        found = batch.scalars(math.nan)
        factor = t if kind == "timed" else 1
        assert [found[row] for row in batch.kernel.rows] == [["its own"], (0.5 * factor,)]
        batch.tick()
    assert seen == [(rate, 1, False), (rate, 2, False)]


def test_scalars_are_computed_anew_only_where_something_differs():
    groups = [Group(lr=0.5), Group(lr=0.25)]
    batch = batch_of(PROGRAMS["steady"], groups)
    first = batch.scalars(math.nan)
    batch.tick()
    assert batch.scalars(math.nan) is first and sorted(first) == [(0.25,), (0.5,)]
    groups[1].settings = Settings((), {"lr": 0.125}, False)
    assert sorted(batch.scalars(math.nan)) == [(0.125,), (0.5,)]
    alone = batch_of(PROGRAMS["steady"], groups[:1])
    assert alone.scalars(0.0) is alone.scalars(1.0) and alone.scalars(2.0) == [(0.5,)]


CALLED = """
class Mine(Optimizer):
    {hyper}: float = hyper(2.0)

    @staticmethod
    def update(param, grad, {state}, *, {hyper}, t):
        factor = optim.sqrt({hyper}**2) * optim.exp(optim.sign({hyper})) * {hyper}**t
        {state} = optim.maximum(grad, {state}) + optim.where(grad > 0, optim.sqrt(abs(grad)), grad)
        return param - factor * {state}, {state}
"""


@pytest.mark.parametrize(
    "word", ["exp", "host", "maximum", "number", "numbers", "power", "rescue", "sign", "sqrt", "where"]
)
def test_hyperparameters_and_state_may_be_called_like_functions(word, engine):
    def stepped(names):
        space = {"Optimizer": Optimizer, "hyper": hyper, "optim": optim}
        exec(CALLED.format(**{"hyper": "mine", "state": "memory", **names}), space)
        optimizer = space["Mine"]([tensor()], **engine)
        give(optimizer.params, [[0.5, -0.25]])
        optimizer.step()
        return optimizer.params[0].tolist()

    assert stepped({"hyper": word}) == stepped({"state": word}) == stepped({})


# Interrupts ----------------------------------------------------------------------------------------------------------


def interrupted(act, at):
    """Do something, with an interrupt (Ctrl-C) at the line with this number of those that it runs through in minima."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(SOURCE) or frame.f_code.co_name == "<genexpr>":
            return None  # of what is raised where a generator is closed, nobody hears
        if event != "call":
            lines += 1
            if lines == at:
                signal.raise_signal(signal.SIGINT)
        return trace

    before, handler = sys.gettrace(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.settrace(trace)
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGINT, handler)
    return lines >= at


@pytest.mark.parametrize("have_gaps", [False, True])
def test_a_step_that_is_interrupted_at_any_line_is_whole_and_counted(engine, have_gaps):
    params = [tensor(np.zeros(3), dtype) for dtype in ("float32", "float64")]
    if have_gaps:  # of which the fused engine steps copies
        params = [Tensor.from_numpy(column).requires_grad_() for column in np.zeros((3, 2)).T]
    optimizer = SGD(params, lr=1.0, **engine)
    give(params, [np.ones(3)] * 2)
    optimizer.step()
    at = 1
    while interrupted(optimizer.step, at):
        for param, steps in zip(params, optimizer.steps, strict=True):
            assert param.tolist() == [-steps] * 3 and steps == optimizer.t, at
        if at % 2:  # the next step repeats the plan of this one, or one that took turns with it
            params[0].grad = None
            optimizer.step()
            optimizer.set_steps(optimizer.t, params[:1])
            params[0].data = [-optimizer.t] * 3
            give(params, [np.ones(3)] * 2)
        at += 1
    assert at > 50


def test_an_interrupt_goes_to_the_handler_that_there_was():
    seen = []

    def mine(*_):
        seen.append(optimizer.t)

    def interrupting(step):
        if step:
            signal.raise_signal(signal.SIGINT)
        return 0.5

    w = tensor((1.0, 1.0))
    optimizer = SGD([w], lr=interrupting)
    give([w], [[1.0, 1.0]])
    handler = signal.signal(signal.SIGINT, mine)
    try:
        optimizer.step()
        optimizer.step()
        assert len(seen) == 1 and optimizer.t == 2 and w.tolist() == [0.0, 0.0]
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, handler)


# Threads -------------------------------------------------------------------------------------------------------------


def test_a_step_while_another_thread_steps_the_optimizer_is_refused_in_one_sentence(engine):
    inside, leave = threading.Event(), threading.Event()

    def waiting(step):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(30)
        return 0.5

    w = tensor((1.0, 1.0))
    optimizer = SGD([w], lr=waiting, **engine)
    give([w], [[1.0, 1.0]])
    thread = threading.Thread(target=optimizer.step)
    thread.start()
    try:
        assert inside.wait(30)
        with pytest.raises(RuntimeError) as caught:
            optimizer.step()
        words = "SGD.step: another thread is stepping this optimizer; let one thread step it at a time"
        assert str(caught.value) == words
    finally:
        leave.set()
        thread.join()
    assert w.tolist() == [0.5, 0.5] and optimizer.t == 1
    optimizer.step()
    assert optimizer.t == 2


def test_optimizers_in_several_threads_do_not_know_of_each_other(engine):
    def run(number):
        optimizer = Adam(parameters("float32"), lr=0.1 * (1 + number), **engine)
        for row in [*GRADIENTS] * 5:
            drive(optimizer, optimizer.params, [row])
        return bits(optimizer)

    found = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: run(n)})) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: run(number) for number in range(6)}


# Work that grows with what there is ----------------------------------------------------------------------------------


def calls(act):
    """The calls of functions, Python's and others, that something takes."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("act", ["make", "add", "first step", "step", "state dict", "load", "copy"])
def test_the_work_for_many_groups_grows_as_their_number(act):
    def work(many):
        params = [tensor((1.0,)) for _ in range(many)]
        give(params, [[1.0]] * many)
        groups = [{"params": [(f"p{number}", param)], "lr": 0.1 + number} for number, param in enumerate(params)]
        if act == "make":
            return calls(lambda: SGD(groups, momentum=0.5))
        if act == "add":
            optimizer = SGD(groups[:1])
            return calls(lambda: [optimizer.add_param_group(group) for group in groups[1:]])
        optimizer = SGD(groups, momentum=0.5)
        if act == "first step":
            return calls(optimizer.step)
        optimizer.step()
        state = optimizer.state_dict()
        acts = {
            "step": optimizer.step,
            "state dict": optimizer.state_dict,
            "load": lambda: optimizer.load_state_dict(state),
            "copy": lambda: copy.deepcopy(optimizer),
        }
        return calls(acts[act])

    few, many = work(100), work(1000)
    assert many < 13 * few

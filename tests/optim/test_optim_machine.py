"""What users do with an optimizer, in any order, on the fused and on the reference engine side by side."""

import copy
import math
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rules import ENGINES, Lion

from minima import Tensor
from minima.optim import SGD, Adam, Optimizer, RMSProp, schedules

SHAPES = [(), (1,), (0,), (3, 5), (257,), (2, 130)]
LAYOUTS = {
    "plain": lambda shape, dtype: np.zeros(shape, dtype),
    "every other": lambda shape, dtype: (
        np.zeros((*shape[:-1], 2 * shape[-1]) if shape else (2,), dtype)[..., ::2] if shape else np.zeros(shape, dtype)
    ),
    "transposed": lambda shape, dtype: np.zeros(shape[::-1], dtype).T,
}
NUMBERS = {
    "lr": [0.0, 0.125, 0.5, schedules.linear(0.5, steps=6), schedules.constant(0.25)],
    "momentum": [0.0, 0.5, 0.9, schedules.linear(0.5, steps=4)],
    "wd": [0.0, 0.25, schedules.linear(0.25, steps=3)],
    "weight_decay": [0.0, 0.125],
    "dampening": [None, 0.0, 0.5],
    "dampen_first": [True, False],
    "nesterov": [True, False],
    "beta1": [0.0, 0.5, 0.9],
    "beta2": [0.5, 0.999],
    "rho": [0.0, 0.5],
    "eps": [0.25, 1e-3],
    "decay": ["decoupled", "l2"],
    "maximize": [True, False],
}
OPTIONS = {
    "rounding": ["stochastic", "master", "nearest"],
    "seed": [0, 5],
    "on_nonfinite": ["propagate", "raise", "skip"],
}


@dataclass(frozen=True)
class Shape:
    """A parameter as it is made: its name, shape, dtype and layout."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str

    def array(self, values: np.ndarray) -> np.ndarray:
        """The values in memory as it is to lie."""
        array = LAYOUTS[self.layout](self.shape, self.dtype)
        array[...] = np.resize(values, self.shape)
        return array


class Users(RuleBasedStateMachine):
    """Two optimizers that are treated alike, and what must have been counted."""

    @initialize(
        cls=st.sampled_from([SGD, Adam, RMSProp, Lion]),
        state_dtype=st.sampled_from([None, "bfloat16", "int8"]),
        dtypes=st.sampled_from([("float32", "float16"), ("float32", "float64"), ("float16", "float16")]),
        shapes=st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(list(LAYOUTS))), min_size=1, max_size=4),
    )
    def begin(self, cls, state_dtype, dtypes, shapes):
        self.cls, self.state_dtype, self.rng = cls, state_dtype, np.random.default_rng(len(shapes))
        self.shapes = [Shape(f"p{i}", shape, dtypes[i % 2], layout) for i, (shape, layout) in enumerate(shapes)]
        self.members = [[shape.name for shape in self.shapes]]
        self.values = [self.rng.normal(size=600) for _ in shapes]
        self.both = [self.make(engine) for engine in ENGINES.values()]
        self.t, self.skipped, self.steps = 0, 0, [0] * len(shapes)
        self.frozen: set[int] = set()

    def make(self, engine) -> Optimizer:
        """A new optimizer with the groups that there are."""
        made = {
            shape.name: (shape.name, Tensor.from_numpy(shape.array(values)))
            for shape, values in zip(self.shapes, self.values, strict=True)
        }
        groups = [{"params": [made[name] for name in names]} for names in self.members]
        return self.cls(groups, lr=0.25, state_dtype=self.state_dtype, **engine)

    def give(self, has, dtype, layout, bad):
        """Set the same gradients for both."""
        for place, shape in enumerate(self.shapes):
            values = self.rng.normal(size=600) * 2.0 ** self.rng.integers(-6, 2, size=600)
            if place == bad and values.size:
                values[0] = math.inf
            for optimizer in self.both:
                param = optimizer.params[place]
                param.grad = None
                if has[place % len(has)] and place not in self.frozen:
                    given = replace(shape, dtype=dtype or shape.dtype, layout=layout)
                    param.grad = Tensor.from_numpy(given.array(values))
        return [place for place in range(len(self.shapes)) if self.both[0].params[place].grad is not None]

    @rule(
        has=st.lists(st.booleans(), min_size=1, max_size=4),
        dtype=st.sampled_from([None, None, "float64", "float16"]),
        layout=st.sampled_from(list(LAYOUTS)),
        measure=st.booleans(),
        times=st.integers(1, 2),
    )
    def step(self, has, dtype, layout, measure, times):
        for _ in range(times):
            moving = self.give(has, dtype, layout, None)
            for optimizer in self.both:
                assert optimizer.step(measure=measure) is None
            self.t += 1
            for place in moving:
                self.steps[place] += 1
            if measure:
                one, other = (optimizer.measures for optimizer in self.both)
                assert [*one] == [*other] == [self.shapes[place].name for place in moving]
                for name, found in one.items():
                    for kind in ("grad", "update", "param"):
                        assert getattr(found, kind) == pytest.approx(getattr(other[name], kind), rel=1e-9)

    @rule(place=st.integers(0, 4), lost=st.booleans())
    def step_that_is_not_finite(self, place, lost):
        guard = self.both[0].on_nonfinite
        if guard == "propagate":
            return
        moving = self.give([True], None, "plain", None if lost else place)
        bad = lost or place in moving and math.prod(self.shapes[place].shape) > 0
        for optimizer in self.both:
            before = optimizer.state_dict()
            try:
                optimizer.step(loss=math.nan if lost else 0.5)
                assert guard == "skip" or not bad
            except FloatingPointError:
                assert guard == "raise" and bad
            assert not bad or optimizer.state_dict()["steps"] == before["steps"]
        self.skipped += bad and guard == "skip"
        self.t += not bad
        for place in moving if not bad else ():
            self.steps[place] += 1

    @rule(place=st.integers(0, 4))
    def step_that_is_refused(self, place):
        place %= len(self.shapes)
        self.give([True], None, "plain", None)
        for optimizer in self.both:
            optimizer.params[place].grad = Tensor(np.ones((7, 2)))
            with pytest.raises(ValueError, match="nothing was changed"):
                optimizer.step()

    @rule(data=st.data(), group=st.none() | st.integers(0, 2))
    def set_number(self, data, group):
        name = data.draw(st.sampled_from([name for name in NUMBERS if name in self.both[0].defaults]))
        value = data.draw(st.sampled_from(NUMBERS[name]))
        for optimizer in self.both:
            if group is None:
                setattr(optimizer, name, value)
            else:
                optimizer.param_groups[group % len(optimizer.param_groups)][name] = value

    @rule(data=st.data(), name=st.sampled_from(list(OPTIONS)))
    def set_option(self, data, name):
        value = data.draw(st.sampled_from(OPTIONS[name]))
        for optimizer in self.both:
            setattr(optimizer, name, value)

    @rule()
    def swap_engines(self):
        for optimizer in self.both:
            optimizer.engine = "fused" if optimizer.engine == "reference" else "reference"

    @rule(place=st.integers(0, 4))
    def freeze_or_thaw(self, place):
        self.frozen ^= {place}

    @precondition(lambda self: len(self.shapes) < 6)
    @rule(shape=st.sampled_from(SHAPES), layout=st.sampled_from(list(LAYOUTS)), lr=st.sampled_from(NUMBERS["lr"]))
    def add_group(self, shape, layout, lr):
        new = Shape(f"p{len(self.shapes)}", shape, self.shapes[0].dtype, layout)
        values = self.rng.normal(size=600)
        for optimizer in self.both:
            optimizer.add_param_group({"params": [(new.name, Tensor.from_numpy(new.array(values)))], "lr": lr})
        self.shapes.append(new)
        self.members.append([new.name])
        self.values.append(values)
        self.steps.append(0)

    @rule(place=st.integers(0, 4), layout=st.sampled_from(list(LAYOUTS)))
    def replace_buffer(self, place, layout):
        place %= len(self.shapes)
        new = replace(self.shapes[place], layout=layout)
        for optimizer in self.both:
            param = optimizer.params[place]
            array = LAYOUTS[layout](new.shape, new.dtype)
            array[...] = param.numpy() * (1 + (place == 0))
            param.buffer = array

    @rule(through=st.sampled_from(["state_dict", "deepcopy", "pickle"]))
    def go_on_with_another(self, through):
        ways = {
            "deepcopy": copy.deepcopy,
            "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
            "state_dict": self.loaded,
        }
        self.both = [ways[through](optimizer) for optimizer in self.both]

    def loaded(self, optimizer):
        new = self.make({"engine": optimizer.engine})
        for mine, its in zip(optimizer.params, new.params, strict=True):
            its.data = mine.numpy().copy()
        assert new.load_state_dict(optimizer.state_dict()) == ([], [])
        new.on_nonfinite = optimizer.on_nonfinite
        return new

    @rule(steps=st.integers(0, 20), which=st.lists(st.integers(0, 4), max_size=3, unique=True), t=st.integers(0, 10))
    def set_counts(self, steps, which, t):
        places = [place for place in which if place < len(self.shapes)]
        for optimizer in self.both:
            optimizer.set_steps(steps, [optimizer.params[place] for place in places])
            optimizer.t = t
        self.t = t
        for place in places:
            self.steps[place] = steps

    @invariant()
    def both_are_alike(self):
        if not hasattr(self, "both"):
            return
        one, other = self.both
        for mine, its in zip(one.params, other.params, strict=True):
            np.testing.assert_array_equal(mine.numpy(), its.numpy())
        ours, theirs = one.state_dict(), other.state_dict()
        for name in self.cls.rule.state:
            for mine, its in zip(getattr(one, name), getattr(other, name), strict=True):
                np.testing.assert_array_equal(mine.numpy(), its.numpy())
        for key, kept in ours["state"].items():
            assert [*kept] == [*theirs["state"][key]]
            for name, array in kept.items():
                np.testing.assert_array_equal(array, theirs["state"][key][name])
        for each in self.both:
            assert (each.t, each.skipped, each.steps) == (self.t, self.skipped, tuple(self.steps))
        assert ours["groups"] == theirs["groups"] and ours["defaults"] == theirs["defaults"]


TestUsers = Users.TestCase
TestUsers.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

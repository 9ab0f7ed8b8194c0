"""What users do with an optimizer, in any order, on the fused and on the reference engine side by side.

One of the two remembers how it stepped before, the other prepares every step anew.
"""

import copy
import math
import pickle
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules import ENGINES, Lion, Turning

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
    "signed": [True, False],
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


class Users:
    """Two optimizers that are treated alike, and what must have been counted. ``pick`` chooses one of a sequence."""

    def __init__(self, pick):
        self.pick = pick
        self.cls, self.state_dtype = pick([SGD, Adam, RMSProp, Lion, Turning]), pick([None, "bfloat16", "int8"])
        self.rng = np.random.default_rng(pick(range(100)))
        self.frozen: set[int] = set()
        self.shapes: list[Shape] = []
        self.values: list[np.ndarray] = []
        dtypes = pick([("float32", "float16"), ("float32", "float64"), ("float16", "float16")])
        for place in range(pick([1, 2, 3, 4])):
            self.shapes.append(Shape(f"p{place}", pick(SHAPES), dtypes[place % 2], pick(list(LAYOUTS))))
            self.values.append(self.rng.normal(size=600))
        self.members = [[shape.name for shape in self.shapes]]
        self.both = [self.make(engine) for engine in ENGINES.values()]
        self.t, self.skipped, self.steps = 0, 0, [0] * len(self.shapes)

    def act(self):
        """Do one of the things that users do."""
        rare = [self.add_group, self.count, self.swap_engines, self.freeze_or_thaw, self.replace_buffer, self.go_on]
        often = [self.step] * 5 + [self.set_number] * 4 + [self.set_option, self.step_that_is_not_finite]
        self.pick([*often, *rare, self.step_that_is_refused])()
        self.look()

    def make(self, engine) -> Optimizer:
        """A new optimizer with the groups that there are."""
        made = {
            shape.name: (shape.name, Tensor.from_numpy(shape.array(values)))
            for shape, values in zip(self.shapes, self.values, strict=True)
        }
        groups = [{"params": [made[name] for name in names]} for names in self.members]
        return self.cls(groups, lr=0.25, state_dtype=self.state_dtype, **engine)

    def place(self) -> int:
        return self.pick(range(len(self.shapes)))

    def give(self, *, everywhere=False, bad=None):
        """Set the same gradients for both; the places of those that have one."""
        self.both[1].engine = self.both[1].engine  # an option that is assigned makes it forget all plans
        moving = [
            place
            for place in range(len(self.shapes))
            if everywhere or place not in self.frozen and self.pick([True, True, False])
        ]
        for place, shape in enumerate(self.shapes):
            values = self.rng.normal(size=600) * 2.0 ** self.rng.integers(-6, 2, size=600)
            if place == bad:
                values[0] = math.inf
            new = replace(shape, dtype=self.pick([shape.dtype, "float64", "float16"]), layout=self.pick([*LAYOUTS]))
            for optimizer in self.both:
                optimizer.params[place].grad = Tensor.from_numpy(new.array(values)) if place in moving else None
        return moving

    def count_step(self, moving):
        self.t += 1
        for place in moving:
            self.steps[place] += 1

    # What they do ----------------------------------------------------------------------------------------------------

    def step(self):
        moving, measure = self.give(), self.pick([False, False, True])
        for optimizer in self.both:
            assert optimizer.step(measure=measure) is None
        self.count_step(moving)
        if measure:
            one, other = (optimizer.measures for optimizer in self.both)
            assert [*one] == [*other] == [self.shapes[place].name for place in moving]
            for name, found in one.items():
                for kind in ("grad", "update", "param"):
                    assert getattr(found, kind) == pytest.approx(getattr(other[name], kind), rel=1e-9)

    def step_that_is_not_finite(self):
        guard, lost, place = self.both[0].on_nonfinite, self.pick([False, True]), self.place()
        if guard == "propagate":
            return
        bad = lost or math.prod(self.shapes[place].shape) > 0
        moving = self.give(everywhere=True, bad=None if lost else place)
        for optimizer in self.both:
            try:
                optimizer.step(loss=math.nan if lost else 0.5)
                assert guard == "skip" or not bad
            except FloatingPointError:
                assert guard == "raise" and bad
        self.skipped += bad and guard == "skip"
        if not bad:
            self.count_step(moving)

    def step_that_is_refused(self):
        self.give(everywhere=True)
        place = self.place()
        for optimizer in self.both:
            optimizer.params[place].grad = Tensor(np.ones((7, 2)))
            with pytest.raises(ValueError, match="nothing was changed"):
                optimizer.step()

    def set_number(self):
        name = self.pick([name for name in NUMBERS if name in self.both[0].defaults])
        value, group = self.pick(NUMBERS[name]), self.pick([None, *range(len(self.members))])
        for optimizer in self.both:
            if group is None:
                setattr(optimizer, name, value)
            else:
                optimizer.param_groups[group][name] = value

    def set_option(self):
        name = self.pick(list(OPTIONS))
        value = self.pick(OPTIONS[name])
        for optimizer in self.both:
            setattr(optimizer, name, value)

    def swap_engines(self):
        for optimizer in self.both:
            optimizer.engine = "fused" if optimizer.engine == "reference" else "reference"

    def freeze_or_thaw(self):
        self.frozen ^= {self.place()}

    def add_group(self):
        if len(self.shapes) == 6:
            return
        new = Shape(f"p{len(self.shapes)}", self.pick(SHAPES), self.shapes[0].dtype, self.pick(list(LAYOUTS)))
        values, lr = self.rng.normal(size=600), self.pick(NUMBERS["lr"])
        for optimizer in self.both:
            optimizer.add_param_group({"params": [(new.name, Tensor.from_numpy(new.array(values)))], "lr": lr})
        self.shapes.append(new)
        self.members.append([new.name])
        self.values.append(values)
        self.steps.append(0)

    def replace_buffer(self):
        place, factor = self.place(), self.pick([1, 2])
        new = replace(self.shapes[place], layout=self.pick(list(LAYOUTS)))
        for optimizer in self.both:
            param = optimizer.params[place]
            array = LAYOUTS[new.layout](new.shape, new.dtype)
            array[...] = param.numpy() * factor
            param.buffer = array

    def go_on(self):
        """With another optimizer, made of this one."""
        way = self.pick([self.loaded, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
        self.both = [way(optimizer) for optimizer in self.both]

    def loaded(self, optimizer):
        new = self.make({"engine": optimizer.engine})
        for mine, its in zip(optimizer.params, new.params, strict=True):
            its.data = mine.numpy().copy()
        assert new.load_state_dict(optimizer.state_dict()) == ([], [])
        new.on_nonfinite = optimizer.on_nonfinite
        return new

    def count(self):
        places = [place for place in range(len(self.shapes)) if self.pick([True, False])]
        steps, self.t = self.pick(range(20)), self.pick(range(10))
        for optimizer in self.both:
            optimizer.set_steps(steps, [optimizer.params[place] for place in places])
            optimizer.t = self.t
        for place in places:
            self.steps[place] = steps

    # What must hold --------------------------------------------------------------------------------------------------

    def look(self):
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


@pytest.mark.parametrize("number", range(24))
def test_engines_agree_to_the_bit_whatever_users_do(number):
    users = Users(random.Random(number).choice)
    for _ in range(40):
        users.act()


@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_engines_agree_to_the_bit_whatever_is_drawn_that_users_do(data):
    """The same, found by a search, which makes short what it finds."""
    users = Users(lambda options: data.draw(st.sampled_from(options)))
    for _ in range(data.draw(st.integers(1, 20))):
        users.act()

"""What the tests of checkpoints save: a model, something like an optimizer, and objects that refuse."""

import numpy as np

from minima import nn


class Holder:
    """Anything with a state: gives it, and takes another with the same keys."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state_dict):
        if set(state_dict) != set(self.state):
            raise ValueError(f"Holder: the state must have {sorted(self.state)}")
        self.state.update(state_dict)  # in place, so that what state_dict gave before is no snapshot


class Careless(Holder):
    """Takes a part of a state before it refuses the rest."""

    def load_state_dict(self, state_dict):
        self.state["first"] = state_dict["first"]
        if "second" not in state_dict:
            raise KeyError("second")
        self.state["second"] = state_dict["second"]


def network():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def optimizer_state(model, state_dtype=None):
    """A state as optimizers give it."""
    random = np.random.default_rng(0)
    named = dict(model.named_parameters())

    def entry(p):
        values = random.standard_normal(p.shape).astype("float32")
        if state_dtype == "bfloat16":
            return (values.reshape(-1).view(np.uint32) >> 16).astype(np.uint16)
        return values

    return {
        "algorithm": "Adam",
        "t": 7,
        "state_dtype": state_dtype,
        "decay": "decoupled",
        "groups": [{"params": list(named), "lr": 0.1, "beta1": 0.9}],
        "steps": dict.fromkeys(named, 7),
        "state": {name: {"exp_avg": entry(p), "exp_avg_sq": entry(p)} for name, p in named.items()},
    }


def same(left, right):
    """Whether two nested values are equal in kind and to the bit."""
    if type(left) is not type(right):
        return False
    if hasattr(left, "numpy"):
        left, right = left.numpy(), right.numpy()
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (left != left and right != right)

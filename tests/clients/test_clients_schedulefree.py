"""Inside the wrapper of schedulefree, which keeps a tensor of its own in the optimizer's state."""

import copy

import pytest

from clients import ALGORITHMS, batches, bits, client, each_algorithm, losses, network, same_as_in_pytorch, weights
from minima import torch as mt

schedulefree = client("schedulefree")


def wrapped(optimizer):
    wrapper = schedulefree.ScheduleFreeWrapper(optimizer, momentum=0.9, weight_decay_at_y=0.1)
    wrapper.train()
    return wrapper


def trained(model, optimizer, data):
    wrapper = wrapped(optimizer)
    found = losses(model, wrapper, data)
    wrapper.eval()
    return found, weights(model)


def test_wrapped_sgd_trains_as_pytorch_s():
    def run(optim):
        model = network()
        return trained(model, optim.SGD(model.parameters(), **ALGORITHMS["SGD"]), batches(6))

    same_as_in_pytorch(run)


@each_algorithm
def test_an_optimizer_wrapped_after_its_first_step_trains_as_pytorch_s(name):
    def run(
        optim,
    ):  # before it, PyTorch's own Adam and RMSprop take the wrapper's entry for a state that they have made
        model = network()
        optimizer = getattr(optim, name)(model.parameters(), **ALGORITHMS[name])
        losses(model, optimizer, batches(1))
        return trained(model, optimizer, batches(6))

    same_as_in_pytorch(run)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_ours_need_no_step_before_they_are_wrapped(name):
    model = network()
    found, _ = trained(model, getattr(mt, name)(model.parameters(), **ALGORITHMS[name]), batches(1) * 6)
    assert sorted(found, reverse=True) == found and found[-1] < 0.9 * found[0]


def test_a_wrapped_optimizer_that_was_saved_goes_on_to_the_bit():
    def made():
        model = network()
        return model, wrapped(mt.SGD(model.parameters(), **ALGORITHMS["SGD"]))

    (model, optimizer), (other, resumed) = made(), made()
    losses(model, optimizer, batches(3))
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    data = batches(9)[3:]
    assert losses(other, resumed, data) == losses(model, optimizer, data)
    assert bits(weights(other)) == bits(weights(model))

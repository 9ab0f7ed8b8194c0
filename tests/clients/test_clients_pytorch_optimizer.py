"""Inside the wrappers of pytorch_optimizer."""

import copy

import pytest
import torch

from clients import ALGORITHMS, batches, bits, client, each_algorithm, losses, network, same_as_in_pytorch, weights
from minima import torch as mt

po = client("pytorch_optimizer")

WRAPPERS = {
    "Lookahead": lambda o: po.Lookahead(o, k=2),
    "TRAC": po.TRAC,
    "OrthoGrad": po.OrthoGrad,
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@each_algorithm
def test_a_wrapped_optimizer_trains_as_pytorch_s(name, wrapper):
    def run(optim):
        model = network()
        optimizer = wrapper(getattr(optim, name)(model.parameters(), **ALGORITHMS[name]))
        return losses(model, optimizer, batches(6)), weights(model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_wrapped_optimizer_that_was_saved_goes_on_to_the_bit(name, wrapper):
    def made():
        model = network()
        return model, wrapper(getattr(mt, name)(model.parameters(), **ALGORITHMS[name]))

    (model, optimizer), (other, resumed) = made(), made()
    losses(model, optimizer, batches(3))
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    data = batches(9)[3:]
    assert losses(other, resumed, data) == losses(model, optimizer, data)
    assert bits(weights(other)) == bits(weights(model))


@each_algorithm
def test_sharpness_aware_steps_are_as_with_pytorch_s(name):
    def run(optim):
        model = network()
        optimizer = po.SAM(model.parameters(), getattr(optim, name), rho=0.05, **ALGORITHMS[name])
        found = []
        for inputs, classes in batches(6):
            for step in (optimizer.first_step, optimizer.second_step):
                loss = torch.nn.functional.cross_entropy(model(inputs), classes)
                loss.backward()
                step(zero_grad=True)
                found.append(loss.item())
        return found, weights(model)

    same_as_in_pytorch(run)


def test_schedule_free_sgd_is_as_with_pytorch_s():
    def run(optim):
        model = network()
        optimizer = po.ScheduleFreeWrapper(optim.SGD(model.parameters(), lr=0.1, momentum=0.5))
        optimizer.train()
        found = losses(model, optimizer, batches(6))
        optimizer.eval()
        return found, weights(model)

    same_as_in_pytorch(run)

"""Inside the private optimizer of Opacus, which clips each sample's gradient and adds noise."""

import copy

import pytest
import torch

from clients import ALGORITHMS, batches, bits, client, each_algorithm, losses, network, same_as_in_pytorch, weights
from minima import torch as mt

opacus = client("opacus")

PAIRS = [pair for batch in batches(8) for pair in zip(*batch, strict=True)]


def private(cls, options):
    model = network()
    return opacus.PrivacyEngine().make_private(
        module=model,
        optimizer=cls(model.parameters(), **options),
        data_loader=torch.utils.data.DataLoader(PAIRS, batch_size=4),
        noise_multiplier=0.5,
        max_grad_norm=0.5,
        noise_generator=torch.Generator().manual_seed(2),
        poisson_sampling=False,
    )


@each_algorithm
def test_private_training_is_as_with_pytorch_s(name):
    def run(optim):
        model, optimizer, loader = private(getattr(optim, name), ALGORITHMS[name])
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
        found = losses(model, optimizer, loader, after=lambda count: schedule.step())
        return found, weights(model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_private_training_that_was_saved_goes_on_to_the_bit(name):
    (model, optimizer, loader), (other, resumed, _) = (private(getattr(mt, name), ALGORITHMS[name]) for _ in "12")
    losses(model, optimizer, loader)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in (optimizer, resumed):
        each.generator = torch.Generator().manual_seed(3)
    assert losses(other, resumed, loader) == losses(model, optimizer, loader)
    assert bits(weights(other)) == bits(weights(model))

"""Beside the averages of torch_ema, which read parameters after each step and lend them their own values."""

import pytest

from clients import ALGORITHMS, batches, bits, client, each_algorithm, losses, network, same_as_in_pytorch, weights

torch_ema = client("torch_ema")


@pytest.mark.parametrize("decay", [0.5, 0.99])
@each_algorithm
def test_averages_are_as_with_pytorch_s(name, decay):
    def run(optim):
        model = network()
        optimizer = getattr(optim, name)(model.parameters(), **ALGORITHMS[name])
        ema = torch_ema.ExponentialMovingAverage(model.parameters(), decay)
        averages = []

        def lend(count):
            ema.update()
            trained = bits(weights(model))
            with ema.average_parameters():
                averages.append(weights(model))
            assert bits(weights(model)) == trained

        return losses(model, optimizer, batches(6), after=lend), averages

    same_as_in_pytorch(run)

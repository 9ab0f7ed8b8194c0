"""In files of PyTorch that are loaded without running code."""

import pytest
import torch

from clients import ALGORITHMS, OPTIM, Plain, batches, bits, losses, network, weights
from minima.torch import adapt

ROWS = [
    *((getattr(OPTIM, name), options) for name, options in ALGORITHMS.items()),
    (OPTIM.AdamW, {"state_dtype": "int8"}),
    (OPTIM.Adam, {"state_dtype": "bfloat16", "rounding": "stochastic", "seed": 3}),
    (adapt(Plain), {}),
]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("cls", "options"), ROWS, ids=str)
def test_a_state_that_was_saved_goes_on_to_the_bit(cls, options, half, tmp_path):
    def made():
        model = network().to(torch.bfloat16 if half else torch.float32)
        return model, cls(model.parameters(), **options)

    data = [(inputs.bfloat16() if half else inputs, classes) for inputs, classes in batches(8)]
    (model, optimizer), (other, resumed) = made(), made()
    losses(model, optimizer, data[:4])
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / "saved")
    saved = torch.load(tmp_path / "saved", weights_only=True)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert losses(other, resumed, data[4:]) == losses(model, optimizer, data[4:])
    assert bits(weights(other)) == bits(weights(model))
    assert bits(resumed.state_dict()) == bits(optimizer.state_dict())

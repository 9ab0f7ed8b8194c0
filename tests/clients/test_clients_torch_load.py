"""In files of PyTorch that are loaded without running code."""

import pytest
import torch

from clients import batches, bits, each_that_is_saved, losses, network, weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@each_that_is_saved
def test_a_state_that_was_saved_goes_on_to_the_bit(cls, options, dtype, tmp_path):
    def made():
        model = network().to(dtype)
        return model, cls(model.parameters(), **options)

    data = [(inputs.to(dtype), classes) for inputs, classes in batches(8)]
    (model, optimizer), (other, resumed) = made(), made()
    losses(model, optimizer, data[:4])
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / "saved")
    saved = torch.load(tmp_path / "saved", weights_only=True)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert losses(other, resumed, data[4:]) == losses(model, optimizer, data[4:])
    assert bits(weights(other)) == bits(weights(model))
    assert bits(resumed.state_dict()) == bits(optimizer.state_dict())

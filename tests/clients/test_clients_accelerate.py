"""Under Hugging Face accelerate."""

import pytest
import torch

from clients import (
    ALGORITHMS,
    batches,
    bits,
    client,
    each_algorithm,
    each_that_is_saved,
    network,
    same_as_in_pytorch,
    sharp,
    weights,
    weights_after_sam,
)

accelerate = client("accelerate")


class Run:
    """A model, an optimizer and a schedule, prepared."""

    def __init__(self, cls, options, **settings):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # which keeps the first one's settings
        accelerate.state.GradientState._reset_state()
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2, **settings)
        model = network()
        optimizer = cls(model.parameters(), **options)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(model, optimizer, schedule)

    def train(self, data):
        losses = []
        for inputs, classes in data:
            with self.accelerator.accumulate(self.model):
                loss = torch.nn.functional.cross_entropy(self.model(inputs).float(), classes)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 0.5)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
            losses.append(loss.item())
        return losses


# Under bf16 a last bit of a weight may become a last bit of an activation, which has 8 of them.
@pytest.mark.parametrize(("precision", "rtol"), [("no", 1e-5), ("bf16", 2**-8)])
@each_algorithm
def test_accumulation_clipping_and_a_schedule_work_as_with_pytorch_s(name, precision, rtol):
    def run(optim):
        it = Run(getattr(optim, name), ALGORITHMS[name], mixed_precision=precision)
        losses = it.train(batches(12))
        return losses, it.schedule.get_last_lr(), weights(it.model)

    same_as_in_pytorch(run, rtol=rtol)


@each_that_is_saved
def test_a_state_that_was_saved_goes_on_to_the_bit(cls, options, tmp_path):
    data = batches(12)
    whole = Run(cls, options)
    whole.train(data[:6])
    whole.accelerator.save_state(str(tmp_path / "saved"))
    whole.train(data[6:])
    resumed = Run(cls, options)
    resumed.accelerator.load_state(str(tmp_path / "saved"))
    resumed.train(data[6:])
    assert bits(weights(resumed.model)) == bits(weights(whole.model))
    assert bits(resumed.optimizer.state_dict()) == bits(whole.optimizer.state_dict())


def test_sam_is_stepped_by_a_closure_as_in_a_plain_loop():
    it, losses = Run(sharp, ALGORITHMS["SGD"]), []
    for inputs, classes in batches(8):

        def closure(inputs=inputs, classes=classes):
            it.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(it.model(inputs), classes)
            it.accelerator.backward(2 * loss)  # it divides by the batches that it accumulates
            losses.append(loss.item())
            return loss

        it.optimizer.step(closure)
    expected_losses, expected = weights_after_sam(batches(8), ALGORITHMS["SGD"])
    assert len(losses) == 16 and losses == expected_losses
    assert bits(weights(it.model)) == bits(expected)


def test_sam_without_a_closure_says_so():
    with pytest.raises(TypeError, match=r"^SAM.step: needs a closure .*; pass step\(closure\)"):
        Run(sharp, ALGORITHMS["SGD"]).train(batches(4))

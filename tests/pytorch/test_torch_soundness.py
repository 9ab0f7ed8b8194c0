"""Memory that cannot be written to is complained of in one sentence, before anything changes."""

import pytest
import torch
from tensors import own

from minima.torch.soundness import check_memory, is_freed


def free(tensor):
    tensor.untyped_storage().resize_(0)
    return tensor


def shorten(tensor):
    tensor.untyped_storage().resize_(8)
    return tensor


LIKE = torch.zeros(2, 3)
UNSOUND = [
    (lambda: 3, TypeError, "w must be a tensor; got 3; nothing was changed"),
    (lambda: LIKE.to_sparse(), TypeError, "w must not be sparse; got 'torch.sparse_coo'; nothing was changed"),
    (lambda: torch.zeros(3, 2), ValueError, r"w must have the shape \(2, 3\); got \(3, 2\); nothing was changed"),
    (lambda: LIKE.double(), TypeError, "w must be torch.float32; got 'torch.float64'; nothing was changed"),
    (lambda: LIKE.to("meta"), ValueError, "w must be on cpu; got 'meta'; nothing was changed"),
    (lambda: torch.zeros(3).expand(2, 3), ValueError, "w must have a place in memory for each of its elements"),
    (
        lambda: free(torch.zeros(2, 3)),
        ValueError,
        "w must have memory for its 6 elements; its storage was freed, as FSDP",
    ),
]


@pytest.mark.parametrize("make, error, message", UNSOUND, ids=[row[2] for row in UNSOUND])
def test_what_cannot_be_written_to_is_refused(make, error, message):
    with pytest.raises(error, match=f"^Adam.step: {message}"):
        check_memory("Adam.step", "w", make(), LIKE)


def test_what_can_be_written_to_is_not_refused():
    for tensor in (LIKE, torch.zeros(4, 6)[1:3, ::2], torch.zeros(3, 2).T):
        check_memory("Adam.step", "w", tensor, LIKE)
    for tensor in (torch.zeros(0), free(torch.zeros(0, 2)), torch.zeros(2, device="meta"), torch.ones(2) + 1j):
        check_memory("Adam.step", "w", tensor)


def test_storage_that_ends_too_soon_is_as_good_as_freed():
    tensor = torch.zeros(10)[6:]
    assert not is_freed(tensor)
    tensor.untyped_storage().resize_(36)
    assert is_freed(tensor)


def of_the_parameter(optimizer, w):
    return w


def of_the_gradient(optimizer, w):
    return w.grad


def of_the_state(optimizer, w):
    return optimizer.state[w]["exp_avg"]


@pytest.mark.parametrize("which", [of_the_parameter, of_the_gradient, of_the_state], ids=lambda f: f.__name__)
@pytest.mark.parametrize("take", [free, shorten], ids=lambda f: f.__name__)
@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_a_step_with_freed_storage_is_refused_before_anything_changes(engine, take, which):
    v, w = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    v.grad, w.grad = torch.ones(3), torch.ones(3)
    optimizer.step()
    take(which(optimizer, w))
    before = v.detach().clone(), optimizer.state[v]["step"].item(), optimizer.state[v]["exp_avg"].clone()
    with pytest.raises(ValueError, match="Adam.* parameter 1 must have memory"):
        optimizer.step()
    assert torch.equal(v, before[0]) and torch.equal(optimizer.state[v]["exp_avg"], before[2])
    assert optimizer.state[v]["step"] == before[1] == optimizer.state[w]["step"]


@pytest.mark.parametrize("which", [of_the_parameter, of_the_gradient], ids=lambda f: f.__name__)
@pytest.mark.parametrize("take", [free, shorten], ids=lambda f: f.__name__)
def test_a_first_step_with_freed_storage_is_refused(engine, take, which):  # what NumPy has seen can be freed no longer
    v, w = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    v.grad, w.grad = torch.ones(3), torch.ones(3)
    take(which(optimizer, w))
    with pytest.raises(ValueError, match="Adam.step: .*parameter 1 must have memory"):
        optimizer.step()
    assert v.tolist() == [1.0] * 3


@pytest.mark.parametrize("which", [of_the_parameter, of_the_gradient], ids=lambda f: f.__name__)
@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_a_parameter_with_gaps_is_not_stepped_beyond_its_storage(engine, which):
    w = torch.ones(4, 6)[:, ::2].requires_grad_()
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    w.grad = torch.ones(4, 3)
    optimizer.step()
    shorten(which(optimizer, w))
    with pytest.raises(ValueError, match="SGD.step: .*parameter 0 must have memory"):
        optimizer.step()
    assert optimizer.t == 1


def test_eight_bits_are_not_given_a_sign_beyond_their_storage():
    w = torch.ones(600, requires_grad=True)
    optimizer = own.SGD([w], momentum=0.5, state_dtype="int8")
    w.grad = torch.ones(600)
    optimizer.step()
    kept = optimizer.state[w]
    kept["u_codes"] = shorten(kept["u_codes"].to(torch.uint8))
    with pytest.raises(
        ValueError, match="^SGD: the state 'u_codes' of parameter 0 must have memory for its 600 elements"
    ):
        optimizer.step()

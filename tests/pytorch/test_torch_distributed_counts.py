"""Two processes that hold shards, and count on their GPUs, leave out the same steps, without asking the host."""

import pytest
import torch
import two_counting
from two_processes import both

if not torch.distributed.is_gloo_available():
    pytest.skip("this build of PyTorch has no gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two processes found."""
    return both(two_counting.__file__, tmp_path_factory.mktemp("counting"))


@pytest.mark.parametrize("name", two_counting.COUNTED)
def test_processes_that_count_on_their_gpus_leave_out_the_same_steps(found, name):
    for mine in found:
        (*ours, here), expected = mine["left out"][name, False]
        (*theirs, there), values = mine["left out"][name, True]
        assert (here, there) == (False, True) and ours == theirs == [4, 3, (3,) * 4, None]
        for key in expected:
            assert torch.equal(values[key], expected[key]), key


def test_a_scaler_leaves_out_the_same_steps_of_shards_in_all_processes(found):
    for mine in found:
        (*ours, here), expected = mine["scaled"][False]
        (*theirs, there), values = mine["scaled"][True]
        assert (here, there) == (False, True)
        assert ours == [0, 4, (4,) * 4, 2.0**7] and theirs == [3, 4, (4,) * 4, 2.0**7]
        for key in expected:
            assert torch.equal(values[key], expected[key]), key


def test_a_scaler_leaves_out_the_same_steps_of_flattened_parameters_in_all_processes(found):
    for mine in found:
        assert mine["scaled, flattened"] == (2, (2,), 2.0)


def test_processes_agree_on_what_a_scaler_asks_but_one_of(found):
    for rank, mine in enumerate(found):
        moved = 2 + rank  # in the last step, one has no gradients
        assert mine["scaled, replicated"] == ([[1 - 0.25 * moved] * 3] * 2, 3, 1, (moved, moved))


def test_gradients_that_are_still_to_be_added_leave_out_a_step_by_their_sum(found):
    for mine in found:
        assert mine["unreduced"] == [([0.0] * 3, 2, 2, (2,))] * 2

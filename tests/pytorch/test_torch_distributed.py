"""Two processes that train together, with DDP, ZeRO or FSDP2, arrive where one arrives alone with the whole batch."""

import subprocess
import sys

import pytest
import torch
import torch.distributed.checkpoint as dcp
import two_processes as together
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from two_processes import OPTIMIZERS, data, groups, network, train, values

from minima.torch import Adam

if not torch.distributed.is_gloo_available():
    pytest.skip("this build of PyTorch has no gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def found(folder):
    """What each of the two processes found."""
    commands = [[sys.executable, together.__file__, str(rank), str(folder)] for rank in (0, 1)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        errors = [process.communicate(timeout=300)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def alone(make, steps=together.STEPS, **options):
    """One process with the whole batch."""
    model = network()
    optimizer = make(model)
    train(model, optimizer, *data(), steps=steps, **options)
    return model, optimizer


def agree(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("way", ["ddp", "zero", "fsdp"])
def test_two_processes_arrive_where_one_does(found, way, name):
    cls, options = OPTIMIZERS[name]
    model, _ = alone(lambda model: cls(model.parameters(), **options))
    # Gradients are summed in another order; a state in 8 bits of mantissa shows that more than the others.
    for mine in found:
        if "bfloat16" in name:
            for key, value in values(model).items():
                torch.testing.assert_close(mine[way][name][key], value, rtol=0, atol=5e-3)
        else:
            agree(mine[way][name], values(model))


def test_replicas_in_bfloat16_round_alike(found):
    first, second = (mine["ddp, bfloat16"] for mine in found)
    start = values(network().bfloat16())
    for name in first:
        assert torch.equal(first[name], second[name])
        assert not torch.equal(first[name], start[name])


def test_zero_follows_a_scheduler_and_gives_the_state_of_one_optimizer(found):
    scheduled = {}

    def make(model):
        optimizer = Adam(model.parameters(), lr=0.1)
        scheduled["scheduler"] = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        return optimizer

    model = network()
    optimizer = make(model)
    train(model, optimizer, *data(), **scheduled)
    for mine in found:
        agree(mine["zero, scheduler"][0], values(model))
    assert sum(mine["zero, scheduler"][1] for mine in found) == 4  # nobody keeps what another one keeps
    state = found[0]["zero, scheduler"][2]
    other = Adam(network().parameters())
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    for mine, kept in zip(other.state.values(), optimizer.state.values(), strict=True):
        agree(mine, kept)


def test_clipping_and_groups_work_on_shards(found):
    model, _ = alone(lambda model: Adam(groups(model), lr=0.05, weight_decay=0.1), clip=0.1)
    for mine in found:
        agree(mine["fsdp, clipping"], values(model))


@pytest.mark.parametrize("rounding", ["stochastic", "master"])
def test_shards_in_bfloat16_move_by_steps_smaller_than_their_unit(found, rounding):
    for mine in found:
        weight = mine["fsdp, bfloat16"][rounding]["weight"].float()
        assert weight.mean().item() == pytest.approx(0.5, abs=0.01)
        assert weight.std().item() < 0.05


@pytest.mark.parametrize("names", ["by position", "by name"])
def test_a_sharded_checkpoint_resumes_to_the_bits(found, names):
    for mine in found:
        on, resumed = mine["checkpoint"][names]
        for name in on:
            assert torch.equal(on[name], resumed[name]), name


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("names", ["by position", "by name"])
def test_one_process_resumes_what_two_have_saved(found, folder, names):
    model = network(seed=1)
    optimizer = Adam(model.parameters() if names == "by position" else groups(model), lr=1.0)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=folder / f"checkpoint {names}")
    model.load_state_dict(state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 0.05
    train(model, optimizer, *data())
    for mine in found:
        agree(mine["checkpoint"][names][0], values(model))


def test_state_in_blocks_is_refused_for_shards(found):
    for mine in found:
        assert mine["int8"] == (
            "Adam: state_dtype 'int8' is for parameters that one process holds whole; parameter 0 is sharded; "
            "use 'bfloat16'"
        )


def test_the_guard_and_measures_are_refused_for_shards_before_anything_changes(found):
    rule = "needs whole parameters; of these each process holds a shard, and would decide alone; nothing was changed"
    wanted = [f"Adam.step: {what} {rule}" for what in ("measure=True", "on_nonfinite='skip'", "on_nonfinite='raise'")]
    for mine in found:
        assert mine["whole"] == (wanted, True, 1)


def test_gradients_that_are_still_to_be_added_are_added(found):
    for mine in found:
        torch.testing.assert_close(mine["unreduced"], torch.full((3,), 1.0 - 2 * 3.0))

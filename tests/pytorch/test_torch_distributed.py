"""Two processes that train together, with DDP, ZeRO or FSDP2, arrive where one arrives alone with the whole batch."""

import pytest
import torch
import torch.distributed.checkpoint as dcp
import two_processes as together
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from two_processes import (
    AVERAGED,
    CHECKPOINTS,
    ESTIMATES,
    FURTHER,
    OPTIMIZERS,
    TOTALS,
    data,
    groups,
    network,
    train,
    values,
)

from minima.torch import Adam

if not torch.distributed.is_gloo_available():
    pytest.skip("this build of PyTorch has no gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def found(folder):
    """What each of the two processes found."""
    return together.both(together.__file__, folder)


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


WAYS = [(way, name) for way in ("ddp", "fsdp") for name in OPTIMIZERS | FURTHER | TOTALS | ESTIMATES]
WAYS += [("zero", name) for name in OPTIMIZERS | FURTHER]


@pytest.mark.parametrize("way, name", WAYS)
def test_two_processes_arrive_where_one_does(found, way, name):
    cls, options = (OPTIMIZERS | FURTHER | TOTALS | ESTIMATES)[name]
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


@pytest.mark.parametrize("name", together.ROUNDED)
def test_shards_round_as_the_whole_does(found, name):
    (whole,) = together.rounded(name).values()
    assert len(whole.unique()) > 4
    for mine in found:
        assert torch.equal(mine["fsdp, rounded"][name]["weight"], whole)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_sharded_checkpoint_resumes_to_the_bits(found, name):
    for mine in found:
        on, resumed = mine["checkpoint"][name]
        for key in on:
            assert torch.equal(on[key], resumed[key]), key


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_one_process_resumes_what_two_have_saved(found, folder, name):
    model, (cls, options) = network(seed=1), CHECKPOINTS[name]
    optimizer = cls(model.parameters() if name == "by position" else groups(model), lr=1.0, **options)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=folder / f"checkpoint {name}")
    model.load_state_dict(state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 0.05
    train(model, optimizer, *data())
    for mine in found:
        agree(mine["checkpoint"][name][0], values(model))


def test_state_in_blocks_is_refused_for_shards(found):
    for mine in found:
        assert mine["int8"] == (
            "Adam: state_dtype 'int8' is for parameters that one process holds whole; parameter 0 is sharded; "
            "use 'bfloat16'"
        )


def test_what_asks_for_more_than_a_process_has_is_refused_in_one_sentence(found):
    flat = "a rule that needs the whole of parameter 0 fails under FullyShardedDataParallel, which flattens it"
    parts = "a sum over all parameters needs all of them, but ZeroRedundancyOptimizer gives each process only some"
    some = "on_nonfinite 'skip' needs all gradients, but {} gives each process only some"
    hint = "shard the model by fully_shard instead"
    gathered = "FullyShardedDataParallel continues with the weights that it has gathered, and cannot use averages"
    vector = "LBFGS: parameter 0 must not be sharded over processes: the vector of all parameters must be whole"
    for mine in found:
        assert mine["whole"] == [
            f"LAMB: {flat}; {hint}",
            f"ScheduleFreeSGD: {flat}; {hint}",
            f"Adam.averaged: {gathered}; {hint}; nothing was changed",
            f"SGD: {some.format('FullyShardedDataParallel')}; {hint}",
            f"{vector}; got 'torch.float32'",
            f"{vector}; got 'torch.float32'",
            f"Prodigy: {parts}; {hint}",
            f"SGD: {parts}; {hint}",
            f"SGD: {some.format('ZeroRedundancyOptimizer')}; {hint}",
        ]


def test_shards_are_measured_together(found):
    model = network()
    optimizer = Adam(groups(model), lr=0.05, weight_decay=0.1)
    train(model, optimizer, *data())
    optimizer.step(measure=True)
    for mine in found:
        assert mine["measures"].keys() == optimizer.measures.keys()
        for name, measure in optimizer.measures.items():
            for what in ("grad", "update", "param"):
                assert getattr(mine["measures"][name], what) == pytest.approx(getattr(measure, what), rel=1e-5)


def test_all_processes_leave_out_a_step_where_one_has_a_gradient_or_a_loss_that_is_not_finite(found):
    for rank, mine in enumerate(found):
        said = {
            "gradient": "gradient of parameter 0 ('0.weight') is not finite",
            "loss": f"loss is {'nan' if rank else 'inf'}",
        }
        for what in ("gradient", "loss"):
            assert mine["not finite"]["skip", what] == ("", True, 1, 1)
            message = f"Adam.step: {said[what]}; nothing was changed"
            assert mine["not finite"]["raise", what] == (message, True, 0, 1)


@pytest.mark.parametrize("name", AVERAGED)
def test_shards_hold_the_weights_that_are_lent_and_their_own_again_for_the_next_call(found, name):
    model = network()
    expected = together.outputs(model, AVERAGED[name](model.parameters()), *data())
    for mine in found:
        torch.testing.assert_close(mine["averages"][name], expected, rtol=1e-5, atol=1e-6)


def test_gradients_that_are_still_to_be_added_are_added(found):
    for mine in found:
        torch.testing.assert_close(mine["unreduced"], torch.full((3,), 1.0 - 2 * 3.0))

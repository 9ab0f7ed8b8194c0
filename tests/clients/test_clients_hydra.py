"""From configurations of Hydra, whose lists are OmegaConf's own."""

import pytest
import torch

from clients import ALGORITHMS, UserRule, batches, client, each_algorithm, losses, network, same_as_in_pytorch, weights

client("hydra")
utils = client("hydra.utils")
omegaconf = client("omegaconf")


def configured(target, **options):
    return omegaconf.OmegaConf.create({"_target_": target, **options})


@pytest.mark.parametrize("convert", ["none", "partial", "all"])
@each_algorithm
def test_a_configuration_makes_the_optimizer_as_it_makes_pytorch_s(name, convert):
    def run(optim):
        model = network()
        config = configured(f"{optim.__name__}.{name}", **ALGORITHMS[name], _convert_=convert)
        optimizer = utils.instantiate(config, params=model.parameters())
        return losses(model, optimizer, batches(5)), weights(model)

    same_as_in_pytorch(run)


def test_a_partial_of_a_configuration_makes_the_optimizer():
    def run(optim):
        model = network()
        make = utils.instantiate(configured(f"{optim.__name__}.AdamW", lr=0.02, betas=[0.8, 0.9], _partial_=True))
        return losses(model, make(model.parameters()), batches(5)), weights(model)

    same_as_in_pytorch(run)


def test_groups_may_be_of_a_configuration():
    def run(optim):
        model = network()
        config = omegaconf.OmegaConf.create({"lr": 0.1, "betas": [0.5, 0.9]})
        groups = [{"params": [*model[0].parameters()], **config}, {"params": [*model[3].parameters()]}]
        optimizer = optim.Adam(groups, lr=0.01)
        return losses(model, optimizer, batches(5)), weights(model)

    same_as_in_pytorch(run)


def test_betas_of_a_configuration_are_saved_without_it(tmp_path):
    model = network()
    optimizer = utils.instantiate(configured("minima.torch.Adam", betas=[0.8, 0.9]), params=model.parameters())
    losses(model, optimizer, batches(2))
    torch.save(optimizer.state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True)["param_groups"][0]["betas"] == (0.8, 0.9)


def test_a_rule_of_the_user_is_made():
    model = network()
    optimizer = utils.instantiate(configured("clients.UserRule", lr=0.1), params=model.parameters())
    assert type(optimizer) is UserRule and optimizer.param_groups[0]["lr"] == 0.1
    assert len({*losses(model, optimizer, batches(3))}) == 3

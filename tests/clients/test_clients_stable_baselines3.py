"""In the agents of Stable-Baselines3."""

from clients import ALGORITHMS, bits, client, each_algorithm, each_of_ours, same_as_in_pytorch, weights

sb3 = client("stable_baselines3")


def agent(cls, options):
    options = {key: value for key, value in options.items() if key != "lr"}
    return sb3.PPO(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=lambda remaining: 0.003 * remaining,
        n_steps=16,
        batch_size=8,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8], "optimizer_class": cls, "optimizer_kwargs": options},
    )


@each_algorithm
def test_an_agent_learns_as_with_pytorch_s(name):
    def run(optim):
        it = agent(getattr(optim, name), ALGORITHMS[name])
        rates, found = [], []

        def at_each_step(inner, outer):
            rates.append(it.policy.optimizer.param_groups[0]["lr"])
            found.append(sum(weight.sum().item() for weight in weights(it.policy)))
            return True

        it.learn(64, callback=at_each_step)
        return found[::16], rates[::16], weights(it.policy)

    same_as_in_pytorch(run)


@each_of_ours
def test_an_agent_that_was_saved_is_the_same_and_goes_on(cls, options, tmp_path):
    it = agent(cls, options).learn(32)
    it.save(tmp_path / "agent")
    other = sb3.PPO.load(tmp_path / "agent", env=it.env, device="cpu")
    assert type(other.policy.optimizer) is cls
    assert bits(other.policy.optimizer.state_dict()) == bits(it.policy.optimizer.state_dict())
    for each in (it, other):
        each.set_random_seed(1)
        each.learn(32)
    assert bits(weights(other.policy)) == bits(weights(it.policy))

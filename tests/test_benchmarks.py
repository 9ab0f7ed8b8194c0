"""The benchmark of all optimizers: who takes part, how they take turns, what is kept. Nothing is timed."""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minima import Tensor, nn, optim
from minima.bench import timing
from minima.optim.rules import RULES

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytest.importorskip("rich")

PLACES = [str(FOLDER), str(FOLDER.parent / "tests" / "optim")]
sys.path += PLACES
try:
    import by_hand
    import compiling
    import extras
    import family
    import memory
    import networks
    import records
finally:  # other folders have modules of the same names
    for place in PLACES:
        sys.path.remove(place)

# Who takes part ------------------------------------------------------------------------------------------------------


def test_optimizers_are_chosen_in_the_order_of_the_table_and_a_name_that_is_none_is_refused():
    assert extras.chosen("Lion, SGD,Lion") == ["SGD", "Lion"]
    for wrong, got in (("Lion,Lyon", "got Lyon"), (" ,", "got ' ,'")):
        with pytest.raises(argparse.ArgumentTypeError, match=got):
            extras.chosen(wrong)


def test_a_rule_that_takes_the_loss_is_seen_by_its_update():
    assert extras.needs_loss(SimpleNamespace(update=lambda param, grad, *, lr, loss: param))
    assert not extras.needs_loss(optim.Adam) and not extras.needs_loss(SimpleNamespace())


def test_a_rule_that_takes_estimates_is_seen_by_its_estimate():
    assert extras.takes_estimates(SimpleNamespace(estimate=lambda grad, hessian: hessian))
    assert not extras.takes_estimates(optim.Adam)


@pytest.mark.parametrize("name", by_hand.Perceptron.optimizers)
def test_numpy_by_hand_trains_as_minima_does(name):
    random = np.random.default_rng(0)
    x, y = random.standard_normal((16, 5), dtype=np.float32), random.integers(0, 3, 16)
    model, cross_entropy = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), nn.CrossEntropyLoss()
    perceptron = by_hand.Perceptron([p.detach().numpy() for p in model.parameters()], name, 0.1)
    optimizer = getattr(optim, name)(model.parameters(), lr=0.1)
    for _ in range(5):
        loss = cross_entropy(model(Tensor(x)), Tensor(y))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert perceptron.derive(x, y) == pytest.approx(loss.item(), rel=1e-5)
        perceptron.update()


@pytest.mark.parametrize("name", RULES)
def test_peers_make_the_same_as_ours_and_those_of_pytorch_come_in_all_of_its_ways(name):
    found = family.candidates(name)
    for candidate in found:
        assert candidate.row.rule == name and candidate.theirs.startswith(candidate.row.theirs[:-1])
    rows = [candidate.row for candidate in found]
    assert all(rows.count(row) == (3 if row.theirs.startswith("torch.optim.") else 1) for row in rows)
    assert len({candidate.title for candidate in found}) == len(found)


def test_of_each_library_the_call_nearest_to_our_defaults_is_timed():
    pytest.importorskip("torch")
    found = {candidate.title: candidate for candidate in family.candidates("AdaGrad")}
    assert found["PyTorch"].row.ours == "AdaGrad(params, lr=0.02, eps=0)"
    assert found["PyTorch, foreach=True"].theirs == "torch.optim.Adagrad(params, lr=0.02, eps=0, foreach=True)"


def test_ours_takes_the_steps_of_a_row_and_its_gradients_turn_round():
    grads = family.gradients(family.Workload("", ((3, 2), (5,)), 0))
    stepper = family.ours(optim.SGD, grads, "SGD(params, lr=0.5)", {})
    before = [value.copy() for value in stepper.values()]
    stepper.step()
    stepper.scale(-1)
    after = [value.copy() for value in stepper.values()]
    assert not any((x == y).any() for x, y in zip(before, after, strict=True))
    stepper.step()
    for x, y in zip(before, stepper.values(), strict=True):
        assert x == pytest.approx(y)


def test_a_peer_that_cannot_step_says_why_and_stops_nobody():
    pytest.importorskip("torch")
    (row, *_) = [row for row in family.ROWS if row.rule == "Adam" and row.theirs.startswith("torch.")]
    place = family.Workload("", ((3, 2),), 0)
    assert family._probe(family.Candidate(row, "torch.optim.Adam(params, lr=0.1)"), place) > 0
    assert "unexpected" in family._probe(family.Candidate(row, "torch.optim.Adam(params, lt=0.1)"), place)


# Memory --------------------------------------------------------------------------------------------------------------


def test_the_peak_counts_what_was_there_at_one_time_and_nothing_that_was_there_before():
    torch = pytest.importorskip("torch")
    for ones, measured in ((np.ones, memory.peak), (torch.ones, memory.peak_in_torch)):
        kept = ones(250_000)

        def run(ones=ones, kept=kept):
            two = [ones(250_000), ones(250_000)]
            del two
            return kept + 1

        of_one = kept.nbytes
        assert 2 * of_one <= measured(run) < 2.1 * of_one


class Normed(networks.Network):
    """Linear, LayerNorm and GELU: what stands between products in a transformer."""

    def build(self, of):
        inputs, width, classes = self.widths
        return of.Sequential(of.Linear(inputs, width), of.LayerNorm(width), of.GELU(), of.Linear(width, classes))


class NormedPictures(networks.Pictures):
    """Convolutions, BatchNorm2d and a mean."""

    def build(self, of):
        inputs, channels, more, classes = self.widths
        return of.Sequential(
            *(of.Conv2d(inputs, channels, 3, padding=1), of.BatchNorm2d(channels), of.ReLU()),
            *(of.Conv2d(channels, more, 3, padding=1), of.BatchNorm2d(more), of.ReLU()),
            *(of.AvgPool2d(4), of.Flatten(), of.Linear(more * 49, classes)),
        )


NORMED = {"normed": Normed((512, 512, 10), 4096, ()), "normed pictures": NormedPictures((3, 16, 32, 10), 32, ())}


@pytest.mark.parametrize("name", ["medium", "pictures", "characters", *NORMED])
def test_forward_and_backward_hold_no_more_memory_than_1_3_of_what_pytorch_holds(name):
    pytest.importorskip("torch")
    network = (networks.NETWORKS | NORMED)[name]
    peaks = {}
    for trainer, measured in (("minima", memory.peak), ("torch", memory.peak_in_torch)):
        step = networks.TRAINERS[trainer].build(network, 1e-7)
        step.run(1)
        peaks[trainer] = measured(step.derive)
    assert 0 < peaks["minima"] <= 1.3 * peaks["torch"]


# Races ---------------------------------------------------------------------------------------------------------------


def test_in_a_paired_race_everyone_has_a_turn_in_every_round():
    rounds = []
    runs = {"slow": timing.repeated(lambda: time.sleep(0.06)), "fast": timing.repeated(lambda: time.sleep(0.001))}
    found = timing.race(runs, 0.4, fewest=4, paired=True, before=lambda: rounds.append(1))
    assert len(found["slow"].samples) == len(found["fast"].samples) == len(rounds) >= 4


def test_ratios_are_those_of_single_rounds():
    mine, other = (timing.Timing(1, [(x,) for x in many]) for many in ([1, 2, 9], [1, 4, 3]))
    assert timing.ratios(mine, other)[1] == 1  # of 1, 1/2 and 3; the ratio of the medians is 2/3
    assert timing.ratios(other, mine) == [pytest.approx(x) for x in (2 / 3, 1, 1.5)]


# Records -------------------------------------------------------------------------------------------------------------

MACHINE = {"cpu": "a", "cores": 2, "load": 0.1}


def test_a_file_goes_on_from_what_is_in_it_on_the_same_machine(tmp_path):
    path = tmp_path / "results" / "family.json"
    content = records.opened(path, "family", MACHINE)
    content["rules"]["Adam"] = {"state": 8}
    records.save(content, path)
    again = records.opened(path, "family", MACHINE | {"load": 3.0})
    assert again["rules"] == {"Adam": {"state": 8}} and again["machine"]["load"] == 3.0
    assert [each.name for each in path.parent.iterdir()] == ["family.json"]


def test_a_library_that_took_no_part_before_may_take_part_now(tmp_path):
    path = tmp_path / "family.json"
    content = records.opened(path, "family", MACHINE | {"optax": None})
    content["rules"]["Adam"] = {}
    records.save(content, path)
    again = records.opened(path, "family", MACHINE | {"optax": "0.2.8"})
    assert again["machine"]["optax"] == "0.2.8" and records.opened(path, "family", MACHINE)["rules"] == {"Adam": {}}
    records.save(again, path)
    with pytest.raises(ValueError, match="optax '0.2.8' there, '0.3' here"):
        records.opened(path, "family", MACHINE | {"optax": "0.3"})


def test_a_file_of_another_machine_or_benchmark_is_refused_and_stays(tmp_path):
    path = tmp_path / "family.json"
    records.save({"benchmark": "family", "machine": MACHINE, "rules": {"Adam": {}}}, path)
    before = path.read_text()
    with pytest.raises(ValueError, match=r"was measured elsewhere \(cores 2 there, 4 here\)"):
        records.opened(path, "family", MACHINE | {"cores": 4})
    with pytest.raises(ValueError, match="holds no results of this benchmark"):
        records.opened(path, "quality", MACHINE)
    assert path.read_text() == before
    for text in ("", "[]", json.dumps({"benchmark": "family"})):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no results"):
            records.opened(path, "family", MACHINE)


# How long JAX compiles -----------------------------------------------------------------------------------------------


def test_both_libraries_are_traced_lowered_and_compiled_anew_in_every_turn():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    monitored: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: monitored.append(event))
    try:
        for title, ready in compiling.contenders("small", "sgd").items():
            monitored.clear()
            parts = ready(2)
            assert len(parts) == len(compiling.STAGES) and min(parts) > 0, title
            assert sum("backend_compile" in event for event in monitored) == 2, title
    finally:
        jax.monitoring.clear_event_listeners()


def test_the_record_of_compiling_holds_the_ratio_of_single_rounds():
    took = {"minima.jax": 3.0, "optax": 2.0}
    timings = {title: timing.Timing(1, [(one,), (2 * one,)]) for title, one in took.items()}
    assert compiling.record("small", "adam", timings)["minima / optax"] == pytest.approx(1.5)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_by_hand_there_are_layers_of_products_alone(name):
    network = networks.NETWORKS[name]
    expected = type(network) is networks.Network and network.optimizer != "RMSProp"
    assert (networks._by_hand(network, 0.01) is not None) == expected

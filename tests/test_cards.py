"""The report cards of the docs: what is on record is shown, and what is not is left out."""

import json
import re
import sys
from pathlib import Path

import pytest

from minima import optim

TOOLS = Path(__file__).parents[1] / "tools" / "docs"
pytest.importorskip("matplotlib")
sys.path.append(str(TOOLS))

import cards  # noqa: E402 - the folder is no package

PEER = {"title": "PyTorch, fused=True", "theirs": "torch.optim.Adam(params, fused=True)", "ratio": 0.254}
FAMILY = {
    "benchmark": "family",
    "machine": {"cpu": "A processor", "cores": 2},
    "rules": {
        "Adam": {
            "date": "2026-01-02 03:04:05+0000",
            "commit": "abc",
            "workloads": {
                "small": {"title": "30-24-24-24-2", "seconds": 1.23e-5, "peer": PEER},
                "large": {"title": "GPT-2 small", "seconds": 0.0787, "ceiling": {"ratio": 1.049}},
            },
        },
        "Muon": {"date": "2026-01-02", "workloads": {"large": {"title": "matrices of a block", "seconds": 1.5}}},
        "SGD": {"date": "2026-01-02", "workloads": {"large": {"title": "GPT-2 small"}}},  # there was no memory for it
    },
}


def trained(*final, gradients=(10, 30, 20), lr=0.01, at_the_edge=False):
    return {"final": list(final), "gradients": list(gradients), "lr": lr, "at_the_edge": at_the_edge}


QUALITY = {
    "benchmark": "quality",
    "problems": {
        "one": {"title": "One", "said": "the first", "target": 0.5},
        "two": {"title": "Two", "said": "the second", "target": 2.0},
    },
    "rules": {
        "Adam": {"one": trained(0.3, 0.1, 0.2), "two": trained(4.0, None, 1.0, gradients=(None, 7, None))},
        "Lion": {"one": trained(0.2, 0.2, 0.2, at_the_edge=True), "two": trained(None, None, 3.0, lr=None)},
        "Muon": {"one": trained(0.1, 0.1, 0.1), "two": {"failed": "ValueError: no"}},
    },
}
RESULTS = cards.Results(FAMILY, QUALITY)
NAMES = ["SGD", "Adam", "Lion", "Muon"]


def test_without_results_a_card_says_what_the_rule_says_of_itself():
    known = "In float32, the state takes 8 bytes per parameter, and a step reads and writes 28."
    assert cards.card(optim.Adam, cards.Results()) == known
    assert cards.overview(["Adam"], cards.Results()).splitlines()[-1] == "| [Adam](adam.md#report-card) | 8 | 28 |"
    nothing = "In float32, the state takes 0 bytes per parameter, and a step reads and writes 12."
    assert cards.card(optim.SGD, RESULTS) == nothing


def test_a_card_shows_the_times_and_the_places():
    card = cards.card(optim.Adam, RESULTS)
    for part in (
        "| 30-24-24-24-2 | 12.3 µs |  | PyTorch, fused=True: `torch.optim.Adam(params, fused=True)` | 0.25 |",
        "| GPT-2 small | 78.7 ms | 1.05 |  |  |",
        "Measured on A processor, 2 cores, on 2026-01-02, commit abc.",
        "| One | 0.2 (0.1 to 0.3) | 2 of 3 | 0.01 | 20 (target 0.5) |",
        "| Two | 4 | 1 of 2 | 0.01 | not reached (target 2) |",
        "adam-card-dark.svg#only-dark",
    ):
        assert part in card, part
    lion = cards.card(optim.Lion, RESULTS)
    assert "| One | 0.2 (0.2 to 0.2) | 2 of 3 | 0.01, edge of the grid | 20 (target 0.5) |" in lion
    assert "| Two | diverged | 2 of 2 |  | 20 (target 2) |" in lion
    assert "Measured on" not in lion
    assert "Two" not in cards.card(optim.Muon, RESULTS)


def test_the_overview_has_a_column_for_all_that_somebody_has():
    text = cards.overview(NAMES, RESULTS)
    for line in (
        "| Optimizer | State | Moved | Step | Relative to memory | Relative to the fastest other library | Mean rank |",
        "| [SGD](sgd.md#report-card) | 0 | 12 |  |  |  |  |",
        "| [Adam](adam.md#report-card) | 8 | 28 | 78.7 ms | 1.05 |  | 1.5 |",
        "| [Lion](lion.md#report-card) | 4 | 20 |  |  |  | 2.0 |",
        "| [Muon](muon.md#report-card) | 4 | 20 | 1.5 s, matrices of a block |  |  |  |",
        "*Step*: the time of a step of GPT-2 small (or of matrices of a block, where noted), also relative to memory",
        "*Mean rank*: the mean rank by final loss on small problems",
        "**One**: the first; **Two**: the second.",
    ):
        assert line in text, line
    few = cards.overview(NAMES, cards.Results(FAMILY))
    assert "Mean rank" not in few and "svg" not in few
    quality = cards.overview(NAMES, cards.Results(quality=QUALITY))
    assert "| Optimizer | State | Moved | Mean rank |" in quality


@pytest.mark.parametrize("results", [RESULTS, cards.Results(), cards.Results(FAMILY)])
def test_the_pictures_that_pages_name_are_those_that_are_drawn(results, tmp_path):
    cards.draw(tmp_path, NAMES, results)
    text = "".join(cards.card(getattr(optim, name), results) for name in NAMES) + cards.overview(NAMES, results)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {*re.findall(r"\.\./generated/([\w-]+\.svg)", text)}
    assert len(drawn) == (8 if results is RESULTS else 0)


def test_what_is_on_record_is_read_and_a_file_that_is_broken_stops_the_build(tmp_path):
    assert cards.read(tmp_path) == cards.Results()
    (tmp_path / "family.json").write_text(json.dumps(FAMILY))
    assert cards.read(tmp_path) == cards.Results(FAMILY)
    (tmp_path / "quality.json").write_text(json.dumps(FAMILY))
    with pytest.raises(SystemExit, match="quality.json does not hold the results of benchmarks/quality.py"):
        cards.read(tmp_path)
    (tmp_path / "quality.json").write_text("{")
    with pytest.raises(SystemExit, match="quality.json cannot be read"):
        cards.read(tmp_path)


def test_the_results_of_the_repository_can_be_shown():
    results = cards.read()
    for name in results.family.get("rules", {}) | results.quality.get("rules", {}):
        assert cards.card(getattr(optim, name), results)


@pytest.mark.parametrize(("seconds", "said"), [(1.234, "1.23 s"), (0.1, "100 ms"), (9.996e-6, "10 µs"), (60, "60 s")])
def test_a_time_has_three_digits(seconds, said):
    assert cards.duration(seconds) == said

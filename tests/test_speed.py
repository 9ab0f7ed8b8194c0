"""The numbers, tables and pictures of speed: all of them are those of the record."""

import re
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools" / "docs"
pytest.importorskip("matplotlib")
sys.path.append(str(TOOLS))

import cards  # noqa: E402 - the folder is no package
import speed  # noqa: E402


def timed(seconds, ratio, title, quartiles=(0.9, 1.1), ceiling=None, **probed):
    found = {
        "title": "a model",
        "parameters": 2_000_000,
        "seconds": seconds,
        "peer": {"title": title, "ratio": ratio, "quartiles": list(quartiles)},
        "probed": {title: 99.0} | probed,
    }
    return found | ({"ceiling": {"ratio": ceiling}} if ceiling else {})


RULES = {
    "Adam": {
        "small": timed(1e-3, 0.25, "PyTorch, fused=True", PyTorch=8e-3, Optax=5e-3),
        "many": timed(1e-3, 0.5, "Optax"),
        "large": timed(1e-3, 0.2, "Optax", ceiling=1.25),
    },
    "SGD": {"large": timed(2e-3, 1.25, "Optax", (0.8, 1.3), ceiling=1.0)},
    "Lion": {"large": timed(2e-3, 0.1, "schedulefree", pytorch_optimizer=1.0, ceiling=1.1)},
    "Muon": {"large": {"title": "a block", "parameters": 7, "seconds": 0.5}},
}
MACHINE = {"cpu": "A processor", "cores": 2, "torch": "2.0", "optax": "0.2", "pytorch_optimizer": "4.0"}
RESULTS = cards.Results(
    {
        "benchmark": "family",
        "machine": MACHINE,
        "rules": {
            name: {"date": f"2026-01-0{day} 01:00:00+0000", "commit": f"c{day}", "workloads": workloads}
            for day, (name, workloads) in enumerate(RULES.items(), 1)
        },
    }
)


def test_a_peer_is_told_in_times_of_minima_and_a_race_counts_for_more_than_a_look():
    assert speed.ratios(RULES["Adam"]["small"]) == {"PyTorch": 8.0, "Optax, jitted": 5.0, "PyTorch, fused": 4.0}
    assert speed.ratios(RULES["Lion"]["large"])["packages for PyTorch"] == 10.0
    assert speed.ratios(RULES["Muon"]["large"]) == {}


def test_the_home_page_has_three_numbers_of_the_record_with_machine_date_and_commits():
    text = speed.numbers(RESULTS)
    assert re.findall(r"\*\*(.+?)\*\*", text) == ["4.0×", "5.0×", "80 %"]  # 1/0.25; of 5, 0.8 and 10; 1/1.25
    assert "the median of 3 optimizers" in text
    for part in ("A processor, 2 cores", "2026-01-01 to 2026-01-04", "commits c1, c2, c3, c4."):
        assert part in text


def test_every_place_where_another_is_faster_or_memory_is_far_is_named():
    rows = speed.losses(RESULTS).splitlines()[2:]
    assert [re.findall(r"\[(\w+)\]", row)[0] for row in rows] == ["Adam", "SGD"]
    assert "1.25 times the memory ceiling" in rows[0] and "1.25 times Optax (quartiles: 0.80 to 1.30)" in rows[1]


def test_the_record_of_the_repository_names_only_peers_that_have_a_column():
    results = cards.read()
    for size in speed.SIZES:
        found = speed.workloads(results, size)
        assert {*speed.SHOWN} <= {*found}
        for it in found.values():
            assert {*speed.ratios(it)} <= {*speed.COLUMNS}
    assert len(speed.COLUMNS) == 5


def test_pages_name_the_pictures_that_are_drawn(tmp_path):
    results = cards.read()
    speed.draw(tmp_path, results)
    named = {*re.findall(r"generated/([\w-]+\.svg)", speed.tables(results))}
    assert named == {path.name for path in tmp_path.iterdir()} and len(named) == 6


def test_the_table_of_gpus_is_that_of_the_file(tmp_path):
    path = tmp_path / "gpus.md"
    path.write_text("# Title\n\nWords.\n\n| GPU |\n| --- |\n| a card |\n")
    assert speed.gpus(path) == "| GPU |\n| --- |\n| a card |\n"

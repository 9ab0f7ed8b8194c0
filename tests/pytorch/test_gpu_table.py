"""The table of what has been run on which GPU, as `benchmarks/gpu.py` writes it."""

import sys
from pathlib import Path

import pytest
import torch

from minima.torch.choice import RUN_ON_GPUS

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import gpu  # noqa: E402


def test_a_card_that_is_checked_leaves_the_others_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "gpus.md"
    path.write_text("| GPU | PyTorch | bits | sync |\n| --- | --- | --- | --- |\n| a card | 2.9 | 7 of 7 | 1 of 2 |\n")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "another card")
    monkeypatch.setattr(gpu, "found", {"graphs": ["one"]})
    monkeypatch.setattr(gpu, "passed", {"graphs": 3})
    for _ in range(2):
        gpu.write(path)
    columns, _, first, second = path.read_text().splitlines()[-4:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (columns, first, second)]
    known, other = (dict(zip(cells[0], row, strict=True)) for row in cells[1:])
    assert known["GPU"] == "a card" and known["bits"] == "7 of 7" and known["sync"] == "1 of 2" and not known["graphs"]
    assert other["GPU"] == "another card" and other["graphs"] == "3 of 4" and other["PyTorch"] == torch.__version__


def test_a_row_says_of_which_version_of_minima_it_is(tmp_path, monkeypatch):
    path = tmp_path / "gpus.md"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gpu, "passed", {"bits": 3, "graphs": 2})
    for version, parts in (("1 a", ("bits",)), ("1 b", ("bits",)), ("1 b", ("graphs",))):
        monkeypatch.setattr(gpu, "version", lambda version=version: version)
        monkeypatch.setattr(gpu, "found", {part: [] for part in parts})
        gpu.write(path)
    assert [(row["version of minima"], row["bits"], row["graphs"]) for row in gpu.rows(path)] == [
        ("1 a", "3 of 3", ""),
        ("1 b", "3 of 3", "2 of 2"),
    ]


def test_a_version_is_known_without_git_too(monkeypatch):
    assert gpu.version().startswith(gpu.minima.__version__)
    monkeypatch.setenv("PATH", "")
    assert gpu.version() == gpu.minima.__version__


ALL = "| GPU | PyTorch | bits | passes | same | habits | sync | graphs |"


@pytest.mark.parametrize(
    "rows, sorts",
    [
        ([], set()),
        (["| a | 2 | 91 of 91 |  | 60 of 60 | 16 of 16 | 7 of 7 |  |"], {"elements"}),
        (["| a | 2 | 91 of 91 |  | 60 of 60 | 15 of 16 | 7 of 7 | 3 of 3 |"], {"counts"}),
        (["| a | 2 | 91 of 91 |  |  |  |  |  |", "| b | 2 |  | 0 of 0 | 1 of 1 | 1 of 1 | 1 of 1 |  |"], set()),
        (["| a | 2 |  | 8 of 8 |  |  |  |  |", "| b | 2 |  | 7 of 8 |  |  |  | 1 of 9 |"], {"passes"}),
    ],
    ids=str,
)
def test_a_sort_has_been_run_where_all_checks_of_its_parts_passed_on_one_card(tmp_path, rows, sorts):
    path = tmp_path / "gpus.md"
    path.write_text("\n".join([ALL, "| --- |" + " --- |" * 7, *rows]) + "\n")
    assert gpu.have_been_run(path) == sorts


def test_kernels_are_taken_by_default_exactly_where_the_table_says_that_they_have_been_run():
    assert RUN_ON_GPUS == gpu.have_been_run(gpu.TABLE)
    parts = {part for parts in gpu.SORTS.values() for part in parts}
    assert parts - {"matrices"} <= gpu.PARTS.keys()

"""The table of what has been run on which GPU, as `benchmarks/gpu.py` writes it."""

import sys
from pathlib import Path

import torch

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

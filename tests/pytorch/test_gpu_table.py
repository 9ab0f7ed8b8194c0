"""What `benchmarks/gpu.py` does without a GPU: its table of what has been run where, and its checks of matrices."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import gpu  # noqa: E402
import gpu_checking  # noqa: E402
import gpu_matrices  # noqa: E402
import gpu_times  # noqa: E402

from minima.torch.batched import BatchedProducts  # noqa: E402


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


@pytest.mark.parametrize("is_wrong", [False, True])
def test_its_checks_of_matrices_see_what_is_wrong(on_grid, monkeypatch, capsys, is_wrong):
    monkeypatch.setattr(gpu_matrices, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_matrices, "SHAPES", [(6, 4), (3, 5), (6, 4), (0, 4)])
    monkeypatch.setattr(gpu_checking, "found", {})
    monkeypatch.setattr(gpu_checking, "passed", {})
    if is_wrong:
        monkeypatch.setattr(BatchedProducts, "__call__", lambda self, number, room, values: None)
    with on_grid():
        for rule, make in gpu_matrices.MULTIPLYING.items():
            gpu_matrices.check_near(rule, make, *gpu_matrices.KINDS[0])
        gpu_matrices.check_same()
    failed = len(gpu_checking.found.get("matrices", ()))
    assert failed + gpu_checking.passed["matrices"] == 2 * 3 + 6
    assert (failed >= 3 + 6) if is_wrong else not failed, capsys.readouterr().out


def test_muon_races_pytorch_s_and_its_own_products(monkeypatch):
    params = [torch.ones(shape) for shape in ((4, 6), (6, 4), (4, 6))]
    for rule in gpu_matrices.TARGETS:
        names = [name for name, *_ in gpu_times.contenders(rule)]
        assert names[1:] == ["minima, engine=None", "minima"] and names[0] == gpu_matrices.TARGETS[rule][0]
    said = gpu_matrices.verdict("Muon", {"PyTorch": 2.0, "minima": 1.0})
    assert said == "the fused engine takes 0.50 of the time of PyTorch, and may take 0.7"
    monkeypatch.setattr(gpu_matrices, "DEVICE", "cpu")
    alone = gpu_matrices.Alone(params)
    x, y, *_ = alone._batches[0]
    before = x.clone()
    alone.step()
    gram = before @ before.mT
    torch.testing.assert_close(y, 3.4445 * before + (-4.775 * gram + 2.0315 * gram @ gram) @ before)
    assert len(alone._batches) == 1 and x.shape == (3, 4, 6)


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="There is no NVIDIA GPU here"):
        gpu.main()

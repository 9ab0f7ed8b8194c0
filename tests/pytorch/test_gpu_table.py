"""`benchmarks/gpu.py`: the table of what has been run on which GPU, and its checks of two GPUs, without any."""

import sys
from pathlib import Path

import gpus
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import gpu  # noqa: E402
import gpu_checking  # noqa: E402
import gpu_several  # noqa: E402


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


SIZES = [(), (3,), (0, 3), (40,), (6, 5), (130,), (7, 3), (2, 3, 2, 2)]


@pytest.fixture
def several(monkeypatch):
    """Two GPUs in the memory of this process; what fails, and how many checks have passed."""
    made = gpus.pretend_gpus(monkeypatch)

    def few(dtype, draw):
        return [gpu_checking.drawn(size, dtype, draw) for size in SIZES]

    scaler = torch.amp.GradScaler
    monkeypatch.setattr(gpu_several, "samples", few)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, **options: scaler("cpu", **options))
    monkeypatch.setattr(gpu_checking, "found", {})
    monkeypatch.setattr(gpu_checking, "passed", {})
    return made


@pytest.mark.parametrize("part, many", [("bits", 6), ("left_out", 2), ("scaler", 2)])
def test_checks_of_two_gpus_pass_in_the_memory_of_this_process(several, part, many):
    with several:
        getattr(gpu_several, f"check_{part}")()
    assert gpu_checking.found == {} and gpu_checking.passed == {"several": many}
    assert min(several.launched) > 0


def test_checks_of_two_gpus_fail_where_one_does_not_hear_of_the_other(several, monkeypatch):
    monkeypatch.setattr("minima.torch.device_counts.brought", lambda x, device: several.put(torch.zeros(()), device))
    with several:
        gpu_several.check_left_out()
        gpu_several.check_scaler()
    assert len(gpu_checking.found["several"]) == 4


def test_the_check_of_shards_passes_on_cpus(several):
    gpu_several.check_shards("gloo", ("cpu", "cpu"))
    assert gpu_checking.found == {} and gpu_checking.passed == {"several": 1}


def test_one_gpu_is_told_that_checks_of_two_are_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gpu, "found", {})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "several", "--table", str(tmp_path / "gpus.md")])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert not ended.value.code and "(several: left out, as there is one GPU)" in capsys.readouterr().out
    assert "of 0" not in (tmp_path / "gpus.md").read_text()

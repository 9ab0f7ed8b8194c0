"""What `benchmarks/gpu.py` does without a GPU: its table, processes, and checks of matrices and of two GPUs."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import gpus
import pytest
import torch

import minima
from minima.torch.counting import RUN_ON_SEVERAL

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import gpu  # noqa: E402
import gpu_checking  # noqa: E402
import gpu_graphs  # noqa: E402
import gpu_matrices  # noqa: E402
import gpu_samples  # noqa: E402
import gpu_several  # noqa: E402
import gpu_table  # noqa: E402
import gpu_times  # noqa: E402
import stub_checks  # noqa: E402

from minima.torch.batched import BatchedProducts  # noqa: E402


def test_a_card_that_is_checked_leaves_the_others_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "gpus.md"
    path.write_text("| GPU | PyTorch | bits | sync |\n| --- | --- | --- | --- |\n| a card | 2.9 | 7 of 7 | 1 of 2 |\n")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "another card")
    monkeypatch.setattr(gpu_table, "found", {"graphs": ["one"], "sync": []})
    monkeypatch.setattr(gpu_table, "passed", {"graphs": 3, "sync": 1})
    for _ in range(2):
        gpu_table.write(path, gpu.PARTS, {"graphs"})
    columns, _, first, second = path.read_text().splitlines()[-4:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (columns, first, second)]
    known, other = (dict(zip(cells[0], row, strict=True)) for row in cells[1:])
    assert known["GPU"] == "a card" and known["bits"] == "7 of 7" and known["sync"] == "1 of 2" and not known["graphs"]
    assert other["GPU"] == "another card" and other["graphs"] == "3 of 4" and other["PyTorch"] == torch.__version__
    assert not other["sync"]  # which has not ended


def test_every_rule_takes_the_parameters_that_it_is_checked_with(monkeypatch):
    for module in (gpu_samples, gpu_graphs):
        monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_samples, "drawn", lambda shape, dtype, draw: torch.zeros(shape, dtype=dtype))
    for rule in gpu_samples.MAKERS:
        for dtype, options in gpu_samples.kinds(rule):
            gpu_samples.pair(rule, dtype, **options)
        gpu_graphs.twins(rule, torch.bfloat16)


@pytest.mark.parametrize("is_wrong", [False, True])
def test_its_checks_of_matrices_see_what_is_wrong(on_grid, monkeypatch, capsys, is_wrong):
    monkeypatch.setattr(gpu_matrices, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_matrices, "SHAPES", [(6, 4), (3, 5), (6, 4), (0, 4)])
    monkeypatch.setattr(gpu_checking, "found", {})
    monkeypatch.setattr(gpu_checking, "passed", {})
    if is_wrong:
        monkeypatch.setattr(BatchedProducts, "__call__", lambda self, number, room, values: None)
    with on_grid():
        for rule in gpu_matrices.MULTIPLYING:
            gpu_matrices.check_kind(rule, *gpu_matrices.KINDS[0])
        gpu_matrices.check_same()
    failed = len(gpu_checking.found.get("matrices", ()))
    assert failed + gpu_checking.passed["matrices"] == 2 * 3 + 6
    assert (failed >= 3 + 6) if is_wrong else not failed, capsys.readouterr().out


def test_everybody_can_start_in_a_race(monkeypatch):
    monkeypatch.setattr(gpu_matrices, "DEVICE", "cpu")
    for rule in [*gpu_times.RULES, *gpu_times.MUONS]:
        names = []
        for name, make, dtype, moved in gpu_times.contenders(rule):
            names.append(name)
            params = [torch.zeros(shape, dtype=dtype, requires_grad=True) for shape in ((4, 6), (6, 4))]
            for param in params:
                param.grad = torch.ones_like(param)
            make(params).step()
            assert name == "its products alone" or all((param != 0).any() for param in params), (rule, name)
            assert 10 <= moved <= 40
        assert gpu_times.OURS in names and len(set(names)) == len(names)
        for target in (x for (_, other), each in gpu_times.TARGETS.items() if other == rule for x in each):
            assert {target.of, target.who} <= {*names, gpu_times.COPY}, rule
    assert {(model, rule) for model, rule in gpu_times.CELLS} >= gpu_times.TARGETS.keys()


def test_a_target_is_met_or_missed():
    race = {
        "a copy": SimpleNamespace(rate=100.0),
        "minima": SimpleNamespace(rate=96.0, host=3.0, gpu=2.0),
        "PyTorch fused": SimpleNamespace(host=10.0),
        gpu_times.EIGHT: SimpleNamespace(gpu=2.5),
    }
    speed, host, eight = (
        gpu_times.Target("a copy", "rate", 0.95),
        gpu_times.Target("PyTorch fused", "host", 0.25),
        gpu_times.Target("minima", "gpu", 1.0, gpu_times.EIGHT),
    )
    assert speed.judged(race) == (True, "0.96 of the speed of a copy, at least 0.95 wanted: minima")
    assert host.judged(race) == (False, "0.30 of the time on the host of PyTorch fused, at most 0.25 wanted: minima")
    assert eight.judged(race) == (False, "1.25 of the time of minima, at most 1.0 wanted: state in 8 bits")


def test_the_products_of_muon_alone_are_those_of_its_iteration(monkeypatch):
    params = [torch.ones(shape) for shape in ((4, 6), (6, 4), (4, 6))]
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


SIZES = [(), (3,), (0, 3), (40,), (6, 5), (130,), (7, 3), (2, 3, 2, 2)]


def told(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--only", "bits,bit"), r"--only: there is no 'bit'; there are 'bits', 'passes', .*'several', 'time'$"),
        (("--rule", "Adamm"), r"--rule: there is no 'Adamm'; there are 'SGD', .*'NovoGrad', .*'Muon'"),
        (("--jobs", "0"), "--jobs must be at least 1; got 0"),
        (("--rounds", "0"), "--rounds must be at least 1; got 0"),
        (("--table", "nowhere/gpus.md"), "--table: there is no folder nowhere"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(monkeypatch, capsys, arguments, said):
    told(monkeypatch, *arguments)
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2 and re.search(said, capsys.readouterr().err.strip())


@pytest.mark.parametrize("jobs", [1, 3])
def test_tasks_beside_each_other_are_all_heard_and_one_whose_process_dies_has_failed(monkeypatch, capsys, jobs):
    for name in ("found", "passed"):
        monkeypatch.setattr(gpu_checking, name, {})
    checks = [(stub_checks.three, "first"), (stub_checks.dying,), (stub_checks.raising,), (stub_checks.three, "last")]
    tasks = [gpu_checking.Task("stubs", *each) for each in checks]
    said = {}
    for task in gpu_checking.beside(tasks, jobs):
        said[task] = capsys.readouterr().out.splitlines()
    first, dying, raising, last = (said[task] for task in tasks)
    assert first == [f"PASS stubs first {number}" for number in range(3)]
    assert dying == ["FAIL stubs stubs: dying  its process has died: exit code 3"]
    assert len(raising) == 1
    assert raising[0].startswith("FAIL stubs stubs: raising  ValueError: before any check (stub_checks.py:")
    assert last == ["PASS stubs last 0", "FAIL stubs last 1  as it should", "PASS stubs last 2"]
    assert gpu_checking.passed == {"stubs": 5}
    assert sorted(gpu_checking.found["stubs"]) == ["last 1", "stubs: dying", "stubs: raising"]


@pytest.fixture
def several(monkeypatch):
    """Two GPUs in the memory of this process; what fails, and how many checks have passed."""
    made = gpus.pretend_gpus(monkeypatch)

    def few(dtype, draw):
        return [gpu_samples.drawn(size, dtype, draw) for size in SIZES]

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
    for module in (gpu, gpu_table):
        monkeypatch.setattr(module, "found", {})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "several", "--table", str(tmp_path / "gpus.md")])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert not ended.value.code and "(several: left out, as there is one GPU)" in capsys.readouterr().out
    assert "of 0" not in (tmp_path / "gpus.md").read_text()


def test_a_row_says_of_which_version_of_minima_it_is(tmp_path, monkeypatch):
    path = tmp_path / "gpus.md"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gpu_table, "passed", {"bits": 3, "graphs": 2})
    for version, parts in (("1 a", ("bits",)), ("1 b", ("bits",)), ("1 b", ("graphs",))):
        monkeypatch.setattr(gpu_table, "version", lambda version=version: version)
        monkeypatch.setattr(gpu_table, "found", {part: [] for part in parts})
        gpu_table.write(path, gpu.PARTS, parts)
    assert [(row["version of minima"], row["bits"], row["graphs"]) for row in gpu_table.rows(path)] == [
        ("1 a", "3 of 3", ""),
        ("1 b", "3 of 3", "2 of 2"),
    ]


def test_a_version_is_known_without_git_too(monkeypatch):
    assert gpu_table.version().startswith(minima.__version__)
    monkeypatch.setenv("PATH", "")
    assert gpu_table.version() == minima.__version__


@pytest.mark.parametrize(
    "rows, parts",
    [
        ([], []),
        (["| a | 2 | 91 of 91 |  | 6 of 6 |"], ["bits", "sync"]),
        (["| a | 2 | 90 of 91 | 0 of 0 |  |", "| b | 2 |  | 5 of 5 | 1 of 9 |"], ["passes"]),
    ],
    ids=str,
)
def test_a_part_has_been_run_where_all_of_its_checks_passed_on_a_card(tmp_path, rows, parts):
    path = tmp_path / "gpus.md"
    path.write_text("\n".join(["| GPU | PyTorch | bits | passes | sync |", "| --- |" + " --- |" * 4, *rows]) + "\n")
    assert sorted(gpu_table.have_been_run(path, gpu.PARTS)) == parts


def test_gpus_do_by_default_what_the_table_says_that_they_have_done():
    run = gpu_table.have_been_run(gpu_table.TABLE, gpu.PARTS)
    assert run >= {*gpu.PARTS} - {"several"} and ("several" in run) is RUN_ON_SEVERAL

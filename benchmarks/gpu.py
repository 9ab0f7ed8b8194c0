"""Checks the fused engine on an NVIDIA GPU, and times it beside PyTorch's own optimizers and a copy of the same bytes.

    python benchmarks/gpu.py                     # everything, some 3 minutes on an H100
    python benchmarks/gpu.py --only bits,sync    # parts of it
    python benchmarks/gpu.py --rule AdamW        # one rule; nothing is written

Prints PASS and FAIL lines and tables, and writes what was run, on which GPU, into results/gpus.md. Exit status 1 if
anything failed. The parts are:

bits      Every rule in every kind of parameters and state, on tensors of many sizes and layouts: three steps on the GPU
          and on the CPU give the same bits, in parameters and in every entry of the state.
passes    The same for rules that look beyond one element, for clipping, averages and measures.
matrices  Muon and a user's rule with products of matrices, by the fused engine, in every kind of parameters: beside the
          CPU, PyTorch's operations and torch.optim.Muon; graphs, streams, checkpoints, steps that are left out, memory.
same      The algorithms of torch.optim give PyTorch's numbers, by the fused engine and by PyTorch's operations.
habits    What users do: schedules, groups, streams, checkpoints that change sides, a default device, measuring.
sync      A step does not wait for the GPU.
graphs    CUDA graphs that record steps, and steps that are counted and left out on the GPU.
several   Steps over two GPUs, in one process and in two that hold shards; left out where there is one.
time      Steps of GPT-2 small, ResNet-50 and 300 small tensors. The GPU is busy while the host enqueues, so that "GPU
          ms" is the GPU's own time; "of copy" is the rate at which the bytes that any implementation has to move were
          moved, divided by that of a copy within the GPU. Muon's matrices race against torch.optim.Muon, and against
          the products of their iteration alone. TARGET lines say which of our aims were met.
"""

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from gpu_checking import (
    DEVICE,
    KINDS,
    PASSES,
    RULES,
    busy_seconds,
    check,
    chosen,
    differences,
    drawn,
    found,
    give,
    pair,
    passed,
    samples,
    speed,
    twin,
    wanted,
)
from gpu_graphs import check_graphs
from gpu_matrices import check_matrices
from gpu_several import check_several
from gpu_times import check_time

import minima
import minima.torch as mt

TABLE = Path(__file__).parent / "results" / "gpus.md"


# Bits ----------------------------------------------------------------------------------------------------------------


def check_bits() -> None:
    for rule, make in chosen(RULES).items():
        for dtype, options in KINDS:
            compare("bits", rule, make, dtype, options)


def check_passes() -> None:
    for rule, make in chosen(PASSES).items():
        for dtype, options in KINDS:
            if rule != "Adafactor" or not (dtype.is_complex or options.get("state_dtype") == "int8"):
                compare("passes", rule, make, dtype, options, only_rows=rule == "Adafactor")


def compare(
    part: str,
    rule: str,
    make: Callable[..., Any],
    dtype: torch.dtype,
    options: dict[str, Any],
    only_rows: bool = False,
) -> None:
    words = " ".join(f"{name}={value}" for name, value in options.items())
    with check(part, f"{rule} {str(dtype)[6:]} {words}".strip()) as faults:
        for wild in (False, True):
            draw, cpu, gpu, ours, theirs = pair(make, dtype, only_rows, **options)
            for step in range(3):
                give(draw, cpu, gpu, 10.0**-step, wild)
                ours.step(measure=step == 2), theirs.step(measure=step == 2)
            faults += differences(cpu, gpu, ours, theirs)
            if repr(ours.measures.total) != repr(theirs.measures.total):
                faults.append(f"measured {theirs.measures.total}, and not {ours.measures.total}")
            if not theirs.engines[str(gpu[0].device)].startswith("fused"):
                faults.append(str(theirs.engines))


# PyTorch's numbers ---------------------------------------------------------------------------------------------------

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.3}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-2, "centered": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3}),
]
CLOSE = {torch.float64: (1e-11, 1e-12), torch.float32: (2e-5, 2e-6), torch.bfloat16: (0.06, 0.06)}
"""Relative and absolute tolerance; in bfloat16, with its state so too, of what PyTorch computes in float32."""


def check_same() -> None:
    for name, options in (each for each in SETTINGS if chosen({each[0]: None})):
        for dtype in CLOSE:
            for engine in ("fused", "torch"):
                words = " ".join(f"{key}={value}" for key, value in options.items())
                with check("same", f"{name} {str(dtype)[6:]} engine={engine} {words}"):
                    draw = torch.Generator().manual_seed(0)
                    mine = [drawn(shape, dtype, draw).to(DEVICE).requires_grad_() for shape in ((33, 14), (5,), ())]
                    wide = dtype if dtype != torch.bfloat16 else torch.float32
                    other = [x.detach().to(wide).requires_grad_() for x in mine]
                    ours = getattr(mt, name)(mine, engine=engine, **options)
                    theirs = getattr(torch.optim, name)(other, **options)
                    for _ in range(7):
                        for x, y in zip(mine, other, strict=True):
                            x.grad = drawn(x.shape, dtype, draw).to(DEVICE)
                            y.grad = x.grad.to(wide)
                        ours.step(), theirs.step()
                    relative, absolute = CLOSE[dtype]
                    for x, y in zip(mine, other, strict=True):
                        torch.testing.assert_close(x.detach().to(wide), y.detach(), rtol=relative, atol=absolute)


# Habits --------------------------------------------------------------------------------------------------------------


def check_habits() -> None:
    with check("habits", "a learning rate that changes") as faults:
        draw, cpu, gpu, ours, theirs = pair(RULES["AdamW"], torch.float32)
        for step in range(5):
            for optimizer in (ours, theirs):
                optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1)
            give(draw, cpu, gpu)
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)
    with check("habits", "groups, and parameters without gradients") as faults:
        draw = torch.Generator().manual_seed(1)
        given = list(samples(torch.float32, draw))
        cpu, gpu = ([twin(x, device) for x in given] for device in ("cpu", DEVICE))
        ours, theirs = (
            mt.Adam([{"params": ps[::2]}, {"params": ps[1::2], "lr": 0.1, "weight_decay": 0.5}]) for ps in (cpu, gpu)
        )
        for step in range(4):
            give(draw, cpu, gpu)
            for x, y in zip(cpu[step::5], gpu[step::5], strict=True):
                x.grad = y.grad = None
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)
    with check("habits", "steps on two streams by turns") as faults:
        draw, cpu, gpu, ours, theirs = pair(RULES["AdamW"], torch.float32)
        side = torch.cuda.Stream()
        for step in range(6):
            give(draw, cpu, gpu)
            ours.step()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side if step % 2 else torch.cuda.current_stream()):
                torch.cuda._sleep(20_000_000)
                theirs.step()
            torch.cuda.current_stream().wait_stream(side)
        faults += differences(cpu, gpu, ours, theirs)
    for dtype, options in ((torch.bfloat16, {}), (torch.float32, {"state_dtype": "int8"})):
        with check("habits", f"state of the CPU goes on on the GPU, and back: {str(dtype)[6:]}") as faults:
            draw, cpu, gpu, ours, theirs = pair(RULES["AdamW"], dtype, **options)
            for turn in range(2):
                for _ in range(2):
                    give(draw, cpu, gpu)
                    ours.step(), theirs.step()
                mine, its = deepcopy(ours.state_dict()), deepcopy(theirs.state_dict())
                (ours.load_state_dict(its), theirs.load_state_dict(mine)) if turn == 0 else None
            faults += differences(cpu, gpu, ours, theirs)
    with check("habits", "a hundred steps that wait in line, and an optimizer that is deleted meanwhile") as faults:
        params = [torch.zeros(50_000, device=DEVICE, requires_grad=True) for _ in range(20)]
        optimizer = mt.SGD(params, lr=1.0)
        torch.cuda._sleep(200_000_000)
        for step in range(100):
            optimizer.param_groups[0]["lr"] = float(step % 7)
            for param in params:
                param.grad = torch.full_like(param, -1.0)
            optimizer.step()
        del optimizer
        gc.collect()
        filled = [torch.full((100_000,), 7.0, device=DEVICE) for _ in range(50)]  # what was free is used again
        expected = sum(step % 7 for step in range(100))
        if not all(bool((param == expected).all()) for param in params) or len(filled) != 50:
            faults.append("other numbers")
    check_checkpoints()
    with check("habits", "after torch.set_default_device") as faults:
        for engine in (None, "torch", "fused"):
            for name in ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Lion", "LAMB", "Prodigy"):
                for dtype in (torch.float32, torch.bfloat16):
                    param = torch.ones(300, dtype=dtype, device=DEVICE, requires_grad=True)
                    far = torch.ones(300, dtype=dtype, requires_grad=True)
                    try:
                        torch.set_default_device(DEVICE)
                        params = [param] if engine == "fused" else [param, far]  # so that the GPU counts too
                        optimizer = getattr(mt, name)(params, lr=0.1, engine=engine)
                        param.grad, far.grad = torch.ones_like(param), torch.ones_like(far)
                        optimizer.step()
                        optimizer.load_state_dict(optimizer.state_dict())
                        optimizer.on_nonfinite = "skip"
                        optimizer.step(measure=True)
                    finally:
                        torch.set_default_device(None)
                    if any(bool((x == 1).any()) for x in params):
                        faults.append(f"{name} stood still")
    with check("habits", "measures, and gradients that are not finite") as faults:
        draw, cpu, gpu, ours, theirs = pair(RULES["Adam"], torch.float32)
        ours.engine = theirs.engine = None
        ours.on_nonfinite = theirs.on_nonfinite = "skip"
        for scale in (1.0, float("inf"), 1.0):
            give(draw, cpu, gpu, scale)
            ours.step(measure=True), theirs.step(measure=True)
        total, other = ours.measures.total, theirs.measures.total
        if ours.skipped != 1 or theirs.skipped != 1 or abs(total.update / other.update - 1) > 1e-5:
            faults.append(f"{theirs.skipped} skipped, {total} and {other}")
    with check("habits", "a learning rate that is a tensor on the GPU goes to PyTorch's operations") as faults:
        param = torch.ones(5, device=DEVICE, requires_grad=True)
        optimizer = mt.SGD([param], lr=0.5)
        for lr, engine in ((0.5, "fused"), (torch.tensor(0.25, device=DEVICE), "torch"), (0.25, "fused")):
            optimizer.param_groups[0]["lr"] = lr
            param.grad = torch.ones_like(param)
            optimizer.step()
            if not optimizer.engines[str(param.device)].startswith(engine):
                faults.append(str(optimizer.engines))
        if param.tolist() != [0.0] * 5:
            faults.append(str(param))
    with check("habits", "GradScaler") as faults:
        param = torch.ones(5, device=DEVICE, requires_grad=True)
        optimizer, scaler = mt.SGD([param], lr=0.5), torch.amp.GradScaler(DEVICE, init_scale=8.0)
        for scale in (1.0, float("inf")):
            scaler.scale((param * scale).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        if param.tolist() != [0.5] * 5 or scaler.get_scale() != 4.0:
            faults.append(f"{param}, scale {scaler.get_scale()}")
    with check("habits", "a profiler sees the name of the rule") as faults:
        param = torch.ones(5000, device=DEVICE, requires_grad=True)
        optimizer, param.grad = mt.AdamW([param]), torch.ones_like(param)
        optimizer.step()
        with torch.profiler.profile() as profile:
            optimizer.step()
            torch.cuda.synchronize()
        names = [event.key for event in profile.key_averages()]
        if "minima_AdamW" not in names:
            faults.append(str(names))
    with check("habits", "a step is not captured into a graph") as faults:
        for engine in (None, "torch"):
            param = torch.ones(5, device=DEVICE, requires_grad=True)
            optimizer, param.grad = mt.SGD([param], lr=0.5, engine=engine), torch.ones_like(param)
            optimizer.step()
            said = ""
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    param.grad.mul_(1.0)
                    optimizer.step()
            except RuntimeError as error:
                said = str(error)
            if "cannot be captured" not in said or param.tolist() != [0.5] * 5:
                faults.append(said or "captured")


def check_checkpoints() -> None:
    for name, options in (("Adam", {"amsgrad": True}), ("AdamW", {}), ("SGD", {"momentum": 0.9}), ("Adagrad", {})):
        with check("habits", f"a checkpoint of PyTorch's fused {name} goes on, and back"):
            draw = torch.Generator().manual_seed(2)
            mine = [drawn(shape, torch.float32, draw).to(DEVICE).requires_grad_() for shape in ((30, 7), (5,))]
            other = [x.detach().clone().requires_grad_() for x in mine]
            ours = getattr(mt, name)(mine, lr=0.1, **options)
            theirs = getattr(torch.optim, name)(other, lr=0.1, fused=name != "Adagrad", **options)
            for turn in range(3):
                for x, y in zip(mine, other, strict=True):
                    x.grad = drawn(x.shape, x.dtype, draw).to(DEVICE)
                    y.grad = x.grad.clone()
                if turn == 1:
                    ours.load_state_dict(theirs.state_dict())
                    for x, y in zip(mine, other, strict=True):
                        x.data.copy_(y)
                if turn == 2:
                    theirs.load_state_dict(deepcopy(ours.state_dict()))  # which would share its tensors
                if turn:
                    ours.step()
                theirs.step()
            for x, y in zip(mine, other, strict=True):
                torch.testing.assert_close(x, y, rtol=2e-5, atol=2e-6)


def check_sync() -> None:
    for rule, make in chosen({**RULES, **PASSES}).items():
        with check("sync", f"{rule}: five steps do not wait for the GPU") as faults:
            params = [torch.randn(100, 100, device=DEVICE, requires_grad=True) for _ in range(30)]
            optimizer = make(params, engine="fused")
            for param in params:
                param.grad = torch.randn_like(param)
            optimizer.step()

            def step(number: int, optimizer: Any = optimizer, params: Sequence[Any] = params) -> None:
                optimizer.param_groups[0]["lr"] = 1e-3 * (number + 1)
                for param in params:
                    param.grad = param.grad.clone()
                optimizer.step()

            taken = busy_seconds(step)
            print(f"     {taken * 1e3:.2f} ms on the host")
            if taken > 0.1:
                faults.append(f"{taken * 1e3:.2f} ms on the host")


# What has been run where ---------------------------------------------------------------------------------------------

HEAD = """# What has been run on which GPU

Written by `benchmarks/gpu.py`: how many checks of each part passed, and AdamW on GPT-2 small. A row without a
version of minima is older than that column."""
PARTS: dict[str, Callable[[], None]] = {
    "bits": check_bits,
    "passes": check_passes,
    "matrices": check_matrices,
    "same": check_same,
    "habits": check_habits,
    "sync": check_sync,
    "graphs": check_graphs,
    "several": check_several,
}


SORTS = {
    "elements": ("bits", "same", "habits", "sync"),
    "passes": ("passes",),
    "matrices": ("matrices",),
    "counts": ("graphs",),
}
"""The parts that a sort of programs, or of steps, must pass before it is in `minima.torch.choice.RUN_ON_GPUS`."""
KEY = "GPU", "PyTorch", "version of minima"
"""The columns that say whose a row is; where the version is empty, nobody knows it."""


def version() -> str:
    """The version of minima, with the commit where git knows it; a plus says that something was changed since."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    return f"{minima.__version__} {said}".strip()


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table, by their columns."""
    found: list[dict[str, str]] = []
    columns: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "GPU":
            columns = cells
        elif len(cells) == len(columns) and not set(cells[0]) <= {"-"}:
            found.append(dict(zip(columns, cells, strict=True)))
    return found


def have_been_run(path: Path) -> set[str]:
    """The sorts of which some row of the table says that all checks have passed."""

    def has_passed(row: dict[str, str], part: str) -> bool:
        good, _, many = row.get(part, "").partition(" of ")
        return good == many and good not in ("", "0")

    return {sort for sort, parts in SORTS.items() if any(all(has_passed(row, x) for x in parts) for row in rows(path))}


def write(path: Path) -> None:
    """Put the row of this GPU and this version of minima into the table.

    Where a part was not run now, what stands there stays. What is known of another version stays in a row of its own.
    """
    key = dict(zip(KEY, (torch.cuda.get_device_name(), torch.__version__, version()), strict=True))
    before, mine = list[dict[str, str]](), dict[str, str]()
    for row in rows(path):
        if all(row.get(column, "") == key[column] for column in KEY):
            mine = row
        else:
            before.append(row)
    now = {
        part: f"{passed.get(part, 0)} of {passed.get(part, 0) + len(found[part])}" for part in PARTS if part in found
    }
    columns = [*KEY, *PARTS, "minima", "PyTorch fused", "targets"]
    written = sorted([row.get(column, "") for column in columns] for row in (*before, {**mine, **key, **now, **speed}))
    lines = [
        HEAD,
        "",
        *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *written)),
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="bits,passes,matrices,same,habits,sync,graphs,several,time", help="the parts to run"
    )
    parser.add_argument("--rule", action="append", help="this rule alone, and nothing is written; by default all")
    parser.add_argument("--rounds", type=int, default=15, help="of every contender, for the times")
    parser.add_argument("--table", type=Path, default=TABLE, help="where to write what has been run")
    told = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.hip:
        raise SystemExit("There is no NVIDIA GPU here.")
    wanted.update(told.rule or ())
    begun = time.time()
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__, flush=True)
    for part in told.only.split(","):
        if part == "several" and torch.cuda.device_count() < 2:
            print("     (several: left out, as there is one GPU)", flush=True)
            continue
        found.setdefault(part, [])
        check_time(told.rounds) if part == "time" else PARTS[part]()
        print(f"     ({part}: after {time.time() - begun:.0f} s)", flush=True)
    if not wanted:
        write(told.table)
    failed = [f"{part} {what}" for part, each in found.items() for what in each]
    print(f"\n{len(failed)} failed, {sum(passed.values())} passed, {time.time() - begun:.0f} s")
    print("\n".join(f"FAIL {what}" for what in failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

"""Checks the fused engine on an NVIDIA GPU, and times it beside PyTorch's own optimizers and a copy of the same bytes.

    python benchmarks/gpu.py                     # everything, some 3 minutes on an H200 and 16 cores
    python benchmarks/gpu.py --only bits,sync    # parts of it
    python benchmarks/gpu.py --rule AdamW        # one rule; nothing is written

Prints PASS and FAIL lines and tables, and writes what was run, on which GPU, into results/gpus.md. Exit status 1 if
anything failed. Checks run in several processes beside each other, and those that measure time alone after them. The
parts are:

bits      Every rule in every kind of parameters and state, on tensors of many sizes and layouts: three steps on the GPU
          and on the CPU give the same bits, in parameters and in every entry of the state.
passes    The same for rules that look beyond one element, for clipping, averages and measures.
same      The algorithms of torch.optim give PyTorch's numbers, by the fused engine and by PyTorch's operations.
matrices  Muon and a user's rule with products of matrices, by the fused engine, in every kind of parameters: beside the
          CPU, PyTorch's operations and torch.optim.Muon; graphs, streams, checkpoints, steps that are left out, memory.
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
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import gpu_bits
import gpu_graphs
import gpu_habits
import gpu_matrices
import gpu_several
import torch
from gpu_checking import Task, beside, found, passed
from gpu_table import TABLE, write
from gpu_times import CELLS, check_time

TASKS = [
    *gpu_bits.TASKS,
    *gpu_matrices.TASKS,
    *gpu_habits.TASKS,
    *gpu_graphs.TASKS,
    *gpu_several.TASKS,
]
SLOW = ["passes", "matrices", "bits"]
"""The parts whose tasks take long, and begin first."""
PARTS = list(dict.fromkeys(task.part for task in TASKS))
RULES = list(dict.fromkeys([task.rule for task in TASKS if task.rule] + [rule for _, rule in CELLS]))


def among(known: Collection[str]) -> Callable[[str], str]:
    """What reads an argument that is one of some names."""

    def read(name: str) -> str:
        if name not in known:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(map(repr, known))}")
        return name

    return read


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    part, cores = among([*PARTS, "time"]), os.cpu_count() or 1
    parser.add_argument(
        "--only", type=lambda names: [part(name) for name in names.split(",")], default=[*PARTS, "time"],
        metavar="PARTS", help="the parts to run",
    )  # fmt: skip
    parser.add_argument(
        "--rule", action="append", type=among(RULES), help="this rule alone, and nothing is written; by default all"
    )
    parser.add_argument(
        "--jobs", type=int, default=max(1, min(cores // 2, 12)), help="how many processes check (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=11, help="of every contender, for the times")
    parser.add_argument("--table", type=Path, default=TABLE, help="where to write what has been run")
    told = parser.parse_args()
    for name in ("jobs", "rounds"):
        if getattr(told, name) < 1:
            parser.error(f"--{name} must be at least 1; got {getattr(told, name)}")
    if not told.table.parent.is_dir():  # found out now, and not when minutes of checks are to be written down
        parser.error(f"--table: there is no folder {told.table.parent}")
    return told


def main() -> None:
    told = arguments()
    if not torch.cuda.is_available() or torch.version.hip:
        raise SystemExit("There is no NVIDIA GPU here.")
    begun = time.time()
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__, flush=True)
    parts = list(told.only)
    if "several" in parts and torch.cuda.device_count() < 2:
        print("     (several: left out, as there is one GPU)", flush=True)
        parts.remove("several")
    found.update({part: [] for part in parts})
    tasks = [task for task in TASKS if task.part in parts and (not told.rule or task.rule in ("", *told.rule))]
    cells = [cell for cell in CELLS if "time" in parts and (not told.rule or cell[1] in told.rule)]
    if parts and not (tasks or cells):
        raise SystemExit(f"There are no checks of {' or '.join(told.rule)} in {' or '.join(parts)}.")

    def say_end(what: object) -> None:
        print(f"     ({what}: after {time.time() - begun:.0f} s)", flush=True)

    def write_table(left: Sequence[Task] = ()) -> None:
        if not told.rule:
            write(told.table, PARTS, {task.part for task in tasks} - {task.part for task in left})

    alone = [task for task in tasks if task.alone]
    shared = [task for task in tasks if not task.alone]
    for task in beside(sorted(shared, key=lambda task: [*SLOW, task.part].index(task.part)), told.jobs):
        say_end(task)
    write_table(alone)  # so that a run that is stopped leaves what it has found
    for task in alone:
        task.run()
        say_end(task)
    write_table()
    if cells:
        check_time(cells, told.rounds)
        say_end("time")
        write_table()
    failed = [f"{part} {what}" for part, each in found.items() for what in each]
    print(f"\n{len(failed)} failed, {sum(passed.values())} passed, {time.time() - begun:.0f} s")
    print("\n".join(f"FAIL {what}" for what in failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

"""Checks: how they are said and counted, and tasks of several that run in processes beside each other."""

import contextlib
import faulthandler
import io
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import torch

found: dict[str, list[str]] = {}
"""For every part the checks that failed; the parts that were run are its keys."""
passed: dict[str, int] = {}


def say(part: str, ok: bool, what: str, more: str = "") -> None:
    passed[part] = passed.get(part, 0) + ok
    if not ok:
        found.setdefault(part, []).append(what)
    print(f"{'PASS' if ok else 'FAIL'} {part} {what}{'  ' + more if more else ''}", flush=True)


@contextlib.contextmanager
def check(part: str, what: str) -> Iterator[list[str]]:
    """A check that passes if nothing is raised, and no fault noted in the list that it gives."""
    faults: list[str] = []
    try:
        yield faults
    except Exception as error:
        faults.append(described(error))
    say(part, not faults, what, "; ".join(faults[:3]))


def described(error: Exception) -> str:
    """What was raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:300]} ({last.filename.rpartition('/')[2]}:{last.lineno})"


class Task(NamedTuple):
    """Some checks of a part, which run one after the other."""

    part: str
    check: Callable[..., None]
    """A function of a module, so that another process finds it; it takes the rule, if there is one."""
    rule: str = ""
    alone: bool = False
    """Whether it measures time, or takes what another process may hold."""

    def __str__(self) -> str:
        return f"{self.part}: {self.check.__name__} {self.rule}".rstrip()

    def run(self) -> None:
        """Run the checks; what is raised outside of them is a failure too."""
        try:
            self.check(*filter(None, [self.rule]))
        except Exception as error:
            say(self.part, False, str(self), described(error))


def beside(tasks: Sequence[Task], jobs: int) -> Iterator[Task]:
    """Run tasks in so many processes; gives each when it has ended, and what it said was printed and counted."""
    spawn, waiting = get_context("spawn"), list(reversed(tasks))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    busy: dict[Connection, tuple[Any, Task]] = {}
    idle: list[Any] = []

    def hand_out(line: Connection, worker: Any) -> None:
        busy[line] = worker, waiting.pop()
        with contextlib.suppress(OSError):  # where the process has died, which is seen below
            line.send(busy[line][1])

    while waiting or busy:
        while waiting and len(busy) < jobs:
            line, far = spawn.Pipe()
            worker = spawn.Process(target=_serve, args=(far, threads), daemon=True)
            worker.start()
            far.close()  # so that the line breaks if the process dies
            hand_out(line, worker)
        for line in wait(list(busy)):
            assert isinstance(line, Connection)
            worker, task = busy.pop(line)
            try:
                text, good, bad = line.recv()
            except (EOFError, OSError):
                worker.join()
                say(task.part, False, str(task), f"its process has died: exit code {worker.exitcode}")
            else:
                print(text, end="", flush=True)
                passed.update({part: passed.get(part, 0) + many for part, many in good.items()})
                for part, what in bad.items():
                    found.setdefault(part, []).extend(what)
                if waiting and not bad:  # some faults of a GPU stay with the process
                    hand_out(line, worker)
                else:
                    line.close()
                    idle.append(worker)
            yield task
    for worker in idle:
        worker.join()


def _serve(line: Connection, threads: int) -> None:
    """Run the tasks that come, on so many threads, until the line is closed."""
    faulthandler.enable()
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError):
        while True:
            task: Task = line.recv()
            passed.clear(), found.clear()
            with contextlib.redirect_stdout(io.StringIO()) as said:
                task.run()
            line.send((said.getvalue(), passed, found))

"""A program that runs a training in processes that it kills, one after the other, and tells how that went.

Arguments: the example, its folder, its epochs, its steps between checkpoints, how many to kill. Everything heavy is
imported once; a training is a fork of this process, which is cheap to start, and no less dead when it is killed.
"""

import importlib.util
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import minima as mi


def slow(fsync):
    """Forcing to a disk that takes its time, so that there is some to be killed in."""

    def slowed(descriptor):
        time.sleep(0.01)
        fsync(descriptor)

    return slowed


class Killer:
    def __init__(self, train, folder):
        self.train, self.folder = train, folder
        self.kills = {"starting": 0, "training": 0, "saving": 0}
        self.orphans = 0
        self._random = random.Random(0)

    def run(self, many):
        while sum(self.kills.values()) < many:
            kind = self._random.choice(["starting", "training", "training", "saving"])
            steps = self._lines() + self._random.randint(1, 14)
            if not (child := os.fork()):
                self._live(kind)
            if kind == "training":
                self._wait(child, lambda steps=steps: self._lines() >= steps)
            elif kind == "saving":
                self._wait(child, self._temporary)
            time.sleep(self._random.uniform(0, {"starting": 0.1, "training": 0.003, "saving": 0.025}[kind]))
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            self.kills[kind] += 1
            self.orphans += bool(self._temporary())
            for path in self.folder.glob("step-*"):
                mi.load(path)

    def _live(self, kind):
        try:
            if kind == "saving":
                os.fsync = slow(os.fsync)
            self.train()
        finally:
            os._exit(1)

    def _wait(self, child, happened):
        """Until it happened; the training must not be over before."""
        end = time.monotonic() + 60
        while not happened():
            assert os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end
            time.sleep(0.0005)

    def _lines(self):
        """How many lines of metrics there are; some of them may come again."""
        path = self.folder / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _temporary(self):
        return list(self.folder.glob(".*.tmp"))


def main(example, folder, epochs, every, many):
    spec = importlib.util.spec_from_file_location("example", example)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    killer = Killer(lambda: module.train(Path(folder), int(epochs), int(every), resume=True, seed=0), Path(folder))
    killer.run(int(many))
    print(json.dumps({"kills": killer.kills, "orphans": killer.orphans}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A training that is killed again and again ends with the files of one that was never stopped, byte for byte."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"
KILLING = Path(__file__).with_name("killing.py")
EPOCHS, EVERY, KILLS = "8", "5", "56"

for needed in ("rich", "sklearn"):  # by the example
    pytest.importorskip(needed)
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


# The matrices are small: threads of BLAS would only wait for each other, long where others use the machine too.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def started(script, *arguments):
    command = [sys.executable, "-W", "error", script, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | ALONE
    )


def finished(script, *arguments):
    process = started(script, *arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_training_killed_fifty_times_ends_with_the_files_of_one_that_was_never_stopped(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    setting = ("--epochs", EPOCHS, "--every", EVERY)
    finished(EXAMPLE, "--folder", whole, *setting)

    process = started(EXAMPLE, "--folder", killed, *setting)  # once as people run it
    metrics = killed / "metrics.jsonl"
    while not metrics.exists() or metrics.stat().st_size < 500:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    told = json.loads(finished(KILLING, EXAMPLE, killed, EPOCHS, EVERY, KILLS))
    assert sum(told["kills"].values()) == int(KILLS) and min(told["kills"].values()) >= 5
    assert told["orphans"] >= 3  # killed in the middle of a save
    finished(EXAMPLE, "--folder", killed, "--resume", *setting)

    steps = int(EPOCHS) * 45
    expected = files(whole)
    assert [name for name in sorted(expected) if name.startswith("step-")] == [
        f"step-{step:08d}.safetensors" for step in (steps - 10, steps - 5, steps)
    ]
    assert expected["metrics.jsonl"].count(b"\n") == steps + int(EPOCHS)
    assert files(killed) == expected

    finished(EXAMPLE, "--folder", killed, "--resume", *setting)  # there is nothing left to do
    assert files(killed) == expected

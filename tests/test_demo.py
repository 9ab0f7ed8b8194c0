"""The command line and its main job, as a person runs them: in a pipe, in a terminal, with mistakes, interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

HINT = "; minima demo --help lists what it takes"
COMMAND = [sys.executable, "-W", "error", "-m", "minima"]


def minima(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, **options)


def rows(output):
    """Of each optimizer what the table says of it, but for the times."""
    lines = [line.split() for line in output.splitlines()]
    return {line[0]: line[1:5] for line in lines if line and line[0] in ("SGD", "AdaGrad", "RMSProp", "Adam")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The demo as it is run by default, and where."""
    folder = tmp_path_factory.mktemp("demo")
    return minima("demo", cwd=folder), folder


def test_every_optimizer_reaches_95_percent_with_the_demo_s_own_learning_rates(whole):
    done, _ = whole
    assert done.returncode == 0 and done.stderr == ""
    table = rows(done.stdout)
    assert list(table) == ["SGD", "AdaGrad", "RMSProp", "Adam"]
    assert all(float(accuracy.rstrip("%")) >= 95 for *_, accuracy in table.values())


def test_a_pipe_gets_the_table_without_bars_and_colours(whole):
    done, _ = whole
    assert "\x1b" not in done.stdout and "━" not in done.stdout
    assert "steps/s" in done.stdout and "Curves drawn in demo.png" in done.stdout


def test_the_picture_is_a_picture(whole):
    _, folder = whole
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG") and (folder / "demo.png").stat().st_size > 20_000


def test_one_seed_gives_the_same_numbers_and_another_seed_others(tmp_path):
    options = ("demo", "--epochs", "2", "--optimizer", "adam", "--optimizer", "sgd", "--batch-size", "64")
    one, same, other = (rows(minima(*options, "--seed", seed, cwd=tmp_path).stdout) for seed in ("3", "3", "4"))
    assert one == same != other
    assert list(one) == ["Adam", "SGD"]


def test_what_a_first_step_loads_and_compiles_is_not_in_the_time(monkeypatch):
    from minima.demo import training
    from minima.demo.data import load
    from minima.optim import SGD

    seen = []
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: seen.append("clock") or 0.0))
    monkeypatch.setattr(SGD, "step", lambda self: seen.append("step"))
    split = load(0)
    history = training.train("sgd", 0.05, split, epochs=1, batch_size=256, seed=0, report=lambda name, history: None)
    assert history.steps == 2 and seen == ["step", "clock", "step", "step", "clock"]


def test_a_learning_rate_can_be_given(tmp_path):
    options = ("demo", "--epochs", "1", "--optimizer", "rmsprop", "--lr", "rmsprop=0.01", "--output", "curves.svg")
    done = minima(*options, cwd=tmp_path)
    assert rows(done.stdout)["RMSProp"][0] == "0.01" and (tmp_path / "curves.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lr", "adam=-1"], "minima demo: lr must lie in [0, inf); got -1.0"),
        (["--lr", "adamw=1"], "minima demo: --lr takes one of sgd, adagrad, rmsprop, adam; got 'adamw'"),
        (
            ["--lr", "fast"],
            "minima demo: --lr must be NAME=RATE, as in adam=1e-3; got 'fast'" + HINT,
        ),
        (
            ["--epochs", "0"],
            "minima demo: --epochs must be a whole number, at least 1; got '0'" + HINT,
        ),
        (
            ["--seed", "-1"],
            "minima demo: --seed must be a whole number in [0, 2**32); got '-1'" + HINT,
        ),
        (["--output", "curves.txt"], "minima demo: --output must end in .png, .svg or .pdf; got 'curves.txt'"),
        (["--output", "nowhere/x.png"], "minima demo: cannot write --output nowhere/x.png: No such file or directory"),
    ],
)
def test_a_mistake_gets_one_sentence_before_anything_is_trained(arguments, words, tmp_path):
    done = minima("demo", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == words + "\n" and "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = " ".join([*COMMAND, "demo", "--epochs", "1", "|", "head", "-n", "1"])
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


def in_terminal(*arguments, interrupt_after=None, cwd):
    """What a terminal of 100 columns gets to see, and the exit status."""
    pty = pytest.importorskip("pty")
    terminal, inside = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    streams = {"stdin": inside, "stdout": inside, "stderr": inside}
    process = subprocess.Popen([*COMMAND, *arguments], cwd=cwd, env=environment, start_new_session=True, **streams)
    os.close(inside)
    seen, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if interrupt_after and interrupt_after.encode() in seen:
            process.send_signal(signal.SIGINT)
            interrupt_after = None
    status = process.wait(timeout=30)
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()), status


def test_a_terminal_shows_progress_and_then_the_table(tmp_path):
    seen, status = in_terminal("demo", "--epochs", "3", cwd=tmp_path)
    assert status == 0 and "Traceback" not in seen
    assert "━" in seen and "3/3" in seen and "accuracy" in seen and "Curves drawn" in seen


def test_an_interrupt_shows_what_was_finished_and_nothing_ugly(tmp_path):
    seen, status = in_terminal(
        "demo", "--epochs", "300", "--optimizer", "sgd", interrupt_after="accuracy", cwd=tmp_path
    )
    assert status == 130 and "Traceback" not in seen
    assert "minima demo: stopped" in seen


def test_the_version_is_told():
    assert re.fullmatch(r"minima \d+\.\d+\.\d+\n", minima("--version").stdout)

"""The command line, each command in a fresh interpreter: what it prints, how it ends, and how it takes mistakes."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from minima import __version__, optim
from minima.bench import measuring, peers
from minima.cli import main
from minima.cli.parser import build
from minima.optim.catalog import FAMILIES, LOOPS, families
from minima.optim.rules import RULES

ROOT = Path(__file__).parents[1]
# What the console script does that an installation writes for the entry point of pyproject.toml.
SCRIPT = "import sys; from minima.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-W", "error", "-c", SCRIPT]
SMALL = ["bench", "--workload", "small", "--peer", "numpy"]


def run(*words, **options):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=200, **options)


def test_the_console_script_is_what_is_tested_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"minima": "minima.cli:main"}


# Help and versions ---------------------------------------------------------------------------------------------------


def test_the_name_alone_prints_the_help():
    alone, asked = run(), run("--help")
    assert alone.returncode == asked.returncode == 0 and alone.stderr == ""
    assert alone.stdout == asked.stdout and alone.stdout.startswith("usage: minima ")
    assert all(re.search(rf"^    {name} ", alone.stdout, re.MULTILINE) for name in ("list", "explain", "bench", "demo"))


@pytest.mark.parametrize("command", build()[1])
def test_every_command_has_help_with_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: minima {command} ")
    assert f"Example: minima {command}" in done.stdout


def test_the_version_is_that_of_the_package():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"minima {__version__}\n")


# list ----------------------------------------------------------------------------------------------------------------


def test_each_optimizer_is_listed_once_with_the_first_sentence_of_its_docstring():
    done = run("list")
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    for name in (*RULES, *LOOPS):
        said = " ".join(inspect.getdoc(getattr(optim, name)).split(". ")[0].split()).replace("``", "")
        (found,) = [line for line in lines if re.match(rf"{name}\s", line)]
        assert found.removeprefix(name).strip().startswith(said.partition(".")[0])
    assert [line for line in lines if line in {family.upper() for family in FAMILIES.values()}] == [
        family.upper() for family in FAMILIES.values()
    ]


def test_families_hold_every_optimizer_once_in_the_order_of_the_table():
    found = families()
    assert list(found) == list(FAMILIES.values())
    assert [name for names in found.values() for name in names] == [*RULES, *LOOPS]
    assert found["Matrices"] == ["Muon", "Shampoo", "SOAP"]
    assert found["The norm of each tensor"] == ["LARS", "LAMB", "NovoGrad", "StableAdamW", "MARS"]


def test_the_list_for_programs_has_the_defaults_of_the_constructors():
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert list(rows) == [*RULES, *LOOPS]
    for name, row in rows.items():
        declared = inspect.signature(getattr(optim, name)).parameters
        for each, default in row["hyperparameters"].items():
            assert declared[each].default == default or declared[each].default is inspect.Parameter.empty, name
    assert rows["RMSProp"]["hyperparameters"].items() >= {"lr": 0.001, "wd": 0.0, "eps": 1e-7, "rho": 0.9}.items()
    assert rows["SAM"]["hyperparameters"]["rho"] == 0.05 and rows["LBFGS"]["family"] == "Loops around steps"


# bench ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A short run, and the folder that it wrote into."""
    folder = tmp_path_factory.mktemp("bench")
    words = ["--algorithm", "Adam", "--algorithm", "sgd", "--json", "numbers.json"]
    return run(*SMALL, *words, cwd=folder), folder


def test_the_table_says_times_and_ratios_of_all_that_takes_part(measured):
    done, folder = measured
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    seconds = {(row["algorithm"], row["peer"]): row["seconds"] for row in numbers["measured"]}
    assert list(seconds) == [(x, y) for x in ("Adam", "SGD") for y in ("minima", "NumPy, as in textbooks")]
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("NumPy, as in textbooks")]
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    told = re.findall(r"([\d.]+) (µs|ms|s) +([\d.]+)x", line)
    for algorithm, (time, unit, ratio) in zip(("Adam", "SGD"), told, strict=True):
        theirs, ours = seconds[algorithm, "NumPy, as in textbooks"], seconds[algorithm, "minima"]
        assert float(time) * units[unit] == pytest.approx(theirs, rel=0.01)
        assert float(ratio) == pytest.approx(theirs / ours, rel=0.02, abs=0.01)
    assert "30-24-24-24-2: 8 TENSORS, 1,994 PARAMETERS" in done.stdout


def test_the_machine_is_named(measured):
    done, folder = measured
    first, second, *_ = done.stdout.splitlines()
    assert f"{len(os.sched_getaffinity(0))} cores" in first if hasattr(os, "sched_getaffinity") else "cores" in first
    assert f"Python {sys.version.split()[0]}" in second and f"minima {__version__}" in second
    assert json.loads((folder / "numbers.json").read_text(encoding="utf-8"))["machine"]["minima"] == __version__


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    done = run(*SMALL, "--algorithm", "adam", "--seconds", "1", "--plot", "steps.png", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("Picture drawn in steps.png\n")
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")


def without(modules, *words):
    """The command in an interpreter that cannot import some modules."""
    program = f"import sys; sys.modules.update(dict.fromkeys({modules!r})); {SCRIPT}"
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=200)


def test_libraries_that_are_missing_are_named_and_the_others_measured():
    words = ["bench", "--workload", "small", "--algorithm", "lion", "--seconds", "1"]
    done = without(["torch", "jax", "optax", "rich", "matplotlib"], *words)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"^  NumPy, as in textbooks +[\d.]+ [µm]?s +[\d.]+x$", done.stdout, re.MULTILINE)
    assert re.search(r"^  minima +[\d.]+ [µm]?s$", done.stdout, re.MULTILINE)
    for name in ("torch", "jax", "optax"):
        assert f"{name} is not installed: what needs it is left out (pip install {name})\n" in done.stdout


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured():
    done = without(["matplotlib"], *SMALL, "--plot", "steps.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "minima bench --plot: needs matplotlib; pip install matplotlib\n"


def test_a_peer_that_computes_something_else_is_left_out_and_the_status_says_so(monkeypatch, capsys):
    right = measuring.PEERS["numpy"]

    def twice(algorithm, grads):
        stepper = right.build(algorithm, grads)
        step = stepper.step
        stepper.step = lambda: (step(), step())
        return stepper

    monkeypatch.setitem(measuring.PEERS, "numpy", peers.Peer(right.title, twice))
    assert main([*SMALL, "--algorithm", "sgd", "--seconds", "0.5"]) == 1
    printed = capsys.readouterr().out
    assert "wrong: 30-24-24-24-2, SGD: NumPy, as in textbooks is left out, after 3 steps it is off by 100" in printed
    assert not re.search(r"^  NumPy", printed, re.MULTILINE)


def test_what_is_not_begun_in_time_is_left_out_and_named(monkeypatch):
    left = iter([0.01, 0])
    names, results = measuring.begin(["sgd", "adam"], ["numpy"])
    shown = []
    assert measuring.compare(
        ["small"],
        ["sgd", "adam"],
        names,
        results,
        seconds=lambda place: next(left),
        asked=True,
        progress=lambda share, doing: None,
        show=shown.append,
    )
    assert {algorithm for _, algorithm, _ in results.timings} == {"sgd"} and shown == ["small"]
    assert list(results.notes) == ["30-24-24-24-2, Adam is left out: the time is over"]


# Mistakes ------------------------------------------------------------------------------------------------------------

KNOWN = ", ".join(build()[1])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["Lst"], f"minima: there is no command 'Lst'; did you mean list? there are {KNOWN}"),
        (["Zzz"], f"minima: there is no command 'Zzz'; there are {KNOWN}"),
        (["--Loud"], "minima: unrecognized arguments: --Loud; minima --help lists what it takes"),
        (
            ["explain"],
            "minima explain: the following arguments are required: optimizer; minima explain --help lists what it "
            "takes",
        ),
        (["explain", "Adam", "Beta1=0.5"], "Adam: there is no hyperparameter 'Beta1'; did you mean beta1?"),
        (
            ["bench", "--algorithm", "AdamZ"],
            "minima bench: --algorithm must be one of sgd, momentum, adagrad, rmsprop, adam, lion, lamb, novograd, "
            "stableadamw, cautious, adafactor, prodigy, muon, averaged; got 'AdamZ'; "
            "minima bench --help lists what it takes",
        ),
        (
            ["bench", "--seconds", "Long"],
            "minima bench: --seconds must be a number in (0, 3600); got 'Long'; minima bench --help lists what it "
            "takes",
        ),
        (
            ["bench", "--workload", "small", "--algorithm", "muon"],
            "minima bench: muon takes no parameters of small; muon takes matrices and block, the others all else",
        ),
        (
            ["bench", "--json", "Nowhere/x"],
            "minima bench: cannot write --json Nowhere/x: No such file or directory",
        ),
    ],
)
def test_a_mistake_gets_one_sentence_that_keeps_its_capitals(words, sentence, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith(sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["Steps.txt", "Nowhere/steps.png"])
def test_a_picture_that_cannot_be_drawn_is_refused_at_once(output, tmp_path):
    pytest.importorskip("matplotlib")
    done = run(*SMALL, "--plot", output, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and output in done.stderr and done.stderr.count("\n") == 1


# Habits of a shell ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["explain", "--module", "Adam"]])
def test_a_reader_that_goes_away_is_no_error(words):
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # at once, before the first word
        assert process.stderr.read() == b"" and process.wait(timeout=100) in (0, 1)  # argparse keeps quiet about it


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (1, "minima: cannot go on: No space left on device\n")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_an_interrupt_shows_what_was_measured():
    words = ["bench", "--workload", "small", "--workload", "many", "--algorithm", "sgd", "--peer", "numpy"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, *words, "--seconds", "3000"], **streams) as process:
        seen = ""
        for line in process.stdout:
            seen += line
            if line.strip().startswith("NumPy"):  # the first table is there, the second not yet
                process.send_signal(signal.SIGINT)
                break
        rest, said = process.communicate(timeout=100)
    assert process.returncode == 130 and "30-24-24-24-2" in seen
    assert said == "minima bench: stopped; what was measured is shown\n" and "Traceback" not in rest


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_an_interrupt_while_modules_are_loaded_leaves_no_traceback():
    late = (
        "import os, signal, sys; import minima.cli; "
        "sys.meta_path.insert(0, type('Late', (), {'find_spec': lambda *_: os.kill(os.getpid(), signal.SIGINT)})); "
        "sys.exit(minima.cli.main(['list']))"
    )
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nminima: stopped\n")

"""Every example runs to its end and writes where it was started; each holds what it promises, or is held to it here."""

import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(set(FOLDER.glob("*.py")) - {FOLDER / "course.py"})
COURSE = ["adding", "autoencoder", "characters", "lenet"]
WITHOUT_MATPLOTLIB = (
    "import runpy, sys; sys.modules['matplotlib'] = None; sys.argv = sys.argv[1:]; sys.path.insert(0, {folder!r}); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(*command, folder):
    """A program's output; it must end well, and write into ``folder`` alone."""
    before = set(FOLDER.rglob("*"))
    # The matrices are small: threads of BLAS would only wait for each other, long where others use the machine too.
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | threads | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert set(FOLDER.rglob("*")) == before
    return done.stdout


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem not in COURSE], ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    for needed in re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        pytest.importorskip(needed)
    assert run(path, folder=tmp_path)


def results(output):
    """What the last line says of the untrained and of the trained network."""
    found = re.search(r"untrained ([\d.]+)%?, trained ([\d.]+)", output.splitlines()[-1])
    return [float(number) for number in found.groups()]


def of_two_numbers():
    """A quarter of the variance of the sum of two numbers from [0, 1)."""
    return 1 / 6 / 4


def of_four_components():
    """The mean squared error of the best linear code of as many numbers, of all pictures."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    pictures = load_digits().data / 16
    linear = PCA(4).fit(pictures)
    return ((linear.inverse_transform(linear.transform(pictures)) - pictures) ** 2).mean()


def of_frequencies():
    """The perplexity of Python's help by the frequencies of its characters: the best without a look at the context."""
    from pydoc_data.topics import topics

    shares = np.array(list(Counter("\n".join(topics.values())).values()), dtype=float)
    shares /= shares.sum()
    return math.exp(-(shares * np.log(shares)).sum())


BOUNDS = {"adding": of_two_numbers, "autoencoder": of_four_components, "characters": of_frequencies}


@pytest.mark.parametrize("name", COURSE)
def test_an_example_of_the_course_learns_what_an_untrained_network_does_not_know(name, tmp_path):
    for module in ("matplotlib", "rich", "sklearn"):
        pytest.importorskip(module)
    output = run(FOLDER / f"{name}.py", "--quick", folder=tmp_path)
    untrained, trained = results(output)
    if name in BOUNDS:  # of an error
        assert trained < BOUNDS[name]() < untrained
    else:  # of an accuracy
        assert trained > 60 > 30 > untrained
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png", f"{name}.safetensors"}
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") and f"curves: {name}.png\n" in output


def test_an_example_without_matplotlib_says_what_to_install_and_goes_on(tmp_path):
    for module in ("rich", "sklearn"):
        pytest.importorskip(module)
    program = WITHOUT_MATPLOTLIB.format(folder=str(FOLDER))
    output = run("-c", program, FOLDER / "autoencoder.py", "--epochs", "1", folder=tmp_path)
    assert output.splitlines()[-2] == "curves: needs matplotlib; pip install matplotlib"
    assert "trained" in output.splitlines()[-1] and {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_a_seed_decides_what_an_example_reaches_and_a_number_of_epochs_is_checked(tmp_path):
    for module in ("matplotlib", "rich", "sklearn"):
        pytest.importorskip(module)
    path = FOLDER / "autoencoder.py"
    first, second, other = (run(path, "--epochs", "1", "--seed", seed, folder=tmp_path) for seed in "774")
    assert first == second != other
    done = subprocess.run([sys.executable, "-B", path, "--epochs", "0"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.endswith("error: --epochs must be at least 1; got 0\n")


@pytest.mark.parametrize("name", COURSE)
def test_an_example_of_the_course_is_short(name):
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 120

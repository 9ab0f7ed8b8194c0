"""Without a library, whatever needs it says in one sentence which package to install; all else works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({absent!r})); {then}"
DEMO = "from minima.cli import main; sys.exit(main(['demo']))"


def run_without(absent, then, folder):
    """A fresh interpreter in which some modules cannot be imported."""
    program = WITHOUT.format(absent=absent, then=then)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, timeout=60)


@pytest.mark.parametrize(
    "then", ["import minima.torch", "from minima.torch import Adam", "import minima.torch.optimizer"]
)
def test_minima_torch_without_pytorch_says_what_to_install(then, tmp_path):
    done = run_without(["torch"], then, tmp_path)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: minima.torch: needs PyTorch; pip install torch"
    assert "During handling" not in done.stderr


@pytest.mark.parametrize("then", ["import minima.jax", "from minima.jax import adamw", "import minima.jax.state"])
def test_minima_jax_without_jax_says_what_to_install(then, tmp_path):
    done = run_without(["jax"], then, tmp_path)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: minima.jax: needs JAX; pip install jax"
    assert "During handling" not in done.stderr


def test_what_jax_itself_lacks_is_not_taken_for_jax(tmp_path):
    (tmp_path / "jax.py").write_text("import lost")
    done = run_without([], "import minima.jax", tmp_path)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'lost'"


def test_minima_jax_without_optax_steps_and_is_a_pair(tmp_path):
    pytest.importorskip("jax")
    then = "import jax.numpy as jnp, minima.jax as mj; init, update = tx = mj.sgd(0.5); p = jnp.ones(2); "
    then += "print(tx.step(p, init(p), p)[0], update(p, init(p), p)[0])"
    done = run_without(["optax"], then, tmp_path)
    assert done.stdout == "[0.5 0.5] [-0.5 -0.5]\n", done.stderr


def test_what_pytorch_itself_lacks_is_not_taken_for_pytorch(tmp_path):
    (tmp_path / "torch.py").write_text("import lost")
    done = run_without([], "import minima.torch", tmp_path)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'lost'"


@pytest.mark.parametrize(
    ("absent", "packages"),
    [
        (["rich"], "rich"),
        (["matplotlib"], "matplotlib"),
        (["sklearn"], "scikit-learn"),
        (["matplotlib", "rich", "sklearn"], "matplotlib and rich and scikit-learn"),
    ],
)
def test_the_demo_without_its_libraries_says_what_to_install(absent, packages, tmp_path):
    for module in {"matplotlib", "rich", "sklearn"} - set(absent):
        pytest.importorskip(module)
    done = run_without(absent, DEMO, tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"minima demo: needs {packages}; pip install {packages.replace(' and ', ' ')}\n"


def test_an_explanation_without_rich_is_plain_in_a_terminal_too(tmp_path):
    explain = "sys.stdout.isatty = lambda: True; from minima.cli import main; sys.exit(main(['explain', 'sgd']))"
    done = run_without(["rich"], explain, tmp_path)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("SGD\n") and "\x1b" not in done.stdout


SPOKEN = [path for folder in ("src", "docs", "tools", "examples", "benchmarks") for path in (ROOT / folder).rglob("*")]
SPOKEN += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")]


def test_nobody_is_told_to_install_the_other_project_that_the_package_index_calls_minima():
    other = re.compile(r"""minima\[\w|pip install +(-\S+ +)*["']?minima(?![-\w])""")
    read = [path for path in SPOKEN if path.suffix in {".py", ".md", ".sh", ".toml", ""} and path.is_file()]
    assert ROOT / "src" / "minima" / "cli" / "parser.py" in read
    for path in read:
        found = other.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: {found}"

"""Build wheel and sdist, and check that both install and run in clean environments of every Python that we support.

    python tools/dist.py                        # all of it: the core tests run on each Python
    python tools/dist.py --python 3.13 --tests tests/optim/test_optim_core.py
    python tools/dist.py --tests ""             # build, install and run; no tests

The sdist must hold what Git tracks. On each Python the wheel is installed alone, the command line and a step are tried,
and then the tests of the sdist run on the installed wheel: those of the core, since nothing but what the extra
"core-test" asks for is there. The sdist is installed too, which builds a wheel from it. uv makes the environments, and
finds the Pythons; one that is not there and cannot be downloaded is an error, after all others have been tried.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
LEFT_OUT = (".ci/",)
"""What Git tracks and the sdist has not."""
MADE = {"PKG-INFO"}
"""What the sdist has and Git has not."""
TRIED = """
import numpy as np
import minima as mi
param = mi.Tensor(np.ones(3, np.float32), requires_grad=True)
param.grad = mi.Tensor(np.ones(3, np.float32))
optimizer = mi.optim.SGD([param], lr=0.5)
optimizer.step()
assert param.tolist() == [0.5, 0.5, 0.5], param
print(optimizer.engine, mi.__version__, mi.__file__)
"""


class Failed(Exception):
    """What is wrong, in a sentence."""


def main() -> int:
    options = _options()
    try:
        uv = _uv()
        shutil.rmtree(DIST, ignore_errors=True)
        _run([*uv, "build", "--out-dir", str(DIST), str(ROOT)], what="cannot build")
        (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
        check_contents(sdist)
        check_citation()
    except Failed as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    failed: list[str] = []
    for version in options.python:
        try:
            print(f"dist: Python {version}", flush=True)
            _check(uv, version, wheel, sdist, options.tests)
        except Failed as error:
            print(f"dist: Python {version}: {error}", file=sys.stderr, flush=True)
            failed.append(version)
    if failed:
        print(f"dist: not right on Python {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"dist: {wheel.name} and {sdist.name} are right on Python {', '.join(options.python)}")
    return 0


def check_contents(sdist: Path) -> None:
    """The sdist holds what Git tracks, and nothing else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        raise Failed("the contents of the sdist can be checked in a Git checkout only")
    tracked = {name for name in listed.stdout.splitlines() if not name.startswith(LEFT_OUT)}
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()} - MADE
    wrong = [f"{name} is missing" for name in sorted(tracked - held)]
    wrong += [f"{name} is no part of the repository" for name in sorted(held - tracked)]
    if wrong:
        raise Failed(f"{sdist.name}: {'; '.join(wrong)}")


def check_citation() -> None:
    """CITATION.cff names the version, the licence and the sentence of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    for name, said in (
        ("version", _version()),
        ("license", project["license"]),
        ("abstract", f'"{project["description"]}"'),
    ):
        if f"{name}: {said}" not in lines:
            raise Failed(f"CITATION.cff must say {name}: {said}")


def _version() -> str:
    lines = (ROOT / "src" / "minima" / "__init__.py").read_text(encoding="utf-8").splitlines()
    return next(line.partition('"')[2].rstrip('"') for line in lines if line.startswith("__version__"))


def _check(uv: Sequence[str], version: str, wheel: Path, sdist: Path, tests: str) -> None:
    """Install and run both in environments of their own."""
    python = _python(uv, version)
    for package in (sdist, wheel):  # whose environment the tests then use
        with TemporaryDirectory(prefix="minima-dist-") as name:
            folder = Path(name)
            env = folder / "env"
            inside = env / ("Scripts" if os.name == "nt" else "bin")
            install = [*uv, "pip", "install", "--quiet", "--python", str(env)]
            _run([*uv, "venv", "--quiet", "--python", python, str(env)], what="cannot make an environment")
            _run([*install, str(package)], what=f"cannot install {package.name}")
            for words in (["minima", "--version"], ["minima", "list"], ["minima", "explain", "Adam"]):
                _run([str(inside / words[0]), *words[1:]], what=f"{shlex.join(words)} fails", cwd=folder, silent=True)
            _run([str(inside / "python"), "-W", "error", "-c", TRIED], what="a step fails", cwd=folder)
            if package is wheel and tests:
                with tarfile.open(sdist) as archive:
                    archive.extractall(folder, filter="data")
                (source,) = folder.glob("minima_optim-*")
                _run([*install, f"{wheel}[core-test]"], what="cannot install what the tests need")
                pytest = [str(inside / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]
                _run(pytest, what="the tests fail", cwd=source)


def _python(uv: Sequence[str], version: str) -> str:
    """The path of a Python; uv downloads one where none is installed."""
    found = subprocess.run(
        [*uv, "python", "find", "--no-project", version], capture_output=True, text=True, env=_environment()
    )
    if found.returncode == 0:
        return found.stdout.strip()
    _run([*uv, "python", "install", "--quiet", version], what="is not installed, and uv could not download it")
    return _python(uv, version)


def _environment() -> dict[str, str]:
    """That of this process, but for what points at its own packages; pyenv is to show all of its Pythons."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    if pyenv := shutil.which("pyenv"):
        listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True)
        environment["PYENV_VERSION"] = ":".join(listed.stdout.split())
    return environment


def _uv() -> list[str]:
    for words in ([sys.executable, "-m", "uv"], ["uv"]):
        try:
            if subprocess.run([*words, "--version"], capture_output=True).returncode == 0:
                return words
        except OSError:
            pass
    raise Failed("needs uv; pip install uv")


def _run(words: Sequence[str], *, what: str, cwd: Path = ROOT, silent: bool = False) -> None:
    """Run a program; it says itself what goes wrong."""
    shown = subprocess.DEVNULL if silent else None
    done = subprocess.run(words, cwd=cwd, env=_environment(), stdout=shown)
    if done.returncode:
        raise Failed(f"{what} (exit status {done.returncode})")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = "Programming Language :: Python :: "
    known = [line.removeprefix(ours) for line in project["classifiers"] if line.startswith(ours)]
    parser.add_argument("--python", action="append", choices=known, help="only this one; may be given several times")
    parser.add_argument("--tests", default="tests README.md docs", help="for pytest; default: %(default)s")
    options = parser.parse_args()
    options.python = options.python or known
    return options


if __name__ == "__main__":
    sys.exit(main())

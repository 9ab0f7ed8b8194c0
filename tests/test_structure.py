"""How the package is built: imports go down only, nothing heavy is loaded, and what is public is what is documented."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import minima

SOURCE = Path(minima.__file__).parent
API = Path(__file__).parents[1] / "docs" / "api"
PUBLIC = ("autograd", "checkpoint", "data", "init", "nn", "optim", "optim.schedules", "random", "torch")

# The import graph ----------------------------------------------------------------------------------------------------


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(module, *, at_run_time=False):
    """What a module imports: modules of the package by their full names, others by their first; maybe not for types."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    if at_run_time:  # not what is guarded by TYPE_CHECKING, and not what a function imports when it is called
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports name the whole path"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) | ({node.module} if not inner <= FILES.keys() else set())
    return {name if name.startswith("minima.") or name == "minima" else name.partition(".")[0] for name in found}


def ours(module):
    return {name for name in imported(module) if name.partition(".")[0] == "minima"}


def within(name, places):
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_the_walk_sees_the_imports():
    assert {"minima.autograd", "minima.errors", "minima.optim.plan"} <= ours("minima.optim.optimizer")
    assert ours("minima") >= {"minima.nn", "minima.optim", "minima.autograd"}
    assert "numpy" in imported("minima.optim.language.hyper") and len(FILES) > 40


FLOORS = {
    "minima.errors": [],
    "minima.checks": ["errors"],
    "minima.axes": ["errors"],
    "minima.loading": ["errors"],
    "minima.random": ["checks", "errors"],
    "minima.autograd": ["autograd", "errors"],
    "minima.init": ["autograd", "random", "checks", "errors"],
    "minima.data": ["data", "autograd", "random", "checks", "errors"],
    "minima.nn": ["nn", "init", "autograd", "loading", "random", "checks", "errors"],
    "minima.optim": ["optim", "autograd", "axes", "loading", "random", "checks", "errors"],
    "minima.optim.language": ["optim.language", "errors"],
    "minima.optim.schedules": ["optim.schedules", "axes", "checks", "errors"],
    "minima.checkpoint": ["checkpoint", "autograd", "loading", "random", "checks", "errors"],
    "minima.optim.engines": ["optim.engines", "optim.language", "errors"],
    "minima.optim.rules": ["optim.language", "optim.optimizer"],
    "minima.explain": ["explain", "optim", "autograd", "checks", "errors"],
    "minima.torch": ["torch", "optim", "checks", "errors"],
}
"""For each part of the package what it may import of the package: the floors below it, and itself."""


UPWARD = {"minima.optim.optimizer": {"minima.explain"}}
"""What goes up nevertheless, in the call of a method: an optimizer class that is asked explains itself."""


@pytest.mark.parametrize("part", FLOORS)
def test_imports_go_down_only(part):
    allowed = [f"minima.{name}" for name in FLOORS[part]]
    members = [module for module in FILES if within(module, [part])]
    assert members
    for module in members:
        wrong = {name for name in ours(module) if not within(name, allowed)} - UPWARD.get(module, set())
        assert not wrong, f"{module} must not import {wrong}"


OPTIM = ["schedules", "language", "engines", "groups", "patterns", "state_dict", "measures", "plan", "optimizer"]
OPTIM += ["rules", "training"]
"""The floors of ``minima.optim``, from the ground up."""


@pytest.mark.parametrize("part", OPTIM)
def test_inside_optim_imports_go_down_only(part):
    below = [f"minima.optim.{name}" for name in OPTIM[: OPTIM.index(part) + 1]]
    members = [module for module in FILES if within(module, [f"minima.optim.{part}"])]
    assert members
    for module in members:
        wrong = {name for name in ours(module) if within(name, ["minima.optim"]) and not within(name, below)}
        assert not wrong, f"{module} must not import {wrong}"


def test_no_module_imports_itself_by_a_detour():
    graph = {module: imported(module, at_run_time=True) & FILES.keys() - {module} for module in FILES}
    # `from package import name` in the package's own modules would be a cycle through its __init__.
    TopologicalSorter(graph).prepare()


HEAVY = {
    "llvmlite": {"minima.optim.engines.cpu.llvm"},
    "numba": set(),
    "torch": {"minima.torch"},
    "jax": {"minima.jax"},
    "optax": {"minima.jax"},
    "sympy": {"minima.optim.language.formula"},
    "matplotlib": {"minima.axes", "minima.demo.picture"},
    "sklearn": {"minima.demo.data"},
    "rich": {"minima.demo.job", "minima.explain.terminal"},
    "numpy": FILES.keys(),
}
"""The libraries that the package uses, and the modules that may name them in an import."""


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_the_package_says_that_it_uses(module):
    for name in imported(module):
        if name.partition(".")[0] != "minima" and name not in sys.stdlib_module_names:
            assert within(module, HEAVY.get(name, set())), f"{module} must not import {name}"


LOADED = "import sys; before = set(sys.modules); import {}; print(*sorted(set(sys.modules) - before))"


def loaded_by(what):
    """The modules that a fresh interpreter loads for an import."""
    command = [sys.executable, "-W", "error", "-c", LOADED.format(what)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_minima_loads_numpy_and_nothing_heavier():
    loaded = loaded_by("minima")
    assert {"minima.optim", "minima.nn", "numpy"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY.keys() - {"numpy"})
    others = {name.partition(".")[0] for name in loaded - loaded_by("numpy, numpy.random")} - sys.stdlib_module_names
    assert others - {"numpy"} == {"minima"}
    assert not loaded & {"minima.demo", "minima.cli"}


# What is public ------------------------------------------------------------------------------------------------------


def loaded(name):
    """A module; the test is skipped where the library that it is for is missing."""
    if within(name, ["minima.torch"]):
        pytest.importorskip("torch")
    return importlib.import_module(name)


def public(module):
    """The names that a module offers: no private ones, and no modules that it does not list."""
    names = {name for name in vars(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType) or name in module.__all__}


def is_package(name):
    return (SOURCE / name.replace(".", "/")).is_dir()


@pytest.mark.parametrize("name", ["minima", *(f"minima.{name}" for name in PUBLIC if is_package(name))])
def test_the_names_of_a_package_are_those_that_it_lists(name):
    module = loaded(name)
    assert set(module.__all__) == public(module)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", FILES)
def test_every_module_says_what_it_is_and_lists_what_exists(name):
    if name.endswith("__main__") or within(name, ["minima.demo"]):  # the first runs, the others may load much
        text = FILES[name].read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text))
        return
    module = loaded(name)
    assert module.__doc__ and module.__doc__.strip().splitlines()[0].endswith((".", ":"))
    for entry in getattr(module, "__all__", ()):
        assert hasattr(module, entry), entry


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_says_what_it_is(name):
    module = loaded(f"minima.{name}")
    for entry in module.__all__:
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"minima.{name}.{entry}"


@pytest.mark.skipif(not API.is_dir(), reason="the documentation is not part of the source distribution")
@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_part_has_its_page_and_the_page_documents_it(name):
    page = (API / f"{name}.md").read_text(encoding="utf-8")
    documented = {line.split()[1] for line in page.splitlines() if line.startswith(":::")}
    whole = f"minima.{name}"
    if whole not in documented:  # else the page shows the package, which lists its names
        assert documented == {f"{whole}.{entry}" for entry in loaded(whole).__all__}

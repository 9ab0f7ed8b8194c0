"""How the package is built: imports go down only, nothing heavy is loaded, and what is public is what is documented."""

import ast
import builtins
import importlib
import inspect
import os
import re
import subprocess
import sys
from functools import reduce
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import minima
from minima.optim.rules import RULES

SOURCE = Path(minima.__file__).parent
API = Path(__file__).parents[1] / "docs" / "api"
MUTANTS = Path(__file__).parents[1] / "tools" / "mutants.py"
STUBS = Path(__file__).parents[1] / "tools" / "stubs.py"
PUBLIC = ("autograd", "checkpoint", "data", "init", "jax", "nn", "nn.functional", "nn.init", "optim")
PUBLIC += ("optim.schedules", "random", "torch")
INNER = ("__main__", "axes", "bench", "checks", "cli", "demo", "errors", "explain", "lazy", "loading")
"""What stands beside the public parts of the package and is not for import by others."""

# The import graph ----------------------------------------------------------------------------------------------------


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(module, *, at_run_time=False):
    """What a module imports: modules of the package by their full names, others by their first; maybe not for types."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    stub = FILES[module].with_suffix(".pyi")
    if stub.exists() and not at_run_time:  # where it says what is loaded lazily
        tree.body += ast.parse(stub.read_text(encoding="utf-8")).body
    if at_run_time:  # not what is guarded by TYPE_CHECKING, and not what a function imports when it is called
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Try)]
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
    assert {"minima.autograd", "minima.errors", "minima.optim.core.stepper"} <= ours("minima.optim.optimizer")
    assert ours("minima") >= {"minima.nn", "minima.optim", "minima.autograd"}
    assert "numpy" in imported("minima.optim.language.hyper") and len(FILES) > 40


FLOORS = {
    "minima.errors": [],
    "minima.lazy": [],
    "minima.checks": ["errors"],
    "minima.axes": ["errors"],
    "minima.loading": ["errors"],
    "minima.random": ["checks", "errors"],
    "minima.autograd": ["autograd", "checks", "errors"],
    "minima.init": ["init", "autograd", "random", "checks", "errors"],
    "minima.data": ["data", "autograd", "random", "checks", "errors"],
    "minima.nn": ["nn", "init", "autograd", "loading", "random", "checks", "errors"],
    "minima.optim": ["optim", "autograd", "axes", "loading", "random", "checks", "lazy", "errors"],
    "minima.optim.language": ["optim.language", "errors"],
    "minima.optim.schedules": ["optim.schedules", "axes", "checks", "errors"],
    "minima.checkpoint": ["checkpoint", "autograd", "loading", "random", "checks", "errors"],
    "minima.optim.engines": ["optim.engines", "optim.language", "errors"],
    "minima.optim.rules": ["optim.rules", "optim.language", "optim.optimizer"],
    "minima.explain": ["explain", "optim", "autograd", "checks", "errors"],
    "minima.torch": ["torch", "explain", "optim", "checks", "errors"],
    "minima.jax": ["jax", "optim", "checks", "errors"],
}
"""For each part of the package what it may import of the package: the floors below it, and itself."""


UPWARD = {"minima.optim.readable": {"minima.explain", "minima.explain.summary"}}
"""What goes up nevertheless, in the call of a method: an optimizer class that is asked explains itself."""


@pytest.mark.parametrize("part", FLOORS)
def test_imports_go_down_only(part):
    allowed = [f"minima.{name}" for name in FLOORS[part]]
    members = [module for module in FILES if within(module, [part])]
    assert members
    for module in members:
        wrong = {name for name in ours(module) if not within(name, allowed)} - UPWARD.get(module, set())
        assert not wrong, f"{module} must not import {wrong}"


def test_every_module_has_its_floor():
    top = ["minima.__main__", "minima.cli", "minima.demo", "minima.bench"]  # they may import anything
    assert not {module for module in FILES.keys() - {"minima"} if not within(module, [*FLOORS, *top])}


OPTIM = ["schedules", "language", "engines", "core", "host", "groups", "patterns", "state_dict", "portable"]
OPTIM += ["attributes", "readable", "optimizer", "rules", "loops", "catalog", "training"]
"""The floors of ``minima.optim``, from the ground up."""


@pytest.mark.parametrize("part", OPTIM)
def test_inside_optim_imports_go_down_only(part):
    below = [f"minima.optim.{name}" for name in OPTIM[: OPTIM.index(part) + 1]]
    members = [module for module in FILES if within(module, [f"minima.optim.{part}"])]
    assert members
    for module in members:
        wrong = {name for name in ours(module) if within(name, ["minima.optim"]) and not within(name, below)}
        assert not wrong, f"{module} must not import {wrong}"


def test_every_part_of_optim_has_its_floor():
    parts = {path.stem for path in (SOURCE / "optim").glob("[!_]*") if path.suffix == ".py" or path.is_dir()}
    assert parts == set(OPTIM)


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
    "matplotlib": {"minima.axes", "minima.bench.picture", "minima.demo.picture"},
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


BARE = {"minima", "minima.lazy"}


@pytest.mark.parametrize(
    ("name", "wanted"), [("minima", BARE), ("minima.optim", {*BARE, "minima.optim", "minima.optim.rules"})]
)
def test_importing_a_lazy_package_loads_none_of_its_parts_and_no_library(name, wanted):
    assert {each for each in loaded_by(name) if each.partition(".")[0] not in sys.stdlib_module_names} == wanted


def test_everything_that_minima_and_its_optim_list_loads_numpy_and_nothing_heavier():
    loaded = loaded_by("minima, minima.optim; from minima import *; from minima.optim import *")
    assert {"minima.optim.optimizer", "minima.nn", "numpy"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY.keys() - {"numpy"})
    others = {name.partition(".")[0] for name in loaded - loaded_by("numpy, numpy.random")} - sys.stdlib_module_names
    assert others - {"numpy"} == {"minima"}
    assert not loaded & {"minima.bench", "minima.demo", "minima.cli"}


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_importing_another_face_loads_no_machine_code_and_no_driver(name):
    pytest.importorskip(name)
    loaded = loaded_by(f"minima.{name}; from minima.{name} import *")
    assert f"minima.{name}.optimizer" in loaded or f"minima.{name}.transformation" in loaded
    assert not {each for each in loaded if each.partition(".")[0] == "llvmlite"}
    assert not loaded & {"minima.optim.engines.cpu.llvm", "minima.optim.engines.cuda.driver"}


@pytest.mark.parametrize("name", RULES)
def test_an_algorithm_loads_no_other_but_one_that_it_is_made_of(name):
    loaded = loaded_by(f"minima.optim; minima.optim.{name}")
    made_of = {base.__module__ for base in getattr(minima.optim, name).__mro__}
    assert loaded & {*RULES.values()} == made_of & {*RULES.values()}


# What is loaded lazily ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [minima, minima.optim])
def test_a_lazy_package_has_its_names_as_attributes_in_its_dir_and_through_a_star(module):
    assert {*module.__all__} <= {*dir(module)}
    found = {}
    exec(f"from {module.__name__} import *", found)
    assert {name: getattr(module, name) for name in module.__all__}.items() <= found.items()
    with pytest.raises(AttributeError, match=rf"^module '{module.__name__}' has no attribute 'Tenser'"):
        module.Tenser  # noqa: B018


def test_words_of_python_can_be_imported_from_optim_and_hide_nothing_with_a_star():
    from minima.optim import abs as magnitude

    assert magnitude is minima.optim.abs is not abs
    found = {}
    exec("from minima.optim import *", found)
    for word in ("abs", "max", "sum"):
        assert getattr(minima.optim, word) is not getattr(builtins, word)
        assert word not in minima.optim.__all__ and word not in found
    assert {"sqrt", "mean", "norm", "total", "PerTensor"} <= found.keys()


def test_every_algorithm_is_listed_from_the_simplest_to_the_hardest():
    assert minima.optim.__all__[: len(RULES)] == list(RULES)
    for name, place in RULES.items():
        assert getattr(minima.optim, name).__module__ == place and getattr(minima.optim, name).__name__ == name
    files = {path.stem for path in (SOURCE / "optim" / "rules").glob("[!_]*.py")}
    assert files == {place.rpartition(".")[2] for place in RULES.values()}


def test_the_stubs_are_what_the_tool_writes():
    done = subprocess.run([sys.executable, STUBS, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# What is public ------------------------------------------------------------------------------------------------------


def loaded(name):
    """A module; the test is skipped where the library that it is for is missing."""
    for library in ("torch", "jax"):
        if within(name, [f"minima.{library}"]):
            pytest.importorskip(library)
    return importlib.import_module(name)


def public(module):
    """The names that a module offers: no private ones, and no modules that it does not list."""
    for name in module.__all__:  # which may be loaded lazily
        getattr(module, name)
    names = {name for name in vars(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType) or name in module.__all__}


def offered(module):
    """The names that a module lists, and words that Python has too, which no star may bring."""
    alike = {name for name in dir(module) if not name.startswith("_") and hasattr(builtins, name)}
    return {*module.__all__, *(name for name in alike if not isinstance(getattr(module, name), ModuleType))}


def is_package(name):
    return (SOURCE / name.replace(".", "/")).is_dir()


@pytest.mark.parametrize("name", ["minima", *(f"minima.{name}" for name in PUBLIC if is_package(name))])
def test_the_names_of_a_package_are_those_that_it_lists(name):
    module = loaded(name)
    assert offered(module) == public(module)
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
            # Its own words: not those of a base class, and not the signature that a dataclass writes of itself.
            assert value.__doc__ and not value.__doc__.startswith(f"{entry}("), f"minima.{name}.{entry}"
        if inspect.isclass(value):
            parts = [base for base in value.__mro__ if base.__module__.startswith("minima.")]
            names = {member for part in parts for member in vars(part)}
            members = {member for member in names if not member.startswith("_") and member != "update"}
            for member in members:  # the update of a rule is told in the docstring of its class
                part = inspect.getattr_static(value, member)
                if isinstance(part, property | classmethod | staticmethod) or inspect.isroutine(part):
                    assert inspect.getdoc(getattr(value, member)), f"minima.{name}.{entry}.{member}"


def test_the_parts_of_the_package_are_either_public_or_inner():
    parts = {name.split(".")[1] for name in FILES if name != "minima"}
    assert parts - set(INNER) == {name for name in PUBLIC if "." not in name}


def directives(page):
    """What a page has the reference show: paths, each with whether all of its members are shown."""
    found = re.findall(r"^#* *::: (\S+)\n((?:(?: .*)?\n)*)", page, re.MULTILINE)
    return {path: "members: false" not in options for path, options in found}


def named(path):
    """What a path of the reference leads to; a module comes before a name of its package that hides it."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[cut:], module)
    raise AssertionError(path)


def is_algorithm(value, module):
    if module.__name__ == "minima.jax":
        return hasattr(value, "dialect")
    return isinstance(value, type) and issubclass(value, module.Optimizer) and value is not module.Optimizer


def pages(name):
    """The page of a public module, with the pages of its parts, where it is large."""
    return "\n".join(it.read_text(encoding="utf-8") for it in [API / f"{name}.md", *sorted((API / name).glob("*.md"))])


def documented(page, module):
    """The public names of a module that a page documents; what else it documents, by its path."""
    names = {entry for entry in offered(module) if f"{module.__name__.removeprefix('minima.')}.{entry}" in PUBLIC}
    if f'--8<-- "{module.__name__.rpartition(".")[2]}-algorithms.md"' in page:  # tools/docs writes it, of all there are
        names |= {entry for entry in module.__all__ if is_algorithm(getattr(module, entry), module)}
    for path, whole in directives(page).items():
        value = named(path)
        if value is module:
            names |= set(module.__all__ if whole else ())
        else:
            names |= {entry for entry in offered(module) if getattr(module, entry) is value} or {path}
    return names


def test_every_public_part_has_its_page():
    assert {page.stem for page in API.glob("*.md")} == {"index", *PUBLIC}
    assert {folder.name for folder in API.iterdir() if folder.is_dir()} <= {*PUBLIC}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_page_of_a_part_documents_what_is_public_and_nothing_else(name):
    module = loaded(f"minima.{name}")
    assert documented(pages(name), module) == offered(module)


def test_the_walk_through_a_page_sees_what_is_missing_and_what_is_too_much():
    page, optim = pages("optim"), minima.optim
    assert offered(optim) - documented(page.replace("::: minima.optim.sqrt\n", "sqrt\n"), optim) == {"sqrt"}
    assert documented(f"{page}\n::: minima.optim.groups\n", optim) - offered(optim) == {"minima.optim.groups"}
    assert {"SGD", "Adam"} < offered(optim) - documented(page.replace('"optim-algorithms.md"', ""), optim)
    with pytest.raises(AttributeError, match="EMAmant"):
        documented(page.replace("::: minima.optim.EMA\n", "::: minima.optim.EMAmant\n"), optim)


# What tries the tests ------------------------------------------------------------------------------------------------


def test_the_tool_that_breaks_the_package_names_folders_tests_and_mutants_that_exist():
    done = subprocess.run([sys.executable, MUTANTS, "--list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    broken = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert {"optim/rules/adam.py", "optim/engines/cpu/kernel.py", "torch/optimizer.py"} <= broken


def test_modules_of_tests_are_called_as_no_other_is():
    root = Path(__file__).parents[1]
    found = [path for folder in ("tests", "benchmarks", "tools", "examples") for path in (root / folder).rglob("*.py")]
    names = [path.stem for path in found if path.name != "conftest.py"]
    ours = {path.stem for path in (root / "tests").rglob("*.py") if path.name != "conftest.py"}
    assert sorted(name for name in ours if names.count(name) > 1) == []

#!/usr/bin/env python
"""Break the optimizers in one place at a time, and see whether their tests notice.

    python tools/mutants.py                     # everything, in hours; prints what survived
    python tools/mutants.py adam sgd            # only files whose path contains one of these
    python tools/mutants.py torch --every 20    # every 20th mutant of them
    python tools/mutants.py --list trace        # what would be broken
    python tools/mutants.py adam -- -k adam     # what follows -- goes to pytest

A mutant is a copy of the package with one change: an operator, an operand, a comparison, a constant, a condition, a
precision, a statement. It is killed by a quick selection of the tests of its folder, else by all of them. What is
listed in EQUIVALENT cannot be told from the original, for the reason that stands there.
"""

import argparse
import ast
import compileall
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "minima"
TESTS = ROOT / "tests"
RULES = ["elementary", "interface", "messages", "groups", "state", "trace", "steps", "imperative", "formula", "rules"]
CORE = ["core", "options", "groups", "state", "variants", "measures"]
WITHOUT_LARGE = "not (pytorch or jax or sympy or torch or jit or long_parameter)"
WITHOUT_LIBRARIES = f"{WITHOUT_LARGE} and not [fused"


def tests(folder: str, *names: str) -> list[str]:
    """Files of tests, by what tells their names apart."""
    return [str(TESTS / folder / f"test_{name}.py") for name in names]


AREAS = {
    "optim": ([*tests("optim", *(f"optim_{name}" for name in RULES)), "-k", WITHOUT_LIBRARIES], ["optim"]),
    "optim/core": ([*tests("optim", *(f"optim_{name}" for name in CORE)), "-k", WITHOUT_LARGE], ["optim"]),
    "optim/engines": (tests("optim", "optim_fused", "optim_reductions", "optim_storage", "optim_engines"), ["optim"]),
    "optim/loops": ([*tests("optim", "loops", "lookahead", "sam"), "-k", WITHOUT_LIBRARIES], ["optim"]),
    "optim/schedules": ([*tests("optim", "schedules"), "-k", WITHOUT_LIBRARIES], ["optim"]),
    "optim/training": ([*tests("optim", "gradients", "averaging", "range_test"), "-k", WITHOUT_LIBRARIES], ["optim"]),
    "explain": (tests("optim", "explain"), ["optim"]),
    "torch": (
        tests("pytorch", "torch_habits", "torch_engines", "torch_state", "torch_groups"),
        ["pytorch", "test_missing.py"],
    ),
    "checkpoint": (
        tests("checkpoint", "checkpoint_contents", "checkpoint_refusals", "checkpoint_folder"),
        ["checkpoint"],
    ),
}
"""The folders of the package whose every file is broken, each with the tests that its mutants meet: a quick selection,
without the parts that load large libraries, and then all that concern them. The longest folder that fits counts."""
WITHOUT_EFFECT = ("strict", "copy", "frozen", "eq", "casting", "maxsize")
"""Keywords whose value makes no difference to a result: they guard against mistakes of ours, or save work."""
TIMES = 5
"""How much longer than the original a mutant may run before it counts as killed, for it may never come to an end."""

EQUIVALENT = {
    "optim/language/declaration.py, Declaration.spelled: 1  ->  2": "only the first of the close names is used",
}
"""Mutants that do what the original does, by their names, with the reason."""

# What is changed -----------------------------------------------------------------------------------------------------

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
OPERATORS |= {ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift}
COMPARISONS = {
    ast.Lt: [ast.GtE, ast.LtE],
    ast.LtE: [ast.Gt, ast.Lt],
    ast.Gt: [ast.LtE, ast.GtE],
    ast.GtE: [ast.Lt, ast.Gt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
NAMES = {"float64": "float32", "float32": "float64", "all": "any", "any": "all", "maximum": "minimum", "sqrt": "abs"}
NAMES |= {"minimum": "maximum", "zeros": "ones", "min": "max", "max": "min"}


def changes(node: ast.expr | ast.stmt, arguments: list[str]) -> Iterator[ast.AST]:
    """What may stand in the place of a node; ``arguments`` are those of the rule that it is a part of, if it is."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPERATORS:
                yield ast.BinOp(left, OPERATORS[type(op)](), right)
            if arguments:
                yield left
                yield right
                if isinstance(op, ast.Sub | ast.Div | ast.Pow):
                    yield ast.BinOp(right, op, left)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(left, [other()], [right])
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Attribute(value=value, attr=name) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], node.ctx)
        case ast.Name(id=name, ctx=ast.Load()):
            if name in NAMES:
                yield ast.Name(NAMES[name], node.ctx)
            elif name in arguments:
                yield ast.Name(arguments[(arguments.index(name) + 1) % len(arguments)], node.ctx)
        case ast.Tuple(elts=[first, second, *rest], ctx=ast.Load()) if arguments:
            yield ast.Tuple([second, first, *rest], node.ctx)
        case ast.If(test=test):
            yield ast.If(ast.UnaryOp(ast.Not(), test), node.body, node.orelse)
        case ast.Assign() if arguments:
            yield ast.Pass()
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Continue():
            yield ast.Pass()
        case _:
            pass


def spoken(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


class Mutant:
    """One change of one file."""

    def __init__(self, path: str, place: str, line: int, old: ast.AST, new: ast.AST, source: str) -> None:
        self.path = path
        self.line = line
        self.source = source
        self.name = f"{path}, {place}: {spoken(old)}  ->  {spoken(new)}"

    def __str__(self) -> str:
        return self.name.replace(",", f":{self.line},", 1)


def mutants_of(path: str) -> Iterator[Mutant]:
    """Every mutant of a file."""
    source = (PACKAGE / path).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def visit(node: ast.AST, place: str, arguments: list[str]) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            place = f"{place}.{node.name}".lstrip(".")
        if isinstance(node, ast.FunctionDef) and path.startswith("optim/rules/"):
            arguments = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.expr | ast.stmt):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            indent = " " * node.col_offset
            for new in changes(node, arguments):
                text = ast.unparse(ast.fix_missing_locations(new))
                text = text.replace("\n", f"\n{indent}") if isinstance(new, ast.stmt) else f"({text})"
                changed = (raw[:begin] + text.encode() + raw[end:]).decode()
                yield Mutant(path, place or "module", node.lineno, node, new, changed)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.Raise):  # the words of a message are the business of its own tests
                    continue
                if isinstance(child, ast.keyword) and child.arg in WITHOUT_EFFECT:
                    continue
                if isinstance(child, ast.AST):
                    yield from visit(child, place, arguments)

    yield from visit(ast.parse(source), "", [])


# How it is tested ----------------------------------------------------------------------------------------------------


def prepared(directory: Path) -> Path:
    """A compiled copy of the package, to be copied for every mutant."""
    base = directory / "base"
    shutil.copytree(PACKAGE, base / "minima", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(base, quiet=2)
    return base


def start(base: Path, home: Path, mutant: Mutant | None, arguments: list[str]) -> int:
    """Run pytest against a copy of the package in a forked child; its process id."""
    shutil.copytree(base, home)
    if mutant is not None:
        (home / "minima" / mutant.path).write_text(mutant.source, encoding="utf-8")
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        with open(home / "output", "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        sys.path.insert(0, str(home))
        os.environ["PYTHONPATH"] = str(home)
        sys.dont_write_bytecode = True
        os.chdir(ROOT)
        import pytest

        loaded_before = "ignore::pytest.PytestAssertRewriteWarning"
        options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-W", loaded_before]
        code = int(pytest.main([*options, *arguments]))
        import minima

        assert Path(minima.__file__).is_relative_to(home)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outcomes(
    base: Path, directory: Path, todo: list[Mutant], arguments: list[str], jobs: int, seconds: float
) -> Iterator[tuple[Mutant, int]]:
    """Each mutant with pytest's exit code, in the order in which they come to an end."""
    waiting, running = list(enumerate(todo)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutant = waiting.pop(0)
            home = directory / f"mutant{number}"
            running[start(base, home, mutant, arguments)] = (mutant, home, time.monotonic())
        time.sleep(0.02)
        for child, (mutant, home, since) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() - since > seconds:
                os.killpg(child, signal.SIGKILL)
                done, status = os.waitpid(child, 0)
            if done:
                del running[child]
                shutil.rmtree(home)
                yield mutant, os.waitstatus_to_exitcode(status)


def stages_of(area: str, more: list[str]) -> list[list[str]]:
    """What pytest is given for a folder of the package, one run after the other."""
    quick, whole = AREAS[area]
    return [[*quick, *more], [*(str(TESTS / name) for name in whole), *more]]


def area_of(path: str) -> str:
    return max((area for area in AREAS if path.startswith(f"{area}/")), key=len)


def targets() -> list[str]:
    """Every file that is broken, from the top of the package."""
    files = {file for area in AREAS for file in (PACKAGE / area).rglob("*.py")}
    return sorted(file.relative_to(PACKAGE).as_posix() for file in files)


def stale() -> list[str]:
    """What the tables name that is not there: folders, tests, mutants."""
    lost = [area for area in AREAS if not (PACKAGE / area).is_dir()]
    named = {path for quick, _ in AREAS.values() for path in quick if path.endswith(".py")}
    named |= {str(TESTS / name) for _, whole in AREAS.values() for name in whole}
    lost += sorted(path for path in named if not Path(path).exists())
    files = {name.partition(",")[0] for name in EQUIVALENT} & set(targets())
    return lost + sorted(EQUIVALENT.keys() - {mutant.name for file in files for mutant in mutants_of(file)})


def main() -> int:
    own, more = sys.argv[1:], []
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", help="only files whose path contains one of these")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth mutant of a folder")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    options = parser.parse_args(own)
    if lost := stale():
        print("AREAS and EQUIVALENT name what is not there:", *lost, sep="\n", file=sys.stderr)
        return 2
    todo: dict[str, list[Mutant]] = {}
    for path in targets():
        if not options.paths or any(part in path for part in options.paths):
            todo.setdefault(area_of(path), []).extend(mutants_of(path))
    todo = {area: found[:: options.every] for area, found in todo.items() if found}
    if options.list:
        print(*(mutant for found in todo.values() for mutant in found), sep="\n")
        return 0

    import hypothesis
    import numpy  # noqa: F401 - what every child needs is loaded once
    import pytest  # noqa: F401

    hypothesis.settings.register_profile("mutants", database=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    if "torch" in todo:
        import torch  # noqa: F401
    began = time.monotonic()
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        base = prepared(directory)
        for area, left in todo.items():
            print(f"{area}: {len(left)} mutants", flush=True)
            for stage, arguments in enumerate(stages_of(area, more)):
                seconds = duration(base, directory / "original", arguments)
                if seconds is None:
                    return 2
                run = outcomes(base, directory, left, arguments, options.jobs, TIMES * (seconds + options.jobs))
                left = survivors_of(run, len(left), last=stage == 1)
            survivors += left
    names = {mutant.name for mutant in survivors}
    alive = [mutant for mutant in survivors if mutant.name not in EQUIVALENT]
    wrong = sorted({mutant.name for found in todo.values() for mutant in found} & EQUIVALENT.keys() - names)
    number = sum(map(len, todo.values()))
    killed, equivalent = number - len(survivors), len(survivors) - len(alive)
    took = f"{time.monotonic() - began:.0f} s"
    print(f"\n{number} mutants: {killed} killed, {equivalent} equivalent, {len(alive)} survived; {took}")
    print(*alive, *(f"killed, and so not equivalent: {name}" for name in wrong), sep="\n")
    return 1 if alive or wrong else 0


def duration(base: Path, home: Path, arguments: list[str]) -> float | None:
    """The seconds that the tests of the original take; None where they fail without being asked to."""
    began = time.monotonic()
    child = start(base, home, None, arguments)
    failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if failed:
        print((home / "output").read_text()[-2000:])
        print("The tests must pass before they are asked to fail.")
    shutil.rmtree(home)
    return None if failed else time.monotonic() - began


def survivors_of(run: Iterator[tuple[Mutant, int]], total: int, *, last: bool) -> list[Mutant]:
    """The mutants that the tests pass with; they are printed as they come to an end."""
    survivors: list[Mutant] = []
    for number, (mutant, code) in enumerate(run, start=1):
        if code == 0:
            survivors.append(mutant)
        word = "killed" if code else "SURVIVED" if last else "survived"
        if word != "killed" or number % 50 == 0:
            print(f"[{number}/{total}] {word}  {mutant}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Break the optimizers in one place at a time, and see whether their tests notice.

    python tools/mutants.py                     # everything; prints what survived
    python tools/mutants.py adam sgd            # only files whose path contains one of these
    python tools/mutants.py --list trace        # what would be broken
    python tools/mutants.py adam -- -k adam     # what follows -- goes to pytest

A mutant is a copy of the package with one change: an operator, an operand, a comparison, a constant, a condition, a
precision, a statement. It is killed by a quick selection of the tests, else by all of tests/optim. What is listed in
EQUIVALENT cannot be told from the original, for the reason that stands there.
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
TARGETS = [
    "optim/rules/sgd.py",
    "optim/rules/adagrad.py",
    "optim/rules/rmsprop.py",
    "optim/rules/adam.py",
    "optim/trace.py",
    "optim/lowering.py",
    "optim/ranges.py",
    "optim/program.py",
    "optim/plan.py",
    "optim/optimizer.py",
    "optim/groups.py",
    "optim/patterns.py",
    "optim/state.py",
    "optim/measures.py",
    "optim/schedules/arithmetic.py",
    "optim/schedules/finite.py",
    "optim/schedules/endless.py",
    "optim/schedules/combine.py",
    "optim/schedules/plateau.py",
    "optim/schedules/schedule.py",
    "optim/clipping.py",
    "optim/accumulation.py",
    "optim/averaging.py",
    "optim/range_test.py",
    "optim/hyper.py",
    "optim/declaration.py",
    "optim/rule.py",
    "optim/vocabulary.py",
    "optim/engines/engine.py",
    "optim/engines/reference.py",
    "optim/engines/reductions.py",
    "optim/engines/storage.py",
    "optim/engines/cpu/coding.py",
    "optim/engines/cpu/elements.py",
    "optim/engines/cpu/kernel.py",
    "optim/engines/cpu/reductions.py",
    "optim/engines/cpu/gather.py",
    "optim/engines/cpu/pieces.py",
    "optim/engines/cpu/pool.py",
    "optim/engines/cpu/launch.py",
    "optim/engines/cpu/fused.py",
    "optim/engines/cpu/threads.py",
    "optim/engines/cpu/once.py",
]
TESTS = ROOT / "tests" / "optim"
QUICK = ["interface", "messages", "groups", "state", "trace", "steps", "imperative", "formula", "rules"]
"""The tests that a mutant meets first, without the parts that load large libraries."""
WITHOUT_EFFECT = ("strict", "copy", "frozen", "eq", "casting", "maxsize")
"""Keywords whose value makes no difference to a result: they guard against mistakes of ours, or save work."""
SECONDS = 180
"""After which a mutant that does not come to an end counts as killed."""

OTHER_NOISE = "state in fewer bits is rounded by other random numbers, which are as good"
EQUIVALENT = {
    "optim/plan.py, _Batch.run: slot.t + 1  ->  slot.t - 1": OTHER_NOISE,
    "optim/plan.py, _Batch.run: 1  ->  2": OTHER_NOISE,
    "optim/optimizer.py, Optimizer._step_anew: grad is None  ->  grad is not None": "a step is prepared anew too often",
    "optim/declaration.py, Declaration.spelled: 1  ->  2": "only the first of the close names is used",
    "optim/engines/reference.py, _Step.run: r is given  ->  r is not given": "every result is copied, needed or not",
    "optim/trace.py, trace: own.pop(decayed, None)  ->  pass": "whoever reads the names gives this node another",
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
    base: Path, directory: Path, todo: list[Mutant], arguments: list[str], jobs: int
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
            if not done and time.monotonic() - since > SECONDS:
                os.killpg(child, signal.SIGKILL)
                done, status = os.waitpid(child, 0)
            if done:
                del running[child]
                shutil.rmtree(home)
                yield mutant, os.waitstatus_to_exitcode(status)


def main() -> int:
    own, more = sys.argv[1:], []
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", help="only files whose path contains one of these")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    options = parser.parse_args(own)
    chosen = [path for path in TARGETS if not options.paths or any(part in path for part in options.paths)]
    todo = [mutant for path in chosen for mutant in mutants_of(path)]
    if options.list:
        print(*todo, sep="\n")
        return 0

    import hypothesis
    import numpy  # noqa: F401 - what every child needs is loaded once
    import pytest  # noqa: F401

    hypothesis.settings.register_profile("mutants", database=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    quick = [str(TESTS / f"test_optim_{name}.py") for name in QUICK]
    slow = "pytorch or jax or sympy or torch or jit or long_parameter"
    stages = [[*quick, "-k", f"not ({slow}) and not [fused", *more], [str(TESTS), *more]]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        base = prepared(directory)
        for arguments in stages:
            child = start(base, directory / "original", None, arguments)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                print((directory / "original" / "output").read_text()[-2000:])
                print("The tests must pass before they are asked to fail.")
                return 2
            shutil.rmtree(directory / "original")
        survivors = todo
        for stage, arguments in enumerate(stages):
            left, survivors = survivors, []
            for number, (mutant, code) in enumerate(outcomes(base, directory, left, arguments, options.jobs), start=1):
                if code == 0:
                    survivors.append(mutant)
                word = "killed" if code else "survived" if stage == 0 else "SURVIVED"
                if word != "killed" or number % 50 == 0:
                    print(f"[{number}/{len(left)}] {word}  {mutant}", flush=True)
    alive = [mutant for mutant in survivors if mutant.name not in EQUIVALENT]
    killed, equivalent = len(todo) - len(survivors), len(survivors) - len(alive)
    took = f"{time.monotonic() - began:.0f} s"
    print(f"\n{len(todo)} mutants: {killed} killed, {equivalent} equivalent, {len(alive)} survived; {took}")
    print(*alive, sep="\n")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())

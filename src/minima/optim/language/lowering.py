"""From graph to program: the nodes of a trace as a straight line, each in the cheapest form that has the same meaning.

A node that depends on hyperparameters and ``t`` alone goes into the host part of the program, every other into its
body.
"""

from functools import cache

from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.trace import Symbol, Trace, reachable

__all__ = ["lower"]


@cache
def lower(trace: Trace) -> Program:
    """The program of a trace."""
    cheap = _cheapest(trace)
    stored = ["param", *_live(trace)]
    outputs = {name: cheap[trace.outputs[name]] for name in stored}
    wanted = {cheap[node]: name for node, name in trace.names.items() if node in cheap}
    wanted |= {node: name for name, node in outputs.items()}
    wanted |= {cheap[node]: "negated" if node.operation == "neg" else "decayed" for node in trace.decayed.values()}

    names: dict[Symbol, Operand] = {}
    taken = {*trace.arrays, *trace.hypers, *OPERATIONS}  # a variable may be called like a word, but not here
    host: list[Instruction] = []
    body: list[Instruction] = []
    scalars: dict[str, None] = {}

    truths: dict[Symbol, str] = {}

    def unused(name: str) -> str:
        while name in taken:
            name = f"new_{name}"
        taken.add(name)
        return name

    def operand(node: Symbol) -> Operand:
        """A node as the body reads it. What crosses from the host is a number, so a truth is compared there."""
        name = names[node]
        if not isinstance(name, str) or not node.on_host:
            return name
        scalars[name] = None
        if not node.is_truth:
            return name
        if node not in truths:
            truths[node] = unused(f"{name}_holds")
            body.append(Instruction(truths[node], "ne", (name, 0.0)))
        return truths[node]

    for node in reachable(outputs.values()):
        if not node.args:
            names[node] = node.value
            continue
        operands = tuple(names[arg] if node.on_host else operand(arg) for arg in node.args)
        lines = host if node.on_host else body
        name = unused(wanted.get(node, f"{'h' if node.on_host else 'x'}{len(lines)}"))
        names[node] = name
        lines.append(Instruction(name, node.operation, operands))

    results = tuple(operand(node) for node in outputs.values())
    hypers = tuple(
        name for name, node in trace.hypers.items() if node in names
    )  # this variant may not need all of them
    state = list(trace.arrays)[2:]
    numbers = tuple(state.index(name) for name in stored[1:])
    inputs = ("param", "grad", *stored[1:])
    return Program(trace.name, inputs, hypers, tuple(host), tuple(scalars), tuple(body), results, numbers)


def _live(trace: Trace) -> list[str]:
    """The state that this variant of a rule changes, or needs for something that it stores."""
    state = {name: node for name, node in trace.arrays.items() if name not in ("param", "grad")}
    live = {name for name, node in state.items() if trace.outputs[name] is not node}
    while True:
        read = set(reachable(trace.outputs[name] for name in ("param", *live)))
        more = {name for name, node in state.items() if node in read} - live
        if not more:
            return [name for name in state if name in live]
        live |= more


def _cheapest(trace: Trace) -> dict[Symbol, Symbol]:
    """For every node of a trace, the one that takes its place."""
    cheap: dict[Symbol, Symbol] = {}
    for node in reachable(trace.outputs.values()):
        graph, args = node.graph, tuple(cheap[arg] for arg in node.args)
        if node.operation == "where" and node.is_truth:
            either, x, y = args
            kept = graph.node("and", (graph.node("not", (either,)), y))
            cheap[node] = graph.node("or", (graph.node("and", (either, x)), kept))
            continue
        if node.operation in OPERATIONS:
            truths = OPERATIONS[node.operation].truths
            args = (*args[:truths], *map(_number, args[truths:]))
        last = args[-1] if args else node
        match node.operation, last.value if last.operation == "literal" else None:
            case "literal", 0.0 if repr(last.value) == "-0.0":  # programs with 0.0 in its place would equal it
                cheap[node] = graph.node("neg", (graph.symbol(0.0),))
            case "pow", 2.0:
                cheap[node] = graph.node("mul", (args[0], args[0]))
            case "pow", 0.5:
                cheap[node] = graph.node("sqrt", (args[0],))
            case "pow", -1.0:
                cheap[node] = graph.node("div", (graph.symbol(1.0), args[0]))
            case "div", None if last.on_host and not node.on_host:
                # Many times cheaper for every element, and at most half a unit in the last place less exact.
                cheap[node] = graph.node("mul", (args[0], graph.node("div", (graph.symbol(1.0), last))))
            case _:
                cheap[node] = graph.node(node.operation, args, node.value)
    for node in trace.decayed.values():
        cheap.setdefault(node, node)
    return cheap


def _number(node: Symbol) -> Symbol:
    """A truth as 1 or 0, a number as it is."""
    graph = node.graph
    return graph.node("where", (node, graph.symbol(1.0), graph.symbol(0.0))) if node.is_truth else node

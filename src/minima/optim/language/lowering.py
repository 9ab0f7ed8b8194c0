"""From graph to program: the nodes of a trace as a straight line, each in the cheapest form that has the same meaning.

A node that depends on hyperparameters and ``t`` alone goes into the host part of the program, every other into its
body. What there is one of for a whole tensor is computed in float64, and taken into the precision of the parameter by a
line of its own (``narrow``) where elements, rows or columns read it.
"""

from functools import cache

from minima.optim.language.operations import BEYOND, OPERATIONS, row_of
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT, MODEL, TENSOR
from minima.optim.language.symbols import Symbol, reachable
from minima.optim.language.trace import EMA, Trace

__all__ = ["live", "lower"]


@cache
def lower(trace: Trace, kept: frozenset[str] = frozenset()) -> Program:
    """The program of a trace; with state that is to be kept though this program has no use for it."""
    cheap = _cheapest(trace)
    needed = kept.union(live(trace))
    stored = ["param", *(name for name in trace.arrays if name in needed)]
    ranks = trace.ranks
    outputs = {name: _taken(cheap[trace.outputs[name]], ranks[name]) for name in stored}
    wanted = {cheap[node]: name for node, name in trace.names.items() if node in cheap}
    wanted |= {node: name for name, node in outputs.items()}
    wanted |= {cheap[node]: _front(name, node) for name, node in trace.decayed.items()}

    names: dict[Symbol, Operand] = {}
    taken = {*trace.arrays, *trace.hypers, *OPERATIONS, *BEYOND}  # a variable may be called like a word, but not here
    host: list[Instruction] = []
    body: list[Instruction] = []
    scalars: dict[str, None] = {}
    wide: dict[str, None] = {}
    shape: dict[str, str] = {}
    truths: dict[tuple[Symbol, bool], str] = {}

    def unused(name: str) -> str:
        while name in taken:
            name = f"new_{name}"
        taken.add(name)
        return name

    def operand(node: Symbol, reader: int) -> Operand:
        """A node as a line of this rank reads it. What crosses from the host is a number; a truth is compared there."""
        name = names[node]
        if not isinstance(name, str) or not node.on_host:
            return name
        is_wide = reader <= TENSOR
        (wide if is_wide else scalars)[name] = None
        if not node.is_truth:
            return name
        if (node, is_wide) not in truths:
            truths[node, is_wide] = unused(f"{name}_holds")
            body.append(Instruction(truths[node, is_wide], "ne", (name, 0.0), reader if is_wide else ELEMENT))
        return truths[node, is_wide]

    shared = set(reachable(node for name, node in outputs.items() if ranks[name] == MODEL))
    for node in reachable(outputs.values()):
        # What shared state does not depend on, each parameter computes with the hyperparameters of its own group.
        rank = TENSOR if node.rank == MODEL and node.operation != "total" and node not in shared else node.rank
        if node.operation == "size":
            shape = shape or {side: unused(side) for side in ("rows", "columns")}
            names[node] = shape[str(node.value)]
            continue
        if not node.args:
            names[node] = node.value
            continue
        operands = tuple(names[arg] if node.on_host else operand(arg, rank) for arg in node.args)
        if node.operation == "total":  # and which of them it is, for parameters whose programs differ
            operands = (*operands, float(node.value))
        lines = host if node.on_host else body
        name = unused(wanted.get(node, f"{'h' if node.on_host else 'x'}{len(lines)}"))
        names[node] = name
        lines.append(Instruction(name, node.operation, operands, rank))

    results = tuple(operand(node, ranks[name]) for name, node in outputs.items())
    hypers = tuple(
        name for name, node in trace.hypers.items() if node in names
    )  # this variant may not need all of them
    state = list(trace.arrays)[2:]
    numbers = tuple(state.index(name) if name != EMA else -1 for name in stored[1:])  # an average is as the parameter
    inputs = ("param", "grad", *stored[1:])
    sizes = tuple(ranks[name] for name in inputs)
    return Program(
        trace.name,
        inputs,
        hypers,
        tuple(host),
        tuple(scalars),
        tuple(body),
        results,
        numbers,
        wide=tuple(wide),
        ranks=() if all(size == ELEMENT for size in sizes) else sizes,
        shape=tuple(shape.values()),
    )


def live(trace: Trace) -> list[str]:
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
            either, x, y = (_taken(arg, node.rank) for arg in args)
            kept = graph.node("and", (graph.node("not", (either,)), y))
            cheap[node] = graph.node("or", (graph.node("and", (either, x)), kept))
            continue
        if node.args:
            truths = row_of(node.operation).truths
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
            case "div", None if last.rank <= TENSOR < node.rank or last.on_host and not node.on_host:
                # Many times cheaper for every element, and at most half a unit in the last place less exact.
                inverse = graph.node("div", (graph.symbol(1.0), last))
                cheap[node] = graph.node("mul", (_taken(args[0], node.rank), _taken(inverse, node.rank)))
            case _:
                if node.args and node.rank > TENSOR:
                    args = tuple(_taken(arg, node.rank) for arg in args)
                cheap[node] = graph.node(node.operation, args, node.value) if args else node
    for node in trace.decayed.values():
        cheap.setdefault(node, node)
    return cheap


def _front(name: str, node: Symbol) -> str:
    """What the parameter or the gradient is called as the rule is given it."""
    return {"neg": "negated", "mul": "decayed" if name == "param" else "clipped"}.get(node.operation, "decayed")


def _taken(node: Symbol, rank: int) -> Symbol:
    """A node as something of this rank reads it: numbers for the tensor or the model in the parameter's precision."""
    if rank <= TENSOR or not MODEL <= node.rank <= TENSOR or node.operation == "narrow":
        return node
    narrow = node.graph.node("narrow", (_number(node),))
    return node.graph.node("ne", (narrow, node.graph.symbol(0.0))) if node.is_truth else narrow


def _number(node: Symbol) -> Symbol:
    """A truth as 1 or 0, a number as it is."""
    graph = node.graph
    return graph.node("where", (node, graph.symbol(1.0), graph.symbol(0.0))) if node.is_truth else node

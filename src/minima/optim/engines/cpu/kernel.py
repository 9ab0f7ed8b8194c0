"""The kernel of a program: what is printed for it, compiled in memory, once for each combination of dtypes."""

from minima.optim.engines.cpu.llvm import Code, compiled
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.phases import PhasePrinter
from minima.optim.engines.cpu.printer import Printer
from minima.optim.language.program import Program

__all__ = ["compile_kernel", "kernel_source"]


@once
def compile_kernel(program: Program, param: str, state: tuple[str, ...], compute: str) -> Code:
    """The machine code of a program for parameters of kind ``param`` and state of these kinds.

    It takes the address of a job (`minima.optim.engines.cpu.pool`) and the number of the thread. Where the program
    looks beyond one element, ``between`` of the code is what runs between two phases of the job.
    """
    return compiled(kernel_source(program, param, state, compute), "kernel", None, 2)


def kernel_source(program: Program, param: str, state: tuple[str, ...], compute: str) -> str:
    """What is compiled, in LLVM's language.

    Args:
        program: The program.
        param: The kind in which parameters are kept: their dtype, which gradients have too, and how it is rounded to.
        state: For all ``kept`` state of the program, the kind in which it is kept.
        compute: The precision of the loop.
    """
    printer = Printer if program.is_plain else PhasePrinter
    return str(printer(program, param, state, compute).module)

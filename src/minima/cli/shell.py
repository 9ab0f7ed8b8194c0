"""The habits of a program in a shell: exit statuses, a reader that goes away, a full disk, Ctrl-C."""

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Args:
        arguments: The words behind ``minima``; those of the process by default.

    Returns:
        The exit status: 0 where all went well, 1 where something failed on the way, 2 for a wrong call, 130 after an
        interrupt.
    """
    try:
        from minima.cli.parser import parsed  # here, since loading it takes long enough for a Ctrl-C

        try:
            options = parsed(sys.argv[1:] if arguments is None else arguments)
            return options.run(options)
        finally:
            sys.stdout.flush()  # what cannot be written is to be known here, not when the interpreter ends
    except KeyboardInterrupt:
        print("\nminima: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone: nothing is left to say, and nobody to say it to
        _forget_output()
        return 1
    except OSError as error:
        _forget_output()
        print(f"minima: cannot go on: {error.strerror or error}", file=sys.stderr)
        return 1


def _forget_output() -> None:
    """Let the interpreter flush what is left into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

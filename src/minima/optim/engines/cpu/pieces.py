"""Work on the elements of many arrays, cut into pieces that threads take one after another."""

from collections.abc import Callable, Sequence

import numpy as np

from minima.optim.engines.cpu.threads import share, thread_count

__all__ = ["ALONE", "CHUNK", "Pieces"]

CHUNK = 1 << 14
"""Elements in one piece of work: small enough to spread evenly, large enough that its start costs nothing; whole blocks
of stored state."""
ALONE = 1 << 17
"""Elements below which one thread does it all: waking a second one costs more than it saves."""


class Pieces:
    """The pieces of some arrays, and who works on them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Cut arrays of these numbers of elements."""
        rows = [
            (array, start, min(CHUNK, size - start))
            for array, size in enumerate(sizes)
            for start in range(0, size, CHUNK)
        ]
        self.table = np.array(rows, np.int64).reshape(-1, 3)
        """For every piece the number of its array, where it starts, and how many elements it has."""
        self.done = np.zeros(1, np.int64)
        """How many pieces have been taken by a thread, this time."""
        self.helpers = 0 if sum(sizes) < ALONE else thread_count() - 1
        # Several turns for each thread, so that one which is held up does not hold up the others.
        turns = 8 * (self.helpers + 1) if self.helpers else 1
        self.grain = max(1, -(-len(rows) // turns))
        """How many pieces a thread takes at a time."""

    def share(self, work: Callable[[], None]) -> None:
        """Call ``work``, which takes pieces until none is left, here and in the threads that help.

        An interrupt (Ctrl-C) waits until all pieces are done: nothing is left half changed.
        """
        interrupt: KeyboardInterrupt | None = None
        self.done[0] = 0
        while self.done[0] < len(self.table):
            try:
                if self.helpers == 0:
                    work()
                else:
                    share(work, self.helpers)
            except KeyboardInterrupt as caught:
                interrupt = caught
        if interrupt is not None:
            raise interrupt

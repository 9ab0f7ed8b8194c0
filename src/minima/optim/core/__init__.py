"""The step, once for every face: what moves, by which program, with which numbers, and what is counted."""

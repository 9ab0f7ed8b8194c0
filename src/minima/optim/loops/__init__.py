"""Loops around the step of an optimizer: algorithms that take any other as one of their parts."""

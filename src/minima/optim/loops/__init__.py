"""Loops around a step: optimizers that ask for the loss and its gradient more than once."""

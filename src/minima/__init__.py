"""minima: optimizers for deep learning. Write the update once; run it everywhere."""

__version__ = "0.1.0"

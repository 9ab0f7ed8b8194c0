"""The algorithms, one file each."""

__all__ = ["RULES"]

RULES = {
    "SGD": "minima.optim.rules.sgd",
    "AdaGrad": "minima.optim.rules.adagrad",
    "RMSProp": "minima.optim.rules.rmsprop",
    "Lion": "minima.optim.rules.lion",
    "Adam": "minima.optim.rules.adam",
    "AdamW": "minima.optim.rules.adamw",
}
"""Every algorithm with its module, from the simplest to the hardest. None is loaded before it is asked for."""

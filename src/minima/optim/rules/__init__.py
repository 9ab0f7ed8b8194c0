"""The algorithms, one file each."""

__all__ = ["RULES"]

RULES = {
    "SGD": "minima.optim.rules.sgd",
    "ScheduleFreeSGD": "minima.optim.rules.schedulefreesgd",
    "ASGD": "minima.optim.rules.asgd",
    "AdaGrad": "minima.optim.rules.adagrad",
    "RMSProp": "minima.optim.rules.rmsprop",
    "AdaDelta": "minima.optim.rules.adadelta",
    "Rprop": "minima.optim.rules.rprop",
    "Signum": "minima.optim.rules.signum",
    "Lion": "minima.optim.rules.lion",
    "Adam": "minima.optim.rules.adam",
    "AdamW": "minima.optim.rules.adamw",
    "ScheduleFreeAdamW": "minima.optim.rules.schedulefreeadamw",
    "AdaMax": "minima.optim.rules.adamax",
    "NAdam": "minima.optim.rules.nadam",
    "RAdam": "minima.optim.rules.radam",
    "AdaBelief": "minima.optim.rules.adabelief",
    "AdEMAMix": "minima.optim.rules.ademamix",
    "ADOPT": "minima.optim.rules.adopt",
    "LARS": "minima.optim.rules.lars",
    "LAMB": "minima.optim.rules.lamb",
    "NovoGrad": "minima.optim.rules.novograd",
    "StableAdamW": "minima.optim.rules.stableadamw",
    "Adafactor": "minima.optim.rules.adafactor",
    "Prodigy": "minima.optim.rules.prodigy",
    "Muon": "minima.optim.rules.muon",
    "Shampoo": "minima.optim.rules.shampoo",
    "SOAP": "minima.optim.rules.soap",
}
"""Every algorithm with its module, from the simplest to the hardest. None is loaded before it is asked for."""

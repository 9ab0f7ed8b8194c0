"""The optimizers of minima inside PyTorch: subclasses of ``torch.optim.Optimizer``, made from the same rules."""

try:
    from minima.torch.adaptation import adapt
    from minima.torch.algorithms import SGD, AdaGrad, Adam, RMSProp
    from minima.torch.exchange import load_torch_state_dict, torch_state_dict
    from minima.torch.optimizer import Optimizer
except ModuleNotFoundError as error:
    if error.name != "torch":  # PyTorch is there, and what is missing is for its own message to say
        raise
    from minima.errors import sentence

    hint = "pip install torch"
    raise ModuleNotFoundError(sentence("minima.torch", "needs PyTorch", hint=hint), name="torch") from None

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Optimizer",
    "RMSProp",
    "adapt",
    "load_torch_state_dict",
    "torch_state_dict",
]

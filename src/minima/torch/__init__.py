"""The optimizers of minima inside PyTorch: subclasses of ``torch.optim.Optimizer``, made from the same rules."""

from minima.torch.adaptation import adapt
from minima.torch.algorithms import SGD, AdaGrad, Adam, RMSProp
from minima.torch.exchange import load_torch_state_dict, torch_state_dict
from minima.torch.optimizer import Optimizer

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

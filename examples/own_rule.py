"""A new optimizer in six lines: Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, Algorithm 2).

It declares its hyperparameters and its update, and has weight decay, parameter groups, checks, a formula and a compiled
step like every other. Run: python examples/own_rule.py
"""

import minima as mi
from minima import nn
from minima.optim import Optimizer, hyper, sign


class Lion(Optimizer):
    """Steps by the sign of a running average of the gradient."""

    lr: float = hyper(default=1e-4, low=0)
    beta1: float = hyper(default=0.9, low=0, below=1)
    beta2: float = hyper(default=0.99, low=0, below=1)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, beta1, beta2):
        step = sign(beta1 * exp_avg + (1 - beta1) * grad)
        return param - lr * step, beta2 * exp_avg + (1 - beta2) * grad


mi.manual_seed(0)
x = mi.init.randn(512, 2)
y = (x[:, 0] * x[:, 1] > 0).astype("int64")  # the corners of a square: no line parts them
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
optimizer = Lion([{"params": weights, "wd": 0.01}, {"params": biases}], lr=0.003)
cross_entropy = nn.CrossEntropyLoss()
for _ in range(300):
    loss = cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
accuracy = (model(x).argmax(axis=1) == y).mean().item()
print(f"{optimizer}\nloss {loss.item():.4f}, accuracy {accuracy:.1%}")
assert accuracy > 0.95

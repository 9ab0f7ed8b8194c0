"""An optimizer in the imperative style: a subclass that overrides step() and writes to p.data.

It runs one NumPy operation after another. A rule (see own_rule.py) is shorter and is compiled; this style is for what
asks for the loss or the gradient at a second point, by a closure. Run: python examples/imperative.py
"""

import minima as mi
from minima import init
from minima.optim import SGD, Optimizer


class Heavy(Optimizer):
    """Gradient descent with an average of the gradients as momentum, written out."""

    def __init__(self, params, lr=0.01, momentum=0.9):
        super().__init__(params)
        self.lr = lr
        self.momentum = momentum
        self.u = [init.zeros(*p.shape) for p in self.params]

    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            self.u[i] = self.momentum * self.u[i] + (1 - self.momentum) * p.grad.data
            p.data = p.data - self.lr * self.u[i]


def train(kind):
    """Where ten steps on (w - 3)**2 lead."""
    w = mi.Tensor([0.0], requires_grad=True)
    optimizer = kind([w], lr=0.2, momentum=0.9)
    for _ in range(10):
        ((w - 3.0) ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return w.item(), optimizer.t


by_hand, by_rule = train(Heavy), train(SGD)
print(f"by hand {by_hand}\nby rule {by_rule}")
assert abs(by_hand[0] - by_rule[0]) < 1e-5 and by_hand[1] == by_rule[1] == 10

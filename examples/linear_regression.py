"""Fit a line and a bit more: least squares on the diabetes data of scikit-learn, by four optimizers.

Run: python examples/linear_regression.py
"""

import numpy as np
from sklearn.datasets import load_diabetes

import minima as mi
from minima import nn
from minima.optim import SGD, AdaGrad, Adam, RMSProp

data = load_diabetes()
x = mi.Tensor(data.data / data.data.std(axis=0))
y = mi.Tensor((data.target - data.target.mean()) / data.target.std())

# What the optimizers are after: the solution of the normal equations.
best = np.linalg.lstsq(np.c_[x.numpy(), np.ones(len(y))], y.numpy(), rcond=None)[0]
least = float(np.mean((np.c_[x.numpy(), np.ones(len(y))] @ best - y.numpy()) ** 2))
print(f"least squares  mean squared error {least:.4f}")

mean_squared_error = nn.MSELoss()
for kind, lr in ((SGD, 0.1), (AdaGrad, 0.1), (RMSProp, 0.003), (Adam, 0.01)):
    mi.manual_seed(0)
    model = nn.Linear(10, 1)
    optimizer = kind(model.parameters(), lr=lr)
    for _ in range(1000):
        loss = mean_squared_error(model(x).squeeze(1), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{kind.__name__:<14} mean squared error {loss.item():.4f}")
    assert loss.item() < least + 0.01

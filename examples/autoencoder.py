"""An autoencoder squeezes pictures of digits through four numbers, and draws them again from these.

Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006). The measure of it is the
best that a linear map can do with as many numbers: the principal components. Run: python examples/autoencoder.py
"""

import numpy as np
from course import draw, options, progress
from sklearn.datasets import load_digits

import minima as mi
from minima import nn, optim
from minima.data import DataLoader

CODE = 4


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, CODE))
        self.decoder = nn.Sequential(
            nn.Linear(CODE, 64), nn.SiLU(), nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 64), nn.Sigmoid()
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def principal_components(seen, x):
    """The pictures ``x`` from their places along the ``CODE`` directions in which those that were seen differ most."""
    mean = seen.mean(axis=0)
    directions = np.linalg.svd(seen - mean, full_matrices=False)[2][:CODE]
    return mean + (x - mean) @ directions.T @ directions


def redrawn(model, x):
    model.eval()
    with mi.no_grad():
        return model(x)


settings = options(__doc__, epochs=80, quick=12)
mi.manual_seed(settings.seed)

pictures = mi.tensor(load_digits().data / 16)  # 8 x 8 pixels in a row, from 0 (white) to 1
pictures = pictures[mi.randperm(len(pictures))]
train, valid, test = pictures[:1197], pictures[1197:1497], pictures[1497:]
loader = DataLoader(train, batch_size=32, shuffle=True)

model = Autoencoder()
mean_squared_error = nn.MSELoss()
steps = settings.epochs * len(loader)
optimizer = optim.AdamW(model.parameters(), lr=optim.schedules.cosine(3e-3, steps=steps), weight_decay=1e-3)

untrained = mean_squared_error(redrawn(model, test), test).item()
learned, errors = [], []
for epoch in progress(settings.epochs):
    model.train()
    total = 0.0
    for x in loader:
        loss = mean_squared_error(model(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    learned.append(total / len(train))
    errors.append(mean_squared_error(redrawn(model, valid), valid).item())
    if errors[-1] == min(errors):
        mi.save("autoencoder.safetensors", model=model)
    print(f"epoch {epoch:2}: mean squared error {learned[-1]:.4f}, on other pictures {errors[-1]:.4f}")

mi.load("autoencoder.safetensors", model=model)
linear = mi.tensor(principal_components(train.numpy(), test.numpy()))
trained = redrawn(model, test)
rows = {"New pictures": test, "from four numbers": trained, "from four principal components": linear}
draw(
    {"Mean squared error": {"training": learned, "validation": errors}},
    images={title: row[:12].view(-1, 8, 8).numpy() for title, row in rows.items()},
)
least = mean_squared_error(linear, test).item()
reached = mean_squared_error(trained, test).item()
print(f"mean squared error on new pictures: untrained {untrained:.4f}, trained {reached:.4f}, linear {least:.4f}")

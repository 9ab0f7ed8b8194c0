"""An LSTM reads a long row of numbers, of which two are marked, and gives the sum of those two.

The adding problem of Hochreiter and Schmidhuber, "Long short-term memory" (1997), section 5.4: what is to be added
stands many steps apart, and all else must be forgotten. A row counts as right when the error is below 0.04. Who looks
at nothing does best to answer 1, with a mean squared error of 1/6. Run: python examples/adding.py
"""

from course import draw, options, progress

import minima as mi
from minima import nn, optim

BATCH, HIDDEN = 64, 48


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(input_size=2, hidden_size=HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        output, (h, c) = self.lstm(x)  # output: (rows, steps, hidden), after every step
        return self.head(output[:, -1]).squeeze(1)


def draw_rows(count):
    """Rows of numbers in [0, 1) beside their marks, (count, length, 2), and the sums of the marked ones, (count,)."""
    numbers = mi.rand(count, length)
    half = length // 2  # one mark stands in the first half, the other in the second
    first, second = mi.randint(half, (count,)), mi.randint(half, length, (count,))
    marks = mi.one_hot(first, length) + mi.one_hot(second, length)
    return mi.stack([numbers, marks], dim=2), (numbers * marks).sum(dim=1)


def evaluate(model, x, y):
    """The mean squared error, and the share of rows with an error below 0.04."""
    model.eval()
    with mi.no_grad():
        error = model(x) - y
    return error.square().mean().item(), (error.abs() < 0.04).float().mean().item()


settings = options(__doc__, epochs=25, quick=5)
mi.manual_seed(settings.seed)
length = 8 if settings.quick else 30
valid, test = draw_rows(500), draw_rows(1000)  # what is trained on is drawn anew for every step

model = Adder()
mean_squared_error = nn.MSELoss()
steps = 100
rate = optim.schedules.cosine(5e-3, steps=steps * settings.epochs)
optimizer = optim.Adam(model.parameters(), lr=rate, max_norm=1.0)  # long rows make large gradients now and then

untrained, _ = evaluate(model, *test)
learned, errors, accuracies = [], [], []
for epoch in progress(settings.epochs):
    model.train()
    total = 0.0
    for _ in range(steps):
        x, y = draw_rows(BATCH)
        loss = mean_squared_error(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    learned.append(total / steps)
    error, accuracy = evaluate(model, *valid)
    errors.append(error)
    accuracies.append(accuracy)
    if error == min(errors):
        mi.save("adding.safetensors", model=model)
    print(f"epoch {epoch:2}: mean squared error {error:.5f}, accuracy {accuracy:.1%}")

mi.load("adding.safetensors", model=model)
trained, accuracy = evaluate(model, *test)
draw({"Mean squared error": {"training": learned, "validation": errors}, "Accuracy": {"validation": accuracies}})
print(f"mean squared error on new rows: untrained {untrained:.4f}, trained {trained:.5f}; {accuracy:.1%} are right")

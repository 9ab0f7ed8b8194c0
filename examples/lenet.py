"""LeNet reads handwritten digits: two convolutions with pooling, then three linear layers.

The network is LeNet-5 of LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II.B,
with today's ReLU and maximum in place of its squashing functions and means, and fit to scikit-learn's pictures, which
are 8 pixels wide rather than 32. Run: python examples/lenet.py
"""

from course import draw, options, progress
from sklearn.datasets import load_digits

import minima as mi
from minima import nn, optim
from minima.data import DataLoader, TensorDataset, random_split


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=3, padding=1),  # 6 channels of 8 x 8
            nn.ReLU(),
            nn.MaxPool2d(2),  # 4 x 4
            nn.Conv2d(6, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 16 channels of 2 x 2
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 2 * 2, 120),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def evaluate(model, loader):
    """The mean loss and the share of right answers, without learning from them."""
    loss, right, count = 0.0, 0, 0
    model.eval()
    with mi.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += nn.functional.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(dim=1) == y).sum().item()
            count += len(y)
    return loss / count, right / count


settings = options(__doc__, epochs=25, quick=5)
mi.manual_seed(settings.seed)

# Three fifths to learn from, one to choose the best epoch by, and one that is looked at once, at the very end.
pictures, digits = load_digits(return_X_y=True)
data = TensorDataset(pictures.reshape(-1, 1, 8, 8) / 16, digits)
train, valid, test = random_split(data, [0.6, 0.2, 0.2])
train_loader = DataLoader(train, batch_size=32, shuffle=True)
valid_loader, test_loader = DataLoader(valid, batch_size=120), DataLoader(test, batch_size=120)

model = LeNet()
print(model)
cross_entropy = nn.CrossEntropyLoss()
steps = settings.epochs * len(train_loader)
optimizer = optim.AdamW(model.parameters(), lr=optim.schedules.cosine(6e-3, steps=steps), weight_decay=0.01)

_, untrained = evaluate(model, test_loader)
losses, valid_losses, accuracies = [], [], []
for epoch in progress(settings.epochs):
    model.train()
    total = 0.0
    for x, y in train_loader:
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    losses.append(total / len(train))
    loss, accuracy = evaluate(model, valid_loader)
    valid_losses.append(loss)
    accuracies.append(accuracy)
    if accuracy == max(accuracies):
        mi.save("lenet.safetensors", model=model, epoch=epoch)
    print(f"epoch {epoch:2}: loss {losses[-1]:.4f}, validation loss {loss:.4f}, accuracy {accuracy:.1%}")

best = LeNet()
saved = mi.load("lenet.safetensors", model=best)
_, trained = evaluate(best, test_loader)
draw({"Cross-entropy": {"training": losses, "validation": valid_losses}, "Accuracy": {"validation": accuracies}})
print(f"accuracy on {len(test)} new digits: untrained {untrained:.1%}, trained {trained:.1%} (epoch {saved['epoch']})")

"""PyTorch with one line changed: a small convolutional network learns to read digits with AdamW of minima.

All around the optimizer is PyTorch's own: the model, the scheduler, clipping, the checkpoint. The run is stopped half
way, and a second one goes on from the file: both end with the same bits. Run: python examples/torch_digits.py
"""

import io

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from minima.torch import AdamW  # was: from torch.optim import AdamW

EPOCHS, BATCH = 6, 32


def make():
    """A model, its optimizer and its scheduler."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    optimizer = AdamW(model.named_parameters(), lr=5e-3, weight_decay=0.01)
    return model, optimizer, CosineAnnealingLR(optimizer, EPOCHS)


def train(model, optimizer, scheduler, x, y, epochs):
    """Some epochs, each in an order of its own."""
    cross_entropy = nn.CrossEntropyLoss()
    for epoch in epochs:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(BATCH):
            loss = cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        print(f"epoch {epoch + 1}: lr {scheduler.get_last_lr()[0]:.2g}, loss {loss.item():.4f}")
        scheduler.step()


torch.set_num_threads(1)  # there is too little in a batch for more
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)
torch.manual_seed(0)
order = torch.randperm(len(x))
seen, unseen = order[300:], order[:300]

run = make()
train(*run, x[seen], y[seen], range(EPOCHS // 2))
file = io.BytesIO()
torch.save([part.state_dict() for part in run], file)
train(*run, x[seen], y[seen], range(EPOCHS // 2, EPOCHS))

print("again, from the file:")
file.seek(0)
resumed = make()
for part, state in zip(resumed, torch.load(file), strict=True):
    part.load_state_dict(state)
train(*resumed, x[seen], y[seen], range(EPOCHS // 2, EPOCHS))

model = run[0].eval()
with torch.no_grad():
    accuracy = (model(x[unseen]).argmax(1) == y[unseen]).float().mean().item()
print(f"{len(unseen)} digits that it has not seen: {accuracy:.1%} right")
assert accuracy > 0.95
assert all(map(torch.equal, model.parameters(), resumed[0].parameters()))

"""What state in fewer bits costs in accuracy: final losses on scikit-learn's digits, over several seeds.

One network, 64-128-128-10, trained from the same weights on the same batches with state as it is computed, in bfloat16
and in blocks of 8 bits. Run: python benchmarks/state.py
"""

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import minima as mi
from minima import nn
from minima.data import DataLoader, TensorDataset
from minima.optim import Adam, RMSProp

KINDS = {"Adam": (Adam, 1e-3), "RMSProp": (RMSProp, 1e-3)}
STORAGE = (None, "bfloat16", "int8")


def train(kind, lr, state_dtype, seed, epochs):
    """Training loss, validation loss and validation accuracy after the last epoch."""
    data = load_digits()
    x = (data.data / 16).astype("float32")
    x_train, x_valid, y_train, y_valid = train_test_split(x, data.target, stratify=data.target, random_state=seed)
    mi.manual_seed(seed)
    hidden = (nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
    model = nn.Sequential(*hidden, nn.Linear(128, 10))
    optimizer = kind(model.parameters(), lr=lr, state_dtype=state_dtype)
    cross_entropy = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True, seed=seed)
    for _ in range(epochs):
        for xb, yb in loader:
            cross_entropy(model(xb), yb).backward()
            optimizer.step()
            optimizer.zero_grad()
    with mi.no_grad():
        scores = model(mi.Tensor(x_valid))
        loss = cross_entropy(model(mi.Tensor(x_train)), mi.Tensor(y_train)).item()
        valid = cross_entropy(scores, mi.Tensor(y_valid)).item()
        accuracy = (scores.argmax(axis=1) == mi.Tensor(y_valid)).mean().item()
    return loss, valid, accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    console = Console()
    table = Table(title=f"digits, 64-128-128-10, {options.epochs} epochs, {options.seeds} seeds: mean and deviation")
    for column in ("optimizer", "state", "training loss", "validation loss", "accuracy"):
        table.add_column(column, justify="left" if column in ("optimizer", "state") else "right")
    runs = [(name, storage) for name in KINDS for storage in STORAGE]
    for name, storage in track(runs, console=console, disable=not console.is_terminal):
        results = np.array([train(*KINDS[name], storage, seed, options.epochs) for seed in range(options.seeds)])
        mean, deviation = results.mean(axis=0), results.std(axis=0)
        cells = [f"{m:.5f} ± {d:.5f}" for m, d in zip(mean[:2], deviation[:2], strict=True)]
        table.add_row(name, storage or "as computed", *cells, f"{mean[2]:.2%} ± {deviation[2]:.2%}")
    console.print(table)


if __name__ == "__main__":
    main()

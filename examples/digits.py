"""A whole training, from data to curves: handwritten digits, learned by a small network, safe from interruption.

In use is what longer trainings want: weight decay for weights alone, a warm-up and a cosine, clipping, an average of
the weights, checkpoints, and metrics as JSON lines. Stop it at any moment, by Ctrl-C, kill -9 or a power cut: with
--resume it goes on, and ends with the very files of a run that was never stopped. Run: python examples/digits.py
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from rich.progress import Progress
from sklearn.datasets import load_digits

import minima as mi
from minima import nn
from minima.data import DataLoader, TensorDataset
from minima.optim import EMA, Adam, clip_grad_norm
from minima.optim.schedules import cosine
from minima.random import generator


def load_data(judged=360):
    """1797 images of 8 x 8 pixels: most to train on, some to judge by."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order] / 16, data.target[order]
    return TensorDataset(x[judged:], y[judged:]), TensorDataset(x[:judged], y[:judged])


def shift(x):
    """Move every image by a part of a pixel, in a direction of its own: what it shows stays the same."""
    images, count = x.numpy().reshape(-1, 8, 8), len(x)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    down, right = generator().integers(0, 3, (2, count, 1, 1))
    moved = padded[np.arange(count).reshape(-1, 1, 1), down + np.arange(8).reshape(8, 1), right + np.arange(8)]
    part = generator().random((count, 1, 1))
    return mi.Tensor((part * moved + (1 - part) * images).reshape(-1, 64))


def accuracy(model, ema, data):
    """The share of the data that the averaged weights get right."""
    x, y = data.tensors
    model.eval()
    with mi.no_grad(), ema.averaged():
        right = model(x).argmax(axis=1) == y
    model.train()
    return right.mean().item()


def train(folder, epochs, every, resume, seed):
    folder.mkdir(parents=True, exist_ok=True)
    mi.manual_seed(seed)
    training, validation = load_data()
    loader = DataLoader(training, batch_size=32, shuffle=True)
    steps = epochs * len(loader)
    hidden = nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2)
    model = nn.Sequential(*hidden, nn.Linear(256, 10))
    lr = cosine(2e-3, steps=steps, warmup=steps // 20)
    optimizer = Adam(model, lr=lr, weight_decay=0.05, groups={"*.bias": {"weight_decay": 0}})
    ema = EMA(model, decay=0.99, warmup=True)
    cross_entropy = nn.CrossEntropyLoss()
    run = {"model": model, "optimizer": optimizer, "ema": ema, "loader": loader}
    checkpoints, path = mi.Checkpoints(folder), folder / "metrics.jsonl"
    saved = checkpoints.load(**run) if resume else None
    if saved:
        os.truncate(path, saved["written"])  # what was written after the checkpoint comes again
    with open(path, "a" if saved else "w") as metrics, Progress(disable=not os.isatty(1)) as bar:
        task = bar.add_task("training", total=steps, completed=optimizer.t)

        def note(**row):
            print(json.dumps({"step": optimizer.t, **row}), file=metrics, flush=True)

        def save():
            os.fsync(metrics.fileno())
            checkpoints.save(optimizer.t, **run, written=metrics.tell())

        for epoch in range(loader.epoch, epochs):
            for x, y in loader:
                loss = cross_entropy(model(shift(x)), y)
                loss.backward()
                norm = clip_grad_norm(model, 1.0)
                note(loss=loss.item(), lr=optimizer.lr, norm=norm)
                optimizer.step()
                optimizer.zero_grad()
                ema.update()
                bar.advance(task)
                if optimizer.t % every == 0:
                    save()
            note(epoch=epoch, accuracy=accuracy(model, ema, validation))
        save()
    return accuracy(model, ema, validation)


def draw(folder):
    """Draw the metrics into curves.png."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(12, 3.2), dpi=120, layout="constrained")
    for axes, key in zip(figure.subplots(1, 4), ("loss", "norm", "lr", "accuracy"), strict=True):
        axes.plot(*zip(*[(row["step"], row[key]) for row in rows if key in row], strict=True), linewidth=0.8)
        axes.set(title=key, xlabel="step", yscale="log" if key in ("loss", "norm") else "linear")
    figure.savefig(folder / "curves.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("digits"), help="for all files")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, if there is one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    share = train(**vars(options))
    draw(options.folder)
    print(f"{share:.1%} of the digits that it has not seen are right; curves: {options.folder / 'curves.png'}")
    assert share > 0.98 or options.epochs < 40

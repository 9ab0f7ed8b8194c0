"""A transformer learns Python's own help, one character after the other, and then writes some itself.

The model is a small GPT: embeddings of characters and of places, blocks of attention and a perceptron, each behind a
LayerNorm and beside a way around it (Radford et al., "Language models are unsupervised multitask learners", 2019,
section 2.3). Run: python examples/characters.py
"""

import math
from pydoc_data.topics import topics

import numpy as np

import minima as mi
from course import draw, options, progress
from minima import nn, optim
from minima.nn import functional as F

WINDOW, WIDTH, HEADS, BLOCKS, BATCH = 64, 64, 4, 2, 32


class Attention(nn.Module):
    """Each place looks back: it takes a mean of the values at earlier places, weighted by how well their keys fit."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        count, length, _ = x.shape
        qkv = self.qkv(x).view(count, length, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (count, heads, length, features)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(count, length, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.token, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(BLOCKS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)

    def forward(self, ids):
        x = self.token(ids) + self.place(mi.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))  # logits for the next character, at every place


def batch(ids):
    """Windows from random places, and the same one character on: what is to be predicted."""
    starts = mi.randint(0, len(ids) - WINDOW, (BATCH, 1))
    places = starts + mi.arange(WINDOW)
    return ids[places], ids[places + 1]


def perplexity(model, ids):
    """Among how many equally likely characters the model hesitates, in the mean."""
    model.eval()
    windows = ids[: len(ids) // (WINDOW + 1) * (WINDOW + 1)].view(-1, WINDOW + 1)
    with mi.no_grad():
        logits = model(windows[:, :-1])
        return math.exp(F.cross_entropy(logits.view(-1, logits.shape[-1]), windows[:, 1:].view(-1)).item())


def write(model, start, length):
    """Go on from a text, each character drawn from what the model expects."""
    model.eval()
    ids = [number[c] for c in start]
    random = np.random.default_rng(settings.seed)
    with mi.no_grad():
        for _ in range(length):
            logits = model(mi.tensor([ids[-WINDOW:]]))[:, -1]
            p = F.softmax(logits / 0.8, dim=-1).numpy()[0].astype(float)
            ids.append(random.choice(len(p), p=p / p.sum()))
    return "".join(characters[i] for i in ids)


settings = options(__doc__, epochs=12, quick=2)
mi.manual_seed(settings.seed)
text = "\n".join(topics.values())
characters = sorted(set(text))
number = {c: i for i, c in enumerate(characters)}
ids = mi.tensor([number[c] for c in text])
train, valid = ids[: -len(ids) // 10], ids[-len(ids) // 10 :][:20000]

model = GPT(len(characters))
print(sum(p.numel() for p in model.parameters()), len(ids), len(characters), len(valid))
steps = 20 if settings.quick else 100
schedule = optim.schedules.cosine(4e-3, steps=steps * settings.epochs, warmup=steps // 2)
optimizer = optim.AdamW(model.parameters(), lr=schedule, weight_decay=0.01, max_norm=1.0)
print(perplexity(model, valid))
import time
t=time.time()
for epoch in progress(settings.epochs):
    model.train()
    total = 0
    for _ in range(steps):
        x, y = batch(train)
        logits = model(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    t1=time.time()
    print(epoch, total/steps, t1-t, perplexity(model, valid), time.time()-t1); t=time.time()
print(write(model, "The ", 400)); print(time.time()-t)

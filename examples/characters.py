"""A transformer learns Python's own help, one character after the other, and then writes some itself.

It is a small GPT (Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3): blocks of
attention and a perceptron, each behind a LayerNorm, with a way around it. Run: python examples/characters.py
"""

import math
from pydoc_data.topics import topics

from course import draw, options, progress

import minima as mi
from minima import nn, optim
from minima.nn import functional as F

WINDOW, WIDTH, HEADS, BLOCKS = 48, 64, 4, 2
BATCH, STEPS = 16, 50  # windows in a batch, batches in what is called an epoch here


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


def loss_of(model, x, y):
    """The mean cross-entropy of the characters that come next."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def draw_batch(ids):
    """Windows from random places, and the same one character further on: what is to be predicted."""
    places = mi.randint(len(ids) - WINDOW, (BATCH, 1)) + mi.arange(WINDOW)
    return ids[places], ids[places + 1]


def perplexity(model, ids):
    """Between how many characters, all as likely, the model hesitates in the mean."""
    x, y = ids[:-1].view(-1, WINDOW), ids[1:].view(-1, WINDOW)
    model.eval()
    with mi.no_grad():
        return math.exp(loss_of(model, x, y).item())


def write(model, ids, length, temperature=0.7):
    """Go on from ids of shape (1, count), one after the other, as the model expects them."""
    model.eval()
    with mi.no_grad():
        for _ in range(length):
            chances = F.softmax(model(ids[:, -WINDOW:])[:, -1] / temperature, dim=-1)
            ids = mi.cat([ids, mi.multinomial(chances, num_samples=1)], dim=1)
    return ids


settings = options(__doc__, epochs=16, quick=2)
mi.manual_seed(settings.seed)
articles = list(topics.values())
text = "\n".join(articles[i] for i in mi.randperm(len(articles)).tolist())
characters = sorted(set(text))
number = {character: i for i, character in enumerate(characters)}
ids = mi.tensor([number[character] for character in text])
judged = 200 * WINDOW + 1
train, valid, test = mi.split(ids, [len(ids) - 2 * judged, judged, judged], dim=0)
model = GPT(len(characters))
schedule = optim.schedules.cosine(5e-3, steps=STEPS * settings.epochs, warmup=STEPS // 2)
optimizer = optim.AdamW(model.parameters(), lr=schedule, weight_decay=0.01)
untrained, learned, measured = perplexity(model, test), [], []
for epoch in progress(settings.epochs):
    model.train()
    total = 0.0
    for _ in range(STEPS):
        loss = loss_of(model, *draw_batch(train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    learned.append(math.exp(total / STEPS))
    measured.append(perplexity(model, valid))
    if measured[-1] == min(measured):
        mi.save("characters.safetensors", model=model)
    print(f"epoch {epoch:2}: perplexity {learned[-1]:.2f}, on other text {measured[-1]:.2f}")

mi.load("characters.safetensors", model=model)
start = mi.tensor([[number[character] for character in "The "]])
print("".join(characters[i] for i in write(model, start, length=400)[0].tolist()))
draw({"Perplexity": {"training": learned, "validation": measured}})
print(f"perplexity on new text: untrained {untrained:.2f}, trained {perplexity(model, test):.2f}")

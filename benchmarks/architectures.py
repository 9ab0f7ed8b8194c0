"""Networks that are written once for minima and PyTorch, whose layers have the same names: ``of`` is one's ``nn``."""

from itertools import pairwise
from typing import Any

__all__ = ["characters", "convolutions", "perceptron"]


def perceptron(of: Any, widths: tuple[int, ...]) -> Any:
    """Linear layers of these widths with ReLU between them."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(widths):
        layers += [of.Linear(inputs, outputs), of.ReLU()]
    return of.Sequential(*layers[:-1])


def convolutions(of: Any, channels: tuple[int, ...], side: int, classes: int) -> Any:
    """Convolutions by 3 x 3, each with ReLU and a pooling by 2 x 2 behind it, then a linear layer."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(channels):
        layers += [of.Conv2d(inputs, outputs, 3, padding=1), of.ReLU(), of.MaxPool2d(2)]
        side //= 2
    return of.Sequential(*layers, of.Flatten(), of.Linear(channels[-1] * side * side, classes))


def characters(of: Any, widths: tuple[int, ...], length: int, heads: int) -> Any:
    """A language model of characters as in nanoGPT: blocks of causal attention and GELU that normalise their input.

    ``widths`` are the number of characters, the width of each block, and the number of characters again.
    """
    count, width = widths[0], widths[1]

    class Block(of.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = of.LayerNorm(width), of.LayerNorm(width)
            self.mixed, self.out = of.Linear(width, 3 * width), of.Linear(width, width)
            self.wide, self.narrow = of.Linear(width, 4 * width), of.Linear(4 * width, width)
            self.activation = of.GELU()

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            mixed = self.mixed(self.norm1(x)).reshape(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = of.functional.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2], is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(n, t, width))
            return x + self.narrow(self.activation(self.wide(self.norm2(x))))

    class Characters(of.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.places = of.Embedding(count, width), of.Embedding(length, width)
            self.blocks = of.Sequential(*[Block() for _ in widths[1:-1]])
            self.norm, self.head = of.LayerNorm(width), of.Linear(width, widths[-1])

        def forward(self, x: Any) -> Any:
            y = self.blocks(self.letters(x) + self.places.weight)
            return self.head(self.norm(y)).reshape(-1, widths[-1])

    return Characters()

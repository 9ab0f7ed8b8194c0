"""The order of additions as the definition has it, one addition after another."""

from minima.optim.engines.reductions import BAND, CHUNK, LANES


def row_sum(values):
    """The sum of numbers in a row: chunks with running sums, added by halves; and of the chunks likewise."""
    while len(values) > 1:
        sums = []
        for start in range(0, len(values), CHUNK):
            lanes = [0.0] * LANES
            for i, value in enumerate(values[start : start + CHUNK]):
                lanes[i % LANES] += value
            while len(lanes) > 1:
                half = len(lanes) // 2
                lanes = [low + high for low, high in zip(lanes[:half], lanes[half:], strict=True)]
            sums += lanes
        values = sums
    return values[0] if values else 0.0


def column_sum(values):
    """The sum of numbers in a column: bands from top to bottom; and of the bands likewise."""
    while True:
        sums = []
        for start in range(0, max(1, len(values)), BAND):
            band = 0.0
            for value in values[start : start + BAND]:
                band += value
            sums.append(band)
        if len(sums) == 1:
            return sums[0]
        values = sums

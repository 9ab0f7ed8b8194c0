"""Data sets, and the loader that cuts them into batches."""

from minima.data.collate import default_collate
from minima.data.dataset import Dataset, Subset, TensorDataset, random_split
from minima.data.loader import DataLoader

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate", "random_split"]

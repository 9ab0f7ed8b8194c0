"""The data of the demo: 569 tumours, 30 measurements each, benign or malignant."""

from dataclasses import dataclass
from importlib import import_module

import numpy as np

from minima.data import TensorDataset

__all__ = ["Split", "load"]


@dataclass(frozen=True)
class Split:
    """Samples to train on, and samples to judge by."""

    train: TensorDataset
    valid: TensorDataset


def load(seed: int) -> Split:
    """Four fifths to train on, one fifth to judge by, with the classes in the same proportion; every measurement is
    standardised by the mean and deviation of the training samples."""
    # scikit-learn has no types: taken by name, it is Any to a type checker
    data = import_module("sklearn.datasets").load_breast_cancer()
    x_train, x_valid, y_train, y_valid = import_module("sklearn.model_selection").train_test_split(
        data.data, data.target, test_size=0.2, stratify=data.target, random_state=seed
    )
    mean, deviation = np.mean(x_train, axis=0), np.std(x_train, axis=0)
    return Split(
        TensorDataset((x_train - mean) / deviation, y_train.astype(np.int64)),
        TensorDataset((x_valid - mean) / deviation, y_valid.astype(np.int64)),
    )

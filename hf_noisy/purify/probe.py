"""A linear classifier on frozen features: its predictions, and how it came to them epoch by epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer


def probe_logits(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    num_classes: int,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-2,
    batch_size: int = 64,
    seed: int = 0,
) -> Iterator[Float32[np.ndarray, "rows classes"]]:
    """Train a linear layer on the given labels and give its logits of all rows after each epoch.

    What the layer learns late, it learns by heart: the epochs are what the scores of training dynamics read.

    Args:
        features: `[rows, width]`, scaled here.
        labels: `[rows]`, given labels.
        num_classes: Number of classes.
        epochs: How many.
        learning_rate: Of Adam.
        batch_size: Rows a step.
        seed: Of the order of the rows.

    Yields:
        Logits `[rows, classes]`, one array an epoch.

    Example:
        >>> features = np.array([[0.0], [1.0]])
        >>> len(list(probe_logits(features, np.array([0, 1]), 2, epochs=3)))
        3
    """
    deviation = features.std(axis=0)
    scaled = torch.from_numpy(
        ((features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    )
    targets = torch.from_numpy(labels.astype(np.int64))
    layer = torch.nn.Linear(features.shape[1], num_classes)
    torch.nn.init.zeros_(layer.weight)  # no draw: the start is the same for every seed
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(scaled), generator=order).split(batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(scaled[rows]), targets[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            yield layer(scaled).numpy()

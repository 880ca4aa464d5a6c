"""Part-dependent noise: the transition matrix of a row is a mixture of those of its parts."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from hf_noisy.core.rng import uniforms
from hf_noisy.data.noise.feature_noise import FeatureNoise, Targets, normal_weight, truncated_normal
from hf_noisy.data.noise.kind import TrueRows


@dataclass(frozen=True)
class PartDependentNoise(FeatureNoise):
    """Whether a label moves, and where to, depends on the row through a mixture of parts.

    T(x) = sum_r h_r(x) P^r, where the weights h_r(x) of the parts are at least 0 and sum to 1, and P^r is a random
    transition matrix: class y flips with a probability drawn from a normal distribution around `rate` truncated to
    [0, 1], to a class drawn from the softmax of standard normal numbers. In [`InstanceDependentNoise`] only the target
    depends on the features; here the flip does too.

    A part is a random group of the standardised features, and h_r its share of the sum of squares. Parts and matrices
    depend on the seed alone, so that two splits share one noise process.

    Args:
        rate: Mean probability of a flip, in [0, 1).
        std: Standard deviation of the flip rates of parts and classes before truncation, at least 0.
        exact: Flip exactly `round(rate * rows)` rows, those with the largest flip rate minus a uniform number. False
            draws each row independently; the rate is then that of the random matrices.
        num_parts: Number of parts, at least 2, and at most one per feature.

    Source: the mixture of Part-dependent Label Noise (Xia et al., 2020), Section 3, which learns the parts by
    non-negative matrix factorisation and estimates the matrices; here both are random. The experiments of that paper
    use [`InstanceDependentNoise`].

    Example:
        >>> import numpy as np
        >>> labels, features = np.arange(10) % 2, np.random.default_rng(0).normal(size=(10, 8))
        >>> int((PartDependentNoise(0.3).apply(labels, 2, seed=0, features=features) != labels).sum())
        3
    """

    rate: float
    std: float = 0.1
    exact: bool = True
    num_parts: int = 5
    kind: str = field(default="part_dependent", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_parts < 2:
            raise ValueError(f"num_parts must be at least 2, got {self.num_parts}")

    def _process(
        self, true: TrueRows, features: Float[np.ndarray, "rows features"], draws: Float[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, " rows"], Targets]:
        labels, num_classes = true.labels, true.num_classes
        shares = part_shares(features, self.num_parts, true.seed)
        matrices = part_matrices(true.seed, shares.shape[1], num_classes, self.rate, self.std)
        stay = matrices.diagonal(axis1=1, axis2=2)  # [parts, classes]
        flip_rates = 1 - np.einsum("np,pn->n", shares, stay[:, labels])

        def targets(rows: np.ndarray) -> np.ndarray:
            mixed = np.empty((len(rows), num_classes))
            for label in np.unique(labels[rows]):
                mixed[labels[rows] == label] = shares[rows[labels[rows] == label]] @ matrices[:, label]
            mixed[np.arange(len(rows)), labels[rows]] = 0
            # If no part flips the class but exact counts require it, every other class is equally likely.
            total = mixed.sum(axis=1, keepdims=True)
            uniform = np.arange(num_classes) != labels[rows][:, None]
            return np.where(total > 0, mixed, uniform) / np.where(total > 0, total, num_classes - 1)

        return flip_rates, targets


def part_shares(
    features: Float[np.ndarray, "rows features"], num_parts: int, seed: int
) -> Float[np.ndarray, "rows parts"]:
    """Weight of each part in each row: the share of its group of features in the sum of squares."""
    size = features.shape[1]
    order = uniforms(seed, stream="label_noise/parts", index=np.arange(size), size=1)[:, 0].argsort()
    groups = np.array_split(order, min(num_parts, size))
    squares = np.stack([np.square(features[:, group]).sum(axis=1) for group in groups], axis=1)
    total = squares.sum(axis=1, keepdims=True)
    return np.where(total > 0, squares / np.where(total > 0, total, 1), 1 / len(groups))


def part_matrices(
    seed: int, num_parts: int, num_classes: int, rate: float, std: float
) -> Float[np.ndarray, "parts classes classes"]:
    """A random row-stochastic matrix for each part, `[parts, classes, classes]`."""
    parts = np.arange(num_parts)
    draws = uniforms(seed, stream="label_noise/part_rates", index=parts, size=num_classes)
    flip_rates = truncated_normal(draws, rate, std)[:, :, None]
    itself = np.eye(num_classes, dtype=bool)
    exponentials = np.where(itself, 0, np.exp(normal_weight(seed, num_parts, num_classes, num_classes)))
    matrices = flip_rates * exponentials / exponentials.sum(axis=2, keepdims=True)
    return np.where(itself, 1 - flip_rates, matrices)

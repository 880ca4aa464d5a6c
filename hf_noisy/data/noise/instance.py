"""Instance-dependent noise: the class a label moves to depends on the features of the row."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.data.noise.feature_noise import FeatureNoise, Targets, normal_weight, truncated_normal
from hf_noisy.data.noise.kind import TrueRows


@dataclass(frozen=True)
class InstanceDependentNoise(FeatureNoise):
    """Each label moves with its own probability, to a class that depends on the row.

    Row i flips with probability q_i, drawn from a normal distribution around `rate` truncated to [0, 1], to a class
    drawn from softmax(sharpness x_i W[y_i]) without y_i, where W holds one random normal matrix per true class.
    Features are standardised and divided by the square root of their number S; otherwise the softmax would be one-hot.

    With `exact`, the `round(rate * rows)` rows with the largest q_i - u_i flip, u_i uniform: the same rows as by
    independent draws, except for those closest to the threshold. W depends on the seed alone, so that two splits share
    one noise process.

    Args:
        rate: Mean probability of a flip, in [0, 1).
        std: Standard deviation of q_i before truncation, at least 0.
        exact: Flip exactly `round(rate * rows)` rows. False draws each row independently; truncation then shifts the
            rate slightly.
        sharpness: Factor of the logits, above 0. At 1 their standard deviation is about 1 and a row has several likely
            targets; sqrt(S) is the formula as printed, with standardised features; larger values give each row one
            target, as the published code does with raw pixels and token ids.
        shared_weight: One matrix W for all true classes: the likely targets then depend on the row alone.

    Source: Algorithm 3 of DyGEN (Zhuang et al., 2023), the same as Algorithm 2 of Part-dependent Label Noise (Xia et
    al., 2020); both draw each row independently. A shared matrix: CORES (Cheng et al., 2021).

    Example:
        >>> import numpy as np
        >>> labels, features = np.arange(10) % 2, np.random.default_rng(0).normal(size=(10, 3))
        >>> int((InstanceDependentNoise(0.3).apply(labels, 2, seed=0, features=features) != labels).sum())
        3
    """

    rate: float
    std: float = 0.1
    exact: bool = True
    sharpness: float = 1.0
    shared_weight: bool = False
    kind: str = field(default="instance_dependent", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sharpness < np.inf:
            raise ValueError(f"sharpness must be above 0 and finite, got {self.sharpness}")

    def _process(
        self, true: TrueRows, features: Float[np.ndarray, "rows features"], draws: Float[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, " rows"], Targets]:
        labels, num_classes, size = true.labels, true.num_classes, features.shape[1]
        matrices = 1 if self.shared_weight else num_classes
        weight = normal_weight(true.seed, matrices, size, num_classes) * self.sharpness
        weight = np.broadcast_to(weight, (num_classes, size, num_classes))
        flip_rates = truncated_normal(draws, self.rate, self.std)
        return flip_rates, lambda rows: flip_probabilities(features[rows], labels[rows], weight, np.ones(len(rows)))


def flip_probabilities(
    features: Float[np.ndarray, "rows features"],
    labels: Integer[np.ndarray, " rows"],
    weight: Float[np.ndarray, "classes features classes"],
    flip_rates: Float[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows classes"]:
    """P(given | row) `[rows, classes]`: q softmax(x W[y]) off the true class, 1 - q on it."""
    logits = np.empty((len(labels), weight.shape[2]))
    # One product per class: gathering weight[labels] would copy a whole matrix for every row.
    for label in np.unique(labels):
        logits[labels == label] = features[labels == label] @ weight[label]
    rows = np.arange(len(labels))
    logits[rows, labels] = -np.inf
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = flip_rates[:, None] * exponentials / exponentials.sum(axis=1, keepdims=True)
    probabilities[rows, labels] = 1 - flip_rates
    return probabilities

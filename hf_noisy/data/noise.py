"""Noise put into the labels of a clean dataset, by the protocols of the literature.

Noise is drawn once and stored with the dataset, never anew each epoch. By default it is exact: `round(rate * rows)`
labels change, so that a rate in a report is a rate in the data. Every draw is keyed by seed and row.
"""

from dataclasses import asdict, dataclass, field
from typing import Protocol, runtime_checkable

import datasets
import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.columns import CLEAN_LABEL, LABEL
from hf_noisy.data.class_map import MapNoise
from hf_noisy.data.draws import check_rate, choose, noise_draws
from hf_noisy.data.features import row_features
from hf_noisy.data.records import check_class_ids, class_labels, record_noise
from hf_noisy.rng import uniforms

_CHUNK = 4096


@runtime_checkable
class Noise(Protocol):
    """What `inject_noise` asks of a noise: a dataclass with a name, a rate, and `apply` on an array of labels."""

    @property
    def kind(self) -> str: ...

    @property
    def rate(self) -> float: ...

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Float[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels."""
        ...


@dataclass(frozen=True)
class SymmetricNoise:
    """Labels move to a class drawn uniformly, whatever the row shows.

    Args:
        rate: Share of the rows that are redrawn, in [0, 1).
        include_self: Draw over all classes, so that about rate / classes of the redrawn labels stay right. False
            (default) draws among the other classes.
        exact: Redraw exactly `round(rate * rows)` rows. False redraws each row independently.

    Source: without self Co-teaching (Han et al., 2018); with self DivideMix (Li et al., 2020).

    Example:
        >>> import numpy as np
        >>> given = symmetric(0.4).apply(np.zeros(10, dtype=np.int64), num_classes=3, seed=0)
        >>> int((given != 0).sum())
        4
    """

    rate: float
    include_self: bool = False
    exact: bool = True
    kind: str = field(default="symmetric", init=False)

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Float[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels; `features` is not used.

        Args:
            labels: True classes `[rows]`.
            num_classes: Number of classes.
            seed: Seed of the draws.
            features: Not used.
            stream: Name of the split, so that row 0 of two splits has two draws.

        Returns:
            Given labels `[rows]`, int64.
        """
        labels = check_class_ids(labels, num_classes)
        draws = noise_draws(seed, stream, len(labels))
        flips = choose(self.rate - draws[:, 0], self.rate, self.exact)
        if self.include_self:
            targets = (draws[:, 1] * num_classes).astype(np.int64)
        else:
            targets = (labels + 1 + (draws[:, 1] * (num_classes - 1)).astype(np.int64)) % num_classes
        return np.where(flips, targets, labels)

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        others = self.rate / (num_classes if self.include_self else num_classes - 1)
        matrix = np.full((num_classes, num_classes), others)
        np.fill_diagonal(matrix, 1 - others * (num_classes - 1))
        return matrix


@dataclass(frozen=True)
class PairNoise:
    """Labels move to the next class, the last one to the first (asymmetric noise).

    The order of the class ids decides which classes are confused.

    Args:
        rate: Share of the rows that move, in [0, 1).
        exact: Move exactly `round(rate * rows)` rows. False moves each row independently.

    Source: pair flipping of Co-teaching (Han et al., 2018).

    Example:
        >>> import numpy as np
        >>> sorted(pair(0.5).apply(np.array([2, 2]), num_classes=3, seed=0).tolist())
        [0, 2]
    """

    rate: float
    exact: bool = True
    kind: str = field(default="pair", init=False)

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Float[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels; arguments as in [`SymmetricNoise.apply`]."""
        labels = check_class_ids(labels, num_classes)
        flips = choose(self.rate - noise_draws(seed, stream, len(labels))[:, 0], self.rate, self.exact)
        return np.where(flips, (labels + 1) % num_classes, labels)

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        identity = np.eye(num_classes)
        return (1 - self.rate) * identity + self.rate * np.roll(identity, 1, axis=1)


@dataclass(frozen=True)
class InstanceDependentNoise:
    """Labels move with a probability, and to a class, that depend on the row.

    Row i flips with probability q_i, drawn from a normal distribution around `rate` cut to [0, 1], to a class drawn
    from softmax(x_i W[y_i]) without y_i, where W holds one random normal matrix a true class. Features are
    standardised and divided by the square root of their number; otherwise the softmax would be one-hot.

    With `exact`, the `round(rate * rows)` rows with the largest q_i - u_i flip, u_i uniform: the rows that an
    independent draw would flip, plus or minus those nearest to their threshold. W depends on the seed alone, so that
    two splits share one noise process.

    Args:
        rate: Mean probability of a flip, in [0, 1).
        std: Standard deviation of q_i before the cut, at least 0.
        exact: Flip exactly `round(rate * rows)` rows. False draws each row independently; the cut then shifts the rate
            a little.

    Source: Part-dependent Label Noise (Xia et al., 2020), Algorithm 2 of its appendix.

    Example:
        >>> import numpy as np
        >>> labels, features = np.arange(10) % 2, np.random.default_rng(0).normal(size=(10, 3))
        >>> int((instance_dependent(0.3).apply(labels, 2, seed=0, features=features) != labels).sum())
        3
    """

    rate: float
    std: float = 0.1
    exact: bool = True
    kind: str = field(default="instance_dependent", init=False)

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not self.std >= 0:
            raise ValueError(f"std must be at least 0, got {self.std}")

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Float[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels; needs `features` `[rows, features]`, else as [`SymmetricNoise.apply`]."""
        labels = check_class_ids(labels, num_classes)
        if features is None or features.ndim != 2 or len(features) != len(labels):
            got = "None" if features is None else f"shape {features.shape}"
            raise ValueError(
                f"features must be an array of shape ({len(labels)}, features), one row a label, got {got}"
            )
        if not np.isfinite(features).all():
            raise ValueError("features must be finite, got NaN or infinity; fill them in before")
        draws = noise_draws(seed, stream, len(labels))
        flip_rates = _truncated_normal(draws[:, 2], self.rate, self.std)
        flips = choose(flip_rates - draws[:, 0], self.rate, self.exact)
        weight = _normal_weight(seed, num_classes, features.shape[1])
        given = labels.copy()
        features = _standardise(features)
        for start in range(0, len(labels), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(labels)))
            rows = rows[flips[rows]]
            targets = flip_probabilities(features[rows], labels[rows], weight, np.ones(len(rows)))
            given[rows] = (targets.cumsum(axis=1) < draws[rows, 1:2]).sum(axis=1)
        # The last sum of probabilities may fall short of 1 by rounding; then the last other class is meant.
        missed = given >= num_classes
        given[missed] = np.where(labels[missed] == num_classes - 1, num_classes - 2, num_classes - 1)
        return given


symmetric = SymmetricNoise
pair = PairNoise
asymmetric = MapNoise
instance_dependent = InstanceDependentNoise


def flip_probabilities(
    features: Float[np.ndarray, "rows features"],
    labels: Integer[np.ndarray, " rows"],
    weight: Float[np.ndarray, "classes features classes"],
    flip_rates: Float[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows classes"]:
    """P(given | row) of instance-dependent noise: q softmax(x W[y]) off the true class, 1 - q on it.

    Args:
        features: Row vectors `[rows, features]`, already scaled.
        labels: True classes `[rows]`.
        weight: One matrix a true class, `[classes, features, classes]`.
        flip_rates: Probability of a flip of each row, `[rows]`.

    Returns:
        Probabilities `[rows, classes]`; each row sums to 1.

    Source: Part-dependent Label Noise (Xia et al., 2020).

    Example:
        >>> import numpy as np
        >>> flip_probabilities(np.ones((1, 1)), np.array([0]), np.zeros((3, 1, 3)), np.array([0.4])).tolist()
        [[0.6, 0.2, 0.2]]
    """
    logits = np.empty((len(labels), weight.shape[2]))
    # One product a class: gathering weight[labels] would copy a whole matrix for every row.
    for label in np.unique(labels):
        logits[labels == label] = features[labels == label] @ weight[label]
    rows = np.arange(len(labels))
    logits[rows, labels] = -np.inf
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = flip_rates[:, None] * exponentials / exponentials.sum(axis=1, keepdims=True)
    probabilities[rows, labels] = 1 - flip_rates
    return probabilities


def inject_noise(
    dataset: datasets.Dataset,
    noise: Noise,
    *,
    label_column: str = LABEL,
    seed: int = 0,
    features: Float[np.ndarray, "rows features"] | None = None,
    stream: str = "train",
) -> datasets.Dataset:
    """A copy of the dataset with noisy given labels; the true ones move to `clean_label`.

    What was done is kept in the dataset's info and read back by [`~hf_noisy.data.noise_record`].

    Args:
        dataset: Dataset with true labels, a `ClassLabel` (or whole numbers from 0).
        noise: `symmetric(rate)`, `pair(rate)`, `asymmetric(rate, mapping)` or `instance_dependent(rate)`.
        label_column: Column of the true labels; it holds the given labels afterwards.
        seed: Seed of the noise.
        features: Row vectors `[rows, features]` for instance-dependent noise; by default made from the column `text`
            or `image`.
        stream: Name of the split; use another one for each split of a dataset.

    Returns:
        The dataset with `label_column` noisy and `clean_label` added, of the same feature.

    Raises:
        ValueError: If labels are missing, out of range or of fewer than 2 classes, or `clean_label` exists already.

    Example:
        >>> from hf_noisy.data import inject_noise, noise, noise_record
        >>> clean = datasets.Dataset.from_dict({"label": [0, 1, 2, 0, 1]})
        >>> noise_record(inject_noise(clean, noise.symmetric(0.4)))["rate_measured"]
        0.4
    """
    if CLEAN_LABEL in dataset.column_names:
        raise ValueError(
            f"dataset already has a column '{CLEAN_LABEL}', which noise would overwrite; "
            f"remove it, or inject noise into the dataset that has true labels in '{label_column}'"
        )
    labels, num_classes = class_labels(dataset, label_column)
    if features is None and noise.kind == "instance_dependent":
        (features,) = row_features(dataset)
    given = noise.apply(labels, num_classes, seed, features, stream)
    feature = dataset.features[label_column]
    # Stored rows, not formatted ones: copying selected rows would run a lazy transform and keep its result.
    noisy = dataset.with_format(None).rename_column(label_column, CLEAN_LABEL)
    noisy = _with_format_of(dataset, noisy.add_column(label_column, given, feature=feature))
    record = {**asdict(noise), "seed": seed, "stream": stream}  # type: ignore[call-overload]
    return record_noise(noisy, record, labels, given, num_classes)


def _with_format_of(dataset: datasets.Dataset, noisy: datasets.Dataset) -> datasets.Dataset:
    form = dataset.format
    columns = None if set(form["columns"]) == set(dataset.column_names) else form["columns"]
    return noisy.with_format(form["type"], columns, form["output_all_columns"], **form["format_kwargs"])


def _truncated_normal(draws: Float[np.ndarray, " rows"], mean: float, std: float) -> Float[np.ndarray, " rows"]:
    from scipy.special import ndtr, ndtri

    if std == 0:
        return np.full(len(draws), mean)
    low, high = ndtr(-mean / std), ndtr((1 - mean) / std)
    values: Float[np.ndarray, " rows"] = np.clip(mean + std * ndtri(low + draws * (high - low)), 0, 1)
    return values


def _normal_weight(seed: int, num_classes: int, num_features: int) -> Float[np.ndarray, "classes features classes"]:
    from scipy.special import ndtri

    cells = np.arange(num_classes * num_features)
    draws = uniforms(seed, stream="label_noise/weight", index=cells, size=num_classes)
    weight: Float[np.ndarray, "classes features classes"] = ndtri(draws).reshape(
        num_classes, num_features, num_classes
    )
    return weight


def _standardise(features: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows features"]:
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    scaled: np.ndarray = centred / np.where(deviation > 0, deviation, 1) / np.sqrt(features.shape[1])
    return scaled

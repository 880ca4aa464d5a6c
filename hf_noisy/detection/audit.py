"""Audit of a dataset from features and given labels: wrong labels, noise rate, duplicates, outliers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from datasets import Dataset
from jaxtyping import Float, Float64, Int64

from hf_noisy.core.checks import check_features
from hf_noisy.core.columns import FEATURES, LABEL, column_vectors
from hf_noisy.core.phases import phase
from hf_noisy.data.checked import RANDOM, CheckedRows, checked_rows, class_names
from hf_noisy.data.records import class_labels
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.duplicates import DuplicateGroup, duplicates_among
from hf_noisy.detection.evidence import Evidence, fit_evidence
from hf_noisy.detection.find import issues_by_opinions
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.likely_transition import label_quality
from hf_noisy.detection.noise_rate import NoiseRate
from hf_noisy.detection.outliers import Outliers, outliers_among
from hf_noisy.detection.probe import probe_logits
from hf_noisy.detection.surroundings import NearestIndex, check_nearest_index, surroundings
from hf_noisy.detection.training_dynamics import DataMap, data_map

_SHOWN = 10  # classes in a message


@dataclass(frozen=True)
class Audit:
    """The result of [`audit`]."""

    labels: Int64[np.ndarray, " rows"]  # given labels
    class_names: list[str]
    probabilities: Float64[np.ndarray, "rows classes"]  # predictions of models that saw neither the row nor its copies
    issues: LabelIssues
    transition_matrix: Float64[np.ndarray, "classes classes"]  # estimated, [true, given]
    dynamics: DataMap  # of the given labels, by a linear probe
    duplicates: list[DuplicateGroup]  # see [`~hf_noisy.detection.duplicates.find_duplicates`]
    outliers: Outliers  # see [`~hf_noisy.detection.outliers.find_outliers`]
    checked: CheckedRows | None = None
    estimates: CheckedEstimates | None = None  # if some of the checked rows were drawn at random
    informed: bool = True  # whether the features say something about the labels

    @property
    def rate_is_known(self) -> bool:
        """Whether there is anything to estimate the noise rate from."""
        return self.informed or self.estimates is not None


def audit(
    dataset: Dataset,
    *,
    features: str = FEATURES,
    folds: int = 5,
    epochs: int = 10,
    seed: int = 0,
    index: NearestIndex = "auto",
    checked: Any = None,
    votes: Any = None,
) -> Audit:
    """Find wrong labels, duplicates and outliers, and estimate how many labels are wrong.

    [`~hf_noisy.detection.evidence.fit_evidence`] gives the probabilities of the true label of each row on frozen
    features, and a label is flagged if another class is more probable even given that label. The quality ranks
    all labels: the probability that a label is right under the noise that held-out labels support. The data map comes
    from training a linear layer. Neither true labels nor a noise rate are needed.

    Rows that a person has checked are flagged if their given label is another one, and
    [`~hf_noisy.detection.checked_correction.CheckedCorrection`] learns from them about the others. If some were drawn
    at random, the noise rate and its interval come from them.

    Args:
        dataset: Rows with given labels in `label` and vectors in `features`, such as those of
            [`~hf_noisy.models.embed.embed`].
        features: Column of the vectors.
        folds: Folds of the cross-validation.
        epochs: Epochs of the linear layer.
        seed: Seed of the folds and of the order of rows.
        checked: Checked rows, as for [`~hf_noisy.data.checked.checked_rows`]; by default the column `checked_label`
            if there is one.
        index: How the nearest rows are searched: `"exact"`, `"faiss"` for an approximate search with that package, or
            `"auto"`: exact up to 20,000 rows, and in more rows only among those of similar directions.
        votes: Answers of several annotators; quality and flags are then those of
            [`~hf_noisy.detection.find.find_wrong_labels`] with votes.

    Returns:
        An [`Audit`].

    Raises:
        ValueError: If a column is missing, a vector is not finite, or there are fewer than 2 classes, or a class
            has a single row. Classes without rows are fine: no label is suspected to be one of them.
        ImportError: If `index` is `"faiss"` and faiss is not installed.

    Example:
        >>> vectors = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
        >>> rows = Dataset.from_dict({"features": vectors, "label": [0] * 19 + [1] + [1] * 20})
        >>> int(audit(rows, epochs=1).issues.suggested[19])
        0
    """
    check_nearest_index(index)
    check_auditable(dataset)
    labels, num_classes = class_labels(dataset, LABEL)
    if features not in dataset.column_names:
        raise ValueError(f"features must be one of {dataset.column_names}, got '{features}'; add it with embed")
    rows = check_features(column_vectors(dataset, features), f"column '{features}'")
    found = checked_rows(dataset, checked)
    with phase("neighbours"):
        around = surroundings(rows, index)
    with phase("predictors"):
        evidence = fit_evidence(rows, labels, num_classes=num_classes, folds=folds, seed=seed)
        issues, transition, estimates = _issues(rows, labels, evidence, found, folds, seed)
        if votes is not None:
            issues = issues_by_opinions(labels, evidence.probabilities, votes, issues.noise_rate, found)
    with phase("data map"):
        dynamics = data_map(labels, probe_logits(rows, labels, num_classes, epochs=epochs, seed=seed))
    with phase("duplicates and outliers"):
        duplicates, outliers = duplicates_among(labels, around), outliers_among(around)
    return Audit(
        labels=labels,
        class_names=class_names(dataset),
        probabilities=evidence.probabilities,
        issues=issues,
        transition_matrix=transition,
        dynamics=dynamics,
        duplicates=duplicates,
        outliers=outliers,
        checked=found,
        estimates=estimates,
        informed=evidence.informed,
    )


def check_auditable(dataset: Dataset, numbers: Sequence[int] | np.ndarray | None = None) -> None:
    """Refuse labels of a single class, or with a class of one row; `numbers` are the rows' numbers in messages."""
    feature = dataset.features.get(LABEL)
    if isinstance(feature, datasets.ClassLabel) and feature.num_classes == 1:
        raise ValueError(f"column '{LABEL}' must hold at least 2 classes, got '{feature.names[0]}' alone; check it")
    labels, num_classes = class_labels(dataset, LABEL)
    names, counts = class_names(dataset), np.bincount(labels, minlength=num_classes)
    if (counts > 0).sum() == 1:
        raise ValueError(f"column '{LABEL}' must hold at least 2 classes, got '{names[labels[0]]}' alone; check it")
    if (alone := np.flatnonzero(counts == 1)).size:
        rows = [int(np.argmax(labels == label)) for label in alone[:_SHOWN]]
        named = [
            f"'{names[label]}' (row {row if numbers is None else numbers[row]})"
            for label, row in zip(alone, rows, strict=False)
        ]
        more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
        raise ValueError(
            f"each class needs 2 rows in column '{LABEL}' for an audit, but 1 row alone has {', '.join(named)}{more}; "
            "drop such rows, or give them another label"
        )


def _issues(
    vectors: Float[np.ndarray, "rows width"],
    labels: Int64[np.ndarray, " rows"],
    evidence: Evidence,
    checked: CheckedRows | None,
    folds: int,
    seed: int,
) -> tuple[LabelIssues, Float64[np.ndarray, "classes classes"], CheckedEstimates | None]:
    """The issues, the transition matrix, and the estimates from checked rows."""
    posterior, transition, rate, estimates = evidence.posterior, evidence.transition, evidence.noise_rate, None
    if checked is not None:
        classes = posterior.shape[1]
        corrected = CheckedCorrection(folds).fit(
            vectors, labels, checked.index, checked.labels, num_classes=classes, seed=seed
        )
        posterior, transition = corrected.posterior, corrected.transition
        if RANDOM in checked.strategy:
            estimates = CheckedEstimates(
                labels, checked, classes, posterior=corrected.model_posterior, held_out=corrected.held_out
            )
            share = estimates.noise_rate()
            rate = NoiseRate(share.rate, share.low, share.high)
    likely = posterior.argmax(1)
    if checked is None and evidence.informed:
        quality = label_quality(labels, evidence.probabilities, seed)
    else:
        quality = posterior[np.arange(len(labels)), labels]
    return LabelIssues(likely != labels, quality, likely, rate), transition, estimates

"""DMLP: frozen features, given labels and a few clean rows in, a posterior of the true label out."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Integer
from scipy.special import softmax

from hf_noisy.core.checks import check_features, given_classes
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_POSTERIOR
from hf_noisy.data.checked import UNCHECKED, checked_column
from hf_noisy.purification.dmlp.combine import combine, fit_transition, fit_weights
from hf_noisy.purification.dmlp.correction import Correction
from hf_noisy.purification.dmlp.ridge import Ridge, trusted_rows

logger = logging.getLogger(__name__)

CITATION = (
    "Tu, Y., Zhang, B., Li, Y., Liu, L., Li, J., Wang, Y., Wang, C., Zhao, C. R. (2023). Learning from Noisy "
    "Labels with Decoupled Meta Label Purifier. CVPR 2023."
)
_GIVEN_WEIGHT = 0.7  # of the log-odds by the given label, if there is no `clean_given` to fit it to

Posterior = Float32[np.ndarray, "rows classes"]


def dmlp_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    clean: str = "given",
    checked: Any = None,
    clean_features: Float[np.ndarray, "clean width"] | None = None,
    clean_labels: Integer[np.ndarray, " _"] | None = None,
    clean_given: Integer[np.ndarray, " _"] | None = None,
    num_classes: int | None = None,
    epochs: int = 100,
    chunk_rows: int = 7000,
    paper_exact: bool = False,
) -> Posterior:
    """Decoupled Meta Label Purifier: labels are corrected so that a ridge regression on them fits the clean rows.

    Gradient steps on the labels through a closed-form ridge regression (IPC) alternate with a linear classifier that
    learns the labels and replaces them every few epochs (EAC), over chunks of rows. Two branches each use half of the
    clean rows; the other half determines the weight of the branch relative to a ridge regression on the clean rows
    alone. Last comes the given label, through a transition matrix fitted to all rows and weighted by `clean_given`.
    With `paper_exact` there is one branch, Eq. 4 to 9 are used as printed, and the result is the classifier's.

    Args:
        features: `[rows, width]`, finite.
        labels: `[rows]`, given labels.
        clean: `"given"` for clean rows by one of the arguments below; `"trusted"` to use rows whose given label agrees
            with the features instead, balanced over the classes.
        checked: `[rows]`, the class that a person found, -1 where nobody looked, or
            [`~hf_noisy.data.checked.CheckedRows`]; these rows are the clean ones, and their given labels are
            `clean_given`.
        clean_features: `[clean, width]`, features of rows whose true label is known; not among the rows to purify.
        clean_labels: `[clean]`, their true labels.
        clean_given: `[clean]`, their noisy labels, if known, to measure how reliable given labels are.
        num_classes: Number of classes; by default the largest given or clean label plus one.
        epochs: Passes over the rows.
        chunk_rows: Rows of one ridge regression; memory grows with it.
        paper_exact: Use the equations as printed.

    Returns:
        `[rows, classes]`, each row sums to 1; one-hot at the checked label where a row was checked.

    Raises:
        ValueError: If the clean rows are missing, features are not finite, or an argument is out of range.

    Source: Tu et al. (2023), Section 3. The defaults follow the published code and our measurements: docs/purify.md.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> truth = np.arange(400) % 2
        >>> features = (draw.normal(size=(400, 4)) + 3 * truth[:, None]).astype(np.float32)
        >>> checked = np.where(np.arange(400) < 40, truth, -1)
        >>> given = np.where(draw.uniform(size=400) < 0.3, 1 - truth, truth)
        >>> posterior = dmlp_posterior(features, given, checked=checked, epochs=20)
        >>> bool((posterior.argmax(1) == truth).mean() > 0.95)
        True
    """
    settings: dict[str, Any] = {"epochs": epochs, "chunk_rows": chunk_rows, "paper_exact": paper_exact}
    if checked is not None:
        return _around_checked(DMLP.posterior, features, labels, checked, num_classes, **settings)
    purifier = DMLP(clean_features, clean_labels, clean_given, clean=clean, num_classes=num_classes, **settings)
    return purifier.posterior(features, labels)


def ridge_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    clean: str = "given",
    checked: Any = None,
    clean_features: Float[np.ndarray, "clean width"] | None = None,
    clean_labels: Integer[np.ndarray, " _"] | None = None,
    num_classes: int | None = None,
) -> Posterior:
    """Ridge regression on the clean rows alone, the baseline of DMLP; arguments as [`dmlp_posterior`]."""
    if checked is not None:
        return _around_checked(DMLP.ridge, features, labels, checked, num_classes)
    return DMLP(clean_features, clean_labels, clean=clean, num_classes=num_classes).ridge(features, labels)


@dataclass(eq=False)
class DMLP:
    """[`dmlp_posterior`] as a step of `Dataset.map`, with a report.

    All rows must come in one batch: `dataset.map(purifier, batched=True, batch_size=None)`, which is fastest on
    `dataset.with_format("numpy")`. A second call with the same rows reads the cache of `datasets`.

    Args:
        clean_features: As in [`dmlp_posterior`], like all others.
        clean_labels: `[clean]`.
        clean_given: `[clean]`.
        clean: `"given"` or `"trusted"`.
        num_classes: Number of classes.
        epochs: Passes over the rows.
        chunk_rows: Rows of one ridge regression.
        paper_exact: Use the equations as printed.

    Attributes:
        report: After a call: out-of-sample accuracy of the ridge baseline and of DMLP on clean rows, the weights of
            the predictors, the transition matrix, and the share of rows on which DMLP and the baseline agree. None if
            the result came from the cache.

    Raises:
        ValueError: As [`dmlp_posterior`].

    Example:
        >>> draw = np.random.default_rng(0)
        >>> truth = np.arange(400) % 2
        >>> features = (draw.normal(size=(400, 4)) + 3 * truth[:, None]).astype(np.float32)
        >>> given = np.where(draw.uniform(size=400) < 0.3, 1 - truth, truth)
        >>> purifier = DMLP(features[:40], truth[:40], epochs=20)
        >>> posterior = purifier({"features": features[40:], "label": given[40:]})["label_posterior"]
        >>> bool((posterior.argmax(1) == truth[40:]).mean() > 0.95)
        True
    """

    clean_features: Float[np.ndarray, "clean width"] | None = None
    clean_labels: Integer[np.ndarray, " _"] | None = None
    clean_given: Integer[np.ndarray, " _"] | None = None
    _: KW_ONLY
    clean: str = "given"
    num_classes: int | None = None
    epochs: int = 100
    chunk_rows: int = 7000
    paper_exact: bool = False
    report: dict[str, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for argument in ("epochs", "chunk_rows"):
            if getattr(self, argument) < 1:
                raise ValueError(f"{argument} must be at least 1, got {getattr(self, argument)}")
        features, labels, given = self.clean_features, self.clean_labels, self.clean_given
        if self.clean not in ("given", "trusted"):
            raise ValueError(f"clean must be 'given' or 'trusted', got {self.clean!r}")
        if self.clean == "trusted":
            if any(rows is not None for rows in (features, labels, given)):
                raise ValueError(
                    "clean='trusted' takes no clean_features, clean_labels or clean_given; leave them out"
                )
            return
        if features is None or labels is None:
            raise ValueError(
                "clean_features and clean_labels are needed, rows whose true label is known; without any, pass "
                "clean='trusted'"
            )
        check_features(features, "clean_features")
        given_classes(labels, self.num_classes, "clean_labels")
        if len(features) != len(labels) or len(labels) < 2:
            raise ValueError(
                f"clean_features and clean_labels must have the same number of rows, at least 2, got {len(features)} "
                f"and {len(labels)}"
            )
        if given is not None:
            given_classes(given, self.num_classes, "clean_given")
            if len(given) != len(labels):
                raise ValueError(
                    f"clean_given must hold one label per clean row, got {len(given)} for {len(labels)} rows"
                )

    def __getstate__(self) -> dict[str, Any]:
        # Without the report, so that the fingerprint stays the same and a second call reads the cache.
        return {**self.__dict__, "report": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """`{"label_posterior": [rows, classes]}` of a batch with `features` `[rows, width]` and `label` `[rows]`."""
        return {LABEL_POSTERIOR: self.posterior(batch[FEATURES], batch[LABEL])}

    def baseline(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The same by ridge regression on the clean rows alone."""
        return {LABEL_POSTERIOR: self.ridge(batch[FEATURES], batch[LABEL])}

    def ridge(self, features: Any, labels: Any) -> Posterior:
        """[`ridge_posterior`] with these clean rows."""
        rows = self._rows(features, labels)
        log_p = Ridge.fit(rows.clean_features, rows.clean_labels, rows.num_classes)(rows.features)
        return np.asarray(softmax(log_p, axis=1), dtype=np.float32)

    def posterior(self, features: Any, labels: Any) -> Posterior:
        """[`dmlp_posterior`] with these clean rows; sets the report."""
        rows, exact = self._rows(features, labels), self.paper_exact
        _warn_of_duplicates(rows.features)
        ridge = Ridge.fit(rows.clean_features, rows.clean_labels, rows.num_classes)
        correction = Correction(
            rows.num_classes,
            branches=1 if exact else 2,
            epochs=self.epochs,
            chunk_rows=self.chunk_rows,
            paper_exact=exact,
        ).fit(rows.features[rows.fitted], rows.given[rows.fitted], rows.clean_features, rows.clean_labels)
        log_p, before = correction.log_probabilities(rows.features), ridge(rows.features)
        report = {
            "purifier": "dmlp" + "_paper" * exact + "_trusted" * (self.clean == "trusted"),
            "clean": self.clean,
            "clean_rows": len(rows.clean_labels),
            "baseline_clean_accuracy": _accuracy(rows.clean_labels, ridge.left_out),
        }
        if not exact:
            left_out = [ridge.left_out, correction.left_out]
            log_p, found = _combined([before, log_p], left_out, rows, self.clean_given)
            report |= found
        report["agreement_with_baseline"] = float((log_p.argmax(1) == before.argmax(1)).mean())
        logger.info("%s", report)
        self.report = report
        return np.asarray(softmax(log_p, axis=1), dtype=np.float32)

    def _rows(self, features: Any, labels: Any) -> "_DMLPRows":
        features = check_features(features)
        given, classes = given_classes(labels, self.num_classes)
        if len(given) == 0:
            raise ValueError("the batch has no rows to purify; pass a dataset with rows")
        if self.clean == "trusted":
            chosen = trusted_rows(features, given, classes)
            rest = np.setdiff1d(np.arange(len(given)), chosen)
            return _DMLPRows(features, given, features[chosen], given[chosen], classes, rest)
        clean_features = check_features(self.clean_features, "clean_features")
        clean_labels = np.asarray(self.clean_labels)
        if clean_features.shape[1] != features.shape[1]:
            raise ValueError(
                f"clean_features have {clean_features.shape[1]} columns, but the features to purify have "
                f"{features.shape[1]}; embed both by the same model"
            )
        if self.num_classes is None:
            known = [clean_labels] if self.clean_given is None else [clean_labels, self.clean_given]
            classes = max(classes, *(int(np.max(labels)) + 1 for labels in known))
        if len(missing := np.setdiff1d(np.arange(classes), clean_labels)):
            warnings.warn(
                f"no clean row has class {', '.join(map(str, missing))}; add one, or few rows will be corrected to it",
                stacklevel=4,
            )
        return _DMLPRows(features, given, clean_features, clean_labels, classes, slice(None))


@dataclass(frozen=True)
class _DMLPRows:
    features: Float[np.ndarray, "rows width"]
    given: Integer[np.ndarray, " rows"]
    clean_features: Float[np.ndarray, "clean width"]
    clean_labels: Integer[np.ndarray, " clean"]
    num_classes: int
    fitted: Any  # the rows to correct, without trusted rows


def _around_checked(
    method: Callable[[DMLP, Any, Any], Posterior],
    features: Any,
    labels: Any,
    checked: Any,
    num_classes: int | None,
    **settings: Any,
) -> Posterior:
    """The posterior of the other rows with the checked ones as clean rows."""
    features = check_features(features)
    labels, classes = given_classes(labels, num_classes)
    column = checked_column(checked, len(labels), classes)
    known = column != UNCHECKED
    posterior: Posterior = np.eye(classes, dtype=np.float32)[column]
    purifier = DMLP(features[known], column[known], labels[known], num_classes=classes, **settings)
    if not known.all():
        posterior[~known] = method(purifier, features[~known], labels[~known])
    return posterior


def _combined(
    predictors: list[Float[np.ndarray, "rows classes"]],
    left_out: list[Float[np.ndarray, "clean classes"]],
    rows: _DMLPRows,
    clean_given: Integer[np.ndarray, " clean"] | None,
) -> tuple[Float64[np.ndarray, "rows classes"], dict[str, Any]]:
    """Ridge, classifier and given label combined, with weights fitted on left-out clean rows."""
    weights = fit_weights(left_out, rows.clean_labels)
    transition = fit_transition(combine(predictors, weights), rows.given)
    log_t = np.log(transition)
    if clean_given is not None:
        left_out = [*left_out, log_t[:, clean_given].T]
        weights = fit_weights(left_out, rows.clean_labels)
    accuracy = _accuracy(rows.clean_labels, combine(left_out, weights))
    if clean_given is None:
        weights = np.append(weights, _GIVEN_WEIGHT)
    named = dict(zip(("ridge", "head", "given"), weights.tolist(), strict=True))
    report = {"clean_accuracy": accuracy, "weights": named, "transition_matrix": transition}
    return combine([*predictors, log_t[:, rows.given].T], weights), report


def _accuracy(labels: Integer[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]) -> float:
    return float((log_probabilities.argmax(1) == labels).mean())


def _warn_of_duplicates(features: Float[np.ndarray, "rows width"]) -> None:
    # Row by row, to save memory.
    distinct = len({hash(row.tobytes()) for row in features})
    if distinct < len(features):
        warnings.warn(
            f"{len(features) - distinct} rows have the features of another row; all are kept, and weigh as often as "
            "they occur",
            stacklevel=4,
        )

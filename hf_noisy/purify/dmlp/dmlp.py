"""DMLP as a step of `Dataset.map`: frozen features, given labels and a few clean rows in, a posterior out."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from scipy.special import softmax

from hf_noisy.core.checks import feature_matrix, given_classes
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_POSTERIOR
from hf_noisy.purify.dmlp.correction import Correction
from hf_noisy.purify.dmlp.predictors import fit_transition, fit_weights, join
from hf_noisy.purify.dmlp.ridge import Ridge
from hf_noisy.purify.dmlp.trusted import trusted_rows

logger = logging.getLogger(__name__)

# Of the log-odds by the given label, where no clean row tells how far to believe it.
_GIVEN_WEIGHT = 0.7


class DMLP:
    """Decoupled Meta Label Purifier: labels are corrected so that a ridge regression on them suits clean rows.

    Gradient steps on the labels through a closed-form ridge regression (IPC) and a linear classifier that learns and
    replaces the labels every few epochs (EAC) run by turns over chunks of rows. Two branches each see half of the
    clean rows; the other half tells how much a branch can be believed, beside the ridge regression on the clean rows
    alone. The row's own given label is added last, through a transition matrix fitted to all rows; `clean_given` tells
    how much to believe it. With `paper_exact` there is one branch, Eq. 4 to 9 are followed as printed, and the labels
    are those of the classifier.

    All rows must come in one batch: `dataset.map(purifier, batched=True, batch_size=None)`, which is quick on
    `dataset.with_format("numpy")`.

    Args:
        clean_features: `[clean, width]`, features of rows whose true label is known; not among the rows to purify.
        clean_labels: `[clean]`, their true labels.
        clean_given: `[clean]`, the noisy labels that these rows had been given, if they are known. They tell how far
            to believe a given label, which is less where the features are wrong about the same rows.
        clean: `"given"` for the arguments above; `"trusted"` for people without clean labels: rows that the
            features and the given label agree about, balanced over the classes, serve instead. `name` then says so.
        num_classes: Number of classes; by default what given and clean labels show.
        epochs: Passes over the rows.
        chunk_rows: Rows of one ridge regression; memory grows with it.
        paper_exact: Follow the equations as printed.

    Attributes:
        report: After a call, what was found: accuracy on left-out clean rows of the ridge baseline and of DMLP, their
            weights, the transition matrix, and the share of rows on which both agree. None after a hit of the cache.

    Raises:
        ValueError: If the clean rows are missing, not finite, or an argument is out of range.

    Source: Tu et al. (2023), Section 3. The defaults follow the published code and our measurements: docs/dmlp.md.

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

    citation = (
        "Tu, Y., Zhang, B., Li, Y., Liu, L., Li, J., Wang, Y., Wang, C., Zhao, C. R. (2023). Learning from Noisy "
        "Labels with Decoupled Meta Label Purifier. CVPR 2023."
    )
    columns = (FEATURES, LABEL)

    def __init__(
        self,
        clean_features: Float[np.ndarray, "clean width"] | None = None,
        clean_labels: Integer[np.ndarray, " _"] | None = None,
        clean_given: Integer[np.ndarray, " _"] | None = None,
        *,
        clean: str = "given",
        num_classes: int | None = None,
        epochs: int = 100,
        chunk_rows: int = 7000,
        paper_exact: bool = False,
    ) -> None:
        for argument, value in (("epochs", epochs), ("chunk_rows", chunk_rows)):
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, got {value}")
        _check_clean(clean, clean_features, clean_labels, clean_given, num_classes)
        self.clean_features, self.clean_labels, self.clean_given = clean_features, clean_labels, clean_given
        self.clean, self.num_classes, self.epochs = clean, num_classes, epochs
        self.chunk_rows, self.paper_exact = chunk_rows, paper_exact
        self.report: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """`dmlp`, with what sets it apart from the default."""
        return "dmlp" + "-paper" * self.paper_exact + "-trusted" * (self.clean == "trusted")

    def __getstate__(self) -> dict[str, Any]:
        # What a call found is no part of what the purifier is: a second call must hit the cache.
        return {**self.__dict__, "report": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior of the true label.

        Args:
            batch: `features` `[rows, width]` and `label` `[rows]` of all rows.

        Returns:
            `{"label_posterior": [rows, classes]}`, float32.

        Raises:
            ValueError: If features or labels cannot be used.
        """
        features, given, clean, classes, fitted = self._rows(batch)
        _warn_of_duplicates(features)
        ridge = Ridge.fit(clean[0], clean[1], classes)
        correction = Correction(
            classes,
            branches=1 if self.paper_exact else 2,
            epochs=self.epochs,
            chunk_rows=self.chunk_rows,
            paper_exact=self.paper_exact,
        ).fit(features[fitted], given[fitted], *clean)
        log_p, before = correction.log_probabilities(features), ridge(features)
        self.report = {
            "purifier": self.name,
            "clean": self.clean,
            "clean_rows": len(clean[1]),
            "baseline_clean_accuracy": _accuracy(ridge.left_out, clean[1]),
        }
        if not self.paper_exact:
            log_p = self._joined([before, log_p], [ridge.left_out, correction.left_out], given, clean[1])
        self.report["agreement_with_baseline"] = float((log_p.argmax(1) == before.argmax(1)).mean())
        logger.info("%s", self.report)
        return {LABEL_POSTERIOR: softmax(log_p, axis=1).astype(np.float32)}

    def _joined(
        self,
        witnesses: list[Float[np.ndarray, "rows classes"]],
        left_out: list[Float[np.ndarray, "clean classes"]],
        given: Integer[np.ndarray, " rows"],
        clean_labels: Integer[np.ndarray, " clean"],
    ) -> Float[np.ndarray, "rows classes"]:
        """Ridge, head and given label as one, weighted by what they say of clean rows that were left out of them."""
        assert self.report is not None
        weights = fit_weights(left_out, clean_labels)
        transition = fit_transition(join(witnesses, weights), given)
        log_t = np.log(transition)
        if self.clean_given is None:
            self.report["clean_accuracy"] = _accuracy(join(left_out, weights), clean_labels)
            weights = np.append(weights, _GIVEN_WEIGHT)
        else:
            left_out = [*left_out, log_t[:, self.clean_given].T]
            weights = fit_weights(left_out, clean_labels)
            self.report["clean_accuracy"] = _accuracy(join(left_out, weights), clean_labels)
        self.report["weights"] = dict(zip(("ridge", "head", "given"), weights.tolist(), strict=True))
        self.report["transition_matrix"] = transition
        return join([*witnesses, log_t[:, given].T], weights)

    def baseline(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior by ridge regression on the clean rows alone: what DMLP has to beat.

        Args:
            batch: As for a call; the given labels matter only with `clean="trusted"`.

        Returns:
            `{"label_posterior": [rows, classes]}`, float32.
        """
        features, _, clean, classes, _ = self._rows(batch)
        return {LABEL_POSTERIOR: softmax(Ridge.fit(clean[0], clean[1], classes)(features), axis=1).astype(np.float32)}

    def _rows(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """Features, given labels, clean features and labels, number of classes, and the rows to fit on."""
        features = feature_matrix(batch, FEATURES)
        given, classes = given_classes(batch, self.num_classes)
        if len(given) == 0:
            raise ValueError("the batch has no rows to purify; pass a dataset with rows")
        if self.clean == "trusted":
            chosen = trusted_rows(features, given, classes)
            rest = np.setdiff1d(np.arange(len(given)), chosen)
            return features, given, (features[chosen], given[chosen]), classes, rest
        assert self.clean_features is not None
        assert self.clean_labels is not None
        clean_features = feature_matrix({"clean_features": self.clean_features}, "clean_features")
        if clean_features.shape[1] != features.shape[1]:
            raise ValueError(
                f"clean_features have {clean_features.shape[1]} columns, but the features to purify have "
                f"{features.shape[1]}; embed both by the same model"
            )
        clean_labels = np.asarray(self.clean_labels)
        if self.num_classes is None:
            known = [clean_labels] if self.clean_given is None else [clean_labels, self.clean_given]
            classes = max(classes, *(int(np.max(labels)) + 1 for labels in known))
        missing = np.setdiff1d(np.arange(classes), clean_labels)
        if len(missing):
            warnings.warn(
                f"no clean row has class {', '.join(map(str, missing))}; add one, or few rows will be moved there",
                stacklevel=3,
            )
        return features, given, (clean_features, clean_labels), classes, slice(None)


def _accuracy(log_probabilities: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"]) -> float:
    return float((log_probabilities.argmax(1) == labels).mean())


def _check_clean(clean: str, features: Any, labels: Any, given: Any, num_classes: int | None) -> None:
    if clean not in ("given", "trusted"):
        raise ValueError(f"clean must be 'given' or 'trusted', got {clean!r}")
    if clean == "trusted":
        if any(rows is not None for rows in (features, labels, given)):
            raise ValueError("clean='trusted' takes no clean_features, clean_labels or clean_given; leave them out")
        return
    if features is None or labels is None:
        raise ValueError(
            "clean_features and clean_labels are needed, rows whose true label is known; without any, pass "
            "clean='trusted'"
        )
    feature_matrix({"clean_features": features}, "clean_features")
    given_classes({"clean_labels": labels}, num_classes, "clean_labels")
    if len(features) != len(labels) or len(labels) < 2:
        raise ValueError(
            f"clean_features and clean_labels must be of at least 2 rows and of as many, got {len(features)} and "
            f"{len(labels)}"
        )
    if given is not None:
        given_classes({"clean_given": given}, num_classes, "clean_given")
        if len(given) != len(labels):
            raise ValueError(f"clean_given must hold one label a clean row, got {len(given)} for {len(labels)} rows")


def _warn_of_duplicates(features: Float[np.ndarray, "rows width"]) -> None:
    # Row by row, so that nothing of the size of the features is made.
    distinct = len({hash(row.tobytes()) for row in features})
    if distinct < len(features):
        warnings.warn(
            f"{len(features) - distinct} rows have the features of another row; all are kept, and weigh as often as "
            "they occur",
            stacklevel=3,
        )

"""Purifiers by name: functions from arrays to a posterior of the true label."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Float32

from hf_noisy.core.checks import check_soft_labels
from hf_noisy.purification import checked_posterior, confident_learning, dygen_posterior, evidence_posterior, knn
from hf_noisy.purification.dmlp import dmlp


@dataclass(frozen=True)
class Purifier:
    """A purifier: its function, inputs and citation.

    Functions return the posterior of the true label `[rows, classes]`, take options by keyword, and receive
    `num_classes` if they have an argument of that name.

    Attributes:
        function: Called as `function(features, labels, **options)`, or as `function(labels, **options)` if
            `needs_features` is False.
        citation: Reference of the paper.
        needs_features: Whether it reads a column of vectors.
        of_predictions: Called as `of_predictions(labels, probabilities, **options)` in place of `function` if there
            are predictions of the given label; None if it cannot use them.
        min_confidence: Default of the argument of `purify`.
        reads_checked: Whether it is called with `checked=` too: the checked class of each row, -1 where nobody looked.
        held_out: With `reads_checked`: whether the posterior of a checked row is made without its checked label.
    """

    function: Callable[..., Any]
    citation: str = ""
    needs_features: bool = True
    of_predictions: Callable[..., Any] | None = None
    min_confidence: float = 0.0
    reads_checked: bool = False
    held_out: bool = False


PURIFIERS: dict[str, Purifier] = {
    "checked": Purifier(
        checked_posterior.checked_posterior, checked_posterior.CITATION, reads_checked=True, held_out=True
    ),
    "confident_learning": Purifier(
        confident_learning.cross_validated_posterior,
        confident_learning.CITATION,
        of_predictions=confident_learning.confident_posterior,
    ),
    "dmlp": Purifier(dmlp.dmlp_posterior, dmlp.CITATION, reads_checked=True),
    "dmlp_trusted": Purifier(partial(dmlp.dmlp_posterior, clean="trusted"), dmlp.CITATION),
    "dygen": Purifier(dygen_posterior.dygen_posterior, dygen_posterior.CITATION, needs_features=False),
    "evidence": Purifier(
        evidence_posterior.evidence_posterior,
        evidence_posterior.CITATION,
        of_predictions=evidence_posterior.believed_posterior,
        min_confidence=evidence_posterior.MIN_CONFIDENCE,
    ),
    "knn": Purifier(knn.knn_posterior, knn.CITATION),
}


def as_purifier(purifier: Any) -> tuple[str, Purifier]:
    """The name and the purifier for a name of `PURIFIERS`, a function of arrays, or a posterior."""
    if isinstance(purifier, str):
        if purifier not in PURIFIERS:
            raise ValueError(f"purifier {purifier!r} is not known; choose one of {', '.join(sorted(PURIFIERS))}")
        return purifier, PURIFIERS[purifier]
    if isinstance(purifier, np.ndarray):
        return "posterior", Purifier(lambda labels: purifier, needs_features=False)
    if not callable(purifier) or isinstance(purifier, type):
        raise TypeError(
            "purifier must be a name such as 'knn', a function of (features, labels), or a posterior [rows, classes], "
            f"got {purifier!r}"
        )
    name = getattr(purifier, "__name__", type(purifier).__name__)
    reads_checked = "checked" in signature(purifier).parameters
    citation = getattr(purifier, "citation", "")
    return name, Purifier(purifier, citation, of_predictions=purifier, reads_checked=reads_checked)


def check_posterior(posterior: Any, rows: int, num_classes: int, name: str) -> Float32[np.ndarray, "rows classes"]:
    """The posterior as float32, with a column for every class; refused unless each row is a distribution."""
    posterior = check_soft_labels(np.asarray(posterior), num_rows=rows, name=f"posterior of purifier '{name}'")
    wide = np.zeros((rows, max(num_classes, posterior.shape[1])), dtype=np.float32)
    wide[:, : posterior.shape[1]] = posterior
    return wide

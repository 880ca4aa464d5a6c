"""Tags of words corrected with the help of a few sentences that a person has checked."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.core.types import Labels
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.word_context import context_probabilities

_AT_ONCE = 100_000  # tokens of one fit, which bounds its memory
_LOWEST = 1e-5  # of the probabilities of tags between such words


def tag_posterior(
    features: Float[np.ndarray, "tokens width"],
    given: Labels,
    rows: Int64[np.ndarray, " tokens"],
    words: Sequence[str] | None,
    checked: Int64[np.ndarray, " tokens"],
    num_classes: int,
    seed: int = 0,
) -> Float64[np.ndarray, "tokens classes"]:
    """Probabilities of the true tags, by [`CheckedCorrection`], with words that with their surroundings predict too.

    Every token has a given tag; `checked` is -1 where nobody looked. Of more tokens than fit into memory, parts of the
    sentences are corrected one after the other, each with all checked ones.
    """
    context = None
    if words is not None:
        context = np.log(np.maximum(context_probabilities(words, rows, given, num_classes), _LOWEST))
    known = checked >= 0
    parts = -(-int((~known).sum()) // _AT_ONCE) or 1
    part = np.random.default_rng(seed).integers(parts, size=int(rows.max()) + 1)[rows]
    posterior = np.zeros((len(given), num_classes))
    for number in range(parts):
        here = np.flatnonzero(known | (part == number))
        correction = CheckedCorrection()
        evidence = correction.evidence(features[here], given[here], num_classes=num_classes, seed=seed)
        if context is not None:
            scores = [evidence.scores, context[None, here].astype(np.float64)]
            evidence = replace(evidence, scores=np.concatenate(scores))
        places = np.flatnonzero(known[here])
        found = correction.fit(None, None, places, checked[here][places], evidence=evidence, seed=seed)
        posterior[here] = found.posterior
    return posterior

"""Wrong tags of words."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from hf_noisy.core.checks import check_scores
from hf_noisy.core.types import Labels
from hf_noisy.data.flat_labels import UNLABELLED, flat_tokens
from hf_noisy.data.tags import OUTSIDE, has_spans, parts_of
from hf_noisy.detection.label_issues import LabelIssues, most_expected_f1
from hf_noisy.detection.label_model import fit_label_model
from hf_noisy.detection.noise_rate import rate_from_posterior
from hf_noisy.detection.word_context import context_probabilities, tagged_share

COMMON_WORD = 0.5  # share of the occurrences of a string that are tagged, below which it is no entity


def find_wrong_tokens(
    labels: Sequence[Any],
    probabilities: Any,
    *,
    words: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
) -> LabelIssues:
    """Find wrong tags of words from out-of-sample probabilities.

    The quality of a tag is the probability that it is right, by the model of class-dependent and row-dependent noise
    of [`hf_noisy.detection.label_model`][]. With the words, the probabilities are combined with the frequencies of the
    tags between such neighbours in other sentences (capital letters, digits, signs), as a geometric mean.
    With the names of the tags, the tokens of an entity share the mean quality; with both, it is multiplied by the
    share of the occurrences of the entity's string, in any case, that are tagged. Where this is less than half, the
    string is a common word, and `O` is suggested.

    Args:
        labels: For each sentence the class ids of its tokens; a negative one is none.
        probabilities: For each sentence `[tokens, classes]`, or all of them one after the other, of models that did
            not train on the sentence. Each row sums to 1.
        words: For each sentence its words.
        names: The names of the classes, such as `B-PER`.

    Returns:
        [`LabelIssues`] of all tokens one after the other: `[tokens]` each. Tokens without a tag have quality 1.

    Raises:
        ValueError: If the arguments do not fit each other, or a value is no class or no probability.

    Source: ours; the threshold of the highest expected F1 is by Lipton et al. (2014).

    Example:
        >>> rows = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
        >>> issues = find_wrong_tokens([[1, 1], [0, 0]] + [[0, 1]] * 48, rows)
        >>> np.flatnonzero(issues.is_wrong).tolist()
        [0, 3]
    """
    flat, values = flat_tokens(labels, probabilities)
    known = flat.labels >= 0
    given, rows = flat.labels[known], flat.rows
    predicted = values if known.all() else values[known]
    check_scores(given, predicted)
    model = fit_label_model(given, predicted)
    posterior = model.predict(given, predicted)
    rate, found = rate_from_posterior(posterior, model.ambiguous), most_expected_f1(posterior)
    if words is not None:
        lengths = [len(one) for one in words]
        if lengths != np.diff(flat.offsets).tolist():
            raise ValueError("words must be one for each label of each sentence; pass the tokens of the same rows")
        every = [word for one in words for word in one]
        spoken = every if known.all() else [word for word, has_tag in zip(every, known, strict=True) if has_tag]
        context = context_probabilities(spoken, rows[known], given, predicted.shape[1])
        predicted = _geometric_mean(predicted, context)
        posterior = fit_label_model(given, predicted).predict(given, predicted)
    quality, likely = 1 - posterior.wrong.astype(np.float64), posterior.suggested
    if names is not None and has_spans(names):
        spans = span_numbers(given, rows[known], names)
        quality = _mean_of_spans(quality, spans)
        if words is not None:
            share = tagged_share(spoken, rows[known], spans)
            quality *= share
            if OUTSIDE in names:
                likely = np.where(share < COMMON_WORD, list(names).index(OUTSIDE), likely)
    # The number is that of the probabilities alone: combined with the context they are too confident.
    count, found = int(found.sum()), np.zeros(len(given), dtype=bool)
    found[np.argsort(quality, kind="stable")[:count]] = True
    suggested = np.where(found, likely, given).astype(np.int64)
    return LabelIssues(
        _spread(found, known, False), _spread(quality, known, 1.0), _spread(suggested, known, UNLABELLED), rate
    )


class SafeTags(NamedTuple):
    """What may be done with tags that nobody has looked at: of all tokens, one after the other."""

    correctable: Bool[np.ndarray, " tokens"]  # may be changed: `O`, and entities that are common words
    quality: Float64[np.ndarray, " tokens"]  # for weights: from the probabilities without the context


def safe_tags(
    labels: Sequence[Any], probabilities: Any, words: Sequence[Sequence[str]], names: Sequence[str]
) -> SafeTags:
    """Corrections and weights that do no harm where entities are missed.

    Predictions from labels that miss entities doubt those that are tagged: where 40 % are missed, half of the others
    seem wrong, and with the context, which is too confident, more of them.
    """
    quality = find_wrong_tokens(labels, probabilities, names=names).quality
    flat, _ = flat_tokens(labels, probabilities)
    known, correctable = flat.labels >= 0, np.ones(len(quality), dtype=bool)
    if has_spans(names):
        every = [word for one in words for word in one]
        spoken = [word for word, has_tag in zip(every, known, strict=True) if has_tag]
        spans = span_numbers(flat.labels[known], flat.rows[known], names)
        share = tagged_share(spoken, flat.rows[known], spans)
        quality[known] *= share
        correctable[known] = (spans < 0) | (share < COMMON_WORD)
    return SafeTags(correctable, quality)


def span_numbers(
    labels: Labels, rows: Int64[np.ndarray, " tokens"], names: Sequence[str]
) -> Int64[np.ndarray, " tokens"]:
    """The number of the entity of each token, as `spans_of` finds them; -1 of none."""
    parts = [parts_of(name) or ("O", "") for name in names]
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(kind for _, kind in parts))}
    kind = np.array([kinds[one] for _, one in parts])[labels]
    inside = np.array([prefix != "O" for prefix, _ in parts])[labels]
    begins = np.array([prefix in "BSU" for prefix, _ in parts])[labels]
    ends = np.array([prefix in "ELSU" for prefix, _ in parts])[labels]
    goes_on = np.zeros(len(labels), dtype=bool)
    goes_on[1:] = inside[:-1] & ~ends[:-1] & (kind[1:] == kind[:-1]) & (rows[1:] == rows[:-1])
    first = inside & (begins | ~goes_on)
    return np.where(inside, np.cumsum(first) - 1, -1)


def _geometric_mean(
    probabilities: Float[np.ndarray, "tokens classes"], context: Float[np.ndarray, "tokens classes"]
) -> Float[np.ndarray, "tokens classes"]:
    logs = np.log(np.maximum(probabilities, 1e-9)).astype(np.float32)
    logs += np.log(np.maximum(context, np.float32(1e-9)))
    logs /= 2
    logs -= logs.max(axis=1, keepdims=True)
    np.exp(logs, out=logs)
    logs /= np.einsum("tc->t", logs)[:, None]
    return np.asarray(logs)


def _mean_of_spans(
    quality: Float64[np.ndarray, " tokens"], spans: Int64[np.ndarray, " tokens"]
) -> Float64[np.ndarray, " tokens"]:
    inside = spans >= 0
    counts = np.bincount(spans[inside])
    means = np.bincount(spans[inside], weights=quality[inside]) / np.maximum(counts, 1)
    shared = quality.copy()
    shared[inside] = means[spans[inside]]
    return shared


def _spread(values: np.ndarray, known: Bool[np.ndarray, " tokens"], other: Any) -> np.ndarray:
    """Values of the tokens with a tag, among all tokens."""
    if known.all():
        return np.asarray(values)
    every = np.full(len(known), other, dtype=values.dtype)
    every[known] = values
    return every

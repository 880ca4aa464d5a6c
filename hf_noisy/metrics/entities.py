"""Precision, recall and F1 of named entities, by seqeval."""

import importlib
from collections.abc import Sequence


def entity_scores(labels: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro precision, recall and F1 of whole entities: a span counts if its type and both of its ends are right.

    Args:
        labels: Tags of each sentence, such as `["B-PER", "I-PER", "O"]`.
        predicted: Predicted tags of the same words.

    Returns:
        `entity_precision`, `entity_recall` and `entity_f1`, in `[0, 1]`.

    Raises:
        ImportError: If seqeval is not installed.

    Example:
        >>> entity_scores([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]])["entity_f1"]
        1.0
    """
    try:
        # Not `seqeval.metrics` alone, whose __init__ is what most users know; it has no types.
        scores = importlib.import_module("seqeval.metrics")
    except ImportError as error:
        raise ImportError("entity scores need seqeval; install it with pip install 'hf-noisy[tokens]'") from error
    given, found = ([list(tags) for tags in side] for side in (labels, predicted))
    return {
        "entity_precision": float(scores.precision_score(given, found, zero_division=0)),
        "entity_recall": float(scores.recall_score(given, found, zero_division=0)),
        "entity_f1": float(scores.f1_score(given, found, zero_division=0)),
    }

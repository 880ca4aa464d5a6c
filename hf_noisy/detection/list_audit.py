"""Audit of tags of words and of sets of classes from frozen features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Float

from hf_noisy.core.checks import check_features
from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TOKENS
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names, task_of_labels
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.list_predictions import out_of_fold_cells, out_of_fold_tags
from hf_noisy.detection.wrong_cells import find_wrong_cells
from hf_noisy.detection.wrong_tokens import find_wrong_tokens


@dataclass(frozen=True)
class ListAudit:
    """The result of [`audit_lists`].

    Attributes:
        unit: `"token"` or `"cell"`: what the issues are about.
        issues: Of all tokens one after the other `[tokens]`, or of all cells `[rows, classes]`.
        given: The given labels in the same shape: class ids (-1 for none), or zeros and ones.
        probabilities: Held-out predictions `[tokens, classes]`, or of each cell `[rows, classes]`.
        class_names: Names of the classes.
        true_rate: Share of wrong labels, where the data has true ones.
    """

    unit: str
    issues: LabelIssues
    given: np.ndarray
    probabilities: np.ndarray
    class_names: list[str]
    true_rate: float | None


def audit_lists(dataset: Dataset, features: Float[np.ndarray, "units width"], seed: int = 0) -> ListAudit:
    """Find wrong labels of a dataset of tokens, or of sets of classes.

    Args:
        dataset: Rows with lists of classes in `label`, none of them missing.
        features: Of each word (see [`~hf_noisy.models.word_features.embed_words`]), or of each row.
        seed: Seed of the folds.

    Returns:
        [`ListAudit`].

    Raises:
        ValueError: If the labels are no lists, or the features do not fit.
    """
    features, names = check_features(features), list_names(dataset)
    if task_of_labels(dataset) == "tokens":
        flat = flat_tags(dataset)
        if len(features) != len(flat.labels):
            raise ValueError(f"features must be those of the {len(flat.labels)} words, got {len(features)} rows")
        probabilities = out_of_fold_tags(features, flat.labels, flat.rows, len(names), seed=seed)
        words: Any = dataset.with_format(None)[TOKENS][:]
        tags = [one.tolist() for one in flat.split(flat.labels)]
        issues = find_wrong_tokens(tags, probabilities, words=words, names=names)
        known, given, unit = flat.labels >= 0, flat.labels, "token"
        true = flat_tags(dataset, CLEAN_LABEL).labels if CLEAN_LABEL in dataset.column_names else None
        compared = None if true is None else known & (true >= 0)
    else:
        sets, _ = label_sets(dataset, LABEL)
        if len(features) != len(sets):
            raise ValueError(f"features must be those of the {len(sets)} rows, got {len(features)}")
        probabilities = out_of_fold_cells(features, sets, seed=seed)
        issues, given, unit = find_wrong_cells(sets, probabilities), sets.astype(np.int64), "cell"
        true = compared = None
        if CLEAN_LABEL in dataset.column_names:
            true_sets, is_known = label_sets(dataset, CLEAN_LABEL)
            true, compared = true_sets.astype(np.int64), np.broadcast_to(is_known[:, None], sets.shape)
    rate = None if true is None or compared is None or not compared.any() else float((given != true)[compared].mean())
    return ListAudit(unit, issues, given, probabilities, names, rate)

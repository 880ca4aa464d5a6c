"""Audit of tags of words and of sets of classes from frozen features, and what checked rows add to it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Bool, Float, Float64, Int64

from hf_noisy.core.checks import check_features
from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TOKENS
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.data.checked_lists import CheckedLists
from hf_noisy.data.flat_labels import FlatLabels, flat_tags, label_sets, list_names, task_of_labels
from hf_noisy.data.tags import OUTSIDE, has_spans, parts_of
from hf_noisy.detection.checked_tags import tag_posterior
from hf_noisy.detection.checked_units import UnitShare, of_whole_rows, unit_share
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.list_posterior import present_cells
from hf_noisy.detection.list_predictions import out_of_fold_cells, out_of_fold_tags
from hf_noisy.detection.noise_rate import NoiseRate
from hf_noisy.detection.wrong_cells import find_wrong_cells
from hf_noisy.detection.wrong_tokens import SafeTags, find_wrong_tokens, safe_tags


@dataclass(frozen=True)
class CheckedShares:
    """What checked rows say of all rows, if they were drawn at random.

    Attributes:
        wrong: Share of the tags, or cells, that are wrong.
        missing: Share of the true entity tags that are given as `O`, or of the true classes that are not given; None
            if the checked rows have none.
        missing_of: The same for each type of entity, or class.
    """

    wrong: UnitShare
    missing: UnitShare | None
    missing_of: dict[str, UnitShare]


@dataclass(frozen=True)
class ListAudit:
    """The result of [`audit_lists`].

    Attributes:
        unit: `"token"` or `"cell"`: what the issues are about.
        issues: Of all tokens one after the other `[tokens]`, or of all cells `[rows, classes]`.
        given: The given labels in the same shape: class ids (-1 for none), or zeros and ones.
        probabilities: Held-out predictions `[tokens, classes]`, or of each cell `[rows, classes]`; with checked rows,
            of the true labels.
        class_names: Names of the classes.
        true_rate: Share of wrong labels, where the data has true ones.
        is_checked: In the shape of `given`, whether a person has checked the label.
        checked_rows: How many rows a person has checked.
        shares: What these say of all rows; None if they were not drawn at random.
        safe: Which suggestions may be written unseen, and weights; None if all, and the qualities.
    """

    unit: str
    issues: LabelIssues
    given: np.ndarray
    probabilities: np.ndarray
    class_names: list[str]
    true_rate: float | None
    is_checked: np.ndarray
    checked_rows: int = 0
    shares: CheckedShares | None = None
    safe: SafeTags | None = None

    def changes(self, min_confidence: float) -> Bool[np.ndarray, "..."]:
        """The labels that are corrected without a look at them."""
        found = self.issues.is_wrong & (1 - self.issues.quality >= min_confidence)
        return found if self.safe is None else found & self.safe.correctable


def audit_lists(
    dataset: Dataset,
    features: Float[np.ndarray, "units width"],
    seed: int = 0,
    checked: CheckedLists | None = None,
) -> ListAudit:
    """Find wrong labels of a dataset of tokens, or of sets of classes.

    Args:
        dataset: Rows with lists of classes in `label`, none of them missing.
        features: Of each word (see [`~hf_noisy.models.word_features.embed_words`]), or of each row.
        seed: Seed of the folds.
        checked: Rows that a person has checked: their labels are certain. Those checked as a whole correct the others.

    Returns:
        [`ListAudit`].

    Raises:
        ValueError: If the labels are no lists, or the features do not fit.
    """
    features, names = check_features(features), list_names(dataset)
    if task_of_labels(dataset) == "tokens":
        return _of_tokens(dataset, features, names, seed, checked)
    sets, _ = label_sets(dataset, LABEL)
    if len(features) != len(sets):
        raise ValueError(f"features must be those of the {len(sets)} rows, got {len(features)}")
    given, truth = sets.astype(np.int64), np.full(sets.shape, UNCHECKED)
    if checked is not None:
        truth[checked.index] = checked.values
    replaced = np.where(truth >= 0, truth == 1, sets)
    held_out = probabilities = out_of_fold_cells(features, replaced, seed=seed)
    shares = None if checked is None else _cell_shares(sets, truth, checked.random(), names)
    whole = np.where((truth >= 0).all(axis=1, keepdims=True), truth, UNCHECKED)
    if (whole >= 0).any():
        probabilities = present_cells(sets, held_out, truth, whole)
        issues = _corrected(given, np.stack([1 - probabilities, probabilities], -1), shares)
    else:
        issues = _with_checked(find_wrong_cells(replaced, held_out), given, truth)
    true = compared = None
    if CLEAN_LABEL in dataset.column_names:
        true_sets, is_known = label_sets(dataset, CLEAN_LABEL)
        true, compared = true_sets.astype(np.int64), np.broadcast_to(is_known[:, None], sets.shape)
    rate = _true_rate(given, true, compared)
    count = 0 if checked is None else len(checked)
    return ListAudit("cell", issues, given, probabilities, names, rate, truth >= 0, count, shares)


def _of_tokens(
    dataset: Dataset, features: Float[np.ndarray, "tokens width"], names: list[str], seed: int, checked: Any
) -> ListAudit:
    flat = flat_tags(dataset)
    if len(features) != len(flat.labels):
        raise ValueError(f"features must be those of the {len(flat.labels)} words, got {len(features)} rows")
    words: Any = dataset.with_format(None)[TOKENS][:]
    known, truth = flat.labels >= 0, np.full(len(flat.labels), UNCHECKED)
    if checked is not None:
        for row, values in zip(checked.index, checked.values, strict=True):
            truth[flat.offsets[row] : flat.offsets[row + 1]] = values
    whole, safe = of_whole_rows(truth, flat.labels, flat.rows), None
    shares = None if checked is None else _tag_shares(flat, truth, checked.random(), names)
    if (whole >= 0).any():
        given = np.where((truth >= 0) & (whole < 0), truth, flat.labels)
        every = [word for sentence in words for word in sentence]
        spoken = [word for word, has_tag in zip(every, known, strict=True) if has_tag]
        probabilities = np.zeros((len(flat.labels), len(names)))
        probabilities[known] = tag_posterior(
            features[known], given[known], flat.rows[known], spoken, whole[known], len(names), seed
        )
        probabilities[truth >= 0] = np.eye(len(names))[truth[truth >= 0]]
        issues = _corrected(flat.labels, probabilities, shares)
    else:
        given = np.where((truth >= 0) & known, truth, flat.labels)
        probabilities = out_of_fold_tags(features, given, flat.rows, len(names), seed=seed)
        tags = [one.tolist() for one in flat.split(given)]
        issues = find_wrong_tokens(tags, probabilities, words=words, names=names)
        issues, safe = _with_checked(issues, flat.labels, truth), safe_tags(tags, probabilities, words, names)
        safe = SafeTags(safe.correctable | (truth >= 0), np.where(truth >= 0, issues.quality, safe.quality))
    true = flat_tags(dataset, CLEAN_LABEL).labels if CLEAN_LABEL in dataset.column_names else None
    rate = _true_rate(flat.labels, true, None if true is None else known & (true >= 0))
    count = 0 if checked is None else len(checked)
    return ListAudit("token", issues, flat.labels, probabilities, names, rate, truth >= 0, count, shares, safe)


def _with_checked(
    issues: LabelIssues, given: Int64[np.ndarray, "*units"], truth: Int64[np.ndarray, "*units"]
) -> LabelIssues:
    """The issues of labels in which single checked ones were replaced, for the given labels."""
    checked, wrong = (truth >= 0) & (given >= 0), (truth >= 0) & (given >= 0) & (truth != given)
    more, rate = float(wrong[given >= 0].mean()), issues.noise_rate
    return LabelIssues(
        np.where(checked, wrong, issues.is_wrong),
        np.where(checked, 1.0 - wrong, issues.quality),
        np.where(checked, truth, issues.suggested),
        NoiseRate(*(min(one + more, 1.0) for one in (rate.rate, rate.low, rate.high))),
    )


def _corrected(
    given: Int64[np.ndarray, "*units"], posterior: Float64[np.ndarray, "*units classes"], shares: CheckedShares | None
) -> LabelIssues:
    """The issues of a posterior of the true labels: where another label is the most probable one."""
    known = given >= 0
    own = np.take_along_axis(posterior, np.maximum(given, 0)[..., None], -1)[..., 0]
    quality = np.where(known, own, 1.0)
    best = posterior.argmax(-1)
    wrong = known & (best != given)
    rate = float((1 - quality)[known].mean())
    # Without rows drawn at random nothing bounds the rate.
    interval = NoiseRate(rate, 0.0, 1.0) if shares is None else NoiseRate(*shares.wrong[:3])
    return LabelIssues(wrong, quality, np.where(wrong, best, given), interval)


def _tag_shares(
    flat: FlatLabels, truth: Int64[np.ndarray, " tokens"], drawn: CheckedLists | None, names: list[str]
) -> CheckedShares | None:
    if drawn is None:
        return None
    here, num_rows = (truth >= 0) & (flat.labels >= 0) & np.isin(flat.rows, drawn.index), len(flat.offsets) - 1
    if not here.any():
        return None
    given, true, rows = flat.labels[here], truth[here], flat.rows[here]
    wrong = unit_share(given != true, rows, num_rows)
    if not has_spans(names) or OUTSIDE not in names:
        return CheckedShares(wrong, None, {})
    kinds = np.array([(parts_of(name) or ("", ""))[1] for name in names])[true]
    missing, inside = given == names.index(OUTSIDE), kinds != ""
    of = {
        str(kind): unit_share(missing[kinds == kind], rows[kinds == kind], num_rows)
        for kind in np.unique(kinds[inside])
    }
    return CheckedShares(wrong, unit_share(missing[inside], rows[inside], num_rows) if inside.any() else None, of)


def _cell_shares(
    sets: Bool[np.ndarray, "rows classes"],
    truth: Int64[np.ndarray, "rows classes"],
    drawn: CheckedLists | None,
    names: list[str],
) -> CheckedShares | None:
    if drawn is None:
        return None
    given, true, num_rows = sets[drawn.index], truth[drawn.index] == 1, len(sets)
    rows = np.broadcast_to(drawn.index[:, None], given.shape)
    of = {
        name: unit_share(~given[true[:, one], one], drawn.index[true[:, one]], num_rows)
        for one, name in enumerate(names)
        if true[:, one].any()
    }
    wrong = unit_share((given != true).ravel(), rows.ravel(), num_rows)
    return CheckedShares(wrong, unit_share(~given[true], rows[true], num_rows) if true.any() else None, of)


def _true_rate(given: np.ndarray, true: np.ndarray | None, compared: np.ndarray | None) -> float | None:
    if true is None or compared is None or not compared.any():
        return None
    return float((given != true)[compared].mean())

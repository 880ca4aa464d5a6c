"""Summary of a purification, as numbers and as a small table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict  # both: checks of types read the one out of the other
from jaxtyping import Float, Shaped

from hf_noisy.core.columns import (
    CLEAN_LABEL,
    LABEL,
    LABEL_CHANGED,
    LABEL_CHECKED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
    column_vectors,
)
from hf_noisy.data.labelled_rows import label_values
from hf_noisy.purification.decisions import DECISIONS
from hf_noisy.purification.evidence_posterior import NOTHING_BELIEVED, ONLY_RANDOM
from hf_noisy.purification.label_missing import PREDICTION
from hf_noisy.purification.restore import DROPPED, is_purified, purification_record

_PAIRS_SHOWN = 10
FIGURES = {"precision of changes": "precision", "noise before": "noise_before", "noise after": "noise_after"}


@dataclass
class PurificationSummary:
    """The result of [`summarise`].

    Estimates assume that the posterior is right, and are None for manual decisions. Shares of wrong labels are also
    None with checked rows, from which an audit estimates them with a valid interval, and where the purifier `evidence`
    believes no change, since it counts random errors alone. True figures are None without a
    column `clean_label`, and count the rows that have one. Rows without a given label are left out.

    Attributes:
        purifier: Its name.
        rows: Rows before, including the dropped ones.
        changed: Rows whose given label is overruled.
        dropped: Dropped rows among these.
        pairs: `[given, new, rows]` for the given label and the most probable class of the rows in `changed`, the most
            frequent first.
        class_names: Names of the classes, or their ids.
        estimated_precision: Mean posterior of the new label over the rows in `changed`; None if there are none.
        estimated_noise_before: Expected share of wrong given labels.
        estimated_noise_after: The same for the labels to train on, with row weights and soft labels. None if all
            weights are 0.
        checked: Rows that a person has checked; their posterior is certain.
        guarantee: What `max_wrong` promises of the changes, or why it could promise nothing; None without it.
        true_precision: Share of the rows in `changed` whose most probable class is the clean label.
        true_noise_before: Share of given labels that differ from the clean one.
        true_noise_after: As `estimated_noise_after`, against the clean label.
        unlabelled: Rows without a given label; no other figure counts them.
        predicted: Rows among these that were labelled by prediction.
    """

    purifier: str
    rows: int
    changed: int
    dropped: int
    pairs: list[list[int]]
    class_names: list[str]
    estimated_precision: float | None
    estimated_noise_before: float | None
    estimated_noise_after: float | None
    checked: int = 0
    guarantee: str | None = None
    true_precision: float | None = None
    true_noise_before: float | None = None
    true_noise_after: float | None = None
    unlabelled: int = 0
    predicted: int = 0

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PurificationSummary":
        """The summary from the result of `to_dict`."""
        return cls(**values)

    @property
    def note(self) -> str | None:
        """What was guaranteed, or what the figures of the purifier `evidence` leave out; None if there is neither."""
        if self.guarantee is not None:
            return f"Guarantee: {self.guarantee}."
        if self.purifier != "evidence":
            return None
        return ONLY_RANDOM if self.changed else NOTHING_BELIEVED

    def __str__(self) -> str:
        share = 100 * self.changed / max(self.rows, 1)
        lines = [
            f"{self.purifier}: {self.rows} rows, {self.changed} labels overruled ({share:.1f} %), "
            f"{self.dropped} rows dropped"
            + (f", {self.checked} rows checked" if self.checked else "")
            + (f", {self.unlabelled} without a label ({self.predicted} predicted)" if self.unlabelled else ""),
            "",
            f"{'':24}{'estimated':>10}{'true':>10}",
        ]
        for title, name in FIGURES.items():
            shown = [getattr(self, f"{kind}_{name}") for kind in ("estimated", "true")]
            lines.append(f"{title:24}" + "".join(f"{'-' if v is None else f'{v:.3f}':>10}" for v in shown))
        if self.pairs:
            names = [(self.class_names[given], self.class_names[new]) for given, new, _ in self.pairs[:_PAIRS_SHOWN]]
            wide = [max(map(len, column)) for column in zip(("given", "new"), *names, strict=True)]
            lines += ["", f"{'given':{wide[0]}}  {'new':{wide[1]}}{'rows':>8}"]
            for (given, new), (_, _, count) in zip(names, self.pairs, strict=False):
                lines.append(f"{given:{wide[0]}}  {new:{wide[1]}}{count:>8}")
        if (more := self.pairs[_PAIRS_SHOWN:]) != []:
            lines.append(f"and {len(more)} more pairs with {sum(count for _, _, count in more)} rows")
        if self.note is not None:
            lines += ["", self.note]
        return "\n".join(lines)


def summarise(dataset: Dataset | DatasetDict) -> PurificationSummary:
    """Figures of a purified dataset, computed from its columns.

    Args:
        dataset: The result of `purify`; one split of a `DatasetDict` must be purified.

    Returns:
        The summary.

    Raises:
        ValueError: If the dataset, or exactly one split of it, is not purified, or dropped rows are missing.

    Example:
        >>> from hf_noisy.purification.policies import purify
        >>> rows = {"features": [[0.0, 1], [0, 2], [0, 3], [1, 0], [2, 0], [3, 0]], "label": [0, 0, 1, 1, 1, 1]}
        >>> print(summarise(purify(Dataset.from_dict(rows), "knn", k=2, min_confidence=0.9)))
        knn: 6 rows, 1 labels overruled (16.7 %), 0 rows dropped
        <BLANKLINE>
                                 estimated      true
        precision of changes         1.000         -
        noise before                 0.333         -
        noise after                  0.167         -
        <BLANKLINE>
        given  new    rows
        1      0         1
    """
    whole, dropped = _parts(dataset)
    kept = _labelled(whole)
    columns = everything = _read(kept)
    if dropped is not None:
        everything = {name: np.concatenate([columns[name], values]) for name, values in _read(dropped).items()}
    posterior, given, changed = (everything[name] for name in (LABEL_POSTERIOR, LABEL_GIVEN, LABEL_CHANGED))
    num_classes, best = posterior.shape[1], posterior.argmax(1)
    counts = np.bincount(given[changed] * num_classes + best[changed], minlength=num_classes**2)
    found = np.flatnonzero(counts)
    order = found[np.argsort(-counts[found], kind="stable")]
    labels, weights = columns[LABEL], columns.get(LABEL_WEIGHT)
    targets = labels.astype(np.float64) if labels.ndim == 2 else np.eye(num_classes)[labels.astype(np.int64)]
    summary = PurificationSummary(
        purifier=str(kept.select_columns([PURIFIER])[0][PURIFIER]),
        rows=len(given),
        changed=int(changed.sum()),
        dropped=0 if dropped is None else len(dropped),
        pairs=[[int(pair) // num_classes, int(pair) % num_classes, int(counts[pair])] for pair in order],
        class_names=list(getattr(kept.features[LABEL_GIVEN], "names", None) or map(str, range(num_classes))),
        estimated_precision=_mean(everything[LABEL_CONFIDENCE][changed]),
        estimated_noise_before=float(1 - posterior[np.arange(len(given)), given].mean()),
        estimated_noise_after=_wrong((targets * columns[LABEL_POSTERIOR]).sum(1), weights),
        checked=int(everything[LABEL_CHECKED].sum()) if LABEL_CHECKED in everything else 0,
        unlabelled=len(whole) - len(kept),
        predicted=list(whole[PURIFIER]).count(PREDICTION),
        guarantee=(purification_record(kept) or {}).get("guarantee"),
    )
    if summary.purifier == DECISIONS:  # its posterior is certain for every row, checked or not
        summary.estimated_precision = None
    if summary.purifier == DECISIONS or summary.checked or (summary.purifier == "evidence" and not summary.changed):
        summary.estimated_noise_before = summary.estimated_noise_after = None
    if CLEAN_LABEL in columns:
        clean = everything[CLEAN_LABEL]
        known, clean_kept = clean >= 0, columns[CLEAN_LABEL]
        kept_known = clean_kept >= 0
        summary.true_precision = _mean((best == clean)[changed & known])
        summary.true_noise_before = _mean((given != clean)[known])
        right = targets[np.arange(len(targets)), np.maximum(clean_kept, 0)]
        summary.true_noise_after = _wrong(right[kept_known], None if weights is None else weights[kept_known])
    return summary


def _parts(dataset: Dataset | DatasetDict) -> tuple[Dataset, Dataset | None]:
    """The remaining and the dropped rows."""
    dropped = None
    if isinstance(dataset, DatasetDict):
        names = [name for name, part in dataset.items() if is_purified(part) and name != DROPPED]
        if len(names) != 1:
            raise ValueError(f"dataset must have one purified split, got {', '.join(names) or 'none'}; pass a split")
        dropped = dataset.get(DROPPED) if ROW_GIVEN in dataset[names[0]].column_names else None
        dataset = dataset[names[0]]
    if LABEL_GIVEN not in dataset.column_names:
        raise ValueError(f"dataset has no column '{LABEL_GIVEN}', so it was not purified; call purify first")
    if ROW_GIVEN in dataset.column_names and dropped is None:
        raise ValueError(f"dataset lacks the rows that were dropped; pass the DatasetDict with its split '{DROPPED}'")
    if len(dataset) == 0 or (dropped is not None and len(dropped) == 0):
        raise ValueError("dataset has a split without rows, which purify does not leave; pass what it returned")
    return dataset.with_format(None), None if dropped is None else dropped.with_format(None)


def _labelled(dataset: Dataset) -> Dataset:
    """The rows with a given label; the figures are about these."""
    known = label_values(dataset, LABEL_GIVEN) >= 0
    rows = dataset.with_format(None)
    return rows if known.all() else rows.select(np.flatnonzero(known))


def _read(dataset: Dataset) -> dict[str, Shaped[np.ndarray, "rows ..."]]:
    names = [LABEL, LABEL_GIVEN, LABEL_POSTERIOR, LABEL_CONFIDENCE, LABEL_CHANGED, LABEL_CHECKED]
    names += [LABEL_WEIGHT, CLEAN_LABEL]
    names = [name for name in names if name in dataset.column_names]
    read: dict[str, np.ndarray] = {name: column_vectors(dataset, name) for name in names}
    if CLEAN_LABEL in read:
        read[CLEAN_LABEL] = label_values(dataset, CLEAN_LABEL)  # a true label may be missing
    return read | {LABEL_POSTERIOR: read[LABEL_POSTERIOR].astype(np.float64)}


def _wrong(right: Float[np.ndarray, " rows"], weights: Float[np.ndarray, " rows"] | None) -> float | None:
    total = len(right) if weights is None else weights.sum(dtype=np.float64)
    return float(1 - (right if weights is None else right * weights).sum() / total) if total else None


def _mean(values: Shaped[np.ndarray, " rows"]) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None

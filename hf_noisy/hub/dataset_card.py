"""Cards of purified, audited and noisy datasets: what was noisy, how that is known, and how to undo it."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData
from jaxtyping import Float, Integer

from hf_noisy.core.columns import (
    CLEAN_LABEL,
    IMAGE,
    LABEL,
    LABEL_CHANGED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_QUALITY,
    LABEL_SUGGESTED,
    LABEL_SUSPECTED,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
    TEXT,
    VOTES,
)
from hf_noisy.core.task import TASKS
from hf_noisy.data.records import noise_record
from hf_noisy.detection.audit import Audit
from hf_noisy.hub.text import BEGIN, END, REPOSITORY, TAGS, code, escape, public_name
from hf_noisy.purification.decisions import DECISIONS
from hf_noisy.purification.restore import DROPPED, purification_record
from hf_noisy.purification.summary import PurificationSummary

_TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.md"
_PAIRS_SHOWN, _CLASSES_SHOWN, _MATRIX_SHOWN = 20, 200, 12
_PACKAGES = ("hf-noisy", "datasets", "scikit-learn", "torch", "transformers")
_MEANING = {
    TEXT: "what is classified",
    IMAGE: "what is classified",
    LABEL: "the label to train on",
    CLEAN_LABEL: "the true label",
    VOTES: "votes of labelling rules, -1 where a rule is silent",
    LABEL_GIVEN: "the label as it was given",
    LABEL_POSTERIOR: "probability of each class to be the true one",
    LABEL_CONFIDENCE: "the largest of these probabilities",
    LABEL_CHANGED: "whether the given label was overruled",
    LABEL_WEIGHT: "weight of the row in training",
    PURIFIER: "what made the probabilities",
    ROW_GIVEN: "where the row stood before some were dropped",
    LABEL_QUALITY: "the higher, the better the given label",
    LABEL_SUSPECTED: "whether the given label is likely wrong",
    LABEL_SUGGESTED: "another class where it is, else the given one",
}
_POLICIES = {
    "relabel": "`label` became the most probable class.",
    "drop": f"Rows whose label was overruled stand in the split `{DROPPED}`.",
    "soft": "`label` became the probabilities, a soft label.",
    "weight": "`label` stayed; `label_weight` is the probability of the given label.",
    "flag": "`label` stayed; `label_changed` marks the rows.",
}
_AUDIT_CITATIONS = (
    "Northcutt, C., Jiang, L., Chuang, I. (2021). Confident Learning: Estimating Uncertainty in Dataset Labels. "
    "Journal of Artificial Intelligence Research 70. (transition matrix)",
    "Lipton, Z., Elkan, C., Naryanaswamy, B. (2014). Optimal Thresholding of Classifiers to Maximize F1 Measure. "
    "ECML PKDD. (how many rows are suspected)",
)


def purified_card(splits: DatasetDict, split: str, summary: PurificationSummary, *, name: str) -> DatasetCard:
    """The card of a dataset of which a split was purified.

    Args:
        splits: All splits, the dropped rows among them.
        split: The one that was purified.
        summary: Of `summarise`.
        name: Of the dataset; of a path the last part is shown.

    Returns:
        The card; `push_dataset_to_hub` publishes it with the rows.

    Raises:
        ValueError: If `split` is none of the splits.
    """
    rows = _rows_of(splits, split)
    record = purification_record(rows) or {}
    by_hand = summary.purifier == DECISIONS
    share = 100 * summary.changed / max(summary.rows, 1)
    figures = [("precision of changes", "precision"), ("noise before", "noise_before"), ("noise after", "noise_after")]
    numbers = [[title, *(_percent(getattr(summary, f"{kind}_{key}")) for kind in ("estimated", "true"))]
               for title, key in figures]  # fmt: skip
    method = f"Purifier {code(summary.purifier)}"
    if policy := record.get("policy"):
        method += f", policy {code(policy)}, confidence of at least {record['min_confidence']:g}"
    method += f". {_POLICIES.get(policy or '', '')}".rstrip()
    if by_hand:
        method = "A person looked at rows and decided: relabel, drop or keep. What was not decided stayed as given."
    limits = [
        "What was decided is taken as it is, and nobody estimated the noise that is left." if by_hand else
        "Estimates take the probabilities of the purifier at their word; where it is wrong, so are they.",
        "A label that was overruled is not proven wrong, and one that was not may be: look before relying on a row.",
    ]  # fmt: skip
    if summary.true_noise_before is None:
        limits.append("There are no true labels here, so no figure is checked.")
    return _card(
        splits, name, rows,
        lead=f"Labels of the split {code(split)} were corrected. Of {summary.rows:,} rows {summary.changed:,} labels "
        f"were overruled ({share:.1f} %), and {summary.dropped:,} rows were dropped.",
        numbers_head=["", "estimated", "true"],
        numbers=numbers,
        numbers_note="True figures compare with the column `clean_label`, where there is one.",
        pairs_title="Labels that were overruled",
        pairs_head="most probable",
        pairs=_pairs(summary.pairs, summary.class_names),
        method=method,
        citations=[escape(record["citation"])] if record.get("citation") else [],
        undo="Every row keeps its given label. This gives the dataset as it was, dropped rows in their places:",
        undo_code="from datasets import load_dataset\nfrom hf_noisy.purification.policies import restore_labels\n\n"
        f"given = restore_labels(load_dataset({REPOSITORY}))",
        limits=limits,
    )  # fmt: skip


def audit_card(splits: DatasetDict, split: str, audit: Audit, *, name: str) -> DatasetCard:
    """The card of a dataset of which a split was audited: an estimate of the noise, and no label changed.

    Args:
        splits: All splits.
        split: The one that was audited.
        audit: What [`hf_noisy.detection.audit.audit`] found.
        name: Of the dataset; of a path the last part is shown.

    Returns:
        The card.

    Raises:
        ValueError: If `split` is none of the splits.
    """
    rows, issues = _rows_of(splits, split), audit.issues
    rate, suspected = issues.noise_rate, int(issues.is_wrong.sum())
    numbers = [
        ["wrong labels, estimated", f"{_percent(rate.rate)} ({_percent(rate.low)} to {_percent(rate.high)})"],
        ["suspected rows", f"{suspected:,} of {len(audit.labels):,}"],
    ]
    if CLEAN_LABEL in rows.column_names:
        true = float(np.mean(_labels(rows, CLEAN_LABEL) != audit.labels))
        numbers.append(["wrong labels, true", _percent(true)])
    classes = len(audit.class_names)
    counts = np.bincount(audit.labels[issues.is_wrong] * classes + issues.suggested[issues.is_wrong],
                         minlength=classes**2)  # fmt: skip
    order = [pair for pair in np.argsort(-counts, kind="stable").tolist() if counts[pair]]
    return _card(
        splits, name, rows,
        lead=f"About {_percent(rate.rate)} of the labels of the split {code(split)} are wrong. None was changed.",
        numbers_head=["", ""],
        numbers=numbers,
        numbers_note="The range covers sampling and what cannot be told apart without true labels.",
        pairs_title="Suspected labels",
        pairs_head="suggested",
        pairs=_pairs([[pair // classes, pair % classes, int(counts[pair])] for pair in order], audit.class_names),
        **_matrix(audit.transition_matrix, audit.class_names, "Estimated by confident learning."),
        method="A logistic regression on frozen features was cross-validated; the noise rate and the suspected rows "
        "follow from its predictions for rows that it was not fitted on. No true label was read.",
        citations=[escape(citation) for citation in _AUDIT_CITATIONS],
        undo="No label was changed. This removes the columns that were added:",
        undo_code="from datasets import load_dataset\n\n"
        f'rows = load_dataset({REPOSITORY}, split="{split}")\n'
        f'rows = rows.remove_columns(["{LABEL_QUALITY}", "{LABEL_SUSPECTED}", "{LABEL_SUGGESTED}"])',
        limits=["A suspected label is not proven wrong: look before changing one.",
                "Noise that the features explain as well as the truth is not seen."],
    )  # fmt: skip


def injected_card(splits: DatasetDict, split: str, *, name: str) -> DatasetCard:
    """The card of a dataset into one split of which noise was put.

    Args:
        splits: All splits.
        split: The one with noise.
        name: Of the dataset; of a path the last part is shown.

    Returns:
        The card.

    Raises:
        ValueError: If `split` is none of the splits, or has no record of noise.

    Example:
        >>> from hf_noisy.data.noise import inject_noise, symmetric
        >>> rows = Dataset.from_dict({"text": list("abcd"), "label": [0, 1, 0, 1]})
        >>> card = injected_card(DatasetDict({"train": inject_noise(rows, symmetric(0.5))}), "train", name="letters")
        >>> "| wrong labels, measured | 50.00 % |" in card.text
        True
    """
    rows = _rows_of(splits, split)
    record = noise_record(rows)
    if record is None:
        raise ValueError(
            f"split '{split}' has no record of noise; put noise in with inject_noise, or purify or audit it"
        )
    matrix = np.asarray(record["transition_matrix"], dtype=np.float64)
    told = {"rate_measured", "rate_asked", "transition_matrix", "kind"}
    settings = [[escape(key), escape(value)] for key, value in record.items()
                if key not in told and not isinstance(value, (list, tuple, dict))]  # fmt: skip
    return _card(
        splits, name, rows,
        lead=f"Noise was put into true labels of the split {code(split)}, to test methods on: `label` is the given "
        "label, right or wrong, and `clean_label` the true one.",
        numbers_head=["", ""],
        numbers=[["wrong labels, measured", _percent(record["rate_measured"])],
                 ["wrong labels, asked for", _percent(record.get("rate_asked"))], *settings],
        numbers_note="Measured between `clean_label` and `label` when the noise was put in.",
        **_matrix(matrix, _class_names(rows, len(matrix)), "Measured."),
        method=f"Noise of kind {code(record['kind'])}, drawn by row from the seed; what each option means stands in "
        "the documentation of `hf_noisy.data.noise`.",
        citations=[],
        undo="The true labels are still there:",
        undo_code="from datasets import load_dataset\n\n"
        f'rows = load_dataset({REPOSITORY}, split="{split}")\n'
        f'clean = rows.remove_columns("{LABEL}").rename_column("{CLEAN_LABEL}", "{LABEL}")',
        limits=["Injected noise is not the noise of people or of rules: what works here may not work there.",
                "`clean_label` is as true as the labels that the noise was put into."],
    )  # fmt: skip


def configurations(splits: DatasetDict) -> dict[str, list[str]]:
    """Splits that can stand in one table, by the name of their configuration.

    Purification adds columns to one split, and splits with other columns cannot be loaded as one dataset.

    Args:
        splits: All splits.

    Returns:
        Names of splits: `"default"` for the splits like the one with the most columns, then `"unchanged"`,
        `"unchanged_2"` and so on.

    Raises:
        ValueError: If there is no split, or no dict of them.

    Example:
        >>> few, more = Dataset.from_dict({"a": [1]}), Dataset.from_dict({"a": [1], "b": [2]})
        >>> configurations(DatasetDict({"train": more, "test": few, "dropped": more}))
        {'default': ['train', 'dropped'], 'unchanged': ['test']}
    """
    if not isinstance(splits, dict):
        kind = type(splits).__name__
        raise ValueError(f"splits must be a DatasetDict, got {kind}; wrap it as DatasetDict({{'train': dataset}})")
    if not splits:
        raise ValueError("splits must hold at least one split, got none; pass what purify returned")
    groups: list[list[str]] = []
    for name, rows in splits.items():
        like = next((group for group in groups if splits[group[0]].features == rows.features), None)
        if like is None:
            groups.append([str(name)])
        else:
            like.append(str(name))
    groups.sort(key=lambda group: -len(splits[group[0]].features))  # stable
    names = ["default", "unchanged", *(f"unchanged_{number}" for number in range(2, len(groups)))]
    return dict(zip(names, groups, strict=False))


def _card(splits: DatasetDict, name: str, rows: Dataset, **sections: Any) -> DatasetCard:
    groups = configurations(splits)
    configs = [{"config_name": config, "data_files": [{"split": part, "path": f"data/{part}-*"} for part in names]}
               for config, names in groups.items()]  # fmt: skip
    title = " ".join(public_name(name).split())
    data = DatasetCardData(
        pretty_name=title,
        tags=list(TAGS),
        task_categories=[task.pipeline_tag for task in TASKS.values() if task.modality in rows.column_names] or None,
        configs=configs,
    )
    feature = rows.features.get(LABEL_GIVEN, rows.features[LABEL])
    classes = [escape(one) for one in getattr(feature, "names", None) or []]
    more = len(classes) - _CLASSES_SHOWN
    card: DatasetCard = DatasetCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        title=escape(title),
        begin=BEGIN,
        end=END,
        repository=REPOSITORY,
        columns=[[code(key), _kind(kind), _MEANING.get(key, "")] for key, kind in rows.features.items()],
        classes=classes[:_CLASSES_SHOWN] + ([f"and {more} more"] if more > 0 else []),
        splits=[[code(part), code(config), f"{len(splits[part]):,}", _what(splits[part], part)]
                for config, names in groups.items() for part in names],
        other_configurations=list(groups)[1:],
        versions=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
        **sections,
    )  # fmt: skip
    return card


def _rows_of(splits: DatasetDict, split: str) -> Dataset:
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(map(str, splits))}, got '{split}'")
    return splits[split]


def _what(rows: Dataset, name: str) -> str:
    if LABEL_GIVEN in rows.column_names:
        return "rows that were dropped" if name == DROPPED else "purified"
    if LABEL_SUSPECTED in rows.column_names:
        return "audited"
    return "with true labels beside the given ones" if CLEAN_LABEL in rows.column_names else "as it was"


def _kind(kind: Any) -> str:
    if isinstance(kind, datasets.ClassLabel):
        return f"one of {kind.num_classes} classes"
    if isinstance(kind, datasets.List):
        return f"list of {_kind(kind.feature)}"
    return escape(kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__)


def _pairs(pairs: Sequence[Sequence[int]], names: Sequence[str]) -> list[list[str]]:
    shown = [[escape(names[given]), escape(names[new]), f"{rows:,}"] for given, new, rows in pairs[:_PAIRS_SHOWN]]
    if rest := pairs[_PAIRS_SHOWN:]:
        shown.append([f"{len(rest)} more pairs", "", f"{sum(rows for _, _, rows in rest):,}"])
    return shown


def _matrix(matrix: Float[np.ndarray, "classes classes"], names: Sequence[str], note: str) -> dict[str, Any]:
    if len(matrix) > _MATRIX_SHOWN:
        return {}
    shown = [escape(one) for one in names]
    rows = [[name, *(f"{value:.3f}" for value in line)] for name, line in zip(shown, matrix, strict=True)]
    return {"matrix": rows, "matrix_head": ["", *shown], "matrix_note": note}


def _labels(rows: Dataset, column: str) -> Integer[np.ndarray, " rows"]:
    labels: np.ndarray = rows.select_columns([column]).with_format("arrow")[:].column(column).to_numpy()
    return labels


def _class_names(rows: Dataset, classes: int) -> list[str]:
    names: list[str] | None = getattr(rows.features[LABEL], "names", None)
    return [str(number) for number in range(classes)] if names is None else list(names)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"

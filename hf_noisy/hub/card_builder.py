"""Common parts of all dataset cards: columns, classes, splits and configurations, tables, and the template."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData
from jaxtyping import Float

from hf_noisy.core import columns
from hf_noisy.core.task import TASKS, TOKENS
from hf_noisy.data.flat_labels import task_of_labels
from hf_noisy.data.labelled_rows import has_values
from hf_noisy.data.tables import without_table_features
from hf_noisy.hub.text import BEGIN, END, REPOSITORY, TAGS, code, escape, public_name
from hf_noisy.purification.restore import DROPPED, is_purified

_TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.md"
_PAIRS_SHOWN, _CLASSES_SHOWN, _MATRIX_SHOWN = 20, 200, 12
_PACKAGES = ("hf-noisy", "datasets", "scikit-learn", "torch", "transformers")
_MEANINGS = {
    columns.TEXT: "the text to classify",
    columns.TEXT_PAIR: "the second text of the pair to classify",
    columns.IMAGE: "the image to classify",
    columns.CLEAN_LABEL: "the true label",
    columns.CHECKED_LABEL: "the class that a person found, where somebody looked",
    columns.VOTES: "votes of rules or other annotators, -1 for none",
    columns.LABEL_GIVEN: "the given label",
    columns.LABEL_POSTERIOR: "probability of each class being the true one",
    columns.LABEL_CONFIDENCE: "the largest of these probabilities",
    columns.LABEL_CHANGED: "whether the given label was overruled",
    columns.LABEL_CHECKED: "whether a person has checked the row",
    columns.LABEL_WEIGHT: "weight of the row in training",
    columns.PURIFIER: "method that computed the probabilities",
    columns.ROW_GIVEN: "row number before rows were dropped",
    columns.LABEL_QUALITY: "quality of the given label, higher is better",
    columns.LABEL_SUSPECTED: "whether the given label is likely wrong",
    columns.LABEL_SUGGESTED: "a more likely class for suspected rows, else the given label",
}


def build_card(
    splits: DatasetDict,
    name: str,
    rows: Dataset,
    *,
    label_meaning: str = "the label to train on",
    metadata: dict[str, Any] | None = None,
    **sections: Any,
) -> DatasetCard:
    """The card with the sections of its kind; columns, classes, splits and versions are the same for every kind."""
    rows = without_table_features(rows)
    splits = DatasetDict({part: without_table_features(one) for part, one in splits.items()})
    groups = configurations(splits)
    title = " ".join(public_name(name).split())
    fields = {
        "pretty_name": title,
        "tags": list(TAGS),
        "task_categories": _categories(rows) or None,
        **(metadata or {}),
    }
    # Only where they are needed: of a folder whose card names files, `datasets` caches rows by the folder's name, and
    # does not see that they have changed.
    configs = [
        {"config_name": config, "data_files": [{"split": part, "path": f"data/{part}-*"} for part in parts]}
        for config, parts in groups.items()
    ]
    feature = rows.features.get(columns.LABEL_GIVEN, rows.features[columns.LABEL])
    classes = [escape(one) for one in getattr(feature, "names", None) or []]
    more = len(classes) - _CLASSES_SHOWN
    meanings = {**_MEANINGS, columns.LABEL: label_meaning}
    cells = sections.pop("splits_cells", {part: [_what(one, part)] for part, one in splits.items()})
    card: DatasetCard = DatasetCard.from_template(
        DatasetCardData(**fields, configs=configs if len(groups) > 1 else None),
        template_path=str(_TEMPLATE),
        title=escape(title),
        begin=BEGIN,
        end=END,
        repository=REPOSITORY,
        columns=[[code(key), _kind(kind), meanings.get(key, "")] for key, kind in rows.features.items()],
        classes=classes[:_CLASSES_SHOWN] + ([f"and {more} more"] if more > 0 else []),
        splits=[
            [code(part), code(config), f"{len(splits[part]):,}", *cells[part]]
            for config, parts in groups.items()
            for part in parts
        ],
        other_configurations=list(groups)[1:],
        versions=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
        **sections,
    )
    return card


def _categories(rows: Dataset) -> list[str]:
    """Tasks of the Hub for which the rows are: one is known by several tasks of this package."""
    if task_of_labels(rows) == "tokens":
        return [TOKENS.pipeline_tag]
    fitting = (task for task in TASKS.values() if task is not TOKENS and task.modality in rows.column_names)
    return list(dict.fromkeys(task.pipeline_tag for task in fitting))


def configurations(splits: DatasetDict) -> dict[str, list[str]]:
    """Splits with the same columns, by configuration: `"default"` (most columns), `"unchanged"`, `"unchanged_2"`."""
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
    titles = ["default", "unchanged", *(f"unchanged_{number}" for number in range(2, len(groups)))]
    return dict(zip(titles, groups, strict=False))


def pairs_table(pairs: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[list[str]]:
    """A line for each of the first `[given, other, rows]`, and one for the rest."""
    shown = [
        [escape(class_names[given]), escape(class_names[new]), f"{rows:,}"]
        for given, new, rows in pairs[:_PAIRS_SHOWN]
    ]
    if rest := pairs[_PAIRS_SHOWN:]:
        shown.append([f"{len(rest)} more pairs", "", f"{sum(rows for _, _, rows in rest):,}"])
    return shown


def matrix_section(
    matrix: Float[np.ndarray, "classes classes"], class_names: Sequence[str], note: str
) -> dict[str, Any]:
    """The section of a transition matrix, left out if there are many classes."""
    if len(matrix) > _MATRIX_SHOWN:
        return {}
    shown = [escape(one) for one in class_names]
    rows = [[name, *(f"{value:.3f}" for value in line)] for name, line in zip(shown, matrix, strict=True)]
    return {"matrix": rows, "matrix_head": ["", *shown], "matrix_note": note}


def percent(value: float | None) -> str:
    """A share in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.2f} %"


def _what(rows: Dataset, name: str) -> str:
    if is_purified(rows):
        return "dropped rows" if name == DROPPED else "purified"
    if has_values(rows, columns.LABEL_SUSPECTED):
        return "audited"
    return "given and true labels" if has_values(rows, columns.CLEAN_LABEL) else "unchanged"


def _kind(kind: Any) -> str:
    if isinstance(kind, datasets.ClassLabel):
        return f"one of {kind.num_classes} classes"
    if isinstance(kind, datasets.List):
        return f"list of {_kind(kind.feature)}"
    return escape(kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__)

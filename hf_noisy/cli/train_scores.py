"""What `train` measures on test rows and on watched training rows, for each kind of label."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Float, Int64
from scipy.special import softmax

from hf_noisy.cli.list_inputs import CLEAN_LABELS
from hf_noisy.core.columns import CLEAN_LABEL, LABEL, LABELS, column_array
from hf_noisy.core.task import LABEL_SETS, TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.labelled_rows import has_values, label_values
from hf_noisy.data.tags import has_spans
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.metrics import compute_metrics
from hf_noisy.metrics.entities import entity_scores
from hf_noisy.metrics.label_sets import multi_label_scores
from hf_noisy.reports import score_epochs

_Labels = Int64[np.ndarray, " units"]


class OneLabelScores:
    """Accuracy of one class a row."""

    labels, clean = LABEL, CLEAN_LABEL  # columns
    curve = "test_accuracy_by_epoch"  # drawn beside the memorisation

    def __init__(self) -> None:
        self.compute: Callable[[Any], dict[str, float]] = _accuracy  # the `compute_metrics` of the trainer

    def watched(self, rows: Dataset, limit: int) -> int:
        """How many rows have at most `limit` labels."""
        return limit

    def given_and_true(self, rows: Dataset) -> tuple[_Labels, _Labels]:
        """The given labels, and the true ones or -1 where they are not known."""
        return label_values(rows, LABEL), label_values(rows, CLEAN_LABEL)

    def predicted(self, trajectories: Trajectories, name: str) -> Float[np.ndarray, "epochs branches units classes"]:
        """Probabilities of the labels of a recorded dataset."""
        return np.asarray(softmax(trajectories.logits(name), axis=-1))

    def with_true_labels(self, rows: Dataset) -> Dataset:
        """The rows whose true label is known, with it as the label; all rows if none is known."""
        known = np.flatnonzero(label_values(rows, CLEAN_LABEL) >= 0)
        if not len(known):
            return rows
        return rows.select(known).remove_columns(LABEL).rename_column(CLEAN_LABEL, LABEL)

    def by_epoch(self, rows: Dataset, predicted: Float[np.ndarray, "epochs branches rows classes"]) -> dict[str, Any]:
        """Scores of test rows, against true labels where some are known."""
        given, true = self.given_and_true(rows)
        known = true >= 0
        return score_epochs(true[known], predicted[:, :, known]) if known.any() else score_epochs(given, predicted)


class _ListScores(OneLabelScores):
    """Of labels that are lists."""

    labels, clean = LABELS, CLEAN_LABELS

    def with_true_labels(self, rows: Dataset) -> Dataset:
        if not has_values(rows, CLEAN_LABELS):
            return rows
        return rows.remove_columns(LABELS).rename_column(CLEAN_LABELS, LABELS)


class TokenScores(_ListScores):
    """F1 of entities, or the accuracy of tags that mark none, of the first token of each word."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.has_spans = names, has_spans(names)
        metrics: tuple[str, ...] = ("accuracy",)
        settings: dict[str, Any] = {}
        if self.has_spans:
            entity_scores([["O"]], [["O"]])  # without seqeval an error, before anything is trained
            metrics, settings, self.curve = ("accuracy", "entities"), {"names": names}, "test_entity_f1_by_epoch"
        self.compute = compute_metrics(*metrics, task=TOKENS, **settings)

    def watched(self, rows: Dataset, limit: int) -> int:
        return limit * len(rows) // max(len(self.given_and_true(rows)[0]), 1)

    def given_and_true(self, rows: Dataset) -> tuple[_Labels, _Labels]:
        given = np.concatenate(rows.with_format(None)[LABELS][:])
        true = np.full(len(given), NO_LABEL)
        if CLEAN_LABELS in rows.column_names:
            true = np.concatenate(rows.with_format(None)[CLEAN_LABELS][:])
        return given[given != NO_LABEL], np.maximum(true[given != NO_LABEL], -1)

    def by_epoch(self, rows: Dataset, predicted: Float[np.ndarray, "epochs branches rows classes"]) -> dict[str, Any]:
        scores = super().by_epoch(rows, predicted)
        if not self.has_spans:
            return scores
        given, true = self.given_and_true(rows)
        labels = true if (true >= 0).any() else given
        known = labels >= 0
        counts = [sum(one != NO_LABEL for one in row) for row in rows.with_format(None)[LABELS][:]]
        ends = np.cumsum(counts)[:-1]

        def tags(ids: _Labels) -> list[list[str]]:
            parts = zip(np.split(ids, ends), np.split(known, ends), strict=True)
            return [[self.names[one] for one in sentence[scored]] for sentence, scored in parts]

        wanted = tags(labels)
        found = [entity_scores(wanted, tags(one))["entity_f1"] for one in predicted.mean(1).argmax(-1)]
        return scores | _named("entity_f1", found)


class SetScores(_ListScores):
    """Micro and macro F1 of sets of classes, at a threshold of 0.5."""

    curve = "test_micro_f1_by_epoch"

    def __init__(self) -> None:
        self.compute = compute_metrics("accuracy", "multi_label", task=LABEL_SETS)

    def watched(self, rows: Dataset, limit: int) -> int:
        return -(-limit // len(rows[0][LABELS]))

    def given_and_true(self, rows: Dataset) -> tuple[_Labels, _Labels]:
        given = np.asarray(column_array(rows, LABELS), np.int64)
        true = np.full(given.shape, -1)
        if CLEAN_LABELS in rows.column_names:
            lists = rows.with_format(None)[CLEAN_LABELS][:]
            known = np.array([one is not None for one in lists], dtype=bool)
            if known.any():
                true[known] = np.array([one for one in lists if one is not None])
        return given.ravel(), true.ravel()

    def predicted(self, trajectories: Trajectories, name: str) -> Float[np.ndarray, "epochs branches units classes"]:
        return np.asarray(softmax(trajectories.cell_logits(name), axis=-1))

    def with_true_labels(self, rows: Dataset) -> Dataset:
        if has_values(rows, CLEAN_LABELS):
            rows = rows.filter(lambda one: one is not None, input_columns=CLEAN_LABELS)
        return super().with_true_labels(rows)

    def by_epoch(self, rows: Dataset, predicted: Float[np.ndarray, "epochs branches rows classes"]) -> dict[str, Any]:
        given, true = self.given_and_true(rows)
        labels = (true if (true >= 0).any() else given).reshape(len(rows), -1)
        known = labels[:, 0] >= 0
        present = predicted.mean(1)[..., 1].reshape(len(predicted), *labels.shape)
        found = [multi_label_scores(labels[known], one[known]) for one in present]
        scores = super().by_epoch(rows, predicted)
        return scores | {
            name: value
            for key in ("micro_f1", "macro_f1")
            for name, value in _named(key, [s[key] for s in found]).items()
        }


def _accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def _named(name: str, by_epoch: list[float]) -> dict[str, Any]:
    return {f"test_{name}_last": by_epoch[-1], f"test_{name}_best": max(by_epoch), f"test_{name}_by_epoch": by_epoch}

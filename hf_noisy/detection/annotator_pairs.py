"""Pairs of annotators: near-copies, and agreement beyond what a posterior explains."""

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.data.weak.vote_table import Votes
from hf_noisy.detection.links import first_of_group, linked_groups

_COPY = 0.9  # kappa of two annotators from which they are near-copies
_FEW = 20  # common rows below which two annotators are not compared
_COMPARED = 300  # annotators with the most answers that are compared with each other
_COMPARED_ROWS = 20_000
_TINY = 1e-9


class AnnotatorPairs:
    """Counts of common rows and equal answers of the annotators with enough answers."""

    def __init__(self, votes: Votes) -> None:
        self._num_annotators, self._num_classes = len(votes.annotators), len(votes.classes)
        answers = np.bincount(votes.annotator, minlength=self._num_annotators)
        order = np.argsort(-answers, kind="stable")[:_COMPARED]
        self._known = np.sort(order[answers[order] >= _FEW])
        self._rows = evenly_spaced(np.arange(votes.num_rows), _COMPARED_ROWS)
        self._table = self._answers(votes)
        self._answered = (self._table >= 0).astype(np.float32)
        self._both = (self._answered.T @ self._answered).astype(np.float64)
        self._same = np.zeros_like(self._both)
        self._by_chance = np.zeros_like(self._both)
        for label in range(self._num_classes):
            given = (self._table == label).astype(np.float32)
            self._same += given.T @ given
            in_common = (given.T @ self._answered).astype(np.float64)
            self._by_chance += in_common * in_common.T
        self._by_chance /= np.maximum(self._both, 1)

    def near_copies(self) -> Int64[np.ndarray, " annotators"]:
        """The first annotator of the group of those who give nearly the same answers, by Cohen's kappa."""
        possible = self._both - self._by_chance
        kappa = (self._same - self._by_chance) / np.maximum(possible, _TINY)
        one, other = np.nonzero((kappa >= _COPY) & (self._both >= _FEW) & (possible > _TINY))
        return first_of_group(linked_groups(self._known[one], self._known[other], self._num_annotators))

    def excess_agreement(
        self,
        posterior: Float64[np.ndarray, "rows classes"],
        confusion: Float64[np.ndarray, "annotators classes answers"],
    ) -> Float64[np.ndarray, "annotators annotators"]:
        """Agreement beyond that of independent annotators, as a share of the largest; 0 for those not compared."""
        matrices = confusion[self._known]
        expected = np.zeros_like(self._both)
        for label in range(self._num_classes):
            shares = posterior[self._rows, label, None].astype(np.float32)
            together = (self._answered * shares).T @ self._answered
            expected += together * (matrices[:, label] @ matrices[:, label].T)
        excess = (self._same - expected) / np.maximum(self._both - expected, _TINY)
        result = np.zeros((self._num_annotators, self._num_annotators))
        result[np.ix_(self._known, self._known)] = np.where(self._both >= _FEW, excess.clip(-1, 1), 0.0)
        np.fill_diagonal(result, 0.0)
        return result

    def _answers(self, votes: Votes) -> Int64[np.ndarray, "some compared"]:
        """The answers on the rows that are looked at, -1 for none."""
        row = np.full(votes.num_rows, -1)
        row[self._rows] = np.arange(len(self._rows))
        column = np.full(self._num_annotators, -1)
        column[self._known] = np.arange(len(self._known))
        kept = (row[votes.row] >= 0) & (column[votes.annotator] >= 0)
        table = np.full((len(self._rows), len(self._known)), -1, dtype=np.int64)
        table[row[votes.row[kept]], column[votes.annotator[kept]]] = votes.label[kept]
        return table

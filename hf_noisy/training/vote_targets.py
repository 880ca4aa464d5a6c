"""The votes of several annotators on each row, in the place of its given label."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.core.columns import column_array
from hf_noisy.core.rows import Task
from hf_noisy.core.types import BatchLabels
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.data.weak.vote_table import ABSTAIN, Votes, votes_from_matrix
from hf_noisy.methods import AnnotatorLayers, LossMethod, Method
from hf_noisy.training.train_loader import has_rows

_MISSING = -1.0  # in the place of a target, for rows without a vote


class VoteTargets:
    """Replaces the given labels of a batch by the shares of the votes, or by the posterior aggregated from them."""

    def __init__(self, votes: Any, dataset: Any, method: Method, is_auto: bool, num_classes: int, task: Task) -> None:
        self._targets: Float[Tensor, "rows classes"] | None = None
        self.identity: dict[str, Any] = {}  # what must not change when a run resumes
        if votes is None:
            if isinstance(method, AnnotatorLayers):
                raise ValueError("method annotator_layers learns from votes; pass votes=")
            return
        _refuse_unfit(dataset, method, is_auto, task)
        found: Any = _from_column(dataset, votes) if isinstance(votes, str) else votes
        posterior = getattr(found, "posterior", None)
        table = found.votes if posterior is not None else found
        table = table if isinstance(table, Votes) else votes_from_matrix(table)
        if table.num_rows != len(dataset):
            raise ValueError(f"votes are on {table.num_rows} rows, but train_dataset has {len(dataset)}")
        if len(table.classes) > num_classes:
            raise ValueError(f"votes are of {len(table.classes)} classes, but the model has {num_classes}")
        if isinstance(method, AnnotatorLayers):
            method.use_votes(table)
            self.identity = {"votes": labels_digest(np.stack([table.row, table.annotator, table.label]))}
            return
        counts = table.counts()
        targets = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) if posterior is None else posterior
        unknown = counts.sum(axis=1) == 0 if posterior is None else found.labels == ABSTAIN
        targets = np.where(unknown[:, None], _MISSING, targets).astype(np.float32)
        self.identity = {"votes": labels_digest(targets)}
        self._targets = F.pad(torch.from_numpy(targets), (0, num_classes - targets.shape[1]))

    @property
    def are_for_layers(self) -> bool:
        """Whether the layers of annotators learn from the votes themselves."""
        return bool(self.identity) and self._targets is None

    @property
    def are_targets(self) -> bool:
        """Whether they are what the method trains on."""
        return self._targets is not None

    def __call__(self, labels: BatchLabels, index: Int[Tensor, " rows"]) -> BatchLabels:
        """Soft labels of a batch; a row without a vote keeps its given label."""
        if self._targets is None:
            return labels
        self._targets = self._targets.to(labels.device)
        found = self._targets[index]
        given = F.one_hot(labels, found.shape[1]) if labels.ndim == 1 else labels
        return torch.where(found[:, :1] == _MISSING, given.to(found.dtype), found)


def _refuse_unfit(dataset: Any, method: Method, is_auto: bool, task: Task) -> None:
    """Refuse what cannot train on votes."""
    if not task.one_row:
        raise ValueError(f"votes are one class for each example, not the labels of {task.name}; leave out votes=")
    if not has_rows(dataset):
        raise ValueError("votes need a train_dataset with a length; load it without streaming")
    if is_auto:
        raise ValueError(
            "method='auto' measures the noise of one label a row; with votes, take 'cross_entropy' to predict what "
            "people answer or 'annotator_layers' to predict the truth"
        )
    if not isinstance(method, LossMethod | AnnotatorLayers):
        raise ValueError(
            f"votes are soft labels, which method {type(method).__name__} does not take; take a loss such as "
            "'cross_entropy' or 'gce', 'annotator_layers', or train on the labels of aggregate(votes)"
        )


def _from_column(dataset: Any, name: str) -> Int[np.ndarray, "rows annotators"]:
    """The votes in a column with a list of class ids for each row, -1 or missing for no answer."""
    columns = getattr(dataset, "column_names", None) or []
    if name not in columns:
        raise ValueError(f"votes='{name}' is no column of train_dataset, which has {', '.join(columns) or 'none'}")
    values = column_array(dataset, name)
    if values.dtype == object:
        if len({np.size(row) for row in values}) > 1:
            raise ValueError(f"column '{name}' must have an entry for each annotator in every row, -1 for no answer")
        values = np.array([[ABSTAIN if vote is None else vote for vote in row] for row in values])
    return values

"""The transition matrix for methods that correct the loss by one: given, or estimated from the training rows."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.rows import Rows
from hf_noisy.core.task import task_of
from hf_noisy.core.types import Labels, LabelTensor, Logits, RowLosses
from hf_noisy.detection.anchor_free import anchor_free_transition_matrix
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.transition_matrix import confident_transition_matrix, dual_t_transition_matrix
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.before_training import features_before_training, labels_before_training
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.models.frozen_features import stored_features, why_no_features
from hf_noisy.models.heads import row_classes

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import Trainer

Matrix: TypeAlias = Float[Tensor, "classes classes"]
Corrected: TypeAlias = tuple[RowLosses, dict[str, Tensor]]
ESTIMATORS = ("confident_joint", "dual_t", "anchor_free")


class NoiseMatrix(nn.Module):
    """P(given | true), from frozen features before training, else from the network after `warmup_ratio` of the epochs.

    A model without informative features (random weights) is first trained with cross-entropy; the estimate then comes
    from its last predictions of the training rows, as in the papers.
    """

    values: Tensor

    def __init__(self, given: Any, estimator: str, warmup_ratio: float) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be {', '.join(ESTIMATORS)}, got {estimator!r}")
        if not 0.0 <= warmup_ratio < 1.0:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {warmup_ratio}; the published code uses 0.1")
        self.given = None if given is None else check_matrix(np.asarray(given, np.float64))
        self.estimator, self.warmup_ratio = estimator, warmup_ratio
        self.memory: RowMemory | None = None  # of predictions, if there are no features
        self.num_rows = 0  # of an estimate
        self._is_known = False
        self._labels: Labels | None = None

    def prepare(self, trainer: "Trainer", accelerator: "Accelerator", resumes: bool) -> None:
        """Take the given matrix or estimate one, if the features say something."""
        model = cast(nn.Module, trainer.model)
        classes = row_classes(model)
        found = self.given
        if found is not None and len(found) != classes:
            raise ValueError(f"matrix must be [{classes}, {classes}], one row per class, got {found.shape}")
        self.memory, self._is_known = None, False
        self._labels = labels = labels_before_training(trainer) if found is None else np.zeros(0, np.int64)
        self.num_rows = len(labels)
        if found is None and (reason := _why_no_features(model, trainer.train_dataset)):
            if self.estimator == "anchor_free":
                raise ValueError(f"estimator 'anchor_free' needs features, but {reason}; add a column 'features'")
            self.memory = RowMemory(len(labels), (classes,), accelerator, fill=math.nan)
        elif found is None and not resumes:
            found = self._from_features(trainer, labels, classes)
        values = torch.full((classes, classes), math.nan) if found is None else torch.from_numpy(found).float()
        self.register_buffer("values", values)

    def _from_features(
        self, trainer: "Trainer", labels: Labels, classes: int
    ) -> Float64[np.ndarray, "classes classes"]:
        with random_state_kept():
            features = features_before_training(trainer)
            made: list[Any] = [None]
            if PartialState().is_main_process:
                seed = trainer.args.seed
                made = (
                    [anchor_free_transition_matrix(features, labels, classes, seed=seed)]
                    if self.estimator == "anchor_free"
                    else [self._from_probabilities(out_of_fold_probabilities(features, labels, seed=seed), labels)]
                )
        matrix: Float64[np.ndarray, "classes classes"] = broadcast_object_list(made)[0]
        return matrix

    def _from_probabilities(
        self, probabilities: Float[np.ndarray, "rows classes"], labels: Labels
    ) -> Float64[np.ndarray, "classes classes"]:
        kind = dual_t_transition_matrix if self.estimator == "dual_t" else confident_transition_matrix
        return kind(labels, probabilities)

    @torch.no_grad()
    def forward(self, rows: Rows, batch: Batch) -> Matrix | None:
        """The matrix, or None in the epochs before it is estimated; their predictions are noted."""
        if self.memory is None:
            return self.values
        self._is_known = self._is_known or not bool(self.values.isnan().any())
        if not self._is_known and batch.epoch >= math.ceil(self.warmup_ratio * batch.num_epochs) and batch.epoch > 0:
            self._estimate()
        if self._is_known:
            return self.values
        self.memory.write(rows.index, at_least_float32(rows.logits).softmax(-1))
        return None

    def _estimate(self) -> None:
        assert self.memory is not None
        assert self._labels is not None  # set by prepare
        predicted = self.memory.values.cpu().numpy().astype(np.float64)
        seen = np.isfinite(predicted).all(1)
        predicted = predicted[seen] / predicted[seen].sum(1, keepdims=True)
        self.values.copy_(torch.from_numpy(self._from_probabilities(predicted, self._labels[seen])))
        self._is_known = True


def _why_no_features(model: nn.Module, dataset: Any) -> str:
    """Why there is no feature vector for each row of logits; empty if there is."""
    if not task_of(model).one_row:
        return "the features are of whole examples, which have several labels"
    return "" if stored_features(dataset) is not None else why_no_features(model)


class MatrixMethod(Method):
    """Base class of the methods that correct the loss by a transition matrix."""

    needs_rows = True

    def __init__(self, matrix: Any = None, estimator: str = "confident_joint", warmup_ratio: float = 0.1) -> None:
        super().__init__()
        self.noise = NoiseMatrix(matrix, estimator, warmup_ratio)
        self.needs_rows = matrix is None  # type: ignore[misc]
        self._accelerator: Accelerator | None = None

    @property
    def matrix(self) -> Matrix:
        """P(given | true) once it is known, rows sum to 1."""
        return self.noise.values

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        self._accelerator = accelerator

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        assert self._accelerator is not None  # set by setup
        self.noise.prepare(trainer, self._accelerator, resumes)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        log_probabilities = at_least_float32(rows.logits).log_softmax(-1)
        task = F.nll_loss(log_probabilities, rows.labels, reduction="none")
        matrix = self.noise(rows, batch)
        if matrix is None:
            return Step(task, outputs, {"cross_entropy": task.detach()})
        losses, metrics = self.corrected(log_probabilities, rows.labels, matrix, batch)
        return Step(losses, outputs, {"cross_entropy": task.detach(), **metrics})

    @abstractmethod
    def corrected(self, log_probabilities: Logits, labels: LabelTensor, matrix: Matrix, batch: Batch) -> Corrected:
        """Losses of the rows by the matrix, and metrics to log."""


def check_matrix(matrix: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "classes classes"]:
    """Refuse what is no transition matrix."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, P(given | true) [true, given], got shape {matrix.shape}")
    if not (np.isfinite(matrix).all() and (matrix >= 0).all() and np.allclose(matrix.sum(1), 1, atol=1e-4)):
        raise ValueError(f"matrix must hold probabilities whose rows sum to 1, got sums {matrix.sum(1).tolist()}")
    return matrix


def given_log_probability(
    log_probabilities: Float[Tensor, "rows classes"], matrix: Matrix, labels: Tensor
) -> Float[Tensor, " rows"]:
    r"""$\ln \sum_k T_{ky}\, p_k$: how probable the given label is."""
    return (log_probabilities + matrix.clamp(min=1e-12).log().T[labels]).logsumexp(-1)

"""Forward and backward correction of the loss by a transition matrix."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_noisy.core.types import LabelTensor, Logits
from hf_noisy.methods.method import Batch
from hf_noisy.methods.noise_matrix import Corrected, Matrix, MatrixMethod, given_log_probability

_CITATION = (
    "Patrini, G., Rozza, A., Menon, A. K., Nock, R., Qu, L. (2017). Making Deep Neural Networks Robust to Label "
    "Noise: A Loss Correction Approach. CVPR 2017."
)
_MOST_CONDITION = 1e4
_BISECTIONS = 20


class ForwardCorrection(MatrixMethod):
    r"""Cross-entropy of the given label, whose probability is that of the true label sent through the noise.

    $$\ell = -\ln \sum_k T_{ky}\, p_k, \qquad T_{ij} = P(\text{given} = j \mid \text{true} = i)$$

    The network then predicts true labels. `T` is estimated before training from frozen features (the encoder's, or a
    column `features`); if the model has random weights, from the network itself after some epochs of cross-entropy.

    Args:
        matrix: `[true, given]`, rows sum to 1; None to estimate it.
        estimator: `"confident_joint"`, `"dual_t"` (meant for overconfident networks) or `"anchor_free"` (by nearest
            neighbours, needs features).
        warmup_ratio: Share of the epochs before the estimate, where there are no features.

    Raises:
        ValueError: If an argument is out of range, or (when training starts) the matrix does not fit the classes or
            cannot be estimated.

    Example:
        ```python
        method = ForwardCorrection(estimator="dual_t")
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=method)
        trainer.train()
        trainer.method.matrix
        ```

    Source: Patrini et al. (2017), Theorem 2; estimators of Northcutt et al. (2021), Yao et al. (2020) and Zhu et al.
    (2021).
    """

    citation: ClassVar[str] = _CITATION

    def corrected(self, log_probabilities: Logits, labels: LabelTensor, matrix: Matrix, batch: Batch) -> Corrected:
        return -given_log_probability(log_probabilities, matrix, labels), {}


class BackwardCorrection(MatrixMethod):
    r"""Cross-entropies of all classes, weighted such that their mean over the noise is that of the true label.

    $$\ell = -\sum_k (T^{-1})_{yk} \ln p_k, \qquad T_{ij} = P(\text{given} = j \mid \text{true} = i)$$

    The loss is an unbiased estimate of cross-entropy with true labels. Some weights are negative, so it has no lower
    bound and a high variance: forward correction is usually better. The inverse also multiplies the errors of an
    estimated matrix, at most by the condition number; so an estimate is mixed with uniform noise until its condition
    number is at most `max_condition`, or, where none is, replaced by uniform noise of the same rate.

    Args:
        matrix: `[true, given]`, rows sum to 1; None to estimate it, as in [`ForwardCorrection`].
        estimator: `"confident_joint"`, `"dual_t"` or `"anchor_free"`.
        warmup_ratio: Share of the epochs before the estimate, where there are no features.
        max_condition: Of an estimated matrix, at least 1; None for the square root of the rows per class, as the
            relative errors of the estimate are about one over that. A matrix that you pass is used as it is.

    Raises:
        ValueError: As [`ForwardCorrection`], or if the matrix has nearly no inverse.

    Example:
        ```python
        matrix = [[0.9, 0.1], [0.3, 0.7]]
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=BackwardCorrection(matrix))
        ```

    Source: Patrini et al. (2017), Theorem 1.
    """

    citation: ClassVar[str] = _CITATION

    def __init__(
        self,
        matrix: Any = None,
        estimator: str = "confident_joint",
        warmup_ratio: float = 0.1,
        max_condition: float | None = None,
    ) -> None:
        super().__init__(matrix, estimator, warmup_ratio)
        if max_condition is not None and not max_condition >= 1.0:
            raise ValueError(f"max_condition must be at least 1, got {max_condition}; None chooses it")
        self.max_condition = max_condition
        self._inverse: Tensor | None = None

    def setup(self, model: nn.Module, accelerator: Any, num_rows: int | None = None) -> None:
        super().setup(model, accelerator, num_rows)
        self._inverse = None

    def corrected(self, log_probabilities: Logits, labels: LabelTensor, matrix: Matrix, batch: Batch) -> Corrected:
        if self._inverse is None:
            if self.noise.given is None:
                most = self.max_condition or max(math.sqrt(self.noise.num_rows / len(matrix)), 1.0)
                matrix = _better_conditioned(matrix, most)
            self._inverse = _inverse(matrix)
        return -(self._inverse[labels] * log_probabilities).sum(-1), {}


def _better_conditioned(matrix: Matrix, most: float) -> Matrix:
    """The matrix, mixed with as little as needed of the uniform noise of the same rate."""
    kept = matrix.double().diagonal().mean()
    uniform = torch.full_like(matrix.double(), float((1 - kept) / (len(matrix) - 1)))
    uniform.fill_diagonal_(float(kept))

    def mixed(share: float) -> Matrix:
        return torch.lerp(matrix.double(), uniform, share)

    low, high = 0.0, 1.0
    if torch.linalg.cond(mixed(low)) <= most:
        return matrix
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if torch.linalg.cond(mixed(middle)) <= most else (middle, high)
    return mixed(high).to(matrix.dtype)


def _inverse(matrix: Matrix) -> Matrix:
    condition = float(torch.linalg.cond(matrix.double()))
    if not condition < _MOST_CONDITION:
        raise ValueError(
            f"matrix has nearly no inverse (condition number {condition:.0f}), which 'backward_correction' needs; "
            "take method='forward_correction'"
        )
    inverse: Tensor = torch.linalg.inv(matrix.double())
    return inverse.to(matrix.dtype)

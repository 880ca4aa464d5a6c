"""Pure losses: `(logits, labels, progress) -> one loss a row`."""

from hf_noisy.losses.base import Loss
from hf_noisy.losses.coregularization import coregularization
from hf_noisy.losses.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy", "Loss", "coregularization"]

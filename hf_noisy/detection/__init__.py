"""Find wrong labels, duplicates and outliers, and estimate the noise rate and the transition matrix."""

from hf_noisy.detection.aggregate import Aggregation, aggregate
from hf_noisy.detection.anchor_free import anchor_free_transition_matrix
from hf_noisy.detection.checked_correction import CheckedCorrection, CorrectedLabels
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.duplicates import DuplicateGroup, find_duplicates
from hf_noisy.detection.evidence import Evidence, fit_evidence
from hf_noisy.detection.find import find_wrong_labels
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.label_quality import (
    confidence_weighted_entropy,
    confident_classes,
    confident_learning,
    normalized_margin,
    self_confidence,
    suggested_labels,
)
from hf_noisy.detection.missing_rate import estimate_missing_rate
from hf_noisy.detection.mixture import small_loss
from hf_noisy.detection.noise_rate import NoiseRate, estimate_noise_rate, mixture_noise_rate
from hf_noisy.detection.opinions import Opinions, opinions
from hf_noisy.detection.outliers import Outliers, find_outliers
from hf_noisy.detection.selection import GuaranteedChanges, guaranteed_changes
from hf_noisy.detection.share_intervals import Share
from hf_noisy.detection.training_dynamics import DataMap, aum, data_map
from hf_noisy.detection.transition_matrix import (
    confident_joint,
    confident_transition_matrix,
    dual_t_transition_matrix,
)
from hf_noisy.detection.wrong_cells import find_wrong_cells
from hf_noisy.detection.wrong_tokens import find_wrong_tokens

__all__ = [
    "Aggregation",
    "CheckedCorrection",
    "CheckedEstimates",
    "CorrectedLabels",
    "DataMap",
    "DuplicateGroup",
    "Evidence",
    "GuaranteedChanges",
    "LabelIssues",
    "NoiseRate",
    "Opinions",
    "Outliers",
    "Share",
    "aggregate",
    "anchor_free_transition_matrix",
    "aum",
    "confidence_weighted_entropy",
    "confident_classes",
    "confident_joint",
    "confident_learning",
    "confident_transition_matrix",
    "data_map",
    "dual_t_transition_matrix",
    "estimate_missing_rate",
    "estimate_noise_rate",
    "find_duplicates",
    "find_outliers",
    "find_wrong_cells",
    "find_wrong_labels",
    "find_wrong_tokens",
    "fit_evidence",
    "guaranteed_changes",
    "mixture_noise_rate",
    "normalized_margin",
    "opinions",
    "self_confidence",
    "small_loss",
    "suggested_labels",
]

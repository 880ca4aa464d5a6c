"""Metrics of a classifier, as functions of arrays, as `evaluate` modules, and as `compute_metrics`."""

from hf_noisy.metrics.calibration import (
    ReliabilityBins,
    brier_score,
    calibration_scores,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_bins,
)
from hf_noisy.metrics.detection import detection_scores, precision_at_k
from hf_noisy.metrics.distributions import distance_weighted_accuracy, manhattan_distance, soft_cross_entropy
from hf_noisy.metrics.entities import entity_scores
from hf_noisy.metrics.for_trainer import compute_metrics
from hf_noisy.metrics.label_accuracy import accuracy_by_noise, relabelling_scores
from hf_noisy.metrics.label_sets import best_threshold, multi_label_scores
from hf_noisy.metrics.modules import SCRIPT, load

__all__ = [
    "SCRIPT",
    "ReliabilityBins",
    "accuracy_by_noise",
    "best_threshold",
    "brier_score",
    "calibration_scores",
    "compute_metrics",
    "detection_scores",
    "distance_weighted_accuracy",
    "entity_scores",
    "expected_calibration_error",
    "load",
    "manhattan_distance",
    "maximum_calibration_error",
    "multi_label_scores",
    "precision_at_k",
    "relabelling_scores",
    "reliability_bins",
    "soft_cross_entropy",
]

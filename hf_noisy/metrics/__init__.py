"""How good a classifier's predictions are, as functions of arrays."""

from hf_noisy.metrics.calibration import ReliabilityBins, expected_calibration_error, reliability_bins

__all__ = ["ReliabilityBins", "expected_calibration_error", "reliability_bins"]

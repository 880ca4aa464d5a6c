"""Which rows are wrong, and how many."""

from hf_noisy.detection.noise_rate import estimate_noise_rate

__all__ = ["estimate_noise_rate"]

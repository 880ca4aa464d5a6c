"""The script for `evaluate.load(hf_noisy.metrics.SCRIPT, "calibration")`, which copies it and loads its class."""

from hf_noisy.metrics.modules import metric_class

NoisyLabels = metric_class()

"""What was found, as figures."""

from hf_noisy.reports.figures import dynamics_map, reliability_diagram

__all__ = ["dynamics_map", "reliability_diagram"]

"""What was found, as figures and tables."""

from hf_noisy.reports.epochs import score_epochs
from hf_noisy.reports.figures import dynamics_map, reliability_diagram
from hf_noisy.reports.memorisation import memorisation_curve
from hf_noisy.reports.stages import score_stages, stage_table

__all__ = [
    "dynamics_map",
    "memorisation_curve",
    "reliability_diagram",
    "score_epochs",
    "score_stages",
    "stage_table",
]

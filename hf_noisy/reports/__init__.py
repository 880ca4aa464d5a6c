"""Results as figures, tables and pages."""

from hf_noisy.reports.evaluation import score_epochs, score_stages, stage_table
from hf_noisy.reports.figures import dynamics_map, reliability_diagram
from hf_noisy.reports.memorisation import memorisation_curve

__all__ = [
    "dynamics_map",
    "memorisation_curve",
    "reliability_diagram",
    "score_epochs",
    "score_stages",
    "stage_table",
]

"""Networks made of networks, and a look at what their heads see."""

from hf_noisy.models.branches import BranchedConfig, BranchedModel, BranchedOutput, mean_log_probability
from hf_noisy.models.features import HeadInputs, find_heads, num_classes

__all__ = [
    "BranchedConfig",
    "BranchedModel",
    "BranchedOutput",
    "HeadInputs",
    "find_heads",
    "mean_log_probability",
    "num_classes",
]

"""Networks made of networks, and a look at what their heads see."""

from hf_noisy.models.branched_config import BranchedConfig
from hf_noisy.models.branches import BranchedModel, BranchedOutput, mean_log_probability
from hf_noisy.models.heads import HeadInputs, find_heads, num_classes
from hf_noisy.models.preact_resnet import PreActResNetConfig, PreActResNetForImageClassification

__all__ = [
    "BranchedConfig",
    "BranchedModel",
    "BranchedOutput",
    "HeadInputs",
    "PreActResNetConfig",
    "PreActResNetForImageClassification",
    "find_heads",
    "mean_log_probability",
    "num_classes",
]

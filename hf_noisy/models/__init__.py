"""Networks of several branches, and PreActResNets; importing this module lets transformers load both."""

from hf_noisy.models.branched_config import BranchedConfig
from hf_noisy.models.branches import BranchedModel, BranchedOutput
from hf_noisy.models.preact_resnet import PreActResNetConfig, PreActResNetForImageClassification

__all__ = [
    "BranchedConfig",
    "BranchedModel",
    "BranchedOutput",
    "PreActResNetConfig",
    "PreActResNetForImageClassification",
]

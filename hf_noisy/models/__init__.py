"""Branched models and PreActResNets, registered with the auto classes of transformers on import."""

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

"""Labels corrected by what rows look like, and datasets that say what was corrected."""

from hf_noisy.models.embed import embed
from hf_noisy.purify.base import Purifier
from hf_noisy.purify.confident_learning import ConfidentLearningPurifier
from hf_noisy.purify.dmlp.dmlp import DMLP
from hf_noisy.purify.dygen_purifier import DyGenPurifier
from hf_noisy.purify.knn import KNNPurifier
from hf_noisy.purify.policies import purification_record, purify, restore_labels
from hf_noisy.purify.summary import PurificationSummary, summarise

__all__ = [
    "DMLP",
    "ConfidentLearningPurifier",
    "DyGenPurifier",
    "KNNPurifier",
    "PurificationSummary",
    "Purifier",
    "embed",
    "purification_record",
    "purify",
    "restore_labels",
    "summarise",
]

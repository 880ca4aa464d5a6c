"""Label correction: the posterior of the true label, and datasets that record what was corrected."""

from hf_noisy.models.embed import embed
from hf_noisy.purify.dmlp.dmlp import DMLP
from hf_noisy.purify.policies import purify
from hf_noisy.purify.registry import PURIFIERS, Purifier
from hf_noisy.purify.restore import purification_record, restore_labels
from hf_noisy.purify.summary import PurificationSummary, summarise

__all__ = [
    "DMLP",
    "PURIFIERS",
    "PurificationSummary",
    "Purifier",
    "embed",
    "purification_record",
    "purify",
    "restore_labels",
    "summarise",
]

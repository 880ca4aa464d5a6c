"""Label correction: posteriors of the true label, and datasets with corrected labels that can be restored."""

from hf_noisy.purification.dmlp.dmlp import DMLP
from hf_noisy.purification.policies import purify
from hf_noisy.purification.registry import PURIFIERS, Purifier
from hf_noisy.purification.restore import purification_record, restore_labels
from hf_noisy.purification.summary import PurificationSummary, summarise

__all__ = [
    "DMLP",
    "PURIFIERS",
    "PurificationSummary",
    "Purifier",
    "purification_record",
    "purify",
    "restore_labels",
    "summarise",
]

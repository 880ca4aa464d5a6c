"""Losses: `(logits, labels, progress) -> one loss per row`."""

from hf_noisy.losses.apl import NCEandAGCE, NCEandRCE
from hf_noisy.losses.bi_tempered import BiTempered
from hf_noisy.losses.bootstrap import Bootstrap
from hf_noisy.losses.branch_divergence import branch_divergence
from hf_noisy.losses.cross_entropy import CrossEntropy, LabelSmoothing
from hf_noisy.losses.dal import DAL
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.jensen_shannon import JS
from hf_noisy.losses.loss import Loss
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.sce import SCE
from hf_noisy.losses.sparse import SR
from hf_noisy.losses.stock_trainer import for_trainer
from hf_noisy.losses.taylor import TCE

LOSSES: dict[str, type[Loss]] = {
    "bi_tempered": BiTempered,
    "bootstrap": Bootstrap,
    "cross_entropy": CrossEntropy,
    "dal": DAL,
    "gce": GCE,
    "js": JS,
    "label_smoothing": LabelSmoothing,
    "mae": MAE,
    "nce_agce": NCEandAGCE,
    "nce_rce": NCEandRCE,
    "sce": SCE,
    "sr": SR,
    "tce": TCE,
}

__all__ = [
    "DAL",
    "GCE",
    "JS",
    "LOSSES",
    "MAE",
    "SCE",
    "SR",
    "TCE",
    "BiTempered",
    "Bootstrap",
    "CrossEntropy",
    "LabelSmoothing",
    "Loss",
    "NCEandAGCE",
    "NCEandRCE",
    "branch_divergence",
    "for_trainer",
]

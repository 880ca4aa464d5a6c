"""Systems with which the papers compare, beside cross-entropy and the methods of this package, on frozen features."""

from typing import Any

from benchmarks.competitors import METHODS as BOARD
from benchmarks.competitors import Competitor, plain, scored
from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell

METHODS: dict[str, Competitor] = {
    **{name: BOARD[name] for name in ("cross_entropy", "co_teaching", "elr")},
    "bi_tempered": Competitor("bi-tempered loss", plain("bi_tempered")),
    "sr": Competitor("sparse regularisation", plain("sr")),
    "nlnl": Competitor("NLNL", plain("nlnl")),
    "forward_correction": Competitor("forward correction", plain("forward_correction")),
    "forward_dual_t": Competitor("forward correction, dual-T", plain("forward_correction", estimator="dual_t")),
    "forward_anchor_free": Competitor(
        "forward correction, anchor-free", plain("forward_correction", estimator="anchor_free")
    ),
    "backward_correction": Competitor("backward correction", plain("backward_correction")),
    "t_revision": Competitor("T-revision", plain("t_revision")),
    "volume_minimization": Competitor("volume minimisation", plain("volume_minimization")),
    "pencil": Competitor("PENCIL", plain("pencil")),
    "cdr": Competitor("CDR", plain("cdr")),
    "co_teaching_plus": Competitor("Co-teaching+", plain("co_teaching_plus")),
    "mixup": Competitor("Mixup", plain("mixup")),
    "elr_plus": Competitor("ELR+", plain("elr_plus")),
    "divide_mix": Competitor("DivideMix", plain("divide_mix")),
}

# Said beside the table where a system is below cross-entropy.
WHY_NOT = {
    "nlnl": "one complementary label of many says little, and there are 20 epochs where the paper has 2,160",
    "backward_correction": "its loss has no lower bound, and a network of few rows finds where it falls",
    "bi_tempered": "with its constants wrong labels are memorised by the last epoch, as the best epoch shows",
}


def run(cell: Cell, context: Any) -> dict[str, Any]:
    """Train and score one cell."""
    return scored(METHODS[cell.method], cell, context)

"""Systems with which the papers compare, beside the rows of the leaderboards."""

from typing import Any

import numpy as np

from benchmarks.competitors import METHODS as BOARD
from benchmarks.competitors import Competitor, Outcome, branches, outcome_of, plain, recorded, scored, train
from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell
from benchmarks.tasks import Task
from hf_noisy.dygen.label_diffusion import LabelDiffusion
from hf_noisy.methods import make_method

AS_IT_IS = 1e4  # condition number, above which a matrix is refused


def true_matrix(task: Task) -> Outcome:
    """A control: what the inverse gives if there is no error of estimation."""
    counts = np.zeros((task.num_classes, task.num_classes))
    np.add.at(counts, (task.clean, task.given), 1)
    method = make_method("backward_correction", matrix=counts / counts.sum(1, keepdims=True))
    return outcome_of(train(task, method), clean_labels=len(task.given))


def sidyp(task: Task) -> Outcome:
    with recorded(task, "coregularization", branches(task)) as trajectories:
        fitted = LabelDiffusion.fit(trajectories, task.given, seed=task.seed, show_progress=False)
        labels = fitted.posterior("train", task.given).argmax(1)
        return Outcome(fitted.posterior("test"), train_labels=labels)


METHODS: dict[str, Competitor] = {
    **BOARD,
    "jocor_half": Competitor("JoCoR, agreement_weight=0.5", plain("jocor", agreement_weight=0.5)),
    "bi_tempered": Competitor("bi-tempered loss", plain("bi_tempered")),
    "sr": Competitor("sparse regularisation", plain("sr")),
    "nlnl": Competitor("NLNL", plain("nlnl")),
    "nlnl_one": Competitor("NLNL, one complementary label", plain("nlnl", complementary_labels=1)),
    "forward_correction": Competitor("forward correction", plain("forward_correction")),
    "forward_dual_t": Competitor("forward correction, dual-T", plain("forward_correction", estimator="dual_t")),
    "forward_anchor_free": Competitor(
        "forward correction, anchor-free", plain("forward_correction", estimator="anchor_free")
    ),
    "backward_correction": Competitor("backward correction", plain("backward_correction")),
    "backward_as_estimated": Competitor(
        "backward correction, estimate as it is", plain("backward_correction", max_condition=AS_IT_IS)
    ),
    "backward_true_matrix": Competitor("backward correction, true matrix", true_matrix, uses_clean_labels=True),
    "t_revision": Competitor("T-revision", plain("t_revision")),
    "volume_minimization": Competitor("volume minimisation", plain("volume_minimization")),
    "pencil": Competitor("PENCIL", plain("pencil")),
    "cdr": Competitor("CDR", plain("cdr")),
    "co_teaching_plus": Competitor("Co-teaching+", plain("co_teaching_plus")),
    "mixup": Competitor("Mixup", plain("mixup")),
    "elr_plus": Competitor("ELR+", plain("elr_plus")),
    "sidyp": Competitor("SiDyP", sidyp),
    "divide_mix": Competitor("DivideMix", plain("divide_mix")),
}

# Said beside the table where a system is below cross-entropy. On the features of digits cross-entropy hardly
# memorises, and a point is four or five of the 450 test rows.
_NOTHING_TO_DROP = "it drops rows, and on these features there is hardly anything memorised that would have to go"
_FEW_ROWS = "no more than a few of the 450 test rows"
WHY_NOT = {
    "co_teaching": _NOTHING_TO_DROP,
    "co_teaching_plus": _NOTHING_TO_DROP,
    "backward_correction": "its loss has no lower bound, and a network of few rows finds where it falls",
    "backward_as_estimated": "the inverse multiplies the errors of an estimate from few rows a class",
    "backward_true_matrix": _FEW_ROWS,
    "bi_tempered": _FEW_ROWS,
    "cdr": _FEW_ROWS,
    "mixup": _FEW_ROWS,
    "pencil": _FEW_ROWS,
    "volume_minimization": _FEW_ROWS,
    "forward_correction": _FEW_ROWS,
    "forward_anchor_free": "its estimate counts neighbours of another class as noise",
    "nlnl": _FEW_ROWS,
    "nlnl_one": "one complementary label of many says little, and there are 20 epochs where the paper has 2,160",
    "sidyp": _FEW_ROWS,
}


def run(cell: Cell, context: Any) -> dict[str, Any]:
    """Train and score one cell."""
    return scored(METHODS[cell.method], cell, context)

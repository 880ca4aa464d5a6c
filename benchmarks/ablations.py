"""What each part of DyGEN adds, with heads on frozen features (suite `ablations`).

Follows the ablations of the paper (Zhuang et al., 2023): stage I, the prior and stage II on and off (Table 3),
calibration (Figure 4), prior against posterior (Figure 5), detection of wrong labels (Figure 6), large noise
(Figure 7), the number of branches and the learning rate (Figure 8). The variants of a cell share one training run.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.competitors import probabilities_of, recorded
from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell
from benchmarks.tasks import Task, task_of
from hf_noisy import BranchedModel, CoRegularization, DyGen
from hf_noisy.detection import aum, data_map, self_confidence
from hf_noisy.dygen.prior import SUSPECTS_BY
from hf_noisy.dygen.vae import fit_vae, prior_alpha
from hf_noisy.dygen.vectors import TrajectoryVectors
from hf_noisy.metrics import expected_calibration_error

# Number of branches and learning rate; one network has no stage I and is trained by cross-entropy.
METHODS = {
    "1 network": (1, 1e-3),
    "2 branches": (2, 1e-3),
    "3 branches": (3, 1e-3),
    "4 branches": (4, 1e-3),
    "2 branches, learning rate 0.0003": (2, 3e-4),
    "2 branches, learning rate 0.003": (2, 3e-3),
}
PUBLISHED = "2 branches, published prior"
METHODS[PUBLISHED] = (2, 1e-3)
LARGE = 0.5  # noise rate from which DyGEN also runs with the true noise rate, as in the paper


def run(cell: Cell, context: Any) -> dict[str, Any]:
    branches, learning_rate = METHODS[cell.method]
    task = task_of(cell, context)
    task.budget = replace(task.budget, learning_rate=learning_rate)
    model, method = task.network(), "cross_entropy"
    if branches > 1:
        model = BranchedModel.from_model(model, branches, seed=cell.seed, initialize="all")
        method = CoRegularization(agreement_weight=5.0, warmup_ratio=0.1)
    with recorded(task, method, model) as trajectories:
        if cell.method == PUBLISHED:
            return published(trajectories, task)
        dygen = DyGen.fit(trajectories, task.given, seed=cell.seed, show_progress=False)
        stages = {
            "network": probabilities_of(trajectories.logits("test")[-1]).mean(0),
            "prior": dygen.prior_of("test"),
            "posterior": dygen.posterior("test"),
            "posterior_without_prior": without_prior(trajectories, task.given, cell.seed),
        }
        if (cell.setting.noise_rate or 0.0) >= LARGE:
            rate = float((task.given != task.clean).mean())
            informed = DyGen.fit(trajectories, task.given, noise_rate=rate, seed=cell.seed, show_progress=False)
            stages["posterior_known_rate"] = informed.posterior("test")
        labels = {
            "given": task.given,
            "prior": dygen.prior.mean(0).argmax(1),
            "posterior": dygen.posterior("train", task.given).argmax(1),
        }
        right = {name: float((of == task.clean).mean()) for name, of in labels.items()}
        return {
            "accuracy": {name: float((p.argmax(1) == task.truth).mean()) for name, p in stages.items()},
            "ece": {
                name: float(expected_calibration_error(task.truth, np.asarray(p, np.float64)))
                for name, p in stages.items()
            },
            "auroc": find_wrong(trajectories, dygen, task),
            "train_labels": right,
            "noise_rate": {"measured": 1 - right["given"], "estimated": dygen.noise_rate},
            "data": task.digest,
        }


def published(trajectories: Any, task: Task) -> dict[str, Any]:
    """The published prior and the posterior with suspects by distance, AUM and data maps, the rate being known."""
    figures: dict[str, Any] = {"accuracy": {}, "train_labels": {}, "data": task.digest}
    rate = float((task.given != task.clean).mean())
    for by in SUSPECTS_BY:
        options: dict[str, Any] = {"suspects_by": by, "seed": task.seed, "show_progress": False}
        dygen = DyGen.fit(trajectories, task.given, rate, preset="paper", **options)
        figures["accuracy"][by] = float((dygen.posterior("test").argmax(1) == task.truth).mean())
        figures["train_labels"][by] = float((dygen.prior.mean(0).argmax(1) == task.clean).mean())
    return figures


def without_prior(trajectories: Any, given: np.ndarray, seed: int) -> np.ndarray:
    """Stage II with a prior from the given labels alone."""
    vectors = TrajectoryVectors.fit(trajectories, "train")
    labels = torch.from_numpy(np.asarray(given, np.int64))
    one_hot = torch.nn.functional.one_hot(labels, trajectories.num_classes).float()[None]
    train, alpha = vectors(trajectories, "train"), prior_alpha(one_hot, 1.0, 10.0)
    vae = fit_vae(train, labels, alpha, batch_size=32, delta=1.0, seed=seed, show_progress=False)
    last = torch.from_numpy(trajectories.logits("test")[-1]).softmax(-1)
    with torch.no_grad():
        return vae.posterior(vectors(trajectories, "test"), last).double().numpy()


def find_wrong(trajectories: Any, dygen: Any, task: Task) -> dict[str, float] | None:
    """AUROC of several scores at finding wrong given labels."""
    wrong = task.given != task.clean
    if not 0 < wrong.sum() < len(wrong):
        return None
    logits = trajectories.logits("train")[:, 0]
    dynamics = dygen.dynamics(task.given)
    scores = {
        "confidence, last epoch": -self_confidence(task.given, probabilities_of(logits[-1])),
        "AUM": -aum(task.given, list(logits)),
        "Cartography": -data_map(task.given, list(logits)).confidence,
        "distance, mean and deviation": dynamics.mean + dynamics.deviation,
        "evidence": dygen.fitted_prior.suspicion,
    }
    return {name: float(roc_auc_score(wrong, values)) for name, values in scores.items()}

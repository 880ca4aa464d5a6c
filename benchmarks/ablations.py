"""What each part of DyGEN adds, on heads over frozen features: the cells of the suite `ablations`.

After the ablations of the paper (Zhuang et al., 2023): stage I, the prior and stage II on and off (Table 3), prior
against posterior (Figure 5), what finds wrong labels (Figure 6), large noise (Figure 7), the number of branches and
the learning rate (Figure 8), calibration (Figure 4). A cell is one training, from which every variant is read.
"""

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from benchmarks.competitors import recorded
from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell
from benchmarks.tasks import Task, task_of
from hf_noisy import BranchedModel, CoRegularization, DyGen
from hf_noisy.detection import aum, data_map, self_confidence
from hf_noisy.dygen.vae import fit_vae, prior_alpha
from hf_noisy.dygen.vectors import TrajectoryVectors
from hf_noisy.metrics import expected_calibration_error

# Branches and learning rate; one network has no stage I and is trained by cross-entropy.
METHODS = {
    "1 network": (1, 1e-3),
    "2 branches": (2, 1e-3),
    "3 branches": (3, 1e-3),
    "4 branches": (4, 1e-3),
    "2 branches, learning rate 0.0003": (2, 3e-4),
    "2 branches, learning rate 0.003": (2, 3e-3),
}
LARGE = 0.5  # from this noise rate on, DyGEN is also run with the true noise rate, as in the paper


def run(cell: Cell, context: Any) -> dict[str, Any]:
    branches, learning_rate = METHODS[cell.method]
    task = task_of(cell, context)
    task.budget = replace(task.budget, learning_rate=learning_rate)
    with tempfile.TemporaryDirectory() as folder:
        model, method = task.network(), "cross_entropy"
        if branches > 1:
            model = BranchedModel.from_model(model, branches, seed=cell.seed, initialize="all")
            method = CoRegularization(agreement_weight=5.0, warmup_ratio=0.1)
        trajectories = recorded(task, method, model, folder).trajectories
        dygen = DyGen.fit(trajectories, task.given, seed=cell.seed, show_progress=False)
        logits = trajectories.logits("test")[-1].astype(np.float64)
        stages = {
            "network": softmax(logits, axis=-1).mean(0),
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
            "ece": {name: calibration_error(task.truth, p) for name, p in stages.items()},
            "auroc": find_wrong(trajectories, dygen, task),
            "train_labels": right,
            "noise_rate": {"measured": 1 - right["given"], "estimated": dygen.noise_rate},
            "data": task.digest,
        }


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(expected_calibration_error(truth, np.asarray(probabilities, np.float64)))


def without_prior(trajectories: Any, given: np.ndarray, seed: int) -> np.ndarray:
    """Stage II on a prior that knows the given labels only."""
    vectors = TrajectoryVectors.fit(trajectories, "train")
    labels = torch.from_numpy(np.asarray(given, np.int64))
    one_hot = torch.nn.functional.one_hot(labels, trajectories.num_classes).float()[None]
    vae = fit_vae(
        vectors(trajectories, "train"),
        labels,
        prior_alpha(one_hot, 1.0, 10.0),
        epochs=10,
        batch_size=32,
        learning_rate=1e-3,
        delta=1.0,
        seed=seed,
        show_progress=False,
    )
    last = torch.from_numpy(trajectories.logits("test")[-1]).softmax(-1)
    with torch.no_grad():
        return vae.posterior(vectors(trajectories, "test"), last).double().numpy()


def find_wrong(trajectories: Any, dygen: Any, task: Task) -> dict[str, float] | None:
    """Area under the ROC curve of 'the given label is wrong', by what is suspicious."""
    wrong = task.given != task.clean
    if not 0 < wrong.sum() < len(wrong):
        return None
    logits = trajectories.logits("train")[:, 0]
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    dynamics = dygen.dynamics(task.given)
    suspicious = {
        "confidence, last epoch": -self_confidence(task.given, probabilities[-1]),
        "AUM": -aum(task.given, list(logits)),
        "Cartography": -data_map(task.given, list(logits)).confidence,
        "distance, mean and deviation": dynamics.mean + dynamics.deviation,
        "evidence": dygen.fitted_prior.suspicion,
    }
    return {name: float(roc_auc_score(wrong, values)) for name, values in suspicious.items()}

"""DyGEN, each cell a run of `hf-noisy dygen` with cross-entropy and stage I for comparison (suite `dygen`).

The published prior is also fitted, on the recorded trajectories and with the true noise rate, as in the paper's code.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.robust import dataset_of, folder_of, labels_digest, words_of
from benchmarks.suites import Cell
from hf_noisy import DyGen, Trajectories
from hf_noisy.cli.run_dygen import DyGenArguments, parse, run_dygen

METHODS = ["dygen"]
FIGURES = (
    *(f"test_accuracy{stage}" for stage in ("_ce", "_stage1", "_prior", "")),
    *(f"test_ece{stage}" for stage in ("_ce", "_stage1", "")),
    *("train_label_accuracy_before", "train_label_accuracy_after", "noise_rate_true", "noise_rate_estimated"),
    *("epochs", "learning_rate", "num_train", "num_test", "selected_by"),
)


def run(cell: Cell, context: Any) -> dict[str, Any]:
    result, data = run_dygen(*parse(DyGenArguments, [*words_of(cell, context), "--overwrite"])), dataset_of(cell)
    figures = {name: result[name] for name in FIGURES}
    return figures | {"priors": priors(folder_of(cell, context), data, result), "data": labels_digest(data)}


def priors(folder: Path, data: Any, result: dict[str, Any]) -> dict[str, Any]:
    """The published prior and the default one on the trajectories of a run."""

    def labels_of(split: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.sort(np.random.default_rng(result["seed"]).permutation(len(data[split]))[:limit])
        return np.array(data[split]["label"])[rows], np.array(data[split]["clean_label"])[rows]

    (given, true), (_, test) = labels_of("train", result["num_train"]), labels_of("test", result["num_test"])
    trajectories, wrong = Trajectories(folder / "_dygen"), given != true
    logits = trajectories.logits("train")
    own = softmax(logits, axis=-1).mean((0, 1))[np.arange(len(given)), given]
    # Upper bound for the pretrained features: a linear model trained on the true labels.
    ceiling = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    ceiling.fit(trajectories.features("train"), true)
    auroc: dict[str, float] = {}
    row = {
        "label_accuracy_given": 1 - wrong.mean(),
        "agreement_by_epoch": (logits.argmax(-1) == given).mean((1, 2)).round(3).tolist(),
        "pretrained_features_with_true_labels": ceiling.score(trajectories.features("test"), test),
    }
    for preset, rate in {"paper": float(wrong.mean()), "evidence": None}.items():
        dygen = DyGen.fit(trajectories, given, rate, preset=preset, seed=result["seed"], show_progress=False)
        labels = dygen.prior.argmax(2)  # of every branch; their mean would break ties by class index
        expected = 0.1 * np.bincount(true, minlength=trajectories.num_classes)
        lost = [(np.bincount(of, minlength=trajectories.num_classes) < expected).sum() for of in labels]
        row[preset] = {
            "prior_label_accuracy": (labels == true).mean(),
            "classes_with_under_10_percent_of_their_rows": float(np.mean(lost)),
            "test_accuracy": (dygen.posterior("test").argmax(1) == test).mean(),
        }
        if preset == "paper":
            dynamics = dygen.dynamics(given)
            scores = {"mean": dynamics.mean, "deviation": dynamics.deviation, "both": dynamics.score, "1-p": -own}
        else:
            scores = {"evidence": dygen.fitted_prior.suspicion}
        auroc |= {name: roc_auc_score(wrong, score) for name, score in scores.items()}
    return json.loads(json.dumps(row | {"auroc_of_wrong": auroc}, default=float))

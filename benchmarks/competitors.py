"""How each row of the leaderboard trains and predicts: a new row is one entry of `METHODS`.

All share the rows, network, epochs and optimizer of the task. Methods run with the defaults of the package, which are
those of their papers except for DyGEN's prior (see docs/dygen.md). Only methods with `uses_clean_labels` get true
labels of training rows.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from benchmarks import frozen, predictions
from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell
from benchmarks.tasks import Task, task_of
from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, Trajectories
from hf_noisy.core.rng import random_state_kept
from hf_noisy.dygen.npc import NPC
from hf_noisy.methods import make_method
from hf_noisy.metrics.calibration import expected_calibration_error

CHECKED_ROWS = 200  # of the baseline that is trained on checked rows alone
OTHER_SEED = 1000  # added to the seed of a cell for the second network


@dataclass
class Outcome:
    """What a method predicts for the test rows."""

    probabilities: np.ndarray  # [rows, classes]
    # Test predictions [rows] after each epoch, only to report the best epoch; None without a network.
    by_epoch: list[np.ndarray] | None = None
    selected_by: str = "last epoch"  # how the model was selected
    clean_labels: int = 0  # number of true training labels used
    details: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, np.ndarray] = field(default_factory=dict)  # intermediate predictions [rows, classes], scored too
    train_labels: np.ndarray | None = None  # corrected training labels [rows], scored too
    reused_seconds: float = 0.0  # processor time of another cell's network that is used again


@dataclass(frozen=True)
class Competitor:
    """A row of the leaderboard."""

    title: str
    run: Callable[[Task], Outcome]
    uses_clean_labels: bool = False  # gets true labels of some training rows


class LogitsByEpoch(TrainerCallback):
    """Records the logits of some data sets after each epoch, or the last one, without changing training."""

    def __init__(self, task: Task, datasets: dict[str, Any], each_epoch: bool) -> None:
        self.task, self.datasets, self.each_epoch = task, datasets, each_epoch
        self.logits: dict[str, list[np.ndarray]] = {name: [] for name in datasets}

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.each_epoch and round(state.epoch) < args.num_train_epochs:
            return
        with random_state_kept():
            for name, dataset in self.datasets.items():
                self.logits[name].append(self.task.logits(kwargs["model"], dataset))


@dataclass
class Trained:
    model: nn.Module
    logits: dict[str, list[np.ndarray]]  # by data set, one array per epoch; of the test rows maybe only the last


def train(
    task: Task,
    method: Any = "cross_entropy",
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    model: nn.Module | None = None,
    watched: dict[str, Any] | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
    folder: Path | None = None,
    checked: np.ndarray | None = None,
    tested: bool = True,
) -> Trained:
    """Train a new network by a method; by default on all rows and given labels, with no checked ones."""
    rows = np.arange(len(task.given)) if rows is None else rows
    labels = task.given[rows] if labels is None else labels
    datasets = ({"test": task.test_rows} if tested else {}) | (watched or {})
    recorder = LogitsByEpoch(task, datasets, each_epoch=task.budget.test_each_epoch or bool(watched))
    if method != "auto":  # the trainer chooses that one when it has model and rows
        method = make_method(method) if isinstance(method, str) else method
        if method.second_view == "auto":  # others mix rows
            method.second_view = task.view
    # "auto" may choose a method that needs a second view, so the rows contain one.
    two_views = method == "auto" or method.second_view == "auto"
    model = task.network() if model is None else model
    with tempfile.TemporaryDirectory() as scratch:
        trainer = NoisyTrainer(
            model,
            task.arguments(folder or Path(scratch)),
            train_dataset=task.training_rows(rows, labels, two_views),
            method=method,
            callbacks=[recorder, *callbacks],
            processing_class=task.processing_class,
            checked=checked,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Trained(trainer.model, recorder.logits)


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    return softmax(logits.astype(np.float64), axis=-1)


def outcome_of(trained: Trained, logits: np.ndarray | None = None, **options: Any) -> Outcome:
    """The outcome of a training by some test logits, by default those of the last epoch."""
    by_epoch = trained.logits["test"]
    chosen = by_epoch[-1] if logits is None else logits
    predicted = [of.argmax(-1) for of in by_epoch] if len(by_epoch) > 1 else None
    return Outcome(probabilities_of(chosen), predicted, **options)


def plain(method: str, **arguments: Any) -> Callable[[Task], Outcome]:
    return lambda task: outcome_of(train(task, make_method(method, **arguments)))


def early_stopping(task: Task) -> Outcome:
    """Cross-entropy on 90 % of the rows; the epoch that is best on the given labels of the rest."""
    draw = np.random.default_rng([task.seed, 1])
    held = np.empty(0, np.int64)
    for label in np.unique(task.given):  # stratified by given label
        rows = draw.permutation(np.flatnonzero(task.given == label))
        held = np.union1d(held, rows[: round(task.budget.held_out * len(rows))])
    kept = np.setdiff1d(np.arange(len(task.given)), held)
    trained = train(task, rows=kept, watched={"held": task.training_rows_as_seen(held)})
    scores = [held_out_score(logits, task.given[held]) for logits in trained.logits["held"]]
    best = max(range(len(scores)), key=lambda epoch: scores[epoch])
    selected_by = f"accuracy on the given labels of {len(held)} rows held out, ties by cross-entropy"
    return outcome_of(trained, trained.logits["test"][best], selected_by=selected_by, details={"epoch": best + 1})


def held_out_score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    log_p = log_softmax(logits.astype(np.float64), axis=-1)[np.arange(len(labels)), labels]
    return float((logits.argmax(-1) == labels).mean()), float(log_p.mean())


def auto(task: Task, count: int = 0) -> Outcome:
    """The method that the package chooses from its measurements before training, with some checked rows."""
    checked = np.full(len(task.given), -1)
    rows = checked_rows(task, count)
    checked[rows] = task.clean[rows]
    with tempfile.TemporaryDirectory() as folder:
        trained = train(task, "auto", folder=Path(folder), checked=checked if count else None)
        noted = json.loads((Path(folder) / "auto_method.json").read_text())
    return outcome_of(trained, clean_labels=count, details=noted["choice"] | {"measured": noted["measured"]})


def label_wave(task: Task) -> Outcome:
    """Cross-entropy on all rows, stopped by how many of its training predictions change between epochs."""
    from hf_noisy.dynamics.label_wave import LabelWave

    wave = LabelWave(task.training_rows_as_seen(np.arange(len(task.given))))
    trained = train(task, callbacks=(wave,))
    # The callback restores the weights of the chosen epoch when training ends.
    logits = task.logits(trained.model, task.test_rows)
    details = {"epoch": wave.candidate, "epochs": len(trained.logits["test"])}
    return outcome_of(trained, logits, selected_by="changes of the predictions of training rows", details=details)


@contextmanager
def recorded(task: Task, method: Any, model: nn.Module) -> Iterator[Trajectories]:
    """Train and record the trajectories of training and test rows, in a temporary folder."""
    rows = task.training_rows_as_seen(np.arange(len(task.given)))
    with tempfile.TemporaryDirectory() as folder:
        size = task.arguments(Path(folder)).per_device_eval_batch_size
        recorder = DynamicsRecorder({"train": rows, "test": task.test_rows}, batch_size=size)
        train(task, method, model=model, callbacks=(recorder,), folder=Path(folder), tested=False)
        yield recorder.trajectories


def branches(task: Task) -> BranchedModel:
    # Without pretrained weights there is nothing to share: every branch gets new weights throughout.
    fresh = "head" if task.pretrained else "all"
    return BranchedModel.from_model(task.network(), 2, seed=task.seed, initialize=fresh)


def npc(branched: bool) -> Callable[[Task], Outcome]:
    """NPC on one network, or on co-regularized branches."""

    def run(task: Task) -> Outcome:
        method, model = ("coregularization", branches(task)) if branched else ("cross_entropy", task.network())
        with recorded(task, method, model) as trajectories:
            return Outcome(NPC.fit(trajectories, seed=task.seed, show_progress=False).posterior("test"))

    return run


@contextmanager
def fitted_dygen(task: Task) -> Iterator[DyGen]:
    method = CoRegularization(agreement_weight=5.0, warmup_ratio=0.1)
    with recorded(task, method, branches(task)) as trajectories:
        yield DyGen.fit(trajectories, task.given, seed=task.seed, show_progress=False)


def dygen(task: Task) -> Outcome:
    with fitted_dygen(task) as fitted:
        stage1 = probabilities_of(fitted.trajectories.logits("test")[-1]).mean(0)
        return Outcome(
            fitted.posterior("test"),
            details={"noise_rate_estimated": fitted.noise_rate},
            stages={"stage1": stage1, "prior": fitted.prior_of("test")},
            train_labels=fitted.posterior("train", task.given).argmax(1),
        )


def dygen_dal(task: Task) -> Outcome:
    with fitted_dygen(task) as fitted:
        labels = fitted.posterior("train", task.given).argmax(1)
    return outcome_of(train(task, "dal", labels=labels), train_labels=labels)


def checked_rows(task: Task, count: int) -> np.ndarray:
    """Positions of training rows whose true labels a method gets."""
    return np.sort(np.random.default_rng([task.seed, 2]).permutation(len(task.given))[:count])


def dmlp(task: Task) -> Outcome:
    """DMLP corrects the labels with the help of some true ones, then cross-entropy on all rows."""
    from hf_noisy.purification.dmlp.dmlp import DMLP

    count = round(task.budget.checked * len(task.given))
    checked = checked_rows(task, count)
    rest = np.setdiff1d(np.arange(len(task.given)), checked)
    features = task.features.astype(np.float32)
    purifier = DMLP(features[checked], task.clean[checked], task.given[checked], num_classes=task.num_classes)
    labels = task.clean.copy()
    labels[rest] = purifier({"features": features[rest], "label": task.given[rest]})["label_posterior"].argmax(1)
    return outcome_of(train(task, labels=labels), clean_labels=count, train_labels=labels)


def confident_learning(task: Task) -> Outcome:
    """Cross-entropy without the rows that cleanlab flags as mislabeled."""
    from cleanlab.filter import find_label_issues

    from hf_noisy.detection.probe import out_of_fold_probabilities

    counts = np.bincount(task.given, minlength=task.num_classes)
    rows = np.flatnonzero(counts[task.given] >= 2)  # out-of-fold prediction needs two rows of a class
    _, labels = np.unique(task.given[rows], return_inverse=True)
    probabilities = out_of_fold_probabilities(task.features[rows], labels, seed=task.seed)
    wrong = find_label_issues(labels, probabilities, n_jobs=1)
    kept = np.setdiff1d(np.arange(len(task.given)), rows[wrong])
    return outcome_of(train(task, rows=kept), details={"pruned": int(wrong.sum())})


def two_networks(task: Task) -> Outcome:
    """Mean of the probabilities of two plain networks with different seeds."""
    first = None if task.budget.test_each_epoch else predictions.of_same_rows(task, "cross_entropy")
    if first is not None:  # its last epoch is all that is needed
        second = outcome_of(train(replace(task, seed=task.seed + OTHER_SEED)))
        mean = (first["probabilities"] + second.probabilities) / 2
        return Outcome(mean, reused_seconds=float(first["cpu_seconds"]))
    seeds = (task.seed, task.seed + OTHER_SEED)
    trained = [train(replace(task, seed=seed)).logits["test"] for seed in seeds]
    by_epoch = np.mean([probabilities_of(np.stack(logits)) for logits in trained], axis=0)
    return Outcome(by_epoch[-1], list(by_epoch.argmax(-1)) if len(by_epoch) > 1 else None)


def class_mean(task: Task) -> Outcome:
    """Nearest class mean of the frozen features; no network is trained."""
    return Outcome(frozen.class_means(task.features, task.given, task.num_classes, task.test_features))


def head_outcome(task: Task, rows: np.ndarray, labels: np.ndarray, **options: Any) -> Outcome:
    probabilities, penalty = frozen.linear_head(
        task.features[rows], labels, task.num_classes, task.test_features, task.seed
    )
    return Outcome(probabilities, selected_by="penalty by cross-validation", details={"penalty": penalty}, **options)


def linear_head(task: Task) -> Outcome:
    """Logistic regression on the frozen features and the given labels, with strong L2."""
    return head_outcome(task, np.arange(len(task.given)), task.given)


def mean_and_head(task: Task) -> Outcome:
    """Mean of the probabilities of the class means and of the linear head."""
    head = linear_head(task)
    return replace(head, probabilities=(head.probabilities + class_mean(task).probabilities) / 2)


def checked_only(task: Task) -> Outcome:
    """The linear head on a few rows with their true labels; all other rows are left out."""
    rows = checked_rows(task, CHECKED_ROWS)
    return head_outcome(task, rows, task.clean[rows], clean_labels=len(rows))


METHODS: dict[str, Competitor] = {
    "cross_entropy": Competitor("cross-entropy", plain("cross_entropy")),
    "label_smoothing": Competitor("label smoothing", plain("label_smoothing")),
    "early_stopping": Competitor("early stopping on given labels", early_stopping),
    "label_wave": Competitor("Label Wave stopping", label_wave),
    "gce": Competitor("GCE", plain("gce")),
    "sce": Competitor("SCE", plain("sce")),
    "nce_rce": Competitor("NCE + RCE", plain("nce_rce")),
    "gjs": Competitor("GJS", plain("gjs")),
    "elr": Competitor("ELR", plain("elr")),
    "dal": Competitor("DAL", plain("dal")),
    "nrd": Competitor("NRD", plain("nrd")),
    "nct": Competitor("NCT", plain("nct")),
    "co_teaching": Competitor("Co-teaching", plain("co_teaching")),
    "jocor": Competitor("JoCoR", plain("jocor")),
    "coregularization": Competitor("co-regularisation", plain("coregularization")),
    "npc": Competitor("NPC", npc(branched=False)),
    "coregularization_npc": Competitor("co-regularisation with NPC", npc(branched=True)),
    "dygen": Competitor("DyGEN", dygen),
    "dygen_dal": Competitor("DyGEN, then DAL", dygen_dal),
    "auto": Competitor('method="auto"', auto),
    "confident_learning": Competitor("confident learning: prune, retrain", confident_learning),
    "two_networks": Competitor("mean of two networks", two_networks),
    "class_mean": Competitor("class means, frozen features", class_mean),
    "linear_head": Competitor("linear head, frozen features", linear_head),
    "mean_and_head": Competitor("class means and linear head", mean_and_head),
    "checked_only": Competitor("200 checked rows alone", checked_only, uses_clean_labels=True),
    "auto_checked_50": Competitor("auto, 50 checked rows", partial(auto, count=50), uses_clean_labels=True),
    "auto_checked_100": Competitor("auto, 100 checked rows", partial(auto, count=100), uses_clean_labels=True),
    "dmlp": Competitor("DMLP, then cross-entropy", dmlp, uses_clean_labels=True),
}


def run(cell: Cell, context: Any) -> dict[str, Any]:
    """Train and score one cell."""
    return scored(METHODS[cell.method], cell, context)


def scored(competitor: Competitor, cell: Cell, context: Any) -> dict[str, Any]:
    """Train and score a competitor on a cell; true labels of test rows are used only here."""
    task = task_of(cell, context)
    wall, processor = time.perf_counter(), time.process_time()
    outcome = competitor.run(task)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
    seconds = {name: spent + outcome.reused_seconds for name, spent in seconds.items()}
    predictions.store(task, cell, outcome.probabilities, seconds["cpu_seconds"])

    def accuracy(predicted: np.ndarray) -> float:
        return float((predicted == task.truth).mean())

    by_epoch = None if outcome.by_epoch is None else [accuracy(predicted) for predicted in outcome.by_epoch]
    details = outcome.details | {f"{name}_accuracy": accuracy(p.argmax(1)) for name, p in outcome.stages.items()}
    if outcome.train_labels is not None:
        details["train_label_accuracy"] = float((outcome.train_labels == task.clean).mean())
    return {
        "test_accuracy_last": accuracy(outcome.probabilities.argmax(1)),
        "test_accuracy_best": None if by_epoch is None else max(by_epoch),
        "test_accuracy_by_epoch": by_epoch,
        "ece": float(expected_calibration_error(task.truth, outcome.probabilities)),
        "selected_by": outcome.selected_by,
        "clean_labels": outcome.clean_labels,
        "noise_rate": float((task.given != task.clean).mean()),
        "train_rows": len(task.given),
        "test_rows": len(task.truth),
        "details": details,
        "data": task.digest,
        **seconds,
    }

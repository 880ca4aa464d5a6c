"""The prior of stage II: probabilities of each training row's true label before the VAE."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from hf_noisy.core.checks import check_labels
from hf_noisy.core.phases import phase
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import UNCHECKED, checked_column
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.evidence import Evidence, fit_evidence
from hf_noisy.detection.neighbours import nearest, sample_references, vote_by_distance
from hf_noisy.detection.noise_rate import mixture_noise_rate
from hf_noisy.detection.training_dynamics import aum, data_map
from hf_noisy.dygen.vectors import recorded_features
from hf_noisy.dynamics.scores import DynamicsScore, distances_by_epoch, dynamics_score
from hf_noisy.dynamics.store import ALL, Trajectories, row_blocks
from hf_noisy.models.frozen_features import transition_for

SUSPECTS_BY = ("distance", "aum", "data_map")
_TINY = 1e-12

logger = logging.getLogger(__name__)


@dataclass
class Prior:
    """Prior over the true labels of the training rows."""

    of: Callable[[Trajectories, str], Float64[np.ndarray, "_ _"]]  # prior of another split, without its labels
    probabilities: Float[np.ndarray, "_ rows classes"]  # for each branch, or one for all
    suspects: Bool[np.ndarray, " rows"]  # rows whose given label is more likely wrong than right
    suspicion: Float64[np.ndarray, " rows"]  # the higher, the more suspicious the given label
    noise_rate: float
    estimated: bool  # whether the noise rate was estimated
    evidence: Evidence | None = None  # on recorded features, if the prior is made of it


def labels_to_fit(trajectories: Trajectories, split: str, labels: Labels) -> Int64[np.ndarray, " rows"]:
    """The labels of a fit, which must be those of the recorded rows."""
    labels = check_labels(np.asarray(labels), trajectories.num_classes).astype(np.int64)
    trajectories.check_labels(split, labels)
    if not trajectories.epochs:
        raise ValueError(f"trajectories at {trajectories.path} hold no complete epoch; train for at least one")
    return labels


def checked_to_fit(checked: Any, num_rows: int, num_classes: int) -> Int64[np.ndarray, " rows"] | None:
    """The checked class of each row, -1 where nobody looked; None if nobody looked at any."""
    found = None if checked is None else checked_column(checked, num_rows, num_classes)
    return None if found is None or (found == UNCHECKED).all() else found


@phase("prior")
def evidence_prior(
    trajectories: Trajectories,
    labels: Labels,
    noise_rate: float | None = None,
    *,
    split: str = "train",
    class_prior: Any = None,
    checked: Int64[np.ndarray, " rows"] | None = None,
    seed: int = 0,
) -> Prior:
    """The default: the posterior from features recorded before training, given labels and checked ones."""
    is_recorded = trajectories.features(split, slice(0, 1)) is not None
    options = {"num_classes": trajectories.num_classes, "class_prior": class_prior, "seed": seed}
    options["transition"] = transition_for(trajectories.encoder_trained)
    features = _features(trajectories, split, is_recorded)
    evidence = fit_evidence(features, labels, **options)
    if is_recorded and checked is None and not evidence.informed:
        logger.warning(
            "DyGEN does not use the features of the pretrained encoder, as they say nothing about the labels, but the "
            "embeddings of the first epoch"
        )
        is_recorded = False
        features = _features(trajectories, split, is_recorded)
        evidence = fit_evidence(features, labels, **options)
    probabilities, estimated = evidence.probabilities, evidence.noise_rate.rate
    if checked is not None:
        evidence = _corrected(evidence, features, labels, checked, seed)
        probabilities = evidence.posterior
        estimated = float(1 - evidence.posterior[np.arange(len(labels)), labels].mean())
    rate = estimated if noise_rate is None else noise_rate
    suspects = evidence.posterior[np.arange(len(labels)), labels] < 0.5

    def of(others: Trajectories, name: str) -> Float64[np.ndarray, "_ _"]:
        return evidence.predict(_features(others, name, is_recorded))

    score = suspicion(np.log(probabilities + _TINY), labels)
    recorded = evidence if is_recorded else None
    return Prior(of, evidence.posterior[None], suspects, score, rate, noise_rate is None, recorded)


def _corrected(
    evidence: Evidence,
    features: Float[np.ndarray, "rows width"],
    labels: Labels,
    checked: Int64[np.ndarray, " rows"],
    seed: int,
) -> Evidence:
    """The evidence with the posterior, transition matrix and head of the correction by checked rows."""
    index, classes = np.flatnonzero(checked != UNCHECKED), evidence.posterior.shape[1]
    found = CheckedCorrection().fit(features, labels, index, checked[index], num_classes=classes, seed=seed)
    return replace(
        evidence, posterior=found.posterior, transition=found.transition, centre=found.centre, head=found.head
    )


def with_checked_labels(prior: Prior, labels: Labels, checked: Int64[np.ndarray, " rows"]) -> Prior:
    """The prior, certain of the checked labels."""
    index = np.flatnonzero(checked != UNCHECKED)
    probabilities, suspects = prior.probabilities.copy(), prior.suspects.copy()
    probabilities[:, index] = np.eye(probabilities.shape[2])[checked[index]]
    suspects[index] = checked[index] != labels[index]
    return replace(prior, probabilities=probabilities, suspects=suspects)


def suspicion(log_probabilities: Float64[np.ndarray, "rows classes"], labels: Labels) -> Float64[np.ndarray, " rows"]:
    """Log-odds of the best other class against the given label."""
    others, rows = log_probabilities.copy(), np.arange(len(labels))
    others[rows, labels] = -np.inf
    return np.asarray(others.max(1) - log_probabilities[rows, labels])


def _features(trajectories: Trajectories, split: str, is_recorded: bool) -> Float[np.ndarray, "rows width"]:
    """Features of the encoder before training, or without them the first epoch's embeddings of all branches."""
    if is_recorded:
        return recorded_features(trajectories, split, ALL)
    first, branches = trajectories.epochs[0], range(trajectories.num_branches)
    return np.concatenate([trajectories.embeddings(split, first, branch) for branch in branches], axis=1)


@phase("prior")
def paper_prior(
    trajectories: Trajectories,
    labels: Labels,
    noise_rate: float | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    max_references: int | None = None,
    suspects_by: str = "distance",
) -> Prior:
    """The published prior (DyGEN, Algorithm 1): suspects corrected by neighbours in the first epoch's embedding."""
    # The constants are those of the published code. Time is quadratic in the rows, or linear with `max_references`.
    suspects, score, rate = suspects_by_branch(trajectories, labels, split, noise_rate, seed, suspects_by)
    first = trajectories.epochs[0]

    def neighbours(others: Trajectories, name: str, branch: int, rows: Any = ALL) -> Float64[np.ndarray, "_ _"]:
        trusted = np.flatnonzero(~suspects[branch])
        trusted = trusted[sample_references(labels[trusted], max_references, seed)]
        reference = _embeddings(trajectories, split, first, branch, trusted)
        queries = _embeddings(others, name, first, branch, np.arange(others.num_rows(name))[rows])
        return neighbour_probabilities(reference, labels[trusted], queries, trajectories.num_classes)

    branches = range(trajectories.num_branches)
    corrected = np.tile(labels, (trajectories.num_branches, 1))
    for branch, suspected in enumerate(suspects):
        # Other rows keep their labels, even if a duplicate has another one.
        corrected[branch, suspected] = neighbours(trajectories, split, branch, suspected).argmax(1)
    return Prior(
        lambda others, name: np.mean([neighbours(others, name, branch) for branch in branches], axis=0),
        np.eye(trajectories.num_classes)[corrected],
        suspects.mean(0) > 0.5,
        score,
        rate,
        noise_rate is None,
    )


def suspects_by_branch(
    trajectories: Trajectories, labels: Labels, split: str, noise_rate: float | None, seed: int, by: str = "distance"
) -> tuple[Bool[np.ndarray, "branches rows"], Float64[np.ndarray, " rows"], float]:
    """The most suspicious rows of each branch, the mean score, and the noise rate."""
    scores = _suspicion_by_branch(trajectories, labels, split, by)
    score = np.mean(scores, axis=0)
    rate = mixture_noise_rate(score, seed) if noise_rate is None else noise_rate
    suspects = np.zeros((trajectories.num_branches, len(labels)), dtype=bool)
    for branch, of_branch in enumerate(scores):
        suspects[branch, np.argsort(-of_branch, kind="stable")[: int(len(labels) * rate)]] = True
    return suspects, np.asarray(score), float(rate)


def _suspicion_by_branch(
    trajectories: Trajectories, labels: Labels, split: str, by: str
) -> list[Float64[np.ndarray, " rows"]]:
    """Distance to the centroid of the label over all epochs, or the negative AUM or confidence of a data map."""
    if by not in SUSPECTS_BY:
        raise ValueError(f"suspects_by must be {', '.join(SUSPECTS_BY)}, got {by!r}")
    if by == "distance":
        return [of_branch.score for of_branch in _branch_dynamics(trajectories, labels, split, ddof=1)]
    score = {"aum": aum, "data_map": lambda *of: data_map(*of).confidence}[by]
    epochs, branches = trajectories.epochs, range(trajectories.num_branches)
    return [
        -score(labels, (trajectories.branch_logits(split, epoch, branch) for epoch in epochs)) for branch in branches
    ]


def trusted_votes(
    trajectories: Trajectories, labels: Labels, split: str, suspects: Bool[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows classes"]:
    """One-hot labels of trusted rows; of suspects the votes of their neighbours by the encoder's features."""
    features = _features(trajectories, split, trajectories.features(split, slice(0, 1)) is not None)
    votes = np.eye(trajectories.num_classes)[labels]
    votes[suspects] = neighbour_probabilities(
        features[~suspects], labels[~suspects], features[suspects], trajectories.num_classes
    )
    return np.asarray(votes)


def neighbour_probabilities(
    reference: Float[np.ndarray, "rows dim"],
    labels: Labels,
    queries: Float[np.ndarray, "queries dim"],
    num_classes: int,
    neighbours: int = 10,
) -> Float64[np.ndarray, "queries classes"]:
    """Label shares among the nearest reference rows, weighted by inverse distance; DyGEN, Algorithm 1, step 3."""
    if len(reference) == 0:
        raise ValueError("every row is suspected, so no reference rows are left; pass a lower noise_rate")
    distances, rows = nearest(queries, reference, min(neighbours, len(reference)))
    return vote_by_distance(distances, labels[rows], num_classes)


def _embeddings(
    trajectories: Trajectories, split: str, epoch: int, branch: int, chosen: Integer[np.ndarray, " chosen"]
) -> Float[np.ndarray, "chosen dim"]:
    """Embeddings of some rows, in ascending order, without loading those of all rows."""
    found = np.empty((len(chosen), trajectories.dim), np.float32)
    for rows in row_blocks(trajectories.num_rows(split), trajectories.dim):
        start, stop = np.searchsorted(chosen, [rows.start, rows.stop])
        found[start:stop] = trajectories.embeddings(split, epoch, branch, rows)[chosen[start:stop] - rows.start]
    return found


def centroid_dynamics(
    trajectories: Trajectories, labels: Labels, split: str = "train", ddof: int = 0
) -> DynamicsScore:
    """Mean, deviation and score of the distance to the centroid of the given label, averaged over branches."""
    return _mean_over_branches(_branch_dynamics(trajectories, labels, split, ddof))


def _branch_dynamics(trajectories: Trajectories, labels: Labels, split: str, ddof: int) -> list[DynamicsScore]:
    ddof = min(ddof, trajectories.num_epochs - 1)  # for one epoch the deviation is 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no row has the given label")  # warned about before training
        distances = (distances_by_epoch(trajectories, labels, split, b) for b in range(trajectories.num_branches))
        return [dynamics_score(of_branch, ddof=ddof) for of_branch in distances]


def _mean_over_branches(scores: list[DynamicsScore]) -> DynamicsScore:
    return DynamicsScore(*(np.mean(values, axis=0) for values in zip(*scores, strict=True)))

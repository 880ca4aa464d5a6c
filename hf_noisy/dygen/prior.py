"""The prior of stage II: what is believed of each training row's true label before the VAE sees it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer

from hf_noisy.detection.noise_rate import check_noise_rate, mixture_noise_rate
from hf_noisy.dygen.evidence import Evidence, mean_prediction, posterior_given_label, suspicion
from hf_noisy.dynamics.scores import DynamicsScore, centroid_distances, centroids, dynamics_score
from hf_noisy.dynamics.store import Trajectories

_NEIGHBOURS = 10


@dataclass
class Prior:
    """Prior over the true labels of the training rows.

    Args:
        of: From trajectories and the name of another split to the prior of its rows, which have no given label.
        probabilities: `[branches or 1, rows, classes]`.
        suspects: `[rows]`, rows whose given label is more likely wrong than right.
        suspicion: `[rows]`, the higher, the more suspicious the given label.
        dynamics: Mean, deviation and score of the centroid distance, averaged over branches (Eq. 4, 5).
        noise_rate: The rate used.
        estimated: Whether it was estimated.
    """

    of: Callable[[Trajectories, str], Float64[np.ndarray, "_ _"]]
    probabilities: Float[np.ndarray, "_ rows classes"]
    suspects: Bool[np.ndarray, " rows"]
    suspicion: Float64[np.ndarray, " rows"]
    dynamics: DynamicsScore
    noise_rate: float
    estimated: bool


def evidence_prior(
    trajectories: Trajectories,
    labels: Integer[np.ndarray, " rows"],
    noise_rate: float | None = None,
    *,
    split: str = "train",
    seed: int = 0,
) -> Prior:
    """The default: the evidence of classifier and pretrained encoder, then the row's own label.

    The rate is estimated as the mean of two mixtures, on the suspicion of the classifier alone, which misses
    systematic noise, and on that of all evidence, which overstates noise where the encoder knows little.

    Args:
        trajectories: What training recorded.
        labels: `[rows]`, given labels.
        noise_rate: Share of wrong labels, or None to have it estimated.
        split: The training split.
        seed: Of the estimate.

    Returns:
        The prior, one for all branches.

    Raises:
        ValueError: If `noise_rate` is outside `[0, 1)`.
    """
    check_noise_rate(noise_rate)
    evidence = Evidence.fit(trajectories, labels, split)
    log_evidence = evidence.log_probabilities(trajectories, split, labels)
    rate = noise_rate
    if rate is None:
        classifier = np.log(mean_prediction(trajectories, split) + 1e-6)
        rate = float(np.mean([mixture_noise_rate(suspicion(e, labels), seed) for e in (classifier, log_evidence)]))
    probabilities, _ = posterior_given_label(log_evidence, labels, rate)
    suspects = probabilities[np.arange(len(labels)), labels] < 0.5
    dynamics = _mean_over_branches(_branch_scores(trajectories, labels, split, ddof=0))

    def of(others: Trajectories, name: str) -> Float64[np.ndarray, "_ _"]:
        return np.asarray(np.exp(evidence.log_probabilities(others, name)))

    against = suspicion(log_evidence, labels)
    return Prior(of, probabilities[None], suspects, against, dynamics, rate, noise_rate is None)


def paper_prior(
    trajectories: Trajectories,
    labels: Integer[np.ndarray, " rows"],
    noise_rate: float | None = None,
    *,
    split: str = "train",
    seed: int = 0,
) -> Prior:
    """The published prior: suspects by a global share, corrected by neighbours in the first epoch's embedding.

    Args:
        trajectories: What training recorded.
        labels: `[rows]`, given labels.
        noise_rate: Share of suspects, or None for the upper component of a mixture on the score.
        split: The training split.
        seed: Of the estimate.

    Returns:
        The prior, one for each branch; rows that are not suspected keep their given label.

    Raises:
        ValueError: If `noise_rate` is outside `[0, 1)`.

    Source: DyGEN (Zhuang et al., 2023), Algorithm 1, with the constants of the published code.
    """
    check_noise_rate(noise_rate)
    scores = _branch_scores(trajectories, labels, split, ddof=1)
    dynamics = _mean_over_branches(scores)
    rate = mixture_noise_rate(dynamics.score, seed) if noise_rate is None else noise_rate
    first = trajectories.epochs[0]
    suspects = np.zeros((trajectories.num_branches, len(labels)), dtype=bool)
    for branch, score in enumerate(scores):
        suspects[branch, np.argsort(-score.score, kind="stable")[: int(len(labels) * rate)]] = True

    def neighbours(others: Trajectories, name: str, branch: int) -> Float64[np.ndarray, "_ _"]:
        trusted = ~suspects[branch]
        reference = trajectories.embeddings(split, first, branch)[trusted]
        queries = others.embeddings(name, first, branch)
        return neighbour_probabilities(reference, labels[trusted], queries, trajectories.num_classes)

    branches = range(trajectories.num_branches)
    # A row that is not suspected keeps its label even where a duplicate of it has another.
    corrected = [np.where(suspects[b], neighbours(trajectories, split, b).argmax(1), labels) for b in branches]
    return Prior(
        lambda others, name: np.mean([neighbours(others, name, branch) for branch in branches], axis=0),
        np.eye(trajectories.num_classes)[np.stack(corrected)],
        suspects.mean(0) > 0.5,
        dynamics.score,
        dynamics,
        rate,
        noise_rate is None,
    )


def neighbour_probabilities(
    reference: Float[np.ndarray, "rows dim"],
    labels: Integer[np.ndarray, " rows"],
    queries: Float[np.ndarray, "queries dim"],
    num_classes: int,
    *,
    neighbours: int = _NEIGHBOURS,
) -> Float64[np.ndarray, "queries classes"]:
    """Label shares among the nearest reference rows, weighted by inverse distance.

    Args:
        reference: `[rows, dim]`.
        labels: `[rows]`, their labels; a class may be missing.
        queries: `[queries, dim]`; one at distance 0 from reference rows gets their labels.
        num_classes: Columns of the result.
        neighbours: K.

    Returns:
        `[queries, num_classes]`.

    Raises:
        ValueError: If there is no reference row.

    Source: DyGEN (Zhuang et al., 2023), Algorithm 1, step 3.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if len(reference) == 0:
        raise ValueError("no reference row is left: every row is suspected; pass a lower noise_rate")
    model = KNeighborsClassifier(min(neighbours, len(reference)), weights="distance").fit(reference, labels)
    probabilities = np.zeros((len(queries), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(queries)
    return probabilities


def _branch_scores(
    trajectories: Trajectories, labels: Integer[np.ndarray, " rows"], split: str, ddof: int
) -> list[DynamicsScore]:
    rows = np.arange(len(labels))
    ddof = min(ddof, trajectories.num_epochs - 1)  # one epoch has no deviation, not an undefined one
    scores = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no row has the given label")  # said once, before training
        for branch in range(trajectories.num_branches):
            distances = []
            for epoch in trajectories.epochs:
                embeddings = trajectories.embeddings(split, epoch, branch)
                means = centroids(embeddings, labels, trajectories.num_classes)
                distances.append(centroid_distances(embeddings, means)[rows, labels])
            scores.append(dynamics_score(np.stack(distances), ddof=ddof))
    return scores


def _mean_over_branches(scores: list[DynamicsScore]) -> DynamicsScore:
    return DynamicsScore(*(np.mean(values, axis=0) for values in zip(*scores, strict=True)))

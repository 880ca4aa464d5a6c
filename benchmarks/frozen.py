"""Classifiers on frozen features that train no network: what the encoder alone gives."""

import warnings

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

SCALE = 4.0  # of the unit features of the linear head, so that the grid reaches strong penalties
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)  # L2 on the mean loss, strongest first
FOLDS = 5
TINY = 1e-12


def centred(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features scaled to unit length, minus the mean of the training rows."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY) for rows in (train, *others)]
    return [rows - unit[0].mean(0) for rows in unit]


def mean_distances(features: np.ndarray, labels: np.ndarray, num_classes: int, test: np.ndarray) -> list[np.ndarray]:
    """Squared distances `[rows, classes]` to the class means, of training rows without themselves and of test rows."""
    counts = np.bincount(labels, minlength=num_classes)
    means = np.zeros((num_classes, features.shape[1]))
    np.add.at(means, labels, features)
    means /= np.maximum(counts, 1)[:, None]
    made = [(rows**2).sum(1, keepdims=True) - 2 * rows @ means.T + (means**2).sum(1) for rows in (features, test)]
    for distances in made:
        distances[:, counts == 0] = np.inf
    own, rows = counts[labels], np.arange(len(labels))
    made[0][rows, labels] *= (own / np.maximum(own - 1, 1)) ** 2
    made[0][rows[own == 1], labels[own == 1]] = np.inf
    return made


def class_means(
    features: np.ndarray, labels: np.ndarray, num_classes: int, test: np.ndarray, prior_exponent: float = 0.0
) -> np.ndarray:
    """Probabilities of test rows by their distances to the class means, `[rows, classes]`.

    The temperature maximises the likelihood of the given labels with each row left out. The class prior is the share
    of each given label to the power of `prior_exponent`; by default all classes are alike.
    """
    train, test = centred(features, test)
    left_out, distances = mean_distances(train, labels, num_classes, test)
    counts = np.bincount(labels, minlength=num_classes)
    prior = prior_exponent * np.log(np.maximum(counts, 1) / len(labels))
    rows = np.flatnonzero(counts[labels] > 1)

    def loss(log_scale: float) -> float:
        fitted = log_softmax(prior - np.exp(log_scale) * left_out[rows], axis=1)
        return -float(fitted[np.arange(len(rows)), labels[rows]].mean())

    scale = np.exp(minimize_scalar(loss, bounds=(-2.0, 6.0), method="bounded").x) if len(rows) else 1.0
    return np.asarray(softmax(prior - scale * distances, axis=1))


def linear_head(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    test: np.ndarray,
    seed: int,
    penalties: tuple[float, ...] = PENALTIES,
) -> tuple[np.ndarray, float]:
    """Probabilities of test rows by logistic regression `[rows, classes]`, and the penalty that was chosen."""
    train, test = (SCALE * rows for rows in centred(features, test))
    chosen = penalties[0]
    if len(penalties) > 1:
        scores = held_out_scores(train, labels, num_classes, seed, penalties)
        chosen = penalties[int(np.argmax(scores))]
    return _path(train, labels, num_classes, test, (chosen,))[0], chosen


def held_out_scores(
    features: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, penalties: tuple[float, ...]
) -> np.ndarray:
    """Mean log-likelihood of held-out labels for each penalty; labels that a fold does not know are left out."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores: list[list[float]] = [[] for _ in penalties]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = list(folds.split(features, labels))
    for fitted, held in splits:
        held = held[np.isin(labels[held], labels[fitted])]
        made = _path(features[fitted], labels[fitted], num_classes, features[held], penalties)
        for of, probabilities in zip(scores, made, strict=True):
            of += np.log(probabilities[np.arange(len(held)), labels[held]] + TINY).tolist()
    return np.array([np.mean(of) for of in scores])


def _path(
    features: np.ndarray, labels: np.ndarray, num_classes: int, test: np.ndarray, penalties: tuple[float, ...]
) -> list[np.ndarray]:
    """Probabilities of test rows under each penalty; every fit starts at the one before."""
    made = []
    model = LogisticRegression(max_iter=500, warm_start=True)
    for penalty in penalties:
        model.set_params(C=1 / (penalty * len(labels))).fit(features, labels)
        probabilities = np.zeros((len(test), num_classes))
        probabilities[:, model.classes_] = model.predict_proba(test)
        made.append(probabilities)
    return made

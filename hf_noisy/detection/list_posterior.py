"""Probabilities of the true labels of tokens and of cells, as targets of training."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.core.types import Labels
from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.cell_model import fit_cell_model
from hf_noisy.detection.checked_cells import set_posterior
from hf_noisy.detection.checked_tags import tag_posterior
from hf_noisy.detection.label_model import fit_label_model
from hf_noisy.detection.list_predictions import out_of_fold_cells, out_of_fold_tags


def token_targets(
    features: Float[np.ndarray, "tokens width"],
    given: Labels,
    rows: Int64[np.ndarray, " tokens"],
    num_classes: int,
    checked: CheckedRows | None = None,
    seed: int = 0,
) -> Float64[np.ndarray, "tokens classes"]:
    """Probabilities of the true tags of tokens; certain where they were checked."""
    if checked is not None:
        return tag_posterior(features, given, rows, None, checked.as_column(), num_classes, seed)
    predicted = out_of_fold_tags(features, given, rows, num_classes, seed=seed)
    found = fit_label_model(given, predicted).predict(given, predicted)
    targets, own = np.zeros(predicted.shape), np.arange(len(given))
    targets[own, given] = 1 - found.wrong
    targets[own, found.suggested] = found.wrong
    return targets


def cell_targets(
    features: Float[np.ndarray, "examples width"],
    given: Labels,
    num_classes: int,
    checked: CheckedRows | None = None,
    seed: int = 0,
) -> Float64[np.ndarray, "cells 2"]:
    """Probabilities of absent and present for all cells, from the labels of all cells; certain for checked rows."""
    sets = given.reshape(-1, num_classes).astype(bool)
    if checked is None:
        model = fit_cell_model(sets, out_of_fold_cells(features, sets, seed=seed))
        present = np.where(sets, 1 - model.wrong, model.wrong)
    else:
        known = checked.as_column().reshape(sets.shape)
        index = np.flatnonzero((known >= 0).all(axis=1))
        true = known[index] == 1
        replaced = sets.copy()
        replaced[index] = true
        present = set_posterior(sets, out_of_fold_cells(features, replaced, seed=seed), index, true)
    return np.stack([1 - present.ravel(), present.ravel()], axis=1)

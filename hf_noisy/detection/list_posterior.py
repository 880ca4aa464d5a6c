"""Probabilities of the true labels of tokens and of cells, as targets of training."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from hf_noisy.core.types import Labels
from hf_noisy.data.checked import UNCHECKED, CheckedRows
from hf_noisy.detection.cell_model import fit_cell_model
from hf_noisy.detection.checked_cells import set_posterior
from hf_noisy.detection.checked_tags import tag_posterior
from hf_noisy.detection.checked_units import of_whole_rows
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
    known = np.full(len(given), UNCHECKED) if checked is None else checked.as_column()
    whole = of_whole_rows(known, given, rows)
    given = np.where((known >= 0) & (whole < 0), known, given)
    if (whole >= 0).any():
        targets = tag_posterior(features, given, rows, None, whole, num_classes, seed)
    else:
        predicted = out_of_fold_tags(features, given, rows, num_classes, seed=seed)
        found = fit_label_model(given, predicted).predict(given, predicted)
        targets, own = np.zeros(predicted.shape), np.arange(len(given))
        targets[own, given] = 1 - found.wrong
        targets[own, found.suggested] = found.wrong
    targets[known >= 0] = np.eye(num_classes)[known[known >= 0]]
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
    known = (np.full(len(given), UNCHECKED) if checked is None else checked.as_column()).reshape(sets.shape)
    held_out = out_of_fold_cells(features, np.where(known >= 0, known == 1, sets), seed=seed)
    whole = np.where((known >= 0).all(axis=1, keepdims=True), known, UNCHECKED)
    present = present_cells(sets, held_out, known, whole)
    return np.stack([1 - present.ravel(), present.ravel()], axis=1)


def present_cells(
    sets: Bool[np.ndarray, "rows classes"],
    held_out: Float[np.ndarray, "rows classes"],
    checked: Int64[np.ndarray, "rows classes"],
    whole: Int64[np.ndarray, "rows classes"],
) -> Float64[np.ndarray, "rows classes"]:
    """The probability that each row has each class; certain for checked cells, of which the `whole` ones teach."""
    sets = np.where((checked >= 0) & (whole < 0), checked == 1, sets)
    if (whole >= 0).any():
        present = set_posterior(sets, held_out, whole)
    else:
        model = fit_cell_model(sets, held_out)
        present = np.where(sets, 1 - model.wrong, model.wrong)
    return np.where(checked >= 0, checked, present)

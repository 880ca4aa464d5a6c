"""Predictions of the given label where labels of a class may be missing."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hf_noisy.core.rows import Rows, Task
from hf_noisy.losses.loss import at_least_float32

OUTSIDE = "O"  # the tag of tokens outside of entities


def missing_rates(given: Any, task: Task, num_labels: int, names: dict[str, int] | None) -> Tensor | None:
    """The rates for [`given_label_rows`]: of tokens `[classes]`, of cells `[num_labels, 2]`; NaN is "no label"."""
    if given is None:
        return None
    if task.one_row:
        raise ValueError("missing_rate is for token and multi-label classification, where a label may be missing")
    rates = np.asarray(given, np.float64)
    if rates.shape not in ((), (num_labels,)) or not ((rates >= 0) & (rates < 1)).all():
        raise ValueError(
            f"missing_rate must be a share in [0, 1), or {num_labels} of them, one for each class, got {given!r}"
        )
    table = torch.from_numpy(np.broadcast_to(rates, num_labels).astype(np.float32))
    if task.cells:
        return torch.stack([torch.full_like(table, math.nan), table], 1)
    table[(names or {}).get(OUTSIDE, 0)] = math.nan
    return table


def given_label_rows(rows: Rows, missing_rate: Tensor | None) -> Rows:
    """The rows with log-probabilities of the given label in the place of the logits of the true one."""
    if missing_rate is None:
        return rows
    rates = missing_rate.to(rows.logits.device)
    if rates.ndim == 2:
        rates = rates.repeat(len(rows.logits) // len(rates), 1)
    of_branches = rows.branch_logits
    if of_branches is not None:
        of_branches = given_log_probabilities(of_branches, rates[:, None] if rates.ndim == 2 else rates)
    return replace(rows, logits=given_log_probabilities(rows.logits, rates), branch_logits=of_branches)


def given_log_probabilities(
    logits: Float[Tensor, "*rows classes"], rates: Float[Tensor, "... classes"]
) -> Float[Tensor, "*rows classes"]:
    r"""$\ln(T^\top p)$: a label of class $k$ is missing with probability $\rho_k$; $\rho$ is NaN for "no label"."""
    log_probabilities = at_least_float32(logits).log_softmax(-1)
    absent = torch.logsumexp(log_probabilities + rates.nan_to_num(1.0).log(), -1, keepdim=True)
    return torch.where(rates.isnan(), absent, log_probabilities + torch.log1p(-rates.nan_to_num(0.0)))

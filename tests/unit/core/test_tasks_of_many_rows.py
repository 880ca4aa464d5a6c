"""The rows of tokens and of cells: their logits, labels and numbers."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import EvalPrediction
from transformers.modeling_outputs import TokenClassifierOutput

from hf_noisy.core.task import LABEL_SETS, TOKENS
from hf_noisy.models.branches import mean_log_probability

LABELS = torch.tensor([[-100, 2, -100, 0], [1, -100, -100, -100]])


def test_a_token_has_the_same_number_wherever_the_padding_is():
    first = torch.tensor([7, 40])
    assert TOKENS.row_index(LABELS, first).tolist() == [7, 8, 40]
    left = torch.tensor([[-100, -100, 2, -100, 0], [-100, -100, -100, -100, 1]])
    assert TOKENS.row_index(left, first).tolist() == [7, 8, 40]
    assert TOKENS.row_index(LABELS[1:], first[1:]).tolist() == [40]
    assert TOKENS.row_index(LABELS, None).tolist() == [-1, -1, -1]
    assert TOKENS.row_index(LABELS, torch.tensor([-1, -1])).tolist() == [-1, -1, -1]


def test_rows_of_tokens_are_those_with_a_label():
    logits = torch.randn(2, 4, 3)
    branches = torch.randn(2, 5, 4, 3)
    outputs = TokenClassifierOutput(logits=logits)
    outputs.branch_logits = branches
    rows = TOKENS.rows(outputs, LABELS, torch.tensor([0, 2]))
    assert rows.labels.tolist() == [2, 0, 1]
    assert torch.equal(rows.logits, torch.stack([logits[0, 1], logits[0, 3], logits[1, 0]]))
    assert torch.equal(rows.branch_logits[1], branches[0, :, 3])
    with pytest.raises(ValueError, match=r"logits of shape \[batch, tokens, classes\], .* logits of shape \(2, 3\)"):
        TOKENS.rows(torch.zeros(2, 3), LABELS)


def test_cross_entropy_of_cells_is_binary_cross_entropy():
    logits, labels = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    rows = LABEL_SETS.rows(logits, labels, torch.arange(4) * 3)
    assert rows.index.tolist() == list(range(12))
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").flatten()
    torch.testing.assert_close(F.cross_entropy(rows.logits, rows.labels, reduction="none"), expected)
    with pytest.raises(ValueError, match=r"must be \[batch, classes\] of zeros and ones"):
        LABEL_SETS.rows(torch.zeros(4, 2), labels)


def test_the_mean_of_branches_is_that_of_the_probabilities_of_each_class():
    branches = torch.randn(4, 2, 3)
    logits = LABEL_SETS.from_classes(mean_log_probability(LABEL_SETS.to_classes(branches)))
    torch.testing.assert_close(logits.sigmoid(), branches.sigmoid().mean(1))


def test_stored_labels_become_rows_and_counts():
    labels, counts = TOKENS.flat(np.array([-100, 2, 0, 1, -100]), np.array([3, 0, 2]), 3)
    assert labels.tolist() == [2, 0, 1]
    assert counts.tolist() == [2, 0, 1]
    labels, counts = LABEL_SETS.flat(np.array([1.0, 0.0, 0.0, 1.0]), np.array([2, 2]), 2)
    assert labels.tolist() == [1, 0, 0, 1]
    assert counts.tolist() == [2, 2]


def test_evaluated_rows():
    logits = np.random.default_rng(0).normal(size=(2, 4, 3))
    labels, probabilities = TOKENS.evaluated(EvalPrediction(predictions=logits, label_ids=LABELS.numpy()))
    assert labels.tolist() == [2, 0, 1]
    np.testing.assert_allclose(probabilities[2], np.exp(logits[1, 0]) / np.exp(logits[1, 0]).sum())
    given = np.array([[1.0, 0.0], [0.0, 1.0]])
    labels, probabilities = LABEL_SETS.evaluated(EvalPrediction(predictions=logits[:, 0, :2], label_ids=given))
    assert labels.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits[:, 0, :2].ravel())))
    for task in (TOKENS, LABEL_SETS):
        with pytest.raises(ValueError, match="predictions must be logits"):
            task.evaluated(EvalPrediction(predictions=np.zeros((2, 5)), label_ids=LABELS.numpy()))

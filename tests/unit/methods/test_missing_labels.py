"""Predictions of the given label where labels may be missing, against the formulas."""

import torch

from hf_noisy.core.rows import Rows
from hf_noisy.core.task import LABEL_SETS, TOKENS
from hf_noisy.methods.missing_labels import given_label_rows, missing_rates


def rows(logits, branches=None):
    return Rows(logits, torch.zeros(len(logits), dtype=torch.int64), torch.arange(len(logits)), branches)


def test_of_tokens_the_missing_share_reads_as_outside():
    logits, rates = torch.randn(5, 3), torch.tensor([0.2, 0.0, 0.4])
    given = missing_rates(rates.tolist(), TOKENS, 3, {"B": 0, "O": 1, "I": 2})
    p = logits.softmax(-1)
    expected = torch.stack([p[:, 0] * 0.8, p[:, 1] + p[:, 0] * 0.2 + p[:, 2] * 0.4, p[:, 2] * 0.6], -1)
    found = given_label_rows(rows(logits, torch.stack([logits, logits], 1)), given)
    torch.testing.assert_close(found.logits.exp(), expected)
    torch.testing.assert_close(found.branch_logits[:, 1].exp(), expected)


def test_of_cells_each_class_has_its_rate():
    z, rates = torch.randn(4, 3), [0.1, 0.5, 0.0]
    cells = LABEL_SETS.to_classes(z).flatten(0, 1)
    found = given_label_rows(rows(cells, torch.stack([cells, cells], 1)), missing_rates(rates, LABEL_SETS, 3, None))
    expected = z.sigmoid() * (1 - torch.tensor(rates))
    torch.testing.assert_close(found.logits.exp()[:, 1].view(4, 3), expected)
    torch.testing.assert_close(found.branch_logits.exp()[:, 0, 0].view(4, 3), 1 - expected)


def test_gradients_are_finite_also_without_missing_labels():
    logits = (torch.randn(4, 3) * 50).requires_grad_()
    given_label_rows(rows(logits), missing_rates(0.0, TOKENS, 3, None)).logits.sum().backward()
    assert logits.grad.isfinite().all()

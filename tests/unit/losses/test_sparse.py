import pytest
import torch
from torch.nn import functional as F

from hf_noisy.losses.sparse import SR

LOGITS = torch.tensor([[3.0, -1.0, 0.5], [0.0, 2.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def test_without_penalty_it_is_cross_entropy_of_logits_on_a_sphere():
    scaled = LOGITS / LOGITS.norm(dim=1, keepdim=True) / 0.5
    expected = F.cross_entropy(scaled, LABELS, reduction="none")
    for progress in (0.0, 0.9):
        torch.testing.assert_close(SR(norm_weight=0.0)(LOGITS, LABELS, progress), expected)


def test_the_weight_of_the_norm_grows_by_a_factor_each_epoch():
    loss, plain = SR(norm_weight=2.0, growth=1.03**120), SR(norm_weight=0.0)
    norms = [loss(LOGITS, LABELS, epoch / 120) - plain(LOGITS, LABELS) for epoch in (0, 1, 100)]
    torch.testing.assert_close(norms[1] / norms[0], torch.full((2,), 1.03, dtype=torch.float64))
    torch.testing.assert_close(norms[2] / norms[0], torch.full((2,), 1.03**100, dtype=torch.float64))
    p = (LOGITS / LOGITS.norm(dim=1, keepdim=True) / 0.5).softmax(1)
    torch.testing.assert_close(norms[0], 2.0 * (p**0.1).sum(1))


def test_the_length_of_the_logits_does_not_matter():
    torch.testing.assert_close(SR()(5 * LOGITS, LABELS, 0.5), SR()(LOGITS, LABELS, 0.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"p": 1.0}, r"p must be in \(0, 1\), got 1.0"),
        ({"norm_weight": -1.0}, "norm_weight must be at least 0, got -1.0"),
        ({"growth": 0.5}, "growth must be at least 1, got 0.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SR(**settings)

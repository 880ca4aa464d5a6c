import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.sce import SCE, reverse_cross_entropy


def make_rows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (6,), generator=generator)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.0, 10.0), st.floats(0.01, 10.0))
def test_is_the_sum_of_its_two_terms(seed, alpha, beta):
    rows = make_rows(seed)
    parts = alpha * CrossEntropy()(*rows) - math.log(1e-4) * beta * MAE()(*rows)
    torch.testing.assert_close(SCE(alpha, beta)(*rows), parts)


def test_reverse_cross_entropy_is_its_definition():
    logits, labels = make_rows()
    one_hot = F.one_hot(labels, 4).double().clamp(min=1e-4)
    by_hand = -(logits.softmax(-1) * one_hot.log()).sum(-1)
    torch.testing.assert_close(reverse_cross_entropy(logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]), by_hand)


@pytest.mark.parametrize(("alpha", "beta", "name"), [(-0.1, 1.0, "alpha"), (1.0, float("nan"), "beta")])
def test_weight_out_of_range_is_refused(alpha, beta, name):
    with pytest.raises(ValueError, match=f"{name} must be a weight of at least 0, got"):
        SCE(alpha, beta)


def test_two_weights_of_zero_are_refused():
    with pytest.raises(ValueError, match="alpha and beta are all 0, so there is no loss"):
        SCE(0.0, 0.0)

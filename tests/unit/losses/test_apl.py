import pytest
import torch

from hf_noisy.losses.apl import NCEandAGCE, NCEandRCE
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.sce import SCE


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (6,), generator=generator)


def test_normalised_cross_entropy_is_the_share_of_the_given_label(rows):
    logits, labels = rows
    of_all = sum(CrossEntropy()(logits, torch.full_like(labels, label)) for label in range(4))
    torch.testing.assert_close(NCEandRCE(1.0, 0.0)(logits, labels), CrossEntropy()(logits, labels) / of_all)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (10.0, 0.1), (0.0, 2.0)])
def test_terms_are_weighted(rows, alpha, beta):
    active = NCEandRCE(1.0, 0.0)(*rows)
    torch.testing.assert_close(NCEandRCE(alpha, beta)(*rows), alpha * active + SCE(0.0, 1.0)(*rows) * beta)
    passive = NCEandAGCE(0.0, 1.0, a=2.0, q=0.5)(*rows)
    torch.testing.assert_close(NCEandAGCE(alpha, beta, a=2.0, q=0.5)(*rows), alpha * active + beta * passive)


def test_small_shift_is_generalised_cross_entropy(rows):
    torch.testing.assert_close(NCEandAGCE(0.0, 1.0, a=1e-9, q=0.7)(*rows), GCE(0.7)(*rows), rtol=1e-5, atol=1e-7)


def test_large_shift_is_a_multiple_of_mean_absolute_error(rows):
    losses = NCEandAGCE(0.0, 1.0, a=1e4, q=1.5)(*rows)
    torch.testing.assert_close(losses, 1e4**0.5 * MAE()(*rows), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["a", "q"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_shift_or_exponent_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be above 0, got"):
        NCEandAGCE(**{name: value})


@pytest.mark.parametrize("loss", [NCEandRCE, NCEandAGCE])
def test_weight_out_of_range_is_refused(loss):
    with pytest.raises(ValueError, match="beta must be a weight of at least 0, got -1"):
        loss(alpha=1.0, beta=-1.0)

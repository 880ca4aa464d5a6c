"""What holds for every loss."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy import losses as exported
from hf_noisy.losses.apl import NCEandAGCE, NCEandRCE
from hf_noisy.losses.bootstrap import Bootstrap
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.dal import DAL
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.loss import Loss
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.sce import SCE
from hf_noisy.losses.sparse import SR
from hf_noisy.losses.taylor import TCE

# Each with the progress at which all of its terms take part; those by name with their defaults.
LOSSES: dict[str, tuple[Loss, float]] = {
    **{name: (kind(), 0.0) for name, kind in exported.LOSSES.items()},
    "bootstrap-hard": (Bootstrap(kind="hard"), 0.0),
    "dal-last": (DAL(), 0.9),
    "dal-last-hard": (DAL(bootstrap="hard"), 0.9),
    "gce-above-1": (GCE(q=1.5), 0.0),
    "nce_agce-steep": (NCEandAGCE(a=1e-5, q=0.5), 0.0),
    "tce-18": (TCE(order=18), 0.0),
}
# Logits on a sphere: a constant added to them changes their directions.
NORMALISED = ("sr",)
every_loss = pytest.mark.parametrize(("loss", "progress"), LOSSES.values(), ids=LOSSES.keys())
# Sums of the loss over all labels that do not depend on the logits: robust to symmetric noise.
SYMMETRIC: dict[str, tuple[Loss, float]] = {
    "mae": (MAE(), 3.0),
    "gce": (GCE(q=1.0), 3.0),
    "tce": (TCE(order=1), 3.0),
    "rce": (SCE(alpha=0.0, beta=1.0), 3 * 9.210340371976184),
    "nce": (NCEandRCE(alpha=2.0, beta=0.0), 2.0),
    "nce_rce": (NCEandRCE(), 1 + 3 * 9.210340371976184),
    "agce": (NCEandAGCE(q=1.0), 1 + 4 * 3.0),
}
# Bounds of the loss of a row with four classes.
BOUNDS: dict[str, tuple[Loss, float, float]] = {
    "mae": (MAE(), 0.0, 1.0),
    "gce": (GCE(q=0.7), 0.0, 1 / 0.7),
    "gce-above-1": (GCE(q=1.5), 0.0, 1 / 1.5),
    "rce": (SCE(alpha=0.0, beta=1.0), 0.0, 9.2104),
    "nce": (NCEandRCE(alpha=1.0, beta=0.0), 0.0, 1.0),
    "agce": (NCEandAGCE(alpha=0.0, beta=1.0, a=3.0, q=0.7), 0.0, (4**0.7 - 3**0.7) / 0.7),
    "tce": (TCE(order=3), 0.0, 1 + 1 / 2 + 1 / 3),
    "bootstrap": (Bootstrap(beta=0.5), 0.0, 0.5 * 16.2 + 0.5 * 1.3863),
    "dal": (DAL(q_start=1.2, q_end=1.2), -1e-5, 2 / 1.2),
}

examples = settings(max_examples=20)
seeds = st.integers(0, 2**16)


def make_rows(seed: int = 0, rows: int = 5, classes: int = 4, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def gradient_of(loss: Loss, logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, labels, progress).sum(), logits)[0]


def test_every_exported_loss_is_here() -> None:
    classes = {value for value in vars(exported).values() if inspect.isclass(value) and issubclass(value, Loss)}
    assert classes == {Loss} | {type(loss) for loss, _ in LOSSES.values()}


@every_loss
def test_gradient_is_that_of_the_values(loss: Loss, progress: float) -> None:
    logits, labels = make_rows()
    assert torch.autograd.gradcheck(lambda values: loss(values, labels, progress), (logits.requires_grad_(),))


@every_loss
def test_a_row_depends_on_no_other_row(loss: Loss, progress: float) -> None:
    logits, labels = make_rows(rows=6)
    together = loss(logits, labels, progress)
    alone = torch.cat([loss(logits[i : i + 1], labels[i : i + 1], progress) for i in range(6)])
    assert together.shape == (6,)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)


@every_loss
@examples
@given(seed=seeds, classes=st.integers(2, 7))
def test_names_of_the_classes_do_not_matter(loss: Loss, progress: float, seed: int, classes: int) -> None:
    logits, labels = make_rows(seed, classes=classes)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(logits)
    renamed[:, order] = logits
    torch.testing.assert_close(loss(renamed, order[labels], progress), loss(logits, labels, progress))


@pytest.mark.parametrize(
    ("loss", "progress"),
    [case for name, case in LOSSES.items() if name not in NORMALISED],
    ids=[name for name in LOSSES if name not in NORMALISED],
)
@examples
@given(seed=seeds, shift=st.floats(-50, 50))
def test_a_constant_added_to_the_logits_does_not_matter(loss: Loss, progress: float, seed: int, shift: float) -> None:
    logits, labels = make_rows(seed)
    torch.testing.assert_close(
        loss(logits + shift, labels, progress), loss(logits, labels, progress), rtol=1e-9, atol=1e-9
    )


@every_loss
def test_the_given_label_costs_less_than_any_other(loss: Loss, progress: float) -> None:
    logits = torch.tensor([[3.0, 0.0, -1.0]]).expand(3, -1)
    losses = loss(logits, torch.tensor([0, 1, 2]), progress)
    assert losses[0] < losses[1] < losses[2]


@every_loss
def test_half_precision_is_computed_in_float32(loss: Loss, progress: float) -> None:
    logits, labels = make_rows()
    for dtype in (torch.bfloat16, torch.float16):
        half = logits.to(dtype)
        assert torch.equal(loss(half, labels, progress), loss(half.float(), labels, progress))
        assert gradient_of(loss, half, labels, progress).dtype == dtype
    assert loss(logits, labels, progress).dtype == torch.float64


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(loss: Loss, progress: float, dtype: torch.dtype) -> None:
    rows = [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0], [-1e4, -1e4, -1e4]]
    logits, labels = torch.tensor(rows, dtype=dtype), torch.zeros(5, dtype=torch.int64)
    losses, gradient = loss(logits, labels, progress), gradient_of(loss, logits, labels, progress)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()
    if not isinstance(loss, SR):
        torch.testing.assert_close(gradient.sum(-1), torch.zeros(5, dtype=dtype), rtol=0, atol=1e-2)


@every_loss
def test_progress_matters_where_it_is_said_to(loss: Loss, progress: float) -> None:
    logits, labels = make_rows()
    assert torch.equal(loss(logits, labels, 0.1), loss(logits, labels, 0.95)) != loss.scheduled


@every_loss
def test_has_no_state_and_names_its_source(loss: Loss, progress: float) -> None:
    assert not loss.state_dict()
    assert bool(loss.citation) == (type(loss) is not CrossEntropy)
    assert inspect.getdoc(type(loss)) != inspect.getdoc(Loss)


@pytest.mark.parametrize(("loss", "constant"), SYMMETRIC.values(), ids=SYMMETRIC.keys())
@examples
@given(seed=seeds)
def test_symmetric_losses_sum_to_a_constant(loss: Loss, constant: float, seed: int) -> None:
    logits, _ = make_rows(seed, scale=1.0)
    total = sum(loss(logits, torch.full((5,), label)) for label in range(4))
    torch.testing.assert_close(total, torch.full((5,), constant, dtype=torch.float64))


@pytest.mark.parametrize(("loss", "low", "high"), BOUNDS.values(), ids=BOUNDS.keys())
@examples
@given(seed=seeds, scale=st.floats(0.0, 100.0))
def test_bounded_losses_stay_in_their_bounds(loss: Loss, low: float, high: float, seed: int, scale: float) -> None:
    losses = loss(*make_rows(seed, scale=scale))
    assert losses.min() >= low
    assert losses.max() <= high

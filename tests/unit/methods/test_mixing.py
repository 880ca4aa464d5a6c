"""Mixup, ELR+ and DivideMix: methods that mix each row with another one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from torch import nn
from torch.nn import functional as F

from hf_noisy.data.indexed import IndexedRow
from hf_noisy.data.other_row import OtherRow, other_rows
from hf_noisy.data.views import TwoViews
from hf_noisy.detection.mixture import small_loss
from hf_noisy.losses import GCE
from hf_noisy.losses.early_learning import elr_targets
from hf_noisy.methods import ELR, DivideMix, ELRPlus, ForwardCorrection, Mixup
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import make_args, make_model, make_rows
from tests.unit.methods.pairs import CLASSES, DIM, ROWS, given_labels, make_batch, order, ready, weights

ALL, LABELS = torch.arange(ROWS), given_labels()
FEATURES = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Vectors(nn.Module):
    """Linear networks on vectors, which are inputs of numbers."""

    def __init__(self, networks: int = 1) -> None:
        super().__init__()
        self.num_branches = networks
        self.config = SimpleNamespace(num_labels=CLASSES)
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(
            torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64) for _ in range(networks)
        )

    def forward(self, vectors: torch.Tensor) -> SimpleNamespace:
        logits = torch.stack([vectors @ weight.T for weight in self.weights], 1)
        if self.num_branches == 1:
            return SimpleNamespace(logits=logits[:, 0])
        return SimpleNamespace(branch_logits=logits, logits=logits.mean(1))


class Ids(Vectors):
    """The same networks, which look their vectors up: inputs that cannot be mixed."""

    def forward(self, ids: torch.Tensor) -> SimpleNamespace:
        return super().forward(FEATURES[ids])


def batch_of(rows, epoch=0, num_epochs=4, ids=False):
    batch = make_batch(rows, LABELS, epoch, num_epochs)
    other = torch.from_numpy(other_rows(rows.numpy(), ROWS, batch.seed, epoch))
    first, second = ({"ids": found} if ids else {"vectors": FEATURES[found]} for found in (rows, other))
    return replace(batch, inputs=first, second_view=second)


def begun(method, model):
    ready(method, model)
    rows = Dataset.from_dict({"label": LABELS.tolist()})
    method.mixing.prepare(SimpleNamespace(train_dataset=rows, model=model))
    return method


def steps(method, model, epochs, parts=1, ids=False):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for epoch in epochs:
        for number, rows in enumerate(order(epoch).split(6)):
            optimizer.zero_grad()
            for part in rows.chunk(parts):
                batch = replace(batch_of(part, epoch, ids=ids), progress=(epoch + number / 3) / 4)
                (method(model, batch).losses.sum() / len(rows)).backward()
            optimizer.step()
            method.after_step(model)


METHODS = {
    "mixup": (lambda: Mixup(alpha=0.5), 1),
    "elr_plus": (lambda: ELRPlus(ramp_ratio=0.25), 2),
    "divide_mix": (lambda: DivideMix(warmup_epochs=1), 2),
}
every = pytest.mark.parametrize("name", METHODS)


def made(name, ids=False):
    method, networks = METHODS[name]
    model = (Ids if ids else Vectors)(networks)
    return begun(method(), model), model


def test_the_other_row_is_the_one_that_methods_compute():
    rows, view = [{"label": n, "x": [float(n)]} for n in range(50)], OtherRow()
    view.attach(rows)

    def collator(rows):
        return {name: torch.tensor([row[name] for row in rows]) for name in ("label", "x")}

    views = TwoViews(collator, view, seed=5)
    views.set_epoch(3)
    index = np.array([7, 0, 49])
    batch = views([IndexedRow(int(n), rows[n]) for n in index])
    expected = other_rows(index, 50, 5, 3)
    assert batch["second_view_x"][:, 0].tolist() == expected.tolist()
    assert batch["label"].tolist() == index.tolist()
    assert other_rows(index, 50, 5, 4).tolist() != expected.tolist()
    many = other_rows(np.arange(5000), 10, 0, 0)
    assert np.bincount(many, minlength=10).min() > 400


def test_rows_with_views_of_their_own_are_refused():
    with pytest.raises(ValueError, match="remove the columns that begin with second_view_"):
        OtherRow().attach(Dataset.from_dict({"x": [1], "second_view_x": [2], "label": [0]}))


@pytest.mark.parametrize("ids", [False, True])
def test_mixup_is_the_loss_of_mixed_rows_and_labels(ids):
    model = (Ids if ids else Vectors)()
    method = begun(Mixup(GCE(0.5), alpha=1.0), model)
    step = method(model, batch_of(ALL, 2, ids=ids))
    pairs = method.mixing.draw(batch_of(ALL, 2, ids=ids))
    weight = pairs.weight.double()[:, None]
    logits = (weight * FEATURES + (1 - weight) * FEATURES[pairs.other]) @ model.weights[0].T
    own, other = GCE(0.5)(logits, LABELS), GCE(0.5)(logits, LABELS[pairs.other])
    torch.testing.assert_close(step.losses, weight[:, 0] * own + (1 - weight[:, 0]) * other)
    assert 0.3 < pairs.weight.mean() < 0.7
    assert pairs.weight.std() > 0.15


def test_a_concentrated_weight_is_the_mean_and_a_sparse_one_hardly_mixes():
    narrow = begun(Mixup(alpha=1e4), Vectors()).mixing.draw(batch_of(ALL)).weight
    wide = begun(Mixup(alpha=1e-3), Vectors()).mixing.draw(batch_of(ALL)).weight
    assert (narrow - 0.5).abs().max() < 0.02
    assert (torch.minimum(wide, 1 - wide) < 0.01).all()


def test_mixup_refuses_methods_with_a_state_per_row():
    with pytest.raises(ValueError, match="method ELR keeps something per row"):
        Mixup(ELR())
    with pytest.raises(ValueError, match="method must be the name of a loss, got 'elr'"):
        Mixup("elr")
    with pytest.raises(ValueError, match="alpha must be above 0, got 0"):
        Mixup(alpha=0.0)
    assert Mixup(ForwardCorrection([[0.9, 0.1], [0.2, 0.8]])).base.noise.given.shape == (2, 2)


def test_elr_plus_is_the_formula_of_the_paper():
    model = Vectors(2)
    method = begun(ELRPlus(0.6, 2.0), model)
    old = torch.rand(ROWS, 2, CLASSES, generator=torch.Generator().manual_seed(1)) / CLASSES
    method.targets.values.copy_(old)
    step = method(model, batch_of(ALL))
    pairs = method.mixing.draw(batch_of(ALL))
    assert (pairs.weight >= 0.5).all()
    weight = pairs.weight.double()[:, None]
    mixed = weight * FEATURES + (1 - weight) * FEATURES[pairs.other]
    y = weight * F.one_hot(LABELS, CLASSES) + (1 - weight) * F.one_hot(LABELS[pairs.other], CLASSES)
    expected, new = 0.0, []
    for network in (0, 1):
        own = elr_targets(old[:, network].double(), FEATURES @ model.weights[1 - network].T, 0.6)
        new.append(own)
        target = weight * own + (1 - weight) * old[pairs.other, network]
        log_p = (mixed @ model.weights[network].T).log_softmax(1)
        agreement = (log_p.exp().clamp(1e-4, 1 - 1e-4) * target).sum(1)
        expected = expected - (y * log_p).sum(1) + 2.0 * (1 - agreement).log()
    torch.testing.assert_close(step.losses, expected)
    assert torch.equal(method.targets.values, old)  # until the step ends
    method.after_step(model)
    torch.testing.assert_close(method.targets.values.double(), torch.stack(new, 1), rtol=0, atol=1e-6)


def test_decay_of_elr_plus_rises():
    model = Vectors(2)
    method = begun(ELRPlus(decay=0.9, ramp_ratio=0.5), model)
    with torch.no_grad():
        model.weights[0] += 1.0
    start = weights(method.ema.model)
    method(model, batch_of(ALL))  # progress 0: a decay of 0.9 exp(-5)
    method.after_step(model)
    moved = weights(method.ema.model) - start
    assert moved[0].item() == pytest.approx(1 - 0.9 * np.exp(-5))


def test_divide_mix_divides_by_the_losses_of_the_other_network():
    model = Vectors(2)
    method = begun(DivideMix(warmup_epochs=1, unlabelled_weight=10.0, ramp_epochs=2), model)
    with torch.no_grad():
        logits = model(FEATURES).branch_logits
        losses = F.cross_entropy(logits.flatten(0, 1), LABELS.repeat_interleave(2), reduction="none").view(ROWS, 2)
    warm = method(model, batch_of(ALL, 0))
    torch.testing.assert_close(warm.losses, losses.sum(1))
    method.mean_prediction.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]))
    batch = replace(batch_of(ALL, 1), progress=0.5)
    step = method(model, batch)
    clean = torch.stack([torch.from_numpy(small_loss(losses[:, k].float().numpy())) for k in (0, 1)], 1)
    torch.testing.assert_close(method.clean.double(), clean, rtol=0, atol=1e-6)
    pairs = method.mixing.draw(batch)
    weight = pairs.weight.double()[:, None]
    p = logits.softmax(-1)
    mixed = weight * FEATURES + (1 - weight) * FEATURES[pairs.other]
    expected = 0.0
    for network in (0, 1):
        w = clean[:, 1 - network, None]
        refined = w * F.one_hot(LABELS, CLASSES) + (1 - w) * p[:, network]
        target = torch.where(w > 0.5, refined, p.mean(1)) ** 2
        target = target / target.sum(1, keepdim=True)
        target = weight * target + (1 - weight) * target[pairs.other]
        q = (mixed @ model.weights[network].T).softmax(1)
        labelled = w[:, 0] > 0.5
        assert 0 < labelled.sum() < ROWS
        of_row = torch.where(labelled, -(target * q.log()).sum(1), 10 * 0.5 * ((q - target) ** 2).mean(1))
        mean = method.mean_prediction[network].double()
        penalty = (0.25 * (0.25 / mean).log()).sum() - (0.25 / mean * (q - mean)).sum(1)
        expected = expected + of_row / labelled.double().mean() + penalty
    torch.testing.assert_close(step.losses, expected, rtol=1e-5, atol=1e-5)


def test_penalty_has_the_gradient_of_the_divergence_from_uniform():
    model = Vectors(2)
    method = begun(DivideMix(), model)
    p = torch.randn(9, 2, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    p.requires_grad_()
    method.mean_prediction = p.detach().mean(0)
    (ours,) = torch.autograd.grad(method._penalty(p).mean(0).sum(), p)
    divergence = (0.25 * (0.25 / p.mean(0)).log()).sum()
    (exact,) = torch.autograd.grad(divergence, p)
    torch.testing.assert_close(ours, exact)
    assert method._penalty(p).mean(0).sum().item() == pytest.approx(divergence.item())


def test_schedules_of_divide_mix():
    method = DivideMix()
    assert [method.warmup(epochs) for epochs in (300, 20, 3, 1)] == [10, 7, 1, 1]
    assert method.ramp(10 / 300, 300) == 0.0
    assert method.ramp(18 / 300, 300) == pytest.approx(0.5)
    assert method.ramp(0.9, 300) == 1.0
    assert method.ramp(1.0, 20) == pytest.approx(1.0)


@every
def test_batches_without_other_rows_are_refused(name):
    method, model = made(name)
    with pytest.raises(ValueError, match=f"the batch has no other rows, which method '{name}' mixes"):
        method(model, replace(batch_of(ALL, 1), second_view=None))


def test_elr_plus_refuses_sharded_weights():
    sharded = SimpleNamespace(distributed_type=DistributedType.FSDP)
    with pytest.raises(ValueError, match=r"method 'elr_plus' averages whole weights.* method='elr'"):
        ELRPlus().setup(Vectors(2), sharded, ROWS)


@every
@pytest.mark.parametrize("ids", [False, True])
def test_accumulation_is_one_batch(name, ids):
    found = []
    for parts in (1, 3):
        method, model = made(name, ids)
        steps(method, model, range(4), parts, ids)
        found.append(weights(model))
    assert (found[0] - weights(made(name, ids)[1])).abs().max() > 1e-2
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@every
@pytest.mark.parametrize("stop", [1, 2])
def test_state_goes_on_where_it_was(name, stop):
    (whole, model), (first, other) = made(name), made(name)
    steps(whole, model, range(4))
    steps(first, other, range(stop))
    again = begun(METHODS[name][0](), other)
    again.load_state_dict(first.state_dict())
    steps(again, other, range(stop, 4))
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("model", ["plain", "vit"])
def test_the_trainer_brings_the_other_rows(model, tmp_path):
    seen = []

    class Watched(Mixup):
        def forward(self, model, batch):
            seen.append(batch)
            return super().forward(model, batch)

    rows, method = make_rows(model), Watched()
    trainer = NoisyTrainer(make_model(model), make_args(tmp_path, max_steps=4), train_dataset=rows, method=method)
    trainer.train()
    name = "input_ids" if model == "plain" else "pixel_values"
    for batch in (seen[0], seen[3]):
        other = other_rows(batch.index.numpy(), len(rows), trainer.args.seed, batch.epoch)
        expected = torch.as_tensor(rows[other.tolist()][name])
        assert torch.equal(batch.second_view[name], expected)
        assert method.mixing.draw(batch).labels.tolist() == np.array(rows["label"])[other].tolist()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ELRPlus, {"beta": 1.0}, r"beta must be in \[0, 1\), got 1"),
        (ELRPlus, {"ramp_ratio": 2.0}, r"ramp_ratio must be in \[0, 1\], got 2"),
        (ELRPlus, {"decay": 1.0}, r"decay must be in \[0, 1\), got 1"),
        (DivideMix, {"unlabelled_weight": -1.0}, "unlabelled_weight must be at least 0, got -1"),
        (DivideMix, {"temperature": 0.0}, r"temperature must be in \(0, 1\], got 0"),
        (DivideMix, {"clean_threshold": 1.0}, r"clean_threshold must be in \(0, 1\), got 1"),
        (DivideMix, {"warmup_epochs": 0}, "warmup_epochs must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)

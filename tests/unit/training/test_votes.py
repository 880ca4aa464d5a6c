"""Training on the votes of several annotators: what the targets are, and what cannot train on them."""

import numpy as np
import pytest
import torch

from hf_noisy.data.weak.vote_table import votes_from_matrix
from hf_noisy.detection import aggregate
from hf_noisy.losses import GCE
from hf_noisy.methods import LossMethod, Mixup
from tests.contract.runs import CLASSES, distance, make_rows, make_trainer, run
from tests.unit.methods.pairs import ROWS, LinearOne, given_labels, make_batch

COUNT = 21
LAYERS = "annotator_layers"


def votes_of(seed=0):
    table = np.random.default_rng(seed).integers(-1, CLASSES, (COUNT, 4))
    table[0] = -1
    table[1, 0] = CLASSES - 1
    return table


def shares(votes):
    counts = votes_from_matrix(votes, CLASSES).counts()
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def soft(targets):
    """Rows whose labels are these distributions; in row 0 nobody voted, which leaves the given label."""
    rows, targets = make_rows(), targets.copy()
    targets[0] = np.eye(CLASSES)[rows["label"][0]]
    return rows.remove_columns("label").add_column("label", targets.astype(np.float32).tolist())


@pytest.mark.parametrize("method", ["cross_entropy", "gce"])
def test_votes_train_as_soft_labels_of_their_shares_and_resume(method, tmp_path):
    votes = votes_of()
    whole = run(tmp_path / "a", method, trainer={"votes": votes}, save_strategy="steps", save_steps=2)
    assert distance(whole, run(tmp_path / "b", method, rows=soft(shares(votes)))) < 1e-6
    parts = run(
        tmp_path / "c",
        method,
        trainer={"votes": votes_from_matrix(votes)},
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    assert distance(whole, parts) < 1e-6
    resumed = run(tmp_path / "d", method, trainer={"votes": votes}, resume=str(tmp_path / "a" / "checkpoint-2"))
    assert distance(whole, resumed) == 0
    with pytest.raises(ValueError, match="votes"):
        run(tmp_path / "e", method, trainer={"votes": votes_of(1)}, resume=str(tmp_path / "a" / "checkpoint-2"))


def test_an_aggregation_trains_by_its_posterior_and_a_column_of_votes_is_read(tmp_path):
    votes = votes_of()
    found = aggregate(votes, num_classes=CLASSES)
    one = run(tmp_path / "a", trainer={"votes": found})
    assert distance(one, run(tmp_path / "b", rows=soft(found.posterior))) < 1e-6
    lists = [[None if vote < 0 else vote for vote in row] for row in votes.tolist()]
    rows = make_rows().add_column("votes", lists)
    assert (
        distance(
            run(tmp_path / "c", rows=rows, trainer={"votes": "votes"}), run(tmp_path / "d", rows=soft(shares(votes)))
        )
        < 1e-6
    )


def test_checked_rows_overrule_votes_and_classes_weigh_by_them(tmp_path):
    votes, checked = votes_of(), np.full(COUNT, -1)
    checked[:3] = [1, 0, 2]
    targets = shares(votes)
    targets[:3] = np.eye(CLASSES)[checked[:3]]
    rows = make_rows().remove_columns("label").add_column("label", targets.astype(np.float32).tolist())
    options = {"votes": votes, "checked": checked, "class_weight": "balanced"}
    one = run(tmp_path / "a", trainer=options)
    assert distance(one, run(tmp_path / "b", rows=rows, trainer={"class_weight": "balanced"})) < 1e-6


def test_the_loss_of_a_distribution_is_the_mean_over_its_classes():
    targets = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(4), ROWS))
    targets[0] = torch.eye(4)[2]
    batch, model, loss = make_batch(torch.arange(ROWS), given_labels()), LinearOne(), GCE()
    batch.labels = targets
    logits = model(torch.arange(ROWS)).logits
    expected = sum(targets[:, label] * loss(logits, torch.full((ROWS,), label)) for label in range(4))
    torch.testing.assert_close(LossMethod(loss)(model, batch).losses, expected)


def test_layers_learn_the_votes_and_not_the_labels_accumulate_and_resume(tmp_path):
    votes = votes_of()
    rows = make_rows()
    others = rows.remove_columns("label").add_column("label", rows["label"][::-1])
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path / "a", LAYERS, trainer={"votes": votes}, **options)
    assert distance(whole, run(tmp_path / "b", LAYERS, rows=others, trainer={"votes": votes})) < 1e-6
    assert distance(whole, run(tmp_path / "c", LAYERS, trainer={"votes": votes_of(1)})) > 1e-4
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    accumulated = run(tmp_path / "d", LAYERS, trainer={"votes": votes}, **parts)
    assert distance(whole, accumulated) < 1e-5
    assert (whole.method.matrices - accumulated.method.matrices).abs().max() < 1e-4
    resumed = run(tmp_path / "e", LAYERS, trainer={"votes": votes}, resume=str(tmp_path / "a" / "checkpoint-2"))
    assert distance(whole, resumed) == 0
    assert torch.equal(whole.method.matrices, resumed.method.matrices)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (LAYERS, {}, "annotator_layers learns from votes; pass votes="),
        ("cross_entropy", {"votes": np.zeros((3, 2), int)}, "votes are on 3 rows, but train_dataset has 21"),
        ("cross_entropy", {"votes": np.full((21, 2), 7)}, "votes are of 8 classes, but the model has 3"),
        ("cross_entropy", {"votes": "answers"}, "votes='answers' is no column of train_dataset, which has input_ids"),
        ("auto", {"votes": votes_of()}, "with votes, take 'cross_entropy'"),
        ("elr", {"votes": votes_of()}, "votes are soft labels, which method ELR does not take"),
        (Mixup(), {"votes": votes_of()}, "which method Mixup does not take"),
        (LAYERS, {"votes": votes_of(), "checked": np.arange(21) % 2}, "add the checked labels to the votes"),
    ],
)
def test_what_cannot_train_on_votes_is_refused(method, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, method, trainer=options)


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_votes_on_other_tasks_are_refused(kind, tmp_path):
    with pytest.raises(ValueError, match="votes are one class for each example"):
        make_trainer(tmp_path, model=kind, trainer={"votes": votes_of()})


def test_votes_of_a_stream_and_lists_of_several_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="votes need a train_dataset with a length"):
        make_trainer(tmp_path, rows=make_rows().to_iterable_dataset(), trainer={"votes": votes_of()}, max_steps=1)
    rows = make_rows().add_column("votes", [[0], [1, 2]] + [[0]] * 19)
    with pytest.raises(ValueError, match="must have an entry for each annotator"):
        make_trainer(tmp_path, rows=rows, trainer={"votes": "votes"})

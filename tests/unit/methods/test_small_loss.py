import math

import pytest
import torch
from accelerate import Accelerator

from hf_noisy.methods.method import Batch
from hf_noisy.methods.small_loss import SmallLoss

CLASSES = 4


def selection(forget_rate=None, ramp_epochs=None, rows: int = 10, rankings: int = 1) -> SmallLoss:
    found = SmallLoss(forget_rate, ramp_epochs)
    found.setup(rankings, rows, Accelerator(cpu=True))
    return found


def select(chosen: SmallLoss, rows, losses, epoch: int, num_epochs: int = 30, cross_entropy=None):
    index, losses = torch.tensor(rows), torch.tensor(losses).view(len(rows), -1)
    batch = Batch({}, index, index, 0.0, epoch, num_epochs)
    ranked = losses[:, 0] if cross_entropy is None else torch.tensor(cross_entropy)
    return chosen(losses, ranked, batch, CLASSES)


TEN = list(range(10))
LOSSES = [0.5, 0.1, 3.0, 0.7, 0.2, 2.0, 0.3, 0.9, 0.4, 0.6]


def test_all_rows_are_kept_in_the_first_epoch():
    chosen = selection(0.4, ramp_epochs=1)
    for losses in (LOSSES, [100.0] * 10):
        found = select(chosen, TEN, losses, epoch=0)
        assert found.kept.all()
        assert found.share == 1.0
        chosen.after_step()


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_as_many_rows_are_kept_as_were_meant_to(rate):
    chosen = selection(rate, ramp_epochs=1)
    select(chosen, TEN, LOSSES, epoch=0)
    chosen.after_step()
    found = select(chosen, TEN, LOSSES, epoch=1)
    smallest = sorted(LOSSES)[: round(10 * (1 - rate))]
    assert [loss in smallest for loss in LOSSES] == found.kept[:, 0].tolist()
    assert float(found.share) == pytest.approx(1 - rate)


def test_the_rate_rises_with_the_epochs():
    chosen = selection(0.4, ramp_epochs=4)
    shares = []
    for epoch in range(6):
        shares.append(float(select(chosen, TEN, LOSSES, epoch).share))
        chosen.after_step()
    assert shares == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.6])


@pytest.mark.parametrize(("num_epochs", "length"), [(1, 1), (2, 1), (3, 1), (4, 2), (10, 4), (30, 10), (200, 10)])
def test_the_ramp_is_ten_epochs_or_a_third(num_epochs, length):
    chosen = selection(0.5)
    expected = [1 - 0.5 * min(epoch / length, 1) for epoch in range(length + 2)]
    shares = [float(select(chosen, TEN, LOSSES, epoch, num_epochs).share) for epoch in range(length + 2)]
    assert shares == pytest.approx(expected)


def test_all_micro_batches_of_a_step_see_one_threshold():
    chosen = selection(0.5, ramp_epochs=1)
    select(chosen, TEN, LOSSES, epoch=0)
    chosen.after_step()
    # Half of the losses are at most 0.5. The first part leaves large losses in the table, which would raise that.
    first = select(chosen, [0, 1, 4, 6], [9.0, 9.0, 9.0, 9.0], epoch=1)
    second = select(chosen, [2, 3, 5, 8], [0.5, 0.51, 0.6, 0.1], epoch=1)
    assert not first.kept.any()
    assert second.kept[:, 0].tolist() == [True, False, False, True]
    chosen.after_step()
    # Now: 0.1, 0.5, 0.51, 0.6, 0.6, 0.9, 9, 9, 9, 9.
    assert select(chosen, [2, 3], [0.6, 0.61], epoch=1).kept[:, 0].tolist() == [True, False]


def test_rows_without_a_loss_do_not_count():
    chosen = selection(0.5, ramp_epochs=1)
    select(chosen, [0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0], epoch=0)
    chosen.after_step()
    assert select(chosen, [4, 5], [2.0, 2.1], epoch=1).kept[:, 0].tolist() == [True, False]
    assert select(selection(0.5, ramp_epochs=1), [4, 5], [2.0, 99.0], epoch=1).kept.all()


def test_an_infinite_loss_is_a_large_loss():
    chosen = selection(0.5, ramp_epochs=1)
    select(chosen, [0, 1, 2, 3], [1.0, 2.0, math.inf, math.inf], epoch=0)
    chosen.after_step()
    assert select(chosen, [0, 1, 2], [1.0, 2.0, math.inf], epoch=1).kept[:, 0].tolist() == [True, True, False]


def test_each_ranking_has_a_threshold_of_its_own():
    chosen = selection(0.5, ramp_epochs=1, rows=4, rankings=2)
    table = [[1.0, 40.0], [2.0, 30.0], [3.0, 20.0], [4.0, 10.0]]
    select(chosen, [0, 1, 2, 3], table, epoch=0)
    chosen.after_step()
    kept = select(chosen, [0, 1, 2, 3], table, epoch=1).kept
    assert kept.tolist() == [[True, False], [True, False], [False, True], [False, True]]


def test_rate_is_the_share_of_labels_below_chance():
    chosen = selection(ramp_epochs=2)
    chance = math.log(CLASSES)
    # The losses that rank are others: it is cross-entropy that tells what chance is.
    ranked, entropies = [0.0] * 10, [chance - 0.01] * 7 + [chance + 0.01] * 3
    assert select(chosen, TEN, ranked, 0, cross_entropy=entropies).forget_rate == 0.0
    chosen.after_step()
    found = select(chosen, TEN, ranked, 1, cross_entropy=[0.1] * 10)
    assert float(found.forget_rate) == pytest.approx(0.3)
    assert float(found.share) == pytest.approx(0.85)


def test_rate_is_estimated_at_the_start_of_each_epoch_until_the_ramp_has_ended():
    chosen, rates = selection(ramp_epochs=2), []
    for epoch, count in enumerate([1, 2, 3, 4, 5]):
        for half in (TEN[:5], TEN[5:]):
            entropies = [5.0 if row < count else 0.1 for row in half]
            rates.append(float(select(chosen, half, [0.0] * 5, epoch, cross_entropy=entropies).forget_rate))
            chosen.after_step()
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])


def test_no_more_is_forgotten_than_labels_can_be_wrong():
    chosen = selection(ramp_epochs=1)
    select(chosen, TEN, [9.0] * 10, 0)
    assert float(select(chosen, TEN, [9.0] * 10, 1).forget_rate) == pytest.approx(1 - 1 / CLASSES)


def test_estimate_survives_a_resume_within_its_epoch():
    chosen = selection(ramp_epochs=1)
    select(chosen, TEN, [5.0] * 3 + [0.1] * 7, 0)
    chosen.after_step()
    assert float(select(chosen, [0, 1], [0.1, 0.1], 1).forget_rate) == pytest.approx(0.3)
    chosen.after_step()
    again = selection(ramp_epochs=1)
    again.load_state_dict(chosen.state_dict())
    # One row is below chance by now, but the rate is that of the start of the epoch.
    assert float(select(again, [2], [0.1], 1).forget_rate) == pytest.approx(0.3)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"forget_rate must be in \[0, 1\), got .*; pass None to have it estimated"):
        SmallLoss(rate, None)


def test_bad_ramps_are_refused():
    with pytest.raises(ValueError, match="ramp_epochs must be an integer of at least 1, got 0; the paper uses 10"):
        SmallLoss(None, 0)

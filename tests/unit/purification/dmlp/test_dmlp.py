import pickle
import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher

from hf_noisy.purification.dmlp import correction
from hf_noisy.purification.dmlp.combine import combine, fit_transition, fit_weights
from hf_noisy.purification.dmlp.correction import Correction, Head, InnerRidge
from hf_noisy.purification.dmlp.dmlp import DMLP, dmlp_posterior, ridge_posterior
from hf_noisy.purification.dmlp.ridge import trusted_rows
from hf_noisy.purification.policies import purify

pytestmark = pytest.mark.filterwarnings("ignore:no clean row has class")


def problem(rows=600, clean=60, noise=0.4, classes=3, seed=0, distance=1.2):
    draw = np.random.default_rng(seed)
    true = draw.permutation(np.arange(rows) % classes)
    features = (distance * draw.normal(size=(classes, 8))[true] + draw.normal(size=(rows, 8))).astype(np.float32)
    given = np.where(draw.uniform(size=rows) < noise, (true + 1) % classes, true)
    handed = (features[:clean], true[:clean], given[:clean])
    return {"features": features[clean:], "label": given[clean:]}, handed, true[clean:]


def accuracy(result, true):
    return (np.asarray(result["label_posterior"]).argmax(1) == true).mean()


def purified(purifier, dataset):
    return dataset.with_format("numpy").map(purifier, batched=True, batch_size=None)


@pytest.mark.parametrize("noise", [0.2, 0.4])
def test_more_labels_are_right_than_given_or_by_the_baseline(noise):
    batch, handed, true = problem(noise=noise)
    purifier = DMLP(*handed, epochs=40)
    result = purifier(batch)
    assert result["label_posterior"].dtype == np.float32
    np.testing.assert_allclose(result["label_posterior"].sum(1), 1, atol=1e-5)
    assert accuracy(result, true) > max((batch["label"] == true).mean(), accuracy(purifier.baseline(batch), true))
    assert set(purifier.report["weights"]) == {"ridge", "head", "given"}
    assert purifier.report["transition_matrix"].argmax(1).tolist() == [0, 1, 2]


def test_the_function_and_the_step_of_map_agree():
    batch, (features, labels, given), _ = problem()
    rows = {"clean_features": features, "clean_labels": labels, "clean_given": given}
    purifier = DMLP(features, labels, given, epochs=3)
    expected = purifier(batch)["label_posterior"]
    found = dmlp_posterior(batch["features"], batch["label"], **rows, epochs=3)
    np.testing.assert_array_equal(found, expected)
    by_name = purify(Dataset.from_dict(batch), "dmlp", "flag", **rows, epochs=3)
    np.testing.assert_array_equal(np.float32(by_name["label_posterior"]), expected)
    names = [DMLP(features, labels, epochs=1, paper_exact=True), DMLP(clean="trusted", epochs=1)]
    assert [made(batch) and made.report["purifier"] for made in names] == ["dmlp_paper", "dmlp_trusted"]


def test_checked_rows_are_certain_and_help_the_others():
    batch, _, true = problem()
    given, known = batch["label"], np.arange(len(true)) % 10 == 0
    checked = np.where(known, true, -1)
    found = dmlp_posterior(batch["features"], given, checked=checked, epochs=40)
    np.testing.assert_array_equal(found[known], np.eye(3)[true[known]])
    baseline = ridge_posterior(batch["features"], given, checked=checked.tolist())
    np.testing.assert_array_equal(baseline[known], np.eye(3)[true[known]])
    assert (found.argmax(1) == true).mean() > max((given == true).mean(), (baseline.argmax(1) == true).mean())
    expected = DMLP(batch["features"][known], true[known], given[known], epochs=40)(
        {"features": batch["features"][~known], "label": given[~known]}
    )
    np.testing.assert_array_equal(found[~known], expected["label_posterior"])
    everything = dmlp_posterior(batch["features"], given, checked=true)
    np.testing.assert_array_equal(everything, np.eye(3)[true])
    for wrong, message in (
        (np.full(len(true), -1), "must have the same number of rows, at least 2, got 0 and 0"),
        (known, "checked has True in row 0|checked has np.True_ in row 0"),
        (true[1:], "a class or -1 for each of the"),
    ):
        with pytest.raises(ValueError, match=message):
            dmlp_posterior(batch["features"], given, checked=wrong)


def test_the_second_map_is_a_hit_of_the_cache(tmp_path):
    batch, handed, true = problem()
    Dataset.from_dict(batch).save_to_disk(tmp_path / "rows")
    dataset = Dataset.load_from_disk(tmp_path / "rows")
    first = purified(DMLP(*handed, epochs=5), dataset)
    again = DMLP(*handed, epochs=5)
    second = purified(again, dataset)
    assert second._fingerprint == first._fingerprint
    assert second.cache_files == first.cache_files
    assert again.report is None  # it was not called
    assert accuracy(second, true) > 0.6
    assert purified(DMLP(*handed, epochs=6), dataset)._fingerprint != first._fingerprint


def test_a_call_does_not_change_the_fingerprint():
    batch, handed, _ = problem()
    purifier = DMLP(*handed, epochs=2)
    before = Hasher.hash(purifier)
    result = purifier(batch)["label_posterior"]
    assert Hasher.hash(purifier) == before
    assert purifier.report is not None
    copy = pickle.loads(pickle.dumps(purifier))
    np.testing.assert_array_equal(copy(batch)["label_posterior"], result)


def test_lists_give_what_arrays_give():
    batch, handed, _ = problem(rows=120, clean=30)
    lists = {"features": batch["features"].tolist(), "label": batch["label"].tolist()}
    purifier = DMLP(*handed, epochs=3)
    expected = purifier(batch)["label_posterior"]
    np.testing.assert_allclose(purifier(lists)["label_posterior"], expected, atol=1e-4)


def test_chunks_cover_every_row_and_hardly_change_the_result():
    batch, handed, true = problem(rows=900)
    whole = DMLP(*handed, epochs=40)(batch)
    cut = DMLP(*handed, epochs=40, chunk_rows=250)(batch)
    assert abs(accuracy(whole, true) - accuracy(cut, true)) < 0.03
    rows = np.concatenate([np.arange(840)[part] for part in Correction(3, chunk_rows=250)._chunks(840)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(840))


def test_nothing_of_the_size_of_all_features_is_scaled(monkeypatch):
    sizes = []
    scale = correction.Scaling.__call__
    monkeypatch.setattr(
        correction.Scaling, "__call__", lambda self, part: sizes.append(len(part)) or scale(self, part)
    )
    batch, handed, _ = problem(rows=900)
    Correction(3, epochs=2, chunk_rows=250).fit(batch["features"], batch["label"], handed[0], handed[1])
    assert max(sizes) <= 250


def test_a_clean_row_is_left_out_of_the_branch_that_speaks_of_it():
    batch, handed, _ = problem(clean=60)
    last = np.flatnonzero(handed[1] == 0)[0]
    fit = Correction(3, epochs=30, overwrite_every=10).fit(batch["features"], batch["label"], handed[0], handed[1])
    features = handed[0].copy()
    features[last] += 50.0  # what the other half learns must not depend on this row
    moved = Correction(3, epochs=30, overwrite_every=10).fit(batch["features"], batch["label"], features, handed[1])
    folds = correction._folds(handed[1], 2)
    other = folds == folds[last]
    other[last] = False
    np.testing.assert_allclose(fit.left_out[other], moved.left_out[other], atol=1e-6)
    assert np.abs(fit.left_out[folds != folds[last]] - moved.left_out[folds != folds[last]]).max() > 1e-6


def test_as_printed_labels_move_by_the_classifier_alone():
    batch, handed, true = problem(noise=0.2)
    exact = Correction(3, branches=1, epochs=10, overwrite_every=10, paper_exact=True)
    labels = []
    exact._start = lambda given: labels.append(Correction._start(exact, given)) or labels[-1]
    moved = []
    head_epoch = correction.Head.epoch
    correction.Head.epoch = lambda self, part, targets: (
        moved.append(labels[0].clone()) or head_epoch(self, part, targets)
    )
    try:
        exact.fit(batch["features"], batch["label"], handed[0], handed[1])
    finally:
        correction.Head.epoch = head_epoch
    given = torch.eye(3)[torch.from_numpy(batch["label"])]
    assert 0 < (moved[-1][:, 0] - given).abs().max() < 1e-3  # ten steps of 0.01 on averaged losses
    assert (labels[0][:, 0].sum(1) - 1).abs().max() < 1e-5  # the last epoch replaced them by probabilities
    assert accuracy(DMLP(*handed, paper_exact=True, epochs=40)(batch), true) > 0.8


def test_trusted_rows_serve_where_there_are_no_clean_ones():
    batch, _, true = problem(noise=0.3)
    purifier = DMLP(clean="trusted", epochs=20)
    result = purifier(batch)
    assert accuracy(result, true) > (batch["label"] == true).mean()
    assert purifier.report["clean"] == "trusted"
    chosen = trusted_rows(batch["features"], batch["label"], 3)
    assert np.bincount(batch["label"][chosen]).tolist() == [10, 10, 10]
    assert (batch["label"] == true)[chosen].mean() > (batch["label"] == true).mean()
    assert len(result["label_posterior"]) == len(true)
    with pytest.raises(ValueError, match="found no rows whose given label the features predict"):
        trusted_rows(np.arange(8.0)[:, None] // 2, np.arange(8) % 2, 2)


def test_a_predictor_that_knows_nothing_has_no_weight():
    draw = np.random.default_rng(0)
    labels = np.arange(300) % 3
    predicted = np.where(draw.uniform(size=300) < 0.8, labels, (labels + 1) % 3)
    good = np.log(np.where(np.eye(3)[predicted] == 1, 0.8, 0.1))
    noise = np.log(draw.dirichlet(np.ones(3), 300))
    weights = fit_weights([good, noise], labels)
    assert weights[0] > 0.5 > 10 * weights[1]
    np.testing.assert_allclose(np.exp(combine([good, noise], weights)).sum(1), 1)


def test_the_transition_matrix_is_found():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 6000)
    expected = np.array([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.1, 0.1, 0.8]])
    given = (draw.uniform(size=(6000, 1)) > expected[true].cumsum(1)).sum(1)
    scores = 2.0 * np.eye(3)[true] + draw.normal(size=(6000, 3))  # log-odds that are calibrated
    log_p = 2.0 * scores - np.log(np.exp(2.0 * scores).sum(1, keepdims=True))
    found = fit_transition(log_p, given)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_a_class_without_clean_rows_is_told():
    batch, handed, _ = problem()
    rows = handed[1] != 2
    with pytest.warns(UserWarning, match="no clean row has class 2; add one"):
        result = DMLP(*(part[rows] for part in handed), epochs=2)(batch)
    assert result["label_posterior"].shape == (540, 3)
    assert np.isfinite(result["label_posterior"]).all()


def test_duplicates_are_told_and_kept():
    batch, handed, _ = problem()
    twice = {name: np.concatenate([values, values[:7]]) for name, values in batch.items()}
    with pytest.warns(UserWarning, match="7 rows have the features of another row; all are kept"):
        result = DMLP(*handed, epochs=2)(twice)["label_posterior"]
    np.testing.assert_allclose(result[-7:], result[:7], atol=1e-5)


def test_constant_columns_are_told():
    batch, handed, _ = problem()
    batch["features"][:, 3] = 1.0
    with pytest.warns(UserWarning, match="1 of 8 columns of features are constant"):
        assert np.isfinite(DMLP(*handed, epochs=2)(batch)["label_posterior"]).all()


def test_bad_input_is_refused():
    batch, (features, labels, given), _ = problem(rows=100, clean=20)
    spoiled = {**batch, "features": np.where(np.arange(80)[:, None] == 4, np.nan, batch["features"])}
    with pytest.raises(ValueError, match="features must be finite, but 1 rows have NaN"):
        DMLP(features, labels)(spoiled)
    with pytest.raises(ValueError, match="clean_features must be finite"):
        DMLP(np.full_like(features, np.nan), labels)
    with pytest.raises(ValueError, match="clean_features and clean_labels are needed"):
        DMLP()
    with pytest.raises(ValueError, match="takes no clean_features"):
        DMLP(features, clean="trusted")
    with pytest.raises(ValueError, match="clean must be 'given' or 'trusted', got 'all'"):
        DMLP(features, labels, clean="all")
    with pytest.raises(ValueError, match="same number of rows, at least 2, got 20 and 19"):
        DMLP(features, labels[:-1])
    with pytest.raises(ValueError, match="one label per clean row, got 3 for 20 rows"):
        DMLP(features, labels, given[:3])
    with pytest.raises(ValueError, match="have 5 columns, but the features to purify have 8"):
        DMLP(features[:, :5], labels)(batch)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        DMLP(features, labels, epochs=0)
    with pytest.raises(ValueError, match="no rows to purify"):
        DMLP(features, labels, num_classes=3)({"features": features[:0], "label": labels[:0]})


def test_sorted_rows_are_no_worse():
    batch, handed, true = problem(rows=900, noise=0.3)
    order = np.argsort(true, kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = DMLP(*handed, epochs=40, chunk_rows=300)({name: values[order] for name, values in batch.items()})
    assert accuracy(found, true[order]) > 0.85


def test_weights_of_the_inner_ridge():
    features = torch.eye(2)
    weights = InnerRidge.fit(features, penalty=1.0).weights(features, torch.eye(2))
    np.testing.assert_allclose(weights, 0.5 * np.eye(2), atol=1e-6)
    with pytest.raises(ValueError, match=r"penalty=0\.0 leaves the ridge regression singular"):
        InnerRidge.fit(torch.zeros(2, 2), penalty=0.0)


def test_the_classifier_learns():
    head, features = Head(2, 1, 2), torch.eye(2)
    for _ in range(200):
        head.epoch(features, labels=torch.eye(2)[:, None])
    assert head(features)[:, 0].argmax(1).tolist() == [0, 1]

import numpy as np
import pytest

from hf_noisy.detection import aum, data_map, fit_evidence
from hf_noisy.dygen.prior import centroid_dynamics, evidence_prior, neighbour_probabilities, paper_prior, suspicion
from hf_noisy.dynamics.scores import dynamics_score
from tests.unit.dygen.synthetic import default_class, make, make_store, symmetric

BOTH = pytest.mark.parametrize("prior", [evidence_prior, paper_prior])


def slow_dynamics(made, ddof):
    """Mean, deviation and score a row, the distances written out."""
    trajectories, rows = made.trajectories, len(made.given)
    branches = []
    for branch in range(trajectories.num_branches):
        distances = np.zeros((trajectories.num_epochs, rows))
        for position, epoch in enumerate(trajectories.epochs):
            embeddings = trajectories.embeddings("train", epoch, branch).astype(np.float64)
            for row, label in enumerate(made.given):
                distances[position, row] = np.linalg.norm(embeddings[row] - embeddings[made.given == label].mean(0))
        branches.append(np.stack(dynamics_score(distances, ddof=ddof)))
    return np.array(branches)


@pytest.mark.parametrize("ddof", [0, 1])
def test_dynamics_are_those_of_the_given_labels(ddof, tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), rows=40)
    found = centroid_dynamics(made.trajectories, made.given, ddof=ddof)
    np.testing.assert_allclose(np.stack(found), slow_dynamics(made, ddof).mean(0))


def test_published_score_is_that_of_the_dynamics(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), rows=40)
    found = paper_prior(made.trajectories, made.given, 0.3).suspicion
    np.testing.assert_array_equal(found, centroid_dynamics(made.trajectories, made.given, ddof=1).score)


def test_evidence_needs_no_dynamics(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_noisy.dygen.prior.distances_by_epoch", lambda *_: pytest.fail("computed the dynamics"))
    made = make(tmp_path, symmetric(0.3, 3))
    evidence_prior(made.trajectories, made.given)


@BOTH
@pytest.mark.parametrize("transition", [symmetric(0.3, 3), default_class(0.4, 3)], ids=["symmetric", "default class"])
def test_prior_is_nearer_the_truth_than_the_labels(prior, transition, tmp_path):
    made = make(tmp_path, transition)
    rate = float((made.given != made.true).mean())
    found = prior(made.trajectories, made.given, rate)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1)
    assert (found.noise_rate, found.estimated) == (rate, False)
    corrected = found.probabilities.mean(0).argmax(1)
    assert (corrected == made.true).mean() > 1 - rate / 2
    wrong = made.given != made.true
    assert wrong[found.suspects].mean() > 2 * wrong.mean()
    of_test = found.of(made.trajectories, "test")
    np.testing.assert_allclose(of_test.sum(1), 1)
    assert (of_test.argmax(1) == made.test_true).mean() > 0.9


@BOTH
def test_rate_is_estimated_where_none_is_given(prior, tmp_path):
    made = make(tmp_path, symmetric(0.3, 3))
    found, again = (prior(made.trajectories, made.given) for _ in range(2))
    assert found.estimated
    assert 0.1 < found.noise_rate < 0.4
    assert found.noise_rate == again.noise_rate
    np.testing.assert_array_equal(found.probabilities, again.probabilities)


def test_evidence_prior_is_the_posterior_of_the_recorded_features(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3))
    found = evidence_prior(made.trajectories, made.given, class_prior="uniform", seed=3)
    expected = fit_evidence(made.trajectories.features("train"), made.given, class_prior="uniform", seed=3)
    np.testing.assert_array_equal(found.probabilities, expected.posterior[None])
    np.testing.assert_allclose(found.suspicion, suspicion(np.log(expected.probabilities), made.given), atol=1e-6)
    assert found.noise_rate == expected.noise_rate.rate
    of_test = expected.predict(made.trajectories.features("test"))
    np.testing.assert_array_equal(found.of(made.trajectories, "test"), of_test)


def test_evidence_without_features_is_that_of_the_first_embeddings(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), features=False)
    first = np.concatenate([made.trajectories.embeddings("train", 1, branch) for branch in range(2)], axis=1)
    found = evidence_prior(made.trajectories, made.given)
    np.testing.assert_array_equal(found.probabilities[0], fit_evidence(first, made.given).posterior)
    assert found.of(made.trajectories, "test").shape == (100, 3)


def test_evidence_prior_does_not_depend_on_the_noise_rate(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3))
    one, other = (evidence_prior(made.trajectories, made.given, rate) for rate in (0.05, 0.6))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.suspects, other.suspects)


def test_noise_that_the_classifier_has_learned_is_contradicted_by_features(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    given = np.where(rng.random(600) < 0.4, 0, true)
    logits = 3 * np.eye(3)[given] + rng.normal(size=(1, 600, 3))
    trajectories = make_store(tmp_path, {"train": [(np.zeros((1, 600, 2)), logits)]}, {"train": given})
    trajectories.write_features("train", (3 * np.eye(3)[true] + rng.normal(size=(600, 3))).astype(np.float32))
    found = evidence_prior(trajectories, given)
    assert (found.probabilities[0].argmax(1) == true).mean() > (given == true).mean() + 0.15


def test_suspicion_is_positive_where_another_class_is_more_probable():
    log_probabilities = np.log(np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2]]))
    found = suspicion(log_probabilities, np.array([0, 1, 1]))
    np.testing.assert_allclose(found, [-np.log(3.5), np.log(3.5), 0.0], atol=1e-12)
    np.testing.assert_allclose(np.exp(log_probabilities).sum(1), 1)  # the argument is unchanged


def test_evidence_suspects_are_rows_with_less_than_half_left_for_their_label(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), spread=3.0)
    found = evidence_prior(made.trajectories, made.given, 0.3)
    own = found.probabilities[0, np.arange(300), made.given]
    np.testing.assert_array_equal(found.suspects, own < 0.5)
    assert 0.2 < found.suspects.mean() < 0.4
    # Any other threshold would suspect other rows.
    assert (np.histogram(own, [0.4, 0.5, 0.7])[0] > 0).all()


def test_published_suspects_are_the_highest_scores_of_each_branch(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), rows=50)
    found = paper_prior(made.trajectories, made.given, 0.3)
    for branch, score in enumerate(slow_dynamics(made, 1)[:, 2]):
        trusted = np.argsort(-score)[15:]
        np.testing.assert_array_equal(found.probabilities[branch, trusted].argmax(1), made.given[trusted])
    both = [np.argsort(-score)[:15] for score in slow_dynamics(made, 1)[:, 2]]
    assert set(np.flatnonzero(found.suspects)) == set(both[0]) & set(both[1])


@pytest.mark.parametrize("by", ["aum", "data_map"])
def test_published_suspects_by_other_scores(by, tmp_path):
    made = make(tmp_path, symmetric(0.3, 3))
    found = paper_prior(made.trajectories, made.given, 0.3, suspects_by=by)
    logits = made.trajectories.logits("train")
    for branch in range(2):
        own = list(logits[:, branch])
        score = -aum(made.given, own) if by == "aum" else -data_map(made.given, own).confidence
        suspected = found.probabilities[branch].argmax(1) != made.given
        assert score[suspected].min() >= np.sort(score)[-int(0.3 * len(score))]
        assert suspected.sum() > 50
    with pytest.raises(ValueError, match="suspects_by must be distance, aum, data_map, got 'loss'"):
        paper_prior(made.trajectories, made.given, 0.3, suspects_by="loss")


def test_published_prior_with_rate_zero_keeps_every_label(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), rows=50)
    found = paper_prior(made.trajectories, made.given, 0.0)
    assert not found.suspects.any()
    np.testing.assert_array_equal(found.probabilities, np.eye(3)[np.stack([made.given, made.given])])


def test_published_prior_of_duplicates_keeps_the_labels_of_trusted_rows(tmp_path):
    # Ten times the same point with two labels: neighbours cannot tell the rows apart.
    labels = np.array([0] * 7 + [1] * 3)
    trajectories = make_store(tmp_path, {"train": [(np.ones((1, 10, 2)), np.zeros((1, 10, 2)))]})
    np.testing.assert_array_equal(paper_prior(trajectories, labels, 0.0).probabilities[0].argmax(1), labels)


@BOTH
def test_one_epoch_and_one_branch_are_enough(prior, tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), epochs=1, branches=1)
    found = prior(made.trajectories, made.given)
    np.testing.assert_array_equal(centroid_dynamics(made.trajectories, made.given, ddof=1).deviation, 0)
    assert (found.probabilities[0].argmax(1) == made.true).mean() > (made.given == made.true).mean()


@BOTH
def test_class_without_rows_gets_no_row(prior, tmp_path, recwarn):
    made = make(tmp_path, symmetric(0.2, 4), absent=1)
    found = prior(made.trajectories, made.given, 0.2)
    assert 1 not in found.probabilities.argmax(-1)
    assert 1 not in found.of(made.trajectories, "test").argmax(1)
    assert len(recwarn) <= 1
    assert 0.0 < prior(made.trajectories, made.given).noise_rate < 0.5


def test_fewer_reference_rows_than_neighbours():
    found = neighbour_probabilities(np.array([[0.0], [3.0]]), np.array([0, 1]), np.array([[1.0]]), 2)
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3]])


def test_no_reference_row_is_refused():
    with pytest.raises(ValueError, match="every row is suspected, so no reference rows are left"):
        neighbour_probabilities(np.zeros((0, 2)), np.zeros(0, int), np.zeros((1, 2)), 2)

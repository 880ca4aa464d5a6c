import inspect
import json
import warnings

import numpy as np
import pytest
import torch

from hf_noisy.core.files import read_sealed, write_sealed
from hf_noisy.detection import evidence
from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.dygen.pipeline import CONFIG_FILE, WEIGHTS_FILE, DyGen
from hf_noisy.dygen.prior import centroid_dynamics
from hf_noisy.dygen.vae import dirichlet_mode
from hf_noisy.dynamics.store import Trajectories
from tests.unit.dygen.synthetic import default_class, make, make_store, symmetric

PRESETS = pytest.mark.parametrize("preset", ["evidence", "paper"])
# The published learning rate is meant for many more rows: ten passes over 300 leave the VAE as it was drawn.
ENOUGH = {"evidence": 10, "paper": 300}


def fit(made, noise_rate=0.3, **options) -> DyGen:
    return DyGen.fit(made.trajectories, made.given, noise_rate, show_progress=False, **options)


def posteriors(dygen, made):
    return [dygen.posterior("train"), dygen.posterior("train", made.given), dygen.posterior("test")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), symmetric(0.3, 3))


@pytest.fixture(scope="module")
def fitted(made):
    return fit(made)


@PRESETS
def test_labels_come_out_better_than_they_were_given(preset, made):
    dygen = fit(made, preset=preset, vae_epochs=ENOUGH[preset])
    before = (made.given == made.true).mean()
    corrected = dygen.posterior("train", made.given).argmax(1)
    assert (corrected == made.true).mean() > before + 0.15
    # Rows that were never trained on, without a given label.
    assert (dygen.posterior("test").argmax(1) == made.test_true).mean() > 0.9
    for posterior in posteriors(dygen, made):
        assert posterior.dtype == np.float64
        assert (posterior >= 0).all()
        np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-5)


def test_systematic_noise_is_seen_through_too(tmp_path):
    made = make(tmp_path, default_class(0.35, 3))
    rate = float((made.given != made.true).mean())
    corrected = fit(made, rate).posterior("train", made.given).argmax(1)
    assert (corrected == made.true).mean() > 1 - rate / 2


@pytest.mark.parametrize(("is_trained", "is_weak"), [(False, True), (True, False), (True, True)])
@torch.no_grad()
def test_networks_are_a_third_of_the_posterior_where_they_may_know_more(is_trained, is_weak, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "_WEAK", 1.0 if is_weak else 0.0)
    made = make(tmp_path / "run", symmetric(0.3, 3), encoder_trained=is_trained)
    dygen = fit(made, vae_epochs=2)
    assert dygen.config.with_networks == (is_trained and is_weak)
    w, networks = dygen.vectors(made.trajectories, "test"), dygen._predictions("test", slice(0, 100))
    parts = [dygen.vae.posterior(w, networks), dygen.evidence(w), networks.mean(0)]
    weights = (1 / 3, 1 / 3, 1 / 3) if is_trained and is_weak else (1 / 3, 2 / 3, 0)
    expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    np.testing.assert_allclose(dygen.posterior("test"), expected, atol=1e-6)
    # Of training rows the networks have learned the labels.
    w, labels = dygen.vectors(made.trajectories, "train"), torch.from_numpy(made.given)
    own = dirichlet_mode(dygen.vae.alpha(w, labels)).mean(0)
    expected = own / 3 + 2 / 3 * torch.from_numpy(dygen.prior[0])
    np.testing.assert_allclose(dygen.posterior("train", made.given), expected, atol=1e-6)
    dygen.save_pretrained(tmp_path / "saved")
    loaded = DyGen.from_pretrained(tmp_path / "saved", made.trajectories)
    np.testing.assert_array_equal(loaded.posterior("test"), dygen.posterior("test"))


def test_without_evidence_the_posterior_is_that_of_the_vae(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), features=False, encoder_trained=True)
    dygen = fit(made, vae_epochs=1)
    assert not dygen.config.with_networks
    found = dygen.vae.posterior(dygen.vectors(made.trajectories, "test"), dygen._predictions("test", slice(0, 100)))
    np.testing.assert_allclose(dygen.posterior("test"), found.detach(), atol=1e-6)


def test_what_an_earlier_version_saved_is_read_as_it_was(made, fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    config = read_sealed(tmp_path / CONFIG_FILE, 5)
    del config["with_networks"]
    write_sealed(tmp_path / CONFIG_FILE, config, 5)
    loaded = DyGen.from_pretrained(tmp_path, made.trajectories)
    np.testing.assert_array_equal(loaded.posterior("test"), fitted.posterior("test"))


@pytest.mark.parametrize("is_trained", [False, True])
def test_the_prior_has_the_transition_matrix_of_trained_encoders(is_trained, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "_WEAK", 1.0)  # every predictor is a weak one
    made = make(tmp_path, symmetric(0.3, 3), spread=1.5, encoder_trained=is_trained)
    features = made.trajectories.features("train")
    counted, likely = (fit_evidence(features, made.given, transition=name).posterior for name in ("counted", "likely"))
    assert abs(counted - likely).max() > 0.01
    np.testing.assert_array_equal(fit(made, vae_epochs=1).prior[0], likely if is_trained else counted)


def test_given_labels_count(fitted, made, monkeypatch):
    # The same trajectories under another label are another row; of the training rows other labels are refused.
    monkeypatch.setattr(Trajectories, "check_labels", lambda *_: None)
    as_given, shifted = (fitted.posterior("train", labels) for labels in (made.given, (made.given + 1) % 3))
    rows = np.arange(300)
    assert as_given[rows, made.given].mean() > shifted[rows, made.given].mean() + 0.005


@PRESETS
def test_seed_decides_everything(preset, made):
    torch.manual_seed(1)
    one = fit(made, preset=preset, noise_rate=None, vae_epochs=2, seed=3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = fit(made, preset=preset, noise_rate=None, vae_epochs=2, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    for first, second in zip(posteriors(one, made), posteriors(two, made), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (fit(made, preset=preset, vae_epochs=2, seed=4).posterior("test") != one.posterior("test")).any()


@PRESETS
@pytest.mark.parametrize("features", [True, False])
def test_what_was_saved_gives_the_same_posteriors(preset, features, tmp_path):
    made = make(tmp_path / "run", symmetric(0.3, 3), features=features)
    dygen = fit(made, preset=preset, vae_epochs=2)
    dygen.save_pretrained(tmp_path / "saved" / "dygen")
    assert {file.name for file in (tmp_path / "saved" / "dygen").iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}
    loaded = DyGen.from_pretrained(tmp_path / "saved" / "dygen", Trajectories(tmp_path / "run"))
    for before, after in zip(posteriors(dygen, made), posteriors(loaded, made), strict=True):
        np.testing.assert_array_equal(before, after)
    assert loaded.config == dygen.config
    assert loaded.noise_rate == 0.3
    np.testing.assert_array_equal(loaded.suspects, dygen.suspects)
    np.testing.assert_array_equal(loaded.prior_of("train"), dygen.prior_of("train"))
    with pytest.raises(ValueError, match="the prior of 'test' can be computed only after"):
        loaded.prior_of("test")


def test_saving_again_replaces_and_saving_twice_is_the_same(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    DyGen.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert json.loads(before[CONFIG_FILE])["preset"] == "evidence"


def test_interrupted_saving_leaves_no_half_file(fitted, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_noisy.core.files.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        fitted.save_pretrained(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / WEIGHTS_FILE).exists()
    with pytest.raises(FileNotFoundError, match=f"holds no {CONFIG_FILE}; save one with DyGen.save_pretrained"):
        DyGen.from_pretrained(tmp_path)


def test_posterior_needs_trajectories(fitted, made, tmp_path):
    fitted.save_pretrained(tmp_path)
    loaded = DyGen.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trajectories are not set; pass them to from_pretrained"):
        loaded.posterior("train")
    loaded.trajectories = made.trajectories
    np.testing.assert_array_equal(loaded.posterior("train"), fitted.posterior("train"))


@PRESETS
def test_dynamics_are_computed_when_asked_for_and_after_loading_too(preset, made, tmp_path):
    dygen = fit(made, preset=preset, vae_epochs=1)
    dygen.save_pretrained(tmp_path)
    loaded = DyGen.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trajectories are not set"):
        loaded.dynamics(made.given)
    loaded.trajectories = made.trajectories
    expected = centroid_dynamics(made.trajectories, made.given, ddof=1 if preset == "paper" else 0)
    for found in (dygen.dynamics(made.given), loaded.dynamics(made.given)):
        np.testing.assert_array_equal(np.stack(found), np.stack(expected))
    with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 300 rows"):
        dygen.dynamics((made.given + 1) % 3)


@pytest.mark.parametrize("rate", [1.0, -0.1, 20.0, float("nan")])
@PRESETS
def test_rate_outside_its_range_is_refused_first(preset, rate, made, monkeypatch):
    # Before a file is read: these labels would be refused next.
    monkeypatch.setattr(Trajectories, "check_labels", lambda *_: pytest.fail("looked at the labels"))
    with pytest.raises(ValueError, match=r"noise_rate must be a number in \[0, 1\), got"):
        fit(made, rate, preset=preset)


def test_unknown_preset_is_refused(made):
    # Users have no type checks: the function below those of the tests is theirs.
    fit = inspect.unwrap(DyGen.fit.__func__)
    with pytest.raises(ValueError, match="preset must be 'evidence' or 'paper', got 'best'"):
        fit(DyGen, made.trajectories, made.given, 0.3, preset="best")


def test_labels_of_another_dataset_are_refused(made):
    swapped = made.given.copy()
    swapped[0] = (swapped[0] + 1) % 3
    for labels in (swapped, made.given[:-1]):
        with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 300 rows"):
            DyGen.fit(made.trajectories, labels, show_progress=False)
    with pytest.raises(ValueError, match="labels must be classes 0 to 2, got 3"):
        DyGen.fit(made.trajectories, made.given + 1, show_progress=False)


def test_labels_of_the_posterior_are_checked(fitted, made):
    with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 300 rows"):
        fitted.posterior("train", (made.given + 1) % 3)
    with pytest.raises(ValueError, match="labels of 'test' must be one class id for each of the 100 rows, got 1"):
        fitted.posterior("test", made.given[:1])
    with pytest.raises(ValueError, match="must be classes 0 to 2"):
        fitted.posterior("test", made.test_true + 1)


@pytest.mark.parametrize("classes", [3, 4])
def test_trajectories_of_another_run_are_refused(classes, fitted, made, tmp_path):
    fitted.save_pretrained(tmp_path / "saved")
    other = make(tmp_path / "other", symmetric(0.3, classes))  # for 3 classes the same rows
    loaded = DyGen.from_pretrained(tmp_path / "saved", other.trajectories)
    for ask in (lambda: loaded.posterior("train"), lambda: loaded.dynamics(other.given)):
        with pytest.raises(ValueError, match="other belong to another run than those that dygen was fitted on"):
            ask()


def test_training_without_a_complete_epoch_is_refused(tmp_path):
    epoch = (np.zeros((2, 4, 3)), np.zeros((2, 4, 2)))
    trajectories = make_store(tmp_path, {"train": [epoch]}, {"train": np.array([0, 1, 0, 1])})
    trajectories.drop_after(0)
    with pytest.raises(ValueError, match="hold no complete epoch; train for at least one"):
        DyGen.fit(trajectories, np.array([0, 1, 0, 1]), 0.1)


@PRESETS
def test_class_without_rows_works(preset, tmp_path):
    made = make(tmp_path, symmetric(0.3, 4), absent=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dygen = fit(made, preset=preset, vae_epochs=ENOUGH[preset])
    assert sum("no row has the given label" in str(warning.message) for warning in caught) <= 1
    assert not [warning for warning in caught if issubclass(warning.category, RuntimeWarning)]
    for posterior in posteriors(dygen, made):
        assert np.isfinite(posterior).all()
        assert 2 not in posterior.argmax(1)
    assert (dygen.posterior("train", made.given).argmax(1) == made.true).mean() > (made.given == made.true).mean()


@PRESETS
def test_a_class_that_no_row_has_gets_no_mass(preset, tmp_path):
    made = make(tmp_path / "run", symmetric(0.3, 4), absent=2)
    dygen = fit(made, preset=preset, vae_epochs=1)
    dygen.save_pretrained(tmp_path / "saved")
    loaded = DyGen.from_pretrained(tmp_path / "saved", made.trajectories)
    for posterior in (*posteriors(dygen, made), *posteriors(loaded, made)):
        assert posterior[:, 2].max() == 0
        np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-6)
    # A person found a row of that class.
    checked = np.where(np.arange(300) == 0, 2, -1)
    assert fit(made, preset=preset, checked=checked, vae_epochs=1).posterior("test")[:, 2].max() > 0


def test_labels_of_one_class_stay_with_the_published_prior(tmp_path):
    made = make(tmp_path, symmetric(0.3, 3))
    rows = {name: len(truth) for name, truth in (("train", made.true), ("test", made.test_true))}
    made.trajectories.manifest["splits"] = {name: {"rows": count, "labels": None} for name, count in rows.items()}
    dygen = DyGen.fit(made.trajectories, np.zeros(300, int), 0.3, preset="paper", vae_epochs=1, show_progress=False)
    assert (dygen.posterior("test").argmax(1) == 0).all()


def test_features_that_say_nothing_are_told_and_not_used(made, tmp_path, caplog):
    without = make(tmp_path / "without", symmetric(0.3, 3), features=False)
    expected = fit(without, None, vae_epochs=ENOUGH["evidence"])
    noise = np.random.default_rng(0).normal(size=(300, 8))
    for name, features in (("constant", np.ones((300, 8))), ("noise", noise)):
        blind = make(tmp_path / name, symmetric(0.3, 3), features=False)
        for split, rows in (("train", 300), ("test", 100)):
            blind.trajectories.write_features(split, features[:rows].astype(np.float32))
        caplog.clear()
        dygen = fit(blind, None, vae_epochs=ENOUGH["evidence"])
        assert "does not use the features of the pretrained encoder, as they say nothing" in caplog.text
        assert dygen.evidence is None
        np.testing.assert_array_equal(dygen.prior, expected.prior)
        posterior = dygen.posterior("train", blind.given)
        np.testing.assert_allclose(posterior, expected.posterior("train", without.given), atol=1e-4)
        assert (posterior.argmax(1) == blind.true).mean() > (blind.given == blind.true).mean()
    caplog.clear()
    assert fit(made, None, vae_epochs=1).evidence is not None
    assert "does not use" not in caplog.text


@PRESETS
@pytest.mark.parametrize(
    ("epochs", "branches"), [*(pytest.param(*some, marks=pytest.mark.slow) for some in [(1, 2), (3, 1)]), (1, 1)]
)
def test_one_epoch_and_one_branch_are_enough(preset, epochs, branches, tmp_path):
    made = make(tmp_path, symmetric(0.3, 3), epochs=epochs, branches=branches)
    dygen = fit(made, preset=preset, vae_epochs=ENOUGH[preset])
    assert dygen.vae.num_branches == branches
    corrected = dygen.posterior("train", made.given).argmax(1)
    assert (corrected == made.true).mean() > (made.given == made.true).mean() + 0.1


@PRESETS
def test_rate_is_estimated_or_taken(preset, made):
    estimated, taken = fit(made, None, preset=preset, vae_epochs=1), fit(made, 0.25, preset=preset, vae_epochs=1)
    assert estimated.config.noise_rate_estimated
    assert 0.1 < estimated.noise_rate < 0.4
    assert (taken.noise_rate, taken.config.noise_rate_estimated) == (0.25, False)


CONSTANTS = {
    # 1,250 steps at least, of 10 batches each epoch.
    "evidence": {"delta": 1.0, "rho": 10.0, "learning_rate": 2e-3, "epochs": 125},
    "paper": {"delta": 1 + 1 / 3, "rho": 5.0, "learning_rate": 1e-4, "epochs": 10},
}


@PRESETS
def test_constants_of_the_presets(preset, made, monkeypatch):
    asked = {}

    def stop(w, labels, alpha, **options):
        asked.update(options, alpha=alpha)
        raise InterruptedError

    monkeypatch.setattr("hf_noisy.dygen.pipeline.fit_vae", stop)
    with pytest.raises(InterruptedError):
        fit(made, preset=preset, seed=3)
    expected = CONSTANTS[preset]
    assert (asked["epochs"], asked["batch_size"], asked["seed"]) == (expected["epochs"], 32, 3)
    assert asked["learning_rate"] == expected["learning_rate"]
    assert asked["delta"] == pytest.approx(expected["delta"])
    # Each row has `rho` of evidence over the floor of its classes.
    np.testing.assert_allclose(asked["alpha"].sum(-1), 3 * expected["delta"] + expected["rho"], rtol=1e-5)


def test_published_constants(made):
    dygen = fit(made, preset="paper", vae_epochs=1)
    assert dygen.config.delta == pytest.approx(1 + 1 / 3)
    assert dygen.config.rho == 5.0
    assert dygen.config.dim == 3 * 6  # the embeddings of all epochs and nothing else
    assert dygen.prior.shape == (2, 300, 3)
    assert set(np.unique(dygen.prior)) == {0.0, 1.0}


def test_prior_of_any_split(fitted, made):
    np.testing.assert_array_equal(fitted.prior_of("train"), fitted.prior[0])
    prior = fitted.prior_of("test")
    np.testing.assert_allclose(prior.sum(1), 1)
    assert (prior.argmax(1) == made.test_true).mean() > 0.9


@PRESETS
@pytest.mark.parametrize("features", [False, True])
def test_checked_rows_are_certain_and_help_the_others(preset, features, tmp_path):
    made = make(tmp_path, default_class(0.5, 3), features=features, spread=2.0)
    checked = np.where(np.arange(300) < 60, made.true, -1)
    known = checked != -1
    dygen = fit(made, None, preset=preset, checked=checked, vae_epochs=5)
    assert dygen.suspects[known].tolist() == (made.given != made.true)[known].tolist()
    assert (dygen.prior[:, known].argmax(-1) == made.true[known]).all()
    dygen.save_pretrained(tmp_path / "saved")
    for one in (dygen, DyGen.from_pretrained(tmp_path / "saved", made.trajectories)):
        np.testing.assert_array_equal(one.posterior("train", made.given)[known], np.eye(3)[made.true[known]])
        assert one.posterior("train")[known].max() < 1  # without given labels, as for any rows
    plain = fit(made, None, preset=preset, vae_epochs=5)
    assert plain.checked is None
    if preset == "evidence":
        right = [(one.prior[0, ~known].argmax(1) == made.true[~known]).mean() for one in (dygen, plain)]
        assert right[0] > right[1]
        assert abs(dygen.noise_rate - (made.given != made.true).mean()) < 0.1
    assert fit(made, preset=preset, checked=np.full(300, -1), vae_epochs=1).checked is None
    with pytest.raises(ValueError, match="checked has 3 in row 0, which is not among the classes 0, 1, 2"):
        fit(made, preset=preset, checked=np.full(300, 3))

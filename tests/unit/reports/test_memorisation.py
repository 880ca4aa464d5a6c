import json

import numpy as np
import pytest
from PIL import Image

import hf_noisy.reports.memorisation as module
from hf_noisy.reports.memorisation import memorisation, memorisation_curve

EPOCHS = np.arange(12)
MEMORISED, CORRECTED, LEARNED = EPOCHS / 20, 0.8 - EPOCHS / 30, 0.5 + EPOCHS / 40
NAMES = ["wrong label memorised", "wrong label corrected", "right label learned", "test accuracy"]


@pytest.fixture
def lines(monkeypatch):
    """Label, points and colour of every line of the last figure."""
    seen = {}

    def save(figure, path, original=module.save):
        seen.clear()
        for line in figure.axes[0].get_lines():
            seen[line.get_label()] = (*line.get_data(), line.get_color())
        return original(figure, path)

    monkeypatch.setattr(module, "save", save)
    return seen


def test_every_curve_is_drawn_as_given(tmp_path, lines):
    path = memorisation_curve(MEMORISED, CORRECTED, LEARNED, tmp_path / "new" / "curve.png", test_accuracy=LEARNED / 2)
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
    assert list(lines) == NAMES
    for name, values in zip(NAMES, (MEMORISED, CORRECTED, LEARNED, LEARNED / 2), strict=True):
        np.testing.assert_array_equal(lines[name][0], EPOCHS + 1)
        np.testing.assert_array_equal(lines[name][1], values)


def test_a_curve_keeps_its_colour_when_others_are_missing(tmp_path, lines):
    memorisation_curve(MEMORISED, CORRECTED, LEARNED, tmp_path / "all.png", test_accuracy=LEARNED)
    colours = {name: line[2] for name, line in lines.items()}
    nothing = np.full(12, np.nan)
    memorisation_curve(nothing, nothing, LEARNED, tmp_path / "clean.png")
    assert list(lines) == ["right label learned"]
    assert lines["right label learned"][2] == colours["right label learned"]


def test_one_epoch_is_enough(tmp_path, lines):
    memorisation_curve(MEMORISED[:1], CORRECTED[:1], LEARNED[:1], tmp_path / "curve.png")
    assert lines["wrong label corrected"][1] == [0.8]


def test_the_suffix_chooses_the_format(tmp_path):
    assert b"<svg" in memorisation_curve(MEMORISED, CORRECTED, LEARNED, tmp_path / "curve.svg").read_bytes()


@pytest.mark.parametrize(
    ("memorised", "test_accuracy", "message"),
    [
        (MEMORISED[1:], None, "one value per epoch"),
        (MEMORISED, LEARNED[1:], "one value per epoch"),
        (MEMORISED * 100, None, r"wrong label memorised must be in \[0, 1\], got 0 to 55"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, memorised, test_accuracy, message):
    with pytest.raises(ValueError, match=message):
        memorisation_curve(memorised, CORRECTED, LEARNED, tmp_path / "curve.png", test_accuracy=test_accuracy)
    assert not list(tmp_path.iterdir())


def test_no_epoch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one epoch"):
        memorisation_curve(EPOCHS[:0] / 1, EPOCHS[:0] / 1, EPOCHS[:0] / 1, tmp_path / "curve.png")


def random_case(epochs=3, rows=40, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), (epochs, rows)).astype(np.float32)
    true = rng.integers(0, classes, rows)
    given = np.where(rng.random(rows) < 0.4, rng.integers(0, classes, rows), true)
    return probabilities, given, true


def test_against_a_loop_over_rows():
    probabilities, given, true = random_case()
    result = memorisation(given, true, probabilities)
    for epoch, rows in enumerate(probabilities):
        wrong = [i for i in range(len(rows)) if given[i] != true[i]]
        right = [i for i in range(len(rows)) if given[i] == true[i]]
        predicted = rows.argmax(1)
        expected = {
            "memorised": np.mean([predicted[i] == given[i] for i in wrong]),
            "corrected": np.mean([predicted[i] == true[i] for i in wrong]),
            "learned": np.mean([predicted[i] == true[i] for i in right]),
            "loss_wrong": np.mean([-np.log(float(rows[i, given[i]])) for i in wrong]),
            "loss_right": np.mean([-np.log(float(rows[i, given[i]])) for i in right]),
        }
        for name, value in expected.items():
            assert getattr(result, name)[epoch] == pytest.approx(value, abs=1e-12)


def test_without_wrong_labels_there_is_nothing_to_memorise():
    probabilities, given, _ = random_case()
    result = memorisation(given, given, probabilities)
    assert np.isnan(result.memorised).all()
    assert np.isfinite(result.learned).all()
    lists = json.loads(json.dumps(result.as_lists(), allow_nan=False))
    assert lists["corrected"] == [None, None, None]
    assert lists["learned"] == result.learned.tolist()


def test_a_probability_of_zero_has_a_finite_loss():
    probabilities = np.array([[[1.0, 0.0]]], dtype=np.float32)
    assert 80 < memorisation(np.array([1]), np.array([0]), probabilities).loss_wrong[0] < 100


@pytest.mark.parametrize(
    ("given", "true", "message"),
    [
        (np.zeros(3, int), np.zeros(4, int), "given must be one class id for each of the 4 rows, got 3"),
        (np.zeros(4, int), np.zeros(5, int), "true must be one class id for each of the 4 rows, got 5"),
        (np.array([0, 1, 2, 5]), np.zeros(4, int), "given must be classes 0 to 4, got 5 in row"),
        (np.zeros(4, int), np.array([0, -1, 0, 0]), "true must be classes 0 to 4, got -1 in row"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given, true, message):
    with pytest.raises(ValueError, match=message):
        memorisation(given, true, np.full((1, 4, 5), 0.2))

import numpy as np
import pytest
from PIL import Image

from hf_noisy.reports import memorisation, memorisation_curve

EPOCHS = np.arange(12)
MEMORISED, CORRECTED, LEARNED = EPOCHS / 20, 0.8 - EPOCHS / 30, 0.5 + EPOCHS / 40
NAMES = ["wrong label memorised", "wrong label corrected", "right label learned", "test accuracy"]


@pytest.fixture
def lines(monkeypatch):
    """Label, points and colour of every line of the last figure."""
    seen = {}

    def save(figure, path, original=memorisation._save):
        seen.clear()
        for line in figure.axes[0].get_lines():
            seen[line.get_label()] = (*line.get_data(), line.get_color())
        return original(figure, path)

    monkeypatch.setattr(memorisation, "_save", save)
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
        (MEMORISED[1:], None, "one value an epoch"),
        (MEMORISED, LEARNED[1:], "one value an epoch"),
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

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hf_noisy.metrics import expected_calibration_error
from hf_noisy.reports import dynamics_map, figures, reliability_diagram


def rows(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    wrong = rng.random(num_rows) < 0.3
    return rng.normal(4 + 4 * wrong), rng.gamma(3 + 2 * wrong, 0.2), rng.random(num_rows) < 0.4, wrong


def predictions(num_rows=200, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), num_rows)
    return rng.integers(0, 3, num_rows), probabilities


@pytest.fixture
def texts(monkeypatch):
    """Every text of the figures drawn in a test, legend included."""
    seen = []

    def save(figure, path, original=figures.save):
        from matplotlib.text import Text

        written = original(figure, path)
        seen.extend(text.get_text() for text in figure.findobj(Text))
        return written

    monkeypatch.setattr(figures, "save", save)
    return seen


def num_colours(path):
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


def test_dynamics_map_writes_one_image(tmp_path, texts):
    mean, deviation, suspects, wrong = rows(120)
    path = dynamics_map(mean, deviation, suspects, tmp_path / "new" / "map.png", wrong=wrong)
    assert path == tmp_path / "new" / "map.png"
    assert [file.name for file in path.parent.iterdir()] == ["map.png"]
    assert num_colours(path) > 20
    assert f"suspect ({suspects.sum()})" in texts
    assert f"not suspected ({(~suspects).sum()})" in texts
    assert f"label known to be wrong\n({wrong.sum()}, {suspects[wrong].mean():.0%} suspect)" in texts


def test_dynamics_map_without_known_rows(tmp_path, texts):
    mean, deviation, suspects, _ = rows(50)
    dynamics_map(mean, deviation, suspects, tmp_path / "map.png")
    assert not any("known" in text for text in texts)


def test_dynamics_map_marks_what_it_is_told(tmp_path):
    mean, deviation, suspects, wrong = rows(60)
    images = {
        name: dynamics_map(mean, deviation, marked, tmp_path / f"{name}.png", wrong=known).read_bytes()
        for name, marked, known in [
            ("plain", suspects, None),
            ("other_suspects", ~suspects, None),
            ("outlined", suspects, wrong),
        ]
    }
    assert len(set(images.values())) == 3


def test_dynamics_map_draws_a_sample_of_many_rows(tmp_path, texts):
    mean, deviation, suspects, wrong = rows(5000)
    first = dynamics_map(mean, deviation, suspects, tmp_path / "first.png", wrong=wrong).read_bytes()
    assert first == dynamics_map(mean, deviation, suspects, tmp_path / "second.png", wrong=wrong).read_bytes()
    assert any("3,000 of 5,000 rows drawn" in text for text in texts)
    assert f"suspect ({suspects.sum():,})" in texts  # all rows are counted, drawn or not


def test_extremes_of_dynamics_map(tmp_path):
    one, none = np.array([1.0]), np.array([False])
    assert dynamics_map(one, one, none, tmp_path / "one.png", wrong=none).stat().st_size > 0
    assert dynamics_map(one, one, ~none, tmp_path / "one.png", wrong=~none).stat().st_size > 0


def test_the_suffix_chooses_the_format(tmp_path):
    mean, deviation, suspects, _ = rows(20)
    assert dynamics_map(mean, deviation, suspects, tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert dynamics_map(mean, deviation, suspects, tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="not supported"):
        dynamics_map(mean, deviation, suspects, tmp_path / "map.xyz")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.pdf", "map.png"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    path.write_bytes(b"old")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(figures.os, "replace", fail)
    mean, deviation, suspects, _ = rows(20)
    with pytest.raises(OSError, match="disk full"):
        dynamics_map(mean, deviation, suspects, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("map.png", b"old")]


def test_reliability_diagram_tells_the_error(tmp_path, texts):
    certain = np.eye(2)[[0, 1, 0, 1]]
    models = {"sure and wrong": (np.array([1, 0, 1, 1]), certain), "drawn": predictions()}
    path = reliability_diagram(models, tmp_path / "reliability.png")
    assert num_colours(path) > 20
    assert "sure and wrong (ECE 75.0%)" in texts
    assert any(text.startswith("drawn (ECE ") for text in texts)


def test_reliability_diagram_of_bins_of_equal_mass(tmp_path, texts):
    models = {"drawn": predictions()}
    by_mass = reliability_diagram(models, tmp_path / "mass.png", num_bins=5, binning="mass")
    error = expected_calibration_error(*models["drawn"], 5, "mass")
    assert f"drawn (ECE {error:.1%})" in texts
    assert "confidence (line: bins of equal mass)" in texts
    by_width = reliability_diagram(models, tmp_path / "width.png", num_bins=5)
    assert by_mass.read_bytes() != by_width.read_bytes()
    assert "confidence" in texts


def test_more_models_than_colours(tmp_path, texts):
    models = {f"model {i}": predictions(seed=i) for i in range(8)}
    reliability_diagram(models, tmp_path / "reliability.png", num_bins=5)
    assert sum(text.startswith("model ") for text in texts) == 8


def test_bad_input_is_refused(tmp_path):
    mean, deviation, suspects, _ = rows(4)
    with pytest.raises(ValueError, match=r"mean must be finite, got NaN or infinity in row 2"):
        dynamics_map(np.array([1.0, 2.0, np.nan, 3.0]), deviation, suspects, tmp_path / "map.png")
    with pytest.raises(ValueError, match="at least one row"):
        dynamics_map(mean[:0], deviation[:0], suspects[:0], tmp_path / "map.png")
    with pytest.raises(ValueError, match="at least one model"):
        reliability_diagram({}, tmp_path / "reliability.png")
    assert list(tmp_path.iterdir()) == []


# In a process of its own: pyplot may have been imported by another test of this one.
NO_GLOBAL_STATE = """
import sys, numpy as np, matplotlib
def settings():  # but "backend": to read it is to import pyplot
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}
before = settings()
from hf_noisy.reports import reliability_diagram
reliability_diagram({"a": (np.array([0]), np.array([[0.9, 0.1]]))}, sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""


@pytest.mark.slow
def test_global_state_is_left_alone(tmp_path):
    subprocess.run([sys.executable, "-c", NO_GLOBAL_STATE, str(tmp_path / "bins.png")], check=True)
    assert (tmp_path / "bins.png").is_file()

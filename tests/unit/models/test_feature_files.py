import numpy as np
import pyarrow as pa
import pytest

from hf_noisy.models import feature_files
from hf_noisy.models.feature_files import FeatureFiles, column_of


def keys(*numbers):
    return pa.array([number.to_bytes(16, "little") for number in numbers], pa.binary(16))


def vectors(*numbers):
    return np.array([[number, number + 0.5] for number in numbers], np.float32)


@pytest.fixture
def files(tmp_path):
    made = FeatureFiles(tmp_path, "encoder")
    made.add(keys(1, 2, 3), vectors(1, 2, 3))
    made.add(keys(7, 2), vectors(7, 2))
    return made


def test_vectors_are_found_in_any_order_over_several_files(files, monkeypatch):
    files.read()
    assert (files.find(keys(9, 3)) < 0).tolist() == [True, False]
    np.testing.assert_array_equal(files.vectors(files.find(keys(7, 1, 2, 1))), vectors(7, 1, 2, 1))
    monkeypatch.setattr(feature_files, "_BLOCK", 2)
    rows = [keys(7, 1, 2, 1, 3)]
    path = files.column_path(rows)
    files.write_column(path, rows, lambda found: found)
    found = column_of(path, "vectors")
    np.testing.assert_array_equal(found.with_format("numpy")["vectors"][:], vectors(7, 1, 2, 1, 3))
    files.remove_parts()
    assert list(path.parent.iterdir()) == [path]
    later = FeatureFiles(path.parent, "encoder")
    later.read()
    np.testing.assert_array_equal(later.vectors(later.find(keys(3, 7))), vectors(3, 7))


def test_features_of_two_inputs_are_no_vectors_of_a_key(files):
    files.read()
    rows = [keys(1, 2), keys(3, 3)]
    path = files.column_path(rows)
    assert path != files.column_path([keys(1, 2, 3, 3)])
    files.write_column(path, rows, lambda first, second: np.concatenate([first, second], 1))
    np.testing.assert_array_equal(column_of(path, "x").with_format("numpy")["x"][:][:, 2], [3, 3])
    later = FeatureFiles(path.parent, "encoder")
    later.read()
    assert len(later.keys) == 5  # of the parts


def test_files_of_other_encoders_and_damaged_ones_are_not_read(files):
    other = FeatureFiles(files.folder, "another encoder")
    other.read()
    assert len(other.keys) == 0
    (files.folder / f"{files.prefix}-part-x.arrow").write_bytes(b"no Arrow file")
    files.read()
    assert len(files.keys) == 5

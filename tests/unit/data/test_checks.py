import warnings

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value

from hf_noisy.data.checks import check_label_range, check_labels, label_column


def rows(labels: list, name: str = "label", feature: object = None) -> Dataset:
    features = None if feature is None else Features({"text": Value("string"), name: feature})
    return Dataset.from_dict({"text": ["a"] * len(labels), name: labels}, features=features)


@pytest.mark.parametrize("name", ["label", "labels"])
@pytest.mark.parametrize("feature", [None, Value("int8"), ClassLabel(names=["a", "b", "c"])])
def test_good_labels_pass(name, feature):
    dataset = rows([0, 1, 2, 1], name, feature)
    assert label_column(dataset) == name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_labels(dataset, 3)
        assert check_labels(dataset.with_format("torch"), 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None], "labels must not be missing"),
        ([0.0, 1.0, float("nan")], "labels must not be missing"),
        ([0, 1, -100], "labels must not be missing or negative, got -100"),
        ([0, 1, -1], "labels must not be missing or negative, got -1"),
        ([0, 1, 3], "labels must be below the 3 classes of the model, got 3; set num_labels"),
        ([0.0, 1.0, 2.0], "labels must be one integer a row, got float64"),
        ([[0, 1], [1, 0], [0, 0]], r"labels must be one integer a row, got int64 of shape \(3, 2\)"),
        (["a", "b", "c"], "labels must be one integer a row"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(rows(labels), 3)


def test_fewer_than_two_classes_are_refused():
    with pytest.raises(ValueError, match="model has 1 class, but at least 2 are needed"):
        check_labels(rows([0, 0]), 1)


def test_a_class_without_rows_warns():
    with pytest.warns(UserWarning, match="no training row has label 1, 3; these classes cannot be learned"):
        assert check_labels(rows([0, 2, 2]), 4)


def test_what_cannot_be_read_cheaply_is_left_to_the_batches():
    plain = rows([0, 1, 7])
    assert not check_labels([{"label": 7}], 3)
    assert not check_labels(plain.with_transform(lambda batch: batch), 3)
    assert not check_labels(plain.rename_column("label", "fine_label"), 3)
    stream = plain.to_iterable_dataset()
    assert isinstance(stream, IterableDataset)
    assert not check_labels(stream, 3)


def test_labels_of_no_rows_are_in_range():
    assert len(check_label_range(np.array([], dtype=np.int64), 3)) == 0

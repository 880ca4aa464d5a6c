import warnings

import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value

from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.data.labels import check_training_labels, label_column


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
        assert check_training_labels(dataset, SINGLE_LABEL, 3)
        assert check_training_labels(dataset.with_format("torch"), SINGLE_LABEL, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None], "labels has a missing value"),
        ([0.0, 1.0, float("nan")], "labels has a missing value"),
        ([0, 1, -100], "labels must be classes 0 to 2, got -100 in row 2"),
        ([0, 1, -1], "labels must be classes 0 to 2, got -1 in row 2"),
        ([0, 1, 3], "labels must be classes 0 to 2, got 3 in row 2; .*num_labels"),
        ([0.0, 1.0, 2.0], "labels must be one integer per row, got float64"),
        ([[0, 1], [1, 0], [0, 0]], r"labels must be one class id per row, got an array of shape \(3, 2\)"),
        (["a", "b", "c"], r"labels must be integers, got text such as 'a'; .*class_encode_column"),
        ([[1, 1, 0], [1, 0, 0], [0, 1, 0]], "model must classify into one label, got 2 classes in row 0"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_training_labels(rows(labels), SINGLE_LABEL, 3)


def test_fewer_than_two_classes_are_refused():
    with pytest.raises(ValueError, match="model has 1 class, but at least 2 are needed"):
        check_training_labels(rows([0, 0]), SINGLE_LABEL, 1)


def test_a_class_without_rows_warns():
    with pytest.warns(UserWarning, match="no training row has label 1, 3; these classes cannot be learned"):
        assert check_training_labels(rows([0, 2, 2]), SINGLE_LABEL, 4)


def test_what_cannot_be_read_cheaply_is_left_to_the_batches():
    plain = rows([0, 1, 7])
    assert not check_training_labels([{"label": 7}], SINGLE_LABEL, 3)
    assert not check_training_labels(plain.with_transform(lambda batch: batch), SINGLE_LABEL, 3)
    assert not check_training_labels(plain.rename_column("label", "fine_label"), SINGLE_LABEL, 3)
    stream = plain.to_iterable_dataset()
    assert isinstance(stream, IterableDataset)
    assert not check_training_labels(stream, SINGLE_LABEL, 3)

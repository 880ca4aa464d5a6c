"""Corrected tags, and weights for training on them."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy import restore_labels
from hf_noisy.purification.list_labels import purify_lists
from hf_noisy.purification.restore import purification_record

NAMES = ["O", "B-X"]


@pytest.mark.parametrize(
    ("policy", "labels", "weights"),
    [
        ("soft", [[0, 1], [1]], [[0.9, 0.6], [0.7]]),  # the second suggestion is not confident enough
        ("weight", [[1, 1], [1]], [[0.1, 0.6], [0.7]]),
        ("relabel", [[0, 1], [1]], None),
        ("flag", [[1, 1], [1]], None),
    ],
)
def test_labels_and_weights_of_each_policy(policy, labels, weights):
    features = Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=NAMES))})
    rows = Dataset.from_dict({"tokens": [["The", "man"], ["Rome"]], "label": [[1, 1], [1]]}, features)
    purified = purify_lists(rows, np.array([0, 0, 1]), np.array([0.9, 0.4, 0.7]), policy=policy)
    assert purified["label"][:] == labels
    if weights is None:
        assert "label_weight" not in purified.column_names
    else:
        for row, expected in zip(purified["label_weight"][:], weights, strict=True):
            np.testing.assert_allclose(row, expected, rtol=1e-6)
    restored = restore_labels(purified)
    assert restored["label"][:] == rows["label"][:]
    assert restored.column_names == rows.column_names


@pytest.mark.parametrize(
    ("names", "given", "decided", "expected"),
    [
        ("O B-X I-X", "O O O", "O I-X I-X", "O B-X I-X"),  # nothing begins it
        ("O B-X I-X", "B-X I-X I-X", "O I-X I-X", "O B-X I-X"),  # its beginning is gone
        ("O B-X I-X B-Y", "B-Y O O", "B-Y I-X O", "B-Y B-X O"),
        ("O B-X I-X E-X S-X", "B-X I-X E-X", "B-X E-X O", "B-X E-X O"),
        ("O B-X I-X E-X S-X", "B-X I-X E-X", "B-X O O", "S-X O O"),
        ("O B-X I-X", "I-X O O", "I-X O I-X", "I-X O I-X"),  # the given tags were not in the scheme
        ("O I-X", "O O O", "I-X I-X O", "I-X I-X O"),  # a scheme without beginnings
        ("O X Y", "O O O", "X O Y", "X O Y"),  # not entities
    ],
)
def test_entities_keep_their_beginnings_and_ends(names, given, decided, expected):
    names = names.split()
    features = Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=names))})
    first, second = ([names.index(tag) for tag in tags.split()] for tags in (given, decided))
    rows = Dataset.from_dict({"tokens": [["The"], ["a", "b", "c"]], "label": [[0], first]}, features)
    purified = purify_lists(rows, np.array([0, *second]), np.full(4, 0.9))
    assert [names[tag] for tag in purified["label"][1]] == expected.split()
    assert restore_labels(purified)["label"][:] == rows["label"][:]
    as_decided = purify_lists(rows, np.array([0, *second]), np.ones(4))  # by a person
    assert as_decided["label"][1] == second


def test_mended_tags_agree_with_the_other_columns():
    names = ["O", "B-X", "I-X"]
    features = Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=names))})
    rows = Dataset.from_dict({"tokens": [["a", "b"], ["c", "d"]], "label": [[0, 1], [1, 2]]}, features)
    decided, confidence = np.array([0, 2, 0, 2]), np.array([0.9, 0.9, 0.9, 1.0])  # the last tag is a person's
    purified = purify_lists(rows, decided, confidence)
    assert purified["label"][:] == [[0, 1], [0, 2]]
    assert purified["label_changed"][:] == [False, True]
    assert purification_record(purified)["labels_changed"] == 1
    flagged = purify_lists(rows, decided, confidence, policy="flag")
    assert purification_record(flagged)["labels_changed"] == 2

"""Corrected tags, and weights for training on them."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy import restore_labels
from hf_noisy.purification.list_labels import purify_lists

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

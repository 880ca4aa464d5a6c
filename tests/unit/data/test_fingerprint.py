import numpy as np
import torch
from datasets import Dataset

from hf_noisy.data.fingerprint import describe, labels_digest

VALUES = np.random.default_rng(0).normal(size=(7, 3))
ROWS = Dataset.from_dict({"x": VALUES.tolist(), "label": [0, 1, 2, 0, 1, 2, 0]})


def test_description_tells_datasets_apart():
    described = describe(ROWS)
    assert described["rows"] == 7
    assert described["labels"] == labels_digest(np.array(ROWS["label"]))
    assert describe(ROWS.with_format("torch")) == described
    assert describe(ROWS.select(range(7))) == described
    one_value = ROWS.map(lambda row, i: {"x": [*row["x"][:2], 9.0] if i == 3 else row["x"]}, with_indices=True)
    one_label = ROWS.map(lambda row, i: {"label": 2 if i == 3 else row["label"]}, with_indices=True)
    order = ROWS.select([1, 0, *range(2, 7)])
    found = [describe(other) for other in (one_value, one_label, order, ROWS.select(range(6)))]
    assert all(other["fingerprint"] != described["fingerprint"] for other in found)
    assert [other["labels"] == described["labels"] for other in found] == [True, False, False, False]


def test_labels_that_are_not_numbers_have_no_digest():
    assert describe(ROWS.remove_columns("label"))["labels"] is None
    names = ROWS.remove_columns("label").add_column("label", list("abcabca"))
    assert describe(names)["labels"] is None


def test_description_of_plain_rows_does_not_hang_on_addresses():
    class Thing:
        pass

    rows = [{"x": Thing(), "label": 0}, {"x": Thing(), "label": 1}]
    again = [{"x": Thing(), "label": 0}, {"x": Thing(), "label": 1}]
    assert describe(rows) == describe(again)
    assert describe(rows)["labels"] is None  # would have to read every row


def test_large_data_sets_are_described_by_some_rows():
    read = []

    class Counting(list):
        def __getitem__(self, position):
            read.append(position)
            return super().__getitem__(position)

    describe(Counting({"x": i} for i in range(10_000)))
    assert len(read) == 256
    assert (min(read), max(read)) == (0, 9_999)


def test_rows_of_tensors_are_described_by_numbers_from_all_over_them():
    rows = [{"x": torch.arange(4000.0).reshape(2, 2000), "ids": torch.tensor([70_001, 2])} for _ in range(3)]
    described = describe(rows)
    assert describe([{name: value.clone() for name, value in row.items()} for row in rows]) == described
    middle, ids, shape = ([dict(row) for row in rows] for _ in range(3))
    middle[1]["x"] = torch.where(rows[1]["x"].lt(1500), rows[1]["x"], 0.0)
    ids[1]["ids"] = torch.tensor([70_002, 2])
    shape[1]["x"] = rows[1]["x"].reshape(4, 1000)
    for other in (middle, ids, shape):
        assert describe(other)["fingerprint"] != described["fingerprint"]

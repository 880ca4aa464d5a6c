"""Columns as arrays, whatever the storage, the format and the order of the rows."""

import time

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, List, Sequence, Value

from hf_noisy.core.columns import column_array, column_vectors, stored_column
from hf_noisy.data.replace_column import with_column

KINDS = {
    "class": (ClassLabel(names=["a", "b", "c"]), [2, 0, 1]),
    "int8": (Value("int8"), [3, -1, 4]),
    "uint64": (Value("uint64"), [3, 2**62, 4]),
    "float16": (Value("float16"), [0.5, 1.0, -2.0]),
    "float64": (Value("float64"), [0.1, float("nan"), 1e30]),
    "bool": (Value("bool"), [True, False, True]),
    "fixed": (List(Value("float32"), length=2), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
    "list": (List(Value("int64")), [[0, 1], [2, 3], [4, 5]]),
    "nested": (List(List(Value("float32"), length=2), length=1), [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]),
    "array2d": (Array2D((1, 2), "float32"), [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]),
}


def layouts(rows: Dataset) -> dict[str, Dataset]:
    return {
        "whole": rows,
        "in two pieces": datasets.concatenate_datasets([rows.select([0]), rows.select([1, 2])]),
        "another order": rows.select([2, 0, 1]),
        "a part": rows.select(range(1, 3)),
        "in another format": rows.with_format("torch"),
        "with a transform": rows.with_transform(lambda batch: {"x": [0] * len(batch["x"])}),
        "none": rows.select([]),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_and_vectors_are_read_in_the_order_of_the_rows(kind):
    feature, values = KINDS[kind]
    for name, rows in layouts(Dataset.from_dict({"x": values}, features=Features({"x": feature}))).items():
        found = column_array(rows, "x")
        expected = rows.with_format(None)["x"][:]
        assert found.dtype != object or not expected, name
        np.testing.assert_array_equal(found.tolist(), expected, err_msg=name)


def test_vectors_have_the_types_of_the_numpy_format():
    for kind, (feature, values) in KINDS.items():
        rows = Dataset.from_dict({"x": values}, features=Features({"x": feature}))
        expected, found = rows.with_format("numpy")[:]["x"], column_vectors(rows, "x")
        assert found.dtype == expected.dtype, kind
        np.testing.assert_array_equal(found, expected, err_msg=kind)


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        (ClassLabel(names=["a", "b"]), [0, None, 1]),
        (Sequence(Value("float32")), [[0.0], [1.0, 2.0], []]),
        (List(Value("float32"), length=1), [[0.0], None, [1.0]]),
        (List(Value("float32")), [[0.0], [None], [1.0]]),
        (Value("string"), ["x", None, "y"]),
    ],
)
def test_all_else_are_objects(feature, values):
    for name, rows in layouts(Dataset.from_dict({"x": values}, features=Features({"x": feature}))).items():
        assert column_array(rows, "x").tolist() == rows.with_format(None)["x"][:], name


def test_a_shuffled_column_is_read_without_a_piece_for_each_row():
    rows = Dataset.from_dict({"x": np.arange(50_000)}).shuffle(seed=0)
    start = time.process_time()
    found = column_array(rows, "x")
    assert time.process_time() - start < 0.1
    assert stored_column(rows, "x").num_chunks < 100
    assert sorted(found.tolist()) == list(range(50_000))


def test_a_matrix_in_one_piece_is_not_copied():
    stored = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 2)
    rows = Dataset(pa.table({"x": stored}))
    assert np.shares_memory(column_array(rows, "x"), stored.values.to_numpy())


def test_a_new_column_keeps_values_positions_and_features():
    rows = Dataset.from_dict({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    added = with_column(rows, "z", np.eye(3, dtype=np.float32), List(Value("float32"), length=3))
    assert added.column_names == ["x", "y", "z"]
    assert added.features["z"] == List(Value("float32"), length=3)
    assert added["z"][:] == np.eye(3).tolist()
    loose = with_column(rows, "z", np.eye(3, dtype=np.float32), List(Value("float32")))
    assert loose.features["z"] == List(Value("float32"))
    replaced = with_column(added, "x", [None, 1, 0], ClassLabel(names=["a", "b"]))
    assert replaced.column_names == ["x", "y", "z"]
    assert replaced["x"][:] == [None, 1, 0]
    assert with_column(rows.select([2, 0]), "z", np.array([7, 8]))["z"][:] == [7, 8]
    assert with_column(rows, "z", stored_column(rows, "y"), Value("string"))["z"][:] == ["a", "b", "c"]


def test_the_fingerprint_of_a_new_column_is_of_its_content():
    def made(values, name="z"):
        return with_column(Dataset.from_dict({"x": [1, 2]}), name, values)._fingerprint

    assert made(np.array([0, 1])) == made([0, 1]) == made(pa.array([5, 0, 1]).slice(1))
    assert len({made([0, 1]), made([1, 0]), made([0.0, 1.0]), made([0, 1], "y"), made(["0", "1"])}) == 5

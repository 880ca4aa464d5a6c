"""The rows of a training."""

import numpy as np
import pytest
from datasets import Dataset
from transformers import TrainingArguments

from hf_noisy.cli.arguments import DataArguments
from hf_noisy.cli.inputs import load_splits
from hf_noisy.data.checked import checked_rows, write_checked


@pytest.fixture
def training(tmp_path):
    return TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)


def load(arguments, training):
    return load_splits(arguments, training, lambda rows: rows)


def test_rows_that_were_checked_are_trained_on_and_never_tested(parquet, tmp_path, training):
    rows = Dataset.from_parquet(parquet, cache_dir=str(tmp_path))
    checked = np.where(np.arange(len(rows)) % 4 == 0, np.array(rows["clean_label"]), -1)
    write_checked(tmp_path / "checked.csv", rows, checked_rows(rows, checked))
    train, test, found = load(DataArguments(dataset=parquet, checked=str(tmp_path / "checked.csv")), training)
    assert (len(train), len(test)) == (192, 48)
    assert set(train["text"]) | set(test["text"]) == set(rows["text"])
    assert "checked_label" not in {*train.column_names, *test.column_names}
    assert len(found) == 60
    assert found.labels.tolist() == np.array(train["clean_label"])[found.index].tolist()


def test_without_checked_rows_a_fifth_is_tested(parquet, training):
    train, test, checked = load(DataArguments(dataset=parquet), training)
    assert (len(train), len(test), checked) == (192, 48, None)


def test_something_must_be_left_to_test_on(parquet, tmp_path, training):
    rows = Dataset.from_parquet(parquet, cache_dir=str(tmp_path))
    rows.add_column("checked_label", rows["clean_label"][:]).to_parquet(tmp_path / "all.parquet")
    with pytest.raises(ValueError, match="every row was checked, so none is left to test on"):
        load(DataArguments(dataset=str(tmp_path / "all.parquet")), training)

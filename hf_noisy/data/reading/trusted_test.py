"""A test file beside the source, and test labels that are known to be true."""

from typing import Any

from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, stored_column
from hf_noisy.data.labelled_rows import has_values
from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.source_splits import read_source
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.replace_column import with_column

TEST = "test"
TEST_LABELS = ("given", "true")


def add_test_file(
    splits: dict[str, Dataset], places: dict[str, Places], test_file: str, wanted: Wanted
) -> tuple[dict[str, Dataset], dict[str, Places]]:
    """The splits and their places, with the rows of a file as the test split."""
    if TEST in splits:
        raise ValueError(f"test_file='{test_file}' cannot be used: the data has a split 'test' already; leave it out")
    options: dict[str, Any] = {}
    rows, where = read_source(test_file, None, wanted, options, [])
    if len(rows) > 1:
        raise ValueError(f"test_file='{test_file}' must hold one split, but has {', '.join(rows)}; name a single file")
    ((name, test),) = rows.items()
    return {**splits, TEST: test}, {**places, TEST: where[name]}


def with_true_test_labels(splits: DatasetDict) -> DatasetDict:
    """The splits, with the labels of the test split in `clean_label` too."""
    if TEST not in splits:
        raise ValueError(
            f"test_labels='true' needs a test split, but the data has {', '.join(splits)}; pass test_file"
        )
    test = splits[TEST]
    if has_values(test, CLEAN_LABEL):
        raise ValueError("test_labels='true' does not fit a test split with true labels of its own; leave it out")
    order = [name for name in test.column_names if name != CLEAN_LABEL]
    labels = stored_column(test, LABEL)
    splits[TEST] = with_column(test.select_columns(order), CLEAN_LABEL, labels, test.features[LABEL])
    return splits

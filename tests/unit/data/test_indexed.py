import datasets
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hf_noisy.data import IndexedDataset


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {"value": index**2}


class Stream(IterableDataset):
    def __iter__(self):
        return iter([{"value": 1}])


SOURCES = {
    "datasets": datasets.Dataset.from_dict({"value": [0, 1, 4, 9, 16]}),
    "torch": Squares(),
    "list": [{"value": i**2} for i in range(5)],
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_index_is_the_position_for_single_and_batched_reads(source):
    indexed = IndexedDataset(source)
    assert len(indexed) == 5
    assert indexed[3] == {"value": 9, "index": 3}
    assert indexed[-1] == {"value": 16, "index": 4}
    assert indexed.__getitems__([4, 0, 4]) == [
        {"value": 16, "index": 4},
        {"value": 0, "index": 0},
        {"value": 16, "index": 4},
    ]


def test_a_lazy_transform_runs_on_single_and_batched_reads():
    source = SOURCES["datasets"].with_transform(lambda rows: {"root": [int(v**0.5) for v in rows["value"]]})
    indexed = IndexedDataset(source)
    assert indexed[3] == {"root": 3, "index": 3}
    assert indexed.__getitems__([2]) == [{"root": 2, "index": 2}]


def test_a_shuffled_loader_pairs_every_row_with_its_index():
    loader = DataLoader(IndexedDataset(SOURCES["datasets"]), batch_size=2, shuffle=True)
    pairs = [pair for batch in loader for pair in zip(batch["index"].tolist(), batch["value"].tolist(), strict=True)]
    assert sorted(pairs) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_a_shuffled_dataset_is_numbered_in_its_new_order():
    shuffled = SOURCES["datasets"].select([4, 0])
    assert IndexedDataset(shuffled).__getitems__([0, 1]) == [{"value": 16, "index": 0}, {"value": 0, "index": 1}]


def test_an_existing_index_column_is_replaced():
    assert IndexedDataset([{"index": 7}])[0] == {"index": 0}


@pytest.mark.parametrize("source", [Stream(), SOURCES["datasets"].to_iterable_dataset(), iter([])])
def test_data_without_length_is_refused(source):
    with pytest.raises(TypeError, match="must have a length and access by position"):
        IndexedDataset(source)


def test_rows_that_are_not_mappings_are_refused():
    with pytest.raises(TypeError, match="got tuple at row 0"):
        IndexedDataset(TensorDataset(torch.zeros(2)))[0]


@pytest.mark.parametrize("index", [5, -6])
def test_a_position_outside_is_refused(index):
    with pytest.raises(IndexError, match="out of range for a dataset of 5 rows"):
        IndexedDataset(Squares())[index]

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hf_noisy.data import IndexedDataset, drop_unreadable
from hf_noisy.data.indexed import with_columns


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
    assert indexed[3] == (3, {"value": 9})
    assert indexed[-1] == (4, {"value": 16})
    assert indexed.__getitems__([4, 0, 4]) == [(4, {"value": 16}), (0, {"value": 0}), (4, {"value": 16})]


def test_a_lazy_transform_runs_on_single_and_batched_reads():
    source = SOURCES["datasets"].with_transform(lambda rows: {"root": [int(v**0.5) for v in rows["value"]]})
    indexed = IndexedDataset(source)
    assert indexed[3] == (3, {"root": 3})
    assert indexed.__getitems__([2]) == [(2, {"root": 2})]


def test_a_shuffled_loader_pairs_every_row_with_its_index():
    loader = DataLoader(IndexedDataset(SOURCES["datasets"]), batch_size=2, shuffle=True, collate_fn=list)
    pairs = [(position, row["value"]) for batch in loader for position, row in batch]
    assert sorted(pairs) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_a_shuffled_dataset_is_numbered_in_its_new_order():
    shuffled = SOURCES["datasets"].select([4, 0])
    assert IndexedDataset(shuffled).__getitems__([0, 1]) == [(0, {"value": 16}), (1, {"value": 0})]


def test_a_column_of_the_user_is_no_row_number():
    assert IndexedDataset([{"index": 7}])[0] == (0, {"index": 7})


@pytest.mark.parametrize("source", [Stream(), SOURCES["datasets"].to_iterable_dataset(), iter([])])
def test_data_without_length_is_refused(source):
    with pytest.raises(TypeError, match="must have a length and access by position"):
        IndexedDataset(source)


def test_rows_may_be_of_any_type():
    assert IndexedDataset(TensorDataset(torch.arange(2)))[1] == (1, (torch.tensor(1),))


def test_columns_that_are_not_needed_are_not_read():
    dataset = pictures(2)
    assert with_columns(dataset, ["label"]).column_names == ["label"]
    lazy = dataset.with_transform(as_pixels)
    assert with_columns(lazy, ["label"]) is lazy  # the transform may need them
    assert with_columns(SOURCES["list"], ["label"]) is SOURCES["list"]


@pytest.mark.parametrize("index", [5, -6])
def test_a_position_outside_is_refused(index):
    with pytest.raises(IndexError, match="out of range for a dataset of 5 rows"):
        IndexedDataset(Squares())[index]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(*broken: int) -> datasets.Dataset:
    """Six pictures, as files would be read; some are cut short or nothing that is a picture."""
    contents = [{"bytes": picture(), "path": None} for _ in range(6)]
    for number, row in enumerate(broken):
        contents[row] = {"bytes": picture()[:1500] if number % 2 else b"no picture", "path": None}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=2)})
    return datasets.Dataset.from_dict({"image": contents, "label": [0, 1] * 3}, features=features)


def as_pixels(batch):
    return {
        "pixel_values": [torch.tensor(np.array(image)).float() for image in batch["image"]],
        "label": batch["label"],
    }


@pytest.mark.parametrize("lazy", [False, True])
def test_a_row_that_cannot_be_read_is_named(lazy):
    dataset = pictures(2, 4)
    indexed = IndexedDataset(dataset.with_transform(as_pixels) if lazy else dataset)
    with pytest.raises(
        ValueError, match=r"row 2 of the dataset cannot be read \(UnidentifiedImageError: .*drop_unread"
    ):
        indexed.__getitems__([0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"row 4 of the dataset cannot be read \(.*\); repair it, or leave such rows"):
        indexed[-2]
    assert indexed.__getitems__([0, 1])[1].position == 1


def test_a_worker_names_the_row_too():
    dataset = IndexedDataset(pictures(2).with_transform(as_pixels))
    loader = DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=list)
    with pytest.raises(ValueError, match="row 2 of the dataset cannot be read"):
        next(iter(loader))


@pytest.mark.parametrize("form", ["table", "lazy", "list"])
def test_rows_that_cannot_be_read_are_left_out_and_counted(form, monkeypatch):
    warnings = []
    monkeypatch.setattr("hf_noisy.data.indexed.logger.warning", warnings.append)
    dataset = pictures(2, 4)
    if form == "lazy":
        dataset = dataset.with_transform(as_pixels)
    if form == "list":
        dataset = torch.utils.data.Subset(dataset, range(6))
    kept = drop_unreadable(dataset)
    assert [int(kept[row]["label"]) for row in range(len(kept))] == [0, 1, 1, 1]
    assert len(warnings) == 1
    assert warnings[0].startswith("left out 2 of 6 rows that cannot be read: 2, 4; the first: UnidentifiedImageError")
    assert drop_unreadable(kept) is kept


def test_data_of_which_no_row_can_be_read_are_refused():
    with pytest.raises(ValueError, match="none of the 6 rows of the dataset can be read, row 0 because of Unid"):
        drop_unreadable(pictures(*range(6)))

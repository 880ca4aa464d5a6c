"""Datasets with noisy labels: loaded, made from votes, or made by injection."""

from hf_noisy.data import noise
from hf_noisy.data.images import ImageViews
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.data.load import list_noisy_datasets, load_noisy_dataset
from hf_noisy.data.noise import inject_noise
from hf_noisy.data.records import noise_record
from hf_noisy.data.weak import majority_vote

__all__ = [
    "ImageViews",
    "IndexedDataset",
    "inject_noise",
    "list_noisy_datasets",
    "load_noisy_dataset",
    "majority_vote",
    "noise",
    "noise_record",
]

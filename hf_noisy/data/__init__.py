"""Datasets with noisy labels: loaded, aggregated from votes, or with injected noise."""

from hf_noisy.data import noise
from hf_noisy.data.checked import CheckedRows, checked_rows, read_checked, write_checked
from hf_noisy.data.images import ImageViews
from hf_noisy.data.indexed import IndexedDataset, drop_unreadable
from hf_noisy.data.load import dataset_builder, list_noisy_datasets, load_noisy_dataset, make_noise
from hf_noisy.data.noise import inject_noise
from hf_noisy.data.records import noise_record
from hf_noisy.data.weak import dawid_skene, majority_vote, rule_table, weighted_vote

__all__ = [
    "CheckedRows",
    "ImageViews",
    "IndexedDataset",
    "checked_rows",
    "dataset_builder",
    "dawid_skene",
    "drop_unreadable",
    "inject_noise",
    "list_noisy_datasets",
    "load_noisy_dataset",
    "majority_vote",
    "make_noise",
    "noise",
    "noise_record",
    "read_checked",
    "rule_table",
    "weighted_vote",
    "write_checked",
]

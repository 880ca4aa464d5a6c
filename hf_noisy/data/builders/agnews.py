"""The dataset `agnews`: titles and first sentences of news by topic. Clean labels, for noise injection."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT
from hf_noisy.data.builders.builder import NoisyDatasetBuilder, noisy_features

CLASSES = ["World", "Sports", "Business", "Sci/Tech"]
_FILES = {"train": "train.csv", "test": "test.csv"}
_NUMBERS = {str(label + 1): label for label in range(len(CLASSES))}


class AgNewsBuilder(NoisyDatasetBuilder):
    """Builder of `agnews`: 120,000 training and 7,600 test rows, four classes; CSV without header: class, title, text.

    Source: Zhang et al. (2015), from the news corpus of Gulli (2005).
    """

    NAME = "agnews"
    DESCRIPTION = "Titles and first sentences of news by topic (AG News)."
    HOMEPAGE = "http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html"
    LICENSE = "for research and any other non-commercial activity"
    CITATION = """@inproceedings{zhang2015character,
  title={Character-level Convolutional Networks for Text Classification},
  author={Zhang, Xiang and Zhao, Junbo and LeCun, Yann}, booktitle={NIPS}, year={2015}
}"""
    DOWNLOAD = (
        "download ag_news_csv as https://github.com/zhangxiangxiao/Crepe says and put its train.csv and test.csv into "
        "'agnews'"
    )
    MARKERS = ("train.csv",)
    HUB_ID = "fancyzhx/ag_news"

    def _features(self) -> datasets.Features:
        return noisy_features(TEXT, datasets.Value("string"), CLASSES)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if self.folder is None:
            found: dict[str, Any] = dict(self.hub_splits())
        else:
            files = {split: self.folder / file for split, file in _FILES.items()}
            found = {split: path for split, path in files.items() if path.is_file()}
        return [datasets.SplitGenerator(split, gen_kwargs={"source": source}) for split, source in found.items()]

    def _generate_examples(self, source: Path | datasets.Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
        rows: Iterator[tuple[str, int]]
        if isinstance(source, datasets.Dataset):
            rows = ((row["text"], row["label"]) for row in source)
        else:
            rows = _csv_rows(source)
        for index, (text, label) in enumerate(rows):
            yield index, {TEXT: text, LABEL: label, CLEAN_LABEL: label}


def _csv_rows(path: Path) -> Iterator[tuple[str, int]]:
    with path.open(encoding="utf-8", newline="") as file:
        for number, *parts in csv.reader(file, skipinitialspace=True):
            if number not in _NUMBERS:
                raise ValueError(
                    f"file '{path}' must have a class from 1 to {len(CLASSES)} first in a line, got '{number}'"
                )
            yield " ".join(parts), _NUMBERS[number]

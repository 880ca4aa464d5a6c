"""The dataset `clothing1m`: a million photographs of clothes from web shops, labelled by the surrounding text.

The folder holds the release: `images/<digit>/<...>/<name>.jpg`, `category_names_eng.txt`, `noisy_label_kv.txt` and
`clean_label_kv.txt` (lines of an image and its class) and `noisy_train_key_list.txt`, `clean_train_key_list.txt`,
`clean_val_key_list.txt`, `clean_test_key_list.txt` (lines of an image). Rows hold the path of their image, which is
read on access; only then is a broken image found.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import datasets
import numpy as np

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL
from hf_noisy.data.builders import file_lists
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.file_lists import check_images, read_labels, read_lines
from hf_noisy.data.records import record_noise

_NAMES, _NOISY, _CLEAN = "category_names_eng.txt", "noisy_label_kv.txt", "clean_label_kv.txt"
# Configuration -> list of its training rows.
_NOISY_TRAIN, _CLEAN_TRAIN = "noisy_train_key_list.txt", "clean_train_key_list.txt"
_TRAIN = {"noisy": _NOISY_TRAIN, "clean": _CLEAN_TRAIN, "both": _CLEAN_TRAIN}


class Clothing1MBuilder(NoisyDatasetBuilder):
    """Builder of `clothing1m`; `validation` and `test` are always labelled by hand.

    `train` is a million rows labelled by web text (`noisy`, some with a `clean_label`), the rows labelled by hand
    (`clean`), or those of them that also have a web label, which is then the given one (`both`).

    Source: Xiao et al. (2015).
    """

    NAME = "clothing1m"
    DESCRIPTION = "Clothing1M: photographs of clothes in 14 classes, labelled from web page text and by hand."
    HOMEPAGE = "https://github.com/Cysu/noisy_label"
    LICENSE = "non-commercial research and education only; not to be passed on"
    CITATION = """@inproceedings{xiao2015learning,
  author = {Xiao, Tong and Xia, Tian and Yang, Yi and Huang, Chang and Wang, Xiaogang},
  title = {Learning from Massive Noisy Labeled Data for Image Classification}, booktitle = {CVPR}, year = {2015}
}"""
    DOWNLOAD = (
        "ask the authors for Clothing1M as https://github.com/Cysu/noisy_label says, and unpack its images and lists "
        "into 'clothing1m'"
    )
    MARKERS = (_NOISY,)
    CODE = (file_lists,)
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [
        NoisyConfig(name="noisy", noise="web", description="Training labels of web pages."),
        NoisyConfig(name="clean", description="Training labels by hand."),
        NoisyConfig(name="both", noise="web", description="Training rows with labels of web pages and by hand."),
    ]
    DEFAULT_CONFIG_NAME = "noisy"

    def _features(self) -> datasets.Features:
        return noisy_features(IMAGE, datasets.Image(), read_lines(self._root / _NAMES))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        num_classes = self.info.features[LABEL].num_classes
        clean = read_labels(self._root / _CLEAN, num_classes)
        noisy = {} if self.config.name == "clean" else read_labels(self._root / _NOISY, num_classes)
        lists = {
            "train": _TRAIN[self.config.name],
            "validation": "clean_val_key_list.txt",
            "test": "clean_test_key_list.txt",
        }
        parts = []
        for split, name in lists.items():
            given = noisy if split == "train" and self.config.noise else clean
            keys = read_lines(self._root / name)
            if self.config.name == "both" and split == "train":
                keys = [key for key in keys if key in noisy]
            if lost := [key for key in keys if key not in given]:
                raise ValueError(
                    f"file '{self._root / name}' must list images with a label, got '{lost[0]}' without one"
                )
            check_images(self.NAME, [self._root / key for key in keys[:1]])
            rows = [(key, given[key], clean.get(key)) for key in keys]
            parts.append(datasets.SplitGenerator(split, {"rows": rows}))
        return parts

    def _generate_examples(self, rows: list[tuple[str, int, int | None]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, label, clean in rows:
            yield key, {IMAGE: str(self._root / key), LABEL: label, CLEAN_LABEL: clean}

    def _record_noise(self, split: datasets.Dataset) -> datasets.Dataset:
        """The noise is measured on the rows whose true label is known."""
        columns = split.select_columns([LABEL, CLEAN_LABEL]).with_format("arrow")[:]
        known = columns.filter(columns[CLEAN_LABEL].is_valid())
        given, clean = (known[name].to_numpy().astype(np.int64) for name in (LABEL, CLEAN_LABEL))
        if self.config.noise is None or (given == clean).all():
            return split
        record = {"kind": self.config.noise, "rows_measured": len(given)}
        return record_noise(split, record, clean, given, split.features[LABEL].num_classes)

"""The dataset `wos`: abstracts of papers by field. Clean labels, for noise injection."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features

# Number of rows, as in the folder name -> number of domains (YL1.txt) and of areas over all domains (Y.txt).
_SIZES = {"5736": (3, 11), "11967": (7, 35), "46985": (7, 134)}
_FILES = {"domains": "YL1.txt", "areas": "Y.txt"}


class WebOfScienceBuilder(NoisyDatasetBuilder):
    """Builder of `wos`: configurations `wos<rows>_domains` and `wos<rows>_areas`, one split, numbered classes.

    The folder holds the folders of the release, `WOS5736`, `WOS11967`, `WOS46985`, or is one of them. Line by line,
    `X.txt` has the abstracts, `YL1.txt` their domains and `Y.txt` their areas.

    Source: Kowsari et al. (2017), HDLTex.
    """

    NAME = "wos"
    DESCRIPTION = "Paper abstracts by field (Web of Science)."
    HOMEPAGE = "https://data.mendeley.com/datasets/9rw3vkcfy4/6"
    LICENSE = "CC BY 4.0"
    CITATION = """@inproceedings{kowsari2017hdltex,
  title={{HDLTex}: Hierarchical Deep Learning for Text Classification},
  author={Kowsari, Kamran and Brown, Donald E and Heidarysafa, Mojtaba and Jafari Meimandi, Kiana and Gerber, Matthew S
    and Barnes, Laura E},
  booktitle={ICMLA}, year={2017}
}"""
    DOWNLOAD = (
        "download WebOfScience.zip of https://data.mendeley.com/datasets/9rw3vkcfy4/6 and unpack its folders WOS5736, "
        "WOS11967 and WOS46985 into 'wos'"
    )
    MARKERS = ("WOS*/X.txt", "X.txt")
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name=f"wos{rows}_{level}", description=f"{rows} abstracts by {level[:-1]}, true labels.")
        for rows in _SIZES
        for level in _FILES
    ]
    DEFAULT_CONFIG_NAME = "wos46985_domains"

    def _features(self) -> datasets.Features:
        size, level = self._size_and_level()
        names = [str(label) for label in range(_SIZES[size][list(_FILES).index(level)])]
        return noisy_features(TEXT, datasets.Value("string"), names)

    def _source_files(self) -> list[Path]:
        own = super()._source_files()
        return [*own, *chain.from_iterable(sorted(path.iterdir()) for path in own if path.is_dir())]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        size, level = self._size_and_level()
        folder = self._root if self._root.name == f"WOS{size}" else self._root / f"WOS{size}"
        texts, labels = folder / "X.txt", folder / _FILES[level]
        for path in (texts, labels):
            if not path.is_file():
                raise FileNotFoundError(f"file '{path}' of dataset 'wos' is missing; {self.DOWNLOAD}")
        return [datasets.SplitGenerator(datasets.Split.TRAIN, gen_kwargs={"texts": texts, "labels": labels})]

    def _generate_examples(self, texts: Path, labels: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        with texts.open(encoding="utf-8") as lines, labels.open(encoding="utf-8") as numbers:
            for index, (text, number) in enumerate(zip(lines, numbers, strict=True)):
                yield index, {TEXT: text.strip(), LABEL: int(number), CLEAN_LABEL: int(number)}

    def _size_and_level(self) -> tuple[str, str]:
        size, _, level = self.config.name.removeprefix("wos").partition("_")
        return size, level

"""The dataset `noisyag_news`: news by topic, labelled by human annotators."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT
from hf_noisy.data import json_lines
from hf_noisy.data.builders.agnews import CLASSES, AgNewsBuilder
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features

# Level -> its name in the files, such as samples40000trainMed.csv.
_LEVELS = {"best": "Best", "mid": "Med", "worst": "Worst"}
_ABOUT = {
    "best": "The given label is right if any of three annotators was.",
    "mid": "The given label is the majority of three annotators.",
    "worst": "The given label is wrong if any of three annotators was.",
}


class NoisyAgNewsBuilder(NoisyDatasetBuilder):
    """Builder of `noisyag_news`: 40,000 training, 10,000 validation and 7,600 test rows (true labels), four classes.

    The folder holds files of the authors for one or more levels, `samples<rows>train<level>.csv`,
    `samples<rows>val<level>.csv` and `samplesTest.csv` (`label` given, `gt` true), or gzip JSON lines of level `mid`.

    Source: Huang et al. (2024).
    """

    NAME = "noisyag_news"
    DESCRIPTION = "News by topic with human labels (NoisyAG-News)."
    HOMEPAGE = "https://github.com/hhf-hd/NoisyAG-News"
    LICENSE = "labels MIT; texts for research and any other non-commercial activity (AG News)"
    CITATION = """@article{huang2024noisyag,
  title={{NoisyAG-News}: A Benchmark for Addressing Instance-Dependent Noise in Text Classification},
  author={Huang, Hongfei and Liang, Tingting and Sun, Xixi and Jin, Zikang and Yin, Yuyu},
  journal={arXiv:2407.06579}, year={2024}
}
""" + str(AgNewsBuilder.CITATION)
    DOWNLOAD = (
        "download the CSV files of https://github.com/hhf-hd/NoisyAG-News, named like samples40000trainMed.csv, "
        "samples10000valMed.csv and samplesTest.csv, and put them into 'noisyag_news'"
    )
    MARKERS = ("samples*.csv", json_lines.CLASSES_FILE)
    CODE = (json_lines,)
    BUILDER_CONFIGS: ClassVar = [
        *(NoisyConfig(name=level, description=_ABOUT[level], noise=f"annotators/{level}") for level in _LEVELS),
        NoisyConfig(name="clean", description="The given label is the true one."),
    ]
    DEFAULT_CONFIG_NAME = "mid"

    def _features(self) -> datasets.Features:
        return noisy_features(TEXT, datasets.Value("string"), CLASSES)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        level = self.config.name
        if json_lines.has_json_lines(self._root):
            if level in _LEVELS and level != "mid":
                raise ValueError(
                    f"config='{level}' is not in '{self._root}', which holds 'mid' alone; {self.DOWNLOAD}"
                )
            found = json_lines.json_lines_splits(self._root)
        else:
            found = self._csv_files(_LEVELS.get(level, "*"))
        return [datasets.SplitGenerator(split, gen_kwargs={"path": path}) for split, path in found.items()]

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        given = self.config.noise is not None
        yield from enumerate(json_lines.json_lines(path, given) if path.suffix == ".gz" else _csv_rows(path, given))

    def _csv_files(self, level: str) -> dict[str, Path]:
        patterns = {"train": f"samples*train{level}.csv", "validation": f"samples*val{level}.csv"}
        patterns["test"] = "samplesTest*.csv"
        found = {split: sorted(self._root.glob(pattern)) for split, pattern in patterns.items()}
        if not found["train"] and not found["validation"]:
            raise FileNotFoundError(
                f"folder '{self._root}' holds no {patterns['train']} or {patterns['validation']}; {self.DOWNLOAD}"
            )
        return {split: paths[0] for split, paths in found.items() if paths}


def _csv_rows(path: Path, given: bool) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            true = int(row["gt"])
            yield {TEXT: row["text"], LABEL: int(row["label"]) if given else true, CLEAN_LABEL: true}

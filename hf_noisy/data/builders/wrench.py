"""The dataset `wrench`: any folder of the WRENCH benchmark, texts with the votes of labelling rules.

`label.json` holds `{"0": "name", ...}`; `train.json`, `valid.json` and `test.json` hold an object per row,
`{"0": {"label": 0, "weak_labels": [-1, 0], "data": {"text": "..."}}, ...}`. The given label is the majority vote, with
ties and rows without a vote drawn at random. Rows in `labeled_ids.json` are the examples for which the rules were
written, not training rows: they are left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT, VOTES
from hf_noisy.core.rng import uniforms
from hf_noisy.data import json_lines
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.weak import vote
from hf_noisy.data.weak.votes import check_votes

_FILES = {"train": "train.json", "validation": "valid.json", "test": "test.json"}
_EXAMPLES = "labeled_ids.json"


class WrenchBuilder(NoisyDatasetBuilder):
    """Builder of any WRENCH folder, or of a folder of gzip JSON lines with given labels (`hf_noisy.data.json_lines`).

    Source: Zhang et al. (2021), WRENCH: A Comprehensive Benchmark for Weak Supervision.
    """

    NAME = "wrench"
    DESCRIPTION = "Texts labelled by the majority vote of labelling rules, from a folder of the WRENCH benchmark."
    HOMEPAGE = "https://github.com/JieyuZ2/wrench"
    LICENSE = "Apache-2.0 for the benchmark; the texts have the terms of their own sources"
    CITATION = """@inproceedings{zhang2021wrench,
  title={{WRENCH}: A Comprehensive Benchmark for Weak Supervision},
  author={Zhang, Jieyu and Yu, Yue and Li, Yinghao and Wang, Yujing and Yang, Yaming and Yang, Mao and Ratner, Alexander},
  booktitle={NeurIPS Datasets and Benchmarks Track}, year={2021}
}"""  # noqa: E501
    DOWNLOAD = (
        "download a text dataset of https://github.com/JieyuZ2/wrench and pass the folder with its label.json, "
        "train.json, valid.json and test.json as data_dir"
    )
    MARKERS = ("label.json", json_lines.CLASSES_FILE)
    CODE = (json_lines, vote, check_votes, uniforms)
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name="rules", description="The given label is the majority vote of the rules.", noise="rules"),
        NoisyConfig(name="clean", description="The given label is the true one."),
    ]
    DEFAULT_CONFIG_NAME = "rules"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.DOWNLOAD = (
            f"download the dataset '{cls.NAME}' of https://github.com/JieyuZ2/wrench and put its label.json, "
            f"train.json, valid.json and test.json into '{cls.NAME}'"
        )

    def _features(self) -> datasets.Features:
        votes = not json_lines.has_json_lines(self._root) or json_lines.json_lines_have_votes(self._root)
        return noisy_features(TEXT, datasets.Value("string"), self._classes(), votes=votes)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if json_lines.has_json_lines(self._root):
            found = json_lines.json_lines_splits(self._root)
        else:
            files = {split: self._root / file for split, file in _FILES.items()}
            found = {split: path for split, path in files.items() if path.is_file()}
            if not found:
                raise FileNotFoundError(f"folder '{self._root}' holds label.json but no train.json; {self.DOWNLOAD}")
        return [datasets.SplitGenerator(split, gen_kwargs={"path": path}) for split, path in found.items()]

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        given = self.config.noise is not None
        if path.suffix == ".gz":
            yield from enumerate(json_lines.json_lines(path, given))
            return
        rows = self._rows(path)
        votes = np.array([row["weak_labels"] for row in rows], dtype=np.int64)
        labels, _ = vote.majority_vote(votes, len(self._classes()))
        for index, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
            true, text, own = row["label"], row["data"]["text"], row["weak_labels"]
            yield index, {TEXT: text, LABEL: label if given else true, CLEAN_LABEL: true, VOTES: own}

    def _classes(self) -> list[str]:
        if json_lines.has_json_lines(self._root):
            return json_lines.json_lines_classes(self._root)
        names: dict[str, str] = json.loads((self._root / "label.json").read_text("utf-8"))
        return [names[str(label)] for label in range(len(names))]

    def _rows(self, path: Path) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
        examples: set[str] = set()
        if path.name == _FILES["train"] and (self._root / _EXAMPLES).is_file():
            examples = set(json.loads((self._root / _EXAMPLES).read_text("utf-8"))["lf_exemplar_ids"])
        return [row for key, row in rows.items() if key not in examples]

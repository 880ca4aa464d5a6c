"""Datasets whose labels are lists: `wikigold_distant` (tags), `goemotions` and `redocred` (sets of classes)."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT, TOKENS
from hf_noisy.data import json_lines
from hf_noisy.data.builders.builder import NoisyConfig
from hf_noisy.data.builders.json_lines_sets import JsonLinesBuilder

_CLEAN = NoisyConfig(name="clean", description="The given labels are the true ones.")


class LabelListsBuilder(JsonLinesBuilder):
    """Builder of a folder of gzip JSON lines with lists of labels."""

    def _features(self) -> datasets.Features:
        labels = datasets.List(datasets.ClassLabel(names=json_lines.json_lines_classes(self._root)))
        return datasets.Features({**self._content(), LABEL: labels, CLEAN_LABEL: labels})

    def _content(self) -> dict[str, Any]:
        return {TEXT: datasets.Value("string")}

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(json_lines.json_rows(path, self._row))

    @abstractmethod
    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The columns of a row."""


class WikiGoldBuilder(LabelListsBuilder):
    """Builder of `wikigold_distant`: 1,142 training, 280 validation and 274 test sentences, four types of entities.

    Source: tags Balasuriya et al. (2009); distant tags Liang et al. (2020), BOND.
    """

    NAME = "wikigold_distant"
    DESCRIPTION = "Sentences of Wikipedia with named entities (Wikigold), tagged by a knowledge base."
    HOMEPAGE = "https://github.com/cliang1453/BOND"
    FILES = "the files of Wikigold"
    LICENSE = "sentences and tags CC BY 4.0; distant tags Apache-2.0"
    CITATION = """@inproceedings{balasuriya2009named,
  title={Named Entity Recognition in {Wikipedia}},
  author={Balasuriya, Dominic and Ringland, Nicky and Nothman, Joel and Murphy, Tara and Curran, James R.},
  booktitle={Workshop on The People's Web Meets NLP}, year={2009}
}
@inproceedings{liang2020bond,
  title={{BOND}: {BERT}-Assisted Open-Domain Named Entity Recognition with Distant Supervision},
  author={Liang, Chen and Yu, Yue and Jiang, Haoming and Er, Siawpeng and Wang, Ruijia and Zhao, Tuo and Zhang, Chao},
  booktitle={KDD}, year={2020}
}
"""
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name="distant", description="The given tags come from a knowledge base.", noise="distant"),
        _CLEAN,
    ]
    DEFAULT_CONFIG_NAME = "distant"

    def _content(self) -> dict[str, Any]:
        return {TOKENS: datasets.List(datasets.Value("string"))}

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        given = row.get("distant", row["ner_tags"]) if self.config.noise else row["ner_tags"]
        return {TOKENS: row["tokens"], LABEL: given, CLEAN_LABEL: row["ner_tags"]}


class GoEmotionsBuilder(LabelListsBuilder):
    """Builder of `goemotions`: 12,000 training, 2,000 validation and 2,000 test comments, 28 emotions.

    Source: Demszky et al. (2020).
    """

    NAME = "goemotions"
    DESCRIPTION = "Comments of Reddit by emotions, one or several each (GoEmotions, a sample)."
    HOMEPAGE = "https://github.com/google-research/google-research/tree/master/goemotions"
    FILES = "the files of GoEmotions"
    LICENSE = "Apache-2.0; comments for research use"
    CITATION = """@inproceedings{demszky2020goemotions,
  title={{GoEmotions}: A Dataset of Fine-Grained Emotions},
  author={Demszky, Dorottya and Movshovitz-Attias, Dana and Ko, Jeongwoo and Cowen, Alan and Nemade, Gaurav
    and Ravi, Sujith},
  booktitle={ACL}, year={2020}
}
"""
    BUILDER_CONFIGS: ClassVar = [_CLEAN]
    DEFAULT_CONFIG_NAME = "clean"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {TEXT: row["text"], LABEL: row["labels"], CLEAN_LABEL: row["labels"]}


class ReDocRedBuilder(LabelListsBuilder):
    """Builder of `redocred`: 659 training, 69 validation and 272 test documents, 96 relations; half are missing.

    Source: given labels Yao et al. (2019), DocRED; true labels Tan et al. (2022), Re-DocRED.
    """

    NAME = "redocred"
    DESCRIPTION = "Documents of Wikipedia by the relations that they state (DocRED)."
    HOMEPAGE = "https://github.com/tonytan48/Re-DocRED"
    FILES = "the documents of Re-DocRED and DocRED"
    LICENSE = "labels MIT; texts CC BY-SA (Wikipedia)"
    CITATION = """@inproceedings{yao2019docred,
  title={{DocRED}: A Large-Scale Document-Level Relation Extraction Dataset},
  author={Yao, Yuan and Ye, Deming and Li, Peng and Han, Xu and Lin, Yankai and Liu, Zhenghao and Liu, Zhiyuan
    and Huang, Lixin and Zhou, Jie and Sun, Maosong},
  booktitle={ACL}, year={2019}
}
@inproceedings{tan2022revisiting,
  title={Revisiting {DocRED}: Addressing the False Negative Problem in Relation Extraction},
  author={Tan, Qingyu and Xu, Lu and Bing, Lidong and Ng, Hwee Tou and Aljunied, Sharifah Mahani},
  booktitle={EMNLP}, year={2022}
}
"""
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name="docred", description="The given labels are those of DocRED.", noise="missing"),
        _CLEAN,
    ]
    DEFAULT_CONFIG_NAME = "docred"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        given = row.get("noisy_labels", row["labels"]) if self.config.noise else row["labels"]
        return {TEXT: row["text"], LABEL: given, CLEAN_LABEL: row["labels"]}

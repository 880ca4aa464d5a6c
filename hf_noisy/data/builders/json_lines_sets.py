"""Text datasets read from gzip JSON lines: `mr_chatgpt`, `semeval_llm`, `yelp_rules` and `yoruba_newsclass`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import TEXT
from hf_noisy.data import json_lines
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.wrench_sets import SemEvalBuilder


class JsonLinesBuilder(NoisyDatasetBuilder):
    """Builder of a folder of gzip JSON lines with `label` and `weak_label` (`hf_noisy.data.json_lines`)."""

    FILES: ClassVar[str]  # in the repository of HOMEPAGE
    MARKERS = (json_lines.CLASSES_FILE,)
    CODE = (json_lines,)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "NAME"):  # a base of builders
            return
        cls.DOWNLOAD = (
            f"download {cls.FILES} of {cls.HOMEPAGE} and write labels.json and train.jsonl.gz, as docs/data.md "
            f"describes them, into '{cls.NAME}'"
        )

    def _features(self) -> datasets.Features:
        return noisy_features(TEXT, datasets.Value("string"), json_lines.json_lines_classes(self._root))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        found = json_lines.json_lines_splits(self._root)
        return [datasets.SplitGenerator(split, gen_kwargs={"path": path}) for split, path in found.items()]

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        columns = self.info.features
        for index, row in enumerate(json_lines.json_lines(path, given=self.config.noise is not None)):
            yield index, {name: row[name] for name in columns}


def _configs(noise: str, description: str) -> list[NoisyConfig]:
    return [
        NoisyConfig(name=noise, description=description, noise=noise),
        NoisyConfig(name="clean", description="The given label is the true one."),
    ]


class MrChatGptBuilder(JsonLinesBuilder):
    """Builder of `mr_chatgpt`: 8,662 training, 1,003 validation and 997 test sentences, two classes.

    Source: sentences Pang and Lee (2005); labels Xiao et al. (2023), FreeAL.
    """

    NAME = "mr_chatgpt"
    DESCRIPTION = "Sentences of film reviews by sentiment (MR), labelled by gpt-3.5-turbo."
    HOMEPAGE = "https://github.com/Justherozen/FreeAL"
    FILES = "self_training_slm/data_in/mr"
    LICENSE = "sentences for research use, without a formal licence; none stated for the labels"
    CITATION = """@inproceedings{pang2005seeing,
  title={Seeing Stars: Exploiting Class Relationships for Sentiment Categorization with Respect to Rating Scales},
  author={Pang, Bo and Lee, Lillian}, booktitle={ACL}, year={2005}
}
@inproceedings{xiao2023freeal,
  title={{FreeAL}: Towards Human-Free Active Learning in the Era of Large Language Models},
  author={Xiao, Ruixuan and Dong, Yiwen and Zhao, Junbo and Wu, Runze and Lin, Minmin and Chen, Gang and Wang, Haobo},
  booktitle={EMNLP}, year={2023}
}
"""
    BUILDER_CONFIGS: ClassVar = _configs("llm", "The given label is the answer of a language model.")
    DEFAULT_CONFIG_NAME = "llm"


class SemEvalLlmBuilder(JsonLinesBuilder):
    """Builder of `semeval_llm`: 1,748 training, 177 validation and 600 test sentences, nine classes.

    Source: sentences Hendrickx et al. (2010), Task 8; labels Ye et al. (2025), SiDyP.
    """

    NAME = "semeval_llm"
    DESCRIPTION = "Sentences by relation of two entities (SemEval-2010 Task 8), labelled by Mixtral."
    HOMEPAGE = "https://github.com/liqinye/SiDyP"
    FILES = "the files of SemEval"
    LICENSE = "sentences CC BY 3.0; none stated for the labels"
    CITATION = """@article{ye2025calibrating,
  title={Calibrating Pre-trained Language Classifiers on {LLM}-generated Noisy Labels via Iterative Refinement},
  author={Ye, Liqin and Shah, Agam and Zhang, Chao and Chava, Sudheer}, journal={arXiv:2505.19675}, year={2025}
}
""" + str(SemEvalBuilder.CITATION)
    BUILDER_CONFIGS: ClassVar = _configs("llm", "The given label is the answer of a language model.")
    DEFAULT_CONFIG_NAME = "llm"


class YelpRulesBuilder(JsonLinesBuilder):
    """Builder of `yelp_rules`: 3,800 training and 2,000 test reviews, two classes.

    Source: reviews Zhang et al. (2015); rules Ren et al. (2020), as in Yu et al. (2021), COSINE.
    """

    NAME = "yelp_rules"
    DESCRIPTION = "Reviews by sentiment (Yelp), labelled by rules."
    HOMEPAGE = "https://github.com/yueyu1030/COSINE"
    FILES = "the files of Yelp"
    LICENSE = "reviews for research use (terms of Yelp); none stated for the labels"
    CITATION = """@inproceedings{zhang2015character,
  title={Character-level Convolutional Networks for Text Classification},
  author={Zhang, Xiang and Zhao, Junbo and LeCun, Yann}, booktitle={NeurIPS}, year={2015}
}
@inproceedings{ren2020denoising,
  title={Denoising Multi-Source Weak Supervision for Neural Text Classification},
  author={Ren, Wendi and Li, Yinghao and Su, Hanting and Kartchner, David and Mitchell, Cassie and Zhang, Chao},
  booktitle={Findings of EMNLP}, year={2020}
}
@inproceedings{yu2021finetuning,
  title={Fine-Tuning Pre-trained Language Model with Weak Supervision: A Contrastive-Regularized
    Self-Training Approach},
  author={Yu, Yue and Zuo, Simiao and Jiang, Haoming and Ren, Wendi and Zhao, Tuo and Zhang, Chao},
  booktitle={NAACL-HLT}, year={2021}
}
"""
    BUILDER_CONFIGS: ClassVar = _configs("rules", "The given label is the majority vote of the rules.")
    DEFAULT_CONFIG_NAME = "rules"


class YorubaNewsBuilder(JsonLinesBuilder):
    """Builder of `yoruba_newsclass`: 1,340 training, 189 validation and 379 test headlines, seven classes.

    Source: Hedderich et al. (2020).
    """

    NAME = "yoruba_newsclass"
    DESCRIPTION = "Headlines in Yoruba by topic, labelled by lists of names and words."
    HOMEPAGE = "https://github.com/uds-lsv/transfer-distant-transformer-african"
    FILES = "the Yoruba headlines"
    LICENSE = "for research use; none stated with the files"
    CITATION = """@inproceedings{hedderich2020transfer,
  title={Transfer Learning and Distant Supervision for Multilingual Transformer Models: A Study on
    {African} Languages},
  author={Hedderich, Michael A. and Adelani, David and Zhu, Dawei and Alabi, Jesujoba and Markus, Udia
    and Klakow, Dietrich},
  booktitle={EMNLP}, year={2020}
}
"""
    BUILDER_CONFIGS: ClassVar = _configs("distant", "The given label comes from lists of names and words.")
    DEFAULT_CONFIG_NAME = "distant"

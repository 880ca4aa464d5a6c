"""The dataset `semeval`: sentences by the relation between two things in them, labelled by 164 patterns."""

from hf_noisy.data.builders.wrench import WrenchBuilder


class SemEvalBuilder(WrenchBuilder):
    """Builder of `semeval`, 1,749 sentences to train on, 178 to validate, 600 to test, nine classes.

    Source: sentences Hendrickx et al. (2010), Task 8; rules Zhou et al. (2020), NERO; both as in WRENCH.
    """

    NAME = "semeval"
    DESCRIPTION = "Sentences by the relation between two things in them (SemEval-2010 Task 8), votes of 164 patterns."
    HOMEPAGE = "https://aclanthology.org/S10-1006/"
    LICENSE = "sentences CC BY 3.0; rules MIT; votes Apache-2.0"
    CITATION = """@inproceedings{hendrickx2010semeval,
  title={{SemEval}-2010 Task 8: Multi-Way Classification of Semantic Relations between Pairs of Nominals},
  author={Hendrickx, Iris and Kim, Su Nam and Kozareva, Zornitsa and Nakov, Preslav and {\\'O} S{\\'e}aghdha, Diarmuid
    and Pad{\\'o}, Sebastian and Pennacchiotti, Marco and Romano, Lorenza and Szpakowicz, Stan},
  booktitle={SemEval},
  year={2010}
}
@inproceedings{zhou2020nero,
  title={{NERO}: A Neural Rule Grounding Framework for Label-Efficient Relation Extraction},
  author={Zhou, Wenxuan and Lin, Hongtao and Lin, Bill Yuchen and Wang, Ziqi and Du, Junyi and Neves, Leonardo
    and Ren, Xiang},
  booktitle={The Web Conference},
  year={2020}
}
""" + str(WrenchBuilder.CITATION)
    DOWNLOAD = (
        "download the dataset 'semeval' of https://github.com/JieyuZ2/wrench and put its label.json, train.json, "
        "valid.json and test.json into 'semeval'"
    )

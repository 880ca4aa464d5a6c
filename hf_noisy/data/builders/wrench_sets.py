"""The datasets `trec`, `semeval`, `chemprot` and `sms`: texts of WRENCH with the votes of labelling rules."""

from hf_noisy.data.builders.wrench import WrenchBuilder


class TrecBuilder(WrenchBuilder):
    """Builder of `trec`: 4,965 training, 500 validation and 500 test questions, six classes.

    Source: questions Li and Roth (2002), rules Awasthi et al. (2020), both as in WRENCH.
    """

    NAME = "trec"
    DESCRIPTION = "Questions by type of answer (TREC), with the votes of 68 regular expressions."
    HOMEPAGE = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"
    LICENSE = "questions for research use, without a formal licence; rules and votes Apache-2.0"
    CITATION = """@inproceedings{li2002learning,
  title={Learning Question Classifiers}, author={Li, Xin and Roth, Dan}, booktitle={COLING}, year={2002}
}
@inproceedings{awasthi2020learning,
  title={Learning from Rules Generalizing Labeled Exemplars},
  author={Awasthi, Abhijeet and Ghosh, Sabyasachi and Goyal, Rasna and Sarawagi, Sunita}, booktitle={ICLR},
  year={2020}
}
""" + str(WrenchBuilder.CITATION)


class SemEvalBuilder(WrenchBuilder):
    """Builder of `semeval`: 1,749 training, 178 validation and 600 test sentences, nine classes.

    Source: sentences Hendrickx et al. (2010), Task 8; rules Zhou et al. (2020), NERO; both as in WRENCH.
    """

    NAME = "semeval"
    DESCRIPTION = "Sentences by relation of two entities (SemEval-2010 Task 8), with the votes of 164 patterns."
    HOMEPAGE = "https://aclanthology.org/S10-1006/"
    LICENSE = "sentences CC BY 3.0; rules MIT; votes Apache-2.0"
    CITATION = """@inproceedings{hendrickx2010semeval,
  title={{SemEval}-2010 Task 8: Multi-Way Classification of Semantic Relations between Pairs of Nominals},
  author={Hendrickx, Iris and Kim, Su Nam and Kozareva, Zornitsa and Nakov, Preslav and {\\'O} S{\\'e}aghdha, Diarmuid
    and Pad{\\'o}, Sebastian and Pennacchiotti, Marco and Romano, Lorenza and Szpakowicz, Stan},
  booktitle={SemEval}, year={2010}
}
@inproceedings{zhou2020nero,
  title={{NERO}: A Neural Rule Grounding Framework for Label-Efficient Relation Extraction},
  author={Zhou, Wenxuan and Lin, Hongtao and Lin, Bill Yuchen and Wang, Ziqi and Du, Junyi and Neves, Leonardo
    and Ren, Xiang},
  booktitle={The Web Conference}, year={2020}
}
""" + str(WrenchBuilder.CITATION)


class ChemProtBuilder(WrenchBuilder):
    """Builder of `chemprot`, ten classes; a sentence with several pairs of entities occurs once per pair.

    Source: sentences Krallinger et al. (2017), BioCreative VI; rules Yu et al. (2021), COSINE; both as in WRENCH.
    """

    NAME = "chemprot"
    DESCRIPTION = "Sentences by chemical-protein relation (ChemProt), with the votes of 26 keyword rules."
    HOMEPAGE = "https://biocreative.bioinformatics.udel.edu/tasks/biocreative-vi/track-5/"
    LICENSE = "sentences in the public domain, as the BigBIO collection states; rules and votes Apache-2.0 (WRENCH)"
    CITATION = """@inproceedings{krallinger2017overview,
  title={Overview of the {BioCreative VI} chemical-protein interaction track},
  author={Krallinger, Martin and Rabal, Obdulia and Akhondi, Saber A and others},
  booktitle={BioCreative Challenge Evaluation Workshop}, year={2017}
}
@inproceedings{yu2021finetuning,
  title={Fine-Tuning Pre-trained Language Model with Weak Supervision: A Contrastive-Regularized
    Self-Training Approach},
  author={Yu, Yue and Zuo, Simiao and Jiang, Haoming and Ren, Wendi and Zhao, Tuo and Zhang, Chao},
  booktitle={NAACL-HLT}, year={2021}
}
""" + str(WrenchBuilder.CITATION)


class SmsBuilder(WrenchBuilder):
    """Builder of `sms`: 4,502 training, 500 validation and 500 test messages, two classes.

    Source: messages Almeida et al. (2011), rules Awasthi et al. (2020), both as in WRENCH.
    """

    NAME = "sms"
    DESCRIPTION = "Text messages, spam or not (SMS Spam Collection), with the votes of 73 rules."
    HOMEPAGE = "https://archive.ics.uci.edu/dataset/228/sms+spam+collection"
    LICENSE = "messages CC BY 4.0; rules and votes Apache-2.0"
    CITATION = """@inproceedings{almeida2011contributions,
  title={Contributions to the Study of {SMS} Spam Filtering: New Collection and Results},
  author={Almeida, Tiago A. and G{\\'o}mez Hidalgo, Jos{\\'e} Mar{\\'i}a and Yamakami, Akebo},
  booktitle={DocEng}, year={2011}
}
@inproceedings{awasthi2020learning,
  title={Learning from Rules Generalizing Labeled Exemplars},
  author={Awasthi, Abhijeet and Ghosh, Sabyasachi and Goyal, Rasna and Sarawagi, Sunita}, booktitle={ICLR},
  year={2020}
}
""" + str(WrenchBuilder.CITATION)

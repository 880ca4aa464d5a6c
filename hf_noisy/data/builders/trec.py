"""The dataset `trec`: questions by what they ask for, labelled by 68 regular expressions."""

from hf_noisy.data.builders.wrench import WrenchBuilder


class TrecBuilder(WrenchBuilder):
    """Builder of `trec`, 4,965 questions to train on, 500 to validate, 500 to test, six classes.

    Source: questions Li and Roth (2002), rules Awasthi et al. (2020), both as in WRENCH.
    """

    NAME = "trec"
    DESCRIPTION = "Questions by what they ask for (TREC), with the votes of 68 regular expressions."
    HOMEPAGE = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"
    LICENSE = "questions for research use, without a formal licence; rules and votes Apache-2.0"
    CITATION = """@inproceedings{li2002learning,
  title={Learning Question Classifiers},
  author={Li, Xin and Roth, Dan},
  booktitle={COLING},
  year={2002}
}
@inproceedings{awasthi2020learning,
  title={Learning from Rules Generalizing Labeled Exemplars},
  author={Awasthi, Abhijeet and Ghosh, Sabyasachi and Goyal, Rasna and Sarawagi, Sunita},
  booktitle={ICLR},
  year={2020}
}
""" + str(WrenchBuilder.CITATION)
    DOWNLOAD = (
        "download the dataset 'trec' of https://github.com/JieyuZ2/wrench and put its label.json, train.json, "
        "valid.json and test.json into 'trec'"
    )

"""The dataset `chemprot`: sentences by what a chemical does to a protein, labelled by 26 keyword rules."""

from hf_noisy.data.builders.wrench import WrenchBuilder


class ChemProtBuilder(WrenchBuilder):
    """Builder of `chemprot`, ten classes. Sentences that name several pairs stand there once a pair.

    Source: sentences Krallinger et al. (2017), BioCreative VI; rules Yu et al. (2021), COSINE; both as in WRENCH.
    """

    NAME = "chemprot"
    DESCRIPTION = "Sentences by what a chemical does to a protein (ChemProt), with the votes of 26 keyword rules."
    HOMEPAGE = "https://biocreative.bioinformatics.udel.edu/tasks/biocreative-vi/track-5/"
    LICENSE = "sentences in the public domain, as the BigBIO collection states; rules and votes Apache-2.0 (WRENCH)"
    CITATION = """@inproceedings{krallinger2017overview,
  title={Overview of the {BioCreative VI} chemical-protein interaction track},
  author={Krallinger, Martin and Rabal, Obdulia and Akhondi, Saber A and others},
  booktitle={BioCreative Challenge Evaluation Workshop},
  year={2017}
}
@inproceedings{yu2021finetuning,
  title={Fine-Tuning Pre-trained Language Model with Weak Supervision: A Contrastive-Regularized
    Self-Training Approach},
  author={Yu, Yue and Zuo, Simiao and Jiang, Haoming and Ren, Wendi and Zhao, Tuo and Zhang, Chao},
  booktitle={NAACL-HLT},
  year={2021}
}
""" + str(WrenchBuilder.CITATION)
    DOWNLOAD = (
        "download the dataset 'chemprot' of https://github.com/JieyuZ2/wrench and put its label.json, train.json, "
        "valid.json and test.json into 'chemprot'"
    )

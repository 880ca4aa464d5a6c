"""The dataset `docs`: from which package is a docstring? Real text with real rule noise, without any download.

A row is the first sentence of a public docstring of a package that the library depends on, with package names masked.
The true label is the package. The given label is the majority vote of keyword rules; sentences without a vote are
dropped, as is usual for weak supervision. About 40 % of the given labels are wrong.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import datasets
import numpy as np
from jaxtyping import Integer

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT, VOTES
from hf_noisy.core.rng import uniforms
from hf_noisy.data.builders import docstrings
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.weak import vote as voting
from hf_noisy.data.weak.votes import check_votes

# Name of the class and of the distribution -> name to import.
PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "pandas": "pandas",
    "torch": "torch",
    "transformers": "transformers",
    "huggingface_hub": "huggingface_hub",
}
CLASSES = list(PACKAGES)

# Written from knowledge of the packages, without looking at labels.
RULES = {
    "numpy": (
        r"arrays?|ndarrays?",
        r"polynomials?|chebyshev|hermite|legendre|laguerre",
        r"mask(ed)?|dtypes?|ufuncs?|broadcast\w*",
        r"fortran|compilers?|distutils|c source",
        r"dimensions?|axis|axes|shapes?|elements?",
    ),
    "scipy": (
        r"distributions?|probability|random variables?",
        r"filters?|signals?|fft|fourier|splines?|interpolat\w+",
        r"optimi[sz]\w+|minimi[sz]\w+|roots?|integra\w+|differential|derivatives?|jacobian",
        r"sparse|matri(x|ces)|eigen\w+|linear",
        r"distances?|statistics?|tests?",
    ),
    "scikit-learn": (
        r"fit(s|ted|ting)?|estimators?",
        r"predict\w*|scores?|samples?|metrics?",
        r"classif\w+|regress\w+|cluster\w*|neighbors?",
        r"features?|kernels?|datasets?|transform\w*",
        r"training|cross.validat\w+|grid search",
    ),
    "pandas": (
        r"dataframes?|series",
        r"index(es)?|multiindex|columns?|rows?",
        r"group\w*|axis|categor\w+|labels?",
        r"dates?|datetimes?|period\w*|time ?stamps?|timezones?|intervals?",
        r"tables?|csv|excel|sql|null|missing|values?|strings?",
    ),
    "torch": (
        r"tensors?",
        r"modules?|autograd|gradients?|backward|optimizers?",
        r"cuda|gpus?|devices?|distributed|ranks?|process(es)? group",
        r"graphs?|trac(e|ed|ing)|compil\w+|jit|ops?|operators?|nodes?",
        r"loss|weights?|parameters?",
    ),
    "transformers": (
        r"tokens?|tokeniz\w+|vocabulary|text",
        r"attention|encoders?|decoders?|embeddings?|transformers?",
        r"models?|config\w*|pretrained|checkpoints?",
        r"images?|videos?|audio|processors?|features? extractor",
        r"generat\w+|logits|sequences?|layers?",
    ),
    "huggingface_hub": (
        r"repos?|repositor(y|ies)|hub",
        r"jobs?|endpoints?|inference|spaces?",
        r"files?|downloads?|uploads?|cach\w+|paths?",
        r"users?|organi[sz]ations?|tokens?|login|access",
        r"urls?|https?|commits?|branch(es)?|discussions?|webhooks?|clients?|requests?|api",
    ),
}
_RULES = [
    (CLASSES.index(name), re.compile(rf"\b({pattern})\b", re.IGNORECASE))
    for name in CLASSES
    for pattern in RULES[name]
]
_ABSTAIN = -1
_ROWS_PER_CLASS = 600
# More sentences than rows, so that the rows come from many files of a package.
_SENTENCES_PER_CLASS = 1100


class DocsBuilder(NoisyDatasetBuilder):
    """Builder of `docs`; the rows, and so the cache folder, depend on the versions of the packages."""

    NAME = "docs"
    DESCRIPTION = "First sentences of docstrings, labelled with their package by keyword rules."
    LICENSE = (
        "sentences BSD-3-Clause (numpy, scipy, scikit-learn, pandas, torch), Apache-2.0 (the others); rules Apache-2.0"
    )
    CITATION = "Cite the packages whose docstrings they are: " + ", ".join(PACKAGES)
    CODE = (docstrings, voting, check_votes, uniforms)
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name="rules", description="The given label is the majority vote of the rules.", noise="rules"),
        NoisyConfig(name="clean", description="The given label is the true one."),
    ]
    DEFAULT_CONFIG_NAME = "rules"

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        self._versions = docstrings.package_versions(CLASSES)
        super().__init__(config_name, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        info = super()._info()
        info.description += f"\n{json.dumps({'packages': self._versions})}"
        return info

    def _features(self) -> datasets.Features:
        return noisy_features(TEXT, datasets.Value("string"), CLASSES, votes=True)

    def _fingerprint_parts(self) -> list[str]:
        return [*super()._fingerprint_parts(), json.dumps(self._versions)]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows = _rows()
        return [
            datasets.SplitGenerator(name, gen_kwargs={"rows": [row for row in rows if _split(row[TEXT]) == name]})
            for name in (datasets.Split.TRAIN, datasets.Split.VALIDATION, datasets.Split.TEST)
        ]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, row in enumerate(rows):
            yield index, row if self.config.noise else {**row, LABEL: row[CLEAN_LABEL]}


def vote(texts: list[str]) -> Integer[np.ndarray, "rows rules"]:
    """Votes of the keyword rules, `[rows, rules]`; -1 where a rule is silent."""
    votes = [[label if pattern.search(text) else _ABSTAIN for label, pattern in _RULES] for text in texts]
    return np.array(votes, dtype=np.int64).reshape(len(texts), len(_RULES))


def _rows() -> list[dict[str, Any]]:
    found = [docstrings.package_sentences(package, _SENTENCES_PER_CLASS) for package in PACKAGES.values()]
    owners: dict[str, set[int]] = {}
    for label, sentences in enumerate(found):
        for sentence in sentences:
            owners.setdefault(sentence.casefold(), set()).add(label)
    texts, clean = [], []
    for label, sentences in enumerate(found):
        # A sentence shared by two packages has no true label.
        own = [sentence for sentence in sentences if len(owners[sentence.casefold()]) == 1]
        covered = [sentence for sentence, votes in zip(own, vote(own), strict=True) if (votes != _ABSTAIN).any()]
        texts += covered[:_ROWS_PER_CLASS]
        clean += [label] * len(covered[:_ROWS_PER_CLASS])
    votes = vote(texts)
    given, _ = voting.majority_vote(votes, len(CLASSES), seed=0, abstain=_ABSTAIN)
    rows = [
        {TEXT: text, LABEL: int(label), CLEAN_LABEL: true, VOTES: row}
        for text, label, true, row in zip(texts, given, clean, votes.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: docstrings.stable_hash(row[TEXT]))


def _split(text: str) -> datasets.NamedSplit:
    # Salted, so that the split does not depend on the order of selection.
    share = docstrings.stable_hash("split/" + text) % 10
    return datasets.Split.TRAIN if share < 7 else datasets.Split.VALIDATION if share < 8 else datasets.Split.TEST

"""The dataset `docs`: what is a docstring about? Real text with real rule noise, without any download.

A row is the first sentence of a public docstring of the standard library, sympy or networkx; package names are masked.
The true label is the subject of the module that it comes from. The given label is the majority vote of keyword rules;
sentences without a vote are dropped, as is usual for weak supervision. About 37 % of the given labels are wrong.
"""

import json
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, ClassVar

import datasets
import numpy as np
from jaxtyping import Integer

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT, VOTES
from hf_noisy.data.builders import docstrings
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.fingerprint import texts_digest

# Modules that every supported Python has, and packages that torch requires and that change little between releases.
SOURCES = {
    "internet": """
        asyncio email ftplib html http imaplib ipaddress mailbox netrc poplib smtplib socket socketserver ssl urllib
        webbrowser wsgiref xmlrpc""",
    "programming": """
        abc ast bdb code codeop contextlib dataclasses dis doctest enum functools importlib inspect operator pkgutil
        profile pstats pydoc runpy symtable trace traceback tracemalloc types typing unittest warnings weakref""",
    "algebra": "sympy.combinatorics sympy.ntheory sympy.polys",
    "physics": "sympy.physics",
    "graphs": """
        networkx.algorithms networkx.classes networkx.drawing networkx.generators networkx.linalg
        networkx.readwrite""",
}
CLASSES = list(SOURCES)
PACKAGES = ("networkx", "sympy")

# Keywords of the subjects, written without looking at labels. Many words mean something else in another subject.
RULES = {
    "internet": (
        r"address(es)?|hosts?|ports?|domains?|names?",
        r"messages?|mail\w*|headers?|body|fields?|parts?",
        r"connect\w*|servers?|clients?|links?|networks?",
        r"requests?|responses?|send\w*|receiv\w*|transfer\w*",
        r"urls?|http|pages?|paths?|protocols?|encod\w+",
    ),
    "programming": (
        r"class(es)?|objects?|instances?|methods?|attributes?",
        r"functions?|arguments?|parameters?|call(s|ed|able)?",
        r"modules?|imports?|packages?|types?|operators?",
        r"errors?|exceptions?|warnings?|tests?|debug\w*|checks?",
        r"code|source|stack|frames?|variables?|expressions?|iterat\w+|generators?",
    ),
    "algebra": (
        r"polynomials?|terms?|coefficients?|degrees?|roots?",
        r"integers?|primes?|numbers?|factor\w*|divi[ds]\w+",
        r"groups?|rings?|fields?|ideals?|modules?|elements?",
        r"matri(x|ces)|basis|bases|linear|products?|sums?",
        r"equations?|expressions?|functions?|symbols?|variables?",
    ),
    "physics": (
        r"forces?|energy|mass(es)?|velocit(y|ies)|accelerat\w+|momentum|moments?",
        r"bod(y|ies)|particles?|points?|positions?|coordinates?|directions?|frames?",
        r"quantum|states?|spins?|waves?|operators?|fields?",
        r"systems?|time|seconds?|signals?|flow|control\w*",
        r"units?|dimensions?|values?|measure\w*|lengths?|distances?",
    ),
    "graphs": (
        r"graphs?|networks?|maps?",
        r"nodes?|edges?|vert(ex|ices)|neighbou?rs?|degrees?",
        r"paths?|cycles?|trees?|roots?|flow|cuts?",
        r"connect\w*|components?|links?|pairs?",
        r"weights?|orders?|sets?|subsets?|distances?",
    ),
}
_RULES = [
    (CLASSES.index(name), re.compile(rf"\b({pattern})\b", re.IGNORECASE))
    for name in CLASSES
    for pattern in RULES[name]
]
_ABSTAIN = -1
_ROWS_PER_CLASS = 900


class DocsBuilder(NoisyDatasetBuilder):
    """Builder of `docs`; the rows, and so the cache folder, depend on the versions of Python and the packages."""

    NAME = "docs"
    DESCRIPTION = "First sentences of docstrings, labelled with their subject by keyword rules."
    LICENSE = "sentences PSF-2.0 (Python), BSD-3-Clause (networkx, sympy); rules Apache-2.0"
    CITATION = "Cite Python and the packages whose docstrings they are: " + ", ".join(PACKAGES)
    CODE = (docstrings,)
    BUILDER_CONFIGS: ClassVar = [
        NoisyConfig(name="rules", description="The given label is the majority vote of the rules.", noise="rules"),
        NoisyConfig(name="clean", description="The given label is the true one."),
    ]
    DEFAULT_CONFIG_NAME = "rules"

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        self._versions = json.dumps({"python": platform.python_version()} | {name: version(name) for name in PACKAGES})
        super().__init__(config_name, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        info = super()._info()
        info.description += f"\n{self._versions}"
        return info

    def _features(self) -> datasets.Features:
        return noisy_features(TEXT, datasets.Value("string"), CLASSES, votes=True)

    def _fingerprint_parts(self) -> list[str]:
        return [*super()._fingerprint_parts(), self._versions]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows = _rows()
        return [
            datasets.SplitGenerator(name, gen_kwargs={"rows": [row for row in rows if _split(row[TEXT]) == name]})
            for name in (datasets.Split.TRAIN, datasets.Split.VALIDATION, datasets.Split.TEST)
        ]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, row in enumerate(rows):
            yield index, row if self.config.noise else {**row, LABEL: row[CLEAN_LABEL]}


def docs_digest() -> str:
    """Short digest of the texts of all splits, to tell whether two results are of the same rows."""
    return texts_digest([text for split in DocsBuilder().build().values() for text in split[TEXT][:]])


def vote(texts: list[str]) -> Integer[np.ndarray, "rows rules"]:
    """Votes of the keyword rules, `[rows, rules]`; -1 where a rule is silent."""
    votes = [[label if pattern.search(text) else _ABSTAIN for label, pattern in _RULES] for text in texts]
    return np.array(votes, dtype=np.int64).reshape(len(texts), len(_RULES))


def _rows() -> list[dict[str, Any]]:
    """All rows in the order of a hash of their texts, so that a changed docstring leaves the others as they are."""
    owners: dict[str, set[int]] = {}
    for label, modules in enumerate(SOURCES.values()):
        for sentence in docstrings.sentences(modules.split()):
            owners.setdefault(sentence, set()).add(label)
    # A sentence of two subjects has no true label.
    texts = docstrings.without_near_duplicates([text for text, labels in owners.items() if len(labels) == 1])
    rows: list[dict[str, Any]] = []
    room = [_ROWS_PER_CLASS] * len(CLASSES)
    for text, votes in zip(texts, vote(texts), strict=True):
        (clean,) = owners[text]
        counts = np.bincount(votes[votes != _ABSTAIN], minlength=len(CLASSES))
        if counts.any() and room[clean]:
            room[clean] -= 1
            most = np.flatnonzero(counts == counts.max())
            given = most[docstrings.stable_hash("tie/" + text) % len(most)]
            rows.append({TEXT: text, LABEL: int(given), CLEAN_LABEL: clean, VOTES: votes.tolist()})
    return rows


def _split(text: str) -> datasets.NamedSplit:
    # Salted, so that the split does not depend on the order of selection.
    share = docstrings.stable_hash("split/" + text) % 20
    return datasets.Split.TRAIN if share < 9 else datasets.Split.VALIDATION if share < 11 else datasets.Split.TEST

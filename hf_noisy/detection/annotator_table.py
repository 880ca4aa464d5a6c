"""What is known of each annotator: accuracy with an interval, coverage, and what makes its votes count for less."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Float64, Int64
from scipy.special import betaincinv

from hf_noisy.data.weak.vote_table import Votes

FEW_ANSWERS = 20  # below it, an annotator counts as one with few answers
_LEVEL = 0.95
# Errors that annotators share make the estimates too high: how far the ends of an interval are moved to hold 95 % of
# the language models in benchmarks/votes.py, and 90 % of the rules, which give one answer only.
_SHARED_ERRORS = (0.15, 0.05)
_ONE_SIDED = (0.3, 0.3)


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator.

    Attributes:
        annotator: Name.
        answers: Number of answers.
        coverage: Share of the rows that it answered.
        accuracy: Expected share of its answers that are right by the posterior; NaN without an answer. Errors that
            annotators share make it too high, by 0.08 on average for 12 language models.
        low: Lower end of an interval, with an allowance for such errors.
        high: Upper end.
        weight: Power of its likelihood: 1 for an independent annotator, less for one that agrees too much with others.
        note: `"no answer"`, `"one class only"`, `"copy of <name>"`, `"few answers"`, or empty.
    """

    annotator: str
    answers: int
    coverage: float
    accuracy: float
    low: float
    high: float
    weight: float
    note: str


class AnnotatorTable(list[AnnotatorRow]):
    """One [`AnnotatorRow`] for each annotator, printed as a Markdown table."""

    def to_frame(self) -> Any:
        """The table as a pandas data frame."""
        return Dataset.from_list([asdict(row) for row in self]).to_pandas()

    def __str__(self) -> str:
        names = list(AnnotatorRow.__dataclass_fields__)
        lines = [names, ["---" for _ in names], *([_cell(value) for value in asdict(row).values()] for row in self)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def annotator_table(
    votes: Votes,
    right: Float64[np.ndarray, " votes"],
    cautious: Float64[np.ndarray, " votes"],
    weights: Float64[np.ndarray, " annotators"],
    copies: Int64[np.ndarray, " annotators"],
) -> AnnotatorTable:
    """The table, from the probability that each vote is right, with and without the vote itself."""
    count = len(votes.annotators)
    answers = np.bincount(votes.annotator, minlength=count)
    hits = np.bincount(votes.annotator, weights=right, minlength=count)
    accuracy = np.divide(hits, answers, out=np.full(count, np.nan), where=answers > 0)
    fewer = np.bincount(votes.annotator, weights=cautious, minlength=count)
    low, high = (
        betaincinv(rights + 0.5, answers - rights + 0.5, end)
        for rights, end in ((fewer, (1 - _LEVEL) / 2), (hits, (1 + _LEVEL) / 2))
    )
    one_sided = _number_of_classes(votes) == 1
    low = np.maximum(low - np.where(one_sided, _ONE_SIDED[0], _SHARED_ERRORS[0]), 0.0)
    high = np.minimum(high + np.where(one_sided, _ONE_SIDED[1], _SHARED_ERRORS[1]), 1.0)
    table = AnnotatorTable()
    for number, name in enumerate(votes.annotators):
        note = ""
        if answers[number] == 0:
            note = "no answer"
        elif one_sided[number] and answers[number] > 1:
            note = "one class only"
        elif copies[number] != number:
            note = f"copy of {votes.annotators[copies[number]]}"
        elif answers[number] < FEW_ANSWERS:
            note = "few answers"
        share = float(answers[number] / votes.num_rows)
        right_share, least, most, weight = (float(values[number]) for values in (accuracy, low, high, weights))
        table.append(AnnotatorRow(name, int(answers[number]), share, right_share, least, most, weight, note))
    return table


def _number_of_classes(votes: Votes) -> Int64[np.ndarray, " annotators"]:
    """How many classes each annotator has given."""
    classes = len(votes.classes)
    given = np.unique(votes.annotator * classes + votes.label) // classes
    return np.bincount(given, minlength=len(votes.annotators)).astype(np.int64)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

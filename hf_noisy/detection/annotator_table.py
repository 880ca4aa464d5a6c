"""What is known of each annotator: accuracy with an interval, coverage, and what makes its votes count for less."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import betaincinv

from hf_noisy.data.weak.vote_table import Votes

if TYPE_CHECKING:
    from pandas import DataFrame

FEW_ANSWERS = 20  # below it, an annotator counts as one with few answers
_LEVEL = 0.95


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator.

    Attributes:
        annotator: Name.
        answers: Number of answers.
        coverage: Share of the rows that it answered.
        accuracy: Expected share of its answers that are right by the posterior; NaN without an answer. Errors that
            annotators share make it too high.
        low: Lower end of an interval: of the 95 % interval of the accuracy by the posterior without its own votes.
        high: Upper end of the 95 % interval of the accuracy.
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

    def to_frame(self) -> "DataFrame":
        """The table as a pandas data frame."""
        from pandas import DataFrame

        return DataFrame([asdict(row) for row in self], columns=list(AnnotatorRow.__dataclass_fields__))

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
    table = AnnotatorTable()
    for number, name in enumerate(votes.annotators):
        one_class = len(np.unique(votes.label[votes.annotator == number])) == 1
        note = ""
        if answers[number] == 0:
            note = "no answer"
        elif one_class and answers[number] > 1:
            note = "one class only"
        elif copies[number] != number:
            note = f"copy of {votes.annotators[copies[number]]}"
        elif answers[number] < FEW_ANSWERS:
            note = "few answers"
        figures = (values[number] for values in (accuracy, low, high, weights))
        share = answers[number] / votes.num_rows
        table.append(AnnotatorRow(name, int(answers[number]), float(share), *map(float, figures), note))
    return table


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

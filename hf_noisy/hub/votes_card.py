"""The card of a dataset whose labels were aggregated from the votes of several annotators."""

from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard

from hf_noisy.detection.aggregate import Aggregation
from hf_noisy.hub.card_builder import build_card, percent
from hf_noisy.hub.text import code, escape

_SHOWN = 50
_METHODS = {
    "model": "A confusion matrix for each annotator, less weight for annotators who agree with others too much, and "
    "an out-of-fold prediction from the texts as one more annotator.",
    "dawid_skene": "A confusion matrix for each annotator (Dawid and Skene, 1979).",
    "weighted": "A vote weighted by the log-odds of each annotator's agreement with the majority.",
    "majority": "The majority of the votes.",
}


def aggregated_card(splits: DatasetDict, split: str, found: Aggregation, *, name: str, made_from: str) -> DatasetCard:
    """The card: the annotators, how the labels were made, and what the figures do not say."""
    rows: Dataset = splits[split]
    table = sorted(found.annotators, key=lambda row: -row.answers)
    numbers = [
        [
            escape(row.annotator),
            f"{row.answers:,}",
            percent(row.accuracy),
            percent(row.low),
            percent(row.high),
            row.note,
        ]
        for row in table[:_SHOWN]
    ]
    more = len(table) - _SHOWN
    note = "Accuracy is estimated from the votes; errors that annotators share make it too high."
    return build_card(
        splits,
        name,
        rows,
        label_meaning="the label aggregated from the votes",
        lead=f"The labels of the split {code(split)} were aggregated from {len(found.votes):,} votes of "
        f"{len(table)} annotators.",
        numbers_head=["annotator", "answers", "accuracy", "from", "to", "note"],
        numbers=numbers,
        numbers_note=note + (f" {more} annotators with fewer answers are not shown." if more > 0 else ""),
        method=f"{_METHODS[found.method]} Computed from {made_from}.",
        citations=[],
        limits=[
            "No true label was used, but those of checked rows.",
            "Where annotators legitimately disagree, one label hides it: `label_posterior` and `votes` do not.",
        ],
    )

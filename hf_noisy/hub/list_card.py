"""The card of a dataset whose labels are tags or sets of classes, after an audit or a correction."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard

from hf_noisy.core.columns import LABEL, LABEL_GIVEN
from hf_noisy.hub.card_builder import build_card
from hf_noisy.hub.text import REPOSITORY


def list_card(
    splits: dict[str, Dataset],
    split: str,
    *,
    name: str,
    lead: str,
    numbers: Sequence[Sequence[str]],
    purified: bool = False,
) -> DatasetCard:
    """The card, with figures as lines of name and value."""
    undo: dict[str, Any] = {
        "undo": "The given labels are in the column `label_given`:",
        "undo_code": "from datasets import load_dataset\n\n"
        f'rows = load_dataset({REPOSITORY}, split="{split}")\n'
        f'given = rows.remove_columns("{LABEL}").rename_column("{LABEL_GIVEN}", "{LABEL}")',
    }
    return build_card(
        DatasetDict(splits),
        name,
        splits[split],
        lead=lead,
        numbers_head=["", ""],
        numbers=[list(line) for line in numbers],
        numbers_note="Estimated from held-out predictions on frozen features.",
        limits=["An overruled label is not necessarily wrong, and other labels are not necessarily right."],
        **(undo if purified else {}),
    )

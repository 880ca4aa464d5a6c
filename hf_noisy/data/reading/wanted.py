"""What to read from a source: the columns, and how its files are written."""

import re
from dataclasses import dataclass

from hf_noisy.core.columns import CHECKED_LABEL, CLEAN_LABEL, IMAGE, LABEL, TEXT, TEXT_PAIR

_ID = re.compile(r"(?:^|[\W_])id$|[a-z]I[dD]$", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """The columns to look for and the format of the files; None stands for what is usual or found by looking."""

    text_columns: tuple[str, ...] = ()  # two for pairs of texts
    image_column: str | None = None
    label_column: str | None = None
    clean_column: str | None = None
    feature_columns: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None
    merge_labels: bool = False
    skip_unreadable: bool = False
    allow_outside: bool = False
    task: str | None = None  # "one-label", "tokens" or "multi-label"
    label_separator: str | None = None  # between the classes in a cell
    label_columns: tuple[str, ...] = ()  # one for each class, with 0 and 1

    @property
    def label(self) -> str:
        """The column of the given labels."""
        return self.label_column or LABEL

    @property
    def columns(self) -> list[str]:
        """The columns that a table of this kind has in its header."""
        return [self.label, *filter(None, [self.clean_column]), *self.inputs]

    @property
    def inputs(self) -> list[str]:
        """The columns of the texts, images or numbers, of which a table has at least one if none is named."""
        return [*self.text_columns, *filter(None, [self.image_column]), *self.feature_columns] or [TEXT, IMAGE]

    def is_string(self, column: str) -> bool:
        """Whether the column holds texts, labels or ids, which are never read as numbers."""
        known = {*self.columns, TEXT_PAIR, CLEAN_LABEL, CHECKED_LABEL} - {*self.feature_columns}
        return column in known or bool(_ID.search(column))

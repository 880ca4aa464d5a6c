"""Checked labels of a row of tags or of a set of classes, as one value for each word or class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.checked import UNCHECKED

_SHOWN_CLASSES = 8
_EMPTY = ("", None, UNCHECKED, NO_LABEL)


def label_ids(names: Sequence[Any], ids: dict[str, int], where: str) -> list[int]:
    """The ids of names or ids of classes, -1 for an empty name, -1 and -100; others are refused."""
    for one in names:
        is_id = isinstance(one, int) and not isinstance(one, bool)
        known = one in ids if isinstance(one, str) else is_id and 0 <= one < len(ids)
        if not known and one not in _EMPTY:
            raise ValueError(
                f"{where} has '{one}', which is not among the classes {', '.join(list(ids)[:_SHOWN_CLASSES])}"
            )
    return [UNCHECKED if one in _EMPTY else ids[one] if isinstance(one, str) else one for one in names]


def values_of(labels: Sequence[int], words: int | None, classes: int, where: str) -> Int64[np.ndarray, " labels"]:
    """The tags of so many words, refused if there are more or fewer; or 0 or 1 for each class of a set."""
    if words is None:
        values = np.zeros(classes, dtype=np.int64)
        values[[one for one in labels if one >= 0]] = 1
        return values
    if len(labels) != words:
        raise ValueError(f"{where} has {len(labels)} checked tags for {words} words")
    return np.array(labels, dtype=np.int64)

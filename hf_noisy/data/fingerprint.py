"""Fingerprints of datasets, to check that a resumed run or a file belongs to the same rows."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from jaxtyping import Shaped
from torch import Tensor

from hf_noisy.core.rng import random_state_kept
from hf_noisy.data.labels import label_column, label_column_array

_NUMBERS = 256  # of a tensor that its fingerprint looks at


def labels_digest(labels: Shaped[np.ndarray, "rows *lists"]) -> str:
    """SHA-256 of the labels in their order."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype=np.int64).tobytes()).hexdigest()


def texts_digest(texts: Sequence[str]) -> str:
    """Short SHA-256 of texts in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:12]


def describe(dataset: Any) -> dict[str, Any]:
    """Number of rows, digest of the given labels, and a fingerprint of up to 256 evenly spaced rows."""
    from transformers import set_seed  # imports PEFT, which an audit does not need

    column = label_column(dataset)
    given = None if column is None else _known_labels(dataset, column)
    labels = None if given is None or given.dtype.kind not in "biu" else labels_digest(given)
    # The arrow format gives images as bytes, not as objects whose text has an address.
    stored = dataset.with_format("arrow") if hasattr(dataset, "with_format") else dataset
    digest = hashlib.sha256()
    with random_state_kept():
        # A dataset with random transforms must give the same rows at a resume.
        set_seed(0)
        for row in np.unique(np.linspace(0, len(stored) - 1, min(256, len(stored))).astype(int)):
            content = stored[int(row)]
            text = _text(content.to_pylist() if hasattr(content, "to_pylist") else content)
            digest.update(re.sub(r" at 0x[0-9a-f]+", "", text).encode())
    return {"rows": len(dataset), "labels": labels, "fingerprint": digest.hexdigest()}


def _known_labels(dataset: Any, column: str) -> Shaped[np.ndarray, "..."]:
    try:
        return label_column_array(dataset, column)
    except ValueError:  # lists of several lengths, of tokens
        values = dataset.with_format(None)[column][:]
        return np.concatenate([[len(one), *one] for one in values]).astype(np.int64)


def check_processes_agree(what: str, description: dict[str, Any]) -> None:
    """Refuse processes with different data, as each would take its rows for those of the others."""
    if PartialState().num_processes == 1:
        return
    found = [json.loads(one) for one in gather_object([json.dumps(description, sort_keys=True, default=str)])]
    if differ := [name for name in found[0] if any(one.get(name) != found[0][name] for one in found)]:
        raise ValueError(
            f"{what} differ between the processes, in {', '.join(differ)}; load, shuffle and split the data in the "
            "same way in each of them, with the same seed"
        )


def _text(value: Any) -> str:
    """The value as text; of a tensor some numbers from all over it, as its own text is slow and has only the edges."""
    if isinstance(value, dict):
        return repr({key: _text(entry) for key, entry in value.items()})
    if not isinstance(value, Tensor):
        return repr(value)
    some = value.flatten()[:: -(-value.numel() // _NUMBERS) or 1].tolist()
    return f"{tuple(value.shape)} {[f'{number:.4g}' if isinstance(number, float) else number for number in some]}"

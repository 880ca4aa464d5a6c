"""Second views of rows: augmentations that are redrawn every epoch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Integer
from torch import Tensor

from hf_noisy.core.columns import LABEL, LABELS, SECOND_VIEW
from hf_noisy.core.rng import uniforms
from hf_noisy.data.indexed import IndexedRow

Row = Mapping[str, Any]


@runtime_checkable
class View(Protocol):
    """Another view of a row, a function of the row and of uniform numbers: it has no state and no generator."""

    columns: tuple[str, ...]  # that a row must have

    def size(self, row: Row) -> int:
        """How many uniform numbers the view of this row needs."""

    def __call__(self, row: Row, numbers: Float64[np.ndarray, " size"]) -> dict[str, Any]:
        """The changed columns, of the same types and lengths; the row is not collated yet, numbers are in (0, 1)."""


def check_view(argument: str, view: Any) -> None:
    """Refuse what is not a view, 'auto' or None."""
    if not (view is None or (isinstance(view, str) and view == "auto") or isinstance(view, View)):
        raise TypeError(f"{argument} must be 'auto', None or a View such as TokenDropout(), got {view!r}")


class TokenDropout:
    """View of a text in which random tokens are hidden from attention, or replaced by the mask token (mode `"mask"`).

    Special tokens and padding stay, and so does at least one other token. The row keeps its length and positions.

    Args:
        rate: Probability that a token is hidden, in `(0, 1)`.
        mode: `"drop"` or `"mask"`.
        special_ids: Ids that are never hidden (`tokenizer.all_special_ids`). A column `special_tokens_mask` takes
            precedence; without either, the first and last token of a row stay.
        mask_token_id: Id of the mask token, for mode `"mask"`.

    Example:
        >>> view = TokenDropout(rate=0.5)
        >>> row = {"input_ids": [101, 7, 8, 9, 102], "attention_mask": [1, 1, 1, 1, 1]}
        >>> view(row, np.array([0.1, 0.9, 0.2, 0.7, 0.1]))
        {'attention_mask': [1, 1, 0, 1, 1]}
    """

    def __init__(
        self,
        rate: float = 0.1,
        mode: Literal["drop", "mask"] = "drop",
        special_ids: Iterable[int] = (),
        mask_token_id: int | None = None,
    ) -> None:
        if not 0.0 < rate < 1.0:
            raise ValueError(f"rate must be in (0, 1), got {rate}; 0.1 hides every tenth token")
        if mode not in ("drop", "mask"):
            raise ValueError(f"mode must be 'drop' or 'mask', got {mode!r}")
        if (mode == "mask") != (mask_token_id is not None):
            raise ValueError(
                f"mask_token_id must be given for mode 'mask' and only there, got {mask_token_id} for mode {mode!r}; "
                "it is tokenizer.mask_token_id"
            )
        self.columns: tuple[str, ...] = ("input_ids", "attention_mask") if mode == "drop" else ("input_ids",)
        self.rate = rate
        self.mask_token_id = mask_token_id
        self.special_ids = np.array(sorted(special_ids), dtype=np.int64)

    def size(self, row: Row) -> int:
        return len(row["input_ids"])

    def __call__(self, row: Row, numbers: Float64[np.ndarray, " size"]) -> dict[str, Any]:
        ids = np.asarray(row["input_ids"], dtype=np.int64)
        if ids.ndim != 1:
            raise ValueError(f"input_ids of a row must be one sequence, got shape {ids.shape}; use a view of your own")
        seen = np.asarray(row["attention_mask"]) != 0 if "attention_mask" in row else np.ones(len(ids), bool)
        candidates = seen & ~self._special(row, ids, seen)
        hidden = candidates & (numbers < self.rate)
        if candidates.any() and (hidden == candidates).all():
            hidden[np.where(candidates, numbers, -1.0).argmax()] = False
        if self.mask_token_id is not None:
            return {"input_ids": _like(row["input_ids"], np.where(hidden, self.mask_token_id, ids))}
        mask = np.asarray(row["attention_mask"])
        return {"attention_mask": _like(row["attention_mask"], np.where(hidden, 0, mask))}

    def _special(
        self, row: Row, ids: Integer[np.ndarray, " size"], seen: Bool[np.ndarray, " size"]
    ) -> Bool[np.ndarray, " size"]:
        if "special_tokens_mask" in row:
            return np.asarray(row["special_tokens_mask"]).astype(bool)
        if self.special_ids.size:
            return np.isin(ids, self.special_ids)
        special = np.zeros(len(ids), bool)
        special[np.flatnonzero(seen)[:1]] = special[np.flatnonzero(seen)[-1:]] = True
        return special


class ShiftAndFlip:
    """View of an image that is randomly shifted, padded by reflection, and flipped; for any normalisation.

    Args:
        shift: Largest shift as a share of the height and of the width, in `[0, 1)`.
        flip: Probability of a horizontal flip, in `[0, 1]`; 0 if left and right have a meaning (digits).

    Example:
        >>> view = ShiftAndFlip(shift=0.25, flip=0.5)
        >>> row = {"pixel_values": torch.arange(4.0).expand(1, 4, 4)}
        >>> view(row, np.array([0.5, 0.9, 0.9]))["pixel_values"][0, 0]  # shifted by one to the left
        tensor([1., 2., 3., 2.])
    """

    columns: tuple[str, ...] = ("pixel_values",)

    def __init__(self, shift: float = 0.125, flip: float = 0.5) -> None:
        if not 0.0 <= shift < 1.0:
            raise ValueError(f"shift must be a share of the image in [0, 1), got {shift}; 0.125 is an eighth")
        if not 0.0 <= flip <= 1.0:
            raise ValueError(f"flip must be a probability in [0, 1], got {flip}")
        self.shift = shift
        self.flip = flip

    def size(self, row: Row) -> int:
        return 3

    def __call__(self, row: Row, numbers: Float64[np.ndarray, " size"]) -> dict[str, Any]:
        given = row["pixel_values"]
        pixels = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
        if pixels.ndim != 3:
            raise ValueError(
                f"pixel_values of a row must be [channels, height, width], got shape {tuple(pixels.shape)}; use a "
                "view of your own"
            )
        down, right = (
            self._places(size, number) for size, number in zip(pixels.shape[1:], numbers[:2].tolist(), strict=True)
        )
        if numbers[2] < self.flip:
            right = right.flip(0)
        return {"pixel_values": _like(given, pixels[:, down[:, None], right])}

    def _places(self, size: int, number: float) -> Int[Tensor, " size"]:
        """The source of each pixel along one axis."""
        most = int(size * self.shift)
        places = torch.arange(size).add(int(number * (2 * most + 1)) - most).abs()
        return torch.minimum(places, 2 * (size - 1) - places)


class TwoViews:
    """Data collator that adds a second view of each row, in columns with the prefix `second_view_`.

    Rows and views are collated together, so both are padded to the same length. A view is keyed by (seed, epoch, row),
    so it does not depend on the batch, worker or process. Rows with `second_view_` columns pass unchanged.

    Args:
        collator: The collator of single views; it sees plain rows.
        view: Makes the second view; `None` if every row already has one.
        seed: Any integer.

    Example:
        >>> from transformers import default_data_collator
        >>> collate = TwoViews(default_data_collator, ShiftAndFlip())
        >>> rows = [IndexedRow(5, {"pixel_values": torch.zeros(3, 8, 8), "label": 1})]
        >>> sorted(collate(rows))
        ['labels', 'pixel_values', 'second_view_pixel_values']
    """

    def __init__(self, collator: Callable[[list[Any]], Any], view: View | None, seed: int = 0) -> None:
        self.collator = collator
        self.view = view
        self.seed = seed
        # Shared memory: persistent workers see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw the views of this epoch from now on, in worker processes too."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[IndexedRow]) -> dict[str, Any]:
        plain = [row for _, row in rows]
        if not isinstance(plain[0], Mapping):
            raise TypeError(
                f"rows must be mappings from column to value for a second view, got {type(plain[0]).__name__}; return "
                'for example {"input_ids": ..., "labels": ...}, or use second_view=None'
            )
        if any(name.startswith(SECOND_VIEW) for name in plain[0]):
            return dict(self.collator(plain))
        batch = dict(self.collator([*plain, *self._views(rows)]))
        count = len(rows)
        result = {}
        for name, value in batch.items():
            if not isinstance(value, (Tensor, list)) or len(value) != 2 * count:
                raise ValueError(
                    f"the data collator must give {name} one entry per row, to tell the second view from the first; "
                    f"got {type(value).__name__} for {2 * count} rows"
                )
            result[name] = value[:count]
            if name not in (LABEL, LABELS):
                result[SECOND_VIEW + name] = value[count:]
        return result

    def _views(self, rows: Sequence[IndexedRow]) -> list[dict[str, Any]]:
        view, first = self.view, rows[0].row
        missing = [] if view is None else [name for name in view.columns if name not in first]
        if view is None or missing:
            raise ValueError(
                f"rows have no {' and no '.join(missing) or 'second view of their own'}, only {sorted(first)}; keep "
                "these columns or choose another view"
            )
        sizes = [view.size(row) for _, row in rows]
        index = np.array([position for position, _ in rows])
        numbers = uniforms(self.seed, stream="second_view", index=index, size=max(sizes), epoch=int(self._epoch))
        return [{**row, **view(row, own[:size])} for (_, row), own, size in zip(rows, numbers, sizes, strict=True)]


def default_view(row: Row, processing_class: Any = None) -> View | None:
    """The view that fits a row, None if it has a second view; refused if no view fits."""
    if any(name.startswith(SECOND_VIEW) for name in row):
        return None
    if "pixel_values" in row and np.ndim(row["pixel_values"]) == 3:
        return ShiftAndFlip()
    if {"input_ids", "attention_mask"} <= row.keys():
        tokenizer = getattr(processing_class, "tokenizer", processing_class)
        return TokenDropout(special_ids=getattr(tokenizer, "all_special_ids", None) or ())
    raise ValueError(
        "no second view is known for rows with "
        f"{', '.join(sorted(row)) or 'no columns'}; give rows of one image (pixel_values) or of one text (input_ids "
        "and attention_mask), a View of your own, or columns that begin with second_view_"
    )


def _like(given: Any, values: Any) -> Any:
    """Values in the type of `given`."""
    if isinstance(given, Tensor):
        return torch.as_tensor(values, dtype=given.dtype)
    if isinstance(given, np.ndarray):
        return np.asarray(values, dtype=given.dtype)
    return values.tolist()

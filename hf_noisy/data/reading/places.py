"""Where rows stand in their files, as a person would look for them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_SHOWN = 10


class Part(NamedTuple):
    """Consecutive rows of one file: its name, and the number of each row in it."""

    name: str
    unit: str  # "line", or "row" where a file has no lines
    numbers: np.ndarray
    folders: tuple[Path, ...] = ()  # that may hold its images; by default that of the file


class Places:
    """The file and the number of each row of a split."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part.numbers) for part in self.parts])

    @property
    def name(self) -> str:
        """The names of the files."""
        return ", ".join(f"'{name}'" for name in dict.fromkeys(part.name for part in self.parts))

    def of(self, rows: Iterable[int] | np.ndarray) -> str:
        """`lines 3, 7 and 9 of 'x.csv'`: the first ten rows by their numbers, the others counted."""
        rows = np.asarray(list(rows), np.int64)
        found, part_of = [], np.searchsorted(self._ends, rows, side="right")
        left = _SHOWN
        for index in np.unique(part_of):
            part, inside = self.parts[index], rows[part_of == index]
            if left == 0:
                break
            start = self._ends[index] - len(part.numbers)
            shown = [str(number) for number in part.numbers[inside[:left] - start].tolist()]
            left -= len(shown)
            found.append(f"{part.unit}{'s' * (len(shown) > 1)} {_listed(shown)} of '{part.name}'")
        more = len(rows) - (_SHOWN - left)
        return "; ".join(found) + (f" and {more:,} more" if more else "")

    def select(self, kept: np.ndarray) -> "Places":
        """The places of the kept rows, ascending."""
        part_of = np.searchsorted(self._ends, kept, side="right")
        starts = self._ends - [len(part.numbers) for part in self.parts]
        chosen = enumerate(self.parts)
        return Places([part._replace(numbers=part.numbers[kept[part_of == i] - starts[i]]) for i, part in chosen])


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"

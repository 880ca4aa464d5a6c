"""Base of the noises of lists: tags of tokens and sets of classes."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Dataset

from hf_noisy.data.flat_labels import TaskName


class ListNoise(ABC):
    """A noise of labels that are lists: a frozen dataclass with a `kind`."""

    kind: str
    task: ClassVar[TaskName]

    @abstractmethod
    def apply(self, dataset: Dataset, column: str, seed: int, stream: str) -> tuple[pa.Array, dict[str, Any]]:
        """Noisy lists of the column, and what was counted for the record."""

    def settings(self) -> dict[str, Any]:
        """The settings for the record in a dataset, as JSON values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # every noise is a dataclass

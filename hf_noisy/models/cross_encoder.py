"""Cross-encoders of sentence-transformers, as the classifiers of transformers that they hold."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


def classifier_of(model: nn.Module) -> nn.Module:
    """The classifier inside a cross-encoder; any other model itself."""
    inner = getattr(next(model.children(), None), "auto_model", None)
    return inner if isinstance(inner, PreTrainedModel) and hasattr(model, "preprocess") else model


class PairCollator:
    """Tokenizes the texts of rows, which the collator of a cross-encoder leaves to its loss."""

    all_columns = True  # texts are in columns of any name

    def __init__(self, collator: Callable[[list[Any]], Any], model: Any) -> None:
        self.collator, self.model = collator, model

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = dict(self.collator(rows))
        options = {name: batch.pop(name, None) for name in ("prompt", "task")}
        texts = [values for name, values in batch.items() if name not in ("label", "dataset_name")]
        tokens = self.model.preprocess(list(zip(*texts, strict=True)), **options)
        return {name: value for name, value in tokens.items() if isinstance(value, Tensor)}

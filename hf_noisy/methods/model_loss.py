"""The loss that the model itself computes, as a stock `Trainer` uses it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn

from hf_noisy.core.columns import LABELS
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.models.heads import accepted_inputs, base_model, labels_argument

if TYPE_CHECKING:
    from transformers import Trainer


class ModelLoss(Method):
    r"""The loss that the model computes from the labels: class weights, focal terms or penalties in its `forward`.

    The model gives the mean over a micro-batch, so that accumulation is exact only if all rows weigh the same, and
    rows cannot be weighted by `class_weight` or a column `label_weight`. Not a method for noisy labels; its name is
    `"model_loss"`.

    Raises:
        ValueError: When training starts, if the model returns no loss, or rows have weights.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="model_loss")
        ```
    """

    row_losses: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._argument = LABELS

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        model = cast(nn.Module, trainer.model)
        self._argument = labels_argument(model, trainer.label_names) or LABELS
        accepted = accepted_inputs(model)
        if accepted is not None and self._argument not in accepted:
            raise _no_loss(model)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**{**batch.inputs, self._argument: batch.labels})
        loss = _loss_of(outputs)
        if loss is None:
            raise _no_loss(model)
        return Step(loss.expand(len(batch.row_index)), outputs)


def _no_loss(model: nn.Module) -> ValueError:
    return ValueError(
        f"{type(base_model(model)).__name__} returns no loss for labels, which method 'model_loss' needs; take "
        "'cross_entropy', which computes it from the logits"
    )


def _loss_of(outputs: Any) -> Tensor | None:
    """The scalar that models return for labels: an attribute, an entry, or the first of a tuple."""
    if isinstance(outputs, tuple | list):
        found = outputs[0] if outputs else None
    else:
        found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    return found if isinstance(found, Tensor) and found.ndim == 0 else None

"""Generalised Jensen-Shannon divergence of a label and the predictions for two views of a row."""

from typing import ClassVar, Literal

from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.core.rows import logits_of
from hf_noisy.data.views import View, check_view
from hf_noisy.losses.jensen_shannon import JS, jensen_shannon, jensen_shannon_scale
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.side_by_side import rows_side_by_side, side_by_side


class GJS(Method):
    r"""Jensen-Shannon divergence of the label and the predictions for two views of the row.

    $$L = \frac1Z \Big( \pi_1 \mathrm{KL}(e_y \,\|\, m) +
      \frac{1 - \pi_1}{2} \sum_{v=1}^2 \mathrm{KL}(p_v \,\|\, m) \Big), \qquad
      m = \pi_1 e_y + \frac{1 - \pi_1}{2} (p_1 + p_2)$$

    with $Z = -(1 - \pi_1) \ln(1 - \pi_1)$. It is [`JS`] with the mean prediction, plus the disagreement of the two
    views. Both go through the network in one pass, and the gradient flows through both.

    Args:
        label_weight: `pi_1`, the weight of the given label, in `(0, 1)`; 0.3 is the paper's for CIFAR-10 with 20 % of
            symmetric or asymmetric noise.
        scale: Whether to divide by `Z`.
        second_view: A [`View`], or `"auto"` for one that fits the data (or one that is in the data).

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        method = GJS(label_weight=0.5)
        trainer = NoisyTrainer(model, args, train_dataset=dataset, processing_class=tokenizer, method=method)
        ```

    Source: Englesson and Azizpour (2021), the scaled loss L_GJS; weights for CIFAR in Shon et al. (2024), Table 5.
    """

    citation: ClassVar[str] = JS.citation
    needs_rows: ClassVar[bool] = True  # views are drawn per row

    def __init__(
        self, label_weight: float = 0.3, scale: bool = True, second_view: View | Literal["auto"] = "auto"
    ) -> None:
        super().__init__()
        if second_view is None:
            raise ValueError("second_view must be a view or 'auto', got None; with one view use method='js'")
        check_view("second_view", second_view)
        divisor = jensen_shannon_scale(label_weight)  # also checks the weight
        view_weight = (1 - label_weight) / 2
        self.weights = (label_weight, view_weight, view_weight)
        self.divisor, self.second_view = divisor if scale else 1.0, second_view

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        if batch.second_view is None:
            raise ValueError("the batch has no second view; train with NoisyTrainer, or use method='js' for one view")
        outputs = model(**side_by_side(batch, "gjs"))
        logits = rows_side_by_side(batch, outputs).logits.unflatten(0, (2, -1))
        losses = jensen_shannon(logits, batch.row_labels, self.weights) / self.divisor
        first, second = logits.detach().argmax(-1)
        of_batch = SequenceClassifierOutput(logits=logits_of(outputs)[: len(batch.labels)])
        return Step(losses, of_batch, {"views_agree": (first == second).float()})

"""Training on the votes of several annotators, with a confusion layer for each on a shared network."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hf_noisy.data.weak.vote_table import Votes
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.learned_parameter import LearnedParameter
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.models.heads import num_classes

if TYPE_CHECKING:
    from accelerate import Accelerator

_START = 2.0  # of the logits of the diagonal of a confusion matrix


class AnnotatorLayers(Method):
    r"""Cross-entropy with the votes of the row, each through the confusion matrix of its annotator.

    $$\ell = -\frac{1}{|V|} \sum_{j \in V} \ln \sum_k p_k\, \theta_{j k v_j}$$

    The network itself predicts the true class without an annotator, so that annotators it never saw need no layer. To
    predict what people answer, take `"cross_entropy"` with votes. The votes are those of the trainer. Rows without a
    vote have no loss; the column of labels is not used.

    Args:
        matrix_learning_rate: Of Adam for the matrices, at least 0.

    Raises:
        ValueError: If the learning rate is negative.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="annotator_layers", votes=votes)
        trainer.train()
        trainer.method.matrices  # [annotators, true, given]
        ```

    Source: Rodrigues and Pereira (2018), Deep Learning from Crowds, with matrices that are stochastic.
    """

    citation: ClassVar[str] = "Rodrigues, F., Pereira, F. (2018). Deep Learning from Crowds. AAAI 2018."
    needs_rows: ClassVar[bool] = True
    one_label_only: ClassVar[bool] = True

    layers: LearnedParameter

    def __init__(self, matrix_learning_rate: float = 0.01) -> None:
        super().__init__()
        if not 0.0 <= matrix_learning_rate < float("inf"):
            raise ValueError(f"matrix_learning_rate must be at least 0, got {matrix_learning_rate}; 0.01 is usual")
        self.matrix_learning_rate = matrix_learning_rate
        self.votes: Votes | None = None

    def use_votes(self, votes: Votes) -> None:
        """Learn from these votes, on the rows of the training set."""
        self.votes = votes
        self._annotators, self._labels = _by_row(votes)

    @property
    def matrices(self) -> Float[Tensor, "annotators classes classes"]:
        """P(answer | true class) of each annotator as learned so far."""
        return self.layers.value.softmax(dim=-1)

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        if accelerator is None or self.votes is None:
            return
        classes = num_classes(model)
        start = _START * torch.eye(classes).repeat(len(self.votes.annotators), 1, 1)
        self.layers = LearnedParameter(start, self.matrix_learning_rate, accelerator)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logs = at_least_float32(rows.logits).log_softmax(dim=-1)
        places = rows.index.cpu()
        annotators, labels = (one[places].to(logs.device) for one in (self._annotators, self._labels))
        voted, labels = labels >= 0, labels.clamp(min=0)
        answers = self.matrices.log().transpose(1, 2)[annotators, labels]  # [rows, votes, true classes]
        each = (logs[:, None] + answers).logsumexp(dim=-1)
        losses = -torch.where(voted, each, 0.0).sum(dim=1) / voted.sum(dim=1).clamp(min=1)
        return Step(losses, outputs)

    def after_step(self, model: nn.Module) -> None:
        self.layers.after_step()


def _by_row(votes: Votes) -> tuple[Int64[Tensor, "rows most"], Int64[Tensor, "rows most"]]:
    """Annotators and labels of the votes on each row, padded with 0 and -1."""
    order = np.argsort(votes.row, kind="stable")
    row = votes.row[order]
    counts = np.bincount(row, minlength=votes.num_rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    annotators = np.zeros((votes.num_rows, int(counts.max())), dtype=np.int64)
    labels = np.full_like(annotators, -1)
    annotators[row, place], labels[row, place] = votes.annotator[order], votes.label[order]
    return torch.from_numpy(annotators), torch.from_numpy(labels)

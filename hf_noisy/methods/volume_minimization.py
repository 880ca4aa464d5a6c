"""Volume minimisation: the transition matrix is learned with the network, as small as the labels allow."""

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.learned_parameter import LearnedParameter
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.noise_matrix import given_log_probability
from hf_noisy.models.heads import row_classes

if TYPE_CHECKING:
    from accelerate import Accelerator


class VolumeMinimization(Method):
    r"""Forward correction by a learned matrix whose determinant is kept small.

    $$\ell = -\ln \sum_k T_{ky}\, p_k + \lambda \ln \lvert \det T \rvert, \qquad
      T_{ij} = \frac{[i = j] + [i \ne j]\, \sigma(w_{ij})}{1 + \sum_{k \ne i} \sigma(w_{ik})}$$

    Of all matrices that explain the given labels, the true one has the smallest volume if the true classes are spread
    enough; no anchor points and no estimate beforehand are needed. The diagonal of `T` is the largest entry of each
    row.

    Args:
        volume_weight: `lambda`, at least 0.
        start: The weights $w_{ij}$ start at minus this number: 2 for 10 classes and 4.5 for 100 in the published code.
        matrix_learning_rate: Of Adam for the weights, at least 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=VolumeMinimization())
        trainer.train()
        trainer.method.matrix
        ```

    Source: Li et al. (2021), Eq. 4 and 5; constants of the published code.
    """

    citation: ClassVar[str] = (
        "Li, X., Liu, T., Han, B., Niu, G., Sugiyama, M. (2021). Provably End-to-end Label-noise Learning without "
        "Anchor Points. ICML 2021."
    )

    weights: LearnedParameter

    def __init__(self, volume_weight: float = 1e-4, start: float = 2.0, matrix_learning_rate: float = 0.01) -> None:
        super().__init__()
        settings = {"volume_weight": (volume_weight, 1e-4), "matrix_learning_rate": (matrix_learning_rate, 0.01)}
        for name, (value, usual) in settings.items():
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {value}; the published code uses {usual}")
        self.volume_weight, self.start, self.matrix_learning_rate = volume_weight, start, matrix_learning_rate

    @property
    def matrix(self) -> Float[Tensor, "classes classes"]:
        """P(given | true) as learned so far, rows sum to 1."""
        weights = self.weights.value
        same = torch.eye(len(weights), device=weights.device)
        return F.normalize(same + (1.0 - same) * weights.sigmoid(), p=1.0, dim=1)

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        if accelerator is not None:
            start = torch.full((row_classes(model),) * 2, -self.start)
            self.weights = LearnedParameter(start, self.matrix_learning_rate, accelerator)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        log_probabilities = at_least_float32(rows.logits).log_softmax(-1)
        matrix = self.matrix
        volume = torch.linalg.slogdet(matrix).logabsdet
        losses = self.volume_weight * volume - given_log_probability(log_probabilities, matrix, rows.labels)
        task = F.nll_loss(log_probabilities.detach(), rows.labels, reduction="none")
        metrics = {"cross_entropy": task, "volume": volume.detach(), "kept_share": matrix.detach().diagonal().mean()}
        return Step(losses, outputs, metrics)

    def after_step(self, model: nn.Module) -> None:
        self.weights.after_step()

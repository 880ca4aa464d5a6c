"""DivideMix: rows with small losses keep their labels, the others get new ones, and all are mixed."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.types import RowLosses
from hf_noisy.detection.mixture import small_loss
from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.mixed_networks import MixedNetworks
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.methods.two_networks import network_logits
from hf_noisy.models.heads import num_classes

if TYPE_CHECKING:
    from accelerate import Accelerator

_WARMUP_EPOCHS, _RAMP_EPOCHS = 10, 16  # of 300 epochs
_SMALLEST_SHARE = 0.05  # of rows that keep their label; fewer do not weigh more
_FEWEST_ROWS = 4  # of a mixture; fewer all keep their labels
_MEAN_STEP = 0.1  # share of the newest batch in the mean prediction


class DivideMix(MixedNetworks):
    r"""Two networks, each trained on a division of the rows by the other one's losses.

    Rows whose loss belongs to the smaller of two Gaussians with probability $w > \tau$ are labelled ($\mathcal X$),
    the others are not ($\mathcal U$). With predictions $p_1, p_2$ and `S` sharpening at a temperature,

    $$\bar y_k = S(w\, y + (1 - w)\, p_k) \text{ in } \mathcal X, \quad
      \bar y_k = S(\tfrac12 (p_1 + p_2)) \text{ in } \mathcal U, \quad
      \ell_k = \frac{1}{s}\left(-[\mathcal X] \langle \tilde y_k, \ln \tilde p_k \rangle +
      \lambda_u [\mathcal U] \tfrac1C \lVert \tilde p_k - \tilde y_k \rVert^2\right) + R_k$$

    where a tilde means mixed with another row, `s` is the share of labelled rows, and `R` keeps the mean prediction
    near uniform. The first epochs are cross-entropy.

    Args:
        unlabelled_weight: `lambda_u`, at least 0: in the paper 0 or 25 for CIFAR-10, 25 or 150 for CIFAR-100.
        alpha: Of the Beta distribution of the weights of mixing, above 0.
        temperature: Of sharpening, in `(0, 1]`.
        clean_threshold: `tau`, in `(0, 1)`.
        warmup_epochs: Epochs of cross-entropy, at least 1; `None` for 10, or a third of the epochs if there are fewer
            than 30.
        ramp_epochs: Epochs after these in which `lambda_u` rises, at least 1; `None` for 16, or what is left.

    Raises:
        ValueError: If an argument is out of range, or the model does not have two branches.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=DivideMix())
        ```

    Source: Li, Socher and Hoi (2020), Section 3 and Algorithm 1; constants of the published code.
    """

    citation: ClassVar[str] = (
        "Li, J., Socher, R., Hoi, S. C. H. (2020). DivideMix: Learning with Noisy Labels as Semi-supervised "
        "Learning. ICLR 2020."
    )

    losses: RowMemory
    clean: Tensor
    divided_in: Tensor
    mean_prediction: Tensor

    def __init__(
        self,
        unlabelled_weight: float = 25.0,
        alpha: float = 4.0,
        temperature: float = 0.5,
        clean_threshold: float = 0.5,
        warmup_epochs: int | None = None,
        ramp_epochs: int | None = None,
    ) -> None:
        super().__init__("divide_mix", alpha)
        if not 0.0 <= unlabelled_weight < float("inf"):
            raise ValueError(f"unlabelled_weight must be at least 0, got {unlabelled_weight}; the paper uses 25")
        if not 0.0 < temperature <= 1.0:
            raise ValueError(f"temperature must be in (0, 1], got {temperature}; the paper uses 0.5")
        if not 0.0 < clean_threshold < 1.0:
            raise ValueError(f"clean_threshold must be in (0, 1), got {clean_threshold}; the paper uses 0.5")
        for name, value in {"warmup_epochs": warmup_epochs, "ramp_epochs": ramp_epochs}.items():
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value}; None chooses it")
        self.unlabelled_weight, self.temperature, self.clean_threshold = (
            unlabelled_weight,
            temperature,
            clean_threshold,
        )
        self.warmup_epochs, self.ramp_epochs = warmup_epochs, ramp_epochs
        self._accelerator: Accelerator | None = None

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        super().setup(model, accelerator, num_rows)
        if accelerator is None:
            return
        device, classes = accelerator.device, num_classes(model)
        self._accelerator = accelerator
        self.losses = RowMemory(num_rows, (2,), accelerator, fill=torch.nan)
        self.register_buffer("clean", torch.ones_like(self.losses.values))  # by the network that judged
        self.register_buffer("divided_in", torch.zeros((), dtype=torch.int64, device=device))
        self.register_buffer("mean_prediction", torch.full((2, classes), 1.0 / classes, device=device))
        self._sums, self._has_sums = torch.zeros(2, classes + 1, device=device), False
        self._last_epoch = 0

    def warmup(self, num_epochs: int) -> int:
        """Epochs of cross-entropy in a run."""
        return self.warmup_epochs or min(_WARMUP_EPOCHS, -(-num_epochs // 3))

    def ramp(self, progress: float, num_epochs: int) -> float:
        """Share of `unlabelled_weight` at a share of training."""
        warmup = self.warmup(num_epochs)
        length = self.ramp_epochs or min(_RAMP_EPOCHS, max(num_epochs - warmup, 1))
        return min(max((progress * num_epochs - warmup) / length, 0.0), 1.0)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        if batch.epoch < self.warmup(batch.num_epochs):
            return self._cross_entropy(model, batch)
        if batch.epoch != self._last_epoch:
            self._divide(batch)
        pairs = self.mixing.draw(batch)
        both, rows, outputs = self.mixing.both_and_mixed(model, batch, pairs)
        probabilities, others = network_logits(both).softmax(-1).chunk(2)
        task = self._note(probabilities, batch)
        # Each network learns from the division of the other one.
        clean = self.clean[batch.index].flip(1)
        own = self._refined(probabilities, batch.labels, clean)
        targets = pairs.mix(own, self._refined(others, pairs.labels, self.clean[pairs.other].flip(1)))
        logits = network_logits(rows)
        log_p, labelled = logits.log_softmax(-1), self._labelled(clean)
        supervised = -(targets * log_p).sum(-1)
        unsupervised = ((log_p.exp() - targets) ** 2).mean(-1)
        weight = self.unlabelled_weight * self.ramp(batch.progress, batch.num_epochs)
        share = self._labelled(self.clean).float().mean(0).flip(0).clamp(min=_SMALLEST_SHARE)
        losses = torch.where(labelled, supervised, weight * unsupervised) / share + self._penalty(log_p.exp())
        metrics = {
            "cross_entropy": task,
            "labelled": labelled.float().mean(1),
            "supervised": supervised.detach().mean(1),
            "unsupervised": unsupervised.detach().mean(1),
        }
        return Step(losses.sum(1), outputs, metrics)

    def after_step(self, model: nn.Module) -> None:
        assert self._accelerator is not None  # set by setup
        if self._has_sums:
            sums = self._accelerator.reduce(self._sums, "sum")
            self.mean_prediction.lerp_(sums[:, :-1] / sums[:, -1:], _MEAN_STEP)
            self._sums, self._has_sums = torch.zeros_like(self._sums), False

    def _cross_entropy(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        logits = network_logits(batch.rows(outputs))
        self._note(logits.detach().softmax(-1), batch)
        labels = batch.labels[:, None].expand(-1, 2)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return Step(losses.sum(1), outputs, {"cross_entropy": losses.detach().mean(1)})

    def _note(self, probabilities: Float[Tensor, "rows 2 classes"], batch: Batch) -> RowLosses:
        """Keep the losses of unmixed rows for the next division; their means over the networks."""
        of_label = probabilities.gather(2, batch.labels[:, None, None].expand(-1, 2, 1))[..., 0]
        losses = -of_label.clamp(min=1e-8).log()
        self.losses.write(batch.index, losses)
        return losses.mean(1)

    def _divide(self, batch: Batch) -> None:
        self._last_epoch = batch.epoch
        if int(self.divided_in) >= batch.epoch:  # before a resume
            return
        recorded = self.losses.values.cpu().numpy()
        seen = np.isfinite(recorded).all(1)
        clean = np.where(seen[:, None], 1.0, [0.5, 0.5])
        for network in (0, 1) if seen.sum() >= _FEWEST_ROWS else ():
            clean[seen, network] = small_loss(recorded[seen, network], seed=batch.seed)
        self.clean.copy_(torch.from_numpy(clean))
        self.divided_in.fill_(batch.epoch)

    def _labelled(self, clean: Float[Tensor, "rows 2"]) -> Bool[Tensor, "rows 2"]:
        return clean > self.clean_threshold

    def _refined(
        self, probabilities: Float[Tensor, "rows 2 classes"], labels: Tensor, clean: Float[Tensor, "rows 2"]
    ) -> Float[Tensor, "rows 2 classes"]:
        """Label co-refinement and co-guessing, sharpened."""
        given = F.one_hot(labels, probabilities.shape[-1]).to(probabilities.dtype)[:, None]
        weight = clean[..., None].to(probabilities.dtype)
        refined = weight * given + (1 - weight) * probabilities
        guessed = probabilities.mean(1, keepdim=True)
        chosen = torch.where(self._labelled(clean)[..., None], refined, guessed) ** (1 / self.temperature)
        return chosen / chosen.sum(-1, keepdim=True)

    def _penalty(self, probabilities: Float[Tensor, "rows 2 classes"]) -> Float[Tensor, "rows 2"]:
        """KL from the uniform distribution to the mean prediction, linear around the mean so far: a term per row."""
        mean = self.mean_prediction.clamp(min=1e-4)
        uniform = 1.0 / mean.shape[-1]
        self._sums = self._sums + F.pad(probabilities.detach().float().sum(0), (0, 1), value=len(probabilities))
        self._has_sums = True
        at_mean = (uniform * (uniform / mean).log()).sum(-1)
        return at_mean - (uniform / mean * (probabilities - mean)).sum(-1)

"""Noisy concurrent training: two networks learn from each other and from randomly varied labels."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import LabelTensor
from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.two_networks import TwoNetworks, network_logits


class NCT(TwoNetworks):
    r"""Cross-entropy on varied labels plus mimicry of the other network, whose weight grows.

    $$L_k = (1 - \alpha)\, \mathrm{CE}(z_k, \hat y_k) + \alpha\, \tau^2\,
      \mathrm{KL}(\mathrm{sg}[\sigma(z_{3-k} / \tau)] \,\|\, \sigma(z_k / \tau)), \qquad \ell = L_1 + L_2$$

    `sg` stops the gradient. In epoch $e = 0, 1, \dots$ of $E$, with $e_r$ = `ramp_ratio` $\cdot E$ and
    $e_w$ = `warmup_epochs`,

    $$\alpha = \alpha_{max} \exp\left(-s\,(1 - \min(e, e_r) / e_r)^2\right), \qquad
      r = r_{min} + (r_{max} - r_{min}) \frac{\ln(e - e_w)}{\ln(E - e_w)} \text{ for } e > e_w, \text{ else } r_{min}$$

    and $\hat y_k$ is the given label, or with probability $r$ a random class, drawn for each epoch, row and network.

    Args:
        temperature: `tau` of the mimicry, above 0.
        alpha_max: Largest weight of the mimicry, in `[0, 1]`.
        steepness: `s`, at least 0 (the paper's `-beta`); the mimicry begins with `alpha_max * exp(-s)`.
        ramp_ratio: Share of the epochs after which `alpha_max` is reached, in `[0, 1]`.
        r_max: Largest rate of varied labels, in `[0, 1]`. The paper tunes it: 0.1 for clean labels, 0.3 for 20 % and
            0.5 for 50 % symmetric noise on CIFAR-10; 0.3 is the middle of these.
        r_min: Smallest rate, in `[0, r_max]`.
        warmup_epochs: `e_w`, epochs before the rate begins to grow.
        redraw_self: Whether the random class may be the given label again, as in the published code; the paper's
            Algorithm 2 draws among the other classes.

    Raises:
        ValueError: If an argument is out of range, or the model does not have two branches.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=NCT(r_max=0.5))
        ```

    Source: Sarfraz, Arani and Zonooz (2021), Eq. 1, 2, 4, 5 and Algorithm 2, with the signs of the published code.
    """

    citation: ClassVar[str] = (
        "Sarfraz, F., Arani, E., Zonooz, B. (2021). Noisy Concurrent Training for Efficient Learning under Label "
        "Noise. WACV 2021."
    )

    def __init__(
        self,
        temperature: float = 4.0,
        alpha_max: float = 0.9,
        steepness: float = 0.65,
        ramp_ratio: float = 0.9,
        r_max: float = 0.3,
        r_min: float = 0.0,
        warmup_epochs: int = 1,
        redraw_self: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {temperature}; the paper uses 4")
        if not 0.0 <= steepness < math.inf:
            raise ValueError(f"steepness must be at least 0, got {steepness}; the paper uses 0.65")
        shares = {"alpha_max": (alpha_max, 0.9), "ramp_ratio": (ramp_ratio, 0.9), "r_max": (r_max, 0.3)}
        for name, (value, usual) in shares.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}; {usual} is the usual choice")
        if not 0.0 <= r_min <= r_max:
            raise ValueError(f"r_min must be in [0, r_max = {r_max}], got {r_min}; the paper uses 0")
        if not (isinstance(warmup_epochs, int) and warmup_epochs >= 0):
            raise ValueError(f"warmup_epochs must be a whole number of epochs, got {warmup_epochs}; the paper uses 1")
        self.temperature, self.alpha_max = temperature, alpha_max
        self.steepness, self.ramp_ratio = steepness, ramp_ratio
        self.r_max, self.r_min, self.warmup_epochs, self.redraw_self = r_max, r_min, warmup_epochs, redraw_self

    def alpha(self, epoch: int, num_epochs: int) -> float:
        """Weight of the mimicry in an epoch, counted from 0."""
        length = self.ramp_ratio * num_epochs
        missing = 1.0 - min(epoch, length) / length if length else 0.0
        return self.alpha_max * math.exp(-self.steepness * missing**2)

    def rate(self, epoch: int, num_epochs: int) -> float:
        """Rate of varied labels in an epoch, counted from 0; `r_min` up to epoch `warmup_epochs + 1`, as ln 1 is 0."""
        if epoch <= self.warmup_epochs:
            return self.r_min
        if epoch >= num_epochs:
            return self.r_max
        grown = math.log(epoch - self.warmup_epochs) / math.log(num_epochs - self.warmup_epochs)
        return self.r_min + (self.r_max - self.r_min) * grown

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        alpha, rate = (schedule(batch.epoch, batch.num_epochs) for schedule in (self.alpha, self.rate))
        # Before the forward pass, since copying the index to the host waits for the device.
        index = batch.row_index.cpu().numpy()
        draws = torch.from_numpy(uniforms(batch.seed, stream="nct/target", index=index, size=4, epoch=batch.epoch))
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = network_logits(rows)
        targets = varied_labels(rows.labels, draws.view(-1, 2, 2), rate, logits.shape[-1], self.redraw_self)
        task = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        copied = mimicry(logits, self.temperature)
        metrics = {
            "cross_entropy": task.detach().mean(1),
            "mimicry": copied.detach().mean(1),
            "alpha": logits.new_full((), alpha),
            "variability": logits.new_full((), rate),
        }
        return Step(torch.lerp(task, copied, alpha).sum(1), outputs, metrics)


def mimicry(logits: Float[Tensor, "rows 2 classes"], temperature: float) -> Float[Tensor, "rows 2"]:
    r"""$\tau^2 \mathrm{KL}$ of each network from the other one, which gets no gradient, at `temperature`."""
    student = (logits / temperature).log_softmax(-1)
    teacher = student.detach().flip(1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)


def varied_labels(
    labels: LabelTensor,
    draws: Float[Tensor, "rows network 2"],
    rate: float,
    num_classes: int,
    redraw_self: bool = True,
) -> Int[Tensor, "rows network"]:
    """Labels of which some are replaced by a random class, independently for each network; Algorithm 2."""
    first = 0 if redraw_self else 1
    shift = (first + (draws[..., 1] * (num_classes - first)).long()) * (draws[..., 0] < rate)
    return (labels[:, None] + shift.to(labels.device)) % num_classes

"""SiDyP: candidates for the true label by neighbours, refined by a diffusion model of labels."""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import trange

from hf_noisy.core.checks import check_rate
from hf_noisy.core.phases import phase
from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.dygen.prior import labels_to_fit, suspects_by_branch, trusted_votes
from hf_noisy.dygen.vectors import TrajectoryVectors
from hf_noisy.dynamics.store import Trajectories, row_blocks
from hf_noisy.losses.branch_divergence import branch_divergence

SIMPLEX = 5.0  # a class is this number for itself and minus this number for the others
STEPS = 10  # of noise
_WIDTH, _DRAWS, _BATCH = 256, 6, 32
_EPOCHS, _FEWEST_STEPS = 10, 1000
_NEGLIGIBLE = 0.01  # probability of a given label that is not summed over
_LEARNING_RATE, _WARMUP, _AGREEMENT_WEIGHT = 1e-3, 0.2, 2.0


def candidate_weights(
    votes: Float64[np.ndarray, "rows classes"], certain: float = 0.9, dominant: float = 0.8
) -> Float64[np.ndarray, "rows classes"]:
    """One candidate if it has most votes, two if these have most together, else all; the weights sum to 1."""
    first_two = np.argsort(-votes, axis=1, kind="stable")[:, :2]
    shares = np.take_along_axis(votes, first_two, axis=1)
    chosen = np.zeros(votes.shape, dtype=bool)
    np.put_along_axis(chosen, first_two[:, :1], True, axis=1)
    np.put_along_axis(chosen, first_two[:, 1:], (shares[:, 0] < certain)[:, None], axis=1)
    chosen |= ((shares[:, 0] < certain) & (shares.sum(1) < dominant))[:, None]
    kept = votes * chosen
    return np.asarray(kept / kept.sum(1, keepdims=True))


def refined(weights: Float[Tensor, "rows classes"], drawn: Int[Tensor, "draws rows"]) -> Float[Tensor, "rows classes"]:
    """Each drawn label that is a candidate gains `1 / draws` of what its weight lacks to 1."""
    for labels in drawn:
        weight = weights.gather(1, labels[:, None])
        gain = torch.where(weight > 0, (1 - weight) / len(drawn), 0.0)
        weights = weights.scatter_add(1, labels[:, None], gain)
        weights = weights / weights.sum(1, keepdim=True)
    return weights


def signal(step: Int[Tensor, " rows"]) -> Float[Tensor, "rows 1"]:
    """Share of the variance that is label and not noise, by the step of noise; the cosine schedule."""
    return (((step[:, None] + 1) / (STEPS + 1)) * (math.pi / 2)).cos() ** 2


class LabelDenoiser(nn.Module):
    """Predicts the true label from a noisy version of it, the row's trajectory and its given label."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trajectory = nn.Sequential(nn.Linear(dim, _WIDTH), nn.BatchNorm1d(_WIDTH))
        self.layers = nn.ModuleList(nn.Linear(width, _WIDTH) for width in (2 * num_classes, _WIDTH, _WIDTH))
        self.gains = nn.ModuleList(nn.Embedding(STEPS, _WIDTH) for _ in self.layers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(_WIDTH) for _ in self.layers)
        self.output = nn.Linear(_WIDTH, num_classes)
        for gain in self.gains:
            nn.init.uniform_(cast(nn.Embedding, gain).weight)

    def forward(
        self,
        noised: Float[Tensor, "rows classes"],
        step: Int[Tensor, " rows"],
        context: Float[Tensor, "rows width"],
        given: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows classes"]:
        hidden = torch.cat([noised, self.simplex(given)], 1)
        for layer, gain, norm in zip(self.layers, self.gains, self.norms, strict=True):
            hidden = F.softplus(norm(gain(step) * layer(hidden)))
            if layer is self.layers[0]:
                hidden = hidden * context
        logits: Tensor = self.output(hidden)
        return logits

    def simplex(self, labels: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        """Labels as points of the simplex."""
        return SIMPLEX * (2.0 * F.one_hot(labels, self.num_classes) - 1.0)

    def noised(
        self, labels: Int[Tensor, " rows"], step: Int[Tensor, " rows"], random: torch.Generator
    ) -> Float[Tensor, "rows classes"]:
        """Labels with the noise of a step."""
        noise = SIMPLEX * torch.randn(len(labels), self.num_classes, generator=random)
        return signal(step).sqrt() * self.simplex(labels) + (1 - signal(step)).sqrt() * noise

    @torch.no_grad()
    def sample(
        self, context: Float[Tensor, "rows width"], given: Int[Tensor, " rows"], random: torch.Generator
    ) -> Float[Tensor, "rows classes"]:
        """Probabilities of the true label at the end of one chain from pure noise."""
        noised = SIMPLEX * torch.randn(len(given), self.num_classes, generator=random)
        for position in reversed(range(STEPS)):
            logits: Tensor = self(noised, torch.full_like(given, position), context, given)
            if position:
                noised = self.noised(logits.argmax(1), torch.full_like(given, position - 1), random)
        return logits.softmax(1)


class LabelDiffusion:
    """The posterior of SiDyP, made by [`LabelDiffusion.fit`] from the dynamics of co-regularised branches."""

    citation = (
        "Ye, L., Shah, A., Zhang, C., Chava, S. (2025). Calibrating Pre-trained Language Classifiers on LLM-generated "
        "Noisy Labels via Iterative Refinement. KDD 2025."
    )

    def __init__(
        self, trajectories: Trajectories, vectors: TrajectoryVectors, denoisers: list[LabelDenoiser], seed: int
    ) -> None:
        self.trajectories, self.vectors, self.denoisers, self.seed = trajectories, vectors, denoisers, seed

    @classmethod
    @phase("label diffusion")
    def fit(
        cls,
        trajectories: Trajectories,
        labels: Labels,
        noise_rate: float | None = None,
        *,
        split: str = "train",
        epochs: int | None = None,
        seed: int = 0,
        show_progress: bool = True,
        checked: Int64[np.ndarray, " rows"] | None = None,
    ) -> "LabelDiffusion":
        """Find candidates for the training rows and train a denoiser for each branch, refining the candidates.

        Checked labels `[rows]`, -1 where nobody looked, are the only candidate of their row, and vote for others.
        """
        if noise_rate is not None:
            check_rate(noise_rate)
        labels = labels_to_fit(trajectories, split, labels)
        is_known = np.zeros(len(labels), dtype=bool) if checked is None else checked != UNCHECKED
        known = labels if checked is None else np.where(is_known, checked, labels)
        suspects, _, _ = suspects_by_branch(trajectories, known, split, noise_rate, seed)
        weights = [
            candidate_weights(trusted_votes(trajectories, known, split, suspected & ~is_known))
            for suspected in suspects
        ]
        vectors = TrajectoryVectors.fit(trajectories, split, with_features=False)
        with random_state_kept():
            torch.manual_seed(seed)
            denoisers = [LabelDenoiser(vectors.dim, trajectories.num_classes) for _ in weights]
        steps = -(-len(labels) // _BATCH)
        _train(
            denoisers,
            vectors(trajectories, split),
            torch.from_numpy(labels),
            torch.from_numpy(np.stack(weights)).float(),
            epochs=max(_EPOCHS, -(-_FEWEST_STEPS // steps)) if epochs is None else epochs,
            random=torch.Generator().manual_seed(seed),
            show_progress=show_progress,
        )
        return cls(trajectories, vectors, denoisers, seed)

    @torch.no_grad()
    def posterior(self, split: str, labels: Labels | None = None) -> Float64[np.ndarray, "rows classes"]:
        """Distributions of the true labels of a recorded split, given the labels or by the predictions of them."""
        rows, classes = self.trajectories.num_rows(split), self.trajectories.num_classes
        random, found = torch.Generator().manual_seed(self.seed), np.zeros((rows, classes))
        last = self.vectors.epochs[-1]
        for part in row_blocks(rows, len(self.denoisers) * (self.vectors.dim + classes * _WIDTH)):
            w = self.vectors(self.trajectories, split, part)
            for branch, denoiser in enumerate(self.denoisers):
                context = denoiser.trajectory(w[branch])
                if labels is not None:
                    given = torch.from_numpy(np.asarray(labels[part], np.int64))
                    posterior = _mean_of_draws(denoiser, context, given, random)
                else:
                    logits = torch.from_numpy(self.trajectories.branch_logits(split, last, branch, part)).float()
                    predicted, posterior = logits.softmax(1), torch.zeros_like(logits)
                    counts = predicted >= predicted.amax(1, keepdim=True).clamp(max=_NEGLIGIBLE)
                    for label in range(classes):
                        likely = counts[:, label].nonzero()[:, 0]
                        draws = _mean_of_draws(denoiser, context[likely], torch.full_like(likely, label), random)
                        posterior[likely] += predicted[likely, label, None] * draws
                found[part] += posterior.numpy()
        return np.asarray(found / found.sum(1, keepdims=True))


def _mean_of_draws(
    denoiser: LabelDenoiser, context: Float[Tensor, "rows width"], given: Int[Tensor, " rows"], random: torch.Generator
) -> Float[Tensor, "rows classes"]:
    return torch.stack([denoiser.sample(context, given, random) for _ in range(_DRAWS)]).mean(0)


def _train(
    denoisers: list[LabelDenoiser],
    w: Float[Tensor, "branch rows dim"],
    labels: Int[Tensor, " rows"],
    weights: Float[Tensor, "branch rows classes"],
    *,
    epochs: int,
    random: torch.Generator,
    show_progress: bool,
) -> None:
    optimizer = torch.optim.Adam([p for denoiser in denoisers for p in denoiser.parameters()], lr=_LEARNING_RATE)
    steps, step = epochs * -(-len(labels) // _BATCH), 0
    certain = weights.amax(2) == 1
    for epoch in trange(epochs, desc="label diffusion", disable=not show_progress):
        if epoch >= _WARMUP * epochs:
            for branch, denoiser in enumerate(denoisers):
                _refine(denoiser, w[branch], labels, weights[branch], (~certain[branch]).nonzero()[:, 0], random)
        for rows in torch.randperm(len(labels), generator=random).split(_BATCH):
            warm = epoch < _WARMUP * epochs
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * _schedule(step / steps)
            step += 1
            losses, predicted = [], []
            for branch, denoiser in enumerate(denoisers):
                used = rows[certain[branch, rows]] if warm else rows
                if len(used) < 2:  # too few to normalise over the batch
                    continue
                loss, logits = _loss(denoiser, w[branch, used], labels[used], weights[branch, used], random)
                losses.append(loss)
                predicted.append(logits.softmax(1))
            if losses:
                loss = torch.stack(losses).mean()
                if not warm:
                    loss = loss + _AGREEMENT_WEIGHT * branch_divergence(torch.stack(predicted)).mean()
                optimizer.zero_grad()
                loss.backward()
                for denoiser in denoisers:
                    nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
                optimizer.step()
    for denoiser in denoisers:
        denoiser.eval()


def _schedule(progress: float) -> float:
    """Share of the learning rate: a linear rise, then half a cosine."""
    if progress < _WARMUP:
        return progress / _WARMUP
    return (1 + math.cos(math.pi * (progress - _WARMUP) / (1 - _WARMUP))) / 2


def _loss(
    denoiser: LabelDenoiser,
    w: Float[Tensor, "rows dim"],
    given: Int[Tensor, " rows"],
    weights: Float[Tensor, "rows classes"],
    random: torch.Generator,
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows classes"]]:
    """Weighted cross-entropy of one candidate for each row, drawn by its weight, at a random step of noise."""
    target = torch.multinomial(weights, 1, generator=random)[:, 0]
    step = torch.randint(STEPS, (len(given),), generator=random)
    logits = denoiser(denoiser.noised(target, step, random), step, denoiser.trajectory(w), given)
    weight = weights.gather(1, target[:, None])[:, 0]
    return (weight * F.cross_entropy(logits, target, reduction="none")).mean(), logits


@torch.no_grad()
def _refine(
    denoiser: LabelDenoiser,
    w: Float[Tensor, "rows dim"],
    labels: Int[Tensor, " rows"],
    weights: Float[Tensor, "rows classes"],
    rows: Int[Tensor, " some"],
    random: torch.Generator,
) -> None:
    """Refine the weights of the candidates of some rows, in place."""
    if not len(rows):
        return
    denoiser.eval()
    context = denoiser.trajectory(w[rows]).repeat(_DRAWS, 1)
    drawn = denoiser.sample(context, labels[rows].repeat(_DRAWS), random).argmax(1).view(_DRAWS, -1)
    weights[rows] = refined(weights[rows], drawn)
    denoiser.train()

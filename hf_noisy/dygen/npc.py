"""NPC: calibrate a trained classifier's predictions by its last embedding, without training dynamics."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from hf_noisy.core.rng import uniforms
from hf_noisy.dygen.prior import neighbour_probabilities
from hf_noisy.dygen.vae import DirichletVAE, fit_vae, prior_alpha
from hf_noisy.dynamics.store import Trajectories

_BATCH = 128
_EPOCHS, _FEWEST_STEPS = 10, 1000


class NPC:
    """Calibrates a classifier's predictions by its last embedding (Bae et al., 2022); made by [`NPC.fit`]."""

    # The prior of a row is the vote of its nearest neighbours among the most confident predictions; a Dirichlet VAE
    # then models the predicted class given the embedding and a latent true class. Branches are calibrated separately,
    # and the posteriors averaged. As in the published code: one reference row per predicted class in batches of 128
    # rows, weights by inverse distance, hard prior labels, delta = 1 + 1 / C and rho = 5; but that code also trains a
    # copy of the network. There are at least 1,000 steps, as an untrained VAE makes predictions worse.

    citation = (
        "Bae, H., Shin, S., Na, B., Jang, J., Song, K., Moon, I.-C. (2022). From Noisy Prediction to True Label: "
        "Noisy Prediction Calibration via Generative Model. ICML 2022."
    )

    def __init__(
        self,
        trajectories: Trajectories,
        vae: DirichletVAE,
        centres: Float32[np.ndarray, "branches dim"],
        scales: Float32[np.ndarray, " branches"],
        epoch: int,
        prior: Float64[np.ndarray, "branches rows classes"],
    ) -> None:
        self.trajectories, self.vae, self.centres, self.scales = trajectories, vae, centres, scales
        self.epoch, self.prior = epoch, prior

    @classmethod
    def fit(
        cls,
        trajectories: Trajectories,
        *,
        split: str = "train",
        neighbours: int = 10,
        epochs: int | None = None,
        seed: int = 0,
        show_progress: bool = True,
    ) -> "NPC":
        """Fit prior and VAE on the predictions for the training rows after the last epoch."""
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}; 10 is the published number")
        if not trajectories.epochs:
            raise ValueError(f"trajectories at {trajectories.path} hold no complete epoch; train for at least one")
        epoch, branches = trajectories.epochs[-1], range(trajectories.num_branches)
        embeddings = np.stack([trajectories.embeddings(split, epoch, branch) for branch in branches])
        logits = _logits(trajectories, split, epoch)
        centres = embeddings.mean(1)
        scales = np.sqrt(((embeddings - centres[:, None]) ** 2).mean((1, 2)))
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
        if epochs is None:
            epochs = max(_EPOCHS, math.ceil(_FEWEST_STEPS / math.ceil(logits.shape[1] / _BATCH)))
        parts, prior = [], np.zeros(logits.shape)
        for branch in branches:
            probabilities = logits[branch].softmax(-1).numpy()
            predicted, rows = probabilities.argmax(-1), embeddings[branch]
            chosen = reference_rows(probabilities, seed)
            votes = neighbour_probabilities(
                rows[chosen], predicted[chosen], rows, trajectories.num_classes, neighbours=neighbours
            )
            prior[branch] = np.eye(trajectories.num_classes)[votes.argmax(1)]
            w = torch.from_numpy((rows - centres[branch]) / scales[branch])[None]
            alpha = prior_alpha(torch.from_numpy(prior[branch]).float())
            parts.append(
                fit_vae(
                    w,
                    torch.from_numpy(predicted),
                    alpha,
                    epochs=epochs,
                    batch_size=_BATCH,
                    seed=seed,
                    show_progress=show_progress,
                )
            )
        return cls(trajectories, _stacked(parts), centres, scales, epoch, prior)

    @torch.no_grad()
    def posterior(self, split: str) -> Float64[np.ndarray, "rows classes"]:
        """Probabilities of the true label of every row of a recorded split, the mean over branches."""
        logits = _logits(self.trajectories, split, self.epoch)
        return self.vae.posterior(self._vectors(split), logits.softmax(-1)).double().numpy()

    def _vectors(self, split: str) -> Float32[Tensor, "branches rows dim"]:
        branches = range(self.trajectories.num_branches)
        rows = [self.trajectories.embeddings(split, self.epoch, branch) for branch in branches]
        return torch.from_numpy((np.stack(rows) - self.centres[:, None]) / self.scales[:, None, None])


def _logits(trajectories: Trajectories, split: str, epoch: int) -> Float32[Tensor, "branches rows classes"]:
    branches = range(trajectories.num_branches)
    return torch.from_numpy(np.stack([trajectories.branch_logits(split, epoch, branch) for branch in branches]))


def reference_rows(probabilities: Any, seed: int = 0) -> Int64[np.ndarray, " chosen"]:
    """The most confident row of each predicted class in random batches of 128 rows, ascending."""
    rows = np.arange(len(probabilities))
    order = np.argsort(uniforms(seed, stream="dygen/npc/reference", index=rows, size=1)[:, 0], kind="stable")
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    chosen = []
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        for label in np.unique(predicted[batch]):
            of_class = batch[predicted[batch] == label]
            chosen.append(of_class[confidence[of_class].argmax()])
    return np.sort(np.array(chosen, dtype=np.int64))


def _stacked(parts: list[DirichletVAE]) -> DirichletVAE:
    """One VAE with the VAE of each branch as its branches."""
    first = parts[0]
    whole = DirichletVAE(len(parts), first.dim, first.num_classes, first.delta)
    stacked = {name: torch.cat([part.state_dict()[name] for part in parts]) for name in first.state_dict()}
    whole.load_state_dict(stacked)
    return whole.eval()

"""NPC: noisy predictions of a finished classifier are calibrated, without what training showed on the way."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from hf_noisy.core.rng import uniforms
from hf_noisy.dygen.dirichlet import prior_alpha
from hf_noisy.dygen.prior import neighbour_probabilities
from hf_noisy.dygen.vae import DirichletVAE, fit_vae
from hf_noisy.dynamics.store import Trajectories

_BATCH = 128
_PASSES, _FEWEST_STEPS = 10, 1000


class NPC:
    """Calibrates what a classifier predicts by how its predictions sit in its last embedding.

    The prior of a row is the vote of its nearest neighbours among the surest predictions; a Dirichlet VAE then models
    what the classifier says, `y_hat`, given the embedding and a latent true class. The given labels are not used: it
    is the classifier that was trained on them. Branches are calibrated each on its own and averaged.

    The published code trains a copy of the network beside the VAE; here the embedding is that of the last epoch, as it
    is. All else follows it: one reference row for each predicted class in batches of 128 rows, weights by inverse
    distance, hard prior labels, `delta = 1 + 1 / C` and `rho = 5`. Ten passes are the published number; of few rows
    there are as many as make 1,000 steps, since a VAE left as it was drawn makes predictions worse than they were.

    Made by [`NPC.fit`].

    Args:
        trajectories: Where predictions are calibrated.
        vae: The trained Dirichlet VAE.
        centres: `[branches, dim]`, mean embedding of the training rows.
        scales: `[branches]`, root mean square of the centred embeddings.
        epoch: The epoch of the fit.
        prior: `[branches, rows, classes]`, one-hot prior of the training rows.

    Source: Bae et al. (2022), From Noisy Prediction to True Label.
    """

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
        iterations: int | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> "NPC":
        """Fit prior and VAE on what the classifier says of the training rows after the last epoch.

        Args:
            trajectories: What a `DynamicsRecorder` recorded; the last epoch is read.
            split: Name under which the training rows were recorded.
            neighbours: K of the prior, at least 1.
            iterations: Passes of the VAE over the rows, or None for 10, or as many as make 1,000 steps of 128 rows.
            seed: Of everything random.
            progress: Whether to show a progress bar.

        Returns:
            The fitted model.

        Raises:
            ValueError: If `neighbours` is below 1 or nothing was recorded.

        Example:
            ```python
            npc = NPC.fit(recorder.trajectories)
            predictions = npc.posterior("test").argmax(1)
            ```

        Source: Bae et al. (2022), Section 4.
        """
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
        if iterations is None:
            iterations = max(_PASSES, math.ceil(_FEWEST_STEPS / math.ceil(logits.shape[1] / _BATCH)))
        parts, prior = [], np.zeros(logits.shape)
        fitting: dict[str, Any] = {"iterations": iterations, "batch_size": _BATCH, "seed": seed, "progress": progress}
        for branch in branches:
            probabilities = logits[branch].softmax(-1).numpy()
            said = probabilities.argmax(-1)
            chosen = reference_rows(probabilities, seed)
            voted = neighbour_probabilities(
                embeddings[branch][chosen], said[chosen], embeddings[branch], trajectories.num_classes,
                neighbours=neighbours,
            )  # fmt: skip
            prior[branch] = np.eye(trajectories.num_classes)[voted.argmax(1)]
            w = torch.from_numpy((embeddings[branch] - centres[branch]) / scales[branch])[None]
            alpha = prior_alpha(torch.from_numpy(prior[branch]).float())
            parts.append(fit_vae(w, torch.from_numpy(said), alpha, **fitting))
        return cls(trajectories, _side_by_side(parts), centres, scales, epoch, prior)

    @torch.no_grad()
    def posterior(self, split: str) -> Float64[np.ndarray, "rows classes"]:
        """Distribution of the true label of every row of a recorded split.

        Args:
            split: Any split recorded with the training.

        Returns:
            `[rows, classes]`, sums to 1, the mean of the branches.

        Raises:
            ValueError: If the split was not recorded.
        """
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
    """The surest row of each predicted class in random batches of 128 rows: whose predictions are trusted.

    Args:
        probabilities: `[rows, classes]`.
        seed: Of the batches.

    Returns:
        Rows, ascending; at least one of every class that is predicted at all.

    Example:
        >>> reference_rows(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])).tolist()
        [0, 2]
    """
    rows = np.arange(len(probabilities))
    order = np.argsort(uniforms(seed, stream="dygen/npc/reference", index=rows, size=1)[:, 0], kind="stable")
    said, sure = probabilities.argmax(1), probabilities.max(1)
    chosen = []
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        for label in np.unique(said[batch]):
            of_class = batch[said[batch] == label]
            chosen.append(of_class[sure[of_class].argmax()])
    return np.sort(np.array(chosen, dtype=np.int64))


def _side_by_side(parts: list[DirichletVAE]) -> DirichletVAE:
    """One VAE for each branch as the branches of one."""
    first = parts[0]
    whole = DirichletVAE(len(parts), first.dim, first.num_classes, first.delta)
    stacked = {name: torch.cat([part.state_dict()[name] for part in parts]) for name in first.state_dict()}
    whole.load_state_dict(stacked)
    return whole.eval()

"""Stage II of DyGEN the slow and readable way: a loop over branches, over classes and over noisy labels.

The oracle of `hf_noisy.dygen.vae` and `hf_noisy.dynamics.scores`, and the opponent in the speed benchmark. Plain
PyTorch as one would write it from the paper: one `nn.Linear` pair a branch, one encoder pass a noisy label.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BranchVAE(nn.Module):
    """The VAE of one branch: encoder and decoder are one linear layer each."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = nn.Linear(dim + num_classes, num_classes)
        self.decoder = nn.Linear(dim + num_classes, num_classes)

    def encode(self, w: Tensor, one_hot: Tensor) -> Tensor:
        return F.softplus(self.encoder(torch.cat([w, one_hot], 1))) + 1 + 1 / self.num_classes

    def forward(self, w: Tensor, one_hot: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.encode(w, one_hot)
        z = ((torch.log(uniforms * alpha) + torch.lgamma(alpha)) / alpha).exp()
        return self.decoder(torch.cat([w, z], 1)), alpha


def scores(embeddings: list[list[np.ndarray]], labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Score of every row, `[branch, rows]`, from `embeddings[branch][epoch]`: Eq. 3, 4 and 5."""
    result = []
    for branch in embeddings:
        distances = []
        for epoch in branch:
            epoch = epoch.astype(np.float64)
            to_each = np.zeros((len(epoch), num_classes))
            for k in range(num_classes):
                centroid = epoch[labels == k].mean(0)
                to_each[:, k] = np.sqrt(((epoch - centroid) ** 2).sum(1))
            distances.append(to_each[np.arange(len(labels)), labels])
        stacked = np.stack(distances)
        result.append(stacked.mean(0) + stacked.std(0))
    return np.stack(result)


def loss(
    vaes: list[BranchVAE], w: Tensor, labels: Tensor, prior_alpha: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Negative evidence bound and co-regularisation of a batch, each a mean over rows: Eq. 13 and 18."""
    one_hot = F.one_hot(labels, vaes[0].num_classes).to(w)
    bound = torch.zeros((), dtype=w.dtype)
    modes = []
    for m, vae in enumerate(vaes):
        logits, alpha = vae(w[m], one_hot, uniforms[m])
        bound = bound + F.binary_cross_entropy_with_logits(logits, one_hot, reduction="sum")
        divergence = torch.lgamma(prior_alpha[m]) - torch.lgamma(alpha)
        divergence = divergence + (alpha - prior_alpha[m]) * torch.digamma(alpha)
        bound = bound + divergence.sum()
        modes.append((alpha - 1) / (alpha - 1).sum(1, keepdim=True))
    consensus = torch.stack(modes).mean(0)
    disagreement = torch.zeros((), dtype=w.dtype)
    for mode in modes:
        disagreement = disagreement + (consensus * ((consensus + 1e-5).log() - (mode + 1e-5).log())).sum()
    scale = len(vaes) * len(labels)
    return bound / scale, disagreement / scale


def train(
    vaes: list[BranchVAE],
    w: Tensor,
    labels: Tensor,
    prior_alpha: Tensor,
    batches: list[list[Tensor]],
    uniforms: list[Tensor],
    learning_rate: float = 1e-3,
    weight: float = 1.0,
    warmup: float = 0.1,
) -> None:
    """Algorithm 2, step 3, in place.

    `batches[iteration]` are row numbers, `uniforms[iteration]` is `[branch, rows, classes]`.
    """
    optimizer = torch.optim.Adam([p for vae in vaes for p in vae.parameters()], lr=learning_rate)
    for iteration, rows_of_batches in enumerate(batches):
        lambda_2 = 0.0 if iteration < warmup * len(batches) else weight
        for rows in rows_of_batches:
            noise = uniforms[iteration].index_select(1, rows)
            batch = (w.index_select(1, rows), labels[rows], prior_alpha.expand(len(w), -1, -1)[:, rows], noise)
            bound, disagreement = loss(vaes, *batch)
            optimizer.zero_grad()
            (bound + lambda_2 * disagreement).backward()
            optimizer.step()


@torch.no_grad()
def posterior(vaes: list[BranchVAE], w: Tensor, probabilities: Tensor, batch_size: int | None = None) -> Tensor:
    """Distribution of the true label, `[rows, classes]`, one encoder pass a branch and noisy label: Eq. 15 and 21."""
    num_classes = vaes[0].num_classes
    parts = []
    for rows in torch.arange(w.shape[1]).split(batch_size or w.shape[1]):
        merged = torch.zeros(len(rows), num_classes, dtype=w.dtype)
        for m, vae in enumerate(vaes):
            for k in range(num_classes):
                one_hot = torch.zeros(len(rows), num_classes, dtype=w.dtype)
                one_hot[:, k] = 1
                excess = vae.encode(w[m, rows], one_hot) - 1
                merged += excess / excess.sum(1, keepdim=True) * probabilities[m, rows, k : k + 1]
        parts.append(merged / len(vaes))
    return torch.cat(parts)

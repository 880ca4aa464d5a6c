"""The Dirichlet VAE of DyGEN, with all branches and noisy labels in one matrix product."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import trange

from hf_noisy.core.checks import check_labels
from hf_noisy.core.phases import phase
from hf_noisy.core.rng import uniforms as keyed_uniforms
from hf_noisy.dygen.vectors import StoredVectors
from hf_noisy.losses.branch_divergence import branch_divergence
from hf_noisy.losses.loss import at_least_float32

SHUFFLED_ROWS = 64  # rows that stay together if vectors are read from disk
_CHUNK_BYTES = 1 << 28
# A uniform number of 0 would give a gradient of NaN.
_SMALLEST_UNIFORM = 1e-6
# softplus(x) underflows next to 1 in float32 for very negative x; if it did for all classes, the mode would be 0 / 0.
_SMALLEST_EXCESS = 1e-6


def gamma_kl(
    alpha_hat: Float[Tensor, "*batch classes"], alpha_prior: Float[Tensor, "*prior classes"]
) -> Float[Tensor, "*batch"]:
    """KL divergence of Gamma(alpha_hat, 1) from Gamma(alpha_prior, 1), summed over classes; DyGEN, Eq. 13."""
    # A Dirichlet variable is a normalised vector of Gamma variables, whose divergence the paper uses; that of the two
    # Dirichlet distributions is smaller.
    alpha_hat, alpha_prior = at_least_float32(alpha_hat), at_least_float32(alpha_prior)
    difference = torch.lgamma(alpha_prior) - torch.lgamma(alpha_hat)
    return (difference + (alpha_hat - alpha_prior) * torch.digamma(alpha_hat)).sum(-1)


def reparameterise(alpha: Float[Tensor, "*batch"], uniforms: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Approximate Gamma sample $(u\, \alpha\, \Gamma(\alpha))^{1/\alpha}$ with a gradient (Joo et al., 2020)."""
    alpha = at_least_float32(alpha)
    logarithm = uniforms.to(alpha.dtype).clamp(min=_SMALLEST_UNIFORM).log()
    return ((logarithm + torch.lgamma(alpha + 1.0)) / alpha).exp()


def dirichlet_mode(alpha: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
    """Most probable class probabilities under Dirichlet(alpha), every `alpha` at least 1; DyGEN, Eq. 14."""
    excess = (at_least_float32(alpha) - 1.0).clamp(min=_SMALLEST_EXCESS)
    return excess / excess.sum(-1, keepdim=True)


def without_classes(
    posterior: Float[Tensor, "*batch classes"], absent: Sequence[int]
) -> Float[Tensor, "*batch classes"]:
    """The posterior, with no mass on some classes."""
    if not absent:
        return posterior
    kept = posterior.clamp(min=_SMALLEST_EXCESS)
    kept[..., list(absent)] = 0
    return kept / kept.sum(-1, keepdim=True)


def prior_alpha(
    prior: Float[Tensor, "*branch rows classes"], delta: float | None = None, rho: float = 5.0
) -> Float[Tensor, "*branch rows classes"]:
    """Concentrations of the prior, `delta + rho * prior`; DyGEN, Eq. 10."""
    # The paper prints delta = 1 and rho = 2; the published code has 1 + 1 / classes and 5.
    prior = at_least_float32(prior)
    return (1.0 + 1.0 / prior.shape[-1] if delta is None else delta) + rho * prior


class VAELoss(NamedTuple):
    """Terms of the stage II loss, one number per row, averaged over branches, and their weighted sum."""

    reconstruction: Float[Tensor, " rows"]
    divergence: Float[Tensor, " rows"]
    coregularization: Float[Tensor, " rows"]
    total: Float[Tensor, " rows"]


class DirichletVAE(nn.Module):
    """One conditional Dirichlet VAE per branch (DyGEN, section 5.1.3), with stacked weights."""

    # Encoder: alpha = softplus(Linear([w, one_hot(noisy label)])) + delta; decoder: Linear([w, z]). Both are linear in
    # w, so one product serves both and all noisy labels, each of which only adds its own column.
    def __init__(
        self, num_branches: int, dim: int, num_classes: int, delta: float | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        if delta is not None and not delta >= 1.0:
            raise ValueError(f"delta must be at least 1, got {delta}; pass None for 1 + 1 / num_classes")
        self.num_branches, self.dim, self.num_classes = num_branches, dim, num_classes
        self.delta = 1.0 + 1.0 / num_classes if delta is None else delta
        encoder, decoder = (
            _initial_weights(seed, f"dygen/vae/{part}", num_branches, dim, num_classes)
            for part in ("encoder", "decoder")
        )
        encoder_w, label, encoder_bias = encoder.split((dim, num_classes, 1), 2)
        decoder_w, latent, decoder_bias = decoder.split((dim, num_classes, 1), 2)
        # Rows [:C] read w for the encoder, rows [C:] for the decoder.
        self.trajectory_weight = nn.Parameter(torch.cat([encoder_w, decoder_w], 1))
        self.bias = nn.Parameter(torch.cat([encoder_bias, decoder_bias], 1).squeeze(2))
        self.label_weight = nn.Parameter(label.contiguous())
        self.latent_weight = nn.Parameter(latent.contiguous())

    def alpha(
        self, w: Float[Tensor, "branch rows dim"], labels: Int[Tensor, " rows"]
    ) -> Float[Tensor, "branch rows classes"]:
        """Concentrations given the trajectories and noisy labels of rows."""
        return self._activate(self._read(w, slice(0, self.num_classes)), labels)

    def alpha_all(self, w: Float[Tensor, "branch rows dim"]) -> Float[Tensor, "branch rows classes classes"]:
        """Concentrations for every possible noisy label: `[branch, row, noisy label, true label]`."""
        shared = self._read(w, slice(0, self.num_classes))
        return F.softplus(shared[:, :, None] + self.label_weight.mT[:, None]) + self.delta

    def loss(
        self,
        w: Float[Tensor, "branch rows dim"],
        labels: Int[Tensor, " rows"],
        prior_alpha: Float[Tensor, "*branch rows classes"],
        uniforms: Float[Tensor, "branch rows classes"],
        beta: float = 1.0,
        weight: float = 1.0,
    ) -> VAELoss:
        """Negative evidence lower bound plus divergence of the branches, one number per row; DyGEN, Eq. 13, 18, 20."""
        encoded, decoded = self._read(w, slice(None)).chunk(2, -1)
        alpha = self._activate(encoded, labels)
        logits = self._decode(decoded, reparameterise(alpha, uniforms))
        target = F.one_hot(labels, self.num_classes).to(logits).expand_as(logits)
        reconstruction = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1).mean(0)
        divergence = gamma_kl(alpha, prior_alpha).mean(0)
        agreement = branch_divergence(dirichlet_mode(alpha))
        return VAELoss(reconstruction, divergence, agreement, reconstruction + beta * divergence + weight * agreement)

    def posterior(
        self, w: Float[Tensor, "branch rows dim"], probabilities: Float[Tensor, "branch rows classes"]
    ) -> Float[Tensor, "rows classes"]:
        """Distribution of the true label, given the classifier's predictions of the noisy one; DyGEN, Eq. 15, 21."""
        transition = dirichlet_mode(self.alpha_all(w))
        weights = probabilities.to(transition.dtype)
        return torch.einsum("mnky,mnk->ny", transition, weights) / self.num_branches

    def _read(self, w: Float[Tensor, "branch rows dim"], outputs: slice) -> Float[Tensor, "branch rows outputs"]:
        weight, bias = self.trajectory_weight[:, outputs], self.bias[:, outputs, None]
        # Few outputs, many dimensions: this order of the product is twice as fast as `w @ weight.mT`.
        return torch.baddbmm(bias, weight, w.to(weight.dtype).mT).mT

    def _activate(
        self, encoded: Float[Tensor, "branch rows classes"], labels: Int[Tensor, " rows"]
    ) -> Float[Tensor, "branch rows classes"]:
        return F.softplus(encoded + self.label_weight.index_select(2, labels).mT) + self.delta

    def _decode(
        self, decoded: Float[Tensor, "branch rows classes"], z: Float[Tensor, "branch rows classes"]
    ) -> Float[Tensor, "branch rows classes"]:
        return torch.baddbmm(decoded, z.to(decoded.dtype), self.latent_weight.mT)


@phase("VAE")
def fit_vae(
    w: Float[Tensor, "branch rows dim"] | StoredVectors,
    labels: Int[Tensor, " rows"],
    prior_alpha: Float[Tensor, "*branch rows classes"],
    *,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    coregularization_weight: float = 1.0,
    warmup_ratio: float = 0.1,
    delta: float | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> DirichletVAE:
    """Train the VAE of stage II (DyGEN, Algorithm 2, step 3) on the device of `w`; float32 unless `w` is float64."""
    example = at_least_float32(w) if isinstance(w, Tensor) else torch.empty(0)
    w = example if isinstance(w, Tensor) else w
    labels, prior_alpha = labels.to(example.device), prior_alpha.to(example)
    num_branches, num_rows, dim = w.shape
    num_classes = prior_alpha.shape[-1]
    _check(num_rows, num_classes, labels, prior_alpha)
    vae = DirichletVAE(num_branches, dim, num_classes, delta, seed=seed).to(example)
    optimizer = torch.optim.Adam(vae.parameters(), lr=learning_rate, fused=True)
    prior = prior_alpha.expand(num_branches, -1, -1)
    for epoch in trange(epochs, desc="Dirichlet VAE", disable=not show_progress):
        weight = 0.0 if epoch < warmup_ratio * epochs else coregularization_weight
        for chunk, rows in _chunks(w, seed, epoch):
            order = row_order(rows, seed, epoch)
            noise = latent_uniforms(num_branches, rows[order], num_classes, seed, epoch).to(chunk)
            places, rows_now = torch.from_numpy(order).to(chunk.device), torch.from_numpy(rows[order]).to(chunk.device)
            given = labels[rows_now]
            # Classes before rows from here on, the layout with the fastest products and slices that are views.
            columns = (
                given,
                F.one_hot(given, num_classes).to(chunk).T,
                prior[:, rows_now].mT.contiguous(),
                noise.clamp(min=_SMALLEST_UNIFORM).log().mT.contiguous(),
            )
            batches = zip(*(part.split(batch_size, -1) for part in columns), strict=True)
            for batch_rows, batch in zip(places.split(batch_size), batches, strict=True):
                _set_gradients(vae, chunk.index_select(1, batch_rows), *batch, weight=weight)
                optimizer.step()
    return vae.eval()


def _chunks(
    w: Float[Tensor, "branch rows dim"] | StoredVectors, seed: int, epoch: int
) -> Iterator[tuple[Float[Tensor, "branch part dim"], Int[np.ndarray, " part"]]]:
    """Parts of `w` to load in an epoch, with their rows: everything at once, or shuffled runs from disk."""
    num_rows = w.shape[1]
    if isinstance(w, Tensor):
        yield w, np.arange(num_rows)
        return
    runs = np.arange(0, num_rows, SHUFFLED_ROWS)
    keys = keyed_uniforms(seed, stream="dygen/vae/runs", index=runs, size=1, epoch=epoch)
    shuffled = runs[np.argsort(keys[:, 0], kind="stable")]
    together = max(_CHUNK_BYTES // (w.row_bytes * SHUFFLED_ROWS), 1)
    # One buffer for all parts, as clearing new memory takes longer than filling it.
    buffer = torch.empty(w.shape[0] * min(together * SHUFFLED_ROWS, num_rows) * w.shape[2])
    for first in range(0, len(shuffled), together):
        starts = np.sort(shuffled[first : first + together])  # a disk reads forwards fastest
        read = [slice(int(start), min(int(start) + SHUFFLED_ROWS, num_rows)) for start in starts]
        part = np.concatenate([np.arange(run.start, run.stop) for run in read])
        # The last, smaller part must be contiguous too: torch would copy a part with gaps at every batch.
        dense = buffer[: w.shape[0] * len(part) * w.shape[2]].view(w.shape[0], len(part), w.shape[2])
        yield w.read(read, dense), part


@torch.no_grad()
def _set_gradients(
    vae: DirichletVAE,
    w: Float[Tensor, "branch rows dim"],
    labels: Int[Tensor, " rows"],
    target: Float[Tensor, "classes rows"],
    prior: Float[Tensor, "branch classes rows"],
    noise: Float[Tensor, "branch classes rows"],
    *,
    weight: float,
) -> None:
    # The gradient of DirichletVAE.loss(...).total.mean(), written out as autograd would dominate such small steps. The
    # published code sums over rows; with the mean, the last, smaller batch has an equal step, and Adam ignores the
    # scale. `noise` is the logarithm of the uniform numbers.
    classes, scale = vae.num_classes, 1.0 / (vae.num_branches * len(labels))
    product = torch.baddbmm(vae.bias[:, :, None], vae.trajectory_weight, w.mT)
    encoded = product[:, :classes] + vae.label_weight.index_select(2, labels)
    alpha = F.softplus(encoded) + vae.delta
    exponent = (noise + torch.lgamma(alpha + 1.0)) / alpha
    z = exponent.exp()
    logits = torch.baddbmm(product[:, classes:], vae.latent_weight, z)

    gradient = torch.empty_like(product)
    to_logits = torch.sub(logits.sigmoid(), target, out=gradient[:, classes:])
    to_alpha = torch.bmm(vae.latent_weight.mT, to_logits) * z * (torch.digamma(alpha + 1.0) - exponent) / alpha
    to_alpha += (alpha - prior) * torch.polygamma(1, alpha)
    if weight:
        to_alpha += weight * _coregularization_gradient(alpha)
    torch.mul(to_alpha, encoded.sigmoid(), out=gradient[:, :classes])
    gradient *= scale
    vae.trajectory_weight.grad = torch.bmm(gradient, w)
    vae.bias.grad = gradient.sum(-1)
    vae.label_weight.grad = gradient[:, :classes] @ target.mT
    vae.latent_weight.grad = torch.bmm(to_logits, z.mT)


def _coregularization_gradient(alpha: Float[Tensor, "branch classes rows"]) -> Float[Tensor, "branch classes rows"]:
    # Gradient of num_branches * branch_divergence(mode of alpha) with respect to alpha.
    excess = (alpha - 1.0).clamp(min=_SMALLEST_EXCESS)
    total = excess.sum(1, keepdim=True)
    mode = excess / total
    consensus = mode.mean(0)
    shifted, shifted_consensus = mode + 1e-5, consensus + 1e-5
    shared = shifted_consensus.log() - shifted.log().mean(0) + consensus / shifted_consensus
    to_mode = shared - consensus / shifted
    return (to_mode - (to_mode * mode).sum(1, keepdim=True)) / total


def row_order(rows: Int[np.ndarray, " part"], seed: int, epoch: int) -> Int[np.ndarray, " part"]:
    """Order in which an epoch visits rows."""
    keys = keyed_uniforms(seed, stream="dygen/vae/order", index=rows, size=1, epoch=epoch)
    return np.argsort(keys[:, 0], kind="stable")


def latent_uniforms(
    num_branches: int, rows: Int[np.ndarray, " part"], num_classes: int, seed: int, epoch: int
) -> Float[Tensor, "branch part classes"]:
    """Uniform numbers (float64) for the latent samples of rows."""
    numbers = keyed_uniforms(seed, stream="dygen/vae/latent", index=rows, size=num_branches * num_classes, epoch=epoch)
    return torch.from_numpy(numbers).view(len(rows), num_branches, num_classes).transpose(0, 1)


def _initial_weights(
    seed: int, stream: str, num_branches: int, dim: int, num_classes: int
) -> Float[Tensor, "branch classes inputs"]:
    # Initial weight and bias of nn.Linear(dim + num_classes, num_classes); the bias is the last column.
    fan_in = dim + num_classes
    numbers = keyed_uniforms(seed, stream=stream, index=np.arange(num_branches), size=num_classes * (fan_in + 1))
    scaled = (2.0 * torch.from_numpy(numbers) - 1.0) / math.sqrt(fan_in)
    return scaled.view(num_branches, num_classes, fan_in + 1).to(torch.get_default_dtype())


def _check(num_rows: int, num_classes: int, labels: Int[Tensor, " rows"], prior_alpha: Tensor) -> None:
    if len(labels) != num_rows or prior_alpha.shape[-2] != num_rows:
        raise ValueError(
            f"labels and prior_alpha must have the {num_rows} rows of w, got {len(labels)} and "
            f"{prior_alpha.shape[-2]}; select the same rows for all three"
        )
    if num_rows == 0:
        raise ValueError("w must have at least one row, got none; pass the rows of one split")
    check_labels(labels.numpy(force=True), num_classes)
    if not bool((prior_alpha > 0).all()):
        raise ValueError("prior_alpha must be above 0 everywhere; make it with prior_alpha(prior, delta, rho)")

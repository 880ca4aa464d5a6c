"""Gamma and Dirichlet arithmetic of the VAE: divergence, sample, mode, prior."""

import torch
from jaxtyping import Float
from torch import Tensor

from hf_noisy.losses.loss import at_least_float32

# A uniform number of 0 would give the sample a gradient of NaN.
SMALLEST_UNIFORM = 1e-6
# Float32 loses what softplus adds to 1 far below 0; with nothing left in any class the mode would be 0 / 0.
SMALLEST_EXCESS = 1e-6


def gamma_kl(
    alpha_hat: Float[Tensor, "*batch classes"], alpha_prior: Float[Tensor, "*prior classes"]
) -> Float[Tensor, "*batch"]:
    """Divergence of Gamma(alpha_hat, 1) from Gamma(alpha_prior, 1), summed over classes.

    A Dirichlet variable is a normalised vector of Gamma variables; the paper regularises the Gamma variables, so this
    is not the (smaller) divergence of the two Dirichlet distributions.

    Args:
        alpha_hat: `[..., classes]`, concentrations of the encoder; computed in float32 at least.
        alpha_prior: Concentrations of the prior, broadcast against `alpha_hat`.

    Returns:
        `[...]`, at least 0.

    Source: DyGEN (Zhuang et al., 2023), Eq. 13, the prior regulariser with the sign of a divergence.

    Example:
        >>> import torch
        >>> gamma_kl(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 3.0])).item()
        0.0
    """
    alpha_hat, alpha_prior = at_least_float32(alpha_hat), at_least_float32(alpha_prior)
    difference = torch.lgamma(alpha_prior) - torch.lgamma(alpha_hat)
    return (difference + (alpha_hat - alpha_prior) * torch.digamma(alpha_hat)).sum(-1)


def reparameterise(alpha: Float[Tensor, "*batch"], uniforms: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Approximate Gamma sample with a gradient: $z = (u\, \alpha\, \Gamma(\alpha))^{1/\alpha}$.

    Computed as $\exp((\ln u + \ln\Gamma(\alpha + 1)) / \alpha)$; not normalised to the simplex.

    Args:
        alpha: Concentrations, above 0; computed in float32 at least.
        uniforms: Same shape, in `[0, 1)`, raised to 1e-6 where smaller.

    Returns:
        Samples, same shape.

    Source: DyGEN (Zhuang et al., 2023), section 5.1.3, after Dirichlet VAE (Joo et al., 2020).

    Example:
        >>> import torch
        >>> round(reparameterise(torch.tensor([1.0]), torch.tensor([0.25])).item(), 6)
        0.25
    """
    alpha = at_least_float32(alpha)
    logarithm = uniforms.to(alpha.dtype).clamp(min=SMALLEST_UNIFORM).log()
    return ((logarithm + torch.lgamma(alpha + 1.0)) / alpha).exp()


def dirichlet_mode(alpha: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
    """Most probable class probabilities under Dirichlet(alpha).

    Args:
        alpha: `[..., classes]`, every entry at least 1; computed in float32 at least.

    Returns:
        `[..., classes]`, sums to 1.

    Source: DyGEN (Zhuang et al., 2023), Eq. 14.

    Example:
        >>> import torch
        >>> dirichlet_mode(torch.tensor([2.0, 4.0])).tolist()
        [0.25, 0.75]
    """
    excess = (at_least_float32(alpha) - 1.0).clamp(min=SMALLEST_EXCESS)
    return excess / excess.sum(-1, keepdim=True)


def prior_alpha(
    prior: Float[Tensor, "*branch rows classes"],
    delta: float | None = None,
    rho: float | Float[Tensor, " rows"] = 5.0,
) -> Float[Tensor, "*branch rows classes"]:
    """Concentrations of the prior, `delta + rho * prior`.

    Args:
        prior: `[rows, classes]` or `[branch, rows, classes]`: one-hot prior labels, or a distribution a row.
        delta: Concentration without evidence; None means `1 + 1 / classes` as in the published code, the paper
            prints 1.
        rho: Strength of the prior, one for all or one a row; the published code has 5, the paper prints 2.

    Returns:
        Same shape as `prior`, float32 at least.

    Source: DyGEN (Zhuang et al., 2023), Eq. 10.

    Example:
        >>> import torch
        >>> prior_alpha(torch.tensor([[0.0, 1.0]])).tolist()
        [[1.5, 6.5]]
    """
    prior = at_least_float32(prior)
    floor = 1.0 + 1.0 / prior.shape[-1] if delta is None else delta
    strength = rho[:, None].to(prior) if isinstance(rho, Tensor) else rho
    return floor + strength * prior

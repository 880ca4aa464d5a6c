"""A random projection that keeps distances, computed from its seed wherever it is needed."""

import numpy as np
from jaxtyping import Float32

from hf_noisy.core.rng import uniforms


def projection_matrix(width: int, dim: int, seed: int) -> Float32[np.ndarray, "{width} {dim}"]:
    r"""Random signs over $\sqrt{dim}$: squared lengths keep their mean, with a deviation of about $\sqrt{2 / dim}$.

    The same numbers come out on every machine.

    Source: Achlioptas (2003), Database-friendly random projections, Theorem 1.1.
    """
    numbers = uniforms(seed, stream="projection", index=np.arange(width), size=dim)
    return np.where(numbers < 0.5, -1.0, 1.0).astype(np.float32) / np.float32(np.sqrt(dim))

"""Random numbers keyed by row, not drawn from a shared generator.

With a global generator, a row's numbers depend on batch size, number of processes and resuming. Here each number is a
function of (seed, stream, epoch, row index, position) alone.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float64, Integer

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniforms(
    seed: int, *, stream: str, index: Integer[np.ndarray, " rows"], size: int, epoch: int = 0
) -> Float64[np.ndarray, "rows {size}"]:
    """`size` uniform numbers in (0, 1) for each row; a `stream` names their purpose and makes them independent."""
    # The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), applied to a counter.
    digest = hashlib.sha256(f"{int(seed)}/{stream}/{int(epoch)}".encode()).digest()
    key = np.frombuffer(digest[:8], dtype=np.uint64)[0]
    row_key = _mix(key + (index.astype(np.uint64)[:, None] + np.uint64(1)) * _GOLDEN)
    bits = _mix(row_key + (np.arange(size, dtype=np.uint64)[None, :] + np.uint64(1)) * _GOLDEN)
    # 52 random bits plus half a step keep the result strictly inside (0, 1) and exactly representable.
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _mix(state: Integer[np.ndarray, "..."]) -> Integer[np.ndarray, "..."]:
    # Array arithmetic on uint64 wraps silently, which is what the hash needs.
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return np.asarray(state ^ (state >> np.uint64(31)))


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Random augmentation in a data set must not shift the random numbers of training."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        # All devices, as without the argument, but then torch warns where there are several.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002

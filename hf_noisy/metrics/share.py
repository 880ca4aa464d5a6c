"""Shares of rows."""

import numpy as np
from jaxtyping import Bool


def share(hits: Bool[np.ndarray, " rows"]) -> float:
    """Share of true entries; NaN where there are none to count."""
    return float(np.mean(hits)) if len(hits) else float("nan")

"""Array types that most signatures share."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Integer
from torch import Tensor

Logits: TypeAlias = Float[Tensor, "rows classes"]
LabelTensor: TypeAlias = Int[Tensor, " rows"]
RowLosses: TypeAlias = Float[Tensor, " rows"]
Labels: TypeAlias = Integer[np.ndarray, " rows"]
Probabilities: TypeAlias = Float[np.ndarray, "rows classes"]

"""Array types that most signatures share."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Integer
from torch import Tensor

Logits: TypeAlias = Float[Tensor, "rows classes"]
LabelTensor: TypeAlias = Int[Tensor, " rows"]
RowLosses: TypeAlias = Float[Tensor, " rows"]
# Of a batch: one class or a distribution for each row, a class for each token, or zeros and ones for each class.
BatchLabels: TypeAlias = Int[Tensor, "rows *tokens"] | Float[Tensor, "rows classes"]
Labels: TypeAlias = Integer[np.ndarray, " rows"]
Probabilities: TypeAlias = Float[np.ndarray, "rows classes"]

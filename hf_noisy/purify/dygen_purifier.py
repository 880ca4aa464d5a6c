"""What a fitted DyGEN believes of the rows that it was fitted on."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_noisy.core.checks import given_classes
from hf_noisy.core.columns import LABEL, LABEL_POSTERIOR
from hf_noisy.dygen.pipeline import DyGen


class DyGenPurifier:
    """Posterior of a fitted [`~hf_noisy.dygen.pipeline.DyGen`], given the trajectory and the given label of a row.

    Rows are known by their order: the dataset must be the recorded one, neither shuffled nor filtered since.

    Args:
        dygen: Fitted, or loaded with its trajectories.
        split: Recorded split that the dataset is; by default the training split.

    Raises:
        ValueError: If `dygen` has no trajectories or the split was not recorded.

    Example:
        ```python
        dygen = DyGen.fit(recorder.trajectories, np.array(train["label"]))
        purified = purify(train, DyGenPurifier(dygen), min_confidence=0.8)
        ```

    Source: DyGEN (Zhuang et al., 2023), Eq. 14.
    """

    citation = (
        "Zhuang, Y., Yu, Y., Kong, L., Chen, X., Zhang, C. (2023). DyGen: Learning from Noisy Labels via "
        "Dynamics-Enhanced Generative Modeling. KDD 2023."
    )

    def __init__(self, dygen: DyGen, split: str | None = None) -> None:
        self.name = "dygen"
        self.columns: tuple[str, ...] = (LABEL,)
        self.dygen = copy.copy(dygen)
        # The evidence holds a function that cannot be pickled; a posterior given the labels does without it.
        self.dygen.fitted_prior = None
        self.split = dygen.config.split if split is None else split
        if dygen.trajectories is None:
            raise ValueError("dygen has no trajectories; pass them to DyGen.from_pretrained")
        self.num_rows = dygen.trajectories.num_rows(self.split)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior `[rows, classes]` given the labels of the recorded rows, in their order."""
        labels, _ = given_classes(batch, self.dygen.config.num_classes)
        if len(labels) != self.num_rows:
            raise ValueError(
                f"dataset must have the {self.num_rows} rows recorded as '{self.split}', in their order, got "
                f"{len(labels)}; pass the dataset that was handed to DynamicsRecorder"
            )
        posterior = self.dygen.posterior(self.split, labels)
        return {LABEL_POSTERIOR: (posterior / posterior.sum(axis=1, keepdims=True)).astype(np.float32)}

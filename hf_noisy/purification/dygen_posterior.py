"""The posterior of a fitted DyGEN for the recorded rows."""

import numpy as np
from jaxtyping import Float32, Integer

from hf_noisy.core.checks import given_classes
from hf_noisy.dygen.pipeline import DyGen

CITATION = (
    "Zhuang, Y., Yu, Y., Kong, L., Chen, X., Zhang, C. (2023). DyGen: Learning from Noisy Labels via "
    "Dynamics-Enhanced Generative Modeling. KDD 2023."
)


def dygen_posterior(
    labels: Integer[np.ndarray, " rows"], *, dygen: DyGen, recorded_split: str | None = None
) -> Float32[np.ndarray, "rows classes"]:
    """Posterior of a fitted [`~hf_noisy.dygen.pipeline.DyGen`], given the trajectory and the given label of a row.

    Rows are matched by their order: the dataset must be the recorded one, neither shuffled nor filtered.

    Args:
        labels: `[rows]`, given labels.
        dygen: Fitted, or loaded with its trajectories.
        recorded_split: Name of the recorded split; by default the training split.

    Returns:
        `[rows, classes]`, each row sums to 1.

    Raises:
        ValueError: If `dygen` has no trajectories, the split was not recorded, or the rows are not those recorded.

    Example:
        ```python
        dygen = DyGen.fit(recorder.trajectories, np.array(train["label"]))
        purified = purify(train, "dygen", dygen=dygen, min_confidence=0.8)
        ```

    Source: DyGEN (Zhuang et al., 2023), Eq. 14.
    """
    if dygen.trajectories is None:
        raise ValueError("dygen has no trajectories; pass them to DyGen.from_pretrained")
    split = dygen.config.split if recorded_split is None else recorded_split
    num_rows = dygen.trajectories.num_rows(split)
    labels, _ = given_classes(labels, dygen.config.num_classes)
    if len(labels) != num_rows:
        raise ValueError(
            f"dataset must have the {num_rows} rows recorded as '{split}', in their order, got {len(labels)}; pass "
            "the dataset that was handed to DynamicsRecorder"
        )
    posterior = dygen.posterior(split, labels)
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True), dtype=np.float32)

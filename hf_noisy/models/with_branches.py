"""Branches for a method that needs them, made of the model that was given."""

import logging
from typing import Literal, cast

from torch import nn
from transformers import PreTrainedModel

from hf_noisy.models.branches import BranchedModel

logger = logging.getLogger(__name__)


def with_branches(model: nn.Module | None, num_branches: int, method: str, seed: int = 0) -> nn.Module | None:
    """The model itself if it has as many branches as a method needs, else branches made of it.

    A model that was not loaded has nothing worth copying: all weights of its branches are drawn anew.

    Args:
        model: A model with or without branches.
        num_branches: How many the method needs at least.
        method: Name of the method, for the error.
        seed: Of the new weights.

    Raises:
        ValueError: If branches cannot be made of the model.
    """
    found = getattr(model, "num_branches", 1)
    if model is None or found >= num_branches:
        return model
    try:
        initialize: Literal["head", "all"] = "head" if getattr(model, "name_or_path", "") else "all"
        logger.warning(
            "method %s trains %d branches, %s; BranchedModel.from_model(model, initialize=...) makes others",
            method,
            num_branches,
            "copies with new heads" if initialize == "head" else "all their weights are drawn anew",
        )
        return BranchedModel.from_model(cast(PreTrainedModel, model), num_branches, seed=seed, initialize=initialize)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"method {method} needs a model with {num_branches} branches, got {type(model).__name__} with {found}; "
            f"make one with BranchedModel.from_model(model, num_branches={num_branches}, lora=...): {error}"
        ) from error

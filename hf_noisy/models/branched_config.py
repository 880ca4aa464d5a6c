"""Configuration of branched models."""

import copy
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from hf_noisy.core.task import SEQUENCES, TASKS


class BranchedConfig(PreTrainedConfig):
    """Configuration of a [`BranchedModel`].

    Args:
        branch: Configuration of one branch, which also gives the labels.
        task: A name of `hf_noisy.core.task.TASKS`, such as `"sequence-classification"` or `"token-classification"`.
        num_branches: Number of branches, 2 or more.
        lora: Settings of the adapters, or `None` if branches are full copies.
        shared_layers: Number of lowest layers that stay frozen and are computed once for all branches.

    Raises:
        ValueError: If `task` or `num_branches` is out of range.

    Example:
        >>> from transformers import BertConfig
        >>> BranchedConfig(branch=BertConfig(num_labels=3), num_branches=2).num_labels
        3
    """

    model_type = "branched"
    sub_configs: ClassVar[dict[str, Any]] = {"branch": AutoConfig}
    has_no_defaults_at_init = True
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["branch_logits"]

    def __init__(
        self,
        branch: PreTrainedConfig | dict[str, Any] | None = None,
        task: str = SEQUENCES.name,
        num_branches: int = 2,
        lora: dict[str, Any] | None = None,
        shared_layers: int = 0,
        **kwargs: Any,
    ) -> None:
        if task not in TASKS:
            raise ValueError(f"task must be one of {list(TASKS)}, got {task!r}")
        if num_branches < 2:
            raise ValueError(
                f"num_branches must be 2 or more, got {num_branches}; for one network use the model itself"
            )
        self.branch = AutoConfig.for_model(**branch) if isinstance(branch, dict) else branch
        self.task, self.num_branches, self.lora, self.shared_layers = task, num_branches, lora, shared_layers
        if self.branch is not None:
            kwargs.pop("num_labels", None)
            kwargs.setdefault("problem_type", self.branch.problem_type)
            names = {"id2label": self.branch.id2label, "label2id": self.branch.label2id}
            # Configurations of PVT count classes without naming them.
            kwargs |= copy.deepcopy(names) if self.branch.id2label else {"num_labels": self.branch.num_labels}
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As of `PreTrainedConfig`, without the folder from which a branch was loaded."""
        return without_origin(super().to_dict(), "branch")


def without_origin(config: dict[str, Any], part: str) -> dict[str, Any]:
    """The dictionary of a configuration, without the place from which one of its parts was loaded."""
    # transformers removes it from the configuration itself only; it may be a folder of this computer.
    if isinstance(config.get(part), dict):
        config[part].pop("_name_or_path", None)
    return config

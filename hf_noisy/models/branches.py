"""Several networks of one architecture as a single `PreTrainedModel`."""

import contextlib
import copy
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from hf_noisy.core.rows import logits_of
from hf_noisy.core.task import TASKS, auto_task
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.models.adapters import lora_to_dict, merge_adapter, share_backbone
from hf_noisy.models.branched_config import BranchedConfig
from hf_noisy.models.heads import accepted_inputs, find_heads, given_inputs
from hf_noisy.models.kept_outputs import KeptOutputs
from hf_noisy.models.shared_layers import (
    copy_upper_layers,
    frozen_parameters,
    own_layers,
    share_lower_layers,
    shared_layers_of,
    without_dropout,
)

if TYPE_CHECKING:
    from peft import LoraConfig

logger = logging.getLogger(__name__)

# Class attributes that transformers reads for loading and sharding, from direct children only.
_CLASS_RULES = (
    "_keep_in_fp32_modules",
    "_keep_in_fp32_modules_strict",
    "_no_split_modules",
    "_skip_keys_device_placement",
    "_keys_to_ignore_on_load_unexpected",
    "_keys_to_ignore_on_load_missing",
)


@no_type_check  # accelerate rebuilds an output with a dictionary of its values as the first argument
@dataclass
class BranchedOutput(ModelOutput):
    """Output of a [`BranchedModel`].

    Args:
        loss: Mean cross-entropy of the ensemble, if labels were given.
        logits: `[batch, class]`, log of the mean probability of the branches, float32. Of tokens `[batch, token,
            class]`; of independent classes the logit of the mean probability.
        branch_logits: `[batch, branch, class]`, logits of each branch; of tokens `[batch, branch, token, class]`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    branch_logits: Tensor | None = None


class BranchedModel(PreTrainedModel):
    """Several networks of one architecture that are trained, saved and loaded as one model.

    The branches differ in the initialisation of their heads, in their dropout masks, and with `lora` in their
    adapters. The ensemble's `logits` are the log of the mean probability, so that `softmax(logits)` is that mean.

    Args:
        config: A [`BranchedConfig`].
        branches: The networks; by default built from `config` with random weights.

    Example:
        ```python
        model = BranchedModel.from_model(classifier, num_branches=2, seed=0)
        model(**inputs).branch_logits.shape  # [batch, branch, class]
        model.unbranch(0).save_pretrained("first-branch")
        ```
    """

    config_class = BranchedConfig
    base_model_prefix = "branched"
    accepts_loss_kwargs = False  # what `forward` takes by **inputs is for the branches
    # Each branch checks which of these it supports.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: BranchedConfig, branches: list[PreTrainedModel] | None = None) -> None:
        super().__init__(config)
        if config.branch is None:
            raise ValueError("config.branch is None; pass the configuration of one branch")
        networks = _build(config) if branches is None else branches
        self.branches = nn.ModuleList(networks)
        self.main_input_name = networks[0].main_input_name
        self.supports_gradient_checkpointing = networks[0].supports_gradient_checkpointing
        for name in _CLASS_RULES:
            setattr(self, name, set(getattr(networks[0], name) or ()))
        self.branch_inputs = accepted_inputs(networks[0])
        self._kept: KeptOutputs | None = None
        self._aliases = _aliases(self.branches)
        self.post_init()  # type: ignore[no-untyped-call]
        # Keeps aliases out of files, and `Trainer` from reporting them as missing when it resumes.
        self._keys_to_ignore_on_save = set(self._aliases)

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        num_branches: int = 2,
        *,
        seed: int = 0,
        initialize: Literal["head", "all"] = "head",
        lora: "LoraConfig | dict[str, Any] | None" = None,
        shared_layers: int = 0,
    ) -> "BranchedModel":
        """Make branches from a classifier, which is not changed.

        The final linear layer and the adapters of every branch are newly initialised, in the way of the architecture,
        with random numbers that depend only on `(seed, branch)`. Everything else is copied unless `initialize="all"`.

        Args:
            model: A text or image classifier of transformers.
            num_branches: Number of branches, 2 or more.
            seed: Any integer; the global random state is neither read nor changed.
            initialize: `"head"` keeps pretrained weights; `"all"` reinitialises every weight, for networks that are
                trained from scratch and must differ in more than their heads.
            lora: `None` for full copies; a `peft.LoraConfig` or a dict of its arguments (`{}` for the defaults) for
                adapters on one frozen backbone. Heads are trained in full either way.
            shared_layers: Number of lowest layers that stay frozen, without adapters and dropout, and are computed
                once for all branches: less memory and time, but branches differ less. For texts,
                [`keep_shared_outputs`] also computes them only once for each row.

        Returns:
            The branched model, on the device and in the dtype of `model`.

        Raises:
            TypeError: If `model` is not a plain transformers model, or `lora` has another type.
            ValueError: If `model` is not a single-label classifier, or an argument is out of range.

        Source: the two co-regularised branches of DyGEN (Zhuang et al., 2023), Section 4.4.
        """
        task = auto_task(model)
        find_heads(model)  # refuses a model without a head
        keeps_weights = lora is not None or shared_layers != 0
        if initialize not in ("head", "all") or (initialize == "all" and keeps_weights):
            raise ValueError(
                f"initialize must be 'head', or 'all' without lora and shared_layers, got {initialize!r} with "
                f"lora={lora!r} and shared_layers={shared_layers}"
            )
        branch_config = copy.deepcopy(model.config)
        branch_config.architectures = [type(model).__name__]
        config = BranchedConfig(
            branch=branch_config,
            task=task.name,
            num_branches=num_branches,
            lora=None if lora is None else lora_to_dict(lora),
            shared_layers=shared_layers,
        )
        branched = cls(config, _copies(model, config, seed, initialize))
        branched.train(model.training)
        return branched

    @property
    def num_branches(self) -> int:
        """Number of branches."""
        return len(self.branches)

    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        pixel_values: Float[Tensor, "batch *image"] | None = None,
        labels: Int[Tensor, " batch"] | None = None,
        **inputs: Any,
    ) -> BranchedOutput:
        """Run every branch on the same inputs, of any name that a branch accepts; with `labels` there is a loss."""
        usual = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "pixel_values": pixel_values,
        }
        inputs |= given_inputs(usual, self.branch_inputs)
        branch_logits = self.with_shared_outputs(inputs, self._branch_logits)
        task = TASKS[self.config.task]
        logits = task.from_classes(mean_log_probability(task.to_classes(branch_logits)))
        loss: Tensor | None = None
        if labels is not None:
            rows = task.rows(logits, task.given(labels))
            loss = nn.functional.cross_entropy(rows.logits, rows.labels)
        return BranchedOutput(loss=loss, logits=logits, branch_logits=branch_logits)

    def _branch_logits(self, **inputs: Any) -> Float[Tensor, "batch branch *rows classes"]:
        return torch.stack([logits_of(branch(**inputs)) for branch in self.branches], dim=1)

    def with_shared_outputs(self, inputs: dict[str, Any], run: Callable[..., Tensor]) -> Tensor:
        """The result of `run` on inputs of branches, with kept outputs of the shared layers where there are any."""
        if not self.config.shared_layers:
            return run(**inputs)
        shared = shared_layers_of(self.branches)
        # Replicas of DataParallel run in threads.
        kept = None if torch.compiler.is_compiling() or getattr(self, "_is_replica", False) else self._kept
        try:
            return run(**inputs) if kept is None else kept.run(shared, inputs, run)
        finally:
            for layer in shared:
                layer.output = None  # of this batch

    def keep_shared_outputs(self, folder: str | Path | None = None, max_gib: float = 16.0) -> None:
        """Compute the shared layers only once for each text, and read their output from a file from then on.

        The file is temporary, and holds the hidden states of every text that the model has seen: in float32 4 bytes
        for each of its tokens and dimensions, 3 GB for 100,000 texts of 20 tokens and 384 dimensions. Losses are the
        same as without it, up to rounding. Inputs that are no padded token ids are computed as before.

        Args:
            folder: Where the file is, made if need be; by default the folder of temporary files.
            max_gib: Size from which further texts are not kept.

        Raises:
            ValueError: If the model has no shared layers.
        """
        if not self.config.shared_layers:
            raise ValueError("the model has no shared layers; make it with shared_layers=1 or more")
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        self._kept = KeptOutputs(frozen_parameters(self.branches), folder, int(max_gib * 2**30))

    def train(self, mode: bool = True) -> "BranchedModel":
        """As of every module; what the branches share stays in evaluation mode."""
        super().train(mode)
        without_dropout(self.branches)
        return self

    def unbranch(self, index: int = 0) -> PreTrainedModel:
        """Extract one branch as an ordinary model.

        Args:
            index: Which branch, from 0.

        Returns:
            A copy of the branch with its adapter merged, sharing nothing with this model.

        Raises:
            ValueError: If there is no such branch.
        """
        if not 0 <= index < self.num_branches:
            raise ValueError(f"index must be in [0, {self.num_branches}), got {index}; branches are counted from 0")
        branch = own_layers(cast(PreTrainedModel, copy.deepcopy(self.branches[index])))
        return branch if self.config.lora is None else merge_adapter(branch)

    def init_weights(self) -> None:
        """Only tie shared weights: the branches are already initialised."""
        self.tie_weights(recompute_mapping=False)

    def tie_weights(self, missing_keys: set[str] | None = None, recompute_mapping: bool = True) -> None:
        """Tie the parameters that branches share, and keep them frozen (loading makes new parameters)."""
        super().tie_weights(missing_keys=missing_keys, recompute_mapping=recompute_mapping)
        for alias, source in self._aliases.items():
            if alias.split(".")[1] != source.split(".")[1]:
                self.get_parameter(source).requires_grad_(False)
        for layer in shared_layers_of(self.branches):
            layer.requires_grad_(False)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Shared parameters within and between branches, `{alias: saved name}`."""
        return dict(self._aliases)

    def get_input_embeddings(self) -> None:  # type: ignore[override]
        """None, as each branch has its own; accelerate (FSDP2) calls this."""

    def _adjust_bias(self, output_embeddings: Any, input_embeddings: Any) -> None:
        # transformers pads the bias of tied layers to the vocabulary; shapes agree here, and Conv1D would be misread.
        return


def mean_log_probability(
    branch_logits: Float[Tensor, "batch branch *rows classes"],
) -> Float[Tensor, "batch *rows classes"]:
    """Log of the mean over branches of the class probabilities, float32 or wider."""
    return at_least_float32(branch_logits).log_softmax(-1).logsumexp(1) - math.log(branch_logits.shape[1])


def _build(config: BranchedConfig) -> list[PreTrainedModel]:
    """Branches with random weights, to be loaded from a file."""
    auto_class = TASKS[config.task].auto_class
    if config.lora is None and not config.shared_layers:
        return [
            auto_class.from_config(copy.deepcopy(config.branch), trust_remote_code=False)
            for _ in range(config.num_branches)
        ]
    model = auto_class.from_config(config.branch, trust_remote_code=False)
    return share_lower_layers([_sharing(model, config) for _ in range(config.num_branches)], config.shared_layers)


def _sharing(model: PreTrainedModel, config: BranchedConfig) -> PreTrainedModel:
    """One of several branches that share parameters of a model, which are frozen in it."""
    if config.lora is None:
        return copy_upper_layers(model, config.shared_layers)
    return share_backbone(model, config.lora, config.shared_layers)


def _copies(model: PreTrainedModel, config: BranchedConfig, seed: int, initialize: str) -> list[PreTrainedModel]:
    """Branches with the weights of a model and new heads (and adapters), or with all weights new."""
    copy_one: Callable[[], PreTrainedModel] = functools.partial(copy.deepcopy, model)
    if config.lora is not None or config.shared_layers:
        # The branches share a copy, so that the caller's model is not frozen or moved with them.
        copy_one = functools.partial(_sharing, copy.deepcopy(model), config)
    branches: list[PreTrainedModel] = []
    for index in range(config.num_branches):
        with _seeded(seed, index):
            branch = copy_one()
            if initialize == "all":
                fresh = TASKS[config.task].auto_class.from_config(
                    copy.deepcopy(config.branch), trust_remote_code=False
                )
                branch.load_state_dict(fresh.state_dict())
            else:
                _initialise_head(branch)
        branches.append(branch)
    return share_lower_layers(branches, config.shared_layers)


@contextlib.contextmanager
def _seeded(seed: int, index: int) -> Iterator[None]:
    # Only the CPU generator is touched: the same seed gives the same heads whatever the device.
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"{int(seed)}/branch/{index}".encode()).digest()
        torch.default_generator.manual_seed(int.from_bytes(digest[:7]))
        yield


def _initialise_head(branch: PreTrainedModel) -> None:
    (head,) = find_heads(branch)
    # torch's default initialisation remains if the architecture has no rule for linear layers.
    fresh = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None, device="cpu")
    branch._init_weights(fresh)
    head.load_state_dict(fresh.state_dict())


def _aliases(branches: nn.ModuleList) -> dict[str, str]:
    """Aliases of parameters with several names, `{alias: saved name}`."""
    aliases: dict[str, str] = {}
    for index, branch in enumerate(branches):
        # Declared by the architecture (embeddings); not yet tied while a file is loaded.
        tied = cast(PreTrainedModel, branch).all_tied_weights_keys
        weights = dict(branch.named_parameters(remove_duplicate=False))
        for pair in tied.items():
            alias, source = (f"branches.{index}.{_below_adapter(name, weights)}" for name in pair)
            aliases[alias] = source
    names: dict[int, str] = {}
    for name, parameter in branches.named_parameters(prefix="branches", remove_duplicate=False):
        if (first := names.setdefault(id(parameter), name)) != name:
            aliases[name] = first
    return aliases


def _below_adapter(name: str, weights: Collection[str]) -> str:
    """The name of a weight, which is another if its layer has got an adapter (Zamba ties whole layers)."""
    layer, _, weight = name.rpartition(".")
    adapted = f"{layer}.base_layer.{weight}"
    return adapted if adapted in weights else name


def with_branches(model: nn.Module | None, num_branches: int, method: str, seed: int = 0) -> nn.Module | None:
    """The model itself if it has enough branches for a method, else a branched model made from it."""
    found = getattr(model, "num_branches", 1)
    if model is None or found >= num_branches:
        return model
    try:
        # A model that was not loaded has only random weights.
        initialize: Literal["head", "all"] = "head" if getattr(model, "name_or_path", "") else "all"
        logger.warning(
            "method %s trains %d branches, %s; use BranchedModel.from_model(model, initialize=...) for others",
            method,
            num_branches,
            "copies with new heads" if initialize == "head" else "with all weights newly initialised",
        )
        return BranchedModel.from_model(cast(PreTrainedModel, model), num_branches, seed=seed, initialize=initialize)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"method {method} needs a model with {num_branches} branches, got {type(model).__name__} with {found}; "
            f"make one with BranchedModel.from_model(model, num_branches={num_branches}, lora=...): {error}"
        ) from error


AutoConfig.register("branched", BranchedConfig, exist_ok=True)
AutoModel.register(BranchedConfig, BranchedModel, exist_ok=True)
for _task in TASKS.values():
    _task.auto_class.register(BranchedConfig, BranchedModel, exist_ok=True)

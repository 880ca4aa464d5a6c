"""DyGEN's exact posterior for new rows, as one `PreTrainedModel`."""

import copy
from collections.abc import Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.core.task import IMAGES, SEQUENCES, TASKS, auto_task
from hf_noisy.data.indexed import IndexedRow
from hf_noisy.dygen.evidence_head import EvidenceHead, mixed
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.snapshots import changing, encoder_names, read_snapshot
from hf_noisy.dygen.vae import DirichletVAE, without_classes
from hf_noisy.dynamics.recorder import projection_matrix
from hf_noisy.models.branched_config import without_origin
from hf_noisy.models.heads import HeadInputs, accepted_inputs, find_heads, given_inputs, logits_by_branch, unwrapped
from hf_noisy.models.inference import Collator, ModelInputs, batches_of, default_collator, outputs_by_row
from hf_noisy.models.pooling import pooled_features


class DyGenModelConfig(PreTrainedConfig):
    """Configuration of a [`DyGenForClassification`].

    Args:
        network: Configuration of the recorded network, which also gives the labels.
        task: `"sequence-classification"` or `"image-classification"`.
        epochs: The epochs that the posterior reads.
        changed: Names of the weights that training changed, stored for each epoch.
        start: Names of the encoder's weights before the first step; empty if its features are not used.
        num_branches: Networks that were trained together.
        dim: Width of the recorded inputs of a head.
        projected_from: Width of a head's input before the recorder's projection; 0 without one.
        feature_width: Width of the encoder's features; 0 if they are not used.
        feature_scale: See `TrajectoryVectors`.
        delta: See `DirichletVAE`.
        with_evidence: Whether the posterior contains the evidence of [`DyGen`].
        with_networks: Whether the posterior contains the networks' own predictions beside the evidence.
        absent: Classes that no training row had, which get no mass.
        autocast: `"bfloat16"` or `"float16"` if the recorder ran under autocast, else None.
    """

    model_type = "dygen"
    sub_configs: ClassVar[dict[str, Any]] = {"network": AutoConfig}
    has_no_defaults_at_init = True

    def __init__(
        self,
        network: PreTrainedConfig | dict[str, Any] | None = None,
        task: str = SEQUENCES.name,
        epochs: list[int] | tuple[int, ...] = (1,),
        changed: list[str] | tuple[str, ...] = (),
        start: list[str] | tuple[str, ...] = (),
        num_branches: int = 1,
        dim: int = 1,
        projected_from: int = 0,
        feature_width: int = 0,
        feature_scale: float = 1.0,
        delta: float = 1.0,
        with_evidence: bool = False,
        with_networks: bool = False,
        absent: list[int] | tuple[int, ...] = (),
        autocast: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.network = AutoConfig.for_model(**network) if isinstance(network, dict) else network
        self.task, self.epochs, self.changed, self.start = task, list(epochs), list(changed), list(start)
        self.num_branches, self.dim, self.projected_from, self.delta = num_branches, dim, projected_from, delta
        self.feature_width, self.feature_scale, self.autocast = feature_width, feature_scale, autocast
        self.with_evidence, self.with_networks, self.absent = with_evidence, with_networks, list(absent)
        if self.network is not None:
            kwargs |= copy.deepcopy({"id2label": self.network.id2label, "label2id": self.network.label2id})
            kwargs.pop("num_labels", None)
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As of `PreTrainedConfig`, without the folder from which the network was loaded."""
        return without_origin(super().to_dict(), "network")


class DyGenForClassification(PreTrainedModel):
    """DyGEN's posterior as one model: the weights of every recorded epoch, the encoder before training, and the VAE.

    `softmax(logits)` is the posterior, as of [`DyGen.posterior`]. Weights not changed by training are stored once.
    A forward pass runs the network once per epoch with swapped weights, so it is not thread-safe. Made by
    [`DyGenForClassification.from_training`]; loaded with `from_pretrained` once this module is imported.

    Args:
        config: A [`DyGenModelConfig`].

    Example:
        ```python
        exact = DyGenForClassification.from_training(dygen, trainer.model, snapshots.path)
        exact.save_pretrained("exact")
        DyGenForClassification.from_pretrained("exact").predict(new_rows, tokenizer)  # [rows, classes]
        ```

    Source: DyGEN (Zhuang et al., 2023), Eq. 14, 15 and 21.
    """

    config_class = DyGenModelConfig
    base_model_prefix = "dygen"
    accepts_loss_kwargs = False  # what `forward` takes by **inputs is for the network
    # The wrapped network checks which of these it supports.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    means: Tensor
    scales: Tensor
    projection: Tensor
    feature_mean: Tensor

    def __init__(self, config: DyGenModelConfig) -> None:
        super().__init__(config)
        if config.network is None:
            raise ValueError("config.network is None; pass the configuration of the network that was trained")
        auto = TASKS[config.task].auto_class
        network: PreTrainedModel = auto.from_config(copy.deepcopy(config.network), trust_remote_code=False)
        self.network, self.main_input_name = network, network.main_input_name
        self.branch_inputs = accepted_inputs(network)
        epochs, branches, dim = len(config.epochs), config.num_branches, config.dim
        # The network itself holds the weights of the last epoch.
        self.snapshots = nn.ParameterList(_empty(tensor, (epochs - 1,)) for tensor in self._tensors(config.changed))
        self.start = nn.ParameterList(_empty(tensor) for tensor in self._tensors(config.start))
        self.vae = DirichletVAE(
            branches, epochs * dim + config.feature_width, cast(int, config.num_labels), config.delta
        )
        classes = cast(int, config.num_labels)
        self.evidence = EvidenceHead(config.feature_width, classes) if config.with_evidence else None
        self.register_buffer("means", torch.zeros(epochs, branches, dim))
        self.register_buffer("scales", torch.ones(epochs, branches))
        self.register_buffer("projection", torch.zeros(config.projected_from, dim))
        self.register_buffer("feature_mean", torch.zeros(config.feature_width))
        self.post_init()  # type: ignore[no-untyped-call]
        self.requires_grad_(False)

    @classmethod
    def from_training(
        cls, dygen: DyGen, model: nn.Module, snapshots: Any, *, autocast: str | None = None
    ) -> "DyGenForClassification":
        """Make the model from a fit, the trained network and its snapshots.

        Args:
            dygen: Fitted on the trajectories of this training.
            model: The trained network, such as `trainer.model`; not changed.
            snapshots: Folder of [`EpochSnapshots`], or the `output_dir` that contains it.
            autocast: `"bfloat16"` or `"float16"` for a training with `bf16=True` or `fp16=True`, which recorded in it.

        Returns:
            The model, in evaluation mode, with all weights in the dtype of the network.

        Raises:
            TypeError: If `model` is not a transformers model.
            FileNotFoundError: If the snapshot of an epoch is missing.
            ValueError: If the snapshots are damaged or of another training than the fit, or do not fit the model.
        """
        model = cast(PreTrainedModel, unwrapped(model))
        task = auto_task(model).name
        vectors, epochs = dygen.vectors, list(map(int, dygen.vectors.epochs))
        names, width = list(changing(model)), 0 if vectors.feature_mean is None else len(vectors.feature_mean)
        matrix = _projection(dygen, model)
        config = cls.config_class(
            network=copy.deepcopy(model.config),
            task=task,
            epochs=epochs,
            changed=names,
            start=encoder_names(model) if width else [],
            num_branches=dygen.config.num_branches,
            dim=int(vectors.means.shape[2]),
            projected_from=0 if matrix is None else len(matrix),
            feature_width=width,
            feature_scale=float(vectors.feature_scale),
            delta=dygen.config.delta,
            with_evidence=dygen.evidence is not None,
            with_networks=dygen.config.with_networks,
            absent=dygen.config.absent,
            autocast=autocast,
        )
        exact = cls(config)
        cast(nn.Module, exact).to(model.dtype)
        exact.network.load_state_dict(model.state_dict())
        for position, epoch in enumerate(epochs):
            last = position == len(epochs) - 1
            targets = exact._tensors(names) if last else [stack[position] for stack in exact.snapshots]
            _fill(targets, names, read_snapshot(snapshots, epoch, dygen.config.run))
        if width:
            _fill(list(exact.start), config.start, read_snapshot(snapshots, None, dygen.config.run))
        exact.vae.load_state_dict(dygen.vae.state_dict())
        if exact.evidence is not None and dygen.evidence is not None:
            exact.evidence.load_state_dict(dygen.evidence.state_dict())
        exact.means.copy_(torch.from_numpy(vectors.means))
        exact.scales.copy_(torch.from_numpy(vectors.scales))
        if matrix is not None:
            exact.projection.copy_(torch.from_numpy(matrix))
        if vectors.feature_mean is not None:
            exact.feature_mean.copy_(torch.from_numpy(vectors.feature_mean))
        cast(nn.Module, exact).to(model.device).eval()
        return exact

    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        pixel_values: Float[Tensor, "batch *image"] | None = None,
        labels: Int[Tensor, " batch"] | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Log-probabilities of the true label.

        Args:
            input_ids: Tokens, for text.
            attention_mask: 1 for tokens, 0 for padding.
            token_type_ids: Segments; ignored if the network has none.
            pixel_values: Images.
            labels: Classes, for a loss.
            **inputs: Further inputs of the network.

        Returns:
            `logits` `[batch, class]`, and `loss`, their mean cross-entropy, if there are labels.
        """
        usual = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "pixel_values": pixel_values,
        }
        inputs |= given_inputs(usual, self.branch_inputs)
        w, logits = self._trajectory(inputs)
        predictions = logits.softmax(-1)
        posterior = self.vae.posterior(w, predictions).float()
        if self.evidence is not None:
            posterior = mixed(posterior, self.evidence(w), predictions if self.config.with_networks else None)
        posterior = without_classes(posterior, self.config.absent)
        scores = posterior.clamp(min=torch.finfo(torch.float32).tiny).log()
        loss = None if labels is None else nn.functional.nll_loss(scores, labels)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=cast(Any, scores))

    def predict(
        self,
        dataset: Any,
        processing_class: Any = None,
        *,
        batch_size: int = 32,
        data_collator: Collator | None = None,
        show_progress: bool = True,
    ) -> Float64[np.ndarray, "rows classes"]:
        """Posterior of the true label of rows, prepared as for training.

        Args:
            dataset: Map-style; columns that the network does not accept are ignored.
            processing_class: The tokenizer, which pads texts; not needed for images.
            batch_size: Rows per forward pass.
            data_collator: Defaults to padding with `processing_class`.
            show_progress: Whether to show a progress bar.

        Returns:
            `[rows, classes]`, sums to 1.

        Raises:
            ValueError: If the dataset has no rows, or lacks the main input of the network.
        """
        if not isinstance(dataset, Sized) or not len(dataset):
            raise ValueError("dataset must have a length and at least one row; load it without streaming")
        inputs_of = ModelInputs(data_collator or default_collator(processing_class), self.network)

        def collate(rows: list[IndexedRow]) -> tuple[list[int], dict[str, Tensor]]:
            if self.main_input_name not in rows[0].row:
                raise ValueError(
                    f"dataset must have a column '{self.main_input_name}', got {', '.join(rows[0].row)}; prepare it "
                    "as for training"
                )
            return inputs_of(rows)

        (scores,) = outputs_by_row(
            self,
            inputs_of.needed(dataset),
            lambda inputs: [logits_by_branch(self(**inputs))],
            batches=batches_of(dataset, batch_size),
            collate=collate,
            show_progress="posterior" if show_progress else None,
            processes="each",
        )
        posterior: np.ndarray = torch.from_numpy(scores[0]).double().softmax(-1).numpy()
        return posterior

    @torch.no_grad()
    def _trajectory(
        self, inputs: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "branch batch dim"], Float[Tensor, "branch batch classes"]]:
        """The vectors that [`TrajectoryVectors`] computes for recorded rows, and the logits of the last epoch."""
        changed, blocks = self._tensors(self.config.changed), []
        for position in range(len(self.config.epochs)):
            last = position == len(self.config.epochs) - 1
            values = None if last else [stack[position] for stack in self.snapshots]
            with _holding(changed, values), HeadInputs(self.network) as heads, self._as_recorded(inputs):
                outputs = self.network(**inputs)
                embeddings = torch.stack(heads.pop()).float()
            if self.config.projected_from:
                embeddings = embeddings @ self.projection.float()
            centred = embeddings - self.means[position][:, None].float()
            blocks.append(centred / self.scales[position][:, None, None].float())
        if width := self.config.feature_width:
            with _holding(self._tensors(self.config.start), list(self.start)), self._as_recorded(inputs):
                features = nn.functional.normalize(pooled_features(self.network, inputs).float(), eps=1e-12)
            weight = (len(blocks) * self.config.dim / width) ** 0.5 / self.config.feature_scale
            features = (features - self.feature_mean.float()) * weight
            blocks.append(features.expand(self.config.num_branches, -1, -1))
        return torch.cat(blocks, -1), logits_by_branch(outputs).float()

    def _as_recorded(self, inputs: dict[str, Tensor]) -> AbstractContextManager[Any]:
        if self.config.autocast is None:
            return nullcontext()
        return torch.autocast(next(iter(inputs.values())).device.type, getattr(torch, self.config.autocast))

    def _tensors(self, names: list[str]) -> list[Tensor]:
        # Looked up on each use, as loading and moving may replace the objects.
        return [_attribute(self.network, name) for name in names]


def _projection(dygen: DyGen, model: nn.Module) -> Float32[np.ndarray, "width dim"] | None:
    width, dim = find_heads(model)[0].in_features, int(dygen.vectors.means.shape[2])
    if width == dim:
        return None
    recorded = {} if dygen.trajectories is None else dygen.trajectories.manifest
    if recorded.get("projection") != dim:
        raise ValueError(
            f"model has heads of width {width}, but dygen was fitted on {dim} dimensions; pass the model of the same "
            "training, and if the recorder projected, a dygen with its trajectories"
        )
    return projection_matrix(width, dim, recorded["seed"])


def _empty(tensor: Tensor, lead: tuple[int, ...] = ()) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*lead, *tensor.shape, dtype=tensor.dtype), requires_grad=False)


def _attribute(network: nn.Module, name: str) -> Tensor:
    module, _, last = name.rpartition(".")
    tensor = getattr(network.get_submodule(module), last, None)
    if not isinstance(tensor, Tensor):
        raise ValueError(
            f"the network has no weight '{name}', which was recorded in training; load it with the version of "
            "transformers that trained it"
        )
    return tensor


def _fill(targets: list[Tensor], names: list[str], values: dict[str, Tensor]) -> None:
    if set(names) - set(values):
        raise ValueError(
            f"the snapshots have no weight '{min(set(names) - set(values))}'; pass the model of the same training"
        )
    for tensor, name in zip(targets, names, strict=True):
        if tensor.shape != values[name].shape:
            raise ValueError(
                f"weight '{name}' has shape {tuple(values[name].shape)} in the snapshots, but {tuple(tensor.shape)} "
                "in the model; pass the model of the same training"
            )
        tensor.data.copy_(values[name])


@contextmanager
def _holding(tensors: list[Tensor], values: list[Tensor] | None) -> Iterator[None]:
    """Temporarily give weights other values, under all their names, as the objects stay the same."""
    if values is None:
        yield
        return
    kept = [tensor.data for tensor in tensors]
    try:
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data = value.to(tensor.dtype)  # weights may be kept wider than their snapshots
        yield
    finally:
        for tensor, data in zip(tensors, kept, strict=True):
            tensor.data = data


AutoConfig.register("dygen", DyGenModelConfig, exist_ok=True)
AutoModel.register(DyGenModelConfig, DyGenForClassification, exist_ok=True)
for _task in (SEQUENCES, IMAGES):
    _task.auto_class.register(DyGenModelConfig, DyGenForClassification, exist_ok=True)

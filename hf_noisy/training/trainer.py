"""`NoisyTrainer`: transformers' `Trainer` with a method for noisy labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from hf_noisy.core.columns import INDEX, LABEL_WEIGHT, LABELS, SECOND_VIEW
from hf_noisy.core.files import write_atomically
from hf_noisy.data.checks import check_labels, check_values, check_weights
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.data.views import TwoViews, default_view
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.text import merged, placed
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.loss import Loss, at_least_float32
from hf_noisy.methods import Batch, LossMethod, Method, as_method
from hf_noisy.methods.method import class_logits
from hf_noisy.models.heads import accepted_inputs, find_heads, num_classes
from hf_noisy.models.sharded import check_can_be_sharded, check_can_evaluate
from hf_noisy.models.with_branches import with_branches
from hf_noisy.training.by_length import LengthSortedTrainer
from hf_noisy.training.checkpoints import identity
from hf_noisy.training.distill import export_model, forget_export
from hf_noisy.training.guards import GuardedTrainer

METHOD_FILE = "method.safetensors"


class NoisyTrainer(GuardedTrainer, LengthSortedTrainer):
    """`Trainer` that trains by a method for noisy labels; everything else is `Trainer`.

    Training takes each row's loss from the method and reduces it exactly: the same gradient comes out of any split of
    a batch over accumulation steps or processes. Where the training set has a column `label_weight`, the loss of a
    row is multiplied by it; the sum is divided by the number of rows as before, so a weight of 1 changes nothing.
    Evaluation is plain cross-entropy for every method, so that `eval_loss` compares.

    Args:
        model: A sequence or image classifier of transformers, a `BranchedModel`, or any module with `logits`. For a
            method of several networks, branches are made of a classifier of transformers: `trainer.model` has them.
        args: `TrainingArguments`.
        *positional: The further arguments of `Trainer`, in its order.
        method: Name (one of `hf_noisy.methods.METHODS`), [`Method`] or [`Loss`]; `"auto"` measures the noise and
            chooses one, which `trainer.choice` then tells.
        **kwargs: Those of `Trainer`.

    Raises:
        ValueError: If the method is not known or cannot work with the model, if the model has no class logits, if
            `compute_loss_func` is given too, or (before training) if labels are missing or out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="cross_entropy")
        trainer.train()
        ```
    """

    # Ours is: the sum of the row losses over the number of rows in the whole accumulated batch of all processes.
    loss_is_scaled_for_ga = True
    _signature_columns: list[str]  # type: ignore[assignment]
    _tag_names: ClassVar[list[str]] = ["hf_noisy", "noisy-labels"]

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        *positional: Any,
        method: str | Method | Loss = "cross_entropy",
        **kwargs: Any,
    ) -> None:
        self.choice: Any = None
        if isinstance(method, str) and method == "auto":
            from hf_noisy.training.auto import method_for_trainer  # loads much that no other method needs

            method, self.choice = method_for_trainer(model, args, *positional, **kwargs)
        self.method = as_method(method)
        super().__init__(self._branched(model, args), args, *positional, **kwargs)
        if self.model is not model and self.optimizer is not None:
            raise ValueError(
                f"optimizers holds the weights of {type(model).__name__}, of which branches were made; hand over "
                "BranchedModel.from_model(model) and an optimizer of that"
            )
        if self.compute_loss_func is not None:
            raise ValueError("compute_loss_func and method both define the loss; give compute_loss_func=None")
        if self.args.n_gpu > 1:
            raise ValueError(
                f"args sees {self.args.n_gpu} GPUs in one process, where losses of rows cannot be reduced exactly; "
                "start with `accelerate launch` or show one GPU (CUDA_VISIBLE_DEVICES=0)"
            )
        if self.args.label_names is None:
            self.label_names = [LABELS]  # Trainer finds none where forward takes no labels, and ours need not
        self.method = _with_label_smoothing(self.method, self.args.label_smoothing_factor)
        find_heads(self.model)  # refuses a model without class logits
        check_can_be_sharded(self.model, self.accelerator)
        self.method.setup(self.model, None)
        # The rows of the whole accumulated batch are counted only for models said to accept the count.
        self.model_accepts_loss_kwargs = True
        self.add_callback(_Beats(self))
        self._views: list[Any] = []  # what makes another view of a row in every epoch
        self._method_metrics: dict[str, tuple[Tensor, int]] = {}
        self._labels_checked = False
        self._weighted = False  # whether the training set has weights
        self._names_differ = False

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """The model that `model_init` makes, with the branches that the method needs."""
        return self._branched(super().call_model_init(trial), self.args)  # type: ignore[return-value]

    def _branched(self, model: nn.Module | None, args: TrainingArguments | None) -> nn.Module | None:
        return with_branches(model, self.method.num_branches, type(self.method).__name__, args.seed if args else 42)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The training loader, whose batches also carry the row index and the second view of a method."""
        dataset = self.train_dataset
        if not _is_sized(dataset):
            return super().get_train_dataloader()
        collator, self._views = self.data_collator, [dataset]
        if (view := self.method.second_view) is not None:
            row = dataset[0]  # type: ignore[index]
            view = default_view(row, self.processing_class) if view == "auto" else view
            self.data_collator = TwoViews(collator, view, seed=self.args.seed)
            self._views.append(self.data_collator)
        try:
            return self._get_dataloader(
                dataset=IndexedDataset(dataset),
                description="Training",
                batch_size=self._train_batch_size,
                # The data set itself may have a column of lengths to group by.
                sampler_fn=lambda _: self._get_train_sampler(dataset),  # type: ignore[arg-type,return-value]
                is_training=True,
            )
        finally:
            self.data_collator = collator

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if INDEX not in self._signature_columns:
            views = [SECOND_VIEW + name for name in self._signature_columns]
            view = self.method.second_view
            needed = () if view is None else (*getattr(view, "columns", ()), "special_tokens_mask")
            self._signature_columns += [INDEX, LABEL_WEIGHT, *views, *needed]

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader[Any], resume_from_checkpoint: str | None
    ) -> Any:
        num_rows = len(self.train_dataset) if _is_sized(self.train_dataset) else None  # type: ignore[arg-type]
        if self.method.needs_rows and num_rows is None:
            raise ValueError(
                f"train_dataset must have a length and access by position for method {type(self.method).__name__}, "
                f"which knows each row by its number, got {type(self.train_dataset).__name__}; load it without "
                "streaming"
            )
        self._labels_checked = check_labels(self.train_dataset, num_classes(self.model), self.method.soft_labels)
        self._weighted = check_weights(self.train_dataset)
        self.method.setup(self.model, self.accelerator, num_rows)
        self.method.to(self.args.device)
        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "attach"):  # those that keep the state of the method too
                callback.attach(self)
        return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)  # type: ignore[no-untyped-call]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Loss of a batch: the method's in training, plain cross-entropy in evaluation."""
        inputs = dict(inputs)  # collators of tokenizers hand out a mapping of their own
        labels = inputs.pop(LABELS, None)
        if labels is None:
            raise ValueError("the batch has no labels; name the label column 'label' or 'labels'")
        index, weights = inputs.pop(INDEX, None), inputs.pop(LABEL_WEIGHT, None)
        accepted = accepted_inputs(self.model)
        second = {
            name.removeprefix(SECOND_VIEW): inputs.pop(name) for name in [*inputs] if name.startswith(SECOND_VIEW)
        }
        inputs, second = (
            {name: value for name, value in view.items() if accepted is None or name in accepted}
            for view in (inputs, second)
        )
        if not model.training:
            outputs = model(**inputs)
            loss = F.cross_entropy(at_least_float32(class_logits(outputs, labels)), labels)
            return (
                (loss, outputs if isinstance(outputs, dict) else {"logits": outputs.logits})
                if return_outputs
                else loss
            )
        if not self._labels_checked:
            check_values(labels.cpu().numpy(), num_classes(self.model), self.method.soft_labels)
        if weights is None and self._weighted:
            raise ValueError(
                f"data_collator must keep the column '{LABEL_WEIGHT}' of train_dataset, got a batch with "
                f"{', '.join(sorted(inputs))}; pass numbers on as they are, or remove the column"
            )
        if index is None and self.method.needs_rows:
            raise ValueError(
                f"data_collator must keep the column '{INDEX}' for method {type(self.method).__name__}, which knows "
                f"each row by its number, got a batch with {', '.join(sorted(inputs))}; pass numbers on as they are"
            )
        if index is None:
            index = torch.full(labels.shape[:1], -1, device=labels.device)
        progress = min(self.state.global_step / max(self.state.max_steps, 1), 1.0)
        # Of a stream nobody knows how many epochs there will be.
        known = _is_sized(self.train_dataset)
        epochs = {
            "epoch": int(self.state.epoch or 0),
            "num_epochs": max(self.state.num_train_epochs, 1) if known else 0,
        }
        batch = Batch(inputs, labels, index, progress, **epochs, seed=self.args.seed, second_view=second or None)
        step = self.method(model, batch)
        if step.losses.shape != labels.shape[:1]:
            raise ValueError(
                f"method must return one loss a row, {tuple(labels.shape[:1])}, got {tuple(step.losses.shape)}; leave "
                "the mean to the trainer"
            )
        for name, value in step.metrics.items():
            total, rows = self._method_metrics.get(name, (0.0, 0))
            mean = value.detach().float().mean()
            self._method_metrics[name] = (total + mean * len(labels), rows + len(labels))
        count = labels.shape[0] if num_items_in_batch is None else num_items_in_batch
        if num_items_in_batch is not None and labels.ndim == 2:
            count = num_items_in_batch / labels.shape[1]  # Trainer counts the entries of soft labels
        # DDP averages gradients over ranks while the count is the sum over ranks, so the ranks are multiplied back.
        ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        losses = step.losses if weights is None else step.losses * weights.to(step.losses.dtype)
        self.watch.add(losses, index, self.state.global_step + 1, self.state.epoch or 0.0)
        loss = losses.sum() * (ranks if num_items_in_batch is not None else 1) / count
        return (loss, step.outputs) if return_outputs else loss

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`Trainer`'s loop, for the model and for the further networks of the method (such as a teacher)."""
        check_can_evaluate(self.accelerator)
        loop = super().evaluation_loop
        model, networks = self.model, self.method.evaluated(self.model)
        try:
            self.model = networks.pop("", model)
            result = loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
            for name, network in networks.items():
                self.model = network
                other = loop(dataloader, description, prediction_loss_only, ignore_keys, f"{metric_key_prefix}_{name}")
                result.metrics.update(other.metrics or {})  # type: ignore[union-attr]
        finally:
            self.model = model
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the averages of the method's metrics to the training logs."""
        if "loss" in logs and self._method_metrics:
            for name, (total, rows) in self._method_metrics.items():
                logs[name] = self.accelerator.gather(total / rows).mean().item()
            self._method_metrics.clear()
        super().log(logs, start_time)

    def save_model(
        self,
        output_dir: str | Path | None = None,
        _internal_call: bool = False,
        export: str | None = None,
        export_args: TrainingArguments | None = None,
    ) -> None:
        """`Trainer`'s, which saves the branches or the student as they are; or one network made of them.

        Args:
            output_dir: Folder; `args.output_dir` by default.
            _internal_call: Set by `Trainer` for checkpoints and pushes.
            export: `"best_branch"` or `"distilled"` for an ordinary model, `"ensemble"` for the teacher of a method
                that has one or all branches. What was chosen, and by what, is in `export.json` beside it.
            export_args: Of the training of `"distilled"`; by default those of this training.

        Raises:
            ValueError: If the model has neither branches nor a teacher, or there is nothing to choose by.
        """
        model, folder = self.model, output_dir or str(self.args.output_dir)
        try:
            if export is not None:
                teacher = next((one for one in self.method.evaluated(model).values() if one is not model), None)
                self.model = export_model(self, teacher, export, folder, export_args)
            elif not _internal_call and self.args.should_save:
                forget_export(folder)
            super().save_model(str(folder), _internal_call)
        finally:
            self.model = model

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Trainer's card, with a section on the method and what was noisy."""
        super().create_model_card(*args, **kwargs)
        if not self.is_world_process_zero():
            return
        method = self.method.loss if isinstance(self.method, LossMethod) else self.method
        results = {"method": type(method).__name__, "citation": self.method.citation, "epochs": self.state.epoch,
                   "learning_rate": self.args.learning_rate, "seed": self.args.seed,
                   "method_args": self.choice and self.choice.arguments,
                   "method_why": self.choice and self.choice.why}  # fmt: skip
        path, model = Path(str(self.args.output_dir)) / "README.md", cast(Any, self.model)
        name = self.hub_model_id or path.parent.name
        card = placed(model_card(results, model.config.to_dict(), name=name), name)
        write_atomically(path, merged(path.read_text("utf-8"), card))

    def make_identity(self) -> dict[str, Any]:
        """What a run that resumes must have in common with this one: data, classes and method."""
        self._set_signature_columns_if_needed()
        method = self.method.loss if isinstance(self.method, LossMethod) else self.method
        return identity(self.train_dataset, self._signature_columns, num_classes(self.model), type(method).__name__)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_renamed(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        checkpoint = str(self.state.best_model_checkpoint)
        self._load_renamed(checkpoint)
        if (Path(checkpoint) / METHOD_FILE).is_file():  # a teacher belongs to its student
            load_model(self.method, Path(checkpoint) / METHOD_FILE)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        self._names_differ = bool(load_result.unexpected_keys) and isinstance(self.model, PreTrainedModel)
        if not self._names_differ:
            super()._issue_warnings_after_load(load_result)

    def _load_renamed(self, checkpoint: str) -> None:
        # Checkpoints carry the names of the published format, which for some architectures (ViT) are not those of the
        # module; Trainer would leave such weights as they are, while from_pretrained translates the names.
        if self._names_differ and isinstance(self.model, PreTrainedModel):
            loaded = type(self.model).from_pretrained(checkpoint, dtype=self.model.dtype)
            self.model.load_state_dict(loaded.state_dict())
            self._names_differ = False

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.method.state_dict() and self.args.should_save:
            save_model(self.method, str(Path(output_dir) / METHOD_FILE))
        super()._save_optimizer_and_scheduler(output_dir)  # which notes the digests of all files

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.method.state_dict():
            path = Path(checkpoint) / METHOD_FILE
            if not path.is_file():
                raise ValueError(
                    f"resume_from_checkpoint {checkpoint} holds no {METHOD_FILE}, which method "
                    f"{type(self.method).__name__} needs; resume from a checkpoint of the same method"
                )
            load_model(self.method, path)


class _Beats(TrainerCallback):
    """Tells views that an epoch begins, and the method that the optimiser has moved the model."""

    def __init__(self, trainer: NoisyTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Before the loader of the epoch is asked for its first batch, which accelerate's own call would not always be.
        for views in self.trainer._views:
            if hasattr(views, "set_epoch"):
                views.set_epoch(int(state.epoch or 0))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.method.after_step(kwargs["model"])


def _is_sized(dataset: Any) -> bool:
    return dataset is not None and not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__")


def _with_label_smoothing(method: Method, smoothing: float) -> Method:
    if not smoothing:
        return method
    if isinstance(method, LossMethod) and type(method.loss) is CrossEntropy and not method.loss.label_smoothing:
        return LossMethod(CrossEntropy(label_smoothing=smoothing))
    raise ValueError(
        f"label_smoothing_factor={smoothing} and the method both define the targets; set label_smoothing_factor=0 "
        "or use method='cross_entropy'"
    )

"""`NoisyTrainer`: transformers' `Trainer` with a method for noisy labels."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, SaveStrategy, TrainOutput

from hf_noisy.core.columns import LABELS, ROW_NUMBER, SECOND_VIEW
from hf_noisy.core.rows import no_index
from hf_noisy.core.task import task_of
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.fingerprint import check_processes_agree
from hf_noisy.data.labels import check_training_labels
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.losses.loss import Loss, at_least_float32
from hf_noisy.methods import Batch, Method, as_method
from hf_noisy.models.branches import BranchedModel, with_branches
from hf_noisy.models.heads import find_heads, num_classes
from hf_noisy.models.sharded import check_can_be_sharded, check_can_evaluate
from hf_noisy.training.branch_noise import BranchNoise
from hf_noisy.training.card import add_to_card
from hf_noisy.training.checked_labels import NO_ROW_NUMBERS, CheckedLabels
from hf_noisy.training.checkpoints import (
    checkpoint_to_resume,
    refuse_other_run,
    refuse_unwritable,
    warn_of_earlier_run,
    whole_or_removed,
    write_state,
)
from hf_noisy.training.evaluated_networks import evaluate_networks
from hf_noisy.training.guards import refuse_arguments, warn_of_other_loss, with_label_smoothing
from hf_noisy.training.method_callback import MethodCallback, MethodFirst
from hf_noisy.training.model_outputs import label_name, model_inputs, pop_labels, tell_of_own_loss, with_loss
from hf_noisy.training.resumed_settings import method_settings, run_identity
from hf_noisy.training.row_weights import ClassWeight, RowWeights
from hf_noisy.training.single_network import SingleNetwork
from hf_noisy.training.task_support import TaskRows, use_token_collator
from hf_noisy.training.train_loader import collated_columns, has_rows, pop_row_data, training_loader
from hf_noisy.training.vote_targets import VoteTargets


class NoisyTrainer(Trainer):
    """`Trainer` that trains with a method for noisy labels; docs/trainer.md lists what else differs.

    The method gives one loss per row, and the reduction is exact: the gradient does not depend on how a batch is split
    over accumulation steps or processes. If the training set has a column `label_weight`, each row's loss is
    multiplied by it, and by `class_weight`; the divisor stays the number of rows. Evaluation uses plain cross-entropy
    for every method, so that `eval_loss` is comparable.

    A row is an example, a labelled token of a model for token classification, or for
    `problem_type="multi_label_classification"` a cell (example, class) of two classes, absent and present.

    Args:
        model: A sequence, token or image classifier of transformers, a `BranchedModel`, or any module with `logits`.
            For a method of several networks, the trainer creates the extra networks; `trainer.model` has them all.
        args: `TrainingArguments`.
        *positional: Further arguments of `Trainer`, in its order.
        method: Name (one of `hf_noisy.methods.METHODS`), [`Method`] or [`Loss`]; `"auto"` measures the noise when
            training starts and chooses one; the reason is in `trainer.choice`. `"model_loss"` is the model's own loss.
        checked: Rows of `train_dataset` that a person has checked, as for
            [`~hf_noisy.data.checked.checked_rows`]; by default its column `checked_label`, if there is one. Every
            method trains on their checked labels; `"soft_correction"`, `"dygen"` and `"auto"` also correct the others.
            For tokens and several labels, lists in the form of `labels` or None; default: the column `checked_labels`.
        class_weight: Weight of the loss of the rows of each (given or checked) class, for any method: one number per
            class, or `"balanced"` for the inverse of its frequency. Scaled to a mean of 1 over the training rows.
        votes: Answers of several annotators on the rows of `train_dataset`:
            [`~hf_noisy.data.weak.vote_table.Votes`], `[rows, annotators]` with -1 for no answer, or the name of a
            column that holds such lists; losses train on the shares of the votes. With what
            [`~hf_noisy.detection.aggregate.aggregate`] returns, they train on its posterior. Rows without a vote keep
            their given label. Method `"annotator_layers"` learns a confusion matrix of each annotator.
        missing_rate: For token and multi-label classification: the share of labels that are missing (entities tagged
            `O`, classes that an example has but is not given), one number or one per class. Every method then
            compares the given labels with what the model would predict for them.
        **kwargs: Keyword arguments of `Trainer`.

    Raises:
        ValueError: If the method is unknown or does not fit the model, the model has no class logits,
            `compute_loss_func` is given too, or (before training) labels are missing or out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="cross_entropy")
        trainer.train()
        ```
    """

    model: nn.Module
    _signature_columns: list[str]  # type: ignore[assignment]

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        *positional: Any,
        method: str | Method | Loss = "cross_entropy",
        checked: Any = None,
        class_weight: ClassWeight = None,
        missing_rate: Any = None,
        votes: Any = None,
        **kwargs: Any,
    ) -> None:
        self.choice: Any = None
        self._given: nn.Module | None = None  # the user's model, if branches were made of it
        self._single: SingleNetwork | None = None  # after training several networks
        self._is_auto = isinstance(method, str) and method == "auto"
        self.method = as_method("cross_entropy" if self._is_auto else method)
        self._method_settings = method_settings(self.method)
        super().__init__(self._branched(model, args), args, *positional, **kwargs)
        refuse_arguments(self, model)
        self.task = task_of(self.model)
        use_token_collator(self, self.task)
        if self.args.label_names is None and (LABELS in self.label_names or not self.label_names):
            self.label_names = [LABELS]  # Trainer finds none if forward takes no labels
        self.method = with_label_smoothing(self.method, self.args.label_smoothing_factor)
        find_heads(self.model)  # refuses a model without class logits
        check_can_be_sharded(self.model, self.accelerator)
        self._num_classes = num_classes(self.model)  # between the trials of a search there is no model
        targets = VoteTargets(votes, self.train_dataset, self.method, self._is_auto, self._num_classes, self.task)
        self._checked = CheckedLabels(self.train_dataset, checked, self._num_classes, self.task, targets)
        self._weights = RowWeights(class_weight, self.task, self._num_classes)
        self._rows = TaskRows(self.task, self.model, missing_rate)
        tell_of_own_loss(self.model, self.method, self.label_names)
        self.method.setup(self.model, None)
        # Otherwise Trainer would not count the rows of the accumulated batch.
        self.model_accepts_loss_kwargs = True
        self._keep_columns()
        self._callback, self._noise = MethodCallback(self), BranchNoise(self)
        self.callback_handler = MethodFirst(self.callback_handler, self._callback)
        self._checkpoint: str | None = None  # from which training resumes
        self._identity: dict[str, Any] = {}  # what must not change when a run resumes
        self._labels_checked = False
        self._row_data: dict[str, Any] = {}  # of the current batch, besides the inputs of the model
        self._decides_scale = self._is_method_called = False

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """The model that `model_init` makes, with the branches that the method needs."""
        return self._branched(super().call_model_init(trial), self.args)  # type: ignore[return-value]

    def _branched(self, model: nn.Module | None, args: TrainingArguments | None) -> nn.Module | None:
        seed, name = args.seed if args else 42, type(self.method).__name__
        if model is not None:
            task_of(model)  # refuses other kinds of models
        branched = with_branches(model, self.method.num_branches, name, seed)
        self._given = None if branched is model else model
        return branched

    @property
    def checked(self) -> CheckedRows | None:
        """The rows of the training set that a person has checked."""
        return self._checked.rows

    @property
    def dygen(self) -> DyGen | None:
        """The fitted DyGEN, after training with method `"dygen"`."""
        return getattr(self.method, "dygen", None)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """As `Trainer.train`, but True resumes from the last complete checkpoint; one of another run is refused.

        A resumed run may change the learning rate and the number of epochs, and nothing else.

        Raises:
            ValueError: If the checkpoint is incomplete or of another run, or the processes have different data.
            FloatingPointError: If losses or weights are not finite; no checkpoint is written from then on.
            OSError: If `output_dir` or a checkpoint cannot be written.
        """
        folder, saves = str(self.args.output_dir), self.args.save_strategy != SaveStrategy.NO
        if self.args.should_save and saves:
            refuse_unwritable(folder)
        self._checkpoint = checkpoint_to_resume(resume_from_checkpoint, folder)
        self.choose_method(self._checkpoint)
        self._identity = run_identity(self)
        check_processes_agree("train_dataset or settings", self._identity)
        if self._checkpoint is not None:
            refuse_other_run(self._checkpoint, self._identity)
        elif self.args.should_save and saves:
            warn_of_earlier_run(folder)
        self._callback.restart()
        self._single = None
        with self._noise:
            output = super().train(self._checkpoint, trial, ignore_keys_for_eval)
        posterior, sharded = self.method.finish(self), self.is_fsdp_enabled or self.is_deepspeed_enabled
        if self.method.num_branches > 1 and isinstance(self.model, BranchedModel) and not sharded:
            self._single = SingleNetwork(self, cast(PreTrainedModel | None, self._given), posterior)
        return output

    def save_model(self, output_dir: str | Path | None = None, _internal_call: bool = False) -> None:
        """As `Trainer.save_model`; after training several networks, one ordinary one, and all in `branches`."""
        folder = str(output_dir or self.args.output_dir)
        if self._single is None or self.is_in_train:
            return super().save_model(folder, _internal_call)
        self._single.save_others(folder)
        with self._single.in_place_of_all():
            super().save_model(folder, _internal_call=True)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def choose_method(self, resume_from_checkpoint: str | bool | None = None) -> None:
        """Resolve `method="auto"` before training, such as to make an optimizer for the branches.

        Args:
            resume_from_checkpoint: As for `train`.
        """
        if not self._is_auto:
            return
        from hf_noisy.training.auto import chosen_method  # slow to import, and not needed otherwise

        self.method = chosen_method(self, resume_from_checkpoint)
        self._method_settings = method_settings(self.method)
        given = self.model
        self.model = self.model_wrapped = cast(nn.Module, self._branched(given, self.args))
        refuse_arguments(self, given)
        check_can_be_sharded(self.model, self.accelerator)
        self._keep_columns()
        self._is_auto = False

    def _keep_columns(self) -> None:
        """Let `remove_unused_columns` keep all that the model accepts."""
        self._set_signature_columns_if_needed()
        self._signature_columns = collated_columns(self, self._signature_columns)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The training loader, with the number of each row and the method's second view in its batches."""
        if self.is_in_train:
            self._set_up_method()  # the model is final, and not yet wrapped
        if not has_rows(self.train_dataset):
            return super().get_train_dataloader()
        loader, self._callback.views = training_loader(self)
        return loader

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """As of `Trainer`, which counts rows only by labels of the name `labels`."""
        samples, rows = super().get_batch_samples(epoch_iterator, num_batches, device)
        name = label_name(samples[0], self.label_names) if samples and rows is None else None
        if name is not None:
            rows = self._get_num_items_in_batch([{LABELS: sample[name]} for sample in samples], device)
        return samples, rows

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """As of `Trainer`; the inputs are those of the model alone, as a subclass with its own loss expects."""
        row_data = pop_row_data(inputs)
        self._row_data = cast(dict[str, Any], self._prepare_inputs(row_data)) if row_data else {}
        said, self._is_method_called = self.loss_is_scaled_for_ga, False
        if said is None:
            self.loss_is_scaled_for_ga = False  # until `compute_loss` divides by the rows of the whole batch
        self._decides_scale = said is None
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        finally:
            self.loss_is_scaled_for_ga, self._row_data, self._decides_scale = said, {}, False
        if not self._is_method_called:
            warn_of_other_loss(self)
        return loss

    def _set_up_method(self) -> None:
        num_rows = self._rows.fit(self.train_dataset, self.method)
        soft = self.method.soft_labels
        self._labels_checked = check_training_labels(self.train_dataset, self.task, self._num_classes, soft)
        self._weights.fit(self.train_dataset, self._checked, self.method)
        self.method.setup(self.model, self.accelerator, num_rows)
        self.method.prepare(self, resumes=self._checkpoint is not None)
        self.method.to(self.args.device)
        self._noise.attach(self.model)
        self._callback.is_set_up = True
        if self._checkpoint is not None:
            self._callback.restore(self._checkpoint)
        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "attach"):  # which also save the state of the method
                callback.attach(self)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Loss of a batch: the method's in training, plain cross-entropy in evaluation."""
        inputs = dict(inputs)  # collators may return a mapping of another type
        labels = self.task.given(pop_labels(inputs, self.label_names))
        row_data = pop_row_data(inputs) or self._row_data
        inputs = model_inputs(self.model, inputs, labels, self.label_names, self.task)
        if not model.training:
            outputs = model(**inputs)
            rows = self.task.rows(outputs, labels)
            loss = F.cross_entropy(at_least_float32(rows.logits), rows.labels)
            return (loss, with_loss(outputs, loss)) if return_outputs else loss
        batch = self._make_batch(inputs, labels, row_data)
        step = self.method(model, batch)
        if step.losses.shape != batch.row_index.shape:
            raise ValueError(
                f"method must return one loss per row, {tuple(batch.row_index.shape)}, got "
                f"{tuple(step.losses.shape)}; leave the mean to the trainer"
            )
        losses = self._weights(step.losses, batch, row_data)
        self._callback.add(step, losses, batch.row_index)
        loss = self._reduced(losses, labels, num_items_in_batch)
        return (loss, with_loss(step.outputs, loss)) if return_outputs else loss

    def _make_batch(self, inputs: dict[str, Any], labels: Tensor, row_data: dict[str, Any]) -> Batch:
        if not self._labels_checked:
            self.task.check_labels(labels.cpu().numpy(), self._num_classes, self.method.soft_labels)
        if (index := row_data.get(ROW_NUMBER)) is None and self.method.needs_rows:
            raise ValueError(f"method {type(self.method).__name__} needs {NO_ROW_NUMBERS}")
        labels = self._checked(labels, index)
        second = {n.removeprefix(SECOND_VIEW): v for n, v in row_data.items() if n.startswith(SECOND_VIEW)}
        return Batch(
            inputs,
            labels,
            no_index(labels) if index is None else self._rows.first(index),
            task=self.task,
            missing_rate=self._rows.missing,
            progress=min(self.state.global_step / max(self.state.max_steps, 1), 1.0),
            epoch=int(self.state.epoch or 0),
            # The number of epochs of a streamed dataset is unknown.
            num_epochs=max(self.state.num_train_epochs, 1) if has_rows(self.train_dataset) else 0,
            seed=self.args.seed,
            second_view=model_inputs(self.model, second, labels, self.label_names, self.task) if second else None,
        )

    def _reduced(self, losses: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        """Sum of the losses over the rows of the whole accumulated batch of all processes."""
        self._is_method_called = True
        if num_items_in_batch is None:
            return losses.sum() / max(len(losses), 1)
        if self._decides_scale:
            self.loss_is_scaled_for_ga = True
        rows = self.task.count(num_items_in_batch, labels)
        # DDP averages gradients over ranks but the count is summed over ranks, so this multiplies by the ranks. Ranks
        # that share a tensor-parallel model have the same rows and count once.
        ranks = self.accelerator.num_processes // self.get_tp_size() if self.args.average_tokens_across_devices else 1
        return losses.sum() * ranks / rows

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`Trainer`'s loop, also for the further networks of the method (such as a teacher)."""
        check_can_evaluate(self.accelerator)
        of_trainer = super().evaluation_loop
        loop = lambda prefix: of_trainer(dataloader, description, prediction_loss_only, ignore_keys, prefix)  # noqa: E731
        return evaluate_networks(self, self._single, loop, metric_key_prefix)

    def _run_epoch(self, *positional: Any, **kwargs: Any) -> None:
        # When resuming at the last step, Trainer would take one more step if `max_steps` cuts the epoch short.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*positional, **kwargs)  # type: ignore[no-untyped-call]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._callback.check(self.state)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with whole_or_removed(folder) if self.args.should_save else nullcontext():
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # Every process writes its own; the checkpoint must not be marked complete before all are there.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self._callback.save(output_dir)
            write_state(output_dir, self._identity)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # For some architectures (ViT), weight names in checkpoints differ from those of the module; from_pretrained
        # translates them, while Trainer would skip such weights.
        if not load_result.unexpected_keys or not isinstance(self.model, PreTrainedModel):
            return super()._issue_warnings_after_load(load_result)
        folder = self.state.best_model_checkpoint if self._callback.has_begun else self._checkpoint
        loaded = type(self.model).from_pretrained(folder, dtype=self.model.dtype, trust_remote_code=False)
        self.model.load_state_dict(loaded.state_dict())

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """`Trainer`'s card, with a section on the method and the noise."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            add_to_card(self, self._single.network if self._single else self.model)

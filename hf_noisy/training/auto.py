"""`method="auto"`: choose a method by measurements before training."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.utils import logging

from hf_noisy.core.files import read_sealed, write_sealed
from hf_noisy.core.rows import Task
from hf_noisy.data.checked import SINGLE, CheckedRows
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.data.labels import label_column, label_column_array
from hf_noisy.methods import Method, make_method
from hf_noisy.training.auto_measure import measure
from hf_noisy.training.auto_rules import Choice, choose
from hf_noisy.training.checkpoints import checkpoint_to_resume
from hf_noisy.training.guards import with_label_smoothing

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer

logger = logging.get_logger(__name__)

FILE = "auto_method.json"
_FORMAT = 1


def chosen_method(trainer: "NoisyTrainer", resume_from_checkpoint: str | bool | None) -> Method:
    """The method of the choice, which is kept in `trainer.choice`."""
    trainer.choice = choose_for_trainer(
        trainer, checkpoint_to_resume(resume_from_checkpoint, str(trainer.args.output_dir))
    )
    method = make_method(trainer.choice.method, **trainer.choice.arguments)
    return with_label_smoothing(method, trainer.args.label_smoothing_factor)


def choose_for_trainer(trainer: "NoisyTrainer", checkpoint: str | None) -> Choice:
    """Measure and choose, the same on all processes; a resumed run with the same data keeps the recorded choice."""
    if not trainer.task.one_row:
        return _of_several_labels(trainer.task, trainer.checked, trainer._rows.missing is not None)
    args, model, dataset = trainer.args, trainer.model, trainer.train_dataset
    known = _identity(model, dataset, trainer.checked, args.seed)
    found: list[Choice | None] = [None]
    if PartialState().is_main_process and checkpoint is not None:
        file = Path(checkpoint).parent / FILE
        recorded = read_sealed(file, _FORMAT) if file.is_file() else {}
        found = [Choice(**recorded["choice"]) if recorded.get("identity") == known else None]
    choice: Choice | None = broadcast_object_list(found)[0]
    if choice is None:
        measured = measure(
            model,
            dataset,
            trainer.processing_class,
            checked=trainer.checked,
            data_collator=trainer.data_collator,
            device=args.device,
            batch_size=args.per_device_eval_batch_size,
            seed=args.seed,
            show_progress=not args.disable_tqdm,
        )
        choice = choose(measured)
        if args.should_save and dataset is not None:
            file = Path(str(args.output_dir)) / FILE
            file.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(file, {"identity": known, "measured": asdict(measured), "choice": asdict(choice)}, _FORMAT)
    if PartialState().is_main_process:
        logger.warning(f"method auto: {choice.method}, because {choice.why}")
    return choice


def _of_several_labels(task: Task, checked: CheckedRows | None, missing_rate: bool) -> Choice:
    """The default of tokens and of several labels, where noise is not measured: plain cross-entropy."""
    method = "cross_entropy"
    why = (
        f"the noise of {task.name} is not measured; if labels are missing rather than wrong, missing_rate helps every "
        "method, and other methods can be compared on validation labels"
    )
    teaches = checked is not None and any(one != SINGLE for one in checked.strategy)
    if teaches and not missing_rate:  # soft_correction corrects missing labels itself
        method, why = "soft_correction", "checked rows correct the labels of the others"
    if PartialState().is_main_process:
        logger.warning(f"method auto: {method}, because {why}")
    return Choice(method, {}, why)


def _identity(model: Any, dataset: Any, checked: CheckedRows | None, seed: int) -> dict[str, Any]:
    column = label_column(dataset)
    labels = None
    if column is not None:
        values = label_column_array(dataset, column)
        labels = labels_digest(values) if values.dtype.kind in "biu" else None
    rows = len(dataset) if hasattr(dataset, "__len__") else None
    known = {"rows": rows, "labels": labels, "seed": seed, "model": type(model).__name__}
    return known if checked is None else {**known, "checked": labels_digest(checked.as_column())}

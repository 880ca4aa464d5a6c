"""Co-regularised branches whose training dynamics are recorded, for a posterior after training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.methods.coregularization import CoRegularization

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

SPLIT = "train"  # name under which the training rows are recorded


class RecordedBranches(CoRegularization):
    """Base class of the methods that fit a posterior of the true labels to the dynamics of their branches."""

    needs_rows = True
    one_label_only: ClassVar[bool] = True
    folder_name: ClassVar[str]  # in output_dir; with an underscore, so that Trainer.push_to_hub does not upload it

    def __init__(self, agreement_weight: float, warmup_ratio: float, record: Mapping[str, Any] | None) -> None:
        super().__init__(agreement_weight, warmup_ratio)
        self.record = dict(record or {})
        self._callbacks: list[TrainerCallback] = []

    @property
    def recorder(self) -> DynamicsRecorder:
        """The recorder of the training that was prepared last."""
        return cast(DynamicsRecorder, self._callbacks[0])

    def recorders(self, datasets: dict[str, Any], folder: Path) -> list["TrainerCallback"]:
        """The callbacks of a training, the recorder first."""
        return [DynamicsRecorder(datasets, folder)]

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        callbacks = trainer.callback_handler.callbacks  # as add_callback would warn of a recorder of the user
        callbacks[:] = [callback for callback in callbacks if callback not in self._callbacks]
        folder = Path(str(trainer.args.output_dir)) / self.folder_name
        self._callbacks = self.recorders({SPLIT: trainer.train_dataset, **self.record}, folder)
        callbacks += self._callbacks
